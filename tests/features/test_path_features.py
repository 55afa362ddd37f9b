"""Given these steps and messages, expect these values: funnel, paths, journeys to a purchase, looks, answers to messages. Each case is one customer."""

import pytest
import whole
from test_portrait_features import AS_OF, at_least, buy, did, sent


def look(at, item=None, session=None, category=None):
    return did("product_view", at, item_id=item, session_id=session, category=category)


CASES = {
    "where sessions begin and end": (
        [
            did("landing_view", "02-10 09:00:00", session_id="s0"),
            did("landing_view", "03-05 09:00:00", session_id="s1"),
            look("03-05 09:02:00", session="s1"),
            did("cart_add", "03-05 09:05:00", session_id="s1"),
            did("landing_view", "03-07 21:00:00", session_id="s2"),
            look("03-12 09:00:00", session="s3"),
            did("cart_add", "03-12 09:10:00", session_id="s3"),
            did("checkout", "03-12 09:20:00", session_id="s3"),
            did("payment_failed", "03-12 09:25:00", session_id="s3"),
            buy("03-12 09:30:00", session_id="s3"),
            did("search", "03-20 09:30:00"),
        ],
        {
            "entry_kind_56d": "landing_view",
            "deep_entry_share_56d": 1 / 5,
            "drop_off_stage_56d": "came",
            "back_steps_share_56d": 0.0,
            "days_since_last_look": 19.625,
            "days_since_last_checkout": 19 + (14 + 35 / 60) / 24,  # a failed payment is one
            # From 02-10 on, no silence of thirty days: nine steps.
            "steps_to_purchase_median_56d": 9.0,
            "days_to_purchase_median_56d_days": 30 + 0.5 / 24,
            "looks_to_purchase_mean_56d": 2.0,
            "relooks_to_purchase_mean_56d": 0.0,
            "journey_steps_count": 1,
            "journey_relooks_count": 0,
            "journey_age_days": 11 + 14.5 / 24,
        },
    ),
    "back and forth": (
        [
            look("03-10 10:00:00", "i1", "s1", "tea"),
            look("03-10 10:05:00", "i2", "s1", "milk"),
            look("03-10 10:10:00", "i1", "s1", "tea"),
            did("cart_add", "03-10 10:12:00", session_id="s1", item_id="i1"),
            look("03-10 10:13:00", "i1", "s1", "tea"),  # from the cart back to the product
            buy("03-10 10:30:00", session_id="s1", item_id="i1"),
            buy("03-10 10:31:00", session_id="s1", item_id="i2"),  # of the same basket: no step, and no new journey
            look("03-20 10:00:00", "i3", "s2", "rice"),
            look("03-20 10:05:00", "i3", "s2", "rice"),
            look("03-25 10:00:00", "i3", None, "rice"),
        ],
        {
            "back_steps_share_56d": 1 / 10,
            "deep_entry_share_56d": 1.0,
            "steps_to_purchase_median_56d": 5.0,
            "days_to_purchase_median_56d_days": 0.5 / 24,
            "looks_to_purchase_mean_56d": 4.0,
            "relooks_to_purchase_mean_56d": 2.0,
            "journey_steps_count": 3,
            "journey_relooks_count": 2,
            "journey_age_days": 11 + 14 / 24,
            "looked_categories_nunique_56d": 3,
            "looked_items_nunique_56d": 3,
            "looked_category_56d": "rice",  # as often as tea, and later
            "looked_category_surely_56d": at_least(3, 7),
            "looked_category_last": "rice",
        },
    ),
    "thirty days of silence end a journey": (
        [look("01-05 00:00:00"), buy("02-20 00:00:00"), look("02-25 00:00:00")],
        {"steps_to_purchase_median_56d": None, "looks_to_purchase_mean_56d": None, "journey_steps_count": 0, "journey_relooks_count": 0, "journey_age_days": None},
    ),
    "thirty days are not yet over": ([look("03-02 00:00:00")], {"journey_steps_count": 1, "journey_age_days": 30.0}),
    "a purchase that nobody saw coming has no path": (
        [buy("03-10 00:00:00"), buy("03-20 00:00:00")],
        {"steps_to_purchase_median_56d": None, "days_to_purchase_median_56d_days": None, "journey_steps_count": 0, "journey_age_days": None, "drop_off_stage_56d": None},
    ),
    "a purchase of one line is no bounce": ([buy("03-10 00:00:00"), look("03-11 00:00:00")], {"bounce_share_56d": 1 / 2, "sessions_count_56d": 2}),
    "messages, answered and not": (
        [
            sent("03-01 00:00:00", "wechat"),
            did("message_open", "03-02 20:00:00", channel="wechat"),
            did("message_open", "03-02 20:30:00", channel="wechat"),
            sent("03-10 00:00:00", "sms"),
            buy("03-19 00:00:00"),  # nine days later
            sent("03-20 00:00:00", "sms"),
            buy("03-22 00:00:00", session_id="b"),
            buy("03-22 00:01:00", session_id="b"),  # one basket
            did("nps", "01-01 00:00:00", value=10),
            did("nps", "03-25 00:00:00", value=6),
        ],
        {
            "unanswered_contacts_count": 2,
            "open_delay_median_ever_days": 1 + 20.25 / 24,
            "open_channel_favourite_ever": "wechat",
            "open_channel_surely_ever": at_least(2, 2),
            "open_hour_favourite_ever": 20.0,
            "open_hour_surely_ever": at_least(2, 2),
            "answer_purchases_share_56d": 1 / 2,
            "contacts_trend_56d": 2 / 3,
            "nps_change": -4.0,
            "nps_group": "detractor",
        },
    ),
    "a message a week before may have been the reason": ([sent("03-10 00:00:00", "sms"), buy("03-17 00:00:00")], {"answer_purchases_share_56d": 1.0}),
    "nobody wrote": (
        [buy("03-17 00:00:00"), did("message_open", "03-18 00:00:00"), did("nps", "03-01 00:00:00", value=7)],
        {"unanswered_contacts_count": 0, "open_delay_median_ever_days": None, "answer_purchases_share_56d": 0.0, "contacts_trend_56d": None, "nps_group": "passive"},
    ),
    "a promoter": ([did("nps", "03-01 00:00:00", value=9)], {"nps_group": "promoter", "nps_change": 0.0}),
}


@pytest.fixture(scope="module")
def found(given, values_of):
    rows = [{"customer_id": customer, **event} for customer, (events, _) in CASES.items() for event in events]
    return values_of(given([*rows, *whole.one_of_each()], campaigns=whole.CAMPAIGNS), AS_OF)


@pytest.mark.parametrize("customer", CASES)
def test_expected_values(found, customer):
    expected = CASES[customer][1]
    got = {name: found[customer][name] for name in expected}
    assert got == {name: pytest.approx(value, rel=1e-9, abs=1e-6) if isinstance(value, float) else value for name, value in expected.items()}
