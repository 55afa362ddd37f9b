"""A company's own folder: `events` (required, from one file or several), `customers`, `items`, `campaigns`, and `dataset.toml`."""

import difflib
import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir

from features.attributes import typed
from features.clocks import clock_notes
from features.contracts import COLUMNS, shaped
from features.dataset import Attribute, Dataset, Finding
from features.declaration import MONEY, declared_in, funnels_of, identity_of, require_place, tasks_of
from features.engine import connect, utc_to_local
from features.errors import ContractError, first_few
from features.files import sha256
from features.parsing import Form, in_minor_units, parsed
from features.policies import Policies, policies_of
from features.reading import DATABASE, ENDINGS, ending_of, lacking_in_parts, read_file, stem_of

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

_REQUIRED = {
    "events": ("customer_id", "event_at", "kind"), "customers": ("customer_id",), "aliases": ("alias", "alias_kind", "customer_id", "linked_at"),
    "items": ("item_id",), "campaigns": ("campaign_id", "start_at", "end_at")}
# What a marketer begins, unless an event says otherwise.
_MARKETERS = ("campaign_received",)


@dataclass(frozen=True)
class Source:
    """One file that a table comes from, and how its columns are called and written."""

    table: str
    path: Path
    columns: dict[str, str] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)
    values: dict[str, dict[str, str]] = field(default_factory=dict)
    delimiter: str = ""
    encoding: str = ""
    relation: str = ""
    form: Form = field(default_factory=Form)


def read(folder: Path, declared: dict[str, Any] | None = None) -> Dataset:
    """Read the folder's tables; times without an offset are in the declared zone, `amount` is in major units of the declared currency.

    `declared` stands for `dataset.toml` where it is given.
    Raises: ContractError for an empty folder, a source without zone, a file that is no UTF-8, an unparsable time or number, mixed currencies.
    """
    said = declared_in(folder / "dataset.toml") if declared is None else declared
    sources = sources_of(folder, said)
    require_place(said, folder / "dataset.toml")
    zone, currency = said["zone"], said["currency"].upper()
    policies = policies_of(said, currency)
    engine = connect((folder,))
    marketers = (*_MARKETERS, *said.get("marketer_kinds", ()))

    tables: dict[str, ir.Table] = {}
    notes: list[Finding] = []
    for name in COLUMNS:
        parts = [_part(engine, source, zone, currency, marketers, policies, i, notes) for i, source in enumerate(one for one in sources if one.table == name)]
        if parts:
            tables[name] = engine.create_table(name, shaped(name, _together(parts)), overwrite=True)
    if "items" in tables:
        tables["events"] = engine.create_table("events_of_items", _with_goods(tables["events"], tables["items"]))

    attributes: tuple[Attribute, ...] = ()
    labels, sensitive, choice = said.get("attributes", {}), set(said.get("sensitive", [])), said.get("features", {})
    if "customers" in tables:
        form = next(source.form for source in sources if source.table == "customers")
        tables["customers"], attributes = typed(tables["customers"], labels, sensitive, zone, form)
    elif labels or sensitive:
        raise ContractError(f"attributes and sensitive must name columns of customers, found {first_few([*labels, *sensitive])} and no customers; correct dataset.toml")

    first, observed_until = _observed(tables["events"], said, zone, policies, folder)
    digest = hashlib.sha256("".join(sha256(path) for path in files_of(folder)).encode()).hexdigest()
    return Dataset(
        said.get("name", folder.resolve().name), zone, currency, first, observed_until, engine, tables, tasks_of(said, currency.lower()), digest,
        attributes, licence=said.get("licence", "not stated"), consent=_consent(said),
        bot_events_per_hour=_positive(said, "bot_events_per_hour", Dataset.bot_events_per_hour), testers=tuple(said.get("testers", ())),
        identity=identity_of(said), policies=policies, notes=_summed(notes), is_simulated=said.get("simulated", False), include=tuple(choice.get("include", ())),
        exclude=tuple(choice.get("exclude", ())), funnels=funnels_of(said))


def _observed(events: ir.Table, said: dict[str, Any], zone: str, policies: Policies, folder: Path) -> tuple[datetime, datetime]:
    """When the events begin, and until when they are complete: as declared, else until the last one whose time is no mistake of a clock.

    Raises: ContractError where there are no events, or all of them are still to come.
    """
    spare = timedelta(minutes=policies.future_minutes)
    is_possible = (events.event_at <= ibis.literal(_now() + spare)) & (events.event_at <= events.ingested_at + ibis.interval(minutes=policies.future_minutes))
    found = events.aggregate(n=events.event_at.count(), first=events.event_at.min(), last=events.event_at.max(where=is_possible)).to_pyarrow().to_pylist()[0]
    if not found["n"]:
        raise ContractError(f"NO_EVENTS: events needs at least one row with an event_at, found none in {folder}; export your events there")
    first = found["first"].replace(tzinfo=None)
    if until := said.get("observed_until"):
        return first, _moment("observed_until", until, zone)
    if found["last"] is None:
        raise ContractError(
            f"IN_THE_FUTURE: events needs an event_at that has come (and not after ingested_at), found {found['n']:,} that have not, the first at {first} UTC; "
            "correct the clock of the source, or declare observed_until")
    return first, found["last"].replace(tzinfo=None) + timedelta(seconds=1)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _summed(notes: list[Finding]) -> tuple[Finding, ...]:
    """What was noted of several files, once for each code and table."""
    once: dict[tuple[str, str], Finding] = {}
    for note in notes:
        before = once.get((note.code, note.table))
        once[note.code, note.table] = replace(before, count=before.count + note.count, offenders=before.offenders + note.offenders) if before else note
    return tuple(once.values())


def files_of(folder: Path) -> list[Path]:
    """The files of a dataset: those of the folder, and the parts of tables that are folders of Parquet files themselves."""
    own = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    return sorted([*own, *(part for name in COLUMNS for part in (folder / name).glob("*.parquet"))])


def sources_of(folder: Path, said: dict[str, Any]) -> list[Source]:
    """The files of each table: those that are declared, and those that bear a table's name.

    Raises: ContractError where a declared file is missing, or no events are found.
    """
    there = {stem_of(path): path for path in sorted(folder.iterdir(), reverse=True) if path.is_file() and ending_of(path)}
    there |= {name: folder / name for name in COLUMNS if any((folder / name).glob("*.parquet"))}
    found = []
    for name in COLUMNS:
        given = said.get("tables", {}).get(name, {})
        for part in given if isinstance(given, list) else [given]:
            path = folder / part["file"] if "file" in part else there.get(name)
            if path is None:
                continue
            if "file" in part and (path.resolve().parent != folder.resolve() or not path.exists()):
                raise ContractError(f"tables.{name}.file must name a file of {folder}, found {part['file']!r}; correct dataset.toml")
            if not (ending_of(path) or path.suffix == DATABASE or path.is_dir()):
                raise ContractError(f"tables.{name}.file must end in one of {', '.join((*ENDINGS, DATABASE))}, found {path.name}; convert it")
            if "table" in part and path.suffix != DATABASE:
                raise ContractError(f"tables.{name}.table must name a table of a {DATABASE} file, found the file {path.name}; take it away")
            found.append(Source(
                name, path, part.get("columns", {}), part.get("constants", {}), part.get("values", {}), part.get("delimiter", ""),
                part.get("encoding", said.get("encoding", "")), part.get("table", name), Form(part.get("time_format", ""), part.get("decimal", "."), part.get("thousands", ""))))
    if not any(source.table == "events" for source in found):
        names = sorted(path.name for path in folder.iterdir())
        raise ContractError(
            f"the folder {folder} needs a file events.parquet or events.csv (also .tsv, .txt, .gz, .zst) with event_id, {', '.join(_REQUIRED['events'])}; "
            f"found {first_few(names) or 'nothing'}; export your events there"
            + (f", or let your own files be recognised: python -m features check {folder} --init" if there else "")
            + "".join(f', or declare [tables.events] file = "{one}", table = "..."' for one in names if one.endswith(DATABASE)))
    return found


def _part(
    engine: "Backend", source: Source, zone: str, currency: str, marketers: tuple[str, ...], policies: Policies, number: int, notes: list[Finding],
) -> ir.Table:
    """One file as its table's columns, parsed; what is doubtful about it goes to the notes."""
    table = _renamed(read_file(engine, source.path, source.delimiter, source.encoding, source.relation), source)
    name = source.table
    missing = [column for column in _REQUIRED[name] if column not in table.columns]
    if missing:
        raise ContractError(
            f"MISSING_COLUMN: {source.path.name} needs the columns {', '.join(missing)}; found {', '.join(table.columns)}; add or rename them "
            f'(in dataset.toml: [tables.{name}.columns] {missing[0]} = "your name")')
    if name == "events" and "event_id" not in table.columns:
        # A line without a number of its own is known by its file, its content and, among equals, its place.
        content = ibis.literal("\x1f").join([table[column].cast("string").fill_null("") for column in sorted(table.columns)])
        table = table.mutate(content_hash=content.hash().cast("string"))
        table = table.mutate(place=ibis.row_number().over(ibis.window(group_by="content_hash", order_by="content_hash")))
        table = table.mutate(event_id=ibis.literal(f"{number}-") + table.content_hash + "-" + table.place.cast("string")).drop("content_hash", "place")
    notes += _near_columns(source, table) + _lacking_columns(source)
    written = table
    for column, (kind, _) in COLUMNS[name].items():
        if column in table.columns:
            table = table.mutate(**{column: parsed(name, table, column, kind, zone, source.form)})
    if name == "events":
        notes += clock_notes(written, zone, source.form)
        table = in_minor_units(table, currency, source.form, policies.other_currency)
        if "initiator" not in table.columns:
            table = table.mutate(initiator=ibis.ifelse(table.kind.isin(marketers), "marketer", "customer"))
        table = table.mutate(local_at=utc_to_local(table.event_at, zone))
    if name == "aliases" and "customer_kind" not in table.columns:
        table = table.mutate(customer_kind=ibis.literal("customer"))
    return shaped(name, table)


def _renamed(table: ir.Table, source: Source) -> ir.Table:
    """The declared names and constants; a declared column that is not there is refused. Empty texts of renamed columns stay as they are."""
    known = {*COLUMNS[source.table], *(MONEY if source.table == "events" else ())}
    lacking = [theirs for theirs in source.columns.values() if theirs not in table.columns]
    if lacking:
        raise ContractError(
            f"MISSING_COLUMN: {source.path.name} needs the declared columns {first_few(lacking)}; found {', '.join(table.columns)}; correct [tables.{source.table}.columns]")
    odd = [ours for ours in (*source.columns, *source.constants) if source.table == "events" and ours not in known]
    if odd:
        raise ContractError(f"events know the columns {', '.join(sorted(known))}; found {first_few(odd)} in dataset.toml; correct the name")
    mine = {ours: table[theirs] for ours, theirs in source.columns.items()}
    rest = {column: table[column] for column in table.columns if column not in source.columns.values() and column not in mine}
    table = table.select(**rest, **mine)
    table = table.mutate(**{column: ibis.literal(value) for column, value in source.constants.items()})
    for column, mapping in source.values.items():
        if column not in table.columns:
            raise ContractError(f"MISSING_COLUMN: tables.{source.table}.values.{column} needs that column, found {', '.join(table.columns)}; correct dataset.toml")
        text = table[column].cast("string").strip()
        table = table.mutate(**{column: text.cases(*mapping.items(), else_=text)})
    return table


def _near_columns(source: Source, table: ir.Table) -> list[Finding]:
    """Columns that nobody knows, beside one of almost the same name that is not there: perhaps renamed at the source."""
    known = [*COLUMNS[source.table], *(MONEY if source.table == "events" else ())]
    absent = [column for column in known if column not in table.columns]
    near = {column: difflib.get_close_matches(column.lower(), absent, 1, 0.8) for column in table.columns if column not in known}
    named = tuple(f"{column} in {source.path.name} may mean {found[0]}" for column, found in near.items() if found)
    fix = f"if so, say it in columns of [tables.{source.table}], in dataset.toml"
    return [Finding("NEAR_COLUMN", source.table, "warn", len(named), named, "columns that are known by their names", fix)] if named else []


def _lacking_columns(source: Source) -> list[Finding]:
    lacking = lacking_in_parts(source.path) if source.path.is_dir() else {}
    named = tuple(f"{column} in {part}" for column, parts in lacking.items() for part in parts)
    fix = "unknown for the rows of that part; write it again if the column was dropped"
    return [Finding("PART_LACKS_COLUMN", source.table, "warn", len(named), named[:4], "every column in every part", fix)] if named else []


def _together(parts: list[ir.Table]) -> ir.Table:
    """Parts of one table under each other; what only one of them has is unknown in the others."""
    if len(parts) == 1:
        return parts[0]
    kinds = {column: parts[i].schema()[column] for i in range(len(parts)) for column in parts[i].columns}
    same = [part.select(**{column: part[column].cast(kind) if column in part.columns else ibis.null(kind) for column, kind in kinds.items()}) for part in parts]
    return ibis.union(*same)


def _with_goods(events: ir.Table, items: ir.Table) -> ir.Table:
    """Fill in the category and brand of an item where the event does not tell them."""
    goods = items.filter(items.item_id.notnull()).distinct(on="item_id", keep="first").select("item_id", category_of="category", brand_of="brand")
    told = events.left_join(goods, "item_id").drop("item_id_right")
    return told.mutate(category=told.category.fill_null(told.category_of), brand=told.brand.fill_null(told.brand_of)).drop("category_of", "brand_of")


def _consent(said: dict[str, Any]) -> Any:
    given = said.get("consent", "granted")
    if given not in ("granted", "required"):
        raise ContractError(f"dataset.toml needs consent = \"granted\" or \"required\" (what an absent consent means), found {given!r}; correct it")
    return given


def _positive(said: dict[str, Any], key: str, usual: int) -> int:
    number = int(said.get(key, usual))
    if number < 1:
        raise ContractError(f"dataset.toml needs {key} of 1 or more, found {number}; correct it")
    return number


def _moment(key: str, value: Any, zone: str) -> datetime:
    """A declared time as naive UTC; like every other, it is local without an offset."""
    try:
        moment = datetime.fromisoformat(str(value)) if not isinstance(value, date) or isinstance(value, datetime) else datetime(value.year, value.month, value.day)
    except ValueError:
        raise ContractError(f"dataset.toml needs a time such as 2026-01-31T00:00:00Z in {key}, found {value!r}; correct it") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC).replace(tzinfo=None)
