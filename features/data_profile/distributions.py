"""Distributions: how numbers and categories are spread, and when in the day and week customers act."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil, floor

import ibis
import ibis.expr.types as ir

from features.data_profile.cells import SMALLEST_GROUP, is_small
from features.data_profile.counted import Counted, rows_of
from features.dataset import Dataset

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
N_BINS = 16
# Kinds of events whose numbers are told apart, and values of a category that are named.
MOST_KINDS, MOST_VALUES = 12, 8
# A text is a number if so many of its values are, and a scale rather than a category if it takes more values than this.
NUMBER_SHARE, MOST_STEPS = 0.95, 20
# Numbers of an id lie closer together than this, each beside each.
CLOSE_ORDER = 10
CATEGORIES = {"events": ("kind", "initiator", "channel", "category", "brand"), "items": ("category", "brand"), "campaigns": ("kind",)}


@dataclass(frozen=True)
class Spread:
    """A number's spread over rows: `quantiles` are None where fewer than ten customers lie at or beyond them.

    `bins` are the rows from the 1st to the 99th percentile in equal steps (whole ones for whole numbers), None where they are of fewer than ten customers.
    Units: minor, seconds, days, or a plain number.
    """

    table: str
    column: str
    kind: str
    unit: str
    n: int
    n_customers: int
    quantiles: tuple[float | None, ...]
    bins: tuple[int | None, ...]


@dataclass(frozen=True)
class Value:
    """A value of a category: rows that bear it, and customers."""

    value: str
    n: int
    n_customers: int | None


@dataclass(frozen=True)
class Levels:
    """A category: its levels, and the most frequent of them with at least ten customers."""

    table: str
    column: str
    n_rows: int
    n_levels: int
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Distributions:
    """All spreads, categories, and own events by local hour and weekday (Monday is 0): (rows, customers)."""

    spreads: tuple[Spread, ...]
    levels: tuple[Levels, ...]
    hours: tuple[tuple[int, int], ...]
    weekdays: tuple[tuple[int, int], ...]


def distributions(dataset: Dataset, events: Counted, untold: set[tuple[str, str]]) -> Distributions:
    """Spread everything but the columns `untold` (table, column), whose values are not shown."""
    told = dataset.tables["events"]
    own = events.people.filter(events.people.is_own)
    times = events.baskets.mutate(before=events.baskets.at.lag().over(ibis.window(group_by="customer_id", order_by="at")))
    gaps = times.filter(times.before.notnull())
    spreads = [
        *(spread for column, unit in (("amount_minor", "minor"), ("discount_minor", "minor"), ("quantity", ""), ("value", ""))
          for spread in spreads_of(told.select("customer_id", kind="kind", value=column), "events", column, unit)),
        *spreads_of(_late(told), "events", "ingested_at", "seconds"),
        *spreads_of(own.group_by("customer_id").agg(value=own.n.sum()).mutate(kind=ibis.literal("")), "", "events_of_a_customer", ""),
        *spreads_of(events.baskets.group_by("customer_id").agg(value=events.baskets.count()).mutate(kind=ibis.literal("")), "", "purchases_of_a_customer", ""),
        *spreads_of(gaps.select("customer_id", kind=ibis.literal(""), value=(gaps.at.epoch_seconds() - gaps.before.epoch_seconds()) / 86400), "", "days_between_purchases", "days")]
    levels = [
        _levels(name, column, dataset.tables[name])
        for name, columns in CATEGORIES.items() if name in dataset.tables for column in columns if (name, column) not in untold]
    if "customers" in dataset.tables:
        people = latest(dataset.tables["customers"])
        numbers = scales_among(people, [a.name for a in dataset.attributes if ("customers", a.name) not in untold])
        for attribute, is_number in numbers.items():
            if is_number:
                value = people[attribute].cast("string").try_cast("float64")
                spreads += spreads_of(people.select(customer_id="customer_id", kind=ibis.literal(""), value=value), "customers", attribute, "")
            else:
                levels.append(_levels("customers", attribute, people))
    return Distributions(tuple(spreads), tuple(one for one in levels if one.n_levels), *_clock(told))


def latest(people: ir.Table) -> ir.Table:
    """Grain: customer, as last known."""
    newest = ibis.window(group_by="customer_id", order_by=people.valid_from.fill_null(datetime(1, 1, 1)).desc())
    return people.select(**{column: people[column] for column in people.columns}, likeness_place=ibis.row_number().over(newest)).filter(
        lambda t: t.likeness_place == 0).drop("likeness_place")


def spreads_of(rows: ir.Table, table: str, column: str, unit: str) -> list[Spread]:
    """The spread of `value` for each kind that tells it, most rows first. Shape of rows: customer_id, kind, value."""
    rows = rows.mutate(value=rows.value.cast("float64"))
    rows = rows.filter(rows.value.notnull() & ~rows.value.isnan() & ~rows.value.isinf())
    by_kind = rows.group_by("kind").agg(
        n=rows.count(), n_customers=rows.customer_id.nunique(), quantiles=rows.value.quantile(list(QUANTILES)), is_whole=(rows.value == rows.value.floor()).all())
    found = rows_of(by_kind.order_by(ibis.desc("n"), "kind").limit(MOST_KINDS))
    if not found:
        return []
    places = ibis.memtable(
        [{"kind": row["kind"], "i": i, "at": at} for row in found for i, at in enumerate(row["quantiles"])], schema={"kind": "string", "i": "int64", "at": "float64"})
    ends = rows.group_by(["kind", "customer_id"]).agg(least=rows.value.min(), most=rows.value.max()).join(places, "kind")
    beyond = ends.group_by(["kind", "i"]).agg(below=(ends.least <= ends["at"]).sum(), above=(ends.most >= ends["at"]).sum())
    is_told = {(row["kind"], row["i"]): min(row["below"], row["above"]) >= SMALLEST_GROUP for row in rows_of(beyond)}
    edges = ibis.memtable(
        [{"kind": row["kind"], **_steps(row["quantiles"][0], row["quantiles"][-1], row["is_whole"])} for row in found],
        schema={"kind": "string", "low": "float64", "high": "float64", "step": "float64"})
    inside = rows.join(edges, "kind").filter(lambda t: t.value.between(t.low, t.high))
    placed = inside.mutate(bin=((inside.value - inside.low) / inside.step).floor().clip(0, N_BINS - 1).cast("int64"))
    cells = {(row["kind"], row["bin"]): row for row in rows_of(placed.group_by(["kind", "bin"]).agg(n=placed.count(), n_customers=placed.customer_id.nunique()))}

    def bins(kind: str) -> tuple[int | None, ...]:
        rows = [cells.get((kind, i)) for i in range(max((i for of, i in cells if of == kind), default=-1) + 1)]
        return tuple(0 if row is None else None if is_small(row["n_customers"]) else row["n"] for row in rows)

    def quantiles(kind: str, values: list[float]) -> tuple[float | None, ...]:
        return tuple(at if is_told[kind, i] else None for i, at in enumerate(values))

    return [
        Spread(table, column, row["kind"], unit, row["n"], row["n_customers"], quantiles(row["kind"], row["quantiles"]), bins(row["kind"])) for row in found]


def _steps(low: float, high: float, is_whole: bool) -> dict[str, float]:
    """Where the bins of a picture begin and end, and how wide they are."""
    if is_whole:
        low, high = floor(low), ceil(high)
        return {"low": low, "high": high, "step": ceil((high - low + 1) / N_BINS)}
    return {"low": low, "high": high, "step": (high - low) / N_BINS or 1.0}


def _late(events: ir.Table) -> ir.Table:
    """Seconds on the way, of the events that arrived later than they happened."""
    late = events.filter(events.ingested_at > events.event_at)
    return late.select("customer_id", kind=ibis.literal(""), value=(late.ingested_at.epoch_seconds() - late.event_at.epoch_seconds()))


def _levels(name: str, column: str, table: ir.Table) -> Levels:
    """A category's levels; where rows are of nobody, such as goods, all of them may be named."""
    is_of_people = "customer_id" in table.columns
    told = table.select(value=table[column].cast("string"), customer_id=table["customer_id"] if is_of_people else ibis.null("string"))
    told = told.filter(told.value.notnull())
    counts = told.group_by("value").agg(n=told.count(), n_customers=told.customer_id.nunique())
    counts = counts.mutate(is_enough=(counts.n_customers >= SMALLEST_GROUP) | (not is_of_people))
    counts = counts.mutate(levels=counts.count().over(), rows=counts.n.sum().over(), small=(~counts.is_enough).sum().over())
    best = rows_of(counts.order_by(ibis.desc("is_enough"), ibis.desc("n"), "value").limit(MOST_VALUES))
    values = [Value(row["value"], row["n"], row["n_customers"] if is_of_people else None) for row in best if row["is_enough"]]
    if best and best[0]["small"] == 1 and len(values) == best[0]["levels"] - 1:
        # One small level alone: the total would give it away.
        values = values[:-1]
    return Levels(name, column, best[0]["rows"] if best else 0, best[0]["levels"] if best else 0, tuple(values))


def scales_among(people: ir.Table, attributes: Sequence[str]) -> dict[str, bool]:
    """Which attributes are scales of numbers, and which categories; those that tell nothing are left out. Whole numbers in close order, each once, are no scale but an id."""
    if not attributes:
        return {}
    told: dict[str, ir.Value] = {}
    for i, name in enumerate(attributes):
        text = people[name].cast("string")
        number = text.try_cast("float64")
        told |= {f"n_{i}": text.count(), f"numbers_{i}": number.count(), f"levels_{i}": text.nunique(), f"range_{i}": number.max() - number.min()}
    row = rows_of(people.aggregate(**told))[0]

    def is_scale(i: int) -> bool:
        levels, is_id = row[f"levels_{i}"], row[f"levels_{i}"] == row[f"n_{i}"] and row[f"range_{i}"] is not None and row[f"range_{i}"] < CLOSE_ORDER * row[f"levels_{i}"]
        return bool(levels > MOST_STEPS and row[f"numbers_{i}"] >= NUMBER_SHARE * row[f"n_{i}"] and not is_id)

    return {name: is_scale(i) for i, name in enumerate(attributes) if row[f"n_{i}"]}


def _clock(events: ir.Table) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    """Own events by hour and by weekday, with their customers."""
    own = events.filter(events.initiator == "customer")
    told = own.select("customer_id", hour=own.local_at.hour(), weekday=own.local_at.day_of_week.index())
    cells = told.group_by(["customer_id", "hour", "weekday"]).agg(n=told.count())
    out = []
    for column, n in (("hour", 24), ("weekday", 7)):
        found = {row[column]: (row["n"], row["c"]) for row in rows_of(cells.group_by(column).agg(n=cells.n.sum(), c=cells.customer_id.nunique()))}
        out.append(tuple(found.get(i, (0, 0)) for i in range(n)))
    return out[0], out[1]
