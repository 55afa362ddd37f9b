"""Given these touchpoints and attributes, expect these values; and what is known of somebody who did nothing."""

from datetime import datetime

import pytest
import whole

from features.snapshots import features_of

AS_OF = datetime(2026, 3, 31, 16)  # 2026-04-01 in Shanghai; 28 days before is 03-04, 56 days before 02-04

CAMPAIGNS = [
    {"campaign_id": "over", "start_at": "2026-01-01", "end_at": "2026-04-01 00:00:00"},
    {"campaign_id": "short", "start_at": "2026-01-01", "end_at": "2026-04-03 12:00:00"},
    {"campaign_id": "long", "start_at": "2026-01-01", "end_at": "2026-04-11 00:00:00"},
]


def sent(at, campaign=None):
    return {"event_at": f"2026-{at}", "kind": "campaign_received", "initiator": "marketer", "campaign_id": campaign}


def redeemed(at, initiator="customer"):
    return {"event_at": f"2026-{at}", "kind": "coupon_redemption", "initiator": initiator, "campaign_id": None}


NOTHING_REDEEMED = {"redemptions_count_28d": 0, "redemptions_count_56d": 0, "redemptions_count_ever": 0, "days_since_last_redemption": None}
NOTHING_RECEIVED = {
    "campaigns_received_count_28d": 0,
    "campaigns_received_count_56d": 0,
    "campaigns_received_count_ever": 0,
    "days_since_last_campaign": None,
    "campaigns_open_count": 0,
    "campaign_days_left_max": None,
    "redemption_rate_ever": None,
}
CASES = {
    "redemptions by window and ever": (
        [redeemed("01-01 00:00:00"), redeemed("02-04 00:00:00"), redeemed("03-04 00:00:00"), redeemed("03-30 00:00:00"), redeemed("04-01 00:00:00")],
        {"redemptions_count_28d": 2, "redemptions_count_56d": 3, "redemptions_count_ever": 4, "days_since_last_redemption": 2.0, **NOTHING_RECEIVED},
    ),
    "campaigns by window and ever": (
        [
            sent("01-01 00:00:00"),
            sent("02-04 00:00:00"),
            sent("03-03 23:59:59"),
            sent("03-04 00:00:00"),
            sent("03-27 12:00:00"),
            sent("04-01 00:00:00"),
        ],
        {
            "campaigns_received_count_28d": 2,
            "campaigns_received_count_56d": 4,
            "campaigns_received_count_ever": 5,
            "days_since_last_campaign": 4.5,
            "campaigns_open_count": 0,
            "campaign_days_left_max": None,
            "redemption_rate_ever": 0.0,
            **NOTHING_REDEEMED,
        },
    ),
    "campaigns still running": (  # One that ends at as_of has ended.
        [sent("01-05 00:00:00", "over"), sent("01-05 00:00:00", "short"), sent("01-05 00:00:00", "long")],
        {"campaigns_open_count": 2, "campaign_days_left_max": 10.0, "campaigns_received_count_56d": 0, "campaigns_received_count_ever": 3},
    ),
    "the last campaign over": ([sent("01-05 00:00:00", "over")], {"campaigns_open_count": 0, "campaign_days_left_max": None}),
    "redemptions for each campaign": (
        [sent("01-05 00:00:00"), sent("03-05 00:00:00"), redeemed("01-06 00:00:00"), redeemed("03-06 00:00:00"), redeemed("03-07 00:00:00")],
        {"redemption_rate_ever": 1.5},
    ),
    "a coupon that a marketer redeems is not the customer's": ([redeemed("03-20 00:00:00", "marketer")], {**NOTHING_REDEEMED, **NOTHING_RECEIVED}),
    "a message that the customer began is no treatment": ([{**sent("03-20 00:00:00"), "initiator": "customer"}], NOTHING_RECEIVED),
}

# One row for each time that something was learned of a customer; a row counts from valid_from on.
PEOPLE = [
    {"customer_id": "moved", "valid_from": "2026-01-01 00:00:00", "city": "Xi'an", "income": "low"},
    {"customer_id": "moved", "valid_from": "2026-03-31 23:59:59", "city": "Wuhan", "income": None},
    {"customer_id": "moved", "valid_from": "2026-04-01 00:00:00", "city": "Beijing", "income": "high"},
    {"customer_id": "later", "valid_from": "2026-04-01 00:00:00", "city": "Harbin", "income": "low"},
    {"customer_id": "undated then dated", "valid_from": None, "city": "Lhasa", "income": "low"},
    {"customer_id": "undated then dated", "valid_from": "2026-03-01 00:00:00", "city": "Dalian", "income": "low"},
    {"customer_id": "undated", "valid_from": None, "city": "Lhasa", "income": "low"},
]


@pytest.fixture(scope="module")
def dataset(given):
    rows = [{"customer_id": customer, **event} for customer, (events, _) in CASES.items() for event in events]
    # The catalogue is whole only where each column and kind occurs; what this one does is not looked at.
    return given([*rows, *whole.one_of_each()], customers=PEOPLE, campaigns=[*CAMPAIGNS, *whole.CAMPAIGNS])


@pytest.fixture(scope="module")
def found(dataset, values_of):
    return values_of(dataset, AS_OF)


@pytest.mark.parametrize("customer", CASES)
def test_expected_values(found, customer):
    expected = CASES[customer][1]
    assert {name: found[customer][name] for name in expected} == expected


@pytest.mark.parametrize(
    ("customer", "city", "income"),
    [("moved", "Wuhan", None), ("undated then dated", "Dalian", "low"), ("undated", "Lhasa", "low"), ("redemptions by window and ever", None, None)],
)
def test_an_attribute_is_as_it_was_last_known_before_as_of(found, customer, city, income):
    assert (found[customer]["city"], found[customer]["income"]) == (city, income)


def test_whoever_becomes_known_at_as_of_has_no_row_yet(found):
    assert "later" not in found


def test_whoever_did_nothing_has_counts_0_and_all_else_unknown(dataset, found):
    features, absent = features_of(dataset)
    assert not absent, "the dataset of this test allows the whole catalogue"
    expected = {feature.name: feature.no_data for feature in features if feature.family != "profile"}
    assert {name: found["undated"][name] for name in expected} == expected
    assert 0 in expected.values() and None in expected.values()


def test_attributes_without_any_date_are_flagged(given):
    events = [{"customer_id": "ann", "event_at": "2026-03-01"}]
    undated = given(events, customers=[{"customer_id": "ann", "city": "Lhasa"}])
    dated = given(events, customers=[{"customer_id": "ann", "valid_from": "2026-01-01", "city": "Lhasa"}])
    assert [[f.is_undated for f in features_of(one)[0] if f.family == "profile"] for one in (undated, dated)] == [[True], [False]]


def test_an_attribute_declared_sensitive_is_flagged(given):
    people = [{"customer_id": "ann", "city": "Lhasa", "age": "30"}]
    dataset = given([{"customer_id": "ann", "event_at": "2026-03-01"}], customers=people, declared='sensitive = ["age"]\n')
    assert {f.name: f.is_sensitive for f in features_of(dataset)[0] if f.family == "profile"} == {"city": False, "age": True}
