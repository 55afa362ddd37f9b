"""Priorities: what is known on entering, matching, the product and its interval, and the friction that the simulated shop has planted."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import ibis
import numpy as np
import pandas as pd
import pytest

from features.journeys import priority as priorities
from features.journeys.attribution import attribution, journeys, paths_from, touching
from features.journeys.priority import Entries, priority
from features.journeys.sessions import sessions_of, with_segment
from features.journeys.stages import Ladder, kinds_in, standard
from features.shop.simulate import simulate
from features.shop.world import World
from features.sources import open_dataset
from tests.benchmarks.journeys import ASKS_OTHERWISE, LOOKBACK, out_of_order, planted_order
from tests.features.journeys.conftest import BEGIN, UNTIL, rows_of, session

LADDER = Ladder("f", ("visit", "cart", "purchase"), {"visit": 1, "cart": 2, "purchase": 3})


def entries(n_people: int, extra: float, seed: int, difference: float = .3) -> Entries:
    """Sessions at two places, whose people differ: the keen ones (x) come more often to place 0 and drop less anywhere. `extra` more of them drop there."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(n_people), rng.integers(1, 4, n_people))
    x = rng.normal(size=(n_people, 2))[person]
    place = (rng.random(len(person)) > 1 / (1 + np.exp(-x[:, 0]))).astype(int)
    lost = rng.random(len(person)) < np.clip(1 / (1 + np.exp(x[:, 0])) * .6 + extra * (place == 0), 0, 1)
    base = .2 + .4 / (1 + np.exp(-x[:, 1]))
    converts = (rng.random(len(person)) < base + difference * ~lost).astype(float)
    return Entries(person, np.where(lost, 1, 2), place, [("app", "a"), ("web", "b")], x, ("x", "y"), np.full(len(person), np.nan), converts,
                   np.where(lost, "visit", "cart_add").astype(object), np.ones((2, 3), bool), 0)


def judged(one: Entries, place: int, seed: int = 0) -> dict[str, float]:
    here = one.place == place
    return priorities._judged(one, LADDER, 1, here, ~here, np.random.default_rng(seed))


def test_the_product_is_what_it_says():
    one = entries(1500, .15, 0)
    row = judged(one, 0)
    here = one.place == 0
    assert row["reached_per_1000"] == pytest.approx(1000 * here.mean())
    assert row["drop_off"] == pytest.approx((one.furthest[here] == 1).mean())
    assert row["difference"] == pytest.approx(row["p_continue"] - row["p_drop"])
    # By sums over people the product is the same but for what the predictions leave over, which is nothing in all and little among the matched.
    assert row["expected_per_1000"] == pytest.approx(row["reached_per_1000"] * row["drop_off"] * row["difference"], rel=.1)
    assert row["excess_per_1000"] == pytest.approx(row["reached_per_1000"] * (row["drop_off"] - row["drop_off_elsewhere"]) * row["difference"], rel=.1)
    assert row["difference"] == pytest.approx(.3, abs=.06)
    assert row["last_seen"] == "visit"


def test_people_who_differ_are_made_alike_before_they_are_compared():
    one = entries(3000, 0.0, 1)
    row = judged(one, 0)
    here = one.place == 0
    plain = (one.furthest[here] == 1).mean() - (one.furthest[~here] == 1).mean()
    assert plain < -.08
    assert abs(row["drop_off"] - row["drop_off_elsewhere"]) < .035
    assert row["imbalance"] < row["imbalance_before"] / 3


def test_intervals_hold_nothing_where_nothing_is_planted_and_something_where_it_is():
    quiet = [judged(entries(700, 0.0, seed), 0) for seed in range(40)]
    assert sum(row["excess_per_1000_low"] <= 0 <= row["excess_per_1000_high"] for row in quiet) >= 35
    assert all(judged(entries(700, .2, seed), 0)["excess_per_1000_low"] > 0 for seed in range(10))


def test_what_dropping_costs_is_covered_by_its_interval():
    """.3 of the lost would have converted; the interval of reached x drop-off x difference is as wide as it must be."""
    caught = 0
    for seed in range(40):
        row = judged(entries(700, 0.0, seed), 1)
        truth = row["reached_per_1000"] * row["drop_off"] * .3
        caught += row["expected_per_1000_low"] <= truth <= row["expected_per_1000_high"]
    assert caught >= 34


def test_many_sessions_are_drawn_by_person_and_the_product_stays(monkeypatch):
    one = entries(3000, .15, 3)
    whole = judged(one, 0)
    monkeypatch.setattr(priorities, "MOST_HERE", 800)
    monkeypatch.setattr(priorities, "MOST_POOL", 1500)
    some = priorities._some(np.arange(len(one.person)), one.person, 800, np.random.default_rng(0))
    assert 795 <= len(some) <= 805
    assert all((one.person[some] == who).sum() == (one.person == who).sum() for who in np.unique(one.person[some]))
    drawn = judged(one, 0)
    assert drawn["excess_per_1000"] == pytest.approx(whole["excess_per_1000"], rel=.5)
    assert drawn["excess_per_1000_high"] - drawn["excess_per_1000_low"] > whole["excess_per_1000_high"] - whole["excess_per_1000_low"]


def test_too_few_people_are_not_told_and_too_few_sessions_not_judged():
    one = entries(1500, 0.0, 0)
    few = np.zeros(len(one.person), bool)
    few[:8] = True
    assert priorities._judged(one, LADDER, 1, few, ~few, np.random.default_rng(0)) == {}
    few[:40] = True
    row = priorities._judged(one, LADDER, 1, few, ~few, np.random.default_rng(0))
    assert "drop_off" in row
    assert "excess_per_1000" not in row


def test_the_portrait_knows_what_was_before_and_not_what_came_after(counted):
    found = counted(session("a", "vb", 0, channel="web"), session("a", "v", 2, channel="web"), session("a", "v", 4, channel="app"), session("a", "vb", 10, channel="app"),
                    session("b", "v", 4, channel="web"))
    moments = [BEGIN + timedelta(days=days) for days in (-1, 3, 5)]
    scores = ibis.memtable(pd.DataFrame({"customer_id": ["a"] * 3, "as_of": moments, "probability": [.1, .2, .3]}))
    told = priorities._told(found, 28, scores).order_by(["customer_id", "start_at"]).to_pyarrow().to_pandas()
    assert told["score"].fillna(-1).tolist() == [.1, .1, .2, .3, -1]
    columns = ["sessions_recent", "conversions_recent", "conversions_before", "sessions_here", "conversions_here", "conversions_after"]
    assert told[columns].to_numpy().tolist() == [[0, 0, 0, 0, 0, 2], [1, 1, 1, 1, 1, 1], [2, 1, 1, 0, 0, 1], [3, 1, 1, 1, 0, 1], [0, 0, 0, 0, 0, 0]]
    assert told["days_since_session"].fillna(-1).tolist() == [-1, 2, 2, 6, -1]
    assert told["days_since_conversion"].fillna(-1).round(3).tolist() == [-1, 1.999, 3.999, 9.999, -1]
    short = priorities._told(found, 3, None).order_by(["customer_id", "start_at"]).to_pyarrow().to_pandas()
    assert short["conversions_after"].tolist() == [1, 0, 0, 1, 0]


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    """A simulated shop with all that is planted."""
    return simulate(tmp_path_factory.mktemp("shop") / "planted", 3000, 12, 1, workers=1)


@pytest.fixture(scope="module")
def ranked() -> Callable[[Path], tuple[pd.DataFrame, list[str]]]:
    """A function: a simulated shop -> the priorities, with the ideal observer's probabilities as a model's scores."""

    def rank(folder: Path) -> tuple[pd.DataFrame, list[str]]:
        dataset = open_dataset(str(folder))
        truth = pd.read_parquet(folder / "truth" / "moments", columns=["customer_id", "as_of", "p_churn"])
        scores = pd.DataFrame({"customer_id": truth["customer_id"].astype(str), "as_of": truth["as_of"].dt.tz_localize(None), "probability": 1 - truth["p_churn"].astype(float)})
        found = sessions_of(dataset, standard(kinds_in(dataset)[0])[0], dataset.observed_until)
        return priority(found, dataset.observed_until - timedelta(days=90 + 28), 28, dataset.engine.create_table("given_scores", scores))

    return rank


@pytest.mark.slow
def test_the_planted_friction_ranks_first(ranked, shop):
    """In one shop; in ten by `python -m tests.benchmarks journeys`."""
    rows, notes = ranked(shop)
    first = rows.iloc[0]
    assert (first["rank"], first["stage"], first["channel"], first["device"], first["last_seen"]) == (1, "checkout", "app", "android", "payment_failed")
    assert first["excess_per_1000_low"] > 0
    assert first["drop_off"] > first["drop_off_elsewhere"] + .08
    # The formula over whole stages names the widest one whatever happened.
    stages = rows[rows["channel"] == "all"]
    assert set(stages["stage"]) == {"visit", "product_view", "cart", "checkout"}
    assert stages["rank"].isna().all()
    assert stages.sort_values("expected_per_1000").iloc[-1]["stage"] == "product_view"
    # Who drops at random looks on entering like who goes on: the model's own scores cannot see a friction.
    assert abs(first["score_continue"] - first["score_drop"]) < .06
    assert "store" not in set(rows["channel"])
    assert any("no score from before" in note for note in notes)


@pytest.mark.slow
def test_the_planted_order_of_channels_is_found(shop):
    """By every method but first touch, over journeys of a week of sessions that saw more than the first page; of all sessions not by the chain."""
    dataset = open_dataset(str(shop))
    found, since = sessions_of(dataset, standard(kinds_in(dataset)[0])[0], dataset.observed_until), dataset.observed_until - timedelta(days=90)

    def wrong(stage: str) -> dict[str, int]:
        table, named = journeys(found, touching(with_segment(found.since(since), None), found.ladder, stage)[0], LOOKBACK)
        credits, _ = attribution(paths_from(table, named), draws=0)
        planted = planted_order(shop, since)
        return {str(name): out_of_order(planted, dict(zip(some["channel"], some["share"], strict=True))) for name, some in credits.groupby("method")}

    assert [method for method, pairs in wrong("").items() if pairs and method != ASKS_OTHERWISE] == []
    assert wrong("any")["markov-1"] > 0


@pytest.mark.slow
def test_without_the_friction_its_place_does_not_stand_out(ranked, tmp_path):
    """Payments fail in the app on Android as rarely as elsewhere."""
    rows, _ = ranked(simulate(tmp_path / "shop", 3000, 12, 1, world=World(fail_slow=World.fail_else), workers=1))
    place = rows[(rows["stage"] == "checkout") & (rows["channel"] == "app") & (rows["device"] == "android")].iloc[0]
    assert place["excess_per_1000_low"] < .35
    assert place["drop_off"] < place["drop_off_elsewhere"] + .06


def test_a_shop_too_small_to_judge_says_so(counted):
    found = counted(*(session(f"a{i}", "vpb" if i % 2 else "v", channel="web") for i in range(20)))
    rows, notes = priority(found, datetime(2025, 12, 1), 28)
    assert rows.empty
    assert notes[-1].startswith("priorities are not available: no stage has 30 sessions")


def test_the_order_of_rows_is_of_no_account(given):
    rng = np.random.default_rng(0)
    rows = rows_of(*(session(f"a{i:03d}", "vb" if rng.random() < .5 else "v", day, channel="web" if i % 2 else "app") for i in range(120) for day in (0, 3)))
    tables = []
    for order in (rows, rows[::-1]):
        dataset = given(order, declared='observed_until = "2026-03-01T00:00:00Z"\n', zone="UTC")
        tables.append(priority(sessions_of(dataset, standard(kinds_in(dataset)[0])[0], UNTIL), datetime(2025, 12, 1), 28)[0])
    pd.testing.assert_frame_equal(*tables)
    assert len(tables[0]) == 3


def test_of_too_many_sessions_those_of_some_people_are_taken_whole_and_known_as_before(counted, monkeypatch):
    found = counted(*(session(f"a{i:02d}", "vb" if (i + day) % 3 else "v", day, channel="web") for i in range(40) for day in (0, 3, 9)))
    whole = priorities._entries(found, datetime(2025, 12, 1), 28, None, 0)
    monkeypatch.setattr(priorities, "MOST_TAKEN", 60)
    some = priorities._entries(found, datetime(2025, 12, 1), 28, None, 0)
    assert len(whole.person) == 120
    assert 30 < len(some.person) < 90
    assert set(np.bincount(some.person)) == {3}
    assert sorted(np.unique(some.converts + 2 * (some.furthest > 1)).tolist()) == sorted(np.unique(whole.converts + 2 * (whole.furthest > 1)).tolist())
