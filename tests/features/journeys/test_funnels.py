"""Funnels and times against hand-counted rows and a slow oracle; shares and their intervals; what is hidden."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.contracts import shaped
from features.dataset import Dataset, Funnel
from features.engine import connect
from features.journeys import funnels
from features.journeys.sessions import attribute_at, sessions_of, with_segment
from features.journeys.shares import FEWEST, clustered, hidden, quantiles, wilson
from features.journeys.stages import Ladder, declared
from tests.features.journeys.conftest import BEGIN, UNTIL, all_of, rows_of, session


def crowd(letters: str, n: int, name: str, **more):
    return [event for i in range(n) for event in session(f"{name}{i:03d}", letters, **more)]


def test_a_funnel_counts_who_comes_how_far_and_where_they_are_lost(counted):
    found = counted(crowd("v", 20, "a", channel="web"), crowd("vpc", 30, "b", channel="web"), crowd("vb", 50, "c", channel="app"))
    rows = funnels.funnel(found, all_of(found), ("channel",))
    told = rows.set_index(["value", "stage"])
    assert found.ladder.stages == ("visit", "product_view", "cart", "purchase")
    assert told.loc["all", "n_sessions"].tolist() == [100, 80, 80, 50]
    assert told.loc["all", "n_without"].tolist() == [0, 50, 50, 0]
    assert told.loc["all", "share_of_first"].tolist() == [1, .8, .8, .5]
    assert told.loc["all", "drop_off"].tolist()[:3] == [.2, 0, .375]
    assert np.isnan(told.loc[("all", "purchase"), "drop_off"])
    # One session a person: the plain interval.
    assert [told.loc[("all", "cart"), f"drop_off_{end}"] for end in ("low", "high")] == pytest.approx([float(x) for x in wilson(.375, 80)])
    # In the app there is no product page and no cart: those stages do not exist there.
    assert told.loc["app"].index.tolist() == ["visit", "purchase"]
    assert told.loc["web"].index.tolist() == ["visit", "product_view", "cart"]


def test_few_people_are_hidden_and_who_could_be_found_by_subtraction_too(counted):
    found = counted(crowd("vb", 9, "a", channel="web"), crowd("vb", 12, "b", channel="app"), crowd("vb", 40, "c", channel="store"))
    rows = funnels.funnel(found, all_of(found), ("channel",)).set_index(["value", "stage"])
    assert rows["is_hidden"].unstack()["visit"].to_dict() == {"all": False, "web": True, "app": True, "store": False}
    assert rows.loc[("web", "visit"), ["n_sessions", "n_people", "share_of_first", "drop_off"]].isna().all()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=8))
def test_a_hidden_cell_cannot_be_had_from_the_total(counts):
    mask = hidden(pd.Series(counts), pd.Series(["x"] * len(counts)))
    n = np.array(counts)
    assert mask[(n > 0) & (n < FEWEST)].all()
    assert not mask[n == 0].any()
    # Either nothing is hidden, or two cells and more are, or there is no other.
    assert mask.sum() != 1 or (n > 0).sum() == 1


def test_wilson_gives_the_published_interval():
    """Brown, Cai and DasGupta (2001) and Newcombe (1998): 81 of 263 is .2553 to .3662, 15 of 148 is .0624 to .1605, 0 of 20 is 0 to .1611."""
    low, high = wilson(np.array([81 / 263, 15 / 148, 0]), np.array([263, 148, 20]))
    assert np.round(low, 4).tolist() == [.2553, .0624, 0]
    assert np.round(high, 4).tolist() == [.3662, .1605, .1611]


def test_a_persons_sessions_are_not_counted_as_if_they_were_many_people():
    # Ten people, each with five sessions of the same fate: worth ten.
    part, whole = np.array([5, 0] * 5), np.full(10, 5)
    share, worth = clustered(part.sum(), whole.sum(), (part**2).sum(), (part * whole).sum(), (whole**2).sum())
    assert (share, worth) == (.5, 10)
    # Nobody was lost: what is known is as if each person had counted once.
    assert clustered(0, 50, 0, 0, 250)[1] == 10


def test_an_interval_of_sessions_covers_though_people_differ():
    rng, caught = np.random.default_rng(0), 0
    for _ in range(400):
        whole = rng.integers(1, 9, 150)
        part = rng.binomial(whole, rng.beta(1, 2, 150))
        share, worth = clustered(part.sum(), whole.sum(), (part**2).sum(), (part * whole).sum(), (whole**2).sum())
        low, high = wilson(share, worth)
        caught += low <= 1 / 3 <= high
    assert .92 <= caught / 400 <= .98


EVENTS = st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from(["visit", "product_view", "cart_add", "purchase", "other"]), st.integers(0, 400),
                            st.sampled_from([None, "s", "t"])), min_size=1, max_size=40)


SCHEMA = pa.schema([(name, pa.timestamp("us") if name == "event_at" else pa.string()) for name in ("customer_id", "event_at", "kind", "event_id", "session_id", "initiator")])


def oracle(events, ladder: Ladder) -> dict[tuple[str, str], dict[str, object]]:
    """Sessions by plain Python: (customer, name) -> furthest stage and when each was reached."""
    sessions: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for customer in "xyz":
        last, number = None, 0
        for _, (who, kind, minute, name) in sorted(enumerate(events), key=lambda pair: (pair[1][2], f"e{pair[0]:03d}")):
            if who != customer:
                continue
            if name is None:
                number += last is None or minute - last > 30
                last = minute
            sessions.setdefault((customer, name or f"silence {number}"), []).append((minute, kind))
    found = {}
    for key, steps in sessions.items():
        reached = {k: min((minute for minute, kind in steps if ladder.number_of.get(kind, 0) >= k), default=None) for k in range(1, ladder.last + 1)}
        found[key] = {"furthest": max(ladder.number_of.get(kind, 0) for _, kind in steps), "reached": reached}
    return found


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(EVENTS)
def test_sessions_and_funnel_equal_a_slow_oracle(engine, events):
    ladder = Ladder("f", ("visit", "product_view", "cart", "purchase"), {"visit": 1, "product_view": 2, "cart_add": 3, "purchase": 4})
    rows = [{"customer_id": who, "event_at": BEGIN + timedelta(minutes=minute), "kind": kind, "event_id": f"e{i:03d}", "session_id": name, "initiator": "customer"}
            for i, (who, kind, minute, name) in enumerate(events)]
    table = shaped("events", engine.create_table("events", pa.Table.from_pylist(rows, SCHEMA), overwrite=True).mutate(local_at=lambda t: t.event_at))
    found = sessions_of(Dataset("x", "UTC", "XXX", BEGIN, UNTIL, engine, {"events": table}, (), ""), ladder, UNTIL)
    told = found.sessions.to_pyarrow().to_pylist()
    expected = oracle(events, ladder)
    assert {(row["customer_id"], row["session"].removeprefix("named ")): row["furthest"] for row in told} == {key: one["furthest"] for key, one in expected.items()}
    for row in told:
        reached = expected[row["customer_id"], row["session"].removeprefix("named ")]["reached"]
        assert [row[f"at_{k}"] for k in reached] == [None if minute is None else BEGIN + timedelta(minutes=minute) for minute in reached.values()]
    people = {key[0] for key in expected}
    row = funnels._counted(all_of(found), ladder, "").iloc[0]
    for k in range(1, 5):
        by_person = {who: sum(one["furthest"] >= k for key, one in expected.items() if key[0] == who) for who in people}
        assert row[f"n_sessions_{k}"] == sum(by_person.values())
        assert row[f"n_people_{k}"] == sum(n > 0 for n in by_person.values())
        assert row[f"squared_{k}"] == sum(n * n for n in by_person.values())


@pytest.fixture(name="engine", scope="module")
def _engine():
    return connect(())


def test_times_are_of_those_who_got_there_and_few_are_not_told(counted):
    slow = [event for i in range(12) for event in session(f"s{i}", "v") + session(f"s{i}", "b", day=(i + 1) / 24 / 60, name=f"s{i}-0")]
    rows = funnels.times(*(lambda found: (found, all_of(found)))(counted(slow, crowd("vp", 5, "p")))).set_index(["from", "to"])
    wait = rows.loc[("visit", "purchase")]
    assert wait[["n", "q10", "q50", "q90"]].tolist() == [12, 120, 360, 660]
    assert wait["median_low"] < 360 < wait["median_high"]
    # Who bought without looking at a product came past it at that moment.
    assert rows.loc[("visit", "product_view"), "n"] == 17
    few = funnels.times(*(lambda found: (found, all_of(found)))(counted(crowd("vb", 9, "a")))).iloc[0]
    assert few[["n", "n_people", "q50"]].isna().all()


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.sampled_from([.1, .25, .5, .9]))
def test_quantiles_are_those_of_the_cases_written_out(values, at):
    different, counts = np.unique(values, return_counts=True)
    assert quantiles(different.astype(float), counts, (at,)) == [np.quantile(values, at, method="inverted_cdf")]


def test_a_funnel_of_customers_reads_what_marketers_sent_and_goes_through_all_that_one_did(given):
    sent = [{"customer_id": f"a{i}", "event_at": "2026-01-01T08:00:00", "kind": "campaign_received", "channel": "sms", "initiator": "marketer"} for i in range(20)]
    bought = crowd("b", 15, "b") + [event for i in range(12) for event in session(f"a{i}", "b", day=3)]
    rows = [{"initiator": "customer", **event} for event in rows_of(sent, bought)]
    dataset = given(rows, declared='observed_until = "2026-03-01T00:00:00Z"\n', zone="UTC")
    ladder = declared(Funnel("f", ("campaign_received", "purchase"), "customers"), ["purchase"], ["campaign_received"])
    found = sessions_of(dataset, ladder, UNTIL)
    told = funnels.funnel(found, all_of(found), ()).set_index("stage")
    # Who bought without a message came in from the side.
    assert told["n_sessions"].tolist() == [35, 27]
    assert told.loc["campaign_received", "n_without"] == 15


def test_an_order_that_the_data_turn_round_is_said(given):
    dataset = given(rows_of(*(session(f"a{i}", "op") for i in range(5))), declared="", zone="UTC")
    found = sessions_of(dataset, declared(Funnel("f", ("product_view", "email_open")), ["product_view", "email_open"]), UNTIL)
    assert funnels.out_of_order(found, all_of(found)) == ["email_open comes before product_view in 100% of the 5 sessions with both: the order may go backwards"]


def test_two_segments_differ_by_what_they_differ_and_the_interval_covers_none_where_there_is_none(given):
    sizes = {"A": (70, 14), "B": (80, 32), "C": (80, 31)}
    rows = [event for value, (n, n_bought) in sizes.items() for i in range(n) for event in session(f"{value}{i:03d}", "vb" if i < n_bought else "v")]
    people = [{"customer_id": f"{value}{i:03d}", "part": value} for value, (n, _) in sizes.items() for i in range(n)]
    dataset = given(rows_of(rows), declared='observed_until = "2026-03-01T00:00:00Z"\n', zone="UTC", customers=people)
    ladder = Ladder("f", ("visit", "purchase"), {"visit": 1, "purchase": 2})
    found = sessions_of(dataset, ladder, UNTIL)
    told = funnels.funnel(found, with_segment(found.sessions, attribute_at(dataset, "part", UNTIL)), ("segment",))
    apart, alike = (funnels.differences(told, *pair).set_index("stage").loc["visit"] for pair in (("A", "B"), ("B", "C")))
    # Newcombe (1998), example (a) of the difference of 56/70 and 48/80, his method 10.
    assert [round(apart[f"drop_off_difference{end}"], 4) for end in ("", "_low", "_high")] == [.2, .0524, .3339]
    assert alike["drop_off_difference_low"] < 0 < alike["drop_off_difference_high"]


def test_the_end_of_the_window_is_the_end(counted):
    found = counted(session("a", "vb"), session("a", "vb", day=40))
    assert found.since(datetime(2026, 2, 1)).count().to_pyarrow().as_py() == 1
