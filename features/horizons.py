"""How long customers stay silent before they return, and how long after a moment they do what a task asks: what a horizon should be chosen by.

Silences and delays that the end of the data cuts off are counted as what they are, longer than seen (Kaplan and Meier 1958), so that recent customers do not
look lost. A customer with many silences counts many times: the segments, by how often somebody came before, show the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import ibis
import ibis.expr.types as ir
import numpy as np
from numpy.typing import ArrayLike, NDArray

from features.dataset import Dataset
from features.engine import utc_to_local
from features.identity import in_hindsight
from features.labels import eligible, is_target
from features.moments import moments
from features.tasks import Task

Array = NDArray[np.float64]
# A curve is told as far as so many are still waited for.
FEWEST = 30
EVERYBODY = "everybody"
# Days with an event before, and what such customers are called.
SEGMENTS = ((0, "no event before"), (1, "one day with events before"), (2, "2 to 5 days before"), (6, "6 or more days before"))
_DAY = 86400


@dataclass(frozen=True)
class Curve:
    """The share still waited for after each day. Shape: `left` (days + 1,), from 1 at day 0; `n` silences or customers begin it."""

    left: Array
    n: int

    def done(self, day: int) -> float | None:
        """The share who came by the end of a day; None beyond what the data tell."""
        return float(1 - self.left[day]) if day < len(self.left) else None

    def returns(self, silent: int, within: int | None = None) -> float | None:
        """Of those silent for so many days, the share who come within so many more, or within all that the data tell."""
        last = len(self.left) - 1 if within is None else silent + within
        if silent >= len(self.left) or last >= len(self.left) or not self.left[silent]:
            return None
        return float(1 - self.left[last] / self.left[silent])

    def day_of(self, share: float) -> int | None:
        """The day by which this share of all who are seen to come has come; None where nobody does."""
        came = 1 - self.left
        return int(np.argmax(came >= share * came[-1] - 1e-12)) if came[-1] > 0 else None


def curve(days: ArrayLike, came: ArrayLike, n: ArrayLike) -> Curve:
    """Kaplan-Meier from counts by day. Shape: (rows,) each: how many days, whether they ended by coming, how many there are of them."""
    days, came, n = np.asarray(days, dtype=np.int64), np.asarray(came, dtype=bool), np.asarray(n, dtype=np.float64)
    if not len(days):
        return Curve(np.ones(1), 0)
    size = int(days.max()) + 1
    ended, all_ = np.bincount(days, n * came, size), np.bincount(days, n, size)
    waiting = all_[::-1].cumsum()[::-1]
    left = np.cumprod(1 - ended / np.maximum(waiting, 1e-300))
    told = int((waiting >= min(FEWEST, all_.sum())).sum())
    return Curve(left[:max(told, 1)], int(all_.sum()))


def silences(dataset: Dataset, task: Task) -> dict[str, Curve]:
    """After each day with an event of the task's target, the days until the person's next; by segment of how many such days there were so far."""
    visits = _visit_days(dataset, task)
    by_person = ibis.window(group_by="person", order_by="day")
    told = visits.mutate(later=visits.day.lead().over(by_person), before=ibis.row_number().over(by_person).cast("int64") + 1)
    rows = told.mutate(days=ibis.coalesce(told.later, _last_day(dataset)) - told.day, came=told.later.notnull(), segment=_segment(told.before))
    return _curves(rows)


def delays(dataset: Dataset, task: Task, as_ofs: Sequence[datetime]) -> dict[str, Curve]:
    """From each as_of (and its gap) on, the days until those whom the task asks about have their next target event; by segment of such days before."""
    asked = in_hindsight(dataset, eligible(dataset, task, as_ofs)).select("person", "as_of").distinct()
    events = dataset.tables["events"]
    target = in_hindsight(dataset, events.filter(is_target(events, task)).select("customer_id", "event_at")).select("person", "event_at")
    at = moments(as_ofs).drop("moment")
    begin = at.as_of + ibis.interval(days=task.windows.gap_days)
    first = target.join(at, target.event_at >= begin).group_by(["person", "as_of"]).agg(event_at=lambda t: t.event_at.min())
    past = target.join(at, target.event_at < at.as_of).group_by(["person", "as_of"]).agg(before=lambda t: utc_to_local(t.event_at, dataset.zone).date().nunique())
    met = asked.left_join(first, ["person", "as_of"]).select("person", "as_of", "event_at").left_join(past, ["person", "as_of"])
    begun = met.as_of.epoch_seconds() + task.windows.gap_days * _DAY
    until = ibis.coalesce(met.event_at.epoch_seconds(), int((dataset.observed_until - datetime(1970, 1, 1)).total_seconds()))
    # Within the first day is by the end of day 1.
    rows = met.mutate(days=((until - begun) // _DAY).cast("int64") + met.event_at.notnull().cast("int64"), came=met.event_at.notnull(), segment=_segment(met.before.fill_null(0)))
    return _curves(rows)


def followed(dataset: Dataset, task: Task, as_ofs: Sequence[datetime], most: int = 6) -> list[datetime]:
    """Some of a task's moments, spread over the history, the earliest first, that have been watched for the horizon at least."""
    watched = [as_of for as_of in as_ofs if as_of + timedelta(days=task.windows.mature_after_days) <= dataset.observed_until]
    return [watched[i] for i in sorted({round(i) for i in np.linspace(0, len(watched) - 1, min(most, len(watched)))})]


def _visit_days(dataset: Dataset, task: Task) -> ir.Table:
    """Grain: person x day (a number of the dataset's calendar) with an event of the task's target."""
    events = dataset.tables["events"]
    told = in_hindsight(dataset, events.filter(is_target(events, task)).select("customer_id", "event_at"))
    return told.select("person", day=(utc_to_local(told.event_at, dataset.zone).epoch_seconds() // _DAY).cast("int64")).distinct()


def _last_day(dataset: Dataset) -> int:
    """The number of the last day that was seen as a whole; an event on it is followed for no day."""
    from zoneinfo import ZoneInfo

    there = dataset.observed_until.replace(tzinfo=ZoneInfo("UTC")).astimezone(ZoneInfo(dataset.zone))
    return (there.date() - datetime(1970, 1, 1).date()).days - 1


def _segment(before: ir.Value) -> ir.Value:
    return ibis.cases(*((before >= least, i) for i, (least, _) in reversed([*enumerate(SEGMENTS)])), else_=0)


def _curves(rows: ir.Table) -> dict[str, Curve]:
    counted = rows.filter(rows.days >= 0).group_by(["segment", "days", "came"]).agg(n=lambda t: t.count()).to_pyarrow()
    segment, days, came, n = (counted.column(name).to_numpy() for name in ("segment", "days", "came", "n"))
    found = {EVERYBODY: curve(days, came, n)}
    for i, (_, name) in enumerate(SEGMENTS):
        inside = segment == i
        if n[inside].sum() >= FEWEST:
            found[name] = curve(days[inside], came[inside], n[inside])
    return found
