"""A company's own folder in the contract's form: `events` (required), `customers`, `items`, `campaigns`, and `dataset.toml`."""

import hashlib
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import ibis
import ibis.expr.types as ir

from features.contracts import COLUMNS, shaped
from features.dataset import Attribute, Dataset, minor_units
from features.engine import connect, local_to_utc, read_table, utc_to_local
from features.errors import ContractError, UsageError, first_few
from features.files import sha256
from features.tasks import Eligibility, Task, WindowSpec

_ENDINGS = (".parquet", ".csv", ".csv.gz", ".csv.zst")
_REQUIRED = ("event_id", "customer_id", "event_at", "kind")
_EXAMPLE = 'zone = "Asia/Shanghai" and currency = "CNY"'


def read(folder: Path) -> Dataset:
    """Read the folder's tables; times without an offset are in the declared zone, `amount` is in major units of the declared currency.

    Raises: ContractError for an empty folder, a source without zone, an unparsable time or number, mixed currencies.
    """
    found = {name: path for name in COLUMNS for ending in _ENDINGS if (path := folder / f"{name}{ending}").exists()}
    if "events" not in found:
        names = sorted(path.name for path in folder.iterdir())
        raise ContractError(
            f"the folder {folder} needs a file events{_ENDINGS[0]} or events.csv (also .gz, .zst) with {', '.join(_REQUIRED)}; "
            f"found {first_few(names) or 'nothing'}; export your events there")
    declared = _declaration(folder)
    zone, currency = declared["zone"], str(declared["currency"]).upper()
    engine = connect((folder,))
    raw = {name: read_table(engine, path, *(_REQUIRED if name == "events" else ())) for name, path in found.items()}

    tables: dict[str, ir.Table] = {}
    for name, table in raw.items():
        for column, (kind, _) in COLUMNS[name].items():
            if column in table.columns and kind != "string":
                table = table.mutate(**{column: _parsed(name, table, column, kind, zone)})
        if name == "events":
            table = _with_money_and_clock(table, currency, zone)
        missing = [column for column, (_, may_be_null) in COLUMNS[name].items()
                   if not may_be_null and column not in table.columns and column != "ingested_at"]
        if missing:
            raise ContractError(f"MISSING_COLUMN: {name} needs {', '.join(missing)}; found {', '.join(table.columns)}; add or rename them")
        tables[name] = engine.create_table(name, shaped(name, table), overwrite=True)
    if "items" in tables:
        tables["events"] = engine.create_table("events_of_items", _with_goods(tables["events"], tables["items"]))

    events = tables["events"]
    if not events.event_at.count().to_pyarrow().as_py():
        raise ContractError(f"NO_EVENTS: events needs at least one row with an event_at, found none in {folder}; export your events there")
    first, last = (value.replace(tzinfo=None) for value in events.aggregate(a=events.event_at.min(), b=events.event_at.max()).to_pyarrow().to_pylist()[0].values())
    until = declared.get("observed_until")
    observed_until = _moment("observed_until", until, zone) if until else last + timedelta(seconds=1)
    extra = [column for column in tables["customers"].columns if column not in COLUMNS["customers"]] if "customers" in tables else []
    sensitive = set(_list_of(str, "sensitive", declared.get("sensitive", [])))
    digest = hashlib.sha256("".join(sha256(path) for path in sorted(folder.iterdir()) if path.is_file()).encode()).hexdigest()
    return Dataset(
        declared.get("name", folder.resolve().name), zone, currency, first, observed_until, engine, tables, _tasks(declared, currency.lower()), digest,
        tuple(Attribute(name, name.replace("_", " "), name, name in sensitive) for name in extra), licence=declared.get("licence", "not stated"),
        consent=_consent(declared))


def _with_goods(events: ir.Table, items: ir.Table) -> ir.Table:
    """Fill in the category and brand of an item where the event does not tell them."""
    goods = items.filter(items.item_id.notnull()).distinct(on="item_id", keep="first").select("item_id", category_of="category", brand_of="brand")
    told = events.left_join(goods, "item_id").drop("item_id_right")
    return told.mutate(category=told.category.fill_null(told.category_of), brand=told.brand.fill_null(told.brand_of)).drop("category_of", "brand_of")


def _declaration(folder: Path) -> dict[str, Any]:
    """Read `dataset.toml` and refuse a source without a zone or a currency."""
    path = folder / "dataset.toml"
    try:
        declared = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except tomllib.TOMLDecodeError as error:
        raise ContractError(f"dataset.toml must be valid TOML, found: {error}; correct that line") from None
    missing = [key for key in ("zone", "currency") if not declared.get(key)]
    if missing:
        code = "NO_ZONE" if "zone" in missing else "NO_CURRENCY"
        raise ContractError(f"{code}: the source must declare its {' and '.join(missing)}, found none in {path}; write there for example {_EXAMPLE}")
    try:
        ZoneInfo(declared["zone"])
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise ContractError(f"NO_ZONE: zone must be an IANA name, found {declared['zone']!r}; write for example {_EXAMPLE}") from None
    return declared


def _consent(declared: dict[str, Any]) -> Any:
    said = declared.get("consent", "granted")
    if said not in ("granted", "required"):
        raise ContractError(f"dataset.toml needs consent = \"granted\" or \"required\" (what an absent consent means), found {said!r}; correct it")
    return said


def _list_of(kind: type, key: str, value: Any) -> list[Any]:
    if not isinstance(value, list) or not all(isinstance(one, kind) for one in value):
        raise ContractError(f"dataset.toml needs a list in {key}, found {value!r}; correct it")
    return value


def _moment(key: str, value: Any, zone: str) -> datetime:
    """A declared time as naive UTC; like every other, it is local without an offset."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise ContractError(f"dataset.toml needs a time such as 2026-01-31T00:00:00Z in {key}, found {value!r}; correct it") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC).replace(tzinfo=None)


def _parsed(name: str, table: ir.Table, column: str, kind: str, zone: str) -> ir.Value:
    """Parse a column; a stamp with an offset (or a zoned type) is an instant, one without is local time of `zone`."""
    value = table[column]
    if kind.startswith("timestamp"):
        if value.type().is_timestamp() and value.type().timezone:
            return value.cast("timestamp('UTC')").cast("timestamp")
        if value.type().is_string():
            has_offset = value.re_search(r"[zZ]$|:\d\d(\.\d+)? ?([+-]\d\d(:?\d\d)?|[A-Za-z].*)$")
            instant = value.try_cast("timestamp('UTC')").cast("timestamp")
            parsed = ibis.ifelse(has_offset, instant, local_to_utc(value.try_cast("timestamp"), zone))
        else:
            parsed = local_to_utc(value.cast("timestamp"), zone)
    else:
        parsed = value.try_cast(kind)
    is_given = value.cast("string").length() > 0
    is_wrong = parsed.isnull()
    if kind.startswith("timestamp"):
        is_wrong |= ~parsed.between(datetime(1800, 1, 1), datetime(2200, 1, 1))
    elif kind == "int64" and value.type().is_string():
        is_wrong |= ~value.re_search(r"^ *[+-]?[0-9]+ *$")
    bad = table.filter(is_given & is_wrong).select(value=value.cast("string"))
    n = int(bad.count().to_pyarrow().as_py())
    if n:
        code = "UNPARSABLE_TIME" if kind.startswith("timestamp") else "UNPARSABLE_VALUE"
        wanted = "times such as 2026-01-31 18:05:00 or 2026-01-31T18:05:00Z" if kind.startswith("timestamp") else kind
        examples = first_few(bad.limit(4).to_pyarrow().column(0).to_pylist())
        raise ContractError(f"{code}: {name}.{column} needs {wanted}; found {n:,} that are not ({examples}); correct them in the source")
    return parsed


def _with_money_and_clock(events: ir.Table, currency: str, zone: str) -> ir.Table:
    """Turn money into minor units and add the customers' clock and, where the source does not say, the initiator."""
    if "currency" in events.columns:
        found = sorted(str(value) for value in events.currency.as_table().distinct().to_pyarrow().column(0).to_pylist() if value)
        if any(value != currency for value in found):
            raise ContractError(f"MIXED_CURRENCY: all money must be in {currency} as declared, found {', '.join(found)}; convert it in the source")
        events = events.drop("currency")
    for column in ("amount", "discount"):
        if column in events.columns:
            given = events[column]
            money = given.try_cast("float64")
            bad = events.filter((given.cast("string").length() > 0) & (money.isnull() | money.isnan() | (money.abs() >= 1e13))).select(value=given.cast("string"))
            n = int(bad.count().to_pyarrow().as_py())
            if n:
                examples = first_few(bad.limit(4).to_pyarrow().column(0).to_pylist())
                raise ContractError(f"UNPARSABLE_VALUE: events.{column} needs decimal numbers such as 12.50; found {n:,} that are not ({examples}); correct them")
            events = events.mutate(**{f"{column}_minor": (money * minor_units(currency)).round().cast("int64")}).drop(column)
    if "initiator" not in events.columns:
        events = events.mutate(initiator=ibis.literal("customer"))
    return events.mutate(local_at=utc_to_local(events.event_at, zone))


def _tasks(declared: dict[str, Any], currency: str) -> tuple[Task, ...]:
    """The tasks that `dataset.toml` declares, or churn by a month of silence."""
    given = declared.get("tasks") or {"churn": {}}
    tasks = []
    if not isinstance(given, dict) or not all(isinstance(said, dict) for said in given.values()):
        raise ContractError(f"dataset.toml needs tasks as tables such as [tasks.churn], found tasks = {given!r}; correct it")
    for name, said in given.items():
        for key in ("horizon_days", "gap_days", "slide_days", "row_cap", "active_days"):
            if not isinstance(said.get(key, 1), int):
                raise ContractError(f"dataset.toml needs a whole number of days in tasks.{name}.{key}, found {said[key]!r}; correct it")
        if "lookbacks_days" in said and not _list_of(int, f"tasks.{name}.lookbacks_days", said["lookbacks_days"]):
            raise ContractError(f"dataset.toml needs at least one number in tasks.{name}.lookbacks_days, found none; write for example [28, 56]")
        kind = said.get("kind", "churn" if name == "churn" else "conversion")
        if kind not in ("churn", "conversion"):
            raise UsageError(f"tasks.{name}.kind must be churn or conversion, found {kind!r}; correct dataset.toml")
        lookbacks = tuple(said.get("lookbacks_days", (28, 56, 112)))
        windows = WindowSpec(
            horizon_days=said.get("horizon_days", 28), lookbacks_days=lookbacks, gap_days=said.get("gap_days", 0),
            slide_days=said.get("slide_days", 14), row_cap=said.get("row_cap", 10))
        rules = ("days_since_last_purchase", "purchases_count_ever", *(f"purchases_count_{d}d" for d in lookbacks), *(f"spend_sum_{d}d_{currency}" for d in lookbacks))
        tasks.append(Task(
            name, kind, Eligibility(said.get("active_days", 56), received_kind=said.get("received_kind")), windows,
            target_kind=said.get("target_kind", "purchase"), rules=rules))
    return tuple(tasks)
