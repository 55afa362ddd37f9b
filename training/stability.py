"""Stability: would the same recipe, fitted on other customers of the same kind, give the same reasons?

The recipe is fitted again on bootstrap samples of customers, and its contributions are held against the model's, customer by customer. A reason
is firm from the size on at which nine refits in ten agree with its sign. The idea and its need: arXiv 2601.12654 (magnitudes look stable while
order and signs are not); the sums within groups of columns: Lundberg's advice for grouped SHAP values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training import metrics
from training.members import Matrix
from training.metrics import Array
from training.recipes import SEED, Fitted, Recipe
from training.saved_model import Column, SavedModel, is_large
from training.tables import Rows
from training.threads import side_by_side

N_REFITS = 8
# Rows of a refit, and customers whose reasons are compared: enough for a share to within two points, in seconds.
MOST_ROWS, MOST_JUDGED = 24_000, 500
TOP = 3
# From this share of agreeing refits on a reason is firm, where at least so many customers show it.
FIRM_SHARE, FIRM_ROWS = 0.9, 20
# Columns whose ranks correlate so much are one group.
SAME_GROUP = 0.7


@dataclass(frozen=True)
class Level:
    """Columns taken together: each by itself, groups that correlate, families. Shape of `of`: (p,), the place of each column's group in `names`; -1 is left out."""

    names: tuple[str, ...]
    of: NDArray[np.int64]

    def sums(self, phi: Matrix) -> Matrix:
        """Contributions summed with their signs. Shape: (..., p) -> (..., groups)."""
        summed: Matrix = phi @ (self.of[:, None] == np.arange(len(self.names))).astype(np.float64)
        return summed


def levels_of(columns: tuple[Column, ...], x: Matrix) -> dict[str, Level]:
    """How columns are taken together; the sensitive ones, which no reason names, are in none. Shape of x: (n, p), to correlate."""
    shown = np.array([not column.is_sensitive for column in columns], dtype=bool)
    families = list(dict.fromkeys(column.family for column in columns if not column.is_sensitive))
    return {
        "features": _level([column.name for column in columns], np.arange(len(columns)), shown),
        "correlated": _level(*_correlated(columns, x), shown),
        "families": _level(families, np.array([families.index(column.family) if column.family in families else -1 for column in columns]), shown)}


def _level(names: Sequence[str], of: NDArray[np.int64], shown: NDArray[np.bool_]) -> Level:
    return Level(tuple(names), np.where(shown, of, -1))


def _correlated(columns: tuple[Column, ...], x: Matrix) -> tuple[list[str], NDArray[np.int64]]:
    """Groups by average linkage on 1 - |rank correlation|; what is unknown counts as the lowest. A group bears the name of its first column."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform
    from scipy.stats import rankdata

    if len(columns) < 2:
        return [column.name for column in columns], np.zeros(len(columns), dtype=np.int64)
    ranks = rankdata(np.nan_to_num(x, nan=-np.inf), axis=0)
    ranks -= ranks.mean(axis=0)
    spread = np.sqrt((ranks**2).sum(axis=0))
    spread[spread == 0] = 1.0
    distance = 1 - np.abs((ranks / spread).T @ (ranks / spread))
    np.fill_diagonal(distance, 0.0)
    found = fcluster(linkage(squareform(np.clip(distance, 0, 1), checks=False), "average"), 1 - SAME_GROUP, "distance")
    _, first, place = np.unique(found, return_index=True, return_inverse=True)
    return [columns[j].name for j in first], place.astype(np.int64)


def refits(recipe: Recipe, rows: Rows, columns: tuple[Column, ...], n: int = N_REFITS) -> list[Fitted]:
    """The recipe with its parameters on bootstrap samples of customers, all rows of one together; on at most about MOST_ROWS rows each.

    Fewer rows would cost less and show less: on the grocer's churn half of them left 70 % of the first reasons firm where all left 92 %.
    """
    rows = rows.thinned(MOST_ROWS)
    names, place = np.unique(rows.customers.astype(str), return_inverse=True)
    order = np.argsort(place, kind="stable")
    begins = np.searchsorted(place[order], np.arange(len(names) + 1))

    def one(i: int) -> Fitted:
        drawn = np.random.default_rng([SEED, i]).integers(0, len(names), len(names))
        mask = np.concatenate([order[begins[c]:begins[c + 1]] for c in np.sort(drawn)])
        return recipe.fit(Rows(rows.x[mask], rows.y[mask], rows.customers[mask], rows.as_ofs[mask]), columns)

    return side_by_side(one, range(n))


def judged_rows(rows: Rows) -> Rows:
    """Whose reasons are compared: the latest row of each of at most about MOST_JUDGED customers."""
    return rows.capped(1).thinned(MOST_JUDGED)


def contributions(fitted: Fitted, x: Matrix) -> Matrix:
    """Contributions to the margin, without the base. Shape: (n, p) -> (n, p)."""
    phi: Matrix = np.sum([w * member.contributions(x)[:, :-1] for w, member in zip(fitted.weights, fitted.members, strict=True)], axis=0)
    return phi


def _of_all(again: Sequence[Fitted], x: Matrix) -> Matrix:
    """Shape: (n, p) -> (refits, n, p)."""
    return np.stack(side_by_side(lambda one: contributions(one, x), again))


def firm_from(phi: Matrix, again: Matrix) -> list[float | None]:
    """For each column the size of a contribution from which on refits agree with its sign; None where they never do.

    The share that agrees is taken to rise with the size (isotonic regression), so the bound speaks of reasons of about its own size.
    Shape: phi (n, q) of the model, again (b, n, q) of the refits.
    """
    from sklearn.isotonic import IsotonicRegression

    agrees = ((np.sign(phi) == np.sign(again)) & (phi != 0)).mean(axis=0)
    bounds: list[float | None] = []
    for j in range(phi.shape[1]):
        sizes = np.abs(phi[:, j])
        risen = IsotonicRegression().fit_transform(sizes, agrees[:, j])
        firm = (risen >= FIRM_SHARE) & (sizes > 0)
        bounds.append(float(sizes[firm].min()) if firm.sum() >= FIRM_ROWS else None)
    return bounds


def firm_bounds(model: SavedModel, again: Sequence[Fitted], rows: Rows) -> dict[str, dict[str, float | None]]:
    """What a saved model remembers, to mark its reasons at no cost: the size, in log-odds, from which on each feature and family is firm; None for never."""
    x = judged_rows(rows).x
    phi, refitted = model.contributions(x)[:, :-1], _of_all(again, x)
    levels = levels_of(model.columns, x)
    return {
        name: dict(zip(levels[name].names, firm_from(levels[name].sums(phi), levels[name].sums(refitted)), strict=True))
        for name in ("features", "families")}


def stability(model: Fitted, again: Sequence[Fitted], before: Rows, later: Rows, columns: tuple[Column, ...]) -> dict[str, Any]:
    """How far a customer's first reasons hold, on later rows, at each level of columns.

    Half of the refits and the rows before say from which size on a reason is firm; the other half and the later rows say whether such reasons
    then agree more. `by_lot` is the overlap of reasons drawn by lot; `of_another_customer` the overlap and agreement with the refits' reasons
    for some other customer, which a model that says the same of everybody would reach. All intervals resample customers.
    """
    before, later = judged_rows(before), judged_rows(later)
    w = metrics.resamples(later.customers)
    half = len(again) // 2
    levels = levels_of(columns, before.x)
    phi_before, phi = contributions(model, before.x), contributions(model, later.x)
    learning, judging = _of_all(again[:half], before.x), _of_all(again[half:], later.x)
    told = {name: _held(level, level.sums(phi), level.sums(judging), firm_from(level.sums(phi_before), level.sums(learning)), w) for name, level in levels.items()}
    return {"refits": len(again), "judging_refits": len(again) - half, "customers": len(later.y), "top": TOP, "firm_share": FIRM_SHARE, **told}


def _held(level: Level, phi: Matrix, again: Matrix, bounds: list[float | None], w: Array) -> dict[str, Any]:
    """Overlap and agreement of the first reasons. Shape: phi (n, q), again (b, n, q), w (resamples, n)."""
    n, groups = len(phi), len(set(level.of[level.of >= 0].tolist()))
    k = min(TOP, groups)
    first = np.argsort(-np.abs(phi), axis=1, kind="stable")[:, :k]
    given = np.take_along_axis(phi, first, axis=1) != 0
    firm = np.take_along_axis(is_large(phi, bounds), first, axis=1) & given
    lot = np.random.default_rng(SEED).permutation(n)

    def of(others: Matrix) -> tuple[Array, Array]:
        """Overlap (Jaccard) with the others' first reasons, and the share that agrees in sign with each reason. Shape: (n,), (n, k)."""
        theirs = np.argsort(-np.abs(others), axis=2, kind="stable")[:, :, :k]
        shared = (first[None, :, :, None] == theirs[:, :, None, :]).any(axis=3).sum(axis=2)
        signs = np.take_along_axis(others, np.broadcast_to(first, theirs.shape), axis=2)
        return (shared / (2 * k - shared)).mean(axis=0), (np.sign(signs) == np.sign(np.take_along_axis(phi, first, axis=1))).mean(axis=0)

    overlap, agrees = of(again)
    overlap_by_chance, agrees_by_chance = of(again[:, lot])
    return {
        "groups": groups, "overlap": _mean(overlap, np.ones(n), w), "sign_agreement": _mean((agrees * given).sum(axis=1), given.sum(axis=1), w),
        "by_lot": {"overlap": round(_overlap_by_lot(k, groups), 4)},
        "of_another_customer": {"overlap": _mean(overlap_by_chance, np.ones(n), w), "sign_agreement": _mean((agrees_by_chance * given).sum(axis=1), given.sum(axis=1), w)},
        "firm": _mean(firm.sum(axis=1), given.sum(axis=1), w), "sign_agreement_firm": _mean((agrees * firm).sum(axis=1), firm.sum(axis=1), w),
        "sign_agreement_not_firm": _mean((agrees * (given & ~firm)).sum(axis=1), (given & ~firm).sum(axis=1), w)}


def _overlap_by_lot(k: int, q: int) -> float:
    """The expected Jaccard overlap of two draws of k out of q."""
    from scipy.stats import hypergeom

    shared = np.arange(k + 1)
    return float((hypergeom.pmf(shared, q, k, k) * shared / (2 * k - shared)).sum())


def _mean(total: Array, count: Array, w: Array) -> dict[str, Any] | None:
    """A share over all reasons and its interval over customers; None where there are none. Shape: total, count (n,), w (b, n)."""
    if not count.sum():
        return None
    values = (w @ total) / np.maximum(w @ count, 1e-12)
    return {"value": round(float(values[0]), 4), "interval": metrics.interval(values)}
