"""Profit: what a campaign to those at risk would bring, by who is called first, for the four amounts that the marketer knows and we do not.

A customer with a value is called at a cost; of those who would leave a share takes the incentive and stays, and everybody else takes it too. MPC is
the most profit that a ranking allows for a fixed share, EMPC its expectation where the share itself is uncertain.
Source: Verbraken, Verbeke and Baesens 2013, IEEE TKDE 25(5), 961-973; computed by the package empulse.
"""

from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.tasks import Campaign
from training import metrics
from training.metrics import Array

# The share that stays is taken to be known as well as from this many customers tried: Beta(6, 14) at a share of .3, as in the source.
TRIED = 20
# A spread needs few resamples, and each costs a sorting of all rows.
N_RESAMPLES = 40
_Z = 1.959964
# By how much each amount is changed in the sensitivity table.
FACTORS = (0.5, 2.0)


def empc(y: Array, score: Array, campaign: Campaign) -> tuple[float, float]:
    """Expected maximum profit for each customer, in the campaign's currency, and the share of customers to call for it. Shape: (n,), (n,)."""
    from empulse.metrics import empc_score

    given: dict[str, Any] = {
        "alpha": TRIED * campaign.accept_rate, "beta": TRIED * (1 - campaign.accept_rate), "clv": campaign.clv, "incentive_cost": campaign.incentive_cost,
        "contact_cost": campaign.contact_cost}
    return float(empc_score(y, score, **given)), float(empc_score.optimal_rate(y, score, **given))


def mpc(y: Array, score: Array, campaign: Campaign) -> tuple[float, float]:
    """Maximum profit for each customer, in the campaign's currency, and the share of customers to call for it. Shape: (n,), (n,)."""
    from empulse.metrics import mpc_score

    given: dict[str, Any] = asdict(campaign)
    return float(mpc_score(y, score, **given)), float(mpc_score.optimal_rate(y, score, **given))


def curve(y: Array, score: Array, campaign: Campaign) -> list[dict[str, float]]:
    """Profit for each customer of the base where the first 0, 5, ... 100 % by score are called; equal scores are called in part. Shape: (n,), (n,)."""
    rate, ones = float(y.mean()), np.ones((1, len(y)))
    kept = campaign.accept_rate * (campaign.clv - campaign.incentive_cost) - campaign.contact_cost
    lost = campaign.incentive_cost + campaign.contact_cost
    told = []
    for percent in range(0, 101, 5):
        share = percent / 100
        hits = share * rate * float(metrics.lift_at(share)(y, score, ones)[0]) if percent else 0.0
        told.append({"reached": share, "profit": round(kept * hits - lost * (share - hits), 5)})
    return told


def profit(y: Array, score: Array, rule: Array, w: Array, campaign: Campaign | None) -> dict[str, Any]:
    """All of a ranking beside the rule's, on the same resamples of customers; the curves; what other amounts would say. Shape: y, score, rule (n,), w (b, n).

    Where no campaign is declared the source's amounts are taken, and it is said. `all_called` is what calling everybody brings, 0 where that loses.
    """
    taken, w = campaign or Campaign(), w[: 1 + N_RESAMPLES]
    drawn = [_drawn(row) for row in w]
    ours = np.array([(*empc(y[i], score[i], taken), *mpc(y[i], score[i], taken)) for i in drawn])
    theirs = np.array([empc(y[i], rule[i], taken) for i in drawn])
    ours_curve = curve(y, score, taken)
    return {
        "campaign": asdict(taken), "is_declared": campaign is not None, **{name: _told(ours[:, i]) for i, name in enumerate(("empc", "empc_fraction", "mpc", "mpc_fraction"))},
        "rule": {"empc": _told(theirs[:, 0]), "empc_fraction": _told(theirs[:, 1])}, "gain_over_rule": _told(ours[:, 0] - theirs[:, 0]),
        "all_called": max(0.0, ours_curve[-1]["profit"]), "curve": ours_curve, "rule_curve": curve(y, rule, taken), "sensitivity": sensitivity(y, score, taken)}


def sensitivity(y: Array, score: Array, campaign: Campaign) -> list[dict[str, Any]]:
    """EMPC and the share to call where one amount is half or double; amounts with which no campaign could pay are left out. Shape: (n,), (n,)."""
    rows = []
    for name, amount in asdict(campaign).items():
        for factor in FACTORS:
            try:
                changed = replace(campaign, **{name: round(factor * amount, 6)})
            except ValueError:
                continue
            value, share = empc(y, score, changed)
            rows.append({"amount": name, "value": getattr(changed, name), "empc": round(value, 4), "empc_fraction": round(share, 4)})
    return rows


def empc_with_interval(y: Array, score: Array, w: Array, campaign: Campaign | None) -> dict[str, Any]:
    """EMPC alone, for a group. Shape: y, score (n,), w (b, n)."""
    taken = campaign or Campaign()
    return _told(np.array([empc(y[i], score[i], taken)[0] for i in map(_drawn, w[: 1 + N_RESAMPLES])]))


def _drawn(weights: Array) -> NDArray[np.int64]:
    """The rows of a resample written out; weights are whole numbers."""
    return np.repeat(np.arange(len(weights)), weights.astype(np.int64))


def _told(values: Array) -> dict[str, Any]:
    """A value and its 95 % interval by the resamples' spread."""
    half = _Z * float(values[1:].std())
    return {"value": round(float(values[0]), 4), "interval": [round(float(values[0]) - half, 4), round(float(values[0]) + half, 4)]}
