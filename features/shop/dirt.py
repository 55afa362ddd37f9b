"""Dirt on request: what goes wrong in real sources, at a given rate, with a ledger of every row that was made dirty."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.errors import UsageError
from features.shop.world import AGES, OFFSET_HOURS, Array

_MICRO = 1_000_000
LEDGER = pa.schema([("what", pa.string()), ("table", pa.string()), ("row_id", pa.string()), ("column", pa.string()), ("before", pa.string()), ("after", pa.string())])


@dataclass
class Source:
    """The tables of one partition while they are made dirty. `rate` of the dirt at hand; `number` is the partition's."""

    tables: dict[str, pa.Table]
    number: int
    rng: np.random.Generator
    ledger: list[pa.Table] = field(default_factory=list)

    def some(self, rate: float, among: Array | None = None) -> Array:
        """A share of the events (or of these rows), at random, in order."""
        rows = np.arange(len(self.tables["events"])) if among is None else among
        return np.asarray(rows[self.rng.random(len(rows)) < rate])

    def change(self, what: str, rows: Array, column: str, values: pa.Array, table: str = "events", key: str = "event_id") -> None:
        """Put other values into a column of these rows, and into the ledger."""
        old = self.tables[table]
        place = old.column_names.index(column)
        before = _plain(old[column]).take(pa.array(rows))
        mask = np.zeros(len(old), bool)
        mask[rows] = True
        fresh = pc.replace_with_mask(_plain(old[column]), pa.array(mask), values.cast(before.type))
        self.tables[table] = old.set_column(place, column, fresh)
        self.note(what, table, old[key].take(pa.array(rows)), column, before, values)

    def append(self, what: str, rows: pa.Table, table: str = "events", key: str = "event_id") -> None:
        """Add rows at the end, and to the ledger."""
        old = self.tables[table]
        plain = pa.table({name: _plain(old[name]) for name in old.column_names})
        self.tables[table] = pa.concat_tables([plain, rows.select(old.column_names).cast(plain.schema)])
        self.note(what, table, rows[key])

    def note(self, what: str, table: str, ids: Any, column: str = "", before: Any = None, after: Any = None) -> None:
        """Write rows into the ledger."""
        n = len(ids)
        nothing = pa.nulls(n, pa.string())
        self.ledger.append(pa.table([
            pa.array([what] * n, pa.string()), pa.array([table] * n, pa.string()), _plain(ids).cast(pa.string()), pa.array([column] * n, pa.string()),
            nothing if before is None else before.cast(pa.string()), nothing if after is None else after.cast(pa.string())], schema=LEDGER))

    def times(self, column: str = "event_at") -> Array:
        """Microseconds since 1970."""
        return np.asarray(self.tables["events"][column].cast(pa.int64()).to_numpy())

    def of_kind(self, kind: str) -> Array:
        """The rows of events of a kind."""
        return np.flatnonzero(pc.equal(_plain(self.tables["events"]["kind"]), kind).to_numpy(zero_copy_only=False))


def _plain(column: Any) -> Any:
    """A column without its dictionary, in one piece."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks)
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _stamps(micro: Array) -> pa.Array:
    return pa.array(micro.astype(np.int64), pa.int64()).cast(pa.timestamp("us", "UTC"))


def _duplicates(source: Source, rate: float) -> None:
    """The same event twice, equal in everything."""
    rows = source.tables["events"].take(pa.array(source.some(rate)))
    source.append("duplicates", _decoded(rows))


def _redelivered(source: Source, rate: float) -> None:
    """The same event again, hours or days later: all equal but when it arrived."""
    rows = _decoded(source.tables["events"].take(pa.array(source.some(rate))))
    later = np.asarray(rows["ingested_at"].cast(pa.int64()).to_numpy()) + source.rng.integers(3600, 3 * 86400, len(rows)) * _MICRO
    source.append("redelivered", rows.set_column(rows.column_names.index("ingested_at"), "ingested_at", _stamps(later)))


def _late(source: Source, rate: float) -> None:
    """Events that arrive one to twenty days after they happened."""
    rows = source.some(rate)
    source.change("late", rows, "ingested_at", _stamps(source.times()[rows] + source.rng.integers(86400, 20 * 86400, len(rows)) * _MICRO))


def _out_of_order(source: Source, rate: float) -> None:
    """Rows that stand elsewhere in the file than time would have them."""
    rows = source.some(rate)
    order = np.arange(len(source.tables["events"]))
    order[rows] = source.rng.permutation(rows)
    source.note("out_of_order", "events", source.tables["events"]["event_id"].take(pa.array(rows)))
    source.tables["events"] = source.tables["events"].take(pa.array(order))


def _future_dates(source: Source, rate: float) -> None:
    """A clock that is one to three years fast."""
    rows = source.some(rate)
    source.change("future_dates", rows, "event_at", _stamps(source.times()[rows] + source.rng.integers(365, 3 * 365, len(rows)) * 86400 * _MICRO))


def _wrong_zone(source: Source, rate: float) -> None:
    """Local times that were written down as UTC."""
    rows = source.some(rate)
    source.change("wrong_zone", rows, "event_at", _stamps(source.times()[rows] + OFFSET_HOURS * 3600 * _MICRO))


def _missing_zone(source: Source, rate: float) -> None:
    """Times as text, in UTC, some of them without saying so. What comes after it finds texts in the column."""
    rows = source.some(rate)
    text = pc.strftime(source.tables["events"]["event_at"].cast(pa.timestamp("s", "UTC")), format="%Y-%m-%dT%H:%M:%SZ")
    events = source.tables["events"]
    source.tables["events"] = events.set_column(events.column_names.index("event_at"), "event_at", text)
    source.change("missing_zone", rows, "event_at", pc.utf8_rtrim(_plain(text).take(pa.array(rows)), "Z"))


def _refunds_first(source: Source, rate: float) -> None:
    """Refunds that seem to come before the purchase."""
    events, rows = source.tables["events"], source.some(rate, source.of_kind("refund"))
    bought = source.of_kind("purchase")
    sessions = _plain(events["session_id"])
    first = dict(zip(sessions.take(pa.array(bought[::-1])).to_pylist(), source.times()[bought[::-1]].tolist(), strict=True))
    times = source.times()[rows]
    at = [first.get(session, int(time)) - 3600 * _MICRO for session, time in zip(sessions.take(pa.array(rows)).to_pylist(), times, strict=True)]
    source.change("refunds_first", rows, "event_at", _stamps(np.array(at, np.int64)))


def _strangers(source: Source, what: str, rate: float, prefix: str, per_person: int, make: Callable[[int], dict[str, Any]]) -> None:
    """Events of customers that are none. Their number is a share of the partition's."""
    n = int(source.rng.binomial(len(source.tables["truth/people"]), rate))
    times, events = source.times(), source.tables["events"]
    if not n:
        return
    rows = n * per_person
    who = np.repeat(np.arange(n), per_person)
    start = source.rng.choice(times, n)[who] if len(times) else np.zeros(rows, np.int64)
    given = {"event_id": [f"{what}-{source.number:05d}-{i}" for i in range(rows)], "customer_id": [f"{prefix}{source.number:05d}{i:04d}" for i in who.tolist()], **make(rows)}
    step = given.pop("every_s")
    at = np.minimum(start + np.tile(np.arange(per_person), n) * step * _MICRO, times.max())
    columns = {name: pa.nulls(rows, _plain_type(events[name].type)) for name in events.column_names}
    columns |= {name: pa.array(value).cast(_plain_type(events[name].type)) for name, value in given.items()}
    columns |= {"event_at": _stamps(at), "ingested_at": _stamps(at + 2 * _MICRO), "initiator": pa.array(["customer"] * rows)}
    source.append(what, pa.table({name: columns[name] for name in events.column_names}))


def _bots(source: Source, rate: float) -> None:
    """Programs that look at a product every four seconds, day and night."""
    _strangers(source, "bots", rate, "ck_b07", 1500, lambda n: {
        "every_s": 4, "kind": ["product_view"] * n, "channel": ["web"] * n, "device": ["pc"] * n, "item_id": [f"I{i % 576:04d}" for i in range(n)]})


def _testers(source: Source, rate: float) -> None:
    """Colleagues who buy for a hundredth, again and again."""
    _strangers(source, "testers", rate, "CTEST", 40, lambda n: {
        "every_s": 3600, "kind": ["purchase"] * n, "channel": ["app"] * n, "item_id": ["I0000"] * n, "quantity": [1] * n, "amount": [.01] * n, "discount": [0.0] * n})


def _negative_prices(source: Source, rate: float) -> None:
    """Purchases with a minus."""
    rows = source.some(rate, source.of_kind("purchase"))
    source.change("negative_prices", rows, "amount", pc.negate(_plain(source.tables["events"]["amount"]).take(pa.array(rows))))


def _unknown_items(source: Source, rate: float) -> None:
    """Items that the assortment does not know."""
    rows = source.some(rate, source.of_kind("purchase"))
    source.change("unknown_items", rows, "item_id", pa.array([f"X{i:04d}" for i in source.rng.integers(0, 500, len(rows))], pa.string()))


def _conflicting_profiles(source: Source, rate: float) -> None:
    """A second source that says another age and sex of the same customer, a minute later."""
    customers = _decoded(source.tables["customers"])
    some = pa.array(np.flatnonzero(source.rng.random(len(customers)) < rate))
    rows = customers.take(some)
    later = _stamps(np.asarray(rows["valid_from"].cast(pa.int64()).to_numpy()) + 60 * _MICRO)
    ages = pa.array([AGES[(AGES.index(age) + 2) % len(AGES)] for age in rows["age_band"].to_pylist()], pa.string())
    other = pc.if_else(pc.equal(rows["gender"], "male"), "female", "male")
    for name, values in (("valid_from", later), ("age_band", ages), ("gender", other)):
        rows = rows.set_column(rows.column_names.index(name), name, values)
    source.append("conflicting_profiles", rows, "customers", "customer_id")


def _mixed_encodings(source: Source, rate: float) -> None:
    """Chinese text of one encoding read as another."""
    table = source.tables["customers"]
    rows = np.flatnonzero(source.rng.random(len(table)) < rate)
    texts = _plain(table["city"]).take(pa.array(rows)).to_pylist()
    source.change("mixed_encodings", rows, "city", pa.array([text.encode("gb18030").decode("latin-1") for text in texts], pa.string()), "customers", "customer_id")


def _plain_type(kind: Any) -> Any:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _decoded(table: pa.Table) -> pa.Table:
    return pa.table({name: _plain(table[name]) for name in table.column_names})


# Name: what does it, and its usual rate. The order is that in which they are done.
DIRT: dict[str, tuple[Callable[[Source, float], None], float]] = {
    "refunds_first": (_refunds_first, .1), "negative_prices": (_negative_prices, .001), "unknown_items": (_unknown_items, .005), "future_dates": (_future_dates, .0005),
    "wrong_zone": (_wrong_zone, .005), "late": (_late, .02), "bots": (_bots, .0005), "testers": (_testers, .001), "missing_zone": (_missing_zone, .01),
    "duplicates": (_duplicates, .01), "redelivered": (_redelivered, .005), "conflicting_profiles": (_conflicting_profiles, .01), "mixed_encodings": (_mixed_encodings, .02),
    "out_of_order": (_out_of_order, .05)}


def dirt_of(words: Sequence[str]) -> dict[str, float]:
    """NAME or NAME=RATE, or all -> rates. Raises: UsageError for an unknown name or a rate that is none."""
    found: dict[str, float] = {}
    for word in words:
        name, _, rate = word.partition("=")
        if name == "all":
            found |= {one: usual for one, (_, usual) in DIRT.items()}
            continue
        if name not in DIRT:
            near = difflib.get_close_matches(name, DIRT, 1, 0.4)
            raise UsageError(f"--dirt must be all or one of {', '.join(DIRT)}, found {name!r}; " + (f"did you mean {near[0]}?" if near else "correct the name"))
        try:
            found[name] = float(rate) if rate else DIRT[name][1]
        except ValueError:
            found[name] = -1.0
        if not 0 < found[name] <= 1:
            raise UsageError(f"--dirt {name} needs a rate above 0 and at most 1 such as {name}={DIRT[name][1]}, found {rate!r}; correct it")
    return found


def soil(tables: dict[str, pa.Table], dirt: dict[str, float], number: int, seed: int) -> dict[str, pa.Table]:
    """Make a partition's tables dirty; what is not touched stays as it was. Adds the table truth/dirt."""
    source = Source(dict(tables), number, np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, number, 1]))))
    for name, (make_dirty, _) in DIRT.items():
        if name in dirt:
            make_dirty(source, dirt[name])
    return {**source.tables, "truth/dirt": pa.concat_tables([LEDGER.empty_table(), *source.ledger])}
