"""Clusters of habits: a mixture of normal distributions over how people shop; their number by what survives resampling, their names kept by whom they hold.

docs/decisions/0018 says what was tried. A customer of whom too little is known to be sure belongs to none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

Array = np.ndarray[Any, Any]

# How people shop, not how much or how lately: value and stage have schemes of their own. The first MOST that the data tell are taken.
HABITS = (
    "unit_price_median_365d_{currency}", "promoted_share_365d", "discount_share_365d", "session_seconds_mean_365d", "sessions_per_purchase_365d", "basket_lines_mean_365d",
    "evening_share_365d", "weekend_share_365d", "top_category_share_365d")
MOST, FEWEST_HABITS = 5, 2
# Clusters are found among those of whom so many baskets are known in the year. Everybody belongs to the one that is theirs with this chance, allowing for
# what few baskets add to the spread of a habit; from MANY_BASKETS on, nothing.
FEWEST_BASKETS, MANY_BASKETS = 6, 15
SURE = .85
ENOUGH = 30  # customers of so many baskets, to tell their spread
NUMBERS = range(2, 10)
# Two refits must agree so well (adjusted Rand) for a number of clusters to be taken.
STABLE = .9
# A number that was taken before is kept at so much less: groups should not split and join by chance.
NEARLY = .05
# Customers that the number is found on, and that the clusters are then fitted to; at most.
N_REFITS, MOST_TRIED, MOST_FITTED = 6, 5_000, 20_000
# A former cluster gives its name to a new one whose distribution overlaps its own so well; 1 is the same.
SAME = .3
NONE = "unknown"


@dataclass(frozen=True)
class Clusters:
    """A fitted mixture, in numbers that JSON can say. Shape: weights (cluster,), means and deviations (cluster, column)."""

    columns: tuple[str, ...]
    filled: Array  # what is put where nothing is known: the median
    centre: Array
    spread: Array
    weights: Array
    means: Array
    deviations: Array
    names: tuple[str, ...]
    stability: dict[int, float]
    noise: Array  # what 1, 2, ... baskets add to the variance of each column; (MANY_BASKETS - 1, column)

    def numbers(self, portraits: pd.DataFrame) -> Array:
        """Columns as the mixture sees them: roots of what is never negative, standardised, without extremes."""
        return _scaled(portraits[list(self.columns)].to_numpy(float), self.filled, self.centre, self.spread)

    def place(self, portraits: pd.DataFrame) -> Array:
        """The number of each one's most likely cluster."""
        x = self.numbers(portraits)
        out = np.empty(len(x), int)
        for start in range(0, len(x), 100_000):
            part = x[start:start + 100_000, None, :]
            log = -.5 * (((part - self.means) / self.deviations) ** 2).sum(axis=2) - np.log(self.deviations).sum(axis=1) + np.log(self.weights)
            out[start:start + 100_000] = log.argmax(axis=1)
        return out

    def assign(self, portraits: pd.DataFrame, baskets: Array) -> Array:
        """The name of the cluster that each one, of so many baskets, belongs to with a chance of SURE or more; NONE of whom too little is known for that."""
        out, n = np.full(len(portraits), NONE, object), np.minimum(np.nan_to_num(baskets).astype(int), MANY_BASKETS)
        noise = np.vstack([np.zeros((1, len(self.columns))), self.noise, np.zeros((1, len(self.columns)))])
        x = self.numbers(portraits)
        for start in range(0, len(x), 100_000):
            part = slice(start, start + 100_000)
            variance = self.deviations**2 + noise[n[part]][:, None, :]
            log = -.5 * ((x[part, None, :] - self.means) ** 2 / variance + np.log(variance)).sum(axis=2) + np.log(self.weights)
            chances = np.exp(log - log.max(axis=1, keepdims=True))
            is_sure = (n[part] > 0) & (SURE * chances.sum(axis=1) <= 1)
            out[part][is_sure] = np.array(self.names, object)[chances.argmax(axis=1)[is_sure]]
        return out

    def as_json(self) -> dict[str, Any]:
        """For the next run."""
        arrays = {name: getattr(self, name).tolist() for name in ("filled", "centre", "spread", "weights", "means", "deviations", "noise")}
        return {"columns": list(self.columns), "names": list(self.names), "stability": {str(k): v for k, v in self.stability.items()}, **arrays}

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> "Clusters":
        """The inverse of as_json."""
        # What was written before clusters knew of noise has none.
        said = {"noise": np.zeros((MANY_BASKETS - 1, len(said["columns"]))), **said}
        arrays = {name: np.array(said[name], float) for name in ("filled", "centre", "spread", "weights", "means", "deviations", "noise")}
        return cls(tuple(said["columns"]), names=tuple(said["names"]), stability={int(k): v for k, v in said["stability"].items()}, **arrays)


def _scaled(values: Array, filled: Array, centre: Array, spread: Array) -> Array:
    roots = np.sqrt(np.maximum(np.where(np.isnan(values), filled, values), 0))
    return np.clip((roots - centre) / spread, -4, 4)


def fit(portraits: pd.DataFrame, columns: Sequence[str], seed: int = 0, number: int = 0, former: int = 0) -> Clusters:
    """Fit to the portraits of those of whom enough is known.

    The number of clusters is the largest that refits on resamples agree on, or a former number that they nearly do; unless `number` is given.
    """
    rng = np.random.default_rng(seed)
    values = portraits[list(columns)].to_numpy(float)
    if len(values) > MOST_FITTED:
        values = values[rng.choice(len(values), MOST_FITTED, replace=False)]
    filled = np.nan_to_num(np.nanmedian(values, axis=0))
    roots = np.sqrt(np.maximum(np.where(np.isnan(values), filled, values), 0))
    centre, spread = roots.mean(axis=0), roots.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    x = _scaled(values, filled, centre, spread)
    tried = x if len(x) <= MOST_TRIED else x[rng.choice(len(x), MOST_TRIED, replace=False)]
    stability = {k: _stability(tried, k, rng) for k in NUMBERS if len(x) >= 30 * k} if not number else {}
    if not number:
        good = [k for k, agree in stability.items() if agree >= STABLE]
        number = former if stability.get(former, 0) >= STABLE - NEARLY else max(good) if good else max(stability, key=lambda k: stability[k])
    mixture = _mixture(x, number, rng, 6)
    order = np.argsort(-mixture.weights_, kind="stable")
    names = tuple(_letters(i) for i in range(number))
    return Clusters(
        tuple(columns), filled, centre, spread, mixture.weights_[order], mixture.means_[order], np.sqrt(mixture.covariances_[order]), names,
        {k: round(float(v), 4) for k, v in stability.items()}, np.zeros((MANY_BASKETS - 1, len(columns))))


def with_noise(found: Clusters, portraits: pd.DataFrame, baskets: Array) -> Clusters:
    """The same clusters, and what few baskets add to the variance of a habit: that among customers of so many baskets, less that among those of many."""
    x, n = found.numbers(portraits), np.nan_to_num(baskets)
    settled = x[n >= (MANY_BASKETS if (n >= MANY_BASKETS).sum() >= ENOUGH else FEWEST_BASKETS)]
    rows = [x[n == k].var(axis=0) - settled.var(axis=0) if (n == k).sum() >= ENOUGH else np.zeros(x.shape[1]) for k in range(1, MANY_BASKETS)]
    return replace(found, noise=np.maximum(np.array(rows), 0))


def _mixture(x: Array, k: int, rng: np.random.Generator, n_starts: int) -> Any:
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    # The matrices are small: threads would only wait for each other, and the sums would depend on their number.
    with threadpool_limits(1):
        return GaussianMixture(k, covariance_type="diag", n_init=n_starts, reg_covar=1e-2, max_iter=200, tol=1e-3, random_state=int(rng.integers(2**31))).fit(x)


def _stability(x: Array, k: int, rng: np.random.Generator) -> float:
    """How well refits on resamples agree about everybody: the mean adjusted Rand index of one to the next."""
    from sklearn.metrics import adjusted_rand_score

    found = [_mixture(x[rng.integers(0, len(x), len(x))], k, rng, 2).predict(x) for _ in range(N_REFITS)]
    return float(np.mean([adjusted_rand_score(a, b) for i, a in enumerate(found) for b in found[:i]]))


def _letters(i: int) -> str:
    """A, B, ... Z, AA, AB, ..."""
    return (_letters(i // 26 - 1) if i >= 26 else "") + chr(65 + i % 26)


def with_names_of(found: Clusters, before: Clusters) -> Clusters:
    """The same clusters under the names of the former ones that lie where they lie (one to one, the most alike first); the others get names that nobody had.

    Alike is what overlaps as distributions (Bhattacharyya's coefficient): whom a cluster holds would mislead where many new customers come.
    """
    from scipy.optimize import linear_sum_assignment

    if found.columns != before.columns:
        return found
    (mean, variance), (old_mean, old_variance) = ((c.means * c.spread + c.centre, (c.deviations * c.spread) ** 2) for c in (found, before))
    both = variance[:, None] + old_variance[None]
    distance = ((mean[:, None] - old_mean[None]) ** 2 / both / 4 + np.log(both / 2 / np.sqrt(variance[:, None] * old_variance[None])) / 2).sum(axis=2)
    likeness = np.exp(-distance)
    rows, columns = linear_sum_assignment(-likeness)
    kept = {row: before.names[column] for row, column in zip(rows, columns, strict=True) if likeness[row, column] >= SAME}
    fresh = (name for name in (_letters(i) for i in range(len(before.names) + len(found.names))) if name not in before.names)
    return replace(found, names=tuple(kept.get(i) or next(fresh) for i in range(len(found.names))))


def tree(clusters: Clusters) -> pd.DataFrame:
    """The hierarchical view: which clusters are nearest, by Ward's method on their middles. Grain: number of groups x cluster, with its group (its members' names)."""
    from scipy.cluster.hierarchy import fcluster, linkage

    names = np.array(clusters.names)
    joined = linkage(clusters.means, "ward") if len(names) > 1 else None
    rows = []
    for k in range(1, len(names) + 1):
        label = np.ones(len(names), int) if joined is None else fcluster(joined, k, "maxclust")
        rows += [{"groups": k, "cluster": name, "group": "+".join(sorted(names[label == own]))} for name, own in zip(names, label, strict=True)]
    return pd.DataFrame(rows).drop_duplicates()
