"""The test of a week: its statement on false alarms over 200 quiet weeks, a planted drop, and what is not judged."""

import numpy as np
import pandas as pd
import pytest

from features.alerts.judged import COUNT, FALSE_ALARMS, SHARE, STOCK, WEEKS, judged


def world(seed, weeks, drop=None, n_a_week=3000):
    """A small shop's weeks, oldest first: sessions by channel that go through three stages; weeks differ more than chance. `drop` thins one touchpoint in the last week."""
    rng = np.random.default_rng(seed)
    rows = []
    for week in range(weeks)[::-1]:
        kinds = {}
        busy = np.exp(rng.normal(0, .06))
        for channel, part in (("app", .5), ("web", .3), ("store", .2)):
            n = rng.poisson(n_a_week * part * busy)
            for stage, share in (("visit", .6), ("cart", .5), ("checkout", .7)):
                rate = 1 / (1 + np.exp(-(np.log(share / (1 - share)) + rng.normal(0, .05))))
                thinned = rate * .8 if drop == (stage, channel) and week == 0 else rate
                on = rng.binomial(n, thinned)
                rows.append(("drop_off", f"{stage} {channel}", SHARE, week, 1 - on / max(n, 1), n))
                kinds[stage], n = kinds.get(stage, 0) + n, on
            kinds["purchase"] = kinds.get("purchase", 0) + n
        rows += [("data_volume", kind, COUNT, week, n, n) for kind, n in kinds.items()]
    for tag in range(8):
        size = .2 + np.cumsum(rng.normal(0, .004, weeks))
        rows += [("tag_size", f"tag {tag}", STOCK, weeks - 1 - i, value, 1000) for i, value in enumerate(size)]
    return pd.DataFrame(rows, columns=["metric", "series", "form", "week", "value", "n"])


def last_of(panel, back):
    """The panel as it was `back` weeks ago, with the weeks that are looked at."""
    return panel[panel["week"].between(back, back + WEEKS)].assign(week=lambda f: f["week"] - back)


def test_quiet_weeks_raise_alarms_as_rarely_as_stated():
    quiet = world(0, 200 + WEEKS)
    alarms = sum(judged(last_of(quiet, back))["is_alert"].any() for back in range(200))
    assert alarms <= FALSE_ALARMS * 200


def test_a_drop_of_a_fifth_at_one_touchpoint_is_found_within_a_week():
    found = []
    for seed in range(10):
        first = judged(world(seed, WEEKS + 1, ("cart", "app"))).iloc[0]
        found.append(bool(first["is_alert"]) and first["series"] == "cart app" and first["value"] > first["expected"])
    assert sum(found) >= 9


def test_weeks_that_differ_by_more_than_chance_are_not_taken_for_chance():
    rng = np.random.default_rng(0)
    share = np.clip(rng.normal(.5, .05, 27), 0, 1)
    share[-1] = .5 + .06  # many sessions: chance alone would be .002
    panel = pd.DataFrame({"metric": "m", "series": "s", "form": SHARE, "week": range(27)[::-1], "value": share, "n": 60_000})
    assert not judged(panel)["is_alert"].any()
    calm = panel.assign(value=.5 + rng.normal(0, .002, 27)).assign(value=lambda f: f["value"].where(f["week"] > 0, .56))
    assert judged(calm)["is_alert"].all()


def test_growth_is_no_alarm_and_a_hole_is():
    week = np.arange(27)[::-1]
    value = 1000 * 1.03 ** np.arange(27.) * np.exp(np.random.default_rng(1).normal(0, .02, 27))
    panel = pd.DataFrame({"metric": "m", "series": "s", "form": COUNT, "week": week, "value": value, "n": value})
    assert not judged(panel)["is_alert"].any()
    hole = judged(panel.assign(value=panel["value"].where(panel["week"] > 0, panel["value"] * .6)))
    assert hole["is_alert"].all()
    assert hole["change"].iloc[0] == pytest.approx(-.4, abs=.06)


def test_holm_by_hand():
    found = judged(world(3, WEEKS + 1))
    p, n = found["p"].to_numpy(), len(found)
    by_hand = [min(max(p[j] * (n - j) for j in range(i + 1)), 1) for i in range(n)]
    assert found["p_holm"].tolist() == pytest.approx(by_hand)


@pytest.mark.parametrize("panel", [
    world(0, 8), world(0, 27, n_a_week=20).query("metric == 'drop_off'"), world(0, 27).query("week != 3"), world(0, 27).query("week > 0")], ids=["short", "few", "hole", "no last"])
def test_what_cannot_be_judged_is_left_out(panel):
    assert judged(panel).empty or not (judged(panel)["metric"] == "drop_off").all()
