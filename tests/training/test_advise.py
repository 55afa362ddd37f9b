"""Advice on windows: curves become suggestions, three horizons are judged alike, and what has no horizon is refused."""

import json
import re
from datetime import datetime, timedelta

import numpy as np
import pytest

from features.errors import UsageError
from features.horizons import Curve
from features.labels import labels
from training.__main__ import main
from training.advise import TOLD_DAYS, advise, suggestion
from training.advise_page import page_of

DECLARED = (
    'observed_until = "2026-07-20"\n[tasks.churn]\nhorizon_days = 14\nactive_days = 28\nlookbacks_days = [14, 28]\nslide_days = 7\n'
    "[tasks.look]\nkind = \"lookalike\"\n[tasks.look.seeds]\ncolumn = \"purchases_count_28d\"\n")


@pytest.fixture(scope="module")
def shop(folder_of):
    """200 customers who come at their own rhythm, a third of whom stop one day."""
    rng = np.random.default_rng(4)
    rows = []
    for i in range(200):
        rhythm, end = rng.gamma(2, 3), 200 if i % 3 else rng.uniform(30, 200)
        day = rng.exponential(rhythm)
        while day < end:
            rows.append({"customer_id": f"c{i}", "event_at": f"{datetime(2026, 1, 1) + timedelta(days=day):%Y-%m-%d %H:%M:%S}", "amount": "10.00"})
            day += rng.exponential(rhythm)
    return folder_of(rows, declared=DECLARED)


@pytest.fixture(scope="module")
def dataset(shop):
    from features.contracts import hold
    from features.sources import open_dataset

    return hold(open_dataset(str(shop)))[0]


@pytest.fixture(scope="module")
def said(dataset):
    return advise(dataset, dataset.tasks[0])


def test_three_horizons_are_judged_at_one_moment_by_their_own_labels(said, dataset):
    rows = said["horizons"]
    days = [row["horizon_days"] for row in rows]
    assert len(days) == 3 and {7, 14} < set(days) and days == sorted(days)
    # A longer horizon leaves fewer moments and fewer customers without any event.
    assert [row["moments"] for row in rows] == sorted((row["moments"] for row in rows), reverse=True)
    rates = [row["label_rate"] for row in rows]
    assert rates == sorted(rates, reverse=True) and 0 < rates[-1] < rates[0] < 1
    assert len({row["rows"] for row in rows}) == 1
    for row in rows:
        assert row["can_train"] and not row["why"]
        for name in ("logistic", "rule"):
            low, high = row[name]["auc_interval"]
            assert 0.5 < low < row[name]["auc"] < high
        assert row["rule"]["name"] in dataset.tasks[0].rules
    task = dataset.tasks[0]
    newest = labels(dataset, task, [max(as_of for as_of in moments_of(dataset, task) if as_of + timedelta(days=days[-1]) <= dataset.observed_until)])
    assert rates[1] == pytest.approx(newest.to_pyarrow().to_pandas()["label"].mean(), abs=1e-4)


def moments_of(dataset, task):
    from features.labels import mature_as_ofs

    return [as_of - timedelta(days=back) for as_of in mature_as_ofs(dataset, task) for back in range(7)]


def test_a_horizon_that_the_history_cannot_judge_says_why(dataset):
    from training.advise import sensitivity

    row = sensitivity(dataset, dataset.tasks[0], [14, 28, 170])[-1]
    assert row["horizon_days"] == 170 and not row["can_train"] and "TOO_LITTLE_HISTORY" in row["why"] and row["logistic"] is None and row["rows"] is None


def levelling(days, size=101):
    """Everybody comes by this day, evenly."""
    return Curve(1 - np.minimum(np.arange(size) / days, 1.0), 1000)


def test_a_horizon_in_whole_weeks_holds_nearly_all_who_come(dataset):
    found = suggestion(dataset.tasks[0], levelling(20), levelling(20))
    assert found["horizon_days"] == 21 and "by day 19" in found["why"] and found["not_held"] == 0 and found["lookbacks_days"] == [21, 42, 84]


def test_while_people_keep_coming_no_horizon_is_suggested(dataset):
    found = suggestion(dataset.tasks[0], levelling(100), levelling(100))
    assert found["horizon_days"] is None and found["lookbacks_days"] is None and "keep coming for all 100 days" in found["why"]
    nobody = suggestion(dataset.tasks[0], Curve(np.ones(50), 10), Curve(np.ones(50), 10))
    assert nobody["horizon_days"] is None and "nobody is seen to come" in nobody["why"]


def test_active_is_who_is_more_likely_than_not_to_return_within_the_horizon(dataset):
    # Half of those silent come every 7 days until day 28, nobody after.
    left = np.repeat([1, 0.5, 0.25, 0.125, 0.0625, 0.0624, 0.0623], 7)[:43]
    found = suggestion(dataset.tasks[0], levelling(20), Curve(left, 1000))
    assert found["active_days"] == 28 and "fewer than half return within the next 14" in found["active_why"]


def test_where_even_those_who_just_came_mostly_stay_away_nobody_is_called_active(dataset):
    found = suggestion(dataset.tasks[0], levelling(60), Curve(np.linspace(1, .8, 43), 1000))
    assert found["active_days"] is None and "right after coming fewer than half return within the next 14" in found["active_why"]
    # Twice 63 is more than the curve tells.
    assert found["horizon_days"] == 63 and found["lookbacks_days"] == [63]


def test_the_page_draws_every_curve_within_its_axes_and_tells_the_same_figures(said):
    page = page_of({**said, "data": "<b>shop"})
    assert "<script" not in page and "http" not in page.replace("http-equiv", "") and "&lt;b&gt;shop" in page
    drawn = [[tuple(map(float, point.split(","))) for point in line.split()] for line in re.findall(r'<polyline[^>]*points="([^"]*)"', page)]
    curves = [one["curve"] for part in ("delays", "returns") for one in said[part].values() if len(one["curve"]) > 1]
    assert [len(points) for points in drawn] == [len(points) for points in curves]
    for points, shares in zip(drawn, curves, strict=True):
        assert all(40 <= x <= 310 and 10 <= y <= 210 for x, y in points)
        assert points[-1][1] == pytest.approx(210 - 200 * shares[-1], abs=.06)
    assert len(re.findall('stroke-dasharray="5 3"', page)) == sum(said["suggested"][name] is not None for name in ("horizon_days", "active_days"))
    for row in said["horizons"]:
        assert "{auc:.3f} [{auc_interval[0]:.3f}, {auc_interval[1]:.3f}]".format(**row["logistic"]) in page


def test_a_curve_of_no_days_is_not_drawn(said):
    nobody = {"n": 0, "told_days": 0, "by_day": dict.fromkeys(map(str, TOLD_DAYS)), "within_horizon": dict.fromkeys(map(str, TOLD_DAYS)), "curve": [0.0]}
    assert "<polyline" not in page_of({**said, "delays": {"everybody": nobody}, "returns": {"everybody": {**nobody, "curve": []}}})


def test_a_lookalike_has_no_horizon(dataset):
    with pytest.raises(UsageError, match="churn or conversion, .* found the lookalike look"):
        advise(dataset, dataset.tasks[1])


def test_the_door_shows_the_advice_and_writes_it(shop, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.argv", ["training", "advise", "churn", "--data", str(shop), "--out", str(tmp_path / "advice.json")])
    main()
    out, written = capsys.readouterr().out, json.loads((tmp_path / "advice.json").read_text())
    assert "horizon: " in out and "what a horizon makes of the task" in out and "declared 14" in out
    assert {"delays", "returns", "horizons", "suggested"} < set(written)
    monkeypatch.setattr("sys.argv", ["training", "advise", "churn", "--data", str(shop), "--out", str(tmp_path / "advice.html")])
    main()
    assert (tmp_path / "advice.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    for name, wrong in (("TASK must be one of churn, look", ["nope"]), ("--out must end in .html or .json", ["churn", "--out", "x.txt"])):
        monkeypatch.setattr("sys.argv", ["training", "advise", *wrong, "--data", str(shop)])
        with pytest.raises(UsageError, match=name):
            main()
