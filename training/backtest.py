"""The backtest: what a recipe would have been worth, judged once on snapshots later than all that it saw."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.errors import ContractError, first_few
from features.tasks import Task
from training import metrics, profit
from training.calibrate import calibrated, fit_platt
from training.folds import Folds, known_before
from training.members import Matrix
from training.metrics import Array
from training.recipes import Fitted, Recipe, blended
from training.saved_model import Column
from training.tables import MOST_ROWS, Rows, masked, without
from training.threads import side_by_side

# A group is looked at from so many rows on, with so many of each label; a level of a category from this share of the rows on.
GROUP_ROWS, GROUP_LABELS, GROUP_SHARE = 50, 10, 0.05


@dataclass(frozen=True)
class Calibrated:
    """A recipe fitted on all that was known at a moment, and its calibrator fitted on margins that were out of time."""

    fitted: Fitted
    slope: float
    intercept: float
    # The out-of-time margins behind the calibrator, block after block.
    margins: tuple[Array, ...]

    def probabilities(self, x: Matrix) -> Array:
        """Shape: (n, p) -> (n,)."""
        return calibrated(self.fitted.margins(x), self.slope, self.intercept)


def fit_calibrated(
    recipe: Recipe, rows: Rows, known: Sequence[datetime], blocks: Sequence[Sequence[datetime]], task: Task, columns: tuple[Column, ...],
) -> Calibrated:
    """Fit on the snapshots `known`; calibrate on each block's margins by a model that knew only what was known before that block.

    So the calibrator sees the recipe as it will be used: fitted on everything, asked about later days. Several blocks, because the
    base rate of one is a season's (found: two snapshots of October put December's probabilities 13 % too low, four did not).
    """
    def fit(as_ofs: Sequence[datetime]) -> Fitted:
        return recipe.fit(rows.at(as_ofs, task.windows.row_cap, MOST_ROWS), columns)

    *earlier, fitted = side_by_side(fit, [*(known_before(moments_of(rows), block[0], task) for block in blocks), known])
    margins = tuple(one.margins(rows.at(block).x) for one, block in zip(earlier, blocks, strict=True))
    return Calibrated(fitted, *fit_platt(np.concatenate(margins), _labels(rows, blocks)), margins)


def _labels(rows: Rows, blocks: Sequence[Sequence[datetime]]) -> Array:
    return np.concatenate([rows.at(block).y for block in blocks])


@dataclass(frozen=True)
class Backtest:
    """A recipe as it would have stood the day before the test block, and what it said of that block."""

    recipe: Recipe
    model: Calibrated
    test_margins: Array
    test_p: Array


def backtest(recipe: Recipe, rows: Rows, folds: Folds, task: Task, columns: tuple[Column, ...]) -> Backtest:
    """Fit on what was known before the test block, calibrate on the blocks before it, predict it."""
    model = fit_calibrated(recipe, rows, folds.fit, folds.before_test, task, columns)
    margins = model.fitted.margins(rows.at(folds.test).x)
    return Backtest(recipe, model, margins, calibrated(margins, model.slope, model.intercept))


def blend_of(trees: Backtest, linear: Backtest, rows: Rows, folds: Folds) -> Backtest:
    """The backtest of the blend, from those of its parts: nothing is fitted again but the calibrator."""
    margins = tuple((a + b) / 2 for a, b in zip(trees.model.margins, linear.model.margins, strict=True))
    model = Calibrated(blended(trees.model.fitted, linear.model.fitted), *fit_platt(np.concatenate(margins), _labels(rows, folds.before_test)), margins)
    on_test = (trees.test_margins + linear.test_margins) / 2
    return Backtest(Recipe("blend", {part.recipe.kind: part.recipe.params for part in (trees, linear)}), model, on_test, calibrated(on_test, model.slope, model.intercept))


def refitted(best: Backtest, rows: Rows, folds: Folds, task: Task, columns: tuple[Column, ...]) -> Calibrated:
    """The recipe on every snapshot, its calibrator on every block, the test block among them: the backtest has fitted what each margin needs."""
    margins = (*best.model.margins, best.test_margins)
    fitted = best.recipe.fit(rows.at(moments_of(rows), task.windows.row_cap, MOST_ROWS), columns)
    return Calibrated(fitted, *fit_platt(np.concatenate(margins), _labels(rows, (*folds.before_test, folds.test))), margins)


def moments_of(rows: Rows) -> list[datetime]:
    """The snapshots of a table, oldest first."""
    return [moment.item() for moment in np.unique(rows.as_ofs)]


def best_rule(rows: Rows, folds: Folds, task: Task, columns: tuple[Column, ...]) -> tuple[Recipe, dict[str, float]]:
    """The best single column to sort by, and which way, found on the latest blocks before the test; with the AUC of each there.

    The latest, because a column such as "coupons ever redeemed" says nothing in a history's first months and much later on.
    """
    before = rows.at((*folds.tune[-1], *folds.calibrate))
    names = [column.name for column in columns]
    found: dict[str, tuple[float, int]] = {}
    for name in task.rules:
        if name in names:
            area = _auc(before.y, rule_score(before.x, names.index(name)))
            found[name] = (max(area, 1 - area), 1 if area >= 0.5 else -1)
    if not found:
        raise ContractError(f"{task.name} needs a rule to be judged against, found none of {first_few(task.rules)} among the features; exclude fewer, or declare other rules")
    best = max(found, key=lambda name: found[name][0])
    return Recipe("rule", {"column": best, "sign": found[best][1]}), {name: area for name, (area, _) in found.items()}


def rule_score(x: Matrix, column: int) -> Array:
    """A column as a ranking; unknown ranks below all that is known."""
    values = x[:, column]
    lowest = np.nanmin(values) - 1 if np.isfinite(values).any() else 0.0
    return np.nan_to_num(values, nan=lowest)


def rules_on_test(rows: Rows, folds: Folds, task: Task, columns: tuple[Column, ...], ours: Array, w: Array) -> dict[str, Any]:
    """Each declared rule on the test block: its AUC, and our gain over it with its interval. Read for the record, nothing is chosen by it."""
    test, names = rows.at(folds.test), [column.name for column in columns]
    result = {}
    for name in task.rules:
        if name in names:
            score = rule_score(test.x, names.index(name))
            if _auc(test.y, score) < 0.5:
                score = -score
            result[name] = {"auc": _auc(test.y, score), "gain_over_it": metrics.gain(test.y, ours, score, w)}
    return result


def rank_sum_rule(rows: Rows, folds: Folds, columns: tuple[Column, ...], chosen: Sequence[str], task: Task) -> float | None:
    """The RFM rule with three columns: the mean rank of recency, frequency and value on the test block. Reported, not gated."""
    names = [column.name for column in columns]
    picked = [name for name in chosen if name in names]
    if len(picked) < 3:
        return None
    before, test = rows.at(folds.fit, most=MOST_ROWS), rows.at(folds.test)
    total = np.zeros(len(test.y))
    for name in picked:
        j = names.index(name)
        score = rule_score(test.x, j) * (1 if _auc(before.y, rule_score(before.x, j)) >= 0.5 else -1)
        total += np.searchsorted(np.sort(score), score)
    return _auc(test.y, total)


def ablations(recipe: Recipe, rows: Rows, folds: Folds, task: Task, columns: tuple[Column, ...]) -> dict[str, float]:
    """AUC of the same recipe without what marketers did, and without attributes that carry no date."""
    fit, test = rows.at(folds.fit, task.windows.row_cap, MOST_ROWS), rows.at(folds.test)

    def area(flag: str) -> float:
        keep = without(columns, flag)
        return _auc(test.y, recipe.fit(masked(fit, keep), columns).margins(masked(test, keep).x))

    flags = [flag for flag in ("is_treatment", "is_undated") if recipe.kind != "rule" and not without(columns, flag).all()]
    return {f"auc_without_{flag[3:]}": found for flag, found in zip(flags, side_by_side(area, flags), strict=True)}


def family_gains(best: Backtest, rows: Rows, folds: Folds, task: Task, columns: tuple[Column, ...], w: Array) -> dict[str, dict[str, Any]]:
    """What each family of features adds: the AUC of the same recipe refitted without it, and the gain of having it with its paired interval over customers."""
    fit, test, families = rows.at(folds.fit, task.windows.row_cap, MOST_ROWS), rows.at(folds.test), list(dict.fromkeys(column.family for column in columns))

    def margins_without(family: str) -> Array:
        keep = np.array([column.family != family for column in columns])
        return best.recipe.fit(masked(fit, keep), columns).margins(masked(test, keep).x)

    return {
        family: {"features": sum(column.family == family for column in columns), "auc_without": _auc(test.y, margins),
                 "adds": metrics.gain(test.y, best.test_margins, margins, w)}
        for family, margins in zip(families, side_by_side(margins_without, families), strict=True)}


def unseen_customers(recipe: Recipe, rows: Rows, folds: Folds, task: Task, columns: tuple[Column, ...], n_parts: int = 3) -> float:
    """AUC on customers whom the model never met: the recipe refitted without a third of them, judged on that third; the mean of three."""
    fit, test = rows.at(folds.fit, task.windows.row_cap, MOST_ROWS), rows.at(folds.test)
    of_fit, of_test = (np.array([zlib.crc32(str(customer).encode()) % n_parts for customer in block.customers]) for block in (fit, test))

    def area(i: int) -> float:
        asked = test.where(of_test == i)
        return _auc(asked.y, recipe.fit(fit.where(of_fit != i), columns).margins(asked.x))

    return round(float(np.mean(side_by_side(area, range(n_parts)))), 5)


def groups_of(test: Rows, fit: Rows, columns: tuple[Column, ...]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Months, customers met in training and not, and the levels of categories that may be shown; only groups that are large enough to be judged."""
    months = test.as_ofs.astype("datetime64[M]")
    met = np.isin(test.customers.astype(str), np.unique(fit.customers.astype(str)))
    found = [*((f"month {month}", months == month) for month in np.unique(months)), ("customers met in training", met), ("customers not met in training", ~met)]
    for j, column in enumerate(columns):
        if column.is_category and not column.is_sensitive:
            masks = ((level, test.x[:, j] == code) for code, level in enumerate(column.levels))
            found += [(f"{column.label_en}: {level}", mask) for level, mask in masks if mask.mean() >= GROUP_SHARE]
    for name, mask in found:
        if mask.sum() >= GROUP_ROWS and min(test.y[mask].sum(), (1 - test.y[mask]).sum()) >= GROUP_LABELS:
            yield name, mask


def by_group(best: Backtest, rows: Rows, folds: Folds, task: Task, columns: tuple[Column, ...], w: Array) -> list[dict[str, Any]]:
    """All figures of the test block in each group, with intervals over customers; of churn also the profit."""
    test, told = rows.at(folds.test), []
    for name, mask in groups_of(test, rows.at(folds.fit), columns):
        y, p, inside = test.y[mask], best.test_p[mask], w[:, mask]
        of_money = {"empc": profit.empc_with_interval(y, p, inside, task.campaign)} if task.kind == "churn" else {}
        told.append({"group": name, "rows": len(y), "positives": int(y.sum()), **metrics.measure(y, p, inside), **of_money})
    return told


def _auc(y: Array, score: Array) -> float:
    return round(float(metrics.auc(y, score, np.ones((1, len(y))))[0]), 5)
