"""Given these purchases, expect these values: behaviour, consumption, interest, lifecycle. Each case is one customer of one dataset."""

from datetime import datetime
from math import log, sqrt

import pytest

# Midnight in Shanghai; 28 days before is 03-04, 56 days before is 02-04. 2026-04-01 is a Wednesday.
AS_OF = datetime(2026, 3, 31, 16)


def buy(at, **more):
    return {"event_at": f"2026-{at}", "kind": "purchase", "initiator": "customer", **more}


def bring_back(at, **more):
    return {**buy(at, **more), "kind": "return"}


CASES = {
    "a window begins exactly d days before and ends before as_of": (
        [
            buy("02-03 23:59:59", amount=100000),
            buy("02-04 00:00:00", amount=10000),
            buy("03-03 23:59:59", amount=1000),
            buy("03-04 00:00:00", amount=100),
            buy("03-31 23:59:59", amount=10),
            buy("04-01 00:00:00", amount=1),
        ],
        {
            "purchases_count_28d": 2,
            "purchases_count_56d": 4,
            "spend_sum_28d_cny": 110.0,
            "spend_sum_56d_cny": 11110.0,
            "basket_value_max_56d_cny": 10000.0,
            "days_since_last_purchase": 1 / 86400,
            "purchases_trend_56d": 0.5,
            "spend_trend_56d": 110 / 11110,
            "first_purchase_age_56d_days": 56.0,
        },
    ),
    "part of a second before as_of is the past": (
        [buy("03-31 23:59:59.7", amount=1)],
        {"purchases_count_28d": 1, "active_weeks_count_28d": 1, "days_since_last_purchase": 1 / 86400},
    ),
    "purchases older than every window still tell recency": (
        [buy("01-01 00:00:00", amount=5)],
        {
            "days_since_last_purchase": 90.0,
            "purchases_count_ever": 1,
            "purchases_count_56d": 0,
            "spend_sum_56d_cny": 0.0,
            "active_weeks_count_56d": 0,
            "purchase_gap_mean_56d_days": None,
            "weekend_share_56d": None,
            "basket_value_mean_56d_cny": None,
            "basket_value_max_56d_cny": None,
            "discount_share_56d": None,
            "purchases_trend_56d": None,
            "first_purchase_age_56d_days": None,
            "category_entropy_56d": None,
            "returned_share_56d": None,
        },
    ),
    "weeks are counted back from as_of and end with their first moment": (
        [buy("03-31 12:00:00"), buy("03-25 00:00:00"), buy("03-17 00:00:00"), buy("02-04 00:00:00")],
        {"active_weeks_count_28d": 2, "active_weeks_count_56d": 3},
    ),
    "a week and a second ago is another week": (
        [buy("03-31 12:00:00"), buy("03-24 23:59:59"), buy("03-24 23:59:58")],
        {"active_weeks_count_28d": 2, "active_weeks_count_56d": 2},
    ),
    "rhythm": (  # Gaps of 10 and 4 days; the last purchase is 6 days ago.
        [buy("03-12 00:00:00"), buy("03-22 00:00:00"), buy("03-26 00:00:00")],
        {
            "purchase_gap_mean_56d_days": 7.0,
            "purchase_gap_max_56d_days": 10.0,
            "purchase_gap_cv_56d": 3 / 7,
            "overdue_ratio_56d": 6 / 7,
            "days_until_expected_purchase_56d": 1.0,
            "days_since_last_purchase": 6.0,
            "first_purchase_age_56d_days": 20.0,
        },
    ),
    "a gap belongs to its later purchase": (
        [buy("01-02 00:00:00"), buy("02-11 00:00:00")],
        {"purchase_gap_mean_56d_days": 40.0, "purchase_gap_max_56d_days": 40.0, "overdue_ratio_56d": 49 / 40},
    ),
    "one purchase has no rhythm": (
        [buy("03-22 00:00:00")],
        {
            "purchase_gap_mean_56d_days": None,
            "purchase_gap_max_56d_days": None,
            "purchase_gap_cv_56d": None,
            "overdue_ratio_56d": None,
            "days_until_expected_purchase_56d": None,
            "first_purchase_age_56d_days": 10.0,
            "days_since_last_purchase": 10.0,
        },
    ),
    "a basket is a session": (  # Three lines of one session, and two without: three baskets, in the evening only by their first line.
        [
            buy("03-20 17:55:00", session_id="s1", amount=1, discount=0.25),
            buy("03-20 18:05:00", session_id="s1", amount=2, discount=0.50),
            buy("03-20 18:10:00", session_id="s1", amount=4),
            buy("03-20 18:00:00", amount=8, discount=1),
            buy("03-20 17:59:59", amount=16),
        ],
        {
            "purchases_count_28d": 3,
            "basket_value_mean_28d_cny": 31 / 3,
            "basket_value_max_56d_cny": 16.0,
            "basket_lines_mean_56d": 5 / 3,
            "evening_share_56d": 1 / 3,
            "discount_share_28d": 1.75 / 32.75,
            "purchase_gap_mean_56d_days": 150 / 86400,
        },
    ),
    "one session id of another customer is another basket": (
        [buy("03-20 17:00:00", session_id="s1", amount=3)],
        {"purchases_count_28d": 1, "basket_lines_mean_56d": 1.0},
    ),
    "weekends and evenings are the customers' own": (  # Saturday 00:00 in Shanghai is Friday in UTC, Sunday 23:59 too is a weekend, Monday is none.
        [buy("03-28 00:00:00"), buy("03-29 23:59:59"), buy("03-30 00:00:00"), buy("03-27 23:59:59")],
        {"weekend_share_56d": 0.5, "evening_share_56d": 0.5},
    ),
    "money is summed in minor units and told in major ones": (
        [buy(f"03-{day:02d} 10:00:00", amount="0.10") for day in range(10, 13)],
        {"spend_sum_28d_cny": 0.3, "basket_value_mean_28d_cny": 0.1},
    ),
    "promotion, discount and return": (
        [
            buy("03-10 10:00:00", session_id="p1", amount=6, discount=2, is_promoted="true"),
            buy("03-10 10:00:00", session_id="p1", amount=2, is_promoted="false"),
            buy("02-10 10:00:00", amount=2, is_promoted="true"),
            bring_back("03-11 10:00:00", amount=3),
            bring_back("03-12 10:00:00", amount=1),
        ],
        {
            "promoted_share_56d": 2 / 3,
            "discount_share_28d": 0.2,
            "discount_share_56d": 2 / 12,
            "returns_count_56d": 2,
            "returned_share_56d": 0.4,
            "purchases_count_28d": 1,
            "days_since_last_purchase": 21 + 14 / 24,
        },
    ),
    "interests": (  # Milk was bought long ago, so it is not new; tea is; rice was last bought before the window.
        [
            buy("01-01 10:00:00", category="milk", brand="a", amount=500),
            buy("03-20 10:00:00", category="milk", brand="b", amount=6),
            buy("03-21 10:00:00", category="tea", brand="b", amount=1),
            buy("02-20 10:00:00", category="tofu", brand="c", amount=1),
            buy("01-02 10:00:00", category="rice", brand="d", amount=100),
            buy("03-22 10:00:00", amount=50),
        ],
        {
            "categories_nunique_28d": 2,
            "categories_nunique_56d": 3,
            "new_categories_count_28d": 1,
            "brands_nunique_56d": 2,
            "top_category_share_56d": 0.75,
            "category_entropy_56d": -(0.75 * log(0.75) + 2 * 0.125 * log(0.125)),
        },
    ),
    "one category has no variety": (
        [buy("03-20 10:00:00", category="milk", amount=6), buy("03-21 10:00:00", category="milk", amount=1)],
        {"categories_nunique_28d": 1, "top_category_share_56d": 1.0, "category_entropy_56d": 0.0, "brands_nunique_56d": 0},
    ),
    "what was free has a category but no share of spend": (
        [buy("03-20 10:00:00", category="milk", amount=0, quantity=1)],
        {
            "categories_nunique_28d": 1,
            "top_category_share_56d": None,
            "category_entropy_56d": None,
            "basket_value_mean_28d_cny": 0.0,
            "spend_trend_56d": None,
        },
    ),
    "irregular": (  # Gaps 1, 1, 10: mean 4, deviation sqrt(18).
        [buy("03-10 10:00:00"), buy("03-11 10:00:00"), buy("03-12 10:00:00"), buy("03-22 10:00:00")],
        {"purchase_gap_cv_56d": sqrt(18) / 4, "purchase_gap_mean_56d_days": 4.0},
    ),
    "what a marketer does is not a purchase": (
        [
            {**buy("03-20 10:00:00", amount=9, category="milk", brand="a"), "initiator": "marketer"},
            {**bring_back("03-20 11:00:00"), "initiator": "marketer"},
        ],
        {
            "days_since_last_purchase": None,
            "purchases_count_28d": 0,
            "active_weeks_count_28d": 0,
            "spend_sum_28d_cny": 0.0,
            "categories_nunique_28d": 0,
            "new_categories_count_28d": 0,
            "brands_nunique_56d": 0,
            "returns_count_56d": 0,
        },
    ),
    "what is no purchase is no purchase": (
        [{**buy("03-20 10:00:00", amount=9, category="milk", brand="a"), "kind": "visit"}],
        {
            "days_since_last_purchase": None,
            "purchases_count_28d": 0,
            "active_weeks_count_28d": 0,
            "spend_sum_28d_cny": 0.0,
            "categories_nunique_28d": 0,
            "brands_nunique_56d": 0,
            "returns_count_56d": 0,
        },
    ),
}


@pytest.fixture(scope="module")
def found(given, values_of):
    rows = [{"customer_id": customer, **event} for customer, (events, _) in CASES.items() for event in events]
    return values_of(given(rows), AS_OF)


@pytest.mark.parametrize("customer", CASES)
def test_expected_values(found, customer):
    expected = CASES[customer][1]
    got = {name: found[customer][name] for name in expected}
    assert got == {
        name: value if value is None or isinstance(value, int) else pytest.approx(value, rel=1e-9, abs=1e-6) for name, value in expected.items()
    }


def test_a_customer_whose_only_events_come_later_has_no_row(given, values_of):
    dataset = given([{"customer_id": "early", **buy("03-30 10:00:00")}, {"customer_id": "late", **buy("04-01 00:00:00")}])
    assert set(values_of(dataset, AS_OF)) == {"early"}


def test_an_event_counts_only_when_it_had_arrived(given, values_of):
    arrivals = {"in time": "2026-03-31 23:59:59", "at as_of": "2026-04-01 00:00:00", "late": "2026-04-05 00:00:00"}
    dataset = given(
        [{"customer_id": "ann", "event_at": "2026-03-10 10:00:00", "ingested_at": at, "amount": 10**i} for i, at in enumerate(arrivals.values())]
    )
    assert values_of(dataset, AS_OF)["ann"]["spend_sum_28d_cny"] == 1.0
    assert values_of(dataset, datetime(2026, 3, 31, 16, 0, 1))["ann"]["spend_sum_28d_cny"] == 11.0


@pytest.mark.parametrize(("currency", "amount", "minor"), [("JPY", "1200", 1200), ("CNY", "12.34", 1234), ("KWD", "1.234", 1234)])
def test_money_has_the_minor_units_of_its_currency(given, values_of, currency, amount, minor):
    dataset = given([{"customer_id": "ann", "event_at": "2026-03-10 10:00:00", "amount": amount}], currency=currency)
    assert dataset.tables["events"].amount_minor.to_pyarrow().to_pylist() == [minor]
    assert values_of(dataset, AS_OF)["ann"][f"spend_sum_28d_{currency.lower()}"] == float(amount)
