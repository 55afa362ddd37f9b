"""Advice on windows, before anything is trained: when customers return, when they convert, and what three horizons would make of the task."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from features.dataset import Dataset
from features.errors import ContractError, UsageError
from features.horizons import EVERYBODY, Curve, delays, followed, silences
from features.labels import eligible, labels, mature_as_ofs
from features.tasks import Task
from training import metrics
from training.backtest import rule_score
from training.folds import known_before, split
from training.recipes import FIRST_LOGISTIC, Recipe
from training.tables import columns_of, rows_of

if TYPE_CHECKING:
    import pandas as pd

    from features.feature import Feature

# The share of all who are seen to come that a horizon should hold.
COVERED = 0.95
# A curve still rises where more than this share of all who come do so in the last quarter of what is told: then no horizon holds them.
STILL_RISING = 0.10
TOLD_DAYS = (1, 3, 7, 14, 28, 56, 84, 112, 168)
# Moments that a quick model learns from.
N_TRAIN = 4


@dataclass(frozen=True)
class _Quick:
    """Rows for a quick look at any of some horizons: moments to learn from, and a later one."""

    frame: "pd.DataFrame"
    features: "list[Feature]"
    train: list[datetime]
    test: datetime


def advise(dataset: Dataset, task: Task) -> dict[str, Any]:
    """Return and delay curves by segment, suggested windows, and a table of three horizons; all JSON.

    Raises: UsageError for a lookalike, which has no horizon; ContractError where the history is too short for a single moment.
    """
    if task.kind == "lookalike":
        raise UsageError(f"TASK must be churn or conversion, which have a horizon, found the lookalike {task.name}; name another")
    delayed = delays(dataset, task, followed(dataset, task, mature_as_ofs(dataset, task)))
    silent = silences(dataset, task)
    suggested = suggestion(task, delayed[EVERYBODY], silent[EVERYBODY])
    declared = task.windows.horizon_days
    horizons = sorted({max(1, declared // 2), declared, suggested["horizon_days"] or 2 * declared})
    if len(horizons) < 3:
        horizons = sorted({*horizons, 2 * declared})
    return {
        "data": dataset.name, "task": task.name, "kind": task.kind, "question": task.question(), "is_simulated": dataset.is_simulated,
        "declared": {"horizon_days": declared, "active_days": task.eligibility.active_days, "gap_days": task.windows.gap_days, "lookbacks_days": list(task.windows.lookbacks_days)},
        "suggested": suggested, "delays": {name: _told(curve) for name, curve in delayed.items()},
        "returns": {name: _told_returns(curve, declared) for name, curve in silent.items()}, "horizons": sensitivity(dataset, task, horizons)}


def suggestion(task: Task, delayed: Curve, silent: Curve) -> dict[str, Any]:
    """Windows by the curves of everybody: a horizon that holds nearly all who come, how long somebody still counts as active, lookbacks to match.

    The horizon is in whole weeks. Empty: None where the curve still rises, or nobody comes, with `why`.
    """
    came = 1 - delayed.left
    last = len(came) - 1
    rises = came[-1] > 0 and (came[-1] - came[int(0.75 * last)]) / came[-1] > STILL_RISING
    day = None if rises else delayed.day_of(COVERED)
    horizon = None if day is None else 7 * -(-day // 7)
    ahead = task.windows.horizon_days
    active = next((k for k in range(len(silent.left)) if (share := silent.returns(k, ahead)) is not None and share < 0.5), None)
    if rises:
        why = f"those who come keep coming for all {last} days that are told: take the horizon from what a campaign can wait for"
    elif horizon is None:
        why = "nobody is seen to come: is the target right?"
    else:
        why = f"{100 * COVERED:.0f} % of all who are seen to come within {last} days have come by day {day}"
    if active is None:
        active_why = f"after no silence that is told do fewer than half return within the next {ahead} days"
    elif active == 0:
        active_why = f"right after coming fewer than half return within the next {ahead} days: so long a silence is nothing unusual here"
    else:
        active_why = f"of those silent for {active} days fewer than half return within the next {ahead}: they are to be won back, not warned of"
    return {
        "horizon_days": horizon, "why": why, "not_held": None if horizon is None else round(1 - min(1.0, (delayed.done(horizon) or came[-1]) / came[-1]), 4),
        "active_days": active or None, "active_why": active_why,
        # No longer than what is told: further back there is little to see.
        "lookbacks_days": None if horizon is None else [horizon, *(days for days in (2 * horizon, 4 * horizon) if days <= last)]}


def sensitivity(dataset: Dataset, task: Task, horizons: Sequence[int]) -> list[dict[str, Any]]:
    """What each horizon makes of the task: moments, rows, label rate, and how well a quick logistic regression and the best rule rank, all judged at one moment.

    Both learn from the declared rules' columns alone, so that the horizons can be compared within seconds; a trained model does better.
    """
    tasks = {days: replace(task, windows=replace(task.windows, horizon_days=days)) for days in horizons}
    quick = _quick(dataset, task, [tasks[days] for days in reversed(horizons)])
    return [_row(dataset, days, tasks[days], quick) for days in horizons]


def _row(dataset: Dataset, days: int, task: Task, quick: _Quick | None) -> dict[str, Any]:
    row: dict[str, Any] = {"horizon_days": days, "moments": 0, "can_train": False, "why": "", "rows": None, "label_rate": None, "logistic": None, "rule": None}
    try:
        as_ofs = mature_as_ofs(dataset, task)
        row["moments"] = len(as_ofs)
        split(as_ofs, task)
        row["can_train"] = True
    except ContractError as error:
        row["why"] = str(error)
    if quick is None or quick.test + timedelta(days=task.windows.mature_after_days) > dataset.observed_until:
        return row
    label = labels(dataset, task, [*quick.train, quick.test]).to_pyarrow().to_pandas()
    frame = label.merge(quick.frame, on=["customer_id", "as_of"], validate="one_to_one")
    columns = columns_of(quick.features, frame, ())
    rows = rows_of(frame, columns)
    fit, test = rows.at(quick.train), rows.at([quick.test])
    row |= {"rows": len(test.y), "label_rate": round(float(test.y.mean()), 5)}
    if not all(0 < part.y.mean() < 1 for part in (fit, test)):
        return row
    w = metrics.resamples(test.customers)
    ones = np.ones((1, len(fit.y)))
    areas = [float(metrics.auc(fit.y, rule_score(fit.x, j), ones)[0]) for j in range(len(columns))]
    best = int(np.argmax(np.abs(np.array(areas) - 0.5)))
    ours = Recipe("logistic", FIRST_LOGISTIC).fit(fit, columns).margins(test.x)
    theirs = rule_score(test.x, best) * (1 if areas[best] >= 0.5 else -1)
    for name, score in (("logistic", ours), ("rule", theirs)):
        values = metrics.auc(test.y, score, w)
        row[name] = {"auc": round(float(values[0]), 4), "auc_interval": metrics.interval(values)}
    row["rule"]["name"] = columns[best].name
    return row


def _quick(dataset: Dataset, task: Task, tasks: Sequence[Task]) -> _Quick | None:
    """The moments that serve the longest horizon for which there are any, and the rules' columns there; None where no horizon has two moments far enough apart."""
    from features.snapshots import features_of, snapshots

    features = [feature for feature in features_of(dataset)[0] if feature.name in task.rules]
    for longest in tasks:
        try:
            as_ofs = mature_as_ofs(dataset, longest)
        except ContractError:
            continue
        train = known_before(as_ofs, as_ofs[-1], longest)[-N_TRAIN:]
        if train and features:
            asked = [*train, as_ofs[-1]]
            frame = snapshots(dataset, asked, features, eligible(dataset, task, asked)).to_pyarrow().to_pandas()
            return _Quick(frame, features, train, as_ofs[-1])
    return None


def _told(curve: Curve) -> dict[str, Any]:
    """A delay curve on the days that people ask about, and whole for a picture."""
    return {
        "n": curve.n, "told_days": len(curve.left) - 1, "by_day": {str(day): _round(curve.done(day)) for day in TOLD_DAYS},
        "day_of_95_percent": curve.day_of(COVERED), "curve": [round(float(1 - left), 4) for left in curve.left]}


def _told_returns(curve: Curve, horizon: int) -> dict[str, Any]:
    """Who returns after a silence: within the horizon, and within all that is told."""
    return {
        "n": curve.n, "told_days": len(curve.left) - 1, "within_horizon": {str(day): _round(curve.returns(day, horizon)) for day in TOLD_DAYS},
        "within_told": {str(day): _round(curve.returns(day)) for day in TOLD_DAYS if day < len(curve.left) - 1},
        "curve": [round(share, 4) for day in range(len(curve.left) - 1) if (share := curve.returns(day, horizon)) is not None]}


def _round(share: float | None) -> float | None:
    return None if share is None else round(share, 4)
