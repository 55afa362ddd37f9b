"""python -m features identity: who is one person, and why."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from features.doors.times import moment_of
from features.errors import UsageError

if TYPE_CHECKING:
    pass


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The words of the command."""
    identity = commands.add_parser(
        "identity", help="which identifiers are one person, and why",
        epilog="example: python -m features identity shop --why C00000004 dv_e9aa5d2b2fae8550 --as-of 2024-09-01")
    identity.add_argument("data", metavar="DATA", help="complete-journey, demo-shop, or a folder of tables")
    identity.add_argument("--as-of", metavar="T", help="as was known then (the end of the data)")
    identity.add_argument("--why", nargs=2, metavar="ID", help="two identifiers: the links that make them one person, or why not")
    identity.add_argument("--out", type=Path, help="a .parquet or .csv file of identifier, as_of, person")
    identity.set_defaults(do=_identity)


def _identity(given: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    from features.contracts import hold
    from features.engine import write_table
    from features.identity import persons
    from features.progress import Steps
    from features.sources import open_dataset
    from features.why import summary, why

    if given.out and given.out.suffix not in (".parquet", ".csv"):
        raise UsageError(f"--out must end in .parquet or .csv, found {given.out.name}; name it so")
    with Steps().step("read", f"reading {given.data}"):
        dataset, _ = hold(open_dataset(given.data))
    as_of = moment_of(given.as_of, dataset.zone) if given.as_of else dataset.observed_until.replace(microsecond=0)
    said = summary(dataset, as_of)
    if given.why:
        one, other = given.why
        print("\n".join(why(dataset, one, other, as_of)))
        return
    table = Table(title=f"{said['identifiers']:,} identifiers, {said['persons']:,} persons by {as_of} UTC")
    for column in ("kind", "what becomes of the link", "links"):
        table.add_column(column)
    for row in said["links"]:
        table.add_row(row["alias_kind"], row["use"], f"{row['n']:,}")
    Console().print(table)
    print(f"{said['of_several_accounts']:,} persons have several accounts, {said['strangers']:,} none; the largest has {said['largest']} identifiers")
    if given.out:
        write_table(persons(dataset, [as_of]).order_by(["person", "identifier"]), given.out)
        print(given.out)
