"""One customer's raw events give what the whole table gives, whatever order and form they come in."""

from datetime import UTC, datetime, timedelta

import pytest

from features.contracts import hold
from features.errors import ContractError
from features.feature import AsOf
from features.identity import persons
from features.one_customer import Portrait, compiled, read_portrait, write_portrait
from features.shop.simulate import simulate
from features.snapshots import features_of, snapshots
from features.sources import open_dataset

AS_OF = datetime(2024, 8, 1, 16)
COLUMNS = (
    "event_id", "event_at", "ingested_at", "kind", "initiator", "channel", "session_id", "item_id", "category", "brand", "quantity", "amount_minor",
    "discount_minor", "is_promoted", "campaign_id", "value")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop") / "data"
    simulate(folder, 1200, 9, seed=3, dirt=["late=0.05"])
    return hold(open_dataset(str(folder)))[0]


@pytest.fixture(scope="module")
def raw(shop):
    """The events of each person, as known at AS_OF, as literal rows."""
    rows, known = {}, persons(shop, [AS_OF]).to_pyarrow().to_pylist()
    person = {row["identifier"]: row["person"] for row in known}
    for event in shop.tables["events"].select("customer_id", *COLUMNS).to_pyarrow().to_pylist():
        identifier = event.pop("customer_id")
        rows.setdefault(person.get(identifier, identifier), []).append({name: value for name, value in event.items() if value is not None})
    return rows


@pytest.mark.slow
def test_f34_a_thousand_customers_equal_the_batch(shop, raw):
    features = [feature for feature in features_of(shop)[0] if not isinstance(feature.expression, AsOf)]
    asked = [row for row in snapshots(shop, [AS_OF], features).to_pyarrow().to_pylist() if row["customer_id"] in raw]
    one = compiled(shop, features)
    assert len(features) > 150 and len(asked) >= 1000
    for row in asked[::len(asked) // 1000][:1000]:
        found = one.of(raw[row["customer_id"]], AS_OF)
        for feature in features:
            got, want = found[feature.name], row[feature.name]
            is_float = isinstance(want, float) and feature.unit in ("share", "ratio", "nats", "score")
            assert got == (pytest.approx(want, rel=1e-9) if is_float else want), (row["customer_id"], feature.name)


EVENTS = [
    {"event_id": "a", "event_at": "2026-03-20T10:00:00Z", "kind": "purchase", "session_id": "s", "amount": 12.34, "channel": "web", "category": "tea"},
    {"event_id": "b", "event_at": "2026-03-20T10:00:00Z", "kind": "purchase", "session_id": "s", "amount_minor": 66, "channel": "web", "category": "milk"},
    {"event_id": "c", "event_at": "2026-03-25T18:00:00+08:00", "kind": "purchase", "amount": 1, "channel": "app", "category": "milk"},
    {"event_id": "d", "event_at": datetime(2026, 3, 26, tzinfo=UTC), "kind": "campaign_received"},
]
NOW = datetime(2026, 3, 31, 16)


@pytest.fixture(scope="module")
def portrait(given):
    rows = [{"customer_id": "x", "event_at": "2026-03-01", "channel": "web", "category": "tea", "brand": "b", "amount": 1, "kind": kind} for kind in ("purchase", "visit")]
    dataset = given([*rows, {**rows[0], "kind": "campaign_received"}])
    return compiled(dataset, features_of(dataset)[0])


def test_values_of_one(portrait):
    found = portrait.of(EVENTS, NOW)
    assert (found["purchases_count_28d"], found["spend_sum_28d_cny"], found["basket_value_max_56d_cny"]) == (2, 14.0, 13.0)
    assert (found["channel_favourite_56d"], found["top_category_56d"], found["lifecycle_stage"]) == ("app", "milk", "new")
    assert (found["campaigns_received_count_28d"], found["purchase_gap_last_days"]) == (1, 5.0)


@pytest.mark.parametrize("other", [EVENTS[::-1], EVENTS + EVENTS, [*EVENTS, {**EVENTS[0], "event_id": "later", "event_at": NOW}],
                                   [*EVENTS, {**EVENTS[0], "event_id": "late", "ingested_at": NOW + timedelta(days=1)}]],
                         ids=["reversed", "sent twice", "at as_of", "not yet arrived"])
def test_order_repeats_and_the_future_change_nothing(portrait, other):
    assert portrait.of(other, NOW) == portrait.of(EVENTS, NOW)


def test_whoever_did_nothing_has_counts_0_and_all_else_unknown(portrait):
    assert portrait.of([], NOW) == {feature.name: feature.no_data for feature in portrait.features}


def test_goods_and_campaigns_of_the_tables_go_along(given):
    bought = {"customer_id": "x", "event_at": "2026-03-01", "kind": "purchase", "item_id": "i", "campaign_id": "k", "amount": 1}
    dataset = given([bought, {**bought, "kind": "campaign_received"}], items=[{"item_id": "i", "category": "tea", "brand": "b"}],
                    campaigns=[{"campaign_id": "k", "start_at": "2026-03-01", "end_at": "2026-04-03"}])
    found = compiled(dataset, features_of(dataset)[0]).of(
        [{"event_id": "1", "event_at": "2026-03-02", "kind": "purchase", "item_id": "i"},
         {"event_id": "2", "event_at": "2026-03-02", "kind": "campaign_received", "campaign_id": "k"}], NOW)
    assert (found["top_category_56d"], found["campaigns_open_count"], found["campaign_days_left_max"]) == ("tea", 1, 2.0)


@pytest.mark.parametrize(("broken", "message"), [
    ({"event_at": "2026-03-20", "kind": "purchase"}, "needs event_id, event_at and kind, found none for event_id"),
    ({"event_id": "a", "event_at": "yesterday", "kind": "purchase"}, "event a needs a time such as .*found 'yesterday'; correct it"),
    ({"event_id": "a", "event_at": "2026-03-20", "kind": "purchase", "amount": "much"}, "event a needs a number in amount, found 'much'; correct it"),
    ({"event_id": "a", "event_at": "2026-03-20", "kind": "purchase", "value": float("inf")}, "event a needs a number in value, found inf; correct it")])
def test_bad_events_are_refused_in_words(broken, message):
    with pytest.raises(ContractError, match=message):
        Portrait((), "UTC", "EUR").of([broken], NOW)


def test_what_was_written_down_of_a_dataset_is_enough(given, portrait, tmp_path):
    tables = {"items": [{"item_id": "i", "category": "tea", "brand": "b"}], "campaigns": [{"campaign_id": "k", "start_at": "2026-03-01", "end_at": "2026-04-02"}]}
    dataset = given([{"customer_id": "x", "event_at": "2026-03-01", "channel": "web", "item_id": "i", "amount": 1},
                     {"customer_id": "x", "event_at": "2026-03-02", "kind": "campaign_received", "campaign_id": "k"}], **tables)
    features = features_of(dataset)[0]
    write_portrait(dataset, features, tmp_path / "one.json")
    found, whole = read_portrait(tmp_path / "one.json"), compiled(dataset, features)
    events = [*EVENTS, {"event_id": "e", "event_at": "2026-03-27", "kind": "purchase", "item_id": "i", "amount": 3}, {**EVENTS[3], "event_id": "f", "campaign_id": "k"}]
    assert found.of(events, NOW) == whole.of(events, NOW) and found.of(events, NOW)["campaigns_open_count"] == 1
    assert found.goods == {"i": ("tea", "b")} and found.zone == "Asia/Shanghai"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"words": {}}'])
def test_a_form_that_is_not_as_it_was_written_is_refused(tmp_path, text):
    (tmp_path / "one.json").write_text(text)
    with pytest.raises(ContractError, match="one.json must be as make run wrote it"):
        read_portrait(tmp_path / "one.json")


@pytest.mark.parametrize("odd", [{"event_at": "0001-01-01T00:00:00+14:00"}, {"event_at": "9999-12-31T23:59:59-14:00"}, {"amount": 1e300}, {"value": -1e15}])
def test_what_whole_numbers_cannot_hold_is_refused(portrait, odd):
    with pytest.raises(ContractError, match="event a needs a"):
        portrait.of([{**EVENTS[0], **odd}], NOW)
