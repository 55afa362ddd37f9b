"""python -m features build: the feature table."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from features.doors.describe import add_choice
from features.doors.engines import add_engine, moved, require_engine
from features.doors.times import observed_moment
from features.errors import UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from features.dataset import Dataset, Finding
    from features.progress import Steps


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The words of the command."""
    build = commands.add_parser(
        "build", help="write the feature table, one row per customer and as_of",
        epilog="example: python -m features build complete-journey --as-of 2017-10-01 2017-11-01T05:00:00Z --out features.parquet")
    build.add_argument("data", metavar="DATA", help="complete-journey, demo-shop, or a folder of tables")
    build.add_argument("--as-of", nargs="+", required=True, metavar="T", help="moments of prediction; without an offset they are local times of the dataset's zone")
    build.add_argument("--out", required=True, type=Path, help="a .parquet or .csv file, or a folder that keeps a file for each as_of and makes each only once")
    add_choice(build)
    add_engine(build)
    build.set_defaults(do=_build)


def _build(given: argparse.Namespace) -> None:
    from features.contracts import hold
    from features.engine import write_table
    from features.progress import Steps
    from features.snapshots import features_of, snapshots
    from features.sources import open_dataset

    if given.out.suffix not in (".parquet", ".csv", ""):
        raise UsageError(f"--out must end in .parquet or .csv, or be a folder, found {given.out.name}; name it so")
    require_engine(given.engine)
    if given.out.suffix == "":
        _build_days(given)
        return
    steps = Steps()
    with steps.step("read", f"reading {given.data}"):
        dataset, findings = hold(open_dataset(given.data))
    as_ofs = [observed_moment(text, dataset) for text in given.as_of]
    _say(steps, dataset, findings, as_ofs)
    with moved(dataset, given.engine, steps) as dataset:
        features, absent = features_of(dataset, given.include, given.exclude)
        with steps.step("features", f"building {len(features)} features at {len(as_ofs)} moments"):
            write_table(snapshots(dataset, as_ofs, features), given.out)
    if absent:
        steps.say(f"{len(absent)} features are absent, for lack of {', '.join(sorted(set(absent.values())))}")
    print(given.out)


def _build_days(given: argparse.Namespace) -> None:
    """One file for each as_of; clean tables and days that are up to date are used again."""
    from features.days import build_days, day_file, missing_days
    from features.kept import open_kept
    from features.lock import locked
    from features.progress import Steps
    from features.snapshots import features_of

    steps = Steps()
    with locked(given.out, may_make=True):
        with steps.step("read", f"reading {given.data}"):
            dataset, findings, key, was_kept = open_kept(given.data, given.out)
        as_ofs = [observed_moment(text, dataset) for text in given.as_of]
        _say(steps, dataset, findings, as_ofs)
        features, _ = features_of(dataset, given.include, given.exclude)
        missing = missing_days(given.out, as_ofs, features, key)
        if was_kept:
            steps.say("the tables are up to date and used again")
        if len(missing) < len(as_ofs):
            steps.say(f"{len(as_ofs) - len(missing)} of {len(as_ofs)} days are up to date and used again")
        if missing:
            with moved(dataset, given.engine, steps) as dataset, steps.step("features", f"building {len(features)} features for {len(missing)} days"):
                build_days(dataset, given.out, missing, features)
    for as_of in as_ofs:
        print(day_file(given.out, as_of))


def _say(steps: "Steps", dataset: "Dataset", findings: "list[Finding]", as_ofs: "list[datetime]") -> None:
    from rich.markup import escape

    for line in (*(f"{finding.level}: {finding.sentence()}" for finding in findings), dataset.truncated(min(as_ofs))):
        if line:
            steps.say(escape(line))
