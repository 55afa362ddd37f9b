"""python -m features check: a dataset against its contract, and what it holds."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from features.errors import ContractError, UsageError

if TYPE_CHECKING:
    pass


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The words of the command."""
    check = commands.add_parser(
        "check", help="hold the data against the contract, and say what they hold",
        description="Coded findings, then a profile: coverage, distributions, activity and label rates, suspicious columns, what each family of features has to work with.",
        epilog="example: python -m features check complete-journey --out profile.html")
    check.add_argument("data", metavar="DATA", help="complete-journey, demo-shop, or a folder of tables")
    check.add_argument("--out", type=Path, metavar="FILE.html", help="also write the profile as one page")
    check.add_argument("--lang", choices=("en", "zh"), default="en", help="the profile's language (en)")
    check.add_argument("--init", action="store_true", help="write a first dataset.toml for a folder of your own files")
    check.set_defaults(do=_check)


def _check(given: argparse.Namespace) -> None:
    if given.out and (given.out.suffix != ".html" or given.init):
        raise UsageError(f"--out needs a name that ends in .html, and no --init, found {given.out}; correct the call")
    from features.contracts import hold
    from features.data_profile.page import write_page
    from features.data_profile.profile import profile_of
    from features.data_profile.screen import show
    from features.data_profile.told import told
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
    for attribute in dataset.attributes:
        if attribute.note:
            print(f"attribute {attribute.name}: " + (f"left out, for lack of {attribute.note}" if attribute.kind == "text" else attribute.note))
    if short := dataset.truncated(dataset.observed_until):
        print(f"{'warn':10} {short}")
    present, absent = features_of(dataset)
    print(f"{len(present)} features can be built" + (f"; {len(absent)} cannot, for lack of {', '.join(sorted(set(absent.values())))}" if absent else ""))
    for task, why in dataset.not_applicable.items():
        print(f"task {task} does not apply: {why}")
    print(f"the data keep the contract; next: make run DATA={given.data}")
    with steps.step("profile", "counting what they hold"):
        profile = told(profile_of(dataset), given.lang)
    show(profile)
    if given.out:
        write_page(profile, given.out)
        print(given.out)


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
    from features.roles import guesses
    from features.starter import sentences

    print(f"{folder} has no dataset.toml yet. What its files look like:")
    for line in sentences(guesses(folder)):
        print(f"  {line}")
    raise ContractError(f"a folder needs dataset.toml with its zone before it can be used, found none in {folder}; let one be written: python -m features check {folder} --init")
