"""The strongest rule is found before the test: one column, the sum of two ranks, an RFM cell; directions and rates are learned earlier than they are judged."""

from dataclasses import replace

import numpy as np
import pytest
from made_up import COLUMNS, TASK

from training import metrics
from training.rules import searched
from training.saved_model import Column

NAMES = [column.name for column in COLUMNS]


def search(rows, folds, columns=COLUMNS, task=TASK):
    test = rows.at(folds.test)
    return searched(rows, folds, task, columns, test.x[:, 0], metrics.resamples(test.customers, 50))


def test_two_ranks_together_are_stronger_than_one(rows, folds):
    """The law has visits and days since the last one."""
    said = search(rows, folds)
    assert said["name"] in ("visits_count_28d + days_since_last_visit", "days_since_last_visit + visits_count_28d")
    alone = search(rows, folds, task=replace(TASK, rules=("visits_count_28d",)))
    assert alone["name"] == "visits_count_28d"
    assert said["auc"] > alone["auc"] + 0.01
    assert said["tried"] == 3
    assert said["gain_over_it"]["value"] < 0


def test_the_test_block_changes_no_choice(rows, folds):
    turned = replace(rows, y=np.where(np.isin(rows.as_ofs, np.array(folds.test, "datetime64[us]")), 1 - rows.y, rows.y))
    before, after = search(rows, folds), search(turned, folds)
    assert (before["name"], before["auc_before_test"]) == (after["name"], after["auc_before_test"])
    assert after["auc"] == pytest.approx(1 - before["auc"], abs=1e-4)


def test_an_rfm_cell_is_ranked_by_its_own_rate(rows, folds):
    """Two scores decide together, neither alone nor their sum: only the cells tell."""
    rng = np.random.default_rng(0)
    scores = rng.integers(1, 6, (len(rows.y), 3)).astype(float)
    odd = (scores[:, 0] + scores[:, 1]) % 2 == 0
    y = (rng.random(len(rows.y)) < np.where(odd, 0.7, 0.1)).astype(float)
    columns = (*COLUMNS, *(Column(f"{part}_score_112d", "consumption", "score", part, part) for part in ("recency", "frequency", "money")))
    said = search(replace(rows, x=np.hstack([rows.x, scores]), y=y), folds, columns)
    assert said["name"] == "rfm cell"
    assert said["auc"] > 0.7
