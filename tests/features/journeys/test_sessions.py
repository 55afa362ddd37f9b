"""Sessions: declared or by silence, what they tell of themselves, and that neither the order of rows nor the future matters."""

import random
from datetime import datetime, timedelta

import pandas as pd
import pytest

from features.journeys.sessions import attribute_at, sessions_of
from features.journeys.stages import kinds_in, standard
from tests.features.journeys.conftest import BEGIN, UNTIL, rows_of, session


def frame(found):
    return found.sessions.to_pyarrow().to_pandas().sort_values(["customer_id", "start_at"], ignore_index=True)


def test_a_session_without_a_number_ends_with_half_an_hour_of_silence(counted):
    def at(minutes: int) -> list[dict[str, str]]:
        return [{"customer_id": "a", "event_at": (BEGIN + timedelta(minutes=minutes)).isoformat(), "kind": "visit"}]

    found = frame(counted(at(0), at(30), at(61), at(200)))
    assert found["n_steps"].tolist() == [2, 1, 1]


def test_a_declared_session_goes_on_through_silence_and_others_beside_it_are_their_own(counted):
    long = session("a", "v", name="s") + session("a", "b", day=.5, name="s")
    found = frame(counted(long, session("a", "v", day=.2, name="t"), session("b", "v", name="s")))
    assert found[["customer_id", "n_steps", "furthest"]].to_numpy().tolist() == [["a", 2, 2], ["a", 1, 1], ["b", 1, 1]]


def test_a_session_tells_when_it_came_to_each_stage_where_it_began_and_how_it_ended(counted):
    steps = session("a", "vpcf", channel="app", device="ios")
    steps[0]["channel"], steps[0]["device"] = "web", "pc"
    # Another person goes the whole way, so that there is a funnel.
    found = frame(counted(steps, session("b", "vpcb"), session("c", "vpckb")))
    one = found.iloc[0]
    assert (one["channel"], one["device"], one["last_kind"], one["furthest"]) == ("web", "pc", "payment_failed", 4)
    assert [one[f"at_{k}"] for k in (1, 2, 3, 4)] == [BEGIN + timedelta(minutes=i) for i in range(4)]
    assert pd.isna(one["at_5"])
    # Who skips the checkout came through it all the same, without an event of it.
    skipped = found.iloc[1]
    assert skipped["furthest"] == 5
    assert (skipped["at_4"], skipped["n_4"]) == (skipped["at_5"], 0)


def test_the_lines_of_a_basket_are_one_step_and_what_comes_back_later_is_none(counted):
    lines = [{"customer_id": "a", "event_at": "2026-01-01T12:05:00", "kind": "purchase", "session_id": "a-0", "item_id": item} for item in "xyz"]
    later = [{"customer_id": "a", "event_at": "2026-01-09T12:00:00", "kind": "return", "session_id": "a-0"}]
    found = frame(counted(session("a", "vp"), lines, later))
    assert found["n_steps"].tolist() == [3]
    assert found["end_at"].tolist() == [pd.Timestamp("2026-01-01T12:05:00")]


def test_what_happened_or_arrived_after_as_of_is_not_seen(given):
    late = {"customer_id": "a", "event_at": "2026-01-01T12:10:00", "ingested_at": "2026-02-01T00:00:00", "kind": "purchase", "session_id": "a-0"}
    dataset = given(rows_of(session("a", "vp"), [late], session("a", "vb", day=20)), declared='observed_until = "2026-03-01T00:00:00Z"\n', zone="UTC")
    ladder, _ = standard(kinds_in(dataset)[0])
    assert frame(sessions_of(dataset, ladder, datetime(2026, 1, 10)))["furthest"].tolist() == [2]
    assert frame(sessions_of(dataset, ladder, UNTIL))["furthest"].tolist() == [3, 3]


def test_the_order_of_rows_is_of_no_account(given):
    steps = rows_of(*(session(customer, letters, day, channel="web") for customer in "abc" for day, letters in enumerate(("vpc", "vb", "pvv", "o"))))
    same_moment = [{"customer_id": "a", "event_at": BEGIN.isoformat(), "kind": kind, "event_id": f"x{kind}", "channel": channel}
                   for kind, channel in (("visit", "app"), ("product_view", "web"), ("email_open", "email"))]
    tables = []
    for seed in range(3):
        rows = [*steps, *same_moment]
        random.Random(seed).shuffle(rows)
        dataset = given(rows, declared='observed_until = "2026-03-01T00:00:00Z"\n', zone="UTC")
        found = sessions_of(dataset, standard(kinds_in(dataset)[0])[0], UNTIL)
        walk = found.walk(found.sessions).to_pyarrow().to_pandas()
        tables.append((frame(found).sort_values(["customer_id", "session"], ignore_index=True), walk.sort_values(["customer_id", "session", "place"], ignore_index=True)))
    for sessions, walk in tables[1:]:
        pd.testing.assert_frame_equal(sessions, tables[0][0])
        pd.testing.assert_frame_equal(walk, tables[0][1])


def test_marketers_events_are_no_session_of_a_customer(counted):
    sent = [{"customer_id": "a", "event_at": "2026-01-05T08:00:00", "kind": "campaign_received", "initiator": "marketer"}]
    assert len(frame(counted(session("a", "vb", initiator="customer"), sent))) == 1


@pytest.mark.parametrize(("as_of", "city"), [(datetime(2026, 1, 15), "Rome"), (datetime(2026, 2, 15), "Oslo"), (datetime(2025, 1, 1), None)])
def test_a_segment_is_what_was_known_then(given, as_of, city):
    people = [{"customer_id": "a", "valid_from": "2026-01-01", "city": "Rome"}, {"customer_id": "a", "valid_from": "2026-02-01", "city": "Oslo"}]
    dataset = given(rows_of(session("a", "v")), declared="", zone="UTC", customers=people)
    assert attribute_at(dataset, "city", as_of).to_pyarrow().column("segment").to_pylist() == ([city] if city else [])


def test_before_2001_too_the_first_step_is_the_first(given):
    """Seconds since 1970 have a digit less then; put into the order of texts they must not go wrong."""
    rows = [{"customer_id": "a", "event_at": at, "kind": kind, "session_id": "s", "channel": channel, "event_id": channel}
            for at, kind, channel in (("2001-09-09T01:46:39", "visit", "web"), ("2001-09-09T01:46:40", "purchase", "app"))]
    dataset = given(rows, declared="", zone="UTC")
    found = sessions_of(dataset, standard(kinds_in(dataset)[0])[0], datetime(2002, 1, 1))
    assert frame(found)[["channel", "last_kind"]].to_numpy().tolist() == [["web", "purchase"]]
