"""Grids and tiers by hand, what sets apart, who moved, and what is hidden."""

import numpy as np
import pandas as pd
import pytest

from features.feature import Aggregate, Feature
from features.segments import grids
from features.segments.apart import effects, migration, sentences, summary


def raw(recency, frequency, money):
    return pd.DataFrame({"recency_raw": recency, "frequency_raw": frequency, "money_raw": money}, index=[f"c{i}" for i in range(len(recency))])


def test_fifths_are_of_those_who_bought_and_equals_are_equal():
    found = grids.rfm(raw([1, 2, 3, 4, 5, np.nan], [5, 4, 3, 2, 1, 0], [10., 20, 30, 40, 50, 0]))
    assert found["recency"].tolist()[:5] == [5, 4, 3, 2, 1]
    assert found["money"].tolist()[:5] == [1, 2, 3, 4, 5]
    assert found["rfm"].tolist() == ["110", "110", "000", "001", "001", "none"]
    same = grids.rfm(raw([7] * 4, [1] * 4, [3.] * 4))
    assert same[["recency", "frequency", "money"]].nunique().tolist() == [1, 1, 1]


@pytest.mark.parametrize(("spend", "tiers"), [
    ([80, 15, 4, 1], "ABCC"), ([50, 30, 15, 5], "AABC"), ([100], "A"), ([0, 0], ["none", "none"]), ([10] * 4, "AAAA"), ([100, np.nan, 0], ["A", "none", "none"]),
    ([79, 2, 2, 17], "ACCA")])
def test_tiers_are_by_who_brings_how_much(spend, tiers):
    assert grids.value_tier(pd.Series(spend, dtype=float)).tolist() == list(tiers)


def test_who_brings_eighty_percent():
    table, who = grids.revenue(pd.Series([800.] + [2.] * 100))
    assert (who["n"], who["n_customers"]) == (1, 101)
    assert table["share_of_revenue"].sum() == pytest.approx(1)
    assert table["share_so_far"].is_monotonic_increasing
    assert grids.revenue(pd.Series([1.] * 99))[1] == {}


def test_small_cells_of_the_grid_are_hidden_with_a_neighbour():
    draw = np.random.default_rng(0)
    n = 400
    found = grids.rfm(raw(draw.integers(1, 300, n), draw.integers(1, 9, n), draw.random(n) * 100))
    cells, counts = grids.grid(found), found.groupby(["recency", "frequency"]).size()
    for row in cells.to_dict("records"):
        n = counts.get((row["recency"], row["frequency"]), 0)
        assert pd.isna(row["n"]) or row["n"] == n
        assert pd.isna(row["n"]) or n == 0 or n >= 10
    for _, rows in cells.groupby("recency"):
        assert rows["n"].isna().sum() != 1


def test_an_effect_is_how_much_more_likely_a_member_has_the_higher_value():
    portraits = pd.DataFrame({"x": [1., 2, 3, 4] * 5 + [3., 4, 5, 6] * 5, "flat": [1.] * 40, "few": [1.] * 5 + [np.nan] * 35})
    labels = pd.Series(["low"] * 20 + ["high"] * 20)
    found = effects(portraits, labels, ["x", "flat", "few"]).set_index(["segment", "feature"])
    a, b = portraits["x"][20:].to_numpy(), portraits["x"][:20].to_numpy()
    by_hand = np.mean(np.sign(a[:, None] - b[None, :]))
    assert found.loc[("high", "x"), "effect"] == pytest.approx(by_hand)
    assert found.loc[("low", "x"), "effect"] == pytest.approx(-by_hand)
    assert found.loc[("high", "flat"), "effect"] == 0
    assert "few" not in found.index.get_level_values("feature")


def test_a_sentence_tells_what_differs_in_both_languages():
    features = {"x": Feature("x", "behaviour", Aggregate("purchases"), "share", "share of cakes", "蛋糕占比"),
                "y": Feature("y", "behaviour", Aggregate("purchases"), "days", "days",
    "天数")}
    found = pd.DataFrame([{"segment": "A", "feature": "x", "effect": .8, "median": .5, "median_all": .1}, {"segment": "A", "feature": "y",
    "effect": -.9, "median": 3., "median_all": 21.5},
                          {"segment": "B", "feature": "x", "effect": .1, "median": .5, "median_all": .1}])
    assert sentences(found, features, "en") == {
        "A": "Compared with everybody else: lower days (median 3, all 22); higher share of cakes (median 50%, all 10%).", "B": "Nothing sets them apart from everybody else."}
    assert sentences(found, features, "zh")["A"] == "与其他客户相比：天数更低（中位数3，全部22）；蛋糕占比更高（中位数50%，全部10%）。"


def test_an_empty_segment_is_told_and_few_people_are_hidden():
    labels = pd.Series(["a"] * 50 + ["b"] * 4 + ["c"] * 20)
    found = summary(pd.DataFrame({"spend": [1.] * 74}), labels, "spend", ("a", "b", "c", "d")).set_index("segment")
    assert (found.loc["a", "n"], found.loc["d", "n"]) == (50, 0)
    assert found.loc[["b", "c"], ["n", "share", "share_of_revenue", "spend_mean"]].isna().all(axis=None)
    assert found.loc["a", "share_of_revenue"] == pytest.approx(50 / 74)


def test_who_moved_with_newcomers_and_those_who_are_gone():
    before, now = pd.Series(["a"] * 40 + [None] * 20), pd.Series(["a"] * 22 + ["b"] * 18 + ["b"] * 20)
    found = migration(before, now).set_index(["before", "now"])
    assert found["n"].to_dict() == {("a", "a"): 22, ("a", "b"): 18, ("newcomer", "b"): 20}
    assert found.loc[("a", "a"), "share"] == pytest.approx(.55)
    few = migration(pd.Series(["a"] * 40), pd.Series(["a"] * 20 + ["b"] * 15 + ["c"] * 5)).set_index("now")
    assert few["n"].isna().to_dict() == {"a": False, "b": True, "c": True}
