"""Profit of a campaign: the published case, the definition written out, and amounts that change."""

from dataclasses import replace

import numpy as np
import pytest

from features.errors import UsageError
from features.tasks import Campaign
from training import metrics, profit

LABELS = np.array([0.0, 1, 0, 1, 0, 1, 0, 1])
SCORES = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.8, 0.9])


@pytest.fixture(scope="module")
def ranking():
    rng = np.random.default_rng(1)
    p = rng.beta(1, 4, 600)
    y = (rng.random(600) < p).astype(float)
    return y, p, rng.random(600), metrics.resamples(np.repeat(np.arange(300), 2).astype(object))


def test_the_published_case():
    value, share = profit.empc(LABELS, SCORES, Campaign())
    assert value == pytest.approx(23.875593418, abs=1e-6) and share == pytest.approx(0.8744, abs=1e-4)


def test_the_published_case_by_an_integral_over_the_share_that_stays():
    from scipy.stats import beta

    gammas = (np.arange(20_000) + 0.5) / 20_000
    order = np.argsort(-SCORES)
    hits, misses = np.r_[0, np.cumsum(LABELS[order])] / 8, np.r_[0, np.cumsum(1 - LABELS[order])] / 8
    # Cutting between two scores; what is called are the first k.
    of_cut = np.array([(gammas * (200 - 10) - 1) * h - (10 + 1) * m for h, m in zip(hits, misses, strict=True)])
    weights = beta.pdf(gammas, 6, 14) / 20_000
    assert (of_cut.max(axis=0) * weights).sum() == pytest.approx(profit.empc(LABELS, SCORES, Campaign())[0], abs=1e-3)


def test_the_curve_passes_through_calling_nobody_and_everybody_and_never_above_the_most_profit(ranking):
    y, p, _, _ = ranking
    campaign = Campaign(clv=100, incentive_cost=5, contact_cost=2, accept_rate=0.2)
    points = profit.curve(y, p, campaign)
    assert points[0] == {"reached": 0.0, "profit": 0.0}
    assert points[-1]["profit"] == pytest.approx(y.mean() * (0.2 * 95 - 2) - (1 - y.mean()) * 7, abs=1e-4)
    most, share = profit.mpc(y, p, campaign)
    near = min(points, key=lambda point: abs(point["reached"] - share))
    assert max(point["profit"] for point in points) <= most + 1e-6 and near["profit"] == pytest.approx(most, abs=0.15)


def test_a_better_ranking_earns_more_and_the_interval_shows_it(ranking):
    y, p, noise, w = ranking
    said = profit.profit(y, p, noise, w, None)
    assert not said["is_declared"] and said["campaign"] == {"clv": 200.0, "incentive_cost": 10.0, "contact_cost": 1.0, "accept_rate": 0.3}
    assert said["gain_over_rule"]["interval"][0] > 0
    assert said["gain_over_rule"]["value"] == pytest.approx(said["empc"]["value"] - said["rule"]["empc"]["value"], abs=1e-3)
    assert said["empc"]["interval"][0] < said["empc"]["value"] < said["empc"]["interval"][1]
    assert said["empc"]["value"] >= said["all_called"]
    turned = profit.profit(y, noise, p, w, None)
    assert turned["gain_over_rule"]["interval"][1] < 0


def test_each_amount_is_halved_and_doubled_and_moves_profit_the_way_it_must(ranking):
    y, p, _, _ = ranking
    campaign = Campaign(clv=100, incentive_cost=5, contact_cost=2, accept_rate=0.6)
    rows = {(row["amount"], row["value"]): row["empc"] for row in profit.sensitivity(y, p, campaign)}
    assert set(rows) == {("clv", 50), ("clv", 200), ("incentive_cost", 2.5), ("incentive_cost", 10), ("contact_cost", 1), ("contact_cost", 4), ("accept_rate", 0.3)}
    now = profit.empc(y, p, campaign)[0]
    assert rows["clv", 50] < now < rows["clv", 200] and rows["incentive_cost", 10] < now < rows["incentive_cost", 2.5]
    assert rows["contact_cost", 4] < now < rows["contact_cost", 1] and rows["accept_rate", 0.3] < now


@pytest.mark.parametrize("wrong", [{"clv": 0}, {"contact_cost": -1}, {"accept_rate": 1}, {"accept_rate": 0}, {"incentive_cost": 200}])
def test_amounts_with_which_no_campaign_could_pay_are_refused(wrong):
    with pytest.raises(UsageError, match="a campaign needs"):
        replace(Campaign(), **wrong)
