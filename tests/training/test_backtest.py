"""The backtest is honest: what is chosen does not depend on the test block, and truth that was planted is found."""

from dataclasses import replace

import numpy as np
import pytest
from made_up import COLUMNS, TASK, made_up

from training import metrics
from training.backtest import ablations, backtest, best_rule, blend_of, by_group, family_gains, fit_calibrated, moments_of, refitted, rule_score, unseen_customers
from training.recipes import FIRST_LIGHTGBM, Recipe
from training.tables import masked, without

LOGISTIC = Recipe("logistic", {"C": 0.1})
TREES = Recipe("lightgbm", {**FIRST_LIGHTGBM, "n_trees": 20})


def with_other_test(rows, folds, seed=0):
    """The same table with the test block's rows and labels made up anew."""
    late = np.isin(rows.as_ofs, np.array(folds.test, dtype="datetime64[us]"))
    rng = np.random.default_rng(seed)
    x, y = rows.x.copy(), rows.y.copy()
    x[late] = x[late][rng.permutation(late.sum())] * 3
    x[late, 4] = 0
    y[late] = 1 - y[late]
    return replace(rows, x=x, y=y)


@pytest.mark.parametrize("recipe", [LOGISTIC, TREES], ids=["logistic", "lightgbm"])
def test_nothing_fitted_depends_on_the_test_block(recipe, rows, folds):
    ours, theirs = (backtest(recipe, table, folds, TASK, COLUMNS).model for table in (rows, with_other_test(rows, folds)))
    assert [m.to_text() for m in ours.fitted.members] == [m.to_text() for m in theirs.fitted.members]
    assert (ours.slope, ours.intercept) == (theirs.slope, theirs.intercept)


def test_the_rule_is_found_before_the_test_block(rows, folds):
    assert best_rule(rows, folds, TASK, COLUMNS) == best_rule(with_other_test(rows, folds), folds, TASK, COLUMNS)
    recipe, areas = best_rule(rows, folds, TASK, COLUMNS)
    assert recipe.params == {"column": "visits_count_28d", "sign": -1}
    assert set(areas) == set(TASK.rules)


def test_the_calibrators_margins_are_out_of_time(rows, folds):
    """Changing a block's labels changes the calibrator, but not the margins of that block."""
    block = np.isin(rows.as_ofs, np.array(folds.calibrate, dtype="datetime64[us]"))
    other = replace(rows, y=np.where(block, 1 - rows.y, rows.y))
    ours, theirs = (fit_calibrated(LOGISTIC, table, folds.fit, folds.before_test, TASK, COLUMNS) for table in (rows, other))
    assert (ours.margins[-1] == theirs.margins[-1]).all()
    assert ours.slope != theirs.slope


def test_a_blend_of_backtests_is_the_backtest_of_the_blend(rows, folds):
    cheap = blend_of(*(backtest(recipe, rows, folds, TASK, COLUMNS) for recipe in (TREES, LOGISTIC)), rows, folds)
    whole = backtest(Recipe("blend", {"lightgbm": TREES.params, "logistic": LOGISTIC.params}), rows, folds, TASK, COLUMNS)
    assert cheap.recipe == whole.recipe
    assert [m.to_text() for m in cheap.model.fitted.members] == [m.to_text() for m in whole.model.fitted.members]
    assert np.allclose(cheap.test_p, whole.test_p, atol=1e-12)
    assert (cheap.model.slope, cheap.model.intercept) == pytest.approx((whole.model.slope, whole.model.intercept), rel=1e-9)


@pytest.mark.parametrize("recipe", [LOGISTIC, TREES], ids=["logistic", "lightgbm"])
def test_the_refit_is_the_recipe_calibrated_on_every_block(recipe, rows, folds):
    cheap = refitted(backtest(recipe, rows, folds, TASK, COLUMNS), rows, folds, TASK, COLUMNS)
    whole = fit_calibrated(recipe, rows, moments_of(rows), (*folds.before_test, folds.test), TASK, COLUMNS)
    assert [m.to_text() for m in cheap.fitted.members] == [m.to_text() for m in whole.fitted.members]
    assert (cheap.slope, cheap.intercept) == (whole.slope, whole.intercept)
    assert all((ours == theirs).all() for ours, theirs in zip(cheap.margins, whole.margins, strict=True))


def test_planted_truth_is_ranked_and_believed(folds):
    rows = made_up(600, seed=9)
    result = backtest(LOGISTIC, rows, folds, TASK, COLUMNS)
    test = rows.at(folds.test)
    city = np.nan_to_num(test.x[:, 4], nan=-1) == 2
    truth = -1 - test.x[:, 0] + test.x[:, 1] / 10 + city
    ones = np.ones((1, len(test.y)))
    ceiling = metrics.auc(test.y, truth, ones)[0]
    assert metrics.auc(test.y, result.test_margins, ones)[0] > ceiling - 0.02
    said = metrics.believability(test.y, result.test_p, metrics.resamples(test.customers))
    assert 0.8 < said["calibration_slope"] < 1.25
    assert said["mean_predicted"] == pytest.approx(said["mean_observed"], rel=0.1)


def test_labels_that_say_nothing_give_no_ranking(folds):
    rows = made_up(300, seed=3)
    shuffled = replace(rows, y=np.random.default_rng(0).permutation(rows.y))
    test = shuffled.at(folds.test)
    area = metrics.auc(test.y, backtest(LOGISTIC, shuffled, folds, TASK, COLUMNS).test_margins, np.ones((1, len(test.y))))[0]
    assert 0.4 < area < 0.6


def test_ablations_take_the_flagged_columns_away(rows, folds):
    said = ablations(LOGISTIC, rows, folds, TASK, COLUMNS)
    assert set(said) == {"auc_without_treatment", "auc_without_undated"}
    blind = masked(rows, without(COLUMNS, "is_undated"))
    assert np.isnan(blind.x[:, 4]).all()
    assert not np.isnan(blind.x[:, 0]).any()


def test_a_family_adds_what_is_lost_without_it(rows, folds):
    best = backtest(LOGISTIC, rows, folds, TASK, COLUMNS)
    said = family_gains(best, rows, folds, TASK, COLUMNS, metrics.resamples(rows.at(folds.test).customers))
    assert set(said) == {column.family for column in COLUMNS} and sum(family["features"] for family in said.values()) == len(COLUMNS)
    whole = metrics.auc(rows.at(folds.test).y, best.test_margins, np.ones((1, len(best.test_margins))))[0]
    for family, told in said.items():
        blind = masked(rows, np.array([column.family != family for column in COLUMNS]))
        again = backtest(LOGISTIC, blind, folds, TASK, COLUMNS).test_margins
        assert told["auc_without"] == pytest.approx(metrics.auc(rows.at(folds.test).y, again, np.ones((1, len(again))))[0], abs=1e-5)
        assert told["adds"]["value"] == pytest.approx(whole - told["auc_without"], abs=2e-5)
    assert said[COLUMNS[0].family]["adds"]["interval"][0] > 0, "the planted column's family adds"


def test_each_group_is_judged_alone_with_intervals(rows, folds):
    best = backtest(LOGISTIC, rows, folds, TASK, COLUMNS)
    test = rows.at(folds.test)
    groups = {row["group"]: row for row in by_group(best, rows, folds, TASK, COLUMNS, metrics.resamples(test.customers))}
    assert set(groups) == {"month 2025-09", "month 2025-10", "customers met in training", "city: A", "city: B", "city: C"}, "nobody is new, and no city is small"
    mask = test.x[:, 4] == 2
    told = groups["city: C"]
    assert (told["rows"], told["positives"]) == (mask.sum(), test.y[mask].sum())
    assert told["auc"] == pytest.approx(metrics.auc(test.y[mask], best.test_p[mask], np.ones((1, mask.sum())))[0], abs=1e-5)
    assert told["auc_interval"][0] < told["auc"] < told["auc_interval"][1]
    for figure in ("average_precision", "log_loss", "brier", "lift_at_10", "ece", "calibration_slope", "calibration_intercept"):
        assert told[f"{figure}_interval"][0] < told[f"{figure}_interval"][1]
    hidden = tuple(replace(column, is_sensitive=True) for column in COLUMNS)
    assert not any("city" in row["group"] for row in by_group(best, rows, folds, TASK, hidden, metrics.resamples(test.customers)))


def test_unseen_customers_are_ranked_about_as_well(rows, folds):
    assert 0.7 < unseen_customers(LOGISTIC, rows, folds, TASK, COLUMNS) < 1.0


def test_a_column_as_a_rule_puts_the_unknown_last(rows):
    score = rule_score(rows.x, 3)
    unknown = np.isnan(rows.x[:, 3])
    assert score[unknown].max() < score[~unknown].min()
    assert moments_of(rows) == sorted(moments_of(rows))
