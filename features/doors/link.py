"""python -m features link: probable links between person records."""

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from features.doors.times import moment_of
from features.errors import UsageError

if TYPE_CHECKING:
    from features.probable import Learned


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The words of the command."""
    link = commands.add_parser(
        "link", help="propose which person records are one person",
        description="Finds records that are probably one person, within one file or between two, with Splink and without labels. Columns are recognised by English and Chinese "
        "names and by values: name or given_name and surname, birth_date, id_number, email, phone, address, place, postcode. At least three are needed, one of them personal.",
        epilog="examples: python -m features link members.csv --id member_no --out probable.parquet;  python -m features link crm.csv shop.csv --id id user_id --one-to-one "
        "--out probable.parquet;  python -m features link members.csv --id member_no --explain 17 4711.  The rows written can be appended to the aliases table; "
        "no personal value is printed or written, unless --show-values asks for it.")
    link.add_argument("files", nargs="+", type=Path, metavar="FILE", help="one file: repeats within it; two: links between them")
    link.add_argument("--id", nargs="+", required=True, metavar="COL", help="the column that names the records, of each file if they differ")
    link.add_argument("--out", type=Path, metavar="FILE", help="a .parquet or .csv file for the links: rows of the aliases table with confidence and reason")
    link.add_argument("--explain", nargs=2, metavar="ID", help="say of two records what agrees and what it weighs")
    link.add_argument("--show-values", action="store_true", help="with --explain: their values too")
    link.add_argument("--threshold", type=float, default=0.95, metavar="P", help="the least probability of a link (0.95)")
    link.add_argument("--one-to-one", action="store_true", help="between two files: each record at most once, with the one that it resembles most")
    link.add_argument("--column", nargs="+", default=[], metavar="COL=ROLE", help="what a column holds, where the guess is wrong; COL=no leaves it out")
    link.add_argument("--date-order", choices=("dmy", "mdy"), default="", help="where birth dates end with the year: day or month first")
    link.add_argument("--kind", nargs="+", default=["customer"], metavar="KIND", help="what the ids are to the aliases table (customer), of each file if they differ")
    link.add_argument("--linked-at", metavar="T", help="since when the links are known, UTC (now)")
    link.add_argument("--most-comparisons", type=int, metavar="N", help="how many pairs may be compared (500 for each record, at most 50 million)")
    link.add_argument("--seed", type=int, default=1, metavar="S")
    link.set_defaults(do=_link)


def _link(given: argparse.Namespace) -> None:
    from features.engine import connect, write_table
    from features.persons import read_persons
    from features.probable import learn, proposed_links, require_splink, weights_in_words
    from features.progress import Steps

    told, linked_at = _checked_link(given)
    require_splink()
    steps = Steps()
    engine = connect(tuple(path.parent for path in given.files))
    records = []
    for path, key in zip(given.files, given.id * (3 - len(given.id)), strict=False):
        with steps.step("read", f"reading {path.name}"):
            table, lines = read_persons(engine, path, key, told, given.date_order)
        records.append(table)
        print(f"{path.name}:", *lines, sep="\n    ")
    with steps.step("learn", "learning what agreement weighs, and weighing pairs"):
        learned = learn(engine, records, given.seed, given.most_comparisons)
    print("compared:", *(f"{n:,} pairs that agree in {' and '.join(rule)}" for rule, n in learned.rules.items()), sep="\n    ")
    print("weights in bits:", *weights_in_words(learned), sep="\n    ")
    if given.explain:
        _explain_link(learned, given.explain, given.show_values)
    if given.out:
        links = proposed_links(learned, linked_at, given.threshold, given.one_to_one, (given.kind[0], given.kind[-1]))
        with steps.step("write", f"writing {given.out}"):
            write_table(links, given.out)
        n = int(links.count().to_pyarrow().as_py())
        print(f"{given.out}: {n:,} links with a probability of at least {given.threshold}; next: read some reasons, then append the rows to aliases")


def _checked_link(given: argparse.Namespace) -> tuple[dict[str, str], datetime]:
    """What was told of columns, and the moment of the links. Raises: UsageError for words that cannot be followed."""
    if len(given.files) > 2 or len(given.id) > len(given.files) or len(given.kind) > len(given.files):
        raise UsageError(
            f"link takes one file or two, and at most one --id and one --kind for each, found {len(given.files)} files, {len(given.id)} ids, {len(given.kind)} kinds; correct it")
    if not given.out and not given.explain:
        raise UsageError("link needs --out FILE to write links, or --explain ID ID to explain one, found neither; add one")
    if given.out and given.out.suffix not in (".parquet", ".csv"):
        raise UsageError(f"--out must end in .parquet or .csv, found {given.out.name}; name it so")
    if not 0 < given.threshold <= 1:
        raise UsageError(f"--threshold must be a probability above 0 and at most 1, found {given.threshold}; correct it")
    if given.one_to_one and len(given.files) == 1:
        raise UsageError("--one-to-one is between two files, found one; leave it out")
    if given.most_comparisons is not None and given.most_comparisons < 1:
        raise UsageError(f"--most-comparisons must be 1 or more, found {given.most_comparisons}; correct it")
    told = dict(text.rpartition("=")[::2] for text in given.column)
    if "" in told:
        raise UsageError(f"--column needs COL=ROLE, found {given.column[list(told).index('')]!r}; correct it")
    return told, moment_of(given.linked_at, "UTC", "--linked-at") if given.linked_at else datetime.now(UTC).replace(microsecond=0, tzinfo=None)


def _explain_link(learned: "Learned", ids: list[str], is_showing_values: bool) -> None:
    from features.probable import explain, values_of

    found = explain(learned, *ids)
    values = values_of(learned, *ids) if is_showing_values else {}
    print(f"{ids[0]} and {ids[1]}: one person with probability {found['confidence']}")
    for name in [name for name in found if name.startswith("weight_")]:
        role = name.removeprefix("weight_")
        shown = f"   {values[role][0] or '-'} | {values[role][1] or '-'}" if values else ""
        print(f"    {role.replace('_', ' '):12} {found[f'level_{role}']:20} {found[name]:+6.1f}{shown}")
    print(f"    {'all, against two strangers':33} {found['strangers']:+6.1f}")
    print(f"    {'what is personal, against two of one household':33} {found['household']:+6.1f}")
