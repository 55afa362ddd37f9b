"""Given these events, expect these values: rhythm, hours, channels, sessions, prices, goods, stages, contacts and service. Each case is one customer."""

from datetime import datetime
from math import log, sqrt

import numpy as np
import pytest

from features.feature import surely

# Midnight in Shanghai; 28 days before is 03-04, 56 days before is 02-04. 2026-04-01 is a Wednesday.
AS_OF = datetime(2026, 3, 31, 16)
Z = 1.959964


def did(kind, at, **more):
    return {"event_at": at if at.startswith("20") else f"2026-{at}", "kind": kind, "initiator": "customer", **more}


def buy(at, **more):
    return did("purchase", at, **more)


def sent(at, channel):
    return {**did("campaign_received", at, channel=channel), "initiator": "marketer"}


def at_least(hits, n):
    """Wilson's lower bound, as published."""
    share = hits / n
    return (share + Z**2 / (2 * n) - Z * sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))) / (1 + Z**2 / n)


def variety(*counts):
    return -sum(n / sum(counts) * log(n / sum(counts)) for n in counts)


def decayed(*ages):
    return sum(2 ** (-age / 30) for age in ages)


CASES = {
    "rhythm and hours": (  # Tuesday, Friday, Monday, Friday; gaps of 10 days, 10 days, 4 days and 10 hours.
        [buy("02-10 10:00:00"), buy("02-20 10:00:00"), buy("03-02 10:00:00"), buy("03-06 20:00:00")],
        {
            "purchase_gap_median_56d_days": 10.0,
            "purchase_gap_min_56d_days": 4 + 10 / 24,
            "purchase_gap_last_days": 4 + 10 / 24,
            "purchase_gap_first_days": 10.0,
            "overdue_share_56d": 1.0,
            "comebacks_count_ever": 0,
            "overdue_median_ratio_56d": (25 + 4 / 24) / 10,
            "gap_last_ratio_56d": (4 + 10 / 24) / 10,
            "purchase_days_nunique_56d": 4,
            "purchases_decayed": decayed(49 + 14 / 24, 39 + 14 / 24, 29 + 14 / 24, 25 + 4 / 24),
            "morning_share_56d": 0.75,
            "purchase_hour_favourite_56d": 10.0,
            "purchase_hour_surely_56d": at_least(3, 4),
            "purchase_hour_entropy_56d": variety(3, 1),
            "purchase_weekday_favourite_56d": 4.0,
            "purchase_weekday_surely_56d": at_least(2, 4),
            "purchase_weekday_entropy_56d": variety(2, 1, 1),
            "purchases_acceleration_56d": (4 + 10 / 24 - (24 + 10 / 24) / 3) / 10,
            "days_until_usual_purchase_56d": 10 - (25 + 4 / 24),
            "days_since_first_purchase": 49 + 14 / 24,
            "days_since_first_event": 49 + 14 / 24,
            "recency_score_56d": 5.0,
            "frequency_score_56d": 3.0,
            # Silence of 25 days against a usual pause of 10: slipping since day 15.
            "lifecycle_stage": "slipping",
            "lifecycle_stage_days": 10 + 4 / 24,
            "purchases_season_share_ever": None,
        },
    ),
    "channels": (  # Web and app twice each: among equals the one met last. The purchase without channel is no switch, nor is the one after it.
        [
            buy(f"03-{10 + i} 10:00:00", channel=channel)
            for i, channel in enumerate(["web", "web", "app", None, "store", "app"])
        ],
        {
            "channels_nunique_56d": 3,
            "channel_favourite_56d": "app",
            "channel_surely_56d": at_least(2, 5),
            "channel_entropy_56d": variety(2, 2, 1),
            "channel_switch_share_56d": 2 / 3,
            "channel_first": "web",
            "channel_last": "app",
            "app_purchases_share_56d": 2 / 5,
            "store_purchases_share_56d": 1 / 5,
            "frequency_score_56d": 3.0,
        },
    ),
    "no channel is told": (
        [buy("03-10 10:00:00")],
        {
            "channels_nunique_56d": 0,
            "channel_favourite_56d": None,
            "channel_surely_56d": None,
            "channel_entropy_56d": None,
            "channel_switch_share_56d": None,
            "purchase_gap_median_56d_days": None,
            "purchase_hour_favourite_56d": 10.0,
            "frequency_score_56d": 1.0,
        },
    ),
    "sessions": (
        [
            did("landing_view", "02-10 09:00:00", session_id="s0", channel="web"),
            did("landing_view", "03-05 09:00:00", session_id="s1", channel="web"),
            did("product_view", "03-05 09:02:00", session_id="s1", channel="web"),
            did("cart_add", "03-05 09:05:00", session_id="s1", channel="web"),
            sent("03-06 10:00:00", "sms"),
            did("landing_view", "03-07 21:00:00", session_id="s2", channel="app"),
            did("product_view", "03-12 09:00:00", session_id="s3", channel="web"),
            did("cart_add", "03-12 09:10:00", session_id="s3", channel="web"),
            did("checkout", "03-12 09:20:00", session_id="s3", channel="web"),
            did("payment_failed", "03-12 09:25:00", session_id="s3", channel="web"),
            buy("03-12 09:30:00", session_id="s3", channel="web", amount=5),
            did("search", "03-20 09:30:00", channel="web"),  # without a session: one by itself
            did("return", "03-25 10:00:00", session_id="s3", amount=5),  # told later: no session
        ],
        {
            "sessions_count_28d": 4,
            "sessions_count_56d": 5,
            "sessions_count_ever": 5,
            "sessions_decayed": decayed(49.625, 26.625, 24.125, 19.625, 11 + 14.5 / 24),
            "session_days_nunique_28d": 4,
            "days_since_last_session": 11 + 14.5 / 24,
            "session_gap_median_56d_days": (4.5 + 8 + 0.5 / 24) / 2,
            "session_overdue_ratio_56d": (11 + 14.5 / 24) / ((4.5 + 8 + 0.5 / 24) / 2),
            "session_events_mean_56d": 11 / 5,
            "session_seconds_mean_56d": (300 + 1800) / 5,
            "bounce_share_56d": 3 / 5,
            "session_channel_favourite_56d": "web",
            "session_channel_surely_56d": at_least(4, 5),
            "session_channel_switch_share_56d": 2 / 4,
            "session_channel_entropy_56d": variety(4, 1),
            "session_channel_last": "web",
            "session_hour_favourite_56d": 9.0,
            "session_hour_surely_56d": at_least(4, 5),
            "session_weekday_favourite_56d": 3.0,
            "session_weekday_surely_56d": at_least(2, 5),
            "session_looks_mean_56d": 2 / 5,
            "session_searches_mean_56d": 1 / 5,
            "sessions_trend_56d": 4 / 5,
            "funnel_stage_max_28d": 5.0,
            "funnel_stage_last": 1.0,
            "days_since_last_cart": 19 + (14 + 50 / 60) / 24,
            "carts_abandoned_count_28d": 1,
            "days_since_abandoned_cart": 26.625,
            "cart_abandon_share_56d": 1 / 2,
            "session_conversion_56d": 1 / 5,
            "session_cart_share_56d": 2 / 5,
            "sessions_per_purchase_56d": 5.0,
            "payments_failed_count_28d": 1,
            "days_since_failed_payment": 19 + (14 + 35 / 60) / 24,
            "contacts_per_purchase_56d": 1.0,
            "purchases_count_56d": 1,
        },
    ),
    "value, prices and goods": (
        [
            buy("01-10 10:00:00", item_id="i2", quantity=1, amount=5, category="milk", brand="y"),
            did("refund", "01-20 10:00:00", amount=1),
            buy("03-05 10:00:00", session_id="p1", item_id="i1", quantity=2, amount=10, discount=2, category="tea", brand="x"),
            buy("03-05 10:00:00", session_id="p1", item_id="i2", quantity=1, amount=6, category="milk", brand="y"),
            buy("03-15 10:00:00", item_id="i1", quantity=1, amount=4, category="tea", brand="x"),
            buy("03-25 10:00:00", item_id="i3", quantity=4, amount=40, discount=10, category="tea", brand="z"),
            did("return", "03-26 10:00:00", amount=8),
        ],
        {
            "spend_sum_ever_cny": 65.0,
            "spend_per_day_ever_cny": 65 / (80 + 14 / 24),
            "net_spend_sum_56d_cny": 52.0,
            "net_spend_sum_ever_cny": 56.0,
            "spend_decayed_cny": 5 * decayed(80 + 14 / 24) + 16 * decayed(26 + 14 / 24) + 4 * decayed(16 + 14 / 24) + 40 * decayed(6 + 14 / 24),
            "basket_value_median_56d_cny": 16.0,
            "basket_value_last_cny": 40.0,
            "basket_value_last_ratio_56d": 40 / 16,
            "top_basket_share_56d": 40 / 60,
            "basket_categories_mean_56d": 4 / 3,
            "single_line_share_56d": 2 / 3,
            "basket_value_cv_56d": sqrt((4**2 + 16**2 + 20**2) / 3) / 20,
            "basket_value_trend_56d": 1.0,
            "basket_lines_max_56d": 2.0,
            "basket_units_mean_56d": 8 / 3,
            "unit_price_median_56d_cny": 5.5,
            "unit_price_max_56d_cny": 10.0,
            "unit_price_last_cny": 10.0,
            "unit_price_last_ratio_56d": 10 / 5.5,
            "discount_share_ever": 12 / 77,
            "discount_depth_56d": 12 / 68,
            "days_since_full_price": 16 + 14 / 24,
            "money_score_56d": 2.0,
            "rfm_score_56d": 5.0 + 2.0 + 2.0,
            "discounted_baskets_share_56d": 2 / 3,
            "discount_max_56d_cny": 10.0,
            "returned_share_ever": 9 / 65,
            "returns_per_purchase_ever": 2 / 4,
            "days_since_last_return": 5 + 14 / 24,
            "categories_nunique_ever": 2,
            "top_category_56d": "tea",
            "top_category_surely_56d": at_least(3, 4),
            "last_category": "tea",
            "new_brands_count_28d": 2,
            "top_brand_share_56d": 40 / 60,
            "brand_entropy_56d": variety(14, 6, 40),
            "items_nunique_56d": 3,
            "new_items_count_28d": 2,
            "repurchase_share_56d": 2 / 4,
            "brand_repeat_share_56d": 2 / 4,
            "rebought_items_nunique_56d": 2,
            "item_gap_median_56d_days": (54 + 10) / 2,
            "top_item_share_56d": 2 / 4,
            "lines_decayed": decayed(80 + 14 / 24, *[26 + 14 / 24] * 2, 16 + 14 / 24, 6 + 14 / 24),
            "lines_count_56d": 4,
        },
    ),
    "the basket has grown": (  # 10 and 20 a month ago, 40 of late: the mean of 28 days is 40, of 56 days 70 / 3.
        [buy("02-10 10:00:00", amount=10), buy("02-20 10:00:00", amount=20), buy("03-20 10:00:00", amount=40)],
        {"basket_value_trend_56d": 40 / (70 / 3), "recency_score_56d": 5.0},
    ),
    "tastes change": (  # Milk is most of the spend, but fifty days old; the discounts have grown from a fifth to a half.
        [
            buy("02-10 00:00:00", amount=96, discount=24, category="milk", brand="x"),
            buy("03-30 00:00:00", amount=60, discount=60, category="tea", brand="y"),
        ],
        {
            "top_category_share_56d": 96 / 156,
            "affinity_category_56d": "tea",
            "affinity_category_share_56d": 60 * decayed(2) / (60 * decayed(2) + 96 * decayed(50)),
            "affinity_to_milk_56d": 96 * decayed(50) / (60 * decayed(2) + 96 * decayed(50)),
            "affinity_brand_56d": "y",
            "affinity_brand_share_56d": 60 * decayed(2) / (60 * decayed(2) + 96 * decayed(50)),
            "categories_trend_56d": 1 / 2,
            "days_since_new_category": 2.0,
            "discount_trend_56d": (60 / 120) / (84 / 240),
            "days_since_full_price": None,
        },
    ),
    "four weeks are no long silence": ([buy("01-01 00:00:00"), buy("01-02 00:00:00"), buy("01-30 00:00:00")], {"comebacks_count_ever": 0}),
    "back after a long silence": (  # Pauses of four days, then one of 78: active again since then.
        [buy("01-01 00:00:00"), buy("01-05 00:00:00"), buy("01-09 00:00:00"), buy("03-28 00:00:00")],
        {"comebacks_count_ever": 1, "days_since_comeback": 4.0, "lifecycle_stage": "active", "lifecycle_stage_days": 4.0, "overdue_share_56d": 0.0},
    ),
    "the first pause is judged against four weeks": ([buy("2025-11-01 00:00:00"), buy("2026-02-21 00:00:01")], {"comebacks_count_ever": 1}),
    "four times four weeks are no long silence yet": ([buy("2025-11-01 00:00:00"), buy("2026-02-21 00:00:00")], {"comebacks_count_ever": 0, "days_since_comeback": None}),
    "a price needs a number of pieces": (
        [buy("03-05 10:00:00", item_id="i1", quantity=0, amount=3), buy("03-06 10:00:00", item_id="i1", amount=4)],
        {"unit_price_median_56d_cny": None, "unit_price_last_cny": None, "spend_sum_ever_cny": 7.0},
    ),
    "this season a year ago": (  # 377 and 346 days ago lie within four weeks of a year ago; 304 days ago does not.
        [buy("2025-03-20 00:00:00"), buy("2025-04-20 00:00:00"), buy("2025-06-01 00:00:00"), buy("2026-03-20 00:00:00")],
        {
            "purchases_season_share_ever": 0.5,
            "purchases_year_ratio": 1.0,
            "purchase_month_favourite": 3.0,
            "purchase_month_surely": at_least(2, 4),
            "days_since_first_purchase": 377.0,
            "purchase_gap_last_days": 292.0,
        },
    ),
    "stage: nobody bought": (
        [did("landing_view", "03-20 00:00:00")],
        {"lifecycle_stage": "prospect", "lifecycle_stage_days": None, "recency_score_56d": None, "frequency_score_56d": None, "days_since_first_event": 12.0},
    ),
    "stage: new": ([buy("03-22 00:00:00")], {"lifecycle_stage": "new", "lifecycle_stage_days": 10.0}),
    "stage: active": (  # Usual pause 28 days, last purchase 7 days ago; new for the first 56 of 90 days.
        [buy("01-01 00:00:00"), buy("02-01 00:00:00"), buy("03-01 00:00:00"), buy("03-25 00:00:00")],
        {"lifecycle_stage": "active", "lifecycle_stage_days": 34.0},
    ),
    "stage: dormant": (  # Usual pause 2 days, which counts as a week; silent for 88: since day 28.
        [buy("01-01 00:00:00"), buy("01-03 00:00:00")],
        {"lifecycle_stage": "dormant", "lifecycle_stage_days": 60.0},
    ),
    "recency falls by four weeks": ([buy("02-20 00:00:00"), buy("02-20 00:00:00")], {"recency_score_56d": 4.0, "frequency_score_56d": 2.0}),
    "contacts, answers and service": (
        [
            sent("01-10 00:00:00", "email"),
            sent("03-10 00:00:00", "sms"),
            sent("03-20 00:00:00", "email"),
            buy("03-21 00:00:00"),
            did("email_open", "03-21 00:00:00"),
            did("push_open", "01-11 00:00:00"),
            did("invitation", "01-05 00:00:00"),
            did("coupon_redemption", "03-21 00:00:00"),
            did("service_contact", "03-05 00:00:00"),
            did("complaint", "03-06 00:00:00"),
            did("review", "01-02 00:00:00", value=5),
            did("review", "02-20 00:00:00", value=4),
            did("review", "03-21 00:00:00", value=1),
            did("nps", "03-25 00:00:00", value=9),
        ],
        {
            "contacts_count_28d": 2,
            "contacts_count_ever": 3,
            "days_since_last_contact": 12.0,
            "contacts_decayed": decayed(81, 22, 12),
            "contact_channels_nunique_56d": 2,
            "contacts_per_purchase_56d": 2.0,
            "opens_count_28d": 1,
            "days_since_last_open": 11.0,
            "open_rate_56d": 0.5,
            "open_rate_ever": 2 / 3,
            "referrals_count_ever": 1,
            "redemptions_per_purchase_ever": 1.0,
            "service_contacts_count_28d": 2,
            "days_since_last_service_contact": 26.0,
            "service_contacts_per_purchase_ever": 2.0,
            "complaints_count_28d": 1,
            "days_since_last_complaint": 26.0,
            "complaints_per_purchase_ever": 1.0,
            "ratings_count_ever": 3,
            "rating_change": 1 - 10 / 3,
            "rating_mean_ever": 10 / 3,
            "rating_last": 1.0,
            "rating_min_56d": 1.0,
            "nps_last": 9.0,
            "days_since_last_nps": 7.0,
            "contacts_trend_56d": 1.0,
            "open_delay_median_ever_days": 1.0,
            "answer_purchases_share_56d": 1.0,
            "unanswered_contacts_count": 0,
            "sessions_count_28d": 1,  # the purchase: an opened message, a coupon, a call, and what was told later are no visits
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
    assert got == {name: pytest.approx(value, rel=1e-9, abs=1e-6) if isinstance(value, float) else value for name, value in expected.items()}


def test_what_a_share_is_at_least_as_published():
    """Eight of ten: 0.4902 (Wilson 1927, as in any table of the score interval)."""
    assert surely(np.array([8]), np.array([10]))[0] == pytest.approx(0.4901625, abs=1e-6)
