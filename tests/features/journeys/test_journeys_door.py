"""The door: what it prints and writes, what is not available and why, and how it refuses."""

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest

from features.declaration import declared_in
from features.kept import open_kept
from features.sources import open_dataset
from tests.conftest import ROOT
from tests.features.journeys.conftest import rows_of, session


@pytest.fixture
def door(features_door):
    return partial(features_door, "journeys")


DECLARED = """
observed_until = "2026-03-01T00:00:00Z"
sensitive = ["gender"]
[funnels.short]
stages = ["visit", "purchase"]
[funnels.typo]
stages = ["visit", "purchse"]
[funnels.backwards]
stages = ["purchase", "visit"]
"""


@pytest.fixture(scope="module")
def shop(folder_of):
    rng = np.random.default_rng(0)
    sessions = [session(f"a{i:03d}", "v" + "p" * int(rng.integers(0, 3)) + ("b" if rng.random() < .4 else ""), day, channel=["web", "app"][int(rng.integers(2))])
                for i in range(150) for day in (0, 7)]
    people = [{"customer_id": f"a{i:03d}", "part": "AB"[i % 2], "gender": "xy"[i % 2]} for i in range(150)]
    return folder_of(rows_of(*sessions, session("z", "v", 3)), zone="UTC", declared=DECLARED, customers=people)


def test_tables_are_printed_and_written_whole(door, shop, tmp_path):
    scores = tmp_path / "scores.csv"
    pd.DataFrame({"customer_id": [f"a{i:03d}" for i in range(150)], "as_of": "2026-01-01T00:00:00Z", "probability": .5}).to_csv(scores, index=False)
    code, out, err = door(shop, "--funnel", "standard", "--segment", "part", "--compare", "A", "B", "--scores", scores, "--out", tmp_path / "out", "--order", 1, 2)
    assert (code, "error" in err) == (0, False)
    for title in ("Funnel", "What follows what", "The first steps", "The most frequent ways", "who was there, not who caused it", "a ranking to investigate, not a cause",
                  "Two segments' funnels", "walk differently"):
        assert title in out, title
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"{name}.parquet" for name in (
        "funnel", "times", "transitions", "step_matrix", "paths", "attribution", "priority", "compared_funnel", "compared_transitions")} | {"journeys.json"}
    funnel = pd.read_parquet(tmp_path / "out" / "funnel.parquet")
    # No session tells its device.
    assert set(funnel["dimension"]) == {"", "channel", "segment"}
    assert funnel.loc[(funnel["dimension"] == "") & (funnel["stage"] == "visit"), "n_sessions"].tolist() == [301]
    told = json.loads((tmp_path / "out" / "journeys.json").read_text(encoding="utf-8"))
    assert (told["funnel"], told["stages"], told["unavailable"]) == ("standard", ["visit", "product_view", "purchase"], {})
    assert any("transitions of A and B were tested" in note for note in told["notes"])
    assert set(pd.read_parquet(tmp_path / "out" / "attribution.parquet")["method"]) == {"first", "last", "linear", "position", "markov-1", "markov-2", "shapley"}


def test_the_first_declared_funnel_is_meant_unless_another_is_named(door, shop, tmp_path):
    code, _, _ = door(shop, "--out", tmp_path)
    assert (code, json.loads((tmp_path / "journeys.json").read_text(encoding="utf-8"))["funnel"]) == (0, "short")


def test_where_nobody_browses_nothing_is_invented(door, folder_of):
    folder = folder_of([{"customer_id": f"a{i}", "event_at": f"2026-01-{1 + i:02d}", "channel": "store"} for i in range(25)], zone="UTC")
    code, out, _ = door(folder)
    assert code == 0
    for name in ("funnel", "times", "priority"):
        assert f"{name}: not available. a funnel needs browsing events" in out.replace("\n", " ")
    assert "attribution: not available. attribution needs two channels or more, and this data has 1" in out.replace("\n", " ")
    assert "(start)" in out


def test_segments_may_come_from_a_file(door, shop, tmp_path):
    path = tmp_path / "segments.parquet"
    pd.DataFrame({"customer_id": [f"a{i:03d}" for i in range(40)], "tier": ["high"] * 20 + ["low"] * 20}).to_parquet(path)
    code, _, _ = door(shop, "--segments", path, "--segment", "tier", "--out", tmp_path / "out")
    funnel = pd.read_parquet(tmp_path / "out" / "funnel.parquet")
    assert (code, set(funnel.loc[funnel["dimension"] == "segment", "value"])) == (0, {"high", "low", "not told"})


def test_a_segment_that_nobody_with_a_session_is_in_is_no_segment_to_compare(door, shop, tmp_path):
    path = tmp_path / "segments.csv"
    pd.DataFrame({"customer_id": [*(f"a{i:03d}" for i in range(40)), "nobody"], "tier": ["high"] * 20 + ["low"] * 20 + ["empty"]}).to_csv(path, index=False)
    code, _, err = door(shop, "--segments", path, "--segment", "tier", "--compare", "high", "empty")
    assert (code, "EMPTY_SEGMENT: --compare needs two values of --segment (high, low), found 'empty'; correct it" in " ".join(err.split())) == (2, True), err


def test_customers_of_one_event_have_journeys_of_one_step(door, folder_of, tmp_path):
    rows = rows_of(*(session(f"a{i:02d}", "b" if i < 30 else "v", i / 40, channel=["web", "app"][i % 2]) for i in range(80)))
    code, _, _ = door(folder_of(rows, zone="UTC", declared='observed_until = "2026-03-01T00:00:00Z"\n'), "--out", tmp_path, "--order", 1, 2, 3)
    tables = {path.stem: pd.read_parquet(path) for path in tmp_path.glob("*.parquet")}
    whole = tables["funnel"].query("dimension == ''").set_index("stage")
    assert (code, whole["n_sessions"].to_dict(), whole.loc["visit", "drop_off"]) == (0, {"visit": 80, "purchase": 30}, 50 / 80)
    assert tables["paths"].set_index("path")["n_sessions"].to_dict() == {"visit": 50, "purchase": 30}
    # Nobody met a second channel: all that a channel is credited with is its own.
    credits = tables["attribution"].pivot(index="method", columns="channel", values="conversions")
    assert set(credits.index) >= {"first", "last", "markov-3", "shapley"}
    assert credits.to_numpy() == pytest.approx(15)


@pytest.mark.parametrize(("words", "says"), [
    (["--conversion", "purchas", "--funnel", "standard"], "never occurs; did you mean purchase?"),
    (["--funnel", "long"], "--funnel must be standard or declared in dataset.toml (short, typo, backwards), found 'long'"),
    (["--funnel", "typo"], "STAGE_NEVER_OCCURS: funnels.typo needs stages that occur, found 'purchse', which never does; did you mean purchase?"),
    (["--funnel", "backwards"], "error: STAGE_ORDER: funnels.backwards needs its stages"),
    (["--funnel", "backwards"], "which they happen, found purchase (a purchase) before visit (a visit); turn them round"),
    (["--segment", "prat"], "--segment needs a column of customers (part, gender) or of --segments, found 'prat'"),
    (["--segment", "gender"], "--segment must not be a sensitive attribute, found 'gender'"),
    (["--compare", "A", "B"], "--compare needs --segment COL"), (["--segment", "part", "--compare", "A", "C"], "--compare needs two values of --segment (A, B), found 'C'"),
    (["--days", "0"], "--days needs a number of 1 or more, found 0"), (["--as-of", "2027-01-01"], "--as-of must not be after the end of the data"),
    (["--as-of", "yesterday"], "--as-of needs a time such as"), (["--as-of", "2025-01-01"], "journeys need sessions in the 90 days before"),
    (["--segments", "nowhere.csv"], "--segments needs --segment COL")])
def test_what_cannot_be_done_is_refused_in_a_line(door, shop, words, says):
    code, _, err = door(shop, *words)
    assert code == 2
    assert says in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("columns", "says"), [
    ({"customer_id": ["a"], "as_of": ["2026-01-01"]}, "MISSING_COLUMN: scores.csv needs the columns customer_id, as_of, probability"),
    ({"customer_id": ["a", "b"], "as_of": ["2026-01-01"] * 2, "probability": [.5, 1.5]}, "found 1 without (the first in row 2)"),
    ({"customer_id": ["a"], "as_of": ["soon"], "probability": [.5]}, "an as_of such as"), ({}, "must be a .parquet or .csv file that can be read")])
def test_scores_that_are_none_are_refused(door, shop, tmp_path, columns, says):
    path = tmp_path / "scores.csv"
    if columns:
        pd.DataFrame(columns).to_csv(path, index=False)
    code, _, err = door(shop, "--scores", path)
    assert (code, says in err) == (2, True), err


def test_a_dataset_kept_between_runs_keeps_its_funnels(shop, tmp_path):
    kept, _, _, was_there = open_kept(str(shop), tmp_path)
    again, _, _, is_there = open_kept(str(shop), tmp_path)
    assert (was_there, is_there) == (False, True)
    assert kept.funnels == again.funnels == open_dataset(str(shop)).funnels
    assert [funnel.name for funnel in kept.funnels] == list(declared_in(shop / "dataset.toml")["funnels"])


@pytest.mark.slow
def test_the_grocer_has_no_funnel_and_the_click_stream_has_one(door, need, tmp_path):
    code, out, _ = door("complete-journey")
    assert (code, "funnel: not available" in out, "attribution: not available" in out) == (0, True, True)
    clicks = need(ROOT.parent / "shared" / "data" / "retentioneering_ecom", "the data sets stand beside the project under ../shared/data")
    code, out, _ = door(clicks, "--out", tmp_path)
    assert code == 0
    funnel = pd.read_parquet(tmp_path / "funnel.parquet")
    whole = funnel[funnel["dimension"] == ""].set_index("stage")
    assert whole.loc["visit", "n_sessions"] > whole.loc["product_view", "n_sessions"] > whole.loc["cart", "n_sessions"] > whole.loc["purchase", "n_sessions"] > 0


@pytest.mark.slow
def test_a_campaign_is_a_funnel_of_customers(need, tmp_path, door):
    offers = need(ROOT.parent / "shared" / "data" / "starbucks", "the data sets stand beside the project under ../shared/data")
    path = tmp_path / "offers.toml"
    path.write_text(f'data = "{offers}"\n[funnels.offers]\nstages = ["campaign_received", "offer_viewed", "offer_completed"]\nunit = "customers"\n', encoding="utf-8")
    code, out, _ = door(path, "--out", tmp_path / "out")
    assert (code, "priority: not available. priorities are of sessions" in out) == (0, True)
    whole = pd.read_parquet(tmp_path / "out" / "funnel.parquet").query("dimension == ''").set_index("stage")["n_sessions"]
    assert whole["campaign_received"] == 16994
    assert whole["campaign_received"] > whole["offer_viewed"] > whole["offer_completed"]
