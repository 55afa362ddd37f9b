"""Activity by month of the customers' calendar, and the label rate of each task by snapshot."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from math import sqrt
from zoneinfo import ZoneInfo

import ibis
from ibis.util import gen_name

from features.data_profile.cells import is_small
from features.data_profile.counted import Counted, rows_of
from features.data_profile.distributions import MOST_KINDS
from features.dataset import Dataset
from features.errors import LikenessError
from features.labels import labels, mature_as_ofs
from features.tasks import Task

# A label rate jumps where it lies so many standard errors, and such a share of itself, away from its neighbours' mean.
JUMP_Z, JUMP_SHARE = 4.0, 0.2
# Labels of the rarer kind that a task needs in all, as training does.
FEWEST_LABELS = 50


@dataclass(frozen=True)
class Month:
    """A month: `customers` had an event of their own, `new` their first event of any kind, `buyers` bought; money in minor units, by the first line of each basket.

    `is_partial` where the data do not cover all of it.
    """

    first: date
    events: int
    customers: int
    new: int
    purchases: int
    buyers: int
    spend_minor: int
    is_partial: bool


@dataclass(frozen=True)
class KindByMonth:
    """A kind of events: in all, and (events, customers) for each month."""

    kind: str
    n: int
    n_customers: int
    months: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Rate:
    """The label at one moment: customers who are asked about, and those with label 1."""

    as_of: datetime
    n: int
    positives: int
    # Standard errors away from the mean of the neighbours, where that is a jump.
    jump_z: float | None = None

    @property
    def is_few(self) -> bool:
        """Whether one of the two labels is too rare to tell a rate."""
        return is_small(self.n) or self.positives == 0 or self.positives == self.n or is_small(self.positives) or is_small(self.n - self.positives)


@dataclass(frozen=True)
class TaskRates:
    """A task's label rate at every mature moment; `refused` is the code of what stands against it."""

    task: Task
    rates: tuple[Rate, ...]
    refused: str = ""

    @property
    def has_few(self) -> bool:
        """Whether the rarer label is too rare in all."""
        positives = sum(rate.positives for rate in self.rates)
        return min(positives, sum(rate.n for rate in self.rates) - positives) < FEWEST_LABELS


@dataclass(frozen=True)
class Activity:
    """What happens over time."""

    months: tuple[Month, ...]
    kinds: tuple[KindByMonth, ...]
    tasks: tuple[TaskRates, ...]


def activity(dataset: Dataset, events: Counted) -> Activity:
    """Count by month, and the labels of every churn and conversion task."""
    firsts = _months([cell.month.date() for cell in events.months])
    tasks = tuple(label_rates(dataset, task) for task in dataset.tasks if task.kind != "lookalike")
    return Activity(_by_month(dataset, events, firsts), _by_kind(events, firsts), tasks)


def _months(found: Sequence[date]) -> list[date]:
    """Every month from the first to the last, also those without events."""
    numbers = [12 * month.year + month.month - 1 for month in found]
    return [date(number // 12, number % 12 + 1, 1) for number in range(min(numbers), max(numbers) + 1)]


def _by_month(dataset: Dataset, events: Counted, firsts: Sequence[date]) -> tuple[Month, ...]:
    people, baskets = events.people, events.baskets
    n = Counter[date]()
    for cell in events.months:
        n[cell.month.date()] += cell.n
    active = {row["month"].date(): row["n"] for row in rows_of(people.group_by("month").agg(n=people.customer_id.nunique(where=people.is_own)))}
    began = people.group_by("customer_id").agg(month=people.month.min())
    new = {row["month"].date(): row["n"] for row in rows_of(began.group_by("month").agg(n=began.count()))}
    bought = baskets.mutate(month=baskets.local_at.truncate("M"))
    bought = bought.group_by("month").agg(n=bought.count(), buyers=bought.customer_id.nunique(), spend=bought.amount_minor.sum())
    sold = {row["month"].date(): row for row in rows_of(bought)}
    nothing = {"n": 0, "buyers": 0, "spend": 0}
    begin, end = (_local(moment, dataset.zone) for moment in (dataset.observed_from, dataset.observed_until))
    found = []
    for first in firsts:
        row, start = sold.get(first, nothing), datetime(first.year, first.month, 1)
        after = (start + timedelta(days=31)).replace(day=1)
        found.append(Month(
            first, n[first], active.get(first, 0), new.get(first, 0), row["n"], row["buyers"], int(row["spend"] or 0), begin.date() > start.date() or end < after))
    return tuple(found)


def _local(moment: datetime, zone: str) -> datetime:
    return moment.replace(tzinfo=ZoneInfo("UTC")).astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def _by_kind(events: Counted, firsts: Sequence[date]) -> tuple[KindByMonth, ...]:
    people = events.people
    told = rows_of(people.group_by("kind").agg(n=people.n.sum(), customers=people.customer_id.nunique()).order_by(ibis.desc("n"), "kind").limit(MOST_KINDS))
    cells = {(cell.kind, cell.month.date()): (cell.n, cell.customers) for cell in events.months}
    return tuple(KindByMonth(row["kind"], row["n"], row["customers"], tuple(cells.get((row["kind"], first), (0, 0)) for first in firsts)) for row in told)


def label_rates(dataset: Dataset, task: Task) -> TaskRates:
    """The label rate at every mature moment. A task that the data cannot answer says why by its code."""
    try:
        as_ofs = mature_as_ofs(dataset, task)
        told = labels(task_events(dataset, task), task, as_ofs)
        found = rows_of(told.group_by("as_of").agg(n=told.count(), positives=told.label.sum()).order_by("as_of"))
    except LikenessError as error:
        return TaskRates(task, (), str(error).partition(":")[0])
    return TaskRates(task, with_jumps([Rate(row["as_of"], row["n"], int(row["positives"])) for row in found]))


def task_events(dataset: Dataset, task: Task) -> Dataset:
    """The dataset with no more of its events than the task's labels look at, each moment of a customer once: the lines of a basket are one."""
    events = dataset.tables["events"]
    asked = events.filter(events.kind.isin([kind for kind in (task.target_kind, task.eligibility.active_kind, task.eligibility.received_kind) if kind]))
    seen = asked.select("customer_id", "event_at", "ingested_at", "kind", "initiator", *(["category"] if task.target_category else [])).distinct()
    return replace(dataset, tables={**dataset.tables, "events": dataset.engine.create_table(gen_name("asked_about"), seen)})


def with_jumps(rates: Sequence[Rate]) -> tuple[Rate, ...]:
    """Mark the rates that jump: two-proportion z (pooled) of each against its one or two neighbours together."""
    out = []
    for i, rate in enumerate(rates):
        beside = [*rates[max(i - 1, 0):i], *rates[i + 1:i + 2]]
        n, positives = sum(one.n for one in beside), sum(one.positives for one in beside)
        z = None
        if n and rate.n and not rate.is_few:
            mean, pooled = positives / n, (positives + rate.positives) / (n + rate.n)
            apart = rate.positives / rate.n - mean
            error = sqrt(pooled * (1 - pooled) * (1 / n + 1 / rate.n))
            if error and abs(apart) / error >= JUMP_Z and abs(apart) >= JUMP_SHARE * mean:
                z = apart / error
        out.append(replace(rate, jump_z=z))
    return tuple(out)
