"""Customers given by raw events: the features room's numbers, in the endpoints' answers."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from features.one_customer import read_portrait
from serving.api import State
from serving.scoring import open_base

EVENTS = [
    {"event_id": "a", "event_at": "2017-12-20T10:00:00Z", "kind": "purchase", "session_id": "s", "amount": 12.34, "discount": 3, "channel": "store"},
    {"event_id": "b", "event_at": "2017-12-20T10:00:00Z", "kind": "purchase", "session_id": "s", "amount": 0.66, "discount": 0, "channel": "store", "quantity": None},
    {"event_id": "c", "event_at": "2017-12-30T05:00:00Z", "kind": "purchase", "amount": 27, "channel": "store"}]
DAY = 86400
WANTED = {"purchases_count_28d", "days_since_last_purchase", "spend_sum_28d_usd", "discount_share_28d"}


def asked(client, route="score", **customer):
    return client.post(f"/v1/{route}", json={"customers": [{"customer_id": "new", **customer}]})


def test_events_and_their_features_are_scored_alike(client):
    by_hand = {"purchases_count_28d": 2, "days_since_last_purchase": 2.0, "spend_sum_28d_usd": 40.0, "discount_share_28d": 3 / 43, "income_band": "75K+"}
    said, want = asked(client, events=EVENTS, features={"income_band": "75K+"}).json()["results"], asked(client, features=by_hand).json()["results"]
    assert said == want and all(result["found"] for result in said)
    # Of nobody's events: counts of 0, the rest not known.
    none = {"purchases_count_28d": 0, "spend_sum_28d_usd": 0}
    assert asked(client, events=[]).json()["results"] == asked(client, features=none).json()["results"]


def test_reasons_and_what_if_take_events_too(client):
    said = asked(client, "explain", events=EVENTS).json()["results"][0]
    assert {reason["feature"]: reason["value"] for reason in said["reasons"]}.get("spend_sum_28d_usd", 40.0) == 40.0
    assert said["base_log_odds"] + sum(reason["contribution"] for reason in said["reasons"]) == pytest.approx(said["log_odds"], abs=1e-9)


def test_the_moment_is_the_one_given_else_the_bases_else_now(client, run):
    portrait, now = read_portrait(run / "features" / "one_customer.json"), datetime.now(UTC).replace(microsecond=0)
    early = asked(client, events=EVENTS, as_of="2017-12-25T00:00:00Z").json()["results"]
    assert early == asked(client, features={name: value for name, value in portrait.of(EVENTS, datetime(2017, 12, 25)).items() if name in WANTED}).json()["results"]
    fresh = [*EVENTS, {"event_id": "d", "event_at": (now - timedelta(hours=1)).isoformat(), "kind": "purchase", "amount": 5}]
    said = client.post("/v1/explain", json={"tasks": ["churn"], "customers": [{"customer_id": "new", "events": fresh}], "top": 6}).json()["results"][0]
    since = next(reason["value"] for reason in said["reasons"] if reason["feature"] == "days_since_last_purchase")
    assert 3600 / DAY <= since < 3700 / DAY


@pytest.mark.parametrize(("customer", "says"), [
    ({"events": [{**EVENTS[0], "event_at": "secret"}]}, "customers[0] needs times such as"),
    ({"events": [{**EVENTS[0], "event_at": "1492-10-12"}]}, "customers[0].events must each have an event_at"),
    ({"events": [{**EVENTS[0], "amount": 1e200}]}, "customers[0].events must each have"),
    ({"events": EVENTS, "as_of": "yesterday"}, "customers[0] needs times such as"),
    ({"as_of": "2017-12-25T00:00:00Z"}, "customers[0].as_of must stand beside events"),
    ({"events": [{"event_at": "2017-12-20"}]}, "event_id"), ({"events": [{**EVENTS[0], "hobby": "secret"}]}, "customers")])
def test_f19_f40_what_cannot_be_read_is_refused_without_its_value(client, customer, says):
    answer = asked(client, **customer)
    assert answer.status_code == 422 and says in answer.json()["detail"]
    assert "secret" not in answer.text and "1492" not in answer.text


def test_a_run_without_the_form_and_one_that_is_damaged_say_so(run, client_of, tmp_path):
    base = open_base(run)
    (tmp_path / "features").mkdir()
    missing = asked(client_of(State(replace(base, run=tmp_path))), events=EVENTS)
    (tmp_path / "features" / "one_customer.json").write_text("{}")
    damaged = asked(client_of(State(replace(base, run=tmp_path))), events=EVENTS)
    assert missing.status_code == 422 and "make the run again" in missing.json()["detail"]
    assert damaged.status_code == 503 and "KeyError" not in damaged.text
