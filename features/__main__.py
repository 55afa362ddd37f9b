"""The door of the features room: python -m features check | build | describe | simulate | journeys."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.errors import UsageError, run_door
from features.journeys.door import add_arguments, run

if TYPE_CHECKING:
    from features.feature import Feature


def main() -> None:
    """Parse the command line and do what it asks."""
    parser = argparse.ArgumentParser(
        prog="python -m features", description="Raw tables in; features at a moment in time out.",
        epilog="DATA is complete-journey (a real grocer, the default everywhere), demo-shop (simulated) or a folder of tables.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="hold the data against the contract", epilog="example: python -m features check complete-journey")
    check.add_argument("data", metavar="DATA")
    check.add_argument("--init", action="store_true", help="write a first dataset.toml for a folder of your own files")
    build = commands.add_parser(
        "build", help="write the feature table, one row per customer and as_of",
        epilog="example: python -m features build complete-journey --as-of 2017-10-01 2017-11-01T05:00:00Z --out features.parquet")
    build.add_argument("data", metavar="DATA")
    build.add_argument("--as-of", nargs="+", required=True, metavar="T", help="moments of prediction; without an offset they are local times of the dataset's zone")
    build.add_argument("--out", required=True, type=Path, help="a .parquet or .csv file")
    describe = commands.add_parser("describe", help="the data dictionary", epilog="example: python -m features describe --json")
    describe.add_argument("--data", default="complete-journey", metavar="DATA")
    describe.add_argument("--json", action="store_true", help="as JSON instead of Markdown")
    simulate = commands.add_parser(
        "simulate", help="write a simulated shop whose truth is known",
        description="Writes a folder in the contract's form, with the truth under truth/ (people, moments, effects, identifiers, dirt). The same seed gives the same bytes.",
        epilog="example: python -m features simulate --customers 10000 --months 24 --seed 1 --out shop, then make run DATA=shop")
    simulate.add_argument("--customers", type=int, required=True, metavar="N", help="1,000 to 10 million")
    simulate.add_argument("--months", type=int, required=True, metavar="M", help="9 to 120, from January 2024 on")
    simulate.add_argument("--seed", type=int, required=True, metavar="S")
    simulate.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new or empty folder")
    simulate.add_argument("--dirt", nargs="+", default=[], metavar="NAME", help="what goes wrong in the source: all, or names such as duplicates or late=0.05")
    simulate.add_argument("--without", default="", metavar="DRIVER", help="leave out a planted driver: slow_payment, unanswered or pressure")
    add_arguments(commands.add_parser(
        "journeys", help="funnels, paths, attribution, and the touchpoints to look at first",
        description="Describes how people go from a first visit to a conversion. Nothing here says what caused what.",
        epilog="example: python -m features journeys demo-shop --segment signup_channel --compare app web --out journeys"))
    given = parser.parse_args()
    {"check": _check, "build": _build, "describe": _describe, "simulate": _simulate, "journeys": run}[given.command](given)


def _check(given: argparse.Namespace) -> None:
    from features.contracts import hold
    from features.progress import Steps
    from features.snapshots import features_of
    from features.sources import is_undeclared, open_dataset

    if given.init:
        _init(given.data)
        return
    if is_undeclared(given.data):
        _guess_aloud(Path(given.data))
        return
    steps = Steps()
    with steps.step("read", f"reading {given.data}"):
        dataset = open_dataset(given.data)
    with steps.step("check", "holding the tables against the contract"):
        dataset, findings = hold(dataset)
    for name, table in dataset.tables.items():
        print(f"{name:12} {int(table.count().to_pyarrow().as_py()):>10,} rows")
    for finding in findings:
        print(f"{finding.level:10} {finding.sentence()}")
    present, absent = features_of(dataset)
    print(f"{len(present)} features can be built" + (f"; {len(absent)} cannot, for lack of {', '.join(sorted(set(absent.values())))}" if absent else ""))
    for task, why in dataset.not_applicable.items():
        print(f"task {task} does not apply: {why}")
    print(f"the data keep the contract; next: make run DATA={given.data}")


def _init(data: str) -> None:
    from features.starter import write_starter

    if not Path(data).is_dir():
        raise UsageError(f"--init needs a folder of your files, found {data!r}, which is none; correct the name")
    path, to_fill = write_starter(Path(data))
    print(f"{path}: written. Open it and fill in:")
    for line in to_fill:
        print(f"  {line}")
    print(f"then: python -m features check {data}")


def _guess_aloud(folder: Path) -> None:
    """Without a declaration nothing is used, but everything is said. Raises: ContractError, so that scripts see that the folder is not ready."""
    from features.errors import ContractError
    from features.roles import guesses
    from features.starter import sentences

    print(f"{folder} has no dataset.toml yet. What its files look like:")
    for line in sentences(guesses(folder)):
        print(f"  {line}")
    raise ContractError(f"a folder needs dataset.toml with its zone before it can be used, found none in {folder}; let one be written: python -m features check {folder} --init")


def _build(given: argparse.Namespace) -> None:
    from features.contracts import hold
    from features.engine import write_table
    from features.parsing import moment_of
    from features.progress import Steps
    from features.snapshots import features_of, snapshots
    from features.sources import open_dataset

    if given.out.suffix not in (".parquet", ".csv"):
        raise UsageError(f"--out must end in .parquet or .csv, found {given.out.name}; name it so")
    steps = Steps()
    with steps.step("read", f"reading {given.data}"):
        dataset, _ = hold(open_dataset(given.data))
    as_ofs = [moment_of(text, dataset.zone) for text in given.as_of]
    late = [text for text, as_of in zip(given.as_of, as_ofs, strict=True) if as_of > dataset.observed_until]
    if late:
        raise UsageError(f"--as-of must not be after the end of the data ({dataset.observed_until} UTC), found {late[0]}; choose an earlier moment")
    features, absent = features_of(dataset)
    with steps.step("features", f"building {len(features)} features at {len(as_ofs)} moments"):
        write_table(snapshots(dataset, as_ofs, features), given.out)
    if absent:
        steps.say(f"{len(absent)} features are absent, for lack of {', '.join(sorted(set(absent.values())))}")
    print(given.out)


def _describe(given: argparse.Namespace) -> None:
    from features.snapshots import features_of
    from features.sources import open_dataset

    features, _ = features_of(open_dataset(given.data))
    rows = [_entry(feature) for feature in features]
    if given.json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    print("| feature | family | unit | no data | meaning | 含义 | flags |\n|---|---|---|---|---|---|---|")
    for row in rows:
        print("| {name} | {family} | {unit} | {no_data} | {label_en} | {label_zh} | {flags} |".format(**{**row, "flags": ", ".join(row["flags"])}))


def _simulate(given: argparse.Namespace) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from features.progress import Steps
    from features.shop.simulate import simulate
    from features.shop.world import World

    world = World().without(given.without) if given.without else World()
    steps = Steps()
    bars = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=steps.console)
    bar = bars.add_task("partitions", total=None)
    with steps.step("simulate", f"simulating {given.customers:,} customers over {given.months} months", bars):
        simulate(given.out, given.customers, given.months, given.seed, given.dirt, world, show=lambda done, of: bars.update(bar, completed=done, total=of))
    print(f"{given.out}: written, with its truth under {given.out / 'truth'}; next: make run DATA={given.out}")


def _entry(feature: "Feature") -> dict[str, Any]:
    flags = [name[3:] for name in ("is_actionable", "is_sensitive", "is_treatment", "is_undated", "is_category") if getattr(feature, name)]
    return {"name": feature.name, "family": feature.family, "unit": feature.unit, "no_data": feature.no_data,
            "label_en": feature.label_en, "label_zh": feature.label_zh, "flags": flags}


if __name__ == "__main__":
    run_door(main)
