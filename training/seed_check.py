"""What a list of seeds is before anything is learned from it: how old, how often the same, of how many kinds, how far from everybody; and whether it was drawn by lot.

The last is what positive-unlabelled learning assumes (SCAR: selected completely at random among those like them). It cannot be shown to hold. What can be seen is a
breach: among customers who are as like the seeds as the seeds themselves, judged without the columns that tell how and when somebody was met, these columns should not tell
who is a seed. (Matching on such a score is the propensity score of Rosenbaum and Rubin 1983.)
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training import metrics
from training.members import signed_log
from training.recipes import SEED
from training.saved_model import Column
from training.space import SMALLEST_GROUP, Params, make_space

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]
# Seeds older than this many horizons, at the median, may be people of another season.
OLD_HORIZONS = 6
MOST_COPIES, MOST_KINDS, KINDS_APART = 0.05, 4, 0.25
# A standardised difference from here on is large (Cohen 1988); an AUC of selection from here on is a doubt.
LARGE_SHIFT, DOUBTFUL_AUC = 0.8, 0.6
N_SHIFTS = 8


def checked(x: Matrix, is_seed: Mask, as_ofs: NDArray[np.datetime64], columns: tuple[Column, ...], horizon_days: int, is_dated: bool) -> dict[str, Any]:
    """The seed check of a population. Shape: x (n, p), is_seed, as_ofs (n,)."""
    n, found = int(is_seed.sum()), []
    said: dict[str, Any] = {"seeds": n, "age_days": None, "copies": _copies(x[is_seed]), "kinds": _kinds(x, is_seed, columns), "shift": _shifts(x, is_seed, columns)}
    if is_dated:
        ages = (as_ofs.max() - as_ofs[is_seed]) / np.timedelta64(1, "D")
        said["age_days"] = {"median": round(float(np.median(ages)), 1), "percentile_90": round(float(np.percentile(ages, 90)), 1)}
        if np.median(ages) > OLD_HORIZONS * horizon_days:
            found.append("OLD_SEEDS")
    if said["copies"] > MOST_COPIES * n:
        found.append("COPIED_SEEDS")
    if len(said["kinds"]) > 1:
        found.append("MIXED_SEEDS")
    if not any(abs(one["difference"]) >= 0.2 for one in said["shift"]):
        found.append("LIKE_EVERYBODY")
    return said | {"findings": found}


def selection(x: Matrix, is_seed: Mask, columns: tuple[Column, ...]) -> dict[str, Any]:
    """Whether seeds look drawn by lot among those like them. Shape: x (n, p), is_seed (n,).

    `verdict` is "doubtful", "no sign against it", or "cannot be looked at" where no column tells how or when somebody was met.
    """
    told = np.array([_tells_selection(column) for column in columns])
    if not told.any() or told.all():
        return {"verdict": "cannot be looked at", "auc": None, "interval": None, "columns": []}
    scores = _left_out(x[:, ~told], is_seed, tuple(c for c, t in zip(columns, told, strict=True) if not t))
    pairs = _nearest(scores, is_seed)
    rows, y = np.r_[pairs[:, 0], pairs[:, 1]], np.r_[np.ones(len(pairs)), np.zeros(len(pairs))]
    chosen = tuple(c for c, t in zip(columns, told, strict=True) if t)
    area = metrics.auc(y, _left_out(x[np.ix_(rows, told)], y == 1, chosen), w := metrics.resamples(np.tile(np.arange(len(pairs)), 2).astype(str).astype(object), 200))
    each = {column.name: float(metrics.auc(y, np.nan_to_num(_direction(x[rows, j], y, column)), w[:1])[0]) for j, column in enumerate(columns) if told[j]}
    interval = metrics.interval(area)
    strongest = sorted((name for name in each if each[name] >= DOUBTFUL_AUC), key=lambda name: -each[name])[:5]
    is_doubtful = area[0] >= DOUBTFUL_AUC and interval[0] > 0.5
    return {
        "verdict": "doubtful" if is_doubtful else "no sign against it", "auc": round(float(area[0]), 4), "interval": interval,
        "columns": [{"name": name, "auc": round(each[name], 4)} for name in strongest if is_doubtful]}


def _tells_selection(column: Column) -> bool:
    """How or when somebody was met: profile attributes, and how long they have been a customer."""
    return column.family == "profile" or "since_first" in column.name or "_first" in column.name or column.name.startswith("tenure")


def _direction(values: Matrix, y: Matrix, column: Column) -> Matrix:
    """A column as a ranking of seeds: a category by its share of seeds, a number up or down."""
    if column.is_category:
        code = np.where(np.isnan(values), len(column.levels), values).astype(np.int64)
        return (np.bincount(code, y, len(column.levels) + 1) / np.maximum(np.bincount(code, minlength=len(column.levels) + 1), 1))[code]
    filled = np.where(np.isnan(values), np.nanmin(values, initial=0.0) - 1, values)
    return filled if metrics.auc(y, filled, np.ones((1, len(y))))[0] >= 0.5 else -filled


def _left_out(x: Matrix, is_seed: Mask, columns: tuple[Column, ...]) -> Matrix:
    """The plain classifier's margin of customers left out when it was fitted. Shape: (n,)."""
    space = make_space("", {}, columns, x, Params())
    z, fold, scores = space.z(x), np.random.default_rng(SEED).permutation(len(x)) % 4, np.empty(len(x))
    for i in range(4):
        few = np.flatnonzero(fold != i)
        scores[fold == i] = space.ranked(z[few], is_seed[few], z[fold == i], Params("classifier"))
    return scores


def _nearest(scores: Matrix, is_seed: Mask) -> NDArray[np.int64]:
    """Each seed and a customer of nearly its score who is none, each of them once. Shape: (pairs, 2)."""
    order = np.argsort(scores, kind="stable")
    others = order[~is_seed[order]]
    taken = np.zeros(len(others), dtype=bool)
    pairs = []
    for seed in np.random.default_rng(SEED).permutation(np.flatnonzero(is_seed)):
        at = int(np.searchsorted(scores[others], scores[seed]))
        free = np.flatnonzero(~taken[max(at - 50, 0):at + 50]) + max(at - 50, 0)
        if len(free):
            nearest = free[np.argmin(np.abs(scores[others[free]] - scores[seed]))]
            taken[nearest] = True
            pairs.append((seed, others[nearest]))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _copies(x: Matrix) -> int:
    """Seeds whose every value another seed has, too."""
    _, counts = np.unique(np.nan_to_num(x, nan=-1e300), axis=0, return_counts=True)
    return int((counts - 1).sum())


def _kinds(x: Matrix, is_seed: Mask, columns: tuple[Column, ...]) -> list[dict[str, Any]]:
    """Groups of seeds that stand apart (silhouette, Rousseeuw 1987) in the directions of the population; one where none do. Sizes, largest first."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score
    from threadpoolctl import threadpool_limits

    space = make_space("", {}, columns, x, Params())
    at = space.z(x[is_seed]) @ space.components[:, :Params().n_components]
    at /= np.maximum(np.linalg.norm(at, axis=1, keepdims=True), 1e-12)
    at, best = at[:2_000], (KINDS_APART, np.zeros(min(len(at), 2_000), dtype=np.int64))
    with threadpool_limits(1):
        for k in range(2, MOST_KINDS + 1):
            label = KMeans(k, n_init=4, random_state=SEED).fit(at).labels_
            if np.bincount(label).min() >= SMALLEST_GROUP and (apart := float(silhouette_score(at, label))) > best[0]:
                best = (apart, label)
    return [{"share": round(float(size / len(at)), 3)} for size in sorted(np.bincount(best[1]), reverse=True)]


def _shifts(x: Matrix, is_seed: Mask, columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Where seeds differ most from everybody else: the difference of means of signed logs, in standard deviations of the rest."""
    found: list[dict[str, Any]] = []
    for j, column in enumerate(columns):
        if column.is_category or column.is_sensitive:
            continue
        ours, theirs = (signed_log(x[part, j]) for part in (is_seed, ~is_seed))
        ours, theirs = ours[~np.isnan(ours)], theirs[~np.isnan(theirs)]
        if min(len(ours), len(theirs)) >= SMALLEST_GROUP and theirs.std() > 1e-9:
            found.append({"name": column.name, "difference": round(float((ours.mean() - theirs.mean()) / theirs.std()), 3)})
    return sorted(found, key=lambda one: -abs(one["difference"]))[:N_SHIFTS]
