"""Snapshots: the feature table at many moments at once, from nothing that was unknown at each.

The path of one call: events -> history (one row per event and as_of) -> streams (the grain of a family) -> one long aggregation
per stream (customer x as_of x slice x window bucket) -> a pivot -> features.
"""

from collections.abc import Sequence
from datetime import datetime

import ibis
import ibis.expr.types as ir
from ibis.util import gen_name

from features import catalogue
from features.dataset import Dataset, minor_units
from features.errors import UsageError
from features.feature import Aggregate, AsOf, Feature, Formula
from features.streams import STREAMS

KEY = ["customer_id", "as_of"]
# Own kinds of events beside purchases that get features.
MOST_KINDS = 20
# Events times moments that are looked at together.
MOST_PAST = 60_000_000


def features_of(dataset: Dataset) -> tuple[tuple[Feature, ...], dict[str, str]]:
    """The features that this dataset's tables allow, and for each of the others what it lacks.

    A feature without its data is absent; a column of zeros would look like knowledge.
    """
    has = _supply(dataset)
    undated = "customers" in dataset.tables and not _has_values(dataset.tables["customers"], "valid_from")
    templates = (
        *catalogue.profile(dataset.attributes, undated), *catalogue.CATALOGUE, *catalogue.of_kinds(_frequent_kinds(dataset)),
        *catalogue.of_targets(dataset.tasks, _frequent_kinds(dataset, "category")))
    present, absent = [], {}
    for feature in catalogue.expand(templates, dataset.lookbacks_days(), dataset.currency):
        lacking = [need for need in feature.needs if need not in has]
        if lacking:
            absent[feature.name] = " and ".join(lacking)
        else:
            present.append(feature)
    return tuple(present), absent


def _supply(dataset: Dataset) -> set[str]:
    """What there is to build on: kinds of events, filled columns of events, optional tables."""
    events = dataset.tables["events"]
    kinds = events.kind.as_table().distinct().to_pyarrow().column(0).to_pylist()
    counts = events.aggregate(**{column: events[column].count() for column in events.columns}).to_pyarrow().to_pylist()[0]
    return {f"kind:{kind}" for kind in kinds} | {column for column, n in counts.items() if n} | {f"table:{name}" for name in dataset.tables}


def _frequent_kinds(dataset: Dataset, telling: str = "kind") -> list[str]:
    """The kinds of customers' own events that tell a column, most frequent first; rare ones say little and would make the table wide."""
    events = dataset.tables["events"]
    own = events.filter((events.initiator == "customer") & events.kind.notnull() & events[telling].notnull())
    counts = own.group_by("kind").agg(n=own.count()).order_by(ibis.desc("n"), "kind").limit(MOST_KINDS)
    return [str(kind) for kind in counts.to_pyarrow().column("kind").to_pylist()]


def _has_values(table: ir.Table, column: str) -> bool:
    return bool(table[column].count().to_pyarrow().as_py())


def moments(as_ofs: Sequence[datetime]) -> ir.Table:
    """The moments of prediction as a table (as_of, naive UTC, whole seconds).

    Raises: UsageError for a moment with a fraction of a second, since ages are whole seconds.
    """
    if any(as_of.microsecond or as_of.tzinfo for as_of in as_ofs):
        raise UsageError(f"as_of must be naive UTC in whole seconds, found {list(as_ofs)}; round it")
    return ibis.memtable([{"as_of": as_of} for as_of in dict.fromkeys(as_ofs)], schema={"as_of": "timestamp(6)"})


def history(dataset: Dataset, as_ofs: Sequence[datetime], of: ir.Table | None = None) -> ir.Table:
    """Grain: event x as_of, for events that happened and had arrived before as_of. `age` is whole seconds before as_of.

    This is all of the past that any feature sees. Strictly before: what happens at as_of belongs to the future. `of` (customer_id, as_of)
    leaves out everybody else.
    """
    events, at = dataset.tables["events"], moments(as_ofs)
    if "campaigns" in dataset.tables:
        ends = dataset.tables["campaigns"].select("campaign_id", campaign_end_at="end_at")
        events = events.left_join(ends, "campaign_id").drop("campaign_id_right")
    else:
        events = events.mutate(campaign_end_at=ibis.null("timestamp(6)"))
    is_past = (events.event_at < at.as_of) & (events.ingested_at < at.as_of)
    seen = events.join(at, is_past) if of is None else events.join(of, [events.customer_id == of.customer_id, events.event_at < of.as_of, events.ingested_at < of.as_of])
    return seen.mutate(age=(seen.as_of.epoch_seconds() - seen.event_at.epoch_seconds().floor()).cast("int64"))


def snapshots(dataset: Dataset, as_ofs: Sequence[datetime], features: Sequence[Feature], of: ir.Table | None = None) -> ir.Table:
    """The feature table.

    Grain: customer x as_of, for every customer known before as_of (an event or a dated attribute), or for the rows `of` (customer_id, as_of), ordered by both.
    Units: as each feature says; money in major units. Empty: a customer without events has counts 0, recency and ratios null.
    """
    past = history(dataset, as_ofs, of)
    aggregates = list(dict.fromkeys(aggregate for feature in features for aggregate in feature.aggregates()))
    column_of = {aggregate: f"_a{i}" for i, aggregate in enumerate(aggregates)}
    longest = max(dataset.lookbacks_days())

    wide, pivots = _population(dataset, past, as_ofs) if of is None else of.select(KEY), []
    for stream in dict.fromkeys(aggregate.stream for aggregate in aggregates):
        mine = [aggregate for aggregate in aggregates if aggregate.stream == stream]
        # Each stream is computed by itself: in one query the engine joins them in a poor order (tried: 48 s against 14 s).
        pivots.append(gen_name(f"pivot_{stream}"))
        pivoted = dataset.engine.create_table(pivots[-1], _pivot(_long(STREAMS[stream](past, longest), mine), mine, column_of))
        wide = wide.left_join(pivoted, KEY).drop("customer_id_right", "as_of_right")
    attributes = [feature.expression.attribute for feature in features if isinstance(feature.expression, AsOf)]
    if attributes:
        wide = wide.left_join(_attributes(dataset, wide.select(KEY), attributes), KEY).drop("customer_id_right", "as_of_right")
    table = wide.select(*KEY, **{f.name: _value(f, wide, column_of, dataset.currency) for f in features})
    # Computed now, under a name of its own: what a later call does to the engine cannot change it.
    result = dataset.engine.create_table(gen_name("snapshots"), table)
    for name in pivots:
        dataset.engine.drop_table(name)
    return result.order_by(KEY)


def parts(dataset: Dataset, of: ir.Table, n_moments: int) -> list[ir.Table]:
    """Cut rows (customer_id, as_of) by customer, so that each part's history, every event seen from every later moment, fits into memory."""
    n = 1 + int(dataset.tables["events"].count().to_pyarrow().as_py()) * n_moments // MOST_PAST
    return [of] if n == 1 else [of.filter((of.customer_id.hash().abs() % n) == i) for i in range(n)]


def _population(dataset: Dataset, past: ir.Table, as_ofs: Sequence[datetime]) -> ir.Table:
    met = past.select(KEY).distinct()
    if "customers" not in dataset.tables:
        return met
    people, at = dataset.tables["customers"], moments(as_ofs)
    known = people.join(at, people.valid_from.isnull() | (people.valid_from < at.as_of)).select(KEY)
    return met.union(known, distinct=True)


def _window_ends(aggregates: list[Aggregate]) -> list[int]:
    """The windows of these aggregates from short to long, in days; 0 (ever) comes last."""
    return sorted({int(aggregate.window) for aggregate in aggregates}, key=lambda d: d or 10**9)


def _measure(aggregate: Aggregate) -> str:
    return f"{aggregate.statistic}_{aggregate.column}"


def _long(rows: ir.Table, aggregates: list[Aggregate]) -> ir.Table:
    """One aggregation for all: each row falls into the shortest window that holds it, so windows add up afterwards."""
    windows = _window_ends(aggregates)
    cases = [(rows.age <= d * 86400, i) for i, d in enumerate(windows) if d]
    last = len(windows) - 1 if windows[-1] == 0 else None
    rows = rows.mutate(bucket=ibis.cases(*cases, else_=ibis.literal(last, "int8")) if cases else ibis.literal(0))
    rows = rows.filter(rows.bucket.notnull())
    slices = sorted({column for aggregate in aggregates for column, _ in aggregate.where})
    wanted = {_measure(aggregate): aggregate for aggregate in aggregates}
    measures = {}
    for name, aggregate in wanted.items():
        if aggregate.statistic == "count":
            measures[name] = rows[aggregate.column].count() if aggregate.column else rows.count()
        else:
            measures[name] = getattr(rows[aggregate.column], aggregate.statistic)()
    return rows.group_by([*KEY, *slices, "bucket"]).agg(**measures)


def _pivot(long: ir.Table, aggregates: list[Aggregate], column_of: dict[Aggregate, str]) -> ir.Table:
    """Long rows -> one column per aggregate. Counts and sums of nothing are 0, minima and maxima unknown."""
    windows = _window_ends(aggregates)
    columns = {}
    for aggregate in aggregates:
        inside = long.bucket <= windows.index(int(aggregate.window))
        for column, value in aggregate.where:
            inside &= long[column] == value
        measure = long[_measure(aggregate)]
        if aggregate.statistic in ("min", "max"):
            columns[column_of[aggregate]] = getattr(measure, aggregate.statistic)(where=inside)
        else:
            total = measure.sum(where=inside)
            columns[column_of[aggregate]] = total if measure.type().is_floating() else total.cast("int64")
    return long.group_by(KEY).agg(**columns)


def _attributes(dataset: Dataset, population: ir.Table, names: list[str]) -> ir.Table:
    """Each attribute as it was last known before as_of (type-2 history); undated rows count as known long ago."""
    people = dataset.tables["customers"]
    known = population.join(people, "customer_id").filter(lambda t: t.valid_from.isnull() | (t.valid_from < t.as_of))
    latest = ibis.row_number().over(ibis.window(group_by=KEY, order_by=known.valid_from.fill_null(datetime(1, 1, 1)).desc()))
    return known.mutate(place=latest).filter(lambda t: t.place == 0).select(*KEY, *names)


def _value(feature: Feature, wide: ir.Table, column_of: dict[Aggregate, str], currency: str) -> ir.Value:
    """One feature from the pivoted columns."""
    if isinstance(feature.expression, AsOf):
        return wide[feature.expression.attribute].cast("string")
    values = []
    for aggregate in feature.aggregates():
        value = wide[column_of[aggregate]]
        values.append(value.fill_null(0) if aggregate.statistic in ("count", "sum") else value)
    value = feature.expression.compute(*values) if isinstance(feature.expression, Formula) else values[0]
    if feature.unit == currency:
        return value / float(minor_units(currency))
    return value
