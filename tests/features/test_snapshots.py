"""What must not matter does not: the future, the order of rows, copies, other moments asked for at the same time."""

import random
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet
import pytest

from features.errors import UsageError
from features.labels import labels
from features.snapshots import features_of, snapshots

AS_OF = datetime(2026, 3, 31, 16)
AS_OFS = [AS_OF - timedelta(days=28), AS_OF - timedelta(days=14), AS_OF]
DECLARED = 'observed_until = "2026-06-01"\n[tasks.churn]\nlookbacks_days = [28, 56]\n'
CAMPAIGNS = [{"campaign_id": "c1", "start_at": "2026-01-01", "end_at": "2026-04-20"}]


def session_of(kind, session):
    """A return before the purchases of its session would go to quarantine."""
    return None if kind == "return" else session


BROWSED = ["product_view", "cart_add", "checkout", "search", "payment_failed", "service_contact", "complaint", "review", "nps", "email_open", "invitation"]


def random_events():
    """840 events of six customers, two years before the moments and some weeks after; some arrive late. Times are UTC as datetimes."""
    draw = random.Random(20260401)
    events = []
    for i in range(600):
        at = AS_OF + timedelta(seconds=int(draw.choice([draw.randrange(-120, 50), draw.randrange(-120, 50), draw.randrange(-700, -100)]) * 86400 + draw.randrange(86400)))
        kind = draw.choice(["purchase"] * 5 + ["return", "coupon_redemption", "campaign_received"] + BROWSED)
        events.append(
            {
                "event_id": f"e{i}",
                "customer_id": f"c{int(6 * draw.random() ** 3)}",
                "event_at": at,
                "ingested_at": at + timedelta(days=draw.choice([0, 0, 0, 10])),
                "kind": kind,
                "initiator": "marketer" if kind == "campaign_received" else "customer",
                "session_id": session_of(kind, draw.choice([None, f"s{i % 60}"])),
                "channel": draw.choice(["store", "web", "app", None]),
                "item_id": f"i{draw.randrange(20)}",
                "quantity": draw.randrange(1, 5),
                "value": draw.randrange(11) if kind in ("review", "nps") else None,
                "category": draw.choice(["milk", "tea", "rice", "oil", "salt", "figs", None]),
                "brand": draw.choice("ab"),
                "amount": draw.randrange(1, 9999) / 100,
                "discount": draw.choice([0, draw.randrange(99) / 100]),
                "is_promoted": draw.choice([True, False]),
                "campaign_id": "c1" if kind == "campaign_received" else None,
            }
        )
    # Sessions of a few steps within the hour, back and forth between few goods.
    for i in range(60):
        begin, channel = AS_OF - timedelta(seconds=draw.randrange(-10, 60 * 86400)), draw.choice(["web", "app", "store"])
        for step in range(4):
            at = begin + timedelta(minutes=10 * step)
            item = f"i{draw.randrange(2)}"
            events.append({**events[0], "event_id": f"v{i}-{step}", "customer_id": f"c{i % 6}", "event_at": at, "ingested_at": at, "kind": draw.choice(BROWSED[:4]),
                           "session_id": f"v{i}", "channel": channel, "item_id": item, "category": f"{item} category", "initiator": "customer", "campaign_id": None})
    # An event right at each moment: it belongs to the future.
    return events + [{**events[0], "event_id": f"at{i}", "event_at": at, "ingested_at": at} for i, at in enumerate(AS_OFS)]


EVENTS = random_events()


def is_past(event):
    return event["event_at"] < AS_OF and event["ingested_at"] < AS_OF


def changed(event):
    return {**event, "customer_id": "c0", "amount": 9000, "category": "tea", "brand": "z", "session_id": session_of(event["kind"], "s0"), "discount": 5, "initiator": "customer"}


def stamped(events):
    return [{**event, **{name: event[name].replace(tzinfo=UTC).isoformat() for name in ("event_at", "ingested_at")}} for event in events]


def assert_same(found, expected):
    """Identical to the last digit: everything that is summed is a whole number."""
    assert found.equals(expected)


@pytest.fixture(scope="module")
def build(given):
    return lambda events: given(stamped(events), campaigns=CAMPAIGNS, declared=DECLARED)


@pytest.fixture(scope="module")
def dataset(build):
    return build(EVENTS)


@pytest.fixture(scope="module")
def features(dataset):
    present, absent = features_of(dataset)
    assert not absent
    return present


@pytest.fixture(scope="module")
def table(dataset, features):
    found = snapshots(dataset, AS_OFS, features).to_pyarrow()
    assert found.num_rows == 18
    assert [f.name for f in features if len(set(found[f.name].to_pylist())) < 2] == [], "every feature varies, so that a change would show"
    return found


def test_rows_are_ordered_by_customer_and_moment(table):
    keys = list(zip(table["customer_id"].to_pylist(), table["as_of"].to_pylist(), strict=True))
    assert keys == sorted(set(keys))


FUTURES = {
    "deleted": lambda: [event for event in EVENTS if is_past(event)],
    "changed": lambda: [event if is_past(event) else changed(event) for event in EVENTS],
    "brought forward": lambda: [
        event if is_past(event) or event["event_at"] < AS_OF else {**event, "event_at": AS_OF, "ingested_at": AS_OF} for event in EVENTS
    ],
    "more": lambda: EVENTS + [{**changed(event), "event_id": f"more{event['event_id']}"} for event in EVENTS if not is_past(event)],
}


@pytest.mark.parametrize("future", FUTURES)
def test_features_do_not_see_what_happens_or_arrives_at_as_of_or_later(table, features, build, future):
    events = FUTURES[future]()
    assert events != EVENTS
    other = snapshots(build(events), [AS_OF], features).to_pyarrow()
    now = table.filter([as_of == AS_OF for as_of in table["as_of"].to_pylist()])
    assert_same(other, now)


def test_features_do_see_the_last_second_before(table, features, build):
    just_before = {
        **EVENTS[0],
        "event_id": "new",
        "kind": "purchase",
        "event_at": AS_OF - timedelta(seconds=1),
        "ingested_at": AS_OF - timedelta(seconds=1),
    }
    other = snapshots(build([*EVENTS, just_before]), AS_OFS, features).to_pyarrow()
    changes = [old != new for old, new in zip(table.to_pylist(), other.to_pylist(), strict=True)]
    assert [row["as_of"] for row, is_changed in zip(table.to_pylist(), changes, strict=True) if is_changed] == [AS_OF]


def test_labels_change_when_the_future_changes(dataset, build):
    task = dataset.tasks[0]

    def label_of(data):
        return {row["customer_id"]: row["label"] for row in labels(data, task, [AS_OF]).to_pyarrow().to_pylist()}

    everyone = label_of(dataset)
    assert len(everyone) == 6
    assert set(label_of(build(FUTURES["deleted"]())).values()) == {1}
    returning = [
        {
            **EVENTS[0],
            "event_id": f"back{i}",
            "customer_id": f"c{i}",
            "kind": "purchase",
            "event_at": AS_OF + timedelta(days=3),
            "ingested_at": AS_OF + timedelta(days=3),
        }
        for i in range(6)
    ]
    assert set(label_of(build(EVENTS + returning)).values()) == {0}


def test_the_order_of_rows_does_not_matter(table, features, build):
    shuffled = random.Random(1).sample(EVENTS, len(EVENTS))
    assert_same(snapshots(build(shuffled), AS_OFS, features).to_pyarrow(), table)


def test_an_event_sent_twice_counts_once(table, features, held):
    rows = stamped(EVENTS)
    dataset, findings = held(rows + rows[:50] + rows[:20], campaigns=CAMPAIGNS, declared=DECLARED)
    assert [(finding.code, finding.count) for finding in findings if finding.level == "quarantine"] == [("REPEATED_EVENT", 70)]
    assert_same(snapshots(dataset, AS_OFS, features).to_pyarrow(), table)


def test_many_moments_at_once_equal_one_at_a_time(dataset, table, features):
    alone = pa.concat_tables(snapshots(dataset, [as_of], features).to_pyarrow() for as_of in AS_OFS)
    assert_same(alone.sort_by([("customer_id", "ascending"), ("as_of", "ascending")]), table)


def test_many_labels_at_once_equal_one_at_a_time(dataset):
    task = dataset.tasks[0]
    together = labels(dataset, task, AS_OFS).to_pyarrow().to_pylist()
    alone = [row for as_of in AS_OFS for row in labels(dataset, task, [as_of]).to_pyarrow().to_pylist()]
    assert sorted(alone, key=lambda row: (row["customer_id"], row["as_of"])) == together and len(together) > 6


def test_a_table_asked_for_stays_as_it_was_when_another_is_asked_for(dataset, features, table):
    first = snapshots(dataset, AS_OFS, features)
    snapshots(dataset, [AS_OF - timedelta(days=60)], features)
    assert_same(first.to_pyarrow(), table)


def test_a_moment_named_twice_counts_once(dataset, features, table):
    assert_same(snapshots(dataset, [*AS_OFS, AS_OF], features).to_pyarrow(), table)


def test_a_chosen_few_features_have_the_values_they_have_among_all(dataset, features, table):
    few = [feature for feature in features if feature.name in ("spend_sum_28d_cny", "category_entropy_56d", "campaigns_open_count")]
    assert_same(snapshots(dataset, AS_OFS, few).to_pyarrow(), table.select(["customer_id", "as_of", *(feature.name for feature in few)]))


def test_snapshots_of_some_are_those_of_all_and_parts_by_customer_make_the_whole(dataset, features, table, monkeypatch, tmp_path):
    import ibis

    from features import snapshots as room
    from features.engine import write_tables
    asked = dataset.engine.create_table("some_of_them", ibis.memtable(table.select(["customer_id", "as_of"])[::2]), overwrite=True)
    wanted = table.take(list(range(0, len(table), 2)))
    assert_same(snapshots(dataset, AS_OFS, features, asked).to_pyarrow(), wanted)
    assert len(list(room.parts(dataset, AS_OFS, features, asked))) == 1
    monkeypatch.setattr(room, "MOST_PAST", len(EVENTS) * len(AS_OFS) // 20)
    pieces = list(room.parts(dataset, AS_OFS, features, asked))
    assert len(pieces) > room.MOST_THREADS + 1 and not set(pieces[0]["customer_id"].to_pylist()) & set(pieces[1]["customer_id"].to_pylist())
    write_tables(pieces, tmp_path / "all.parquet")
    assert_same(pa.parquet.read_table(tmp_path / "all.parquet"), wanted)


@pytest.mark.parametrize("as_of", [AS_OF + timedelta(microseconds=1), AS_OF.replace(tzinfo=UTC)])
def test_a_moment_that_is_not_naive_utc_in_whole_seconds_is_refused(dataset, features, as_of):
    with pytest.raises(UsageError, match="as_of must be naive UTC in whole seconds, found .*; round it"):
        snapshots(dataset, [as_of], features)


def test_thousands_of_moments_make_no_question_too_deep_for_the_engine():
    """A folder of days over years asks about that many; a condition within a condition for each would end in a recursion."""
    import ibis

    from features.history import _under_way
    from features.moments import moments

    as_ofs = [datetime(2020, 1, 1) + timedelta(days=i) for i in range(1500)]
    events = ibis.table({"person": "int64", "event_at": "timestamp", "ingested_at": "timestamp", "session_id": "string", "kind": "string"}, name="events")
    assert "CASE" in ibis.to_sql(_under_way(events, moments(as_ofs), as_ofs), dialect="duckdb")
