"""The test: is the last week unlike the weeks before it? Over-dispersion comes from those weeks; Holm keeps the whole family's false alarms at a stated rate.

A share is taken as the arcsine of its root, a count as its logarithm with a straight trend, a stock (tag sizes, mean scores) as its change from week to week, since
a stock remembers. What is expected of the last week has the variance of the weeks before, never less than chance alone would give; Student's t with their degrees of
freedom. docs/decisions/0023 says what was measured.
"""

from typing import Any

import numpy as np
import pandas as pd

Array = np.ndarray[Any, Any]

# Runs of the whole family in which nothing happened and something is reported all the same: at most this share.
FALSE_ALARMS = .05
# Weeks are not quite normal and not quite independent: a fifth of what is stated is kept back.
KEPT = .8
WEEKS, FEWEST_WEEKS = 26, 8
# Of fewer cases a week nothing can be said.
FEWEST_CASES = 30
SHARE, COUNT, STOCK = "share", "count", "stock"


def judged(panel: pd.DataFrame, false_alarms: float = FALSE_ALARMS) -> pd.DataFrame:
    """Grain: series (metric, series), the most surprising first.

    `panel`: metric, series, form (share, count, stock), week (0 is the last, 1 the one before it ...), value (a share, a count, a mean), n (cases that it is of).
    Columns: value, expected, low and high (where 95 % of quiet weeks lie), change (against the expected), p, p_holm, is_alert, n_weeks. Series with too few cases
    or weeks are left out.
    """
    from scipy import stats

    rows = []
    for (metric, series, form), told in panel.groupby(["metric", "series", "form"], sort=False):
        told = told.sort_values("week", ascending=False)
        week, value, n = (told[name].to_numpy(float) for name in ("week", "value", "n"))
        if week[-1] != 0 or len(week) < FEWEST_WEEKS + 1 or n.mean() < FEWEST_CASES or (np.diff(week) != -1).any():
            continue
        rows.append((metric, series, form, value[-1], n[-1], len(week) - 1, *_forecast(value, n, str(form))))
    found = pd.DataFrame(rows, columns=["metric", "series", "form", "value", "n", "n_weeks", "seen", "middle", "error", "free", "base"])
    with np.errstate(invalid="ignore", divide="ignore"):
        score = ((found["seen"] - found["middle"]).abs() / found["error"]).to_numpy(float)
    found["p"] = np.where(np.isnan(score), 1.0, 2 * stats.t.sf(score, found["free"]))
    half = found["error"] * stats.t.ppf(.975, found["free"])
    for name, end in (("expected", found["middle"]), ("low", found["middle"] - half), ("high", found["middle"] + half)):
        found[name] = [_back(number, form, base) for number, form, base in zip(end, found["form"], found["base"], strict=True)]
    found["change"] = found["value"] / found["expected"].replace(0, np.nan) - 1
    found = found.drop(columns=["seen", "middle", "error", "free", "base"]).sort_values(["p", "metric", "series"], ignore_index=True)
    left = len(found) - np.arange(len(found))
    found["p_holm"] = np.minimum(np.maximum.accumulate(found["p"].to_numpy(float) * left), 1) if len(found) else found["p"]
    return found.assign(is_alert=found["p_holm"] <= KEPT * false_alarms)


def _forecast(value: Array, n: Array, form: str) -> tuple[float, float, float, int, float]:
    """The last week as the test sees it, what is expected of it, the error of that, its degrees of freedom, and what a change is added to."""
    if form == SHARE:
        y, chance = np.arcsin(np.sqrt(np.clip(value, 0, 1))), 1 / (4 * np.maximum(n, 1))
    elif form == COUNT:
        y, chance = np.log(value + .5), 1 / np.maximum(value, 1)
    else:
        y, chance = np.diff(value), np.zeros(len(value) - 1)
    past = y[:-1]
    # A count may grow; the others have no trend that a line would carry on.
    design = np.column_stack([np.ones(len(y)), np.arange(len(y))]) if form == COUNT else np.ones((len(y), 1))
    inverse = np.linalg.inv(design[:-1].T @ design[:-1])
    fitted = design @ (inverse @ design[:-1].T @ past)
    free = len(past) - design.shape[1]
    spread = max(float(((past - fitted[:-1]) ** 2).sum()) / free, float(chance[:-1].mean()))
    # The last week may be of fewer cases than the others.
    error = np.sqrt(spread * (1 + float(design[-1] @ inverse @ design[-1])) + max(float(chance[-1] - chance[:-1].mean()), 0))
    return float(y[-1]), float(fitted[-1]), float(error), free, float(value[-2]) if form == STOCK else 0.0


def _back(number: float, form: str, base: float) -> float:
    """From what the test sees to what people read."""
    if form == SHARE:
        return float(np.sin(np.clip(number, 0, np.pi / 2)) ** 2)
    return max(float(np.exp(number) - .5), 0.0) if form == COUNT else base + number
