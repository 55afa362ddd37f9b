"""Metrics against scikit-learn and by hand, calibration against a known law, intervals that resample customers."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from sklearn.metrics import log_loss as sklearn_log_loss

from training import metrics
from training.calibrate import calibrated, fit_platt, fitted_log_loss


@pytest.fixture
def sample():
    rng = np.random.default_rng(1)
    score = np.round(rng.normal(size=400), 1)
    y = (rng.random(400) < 1 / (1 + np.exp(-score))).astype(float)
    w = rng.integers(0, 4, (3, 400)).astype(float)
    return y, score, w


def test_auc_and_average_precision_agree_with_scikit_learn_on_ties_and_weights(sample):
    y, score, w = sample
    for i in range(3):
        assert metrics.auc(y, score, w)[i] == pytest.approx(roc_auc_score(y, score, sample_weight=w[i]), abs=1e-12)
        assert metrics.average_precision(y, score, w)[i] == pytest.approx(average_precision_score(y, score, sample_weight=w[i]), abs=1e-12)


def test_log_loss_and_brier_agree_with_scikit_learn(sample):
    y, score, w = sample
    p = 1 / (1 + np.exp(-score))
    for i in range(3):
        assert metrics.log_loss(y, p, w)[i] == pytest.approx(sklearn_log_loss(y, p, sample_weight=w[i]), abs=1e-12)
        assert metrics.brier(y, p, w)[i] == pytest.approx(brier_score_loss(y, p, sample_weight=w[i]), abs=1e-12)


def test_lift_by_hand():
    y = np.array([1.0, 1, 0, 1, 0, 0, 0, 0, 0, 0])
    score = np.arange(10, 0, -1).astype(float)
    ones = np.ones((1, 10))
    assert metrics.lift_at(0.1)(y, score, ones)[0] == pytest.approx(1 / 0.3)
    assert metrics.lift_at(0.2)(y, score, ones)[0] == pytest.approx(1 / 0.3)
    assert metrics.lift_at(0.5)(y, score, ones)[0] == pytest.approx(0.6 / 0.3)
    # Everything tied is chance, wherever the cut falls.
    assert metrics.lift_at(0.1)(y, np.zeros(10), ones)[0] == pytest.approx(1.0)


def test_gains_begin_at_nothing_and_end_at_all(sample):
    curve = metrics.gains_curve(sample[0], sample[1])
    assert (curve[0]["hits"], curve[-1]["hits"]) == (0.0, 1.0)
    assert all(a["hits"] <= b["hits"] + 1e-9 for a, b in zip(curve, curve[1:], strict=False))


def test_resampling_keeps_a_customers_rows_together():
    customers = np.array(["a", "b", "a", "c", "b", "a"], dtype=object)
    w = metrics.resamples(customers, 50)
    assert (w[0] == 1).all()
    assert (w[:, 0] == w[:, 2]).all()
    assert (w[:, 0] == w[:, 5]).all()
    assert (w[:, 1] == w[:, 4]).all()
    assert (w[1:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert len({tuple(row) for row in w[1:]}) > 5


def test_the_interval_of_repeated_customers_is_wider_than_that_of_rows():
    rng = np.random.default_rng(3)
    score, y = rng.normal(size=60).repeat(20), (rng.random(60) < 0.4).astype(float).repeat(20)
    customers = np.arange(60).repeat(20).astype(object)
    def width(ids):
        low, high = metrics.interval(metrics.auc(y, score, metrics.resamples(ids)))
        return high - low
    assert width(customers) > 3 * width(np.arange(1200).astype(object))


def test_platt_recovers_the_law_it_was_drawn_from():
    rng = np.random.default_rng(2)
    margins = rng.normal(-1, 2, 200_000)
    y = (rng.random(200_000) < 1 / (1 + np.exp(-(0.7 * margins - 0.4)))).astype(float)
    slope, intercept = fit_platt(margins, y)
    assert slope == pytest.approx(0.7, abs=0.02)
    assert intercept == pytest.approx(-0.4, abs=0.02)


def test_platt_never_turns_a_ranking_round():
    margins = np.linspace(-2, 2, 200)
    slope, intercept = fit_platt(margins, (margins < 0).astype(float))
    assert slope > 0
    assert np.isfinite(intercept)


def test_calibration_keeps_the_mean_and_the_loss_says_so():
    rng = np.random.default_rng(4)
    margins = rng.normal(size=3000)
    y = (rng.random(3000) < 0.2).astype(float)
    p = calibrated(margins, *fit_platt(margins, y))
    assert p.mean() == pytest.approx(y.mean(), abs=1e-4)
    assert fitted_log_loss(margins, y) == pytest.approx(sklearn_log_loss(y, p), abs=1e-9)
    # Scale and level of a margin do not change what it is worth.
    assert fitted_log_loss(5 * margins + 3, y) == pytest.approx(fitted_log_loss(margins, y), abs=1e-6)


def test_calibration_error_by_hand_and_beside_chance():
    p = np.repeat([0.1, 0.9], 500)
    y = np.concatenate([np.repeat([1.0, 0.0], [100, 400]), np.repeat([1.0, 0.0], [450, 50])])
    assert metrics.expected_calibration_error(y, p, 2) == pytest.approx(0.05)
    said = metrics.believability(y, p, metrics.resamples(np.arange(len(y)).astype(object)))
    assert said["mean_predicted"] == pytest.approx(0.5)
    assert 0 < said["ece_by_chance"]["mean"] < said["ece_by_chance"]["percentile_95"] < 0.05


@pytest.mark.parametrize(("area", "low", "word", "is_capped"), [
    (0.85, 0.01, "excellent", False), (0.75, 0.01, "good", False), (0.65, 0.01, "fair", False), (0.55, 0.01, "poor", False),
    (0.85, 0.0, "fair", True), (0.75, -0.01, "fair", True), (0.65, -0.01, "fair", False), (0.55, -0.01, "poor", False)])
def test_a_quality_word_is_at_most_fair_while_the_gain_may_be_none(area, low, word, is_capped):
    said = metrics.quality(area, [low, 0.05])
    assert (said["word"], said["is_capped"]) == (word, is_capped)


def test_lift_quality_is_the_area_of_the_gains_curve_against_perfect_knowledge():
    rng = np.random.default_rng(2)
    y = (rng.random(20_000) < 0.1).astype(float)
    score = y + rng.normal(size=len(y))
    area, perfect = (np.cumsum(y[np.argsort(-ranking, kind="stable")]).mean() / y.sum() - 0.5 for ranking in (score, y))
    assert metrics.quality(metrics.auc(y, score, np.ones((1, len(y))))[0], [0.1, 0.2])["lift_quality"] == pytest.approx(area / perfect, abs=1e-3)


def test_slopes_and_intercepts_of_all_resamples_are_those_of_one_regression_each():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(3)
    z = rng.normal(-1, 1.5, 500)
    p, y = 1 / (1 + np.exp(-z)), (rng.random(500) < 1 / (1 + np.exp(-(0.6 * z + 0.3)))).astype(float)
    w = metrics.resamples(np.arange(500).astype(object), 5)
    slopes, intercepts = metrics.calibration_lines(y, p, w)
    for i in range(6):
        one = LogisticRegression(C=1e9, tol=1e-10, max_iter=1000).fit(z[:, None], y, w[i])
        assert (slopes[i], intercepts[i]) == (pytest.approx(one.coef_[0, 0], abs=1e-3), pytest.approx(one.intercept_[0], abs=1e-3))
    # A ranking turned around has a slope below 0, and one label alone breaks nothing.
    assert metrics.calibration_lines(1 - y, p, w)[0][0] < 0
    assert np.isfinite(metrics.calibration_lines(np.zeros(500), p, w)).all()


def test_the_error_of_a_resample_is_that_of_its_rows_written_out():
    rng = np.random.default_rng(4)
    p = rng.random(300)
    y = (rng.random(300) < p**2).astype(float)
    w = metrics.resamples(np.arange(300).astype(object), 4)
    errors = metrics.calibration_errors(y, p, w)
    for i in range(5):
        again = np.repeat(np.arange(300), w[i].astype(int))
        assert errors[i] == pytest.approx(metrics.expected_calibration_error(y[again], p[again]), abs=0.01)
    assert errors[0] == pytest.approx(metrics.expected_calibration_error(y, p), abs=1e-12)


def test_intervals_of_calibration_hold_what_is_true_and_leave_out_what_is_not():
    rng = np.random.default_rng(5)
    z = rng.normal(-1, 1.5, 4000)
    p, customers = 1 / (1 + np.exp(-z)), np.repeat(np.arange(1000), 4).astype(object)
    for slope, is_in in ((1.0, True), (0.7, False)):
        y = (rng.random(4000) < 1 / (1 + np.exp(-slope * z))).astype(float)
        said = metrics.believability(y, p, metrics.resamples(customers))
        low, high = said["calibration_slope_interval"]
        assert low < said["calibration_slope"] < high and (low <= 1 <= high) is is_in and low <= slope <= high
        assert said["calibration_intercept_interval"][0] < 0 < said["calibration_intercept_interval"][1]
        assert (said["ece"] <= said["ece_by_chance"]["percentile_95"]) is is_in and said["ece_interval"][1] > said["ece"]


def test_scores_are_sorted_once_and_every_metric_stays_its_own(monkeypatch):
    """Five metrics of 500 resamples need one order; each is what it is alone."""
    rng = np.random.default_rng(3)
    p = rng.random(300).round(2)
    y = (rng.random(300) < p).astype(np.float64)
    w = metrics.resamples(np.arange(300).astype(str).astype(object), 20)
    alone = {"auc": metrics.auc, "average_precision": metrics.average_precision, **{f"lift_at_{k}": metrics.lift_at(k / 100) for k in (5, 10, 20)}}
    expected = {name: metric(y, p, w) for name, metric in alone.items()}
    of_order, sorts = metrics._of_order, []
    monkeypatch.setattr(metrics, "_of_order", lambda *given: sorts.append(1) or of_order(*given))
    found = metrics.measure(y, p, w)
    assert len(sorts) == 1
    for name, values in expected.items():
        assert found[name] == round(float(values[0]), 5)
        assert found[f"{name}_interval"] == metrics.interval(values)


def test_resamples_taken_some_at_a_time_say_the_same(monkeypatch):
    """A large table's resamples do not fit beside it: 41 of 300 rows in slabs of 7 and of 1 say what all say at once."""
    rng = np.random.default_rng(4)
    p = np.clip(rng.random(300).round(2), .01, .99)
    y = (rng.random(300) < p).astype(np.float64)
    w = metrics.resamples(np.repeat(np.arange(100), 3).astype(str).astype(object), 40)
    asked = (metrics.auc, metrics.average_precision, metrics.lift_at(.1), metrics.calibration_errors, lambda *given: np.stack(metrics.calibration_lines(*given)))
    whole = [metric(y, p, w) for metric in asked]
    assert all(result.shape[-1] == 41 for result in whole)
    for slab in (7 * 300, 1):
        monkeypatch.setattr(metrics, "_SLAB", slab)
        for metric, expected in zip(asked, whole, strict=True):
            assert metric(y, p, w) == pytest.approx(expected, abs=1e-9)


def test_the_metrics_of_many_rows_take_little_beside_their_resamples():
    import tracemalloc

    rng = np.random.default_rng(5)
    p = np.clip(rng.random(40_000), .01, .99)
    y = (rng.random(40_000) < p).astype(np.float64)
    w = metrics.resamples(np.arange(40_000).astype(str).astype(object))
    tracemalloc.start()
    try:
        metrics.measure(y, p, w)
        assert tracemalloc.get_traced_memory()[1] < 1.7 * w.nbytes
    finally:
        tracemalloc.stop()
