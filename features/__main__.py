"""The door of the features room: python -m features check | build | describe | portrait | identity | link | simulate."""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.errors import UsageError, run_door

if TYPE_CHECKING:
    from features.dataset import Dataset
    from features.feature import Feature
    from features.probable import Learned


_CHOICE = "a name, a pattern such as 'spend_*', family:NAME, or sensitive, actionable, treatment, undated, category"


def main() -> None:
    """Parse the command line and do what it asks."""
    parser = argparse.ArgumentParser(
        prog="python -m features", description="Raw tables in; features at a moment in time out.",
        epilog="DATA is complete-journey (a real grocer, the default everywhere), demo-shop (simulated) or a folder of tables.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser(
        "check", help="hold the data against the contract, and say what they hold",
        description="Coded findings, then a profile: coverage, distributions, activity and label rates, suspicious columns, what each family of features has to work with.",
        epilog="example: python -m features check complete-journey --out profile.html")
    check.add_argument("data", metavar="DATA")
    check.add_argument("--out", type=Path, metavar="FILE.html", help="also write the profile as one page")
    check.add_argument("--lang", choices=("en", "zh"), default="en", help="the profile's language (en)")
    check.add_argument("--init", action="store_true", help="write a first dataset.toml for a folder of your own files")
    build = commands.add_parser(
        "build", help="write the feature table, one row per customer and as_of",
        epilog="example: python -m features build complete-journey --as-of 2017-10-01 2017-11-01T05:00:00Z --out features.parquet")
    build.add_argument("data", metavar="DATA")
    build.add_argument("--as-of", nargs="+", required=True, metavar="T", help="moments of prediction; without an offset they are local times of the dataset's zone")
    build.add_argument("--out", required=True, type=Path, help="a .parquet or .csv file")
    describe = commands.add_parser("describe", help="the data dictionary", epilog="example: python -m features describe --include family:interest --json")
    describe.add_argument("--data", default="complete-journey", metavar="DATA")
    describe.add_argument("--json", action="store_true", help="as JSON instead of Markdown")
    identity = commands.add_parser(
        "identity", help="which identifiers are one person, and why",
        epilog="example: python -m features identity shop --why C00000004 dv_e9aa5d2b2fae8550 --as-of 2024-09-01")
    identity.add_argument("data", metavar="DATA")
    identity.add_argument("--as-of", metavar="T", help="as was known then (the end of the data)")
    identity.add_argument("--why", nargs=2, metavar="ID", help="two identifiers: the links that make them one person, or why not")
    identity.add_argument("--out", type=Path, help="a .parquet or .csv file of identifier, as_of, person")
    portrait = commands.add_parser(
        "portrait", help="one customer in words, by family, and what is not known of them",
        epilog="example: python -m features portrait complete-journey 1123 --as-of 2017-12-01 --lang zh")
    portrait.add_argument("data", metavar="DATA")
    portrait.add_argument("customer", metavar="CUSTOMER", help="a customer_id")
    portrait.add_argument("--as-of", required=True, metavar="T", help="the moment; without an offset it is a local time of the dataset's zone")
    portrait.add_argument("--lang", choices=("en", "zh"), default="en", help="the language (default en)")
    portrait.add_argument("--sensitive", action="store_true", help="show sensitive values too")
    for parser_ in (build, describe, portrait):
        for word, does in (("include", "only"), ("exclude", "all but")):
            parser_.add_argument(f"--{word}", nargs="+", default=[], metavar="WORD", help=f"{does} the features that a word means: {_CHOICE}")
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
    given = parser.parse_args()
    {"check": _check, "build": _build, "describe": _describe, "identity": _identity, "portrait": _portrait, "simulate": _simulate, "link": _link}[given.command](given)


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
    from features.errors import ContractError
    from features.roles import guesses
    from features.starter import sentences

    print(f"{folder} has no dataset.toml yet. What its files look like:")
    for line in sentences(guesses(folder)):
        print(f"  {line}")
    raise ContractError(f"a folder needs dataset.toml with its zone before it can be used, found none in {folder}; let one be written: python -m features check {folder} --init")


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
    as_ofs = [_observed(text, dataset) for text in given.as_of]
    for line in (*(f"{finding.level}: {finding.sentence()}" for finding in findings), dataset.truncated(min(as_ofs))):
        if line:
            steps.say(escape(line))
    features, absent = features_of(dataset, given.include, given.exclude)
    with steps.step("features", f"building {len(features)} features at {len(as_ofs)} moments"):
        write_table(snapshots(dataset, as_ofs, features), given.out)
    if absent:
        steps.say(f"{len(absent)} features are absent, for lack of {', '.join(sorted(set(absent.values())))}")
    print(given.out)


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
    as_of = _moment(given.as_of, dataset.zone, "--as-of") if given.as_of else dataset.observed_until.replace(microsecond=0)
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


def _moment(text: str, zone: str, option: str) -> datetime:
    from zoneinfo import ZoneInfo

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} needs a time such as 2017-10-01 or 2017-10-01T05:00:00Z, found {text!r}; correct it") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC).replace(tzinfo=None)


def _observed(text: str, dataset: "Dataset") -> datetime:
    """A moment of the command line that the data reach."""
    as_of = _moment(text, dataset.zone, "--as-of")
    if as_of > dataset.observed_until:
        raise UsageError(f"--as-of must not be after the end of the data ({dataset.observed_until} UTC), found {text}; choose an earlier moment")
    return as_of


def _describe(given: argparse.Namespace) -> None:
    from collections import Counter

    from features.snapshots import features_of
    from features.sources import open_dataset

    features, _ = features_of(open_dataset(given.data), given.include, given.exclude)
    rows = [_entry(feature) for feature in features]
    if given.json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    counts = Counter(feature.family for feature in features)
    print(f"{len(features)} features: {', '.join(f'{n} {family}' for family, n in counts.items())}\n")
    print("| feature | family | unit | no data | meaning | 含义 | flags | needs |\n|---|---|---|---|---|---|---|---|")
    for row in rows:
        cells = [", ".join(value) if isinstance(value, list) else str(value) for value in (row[column] for column in _SHOWN)]
        print(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")


def _portrait(given: argparse.Namespace) -> None:
    from features.contracts import hold
    from features.portrait import portrait, values_of
    from features.snapshots import features_of
    from features.sources import open_dataset

    dataset, _ = hold(open_dataset(given.data))
    as_of = _observed(given.as_of, dataset)
    features, _ = features_of(dataset, given.include, given.exclude)
    values = values_of(dataset, given.customer, as_of, features)
    print("\n".join(portrait(dataset, given.customer, as_of, features, values, given.lang, given.sensitive)))


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
    return told, _moment(given.linked_at, "UTC", "--linked-at") if given.linked_at else datetime.now(UTC).replace(microsecond=0, tzinfo=None)


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


_SHOWN = ("name", "family", "unit", "no_data", "label_en", "label_zh", "flags", "needs")


def _entry(feature: "Feature") -> dict[str, Any]:
    from features.streams import needs_of

    flags = [name[3:] for name in ("is_actionable", "is_sensitive", "is_treatment", "is_undated", "is_category") if getattr(feature, name)]
    needs = sorted({need for aggregate in feature.aggregates() for need in needs_of(aggregate)})
    return {"name": feature.name, "family": feature.family, "unit": feature.unit, "no_data": feature.no_data,
            "label_en": feature.label_en, "label_zh": feature.label_zh, "flags": flags, "needs": needs}


if __name__ == "__main__":
    run_door(main)
