"""The strongest rule that a marketer could write: one column, the RFM cell, or the sum of two ranks; searched before the test period, judged by its ranking on it."""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import rankdata

from features.tasks import Task
from training import metrics
from training.backtest import rule_score
from training.folds import Folds
from training.metrics import Array
from training.saved_model import Column
from training.tables import MOST_ROWS, Rows

# Beside the rules that a task declares: how late somebody is against the own rhythm, and the RFM score.
ALSO = ("overdue_ratio", "overdue_median_ratio", "overdue_share", "rfm_score")
CELL = ("recency_score", "frequency_score", "money_score")
# Columns of which sums are made: the best alone.
MOST_SUMMED = 8
# Weight, in rows, that draws a cell's rate to everybody's.
CELL_WEIGHT = 10

# From the rows that teach and those that are asked to a ranking of these. Shape: (m,).
Rule = Callable[[Rows, Rows], Array]


def searched(rows: Rows, folds: Folds, task: Task, columns: Sequence[Column], ours: Array, w: Array) -> dict[str, Any]:
    """The strongest of all rules, chosen on the latest blocks before the test by what was known earlier, with its AUC on the test block and our gain over it.

    Shape: ours (m,) our ranking of the test block, w (b, m).
    """
    names = [column.name for column in columns]
    alone = [j for j, name in enumerate(names) if name in task.rules or name.startswith(ALSO)]
    late, test = rows.at((*folds.tune[-1], *folds.calibrate)), rows.at(folds.test)
    early, known = rows.at(folds.train, most=MOST_ROWS), rows.at(folds.fit, most=MOST_ROWS)

    def area(rule: Rule) -> float:
        return _auc(late.y, rule(early, late))

    rules: dict[str, Rule] = {names[j]: _alone(j) for j in alone}
    areas = {name: area(rule) for name, rule in rules.items()}
    best = sorted(areas, key=lambda name: -areas[name])[:MOST_SUMMED]
    rules |= {f"{a} + {b}": _summed(names.index(a), names.index(b)) for a, b in combinations(best, 2)}
    cell = [next((j for j, name in enumerate(names) if name.startswith(part)), -1) for part in CELL]
    if min(cell) >= 0:
        rules["rfm cell"] = _by_cell(cell)
    areas |= {name: area(rule) for name, rule in rules.items() if name not in areas}
    chosen = max(areas, key=lambda name: areas[name])
    ranking = rules[chosen](known, test)
    reached = metrics.auc(test.y, ranking, w)
    return {
        "name": chosen, "tried": len(rules), "auc_before_test": areas[chosen], "auc": round(float(reached[0]), 5), "auc_interval": metrics.interval(reached),
        "gain_over_it": metrics.gain(test.y, ours, ranking, w)}


def _alone(j: int) -> Rule:
    return lambda taught, asked: _direction(taught, j) * rule_score(asked.x, j)


def _summed(a: int, b: int) -> Rule:
    """Customers stand in two queues, each in its better direction; the places are added."""
    return lambda taught, asked: np.sum([rankdata(_direction(taught, j) * rule_score(asked.x, j)) for j in (a, b)], axis=0)


def _by_cell(three: Sequence[int]) -> Rule:
    """The share of positives that each RFM cell had; one never seen has everybody's."""
    def ranking(taught: Rows, asked: Rows) -> Array:
        cells, place = np.unique(np.nan_to_num(np.vstack([taught.x[:, three], asked.x[:, three]]), nan=-1.0), axis=0, return_inverse=True)
        place = place.reshape(-1)
        here, n = place[:len(taught.y)], len(cells)
        rates = (np.bincount(here, taught.y, n) + CELL_WEIGHT * taught.y.mean()) / (np.bincount(here, minlength=n) + CELL_WEIGHT)
        return np.asarray(rates[place[len(taught.y):]], dtype=np.float64)

    return ranking


def _direction(taught: Rows, j: int) -> float:
    return 1.0 if _auc(taught.y, rule_score(taught.x, j)) >= 0.5 else -1.0


def _auc(y: Array, score: Array) -> float:
    return round(float(metrics.auc(y, score, np.ones((1, len(y))))[0]), 5)
