"""A company's own folder: `events` (required, from one file or several), `customers`, `items`, `campaigns`, and `dataset.toml`."""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir

from features.contracts import COLUMNS, shaped
from features.dataset import Attribute, Dataset
from features.declaration import MONEY, declared_in, funnels_of, require_place, tasks_of
from features.engine import connect, utc_to_local
from features.errors import ContractError, first_few
from features.files import sha256
from features.parsing import Form, in_minor_units, parsed
from features.reading import ENDINGS, ending_of, read_file, stem_of

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

_REQUIRED = {"events": ("customer_id", "event_at", "kind"), "customers": ("customer_id",), "items": ("item_id",), "campaigns": ("campaign_id", "start_at", "end_at")}
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
    engine = connect((folder,))
    marketers = (*_MARKETERS, *said.get("marketer_kinds", ()))

    tables: dict[str, ir.Table] = {}
    for name in COLUMNS:
        parts = [_part(engine, source, zone, currency, marketers, i) for i, source in enumerate(one for one in sources if one.table == name)]
        if parts:
            tables[name] = engine.create_table(name, shaped(name, _together(parts)), overwrite=True)
    if "items" in tables:
        tables["events"] = engine.create_table("events_of_items", _with_goods(tables["events"], tables["items"]))

    events = tables["events"]
    if not events.event_at.count().to_pyarrow().as_py():
        raise ContractError(f"NO_EVENTS: events needs at least one row with an event_at, found none in {folder}; export your events there")
    first, last = (value.replace(tzinfo=None) for value in events.aggregate(a=events.event_at.min(), b=events.event_at.max()).to_pyarrow().to_pylist()[0].values())
    until = said.get("observed_until")
    observed_until = _moment("observed_until", until, zone) if until else last + timedelta(seconds=1)
    digest = hashlib.sha256("".join(sha256(path) for path in files_of(folder)).encode()).hexdigest()
    return Dataset(
        said.get("name", folder.resolve().name), zone, currency, first, observed_until, engine, tables, tasks_of(said, currency.lower()), digest,
        _attributes(tables, said), licence=said.get("licence", "not stated"), consent=_consent(said),
        bot_events_per_hour=_positive(said, "bot_events_per_hour", Dataset.bot_events_per_hour), testers=tuple(said.get("testers", ())), is_simulated=said.get("simulated", False),
        funnels=funnels_of(said))


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
            if not (ending_of(path) or path.is_dir()):
                raise ContractError(f"tables.{name}.file must end in one of {', '.join(ENDINGS)}, found {path.name}; convert it")
            found.append(Source(
                name, path, part.get("columns", {}), part.get("constants", {}), part.get("values", {}), part.get("delimiter", ""),
                part.get("encoding", said.get("encoding", "")), Form(part.get("time_format", ""), part.get("decimal", "."), part.get("thousands", ""))))
    if not any(source.table == "events" for source in found):
        names = sorted(path.name for path in folder.iterdir())
        raise ContractError(
            f"the folder {folder} needs a file events.parquet or events.csv (also .tsv, .txt, .gz, .zst) with event_id, {', '.join(_REQUIRED['events'])}; "
            f"found {first_few(names) or 'nothing'}; export your events there"
            + (f", or let your own files be recognised: python -m features check {folder} --init" if there else ""))
    return found


def _part(engine: "Backend", source: Source, zone: str, currency: str, marketers: tuple[str, ...], number: int) -> ir.Table:
    """One file as its table's columns, parsed."""
    table = _renamed(read_file(engine, source.path, source.delimiter, source.encoding), source)
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
    for column, (kind, _) in COLUMNS[name].items():
        if column in table.columns and kind != "string":
            table = table.mutate(**{column: parsed(name, table, column, kind, zone, source.form)})
    if name == "events":
        table = in_minor_units(table, currency, source.form)
        if "initiator" not in table.columns:
            table = table.mutate(initiator=ibis.ifelse(table.kind.isin(marketers), "marketer", "customer"))
        table = table.mutate(local_at=utc_to_local(table.event_at, zone))
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


def _attributes(tables: dict[str, ir.Table], said: dict[str, Any]) -> tuple[Attribute, ...]:
    """What customers have beside the contract's columns. Raises: ContractError for a label of a column that is not there."""
    extra = [column for column in tables["customers"].columns if column not in COLUMNS["customers"]] if "customers" in tables else []
    labels, sensitive = said.get("attributes", {}), set(said.get("sensitive", []))
    odd = [name for name in (*labels, *sensitive) if name not in extra]
    if odd:
        raise ContractError(f"attributes and sensitive must name columns of customers, found {first_few(odd)}; there are {', '.join(extra) or 'none'}; correct dataset.toml")
    return tuple(
        Attribute(name, labels.get(name, {}).get("label_en", name.replace("_", " ")), labels.get(name, {}).get("label_zh", name),
                  labels.get(name, {}).get("sensitive", name in sensitive)) for name in extra)


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
