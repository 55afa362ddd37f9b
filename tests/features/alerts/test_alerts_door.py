"""Alerts from events: a planted drop is found, a quiet week is quiet, data that stop are seen, and what cannot be judged is said."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from features.alerts.panel import volume

END = datetime(2026, 6, 1)
WEEKS = 16


@pytest.fixture
def door(features_door):
    """A function: words after `alerts` -> (exit code, standard output, standard error in one line)."""

    def called(*words):
        code, out, err = features_door("alerts", *words)
        return code, out, " ".join(err.split())

    return called


def events(seed, drop=1.0, stop=False):
    """Sessions of three channels that go from a visit to a purchase; `drop` thins carts of the app in the last week, `stop` ends the web's data then."""
    rng, rows = np.random.default_rng(seed), []
    for week in range(WEEKS):
        for channel, n in (("app", 500), ("web", 200), ("mini", 150)):
            if stop and channel == "web" and week == 0:
                continue
            for i in range(rng.poisson(n)):
                at = END - timedelta(days=7 * week + float(rng.uniform(.05, 6.9)))
                who, thin = f"c{int(rng.integers(0, 400))}", drop if (channel, week) == ("app", 0) else 1.0
                kinds = ["visit", *(["cart_add", *(["purchase"] if rng.random() < .5 else [])] if rng.random() < .6 * thin else [])]
                rows += [{"event_id": f"{week}-{channel}-{i}-{k}", "customer_id": who, "session_id": f"{week}-{channel}-{i}",
                "kind": kind, "channel": channel,
                          "event_at": (at + timedelta(minutes=k)).isoformat(timespec="seconds"), "amount": 10 if kind == "purchase" else ""} for k, kind in enumerate(kinds)]
    return rows


@pytest.fixture(scope="module")
def shop(folder_of):
    """A function: what happened in the last week -> a folder."""
    return lambda **what: folder_of(events(1, **what), zone="UTC", declared='observed_until = "2026-06-01T00:00:00Z"\n')


def test_a_planted_drop_is_named_and_its_direction(door, shop, tmp_path):
    code, out, _ = door(shop(drop=.8), "--out", tmp_path)
    assert (code, "Of quiet runs at most 5 % report anything." in out) == (0, True)
    found = pd.read_parquet(tmp_path / "alerts.parquet")
    first = found[found["metric"] == "drop_off"].iloc[0]
    assert (first["series"], first["is_alert"]) == ("visit · app", True)
    assert first["value"] > first["high"] > first["expected"]
    assert not found[(found["metric"] == "drop_off") & found["series"].str.endswith("web")]["is_alert"].any()
    assert {"conversion", "drop_off", "data_volume", "tag_size"} <= set(found["metric"])


def test_a_quiet_week_is_quiet_and_says_what_it_watched(door, shop, tmp_path):
    code, out, _ = door(shop(), "--out", tmp_path)
    assert (code, "0 of" in out, "The most unusual, none an alert" in out) == (0, True, True)
    assert "mean_score: not available. it needs scores of several weeks (--scores)" in out


def test_a_week_before_knows_nothing_of_the_last(door, shop, tmp_path):
    door(shop(stop=True), "--as-of", "2026-05-25", "--out", tmp_path / "before")
    door(shop(), "--as-of", "2026-05-25", "--out", tmp_path / "same")
    before, same = (pd.read_parquet(tmp_path / name / "alerts.parquet") for name in ("before", "same"))
    assert not before["is_alert"].any()
    assert set(before["series"]) == set(same["series"])


def test_data_that_stop_and_scores_that_jump_are_seen(door, shop, tmp_path):
    scores = pd.concat([pd.DataFrame({"customer_id": [f"c{i}" for i in range(100)], "as_of": (END - timedelta(days=7 * week)).isoformat() + "Z", "task": "churn",
                                      "probability": .3 + .002 * (week % 3) + (.1 if week == 0 else 0)}) for week in range(12)])
    scores.to_parquet(tmp_path / "scores.parquet")
    code, _, _ = door(shop(stop=True), "--scores", tmp_path / "scores.parquet", "--out", tmp_path)
    found = pd.read_parquet(tmp_path / "alerts.parquet").set_index(["metric", "series"])
    assert code == 0
    assert found.loc[("data_volume", "visit"), "is_alert"]
    assert found.loc[("data_volume", "visit"), "change"] < -.15
    assert found.loc[("mean_score", "churn"), "is_alert"]


def test_what_is_on_its_way_is_so_in_every_week(given):
    rows = []
    for week in range(10):
        for i in range(40):
            at = END - timedelta(days=7 * week + 1, minutes=i)
            rows.append({"event_id": f"{week}-{i}", "customer_id": f"c{i}", "event_at": at.isoformat(), "ingested_at": (at + timedelta(days=9 * (i % 2))).isoformat()})
    told = volume(given(rows, zone="UTC", declared='observed_until = "2026-06-20T00:00:00Z"\n'), END)
    whole = told[told["series"] == "all"].set_index("week")["value"]
    assert whole.loc[0:7].tolist() == [20] * 8


@pytest.mark.parametrize(("words", "says"), [
    (["--false-alarms", "2"], "--false-alarms needs a share between 0 and 1"), (["--as-of", "2030-01-01"], "must not be after the end of the data"),
    (["--as-of", "2026-03-01"], "TOO_FEW_WEEKS: alerts need 9 whole weeks before")])
def test_what_cannot_be_done_is_refused_in_a_line(door, shop, words, says):
    code, _, err = door(shop(), *words)
    assert (code, says in err, "Traceback" in err) == (2, True, False), err
