"""python -m features build: the feature table."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from features.doors.describe import add_choice
from features.doors.times import observed_moment
from features.errors import UsageError

if TYPE_CHECKING:
    pass


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The words of the command."""
    build = commands.add_parser(
        "build", help="write the feature table, one row per customer and as_of",
        epilog="example: python -m features build complete-journey --as-of 2017-10-01 2017-11-01T05:00:00Z --out features.parquet")
    build.add_argument("data", metavar="DATA")
    build.add_argument("--as-of", nargs="+", required=True, metavar="T", help="moments of prediction; without an offset they are local times of the dataset's zone")
    build.add_argument("--out", required=True, type=Path, help="a .parquet or .csv file")
    add_choice(build)
    build.set_defaults(do=_build)


def _build(given: argparse.Namespace) -> None:
    from rich.markup import escape

    from features.contracts import hold
    from features.engine import write_table
    from features.progress import Steps
    from features.snapshots import features_of, snapshots
    from features.sources import open_dataset

    if given.out.suffix not in (".parquet", ".csv"):
        raise UsageError(f"--out must end in .parquet or .csv, found {given.out.name}; name it so")
    steps = Steps()
    with steps.step("read", f"reading {given.data}"):
        dataset, findings = hold(open_dataset(given.data))
    as_ofs = [observed_moment(text, dataset) for text in given.as_of]
    for line in (*(f"{finding.level}: {finding.sentence()}" for finding in findings), dataset.truncated(min(as_ofs))):
        if line:
            steps.say(escape(line))
    features, absent = features_of(dataset, given.include, given.exclude)
    with steps.step("features", f"building {len(features)} features at {len(as_ofs)} moments"):
        write_table(snapshots(dataset, as_ofs, features), given.out)
    if absent:
        steps.say(f"{len(absent)} features are absent, for lack of {', '.join(sorted(set(absent.values())))}")
    print(given.out)
