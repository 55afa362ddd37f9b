"""Coverage: how much there is of what, and when there is nothing."""

from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import ibis.expr.types as ir

from features.contracts import KEYS
from features.data_profile.cells import SMALLEST_GROUP
from features.data_profile.counted import Counted, rows_of
from features.dataset import Dataset

# More rows than this have their different values estimated (HyperLogLog), and that is said.
MOST_EXACT = 2_000_000
# Days without any event in a row, from which on they are a gap, and how many gaps are told.
GAP_DAYS, MOST_GAPS = 3, 5


@dataclass(frozen=True)
class Column:
    """A column: rows that tell it, customers whom they are about (None where rows are of nobody), different values, and for events in which kind it is told most.

    (A kind that never had ten customers within a month is not named.)
    """

    name: str
    n_filled: int
    n_customers: int | None
    n_distinct: int
    is_estimate: bool = False
    fullest_kind: str = ""
    fullest_share: float = 0.0
    # Of the months with events, those in which no event tells it.
    n_months_without: int = 0


@dataclass(frozen=True)
class Table:
    """A table of the dataset and its columns."""

    name: str
    n_rows: int
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Gap:
    """Days without an event, the first and the last of them."""

    first: date
    last: date

    @property
    def days(self) -> int:
        """How many."""
        return (self.last - self.first).days + 1


@dataclass(frozen=True)
class Aliases:
    """Links between identifiers: by kind of alias (links, customers), and customers with events who have one."""

    n_links: int
    kinds: dict[str, tuple[int, int]]
    n_linked: int


@dataclass(frozen=True)
class Coverage:
    """What the tables hold. Time: first and last are days of the customers' calendar."""

    tables: tuple[Table, ...]
    first: date
    last: date
    n_days: int
    n_silent_days: int
    n_silent_months: int
    gaps: tuple[Gap, ...]
    # Events that arrived later than they happened.
    n_late: int
    # Rows in quarantine by table and reason.
    quarantine: dict[tuple[str, str], int]
    # Customers with events; with a row in customers; with both.
    n_customers: int
    n_described: int
    n_both: int
    aliases: Aliases | None

    def table(self, name: str) -> Table:
        """The table of that name."""
        return next(table for table in self.tables if table.name == name)

    @property
    def n_events(self) -> int:
        """Events that keep the contract."""
        return self.table("events").n_rows


def coverage(dataset: Dataset, events: Counted) -> Coverage:
    """Count what every table and column holds."""
    tables = tuple(
        _events(dataset.tables[name], events) if name == "events" else _table(name, table) for name, table in dataset.tables.items() if name != "quarantine")
    told = dataset.tables["events"]
    by_day = rows_of(told.group_by(told.local_at.date().name("day")).agg(late=(told.ingested_at > told.event_at).sum()))
    days = sorted(row["day"] for row in by_day)
    quarantine: dict[tuple[str, str], int] = {}
    if "quarantine" in dataset.tables:
        bad = dataset.tables["quarantine"]
        found = rows_of(bad.group_by(["table", "reason"]).agg(n=bad.count()).order_by(["table", "reason"]))
        quarantine = {(row["table"], row["reason"]): row["n"] for row in found}
    n, described, both = _customers(dataset, events)
    n_days = (days[-1] - days[0]).days + 1
    busy = {(day.year, day.month) for day in days}
    n_months = 12 * (days[-1].year - days[0].year) + days[-1].month - days[0].month + 1
    n_late = sum(row["late"] for row in by_day)
    return Coverage(
        tables, days[0], days[-1], n_days, n_days - len(days), n_months - len(busy), _gaps(days), n_late, quarantine, n, described, both, _aliases(dataset, events))


def _events(table: ir.Table, events: Counted) -> Table:
    """The events' columns; what every event has is told for all of them, the others are counted by month and kind already."""
    n_rows = sum(month.n for month in events.months)
    people = events.people.group_by("customer_id").agg(**{f"filled_{i}": events.people[f"filled_{i}"].sum() for i in range(len(events.columns))})
    counts = people.aggregate(all=people.count(), **{f"filled_{i}": (people[f"filled_{i}"] > 0).sum() for i in range(len(events.columns))})
    customers = rows_of(counts)[0]
    distinct, is_estimate = _distinct("events", table, n_rows)
    columns = []
    for name in table.columns:
        if name not in events.columns:
            columns.append(Column(name, n_rows, customers["all"], distinct[name], is_estimate and name not in KEYS["events"]))
            continue
        i = events.columns.index(name)
        of_kind, n_of_kind, of_month, common = Counter[str](), Counter[str](), Counter[datetime](), set[str]()
        for cell in events.months:
            of_kind[cell.kind] += cell.filled[i]
            n_of_kind[cell.kind] += cell.n
            of_month[cell.month] += cell.filled[i]
            common |= {cell.kind} if cell.customers >= SMALLEST_GROUP else set()
        fullest = max(sorted(common), key=lambda kind: (of_kind[kind] / n_of_kind[kind], n_of_kind[kind]), default="")
        columns.append(Column(
            name, of_kind.total(), int(customers[f"filled_{i}"] or 0), distinct[name], is_estimate, fullest, of_kind[fullest] / n_of_kind[fullest] if fullest else 0.0,
            sum(n == 0 for n in of_month.values())))
    return Table("events", n_rows, tuple(columns))


def _table(name: str, table: ir.Table) -> Table:
    told = {f"n_{i}": table[column].count() for i, column in enumerate(table.columns)}
    if "customer_id" in table.columns:
        told |= {f"people_{i}": table["customer_id"].nunique(where=table[column].notnull()) for i, column in enumerate(table.columns)}
    row = rows_of(table.aggregate(n=table.count(), **told))[0]
    distinct, is_estimate = _distinct(name, table, row["n"])
    return Table(name, row["n"], tuple(
        Column(column, row[f"n_{i}"], row.get(f"people_{i}"), distinct[column], is_estimate) for i, column in enumerate(table.columns)))


def _distinct(name: str, table: ir.Table, n_rows: int) -> tuple[dict[str, int], bool]:
    """How many different values each column has, and whether that is an estimate. A key of one column has one for each row."""
    is_estimate = n_rows > MOST_EXACT
    key = KEYS.get(name, [])
    counts = {
        f"n_{i}": table[column].approx_nunique() if is_estimate else table[column].nunique() for i, column in enumerate(table.columns) if [column] != key}
    row = rows_of(table.aggregate(**counts))[0] if counts else {}
    return {column: row.get(f"n_{i}", n_rows) for i, column in enumerate(table.columns)}, is_estimate


def _gaps(days: list[date]) -> tuple[Gap, ...]:
    """The longest runs of days without an event, longest first."""
    found = [Gap(before + timedelta(days=1), after - timedelta(days=1)) for before, after in zip(days, days[1:], strict=False)]
    return tuple(sorted((gap for gap in found if gap.days >= GAP_DAYS), key=lambda gap: (-gap.days, gap.first))[:MOST_GAPS])


def _customers(dataset: Dataset, events: Counted) -> tuple[int, int, int]:
    with_events = events.people.select("customer_id").distinct()
    n = int(with_events.count().to_pyarrow().as_py())
    if "customers" not in dataset.tables:
        return n, 0, 0
    described = dataset.tables["customers"].select("customer_id").distinct()
    both = with_events.semi_join(described, "customer_id")
    return n, int(described.count().to_pyarrow().as_py()), int(both.count().to_pyarrow().as_py())


def _aliases(dataset: Dataset, events: Counted) -> Aliases | None:
    """The links, where there is a table of them; their kind and customer as far as it names them."""
    if "aliases" not in dataset.tables:
        return None
    links = dataset.tables["aliases"]
    n_links = int(links.count().to_pyarrow().as_py())
    if "customer_id" not in links.columns:
        return Aliases(n_links, {}, 0)
    kinds: dict[str, tuple[int, int]] = {}
    if "alias_kind" in links.columns:
        by_kind = links.group_by("alias_kind").agg(n=links.count(), customers=links.customer_id.nunique())
        kinds = {str(row["alias_kind"]): (row["n"], row["customers"]) for row in rows_of(by_kind.order_by("alias_kind"))}
    linked = events.people.select("customer_id").distinct().semi_join(links, "customer_id")
    return Aliases(n_links, kinds, int(linked.count().to_pyarrow().as_py()))
