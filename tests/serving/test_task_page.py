"""What a page computes: bands that hide the few, reach that adds probabilities up, actions that the data allow."""

import numpy as np
import pandas as pd
import pytest

from serving.actions import LIBRARY, actions
from serving.task_page import band_counts, reach, reached, too_small
from serving.words import words_of
from training.saved_model import sigmoid


@pytest.mark.parametrize(("counts", "hidden"), [
    ([100, 50, 20], []), ([100, 50, 9], [1, 2]), ([9, 8, 100], [0, 1]), ([0, 50, 20], []), ([None, 50, 70], [0, 1]), ([5], [0]), ([5, 0, 0], [0]), ([3, 50, 0], [0, 1])])
def test_the_few_are_hidden_and_cannot_be_told_from_the_total(counts, hidden):
    assert sorted(too_small(counts)) == hidden


def test_bands_count_everybody_once(base):
    task = base.tasks["churn"]
    model = type(task.model)(**{**task.model.__dict__, "card": {"bands": [{"band": band, "rows": 100, "expected": 20.0, "actual": 20} for band in ("high", "medium", "low")]}})
    task = type(task)(task.task, model, task.version, task.ids, task.x, task.known, task.as_of)
    p = sigmoid(task.log_odds)
    rows = band_counts(task, p)
    assert sum(row["customers"] for row in rows) == len(p)
    assert sum(row["expected"] for row in rows) == pytest.approx(p.sum())
    assert rows[0]["probability"] >= 0.6 >= rows[1]["probability"] >= 0.3 >= rows[2]["probability"]


def test_reach_adds_the_highest_probabilities_up():
    p = np.random.default_rng(1).random(333)
    said = reach(p)
    assert said["customers"] == 333 and len(said["hits"]) == 101 and said["hits"][0] == 0
    highest = sorted(p, reverse=True)
    for share in (1, 10, 50, 99, 100):
        assert said["hits"][share] == pytest.approx(sum(highest[:int(333 * share / 100 + 0.5)]), abs=0.01)
    # No order finds more, and each step finds less than the one before.
    steps = np.diff([said["hits"][share] for share in range(0, 101, 10)])
    assert (np.diff(steps) <= 0.02 + max(p)).all()


@pytest.mark.parametrize(("n", "share", "expected"), [(10, 5, 1), (10, 4, 0), (50, 1, 1), (7, 50, 4), (2227, 20, 445), (3, 0, 0), (3, 100, 3)])
def test_reached_customers_are_rounded_halves_up(n, share, expected):
    assert reached(n, share) == expected


def shop(n=400):
    draw = np.random.default_rng(2)
    return pd.DataFrame({
        "spend_sum_28d_usd": draw.gamma(2, 20, n), "spend_sum_112d_usd": draw.gamma(2, 80, n), "days_since_last_purchase": draw.exponential(20, n),
        "overdue_ratio_112d": np.where(draw.random(n) < 0.2, np.nan, draw.gamma(1, 1, n)), "purchases_count_112d": draw.poisson(5, n), "purchases_count_ever": draw.poisson(6, n),
        "discount_share_112d": draw.random(n) / 2, "active_weeks_count_112d": draw.integers(0, 16, n), "returns_count_112d": draw.poisson(0.3, n),
        "categories_nunique_112d": draw.integers(1, 30, n)})


@pytest.mark.parametrize("language", ["en", "zh"])
def test_each_row_counts_who_its_rule_names(language):
    frame = shop()
    p = np.linspace(0, 1, len(frame))
    rows = actions(frame, p, words_of(language))
    assert 4 <= len(rows) <= len(LIBRARY)
    for row in rows:
        assert 10 <= row["customers"] <= len(frame) - 10
        assert "{" not in "".join((row["who"], row["where"], row["what"], row["measure"]))
        assert 0 < row["expected"] < row["customers"]
    overdue = (frame["overdue_ratio_112d"] >= 2) & (frame["purchases_count_112d"] >= 3)
    assert any(row["customers"] == overdue.sum() and row["expected"] == pytest.approx(p[overdue].sum(), abs=0.06) for row in rows)
    assert any(row["is_price"] for row in rows) and not all(row["is_price"] for row in rows)


def test_the_longest_lookback_is_taken_and_what_the_data_lack_is_left_out():
    frame, p = shop(), np.full(400, 0.5)
    words = words_of("en")
    assert "112 days" in actions(frame, p, words)[0]["who"]
    short = frame.drop(columns=["spend_sum_112d_usd"])
    assert "28 days" in actions(short, p, words)[0]["who"]
    assert len(actions(frame.drop(columns=["discount_share_112d"]), p, words)) == len(actions(frame, p, words)) - 1
    assert actions(frame[["purchases_count_ever"]], p, words) == []


def test_a_group_under_ten_is_no_row():
    frame = shop().assign(discount_share_112d=0.0)
    frame.loc[:8, "discount_share_112d"] = 0.4
    assert not any("list price" in row["who"] for row in actions(frame, np.full(400, 0.5), words_of("en")))
    frame.loc[:9, "discount_share_112d"] = 0.4
    assert any("list price" in row["who"] and row["customers"] == 10 for row in actions(frame, np.full(400, 0.5), words_of("en")))
