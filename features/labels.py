"""Labels: who is asked about (from history), and what they then did (from the future). Nothing here is a feature."""

import difflib
from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir

from features.dataset import Dataset
from features.errors import ContractError
from features.history import history
from features.identity import in_hindsight
from features.moments import KEY, moments
from features.tasks import Task


def local_midnight(moment: datetime, zone: str) -> datetime:
    """The last midnight of `zone` at or before a naive UTC moment, as naive UTC."""
    utc, there = ZoneInfo("UTC"), ZoneInfo(zone)
    local = moment.replace(tzinfo=utc).astimezone(there)
    return local.replace(hour=0, minute=0, second=0, microsecond=0).astimezone(utc).replace(tzinfo=None)


def mature_as_ofs(dataset: Dataset, task: Task) -> list[datetime]:
    """All moments, `slide` apart, with a whole eligibility window before and a complete label after; oldest first.

    Snapshots stand at the customers' midnight, so that each sees whole days.
    Raises: ContractError when the data are too short for a single one.
    """
    windows = task.windows
    earliest = dataset.observed_from + timedelta(days=task.history_days)
    latest = dataset.observed_until - timedelta(days=windows.mature_after_days)
    found: list[datetime] = []
    as_of = local_midnight(latest, dataset.zone)
    while as_of >= earliest:
        found.append(as_of)
        # Half a day of slack before rounding down keeps the grid at midnight across changes of the clock.
        as_of = local_midnight(as_of - timedelta(days=windows.slide_days) + timedelta(hours=12), dataset.zone)
    if not found:
        days = (dataset.observed_until - dataset.observed_from).days
        need = task.history_days + windows.mature_after_days
        raise ContractError(
            f"TOO_LITTLE_HISTORY: {task.name} needs at least {need} days ({task.history_days} before, {windows.mature_after_days} for the label), "
            f"found {days} in {dataset.name}; shorten its windows or bring a longer history")
    return found[::-1]


def eligible(dataset: Dataset, task: Task, as_ofs: Sequence[datetime]) -> ir.Table:
    """Grain: customer x as_of. Who the task asks about, from history alone; who was silent before is a win-back list, not a row."""
    past = history(dataset, as_ofs)
    asks = task.eligibility
    is_active = (past.kind == asks.active_kind) & (past.initiator == "customer") & (past.age <= asks.active_days * 86400)
    chosen = past.filter(is_active).select(KEY).distinct()
    if asks.received_kind:
        chosen = chosen.semi_join(past.filter(past.kind == asks.received_kind), KEY)
    return chosen


def labels(dataset: Dataset, task: Task, as_ofs: Sequence[datetime]) -> ir.Table:
    """Grain: eligible customer x as_of, with `label` 0 or 1, ordered by both.

    The future is [as_of + gap, as_of + gap + horizon). Churn is 1 for a customer without a target event in it, so one who is
    silent after the cut-off is churned; conversion is 1 for one with. Only the customer's own events count.
    Raises: ContractError for a moment whose label is not mature.
    """
    windows = task.windows
    immature = [as_of for as_of in as_ofs if as_of + timedelta(days=windows.mature_after_days) > dataset.observed_until]
    if immature:
        raise ContractError(
            f"IMMATURE_LABEL: {task.name} needs {windows.mature_after_days} days after as_of, found data until {dataset.observed_until} "
            f"for as_of {immature[0]}; choose an earlier as_of")
    require_category(dataset, task)
    events, at = dataset.tables["events"], moments(as_ofs).drop("moment")
    begin = at.as_of + ibis.interval(days=windows.gap_days)
    end = at.as_of + ibis.interval(days=windows.purge_days)
    future = events.join(at, (events.event_at >= begin) & (events.event_at < end))
    # What happened later is held against all that is known today of who was who.
    hits = in_hindsight(dataset, future.filter(is_target(future, task))).select("person", "as_of").distinct()
    asked = eligible(dataset, task, as_ofs)
    if task.windows.stop_on_first_conversion:
        past = history(dataset, as_ofs)
        asked = asked.anti_join(past.filter(is_target(past, task)), KEY)
    met = in_hindsight(dataset, asked).left_join(hits.mutate(is_hit=True), ["person", "as_of"])
    is_hit = met.is_hit.fill_null(False)
    label = ~is_hit if task.kind == "churn" else is_hit
    return met.select(*KEY, label=label.cast("int8")).order_by(KEY)


def is_target(events: ir.Table, task: Task) -> ir.BooleanValue:
    """The customer's own events that a task asks about, within its category where one is named."""
    is_target = (events.kind == task.target_kind) & (events.initiator == "customer")
    return is_target & (events.category == task.target_category).fill_null(False) if task.target_category else is_target


def require_category(dataset: Dataset, task: Task) -> None:
    """A task may name only a category that somebody bought. Raises: ContractError with the nearest and the most frequent names."""
    if not task.target_category:
        return
    events = dataset.tables["events"]
    told = events.filter((events.kind == task.target_kind) & events.category.notnull())
    counts = told.group_by("category").agg(n=told.count()).order_by(ibis.desc("n"), "category")
    names = [str(name) for name in counts.to_pyarrow().column("category").to_pylist()]
    if task.target_category in names:
        return
    folded = {name.casefold(): name for name in reversed(names)}
    near = [folded[name] for name in difflib.get_close_matches(task.target_category.casefold(), folded, 3, 0.5)]
    found = "no category on any such event" if not names else f"none; {'nearest: ' + ', '.join(near) + '; ' if near else ''}most frequent: {', '.join(names[:5])}"
    raise ContractError(
        f"NO_SUCH_CATEGORY: {task.name} needs events of kind {task.target_kind} in the category {task.target_category!r}, found {found}; correct target_category")
