"""What one column says alone: the rule that a model must beat, and columns that say too much."""

import re
from collections.abc import Sequence

import numpy as np

from training import metrics
from training.members import Matrix
from training.metrics import Array
from training.saved_model import Column
from training.tables import Rows

SUSPECT_AUC = 0.95
# Rows of the rarer label alone behind one value: how many, and how improbable by chance, before it is suspected.
PURE_ROWS, PURE_CHANCE = 20, 1e-9
N_BINS = 20


def ranked_by(column: int, is_category: bool, fit: Rows, x: Matrix) -> Array:
    """Rows ranked by one column as the fitted rows teach it: a number up or down, a category by its rate; unknown by its rate, too. Shape: (n,)."""
    bins = _binned(fit.x[:, column], is_category, fit.x[:, column])
    rates = _rates(bins, fit.y)
    values = x[:, column]
    if is_category:
        return rates[_binned(values, True, fit.x[:, column])]
    known = ~np.isnan(fit.x[:, column])
    sign = 1.0 if _auc(fit.y[known], fit.x[known, column]) >= 0.5 else -1.0
    spread = np.sort(sign * fit.x[known, column])
    # Where the unknown belong among the ordered rest: above as many as have a lower rate.
    place = float((rates[bins[known]] < rates[0]).mean()) if known.any() else 0.0
    at_missing = np.quantile(spread, place) if len(spread) else 0.0
    return np.where(np.isnan(values), at_missing, sign * values)


def best_column(fit: Rows, columns: Sequence[Column]) -> int:
    """The place of the column that ranks the fitted rows best alone."""
    return int(np.argmax([_auc(fit.y, ranked_by(j, column.is_category, fit, fit.x)) for j, column in enumerate(columns)]))


def suspects(rows: Rows, columns: Sequence[Column], label: str) -> dict[str, str]:
    """Columns that may know the label, each with the reason. They are said, not removed: only the table's owner knows how a column came about."""
    found = {}
    half = np.unique(rows.customers.astype(str), return_inverse=True)[1] % 2 == 0
    for j, column in enumerate(columns):
        area = _crossed_auc(rows, j, column.is_category, half)
        pure = _pure(rows, j, column)
        if area > SUSPECT_AUC:
            found[column.name] = f"it alone ranks the rows with an AUC of {area:.3f}"
        elif pure:
            found[column.name] = pure
        elif _names(column.name, label):
            found[column.name] = f"its name speaks of {label}"
    return found


def _names(column: str, label: str) -> bool:
    """Whether a column's name holds the label's; a short label only as a word of its own."""
    parts = [re.sub(r"([a-z])([A-Z])", r"\1 \2", name).casefold() for name in (column, label)]
    words, wanted = (re.findall(r"[^\W_]+", part) for part in parts)
    joined = "".join(wanted)
    return bool(wanted) and ((len(joined) >= 4 and joined in "".join(words)) or any(words[i:i + len(wanted)] == wanted for i in range(len(words))))


def _pure(rows: Rows, j: int, column: Column) -> str:
    """A value behind which only the rarer label is found, far beyond chance: such as a sum that only buyers have."""
    rarer = float(rows.y.mean() <= 0.5)
    rate = float((rows.y == rarer).mean())
    values = rows.x[:, j]
    known = values[~np.isnan(values)]
    commonest = np.nan
    if len(known):
        distinct, counts = np.unique(known, return_counts=True)
        commonest = distinct[counts.argmax()]
    sides = {"blank": np.isnan(values), "filled in": ~np.isnan(values)}
    if column.is_category:
        sides |= {level: values == i for i, level in enumerate(column.levels)}
    else:
        sides |= {f"above {commonest:g}": values > commonest, f"below {commonest:g}": values < commonest, f"{commonest:g}": values == commonest}
    for says, side in sides.items():
        n = int(side.sum())
        if n >= PURE_ROWS and rate ** n < PURE_CHANCE and bool((rows.y[side] == rarer).all()):
            return f"all {n:,} rows where it is {says} have the same label, which {rate:.0%} of all rows have"
    return ""


def _crossed_auc(rows: Rows, j: int, is_category: bool, half: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> float:
    """The AUC of a column's rates by value, each half of the rows ranked by what the other half teaches."""
    score = np.zeros(len(rows.y))
    for side in (half, ~half):
        if side.any() and not side.all():
            seen = rows.x[side, j]
            score[~side] = _rates(_binned(seen, is_category, seen), rows.y[side])[_binned(rows.x[~side, j], is_category, seen)]
    return _auc(rows.y, score)


def _binned(values: Array, is_category: bool, seen: Array) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Values -> 0 for the unknown, else 1 + a category's code or a number's bin; bins are cut at quantiles of the values seen."""
    if is_category:
        return np.where(np.isnan(values), 0, np.nan_to_num(values) + 1).astype(np.int64)
    known = seen[~np.isnan(seen)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, N_BINS + 1)[1:-1])) if len(known) else np.array([])
    # A value on an edge has a bin of its own when many share it.
    return np.where(np.isnan(values), 0, 1 + np.searchsorted(edges, values, side="left") + np.searchsorted(edges, values, side="right")).astype(np.int64)


def _rates(bins: "np.ndarray[tuple[int], np.dtype[np.int64]]", y: Array) -> Array:
    """The share of positives by bin, drawn to the overall rate by ten rows' weight; bins not seen have the overall rate. Shape: (1,000 or more,)."""
    size = max(int(bins.max(initial=0)) + 1, 1000)
    return np.asarray((np.bincount(bins, y, size) + 10 * y.mean()) / (np.bincount(bins, minlength=size) + 10), dtype=np.float64)


def _auc(y: Array, score: Array) -> float:
    return float(metrics.auc(y, score, np.ones((1, len(y))))[0]) if 0 < y.mean() < 1 else 0.5
