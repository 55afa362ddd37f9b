"""Faults of events, by their rows in the matrix: copies, order, lateness, clocks, zones, empty tables. (F30 stands in test_policies.py, F33 and F37 in test_upstream.py.)"""

import math
import os
import random
import subprocess
import sys
from datetime import datetime, timedelta

import hypothesis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from features import folder as folders
from features.clocks import clock_changes
from features.contracts import hold
from features.engine import connect
from features.errors import ContractError
from features.labels import labels
from features.snapshots import features_of, snapshots
from features.sources import open_dataset

AS_OFS = [datetime(2026, 3, 15), datetime(2026, 3, 31)]
KINDS = ["purchase"] * 4 + ["return", "visit", "product_view", "cart_add", "service_contact", "campaign_received"]


def draw_events(draw):
    """120 events of four customers in eleven weeks, some of which arrive late; sessions belong to one customer."""
    events = []
    for i in range(120):
        at, who, kind = datetime(2026, 1, 20) + timedelta(seconds=draw.randrange(77 * 86400)), draw.randrange(4), draw.choice(KINDS)
        events.append({
            "event_id": f"e{i}", "customer_id": f"c{who}", "kind": kind, "event_at": f"{at.isoformat()}Z", "initiator": "marketer" if kind == "campaign_received" else "customer",
            "ingested_at": f"{(at + timedelta(days=draw.choice([0, 0, 0, 9]))).isoformat()}Z", "session_id": draw.choice([None, f"s{who}-{i % 7}"]),
            "channel": draw.choice(["store", "web", None]), "item_id": f"i{draw.randrange(6)}", "category": draw.choice(["tea", "milk", None]), "quantity": draw.randrange(1, 4),
            "amount": draw.randrange(1, 9999) / 100, "discount": draw.choice([0, 1.5])})
    return events


EVENTS = draw_events(random.Random(31))
SMALL = hypothesis.settings(max_examples=4, deadline=None, database=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck), phases=[hypothesis.Phase.generate])


@pytest.fixture(scope="module")
def portraits(folder_of):
    """A function: events -> (all features at all moments, {code: count} of what went to quarantine)."""

    def made(events):
        dataset, findings = hold(open_dataset(str(folder_of(events, zone="UTC", declared='observed_until = "2026-06-01"\n[tasks.churn]\nlookbacks_days = [7, 28]\n'))))
        table = snapshots(dataset, AS_OFS, features_of(dataset)[0]).to_pyarrow()
        return table, {finding.code: finding.count for finding in findings if finding.level == "quarantine"}

    return made


@pytest.fixture(scope="module")
def expected(portraits):
    table, quarantined = portraits(EVENTS)
    assert table.num_rows == 8 and table.num_columns > 100
    return table, quarantined


@SMALL
@hypothesis.given(order=st.permutations(range(len(EVENTS))))
def test_f26_events_in_any_order_give_the_same_features(portraits, expected, order):
    table, quarantined = portraits([EVENTS[i] for i in order])
    assert table.equals(expected[0]) and quarantined == expected[1]


@SMALL
@hypothesis.given(copies=st.lists(st.tuples(st.integers(0, len(EVENTS) - 1), st.integers(0, 30)), min_size=1, max_size=40), seed=st.integers(0, 99))
def test_f25_copies_sent_later_and_anywhere_change_no_feature(portraits, expected, copies, seed):
    """A copy arrives some days after the event did, or at the same moment."""
    def later(event, days):
        return {**event, "ingested_at": f"{(datetime.fromisoformat(event['ingested_at'][:-1]) + timedelta(days=days)).isoformat()}Z"}

    rows = [*EVENTS, *(later(EVENTS[i], days) for i, days in copies)]
    random.Random(seed).shuffle(rows)
    table, quarantined = portraits(rows)
    assert table.equals(expected[0]) and quarantined == {**expected[1], "REPEATED_EVENT": len(copies)}


def test_f25_everything_twice_in_two_files_changes_no_feature(portraits, expected, folder_of):
    table, quarantined = portraits(EVENTS + EVENTS)
    assert table.equals(expected[0]) and quarantined == {**expected[1], "REPEATED_EVENT": len(EVENTS)}


def test_f25_copies_make_nobody_a_bot_and_no_return_too_large(held):
    """Copies go first: what is counted after that is each event once."""
    rows = [{"event_id": f"v{i}", "customer_id": "ann", "event_at": "2026-03-01 10:00:00", "kind": "visit"} for i in range(3)]
    rows += [{"event_id": "p", "customer_id": "ann", "event_at": "2026-03-01 10:00:00", "amount": 5}]
    rows += [{"event_id": "r", "customer_id": "ann", "event_at": "2026-03-01 11:00:00", "amount": 5, "kind": "return"}]
    dataset, findings = held(rows * 2, declared="bot_events_per_hour = 3\n")
    assert [(finding.code, finding.count) for finding in findings] == [("REPEATED_EVENT", 5)]
    assert dataset.tables["events"].count().to_pyarrow().as_py() == 5


@pytest.mark.parametrize(("as_of", "seen"), [
    (datetime(2026, 3, 2), 0), (datetime(2026, 3, 9), 0), (datetime(2026, 3, 10), 0), (datetime(2026, 3, 10, 0, 0, 1), 1), (datetime(2026, 3, 30), 1)])
def test_f27_a_late_event_is_seen_from_its_arrival_on_and_counts_when_it_happened(late, values_of, as_of, seen):
    row = values_of(late, as_of)["ann"]
    assert row["purchases_count_ever"] == 1 + seen
    assert row["days_since_last_purchase"] == (as_of - (datetime(2026, 3, 1) if seen else datetime(2026, 2, 1))) / timedelta(days=1)


def test_f27_a_late_event_is_in_the_label_of_the_time_it_happened(late):
    found = labels(late, late.tasks[0], [datetime(2026, 2, 20)]).to_pyarrow().to_pylist()
    assert [(row["customer_id"], row["label"]) for row in found] == [("ann", 0)], "she bought within the horizon, though it became known later"


@pytest.fixture(scope="module")
def late(given):
    rows = [("2026-02-01", "2026-02-01"), ("2026-03-01", "2026-03-10")]
    return given(
        [{"customer_id": "ann", "event_at": at, "ingested_at": known} for at, known in rows], zone="UTC",
        declared='observed_until = "2026-06-01"\n[tasks.churn]\nhorizon_days = 14\nactive_days = 28\nlookbacks_days = [28]\n')


def test_f28_a_clock_that_is_fast_by_minutes_is_forgiven_and_leaks_nothing(held, values_of):
    """Four minutes after the end of the observation, or before its own arrival: kept, and seen by no moment before it happened. A day: quarantine."""
    until = datetime(2026, 4, 1)
    rows = [
        ("old", "2026-03-01 00:00:00", "2026-03-01 00:00:00"), ("fast", "2026-04-01 00:04:00", "2026-04-01 00:04:00"), ("skewed", "2026-03-31 23:59:00", "2026-03-31 23:55:00"),
        ("tomorrow", "2026-04-02 00:00:00", "2026-04-02 00:00:00"), ("far", "2026-03-20 00:00:00", "2026-03-19 00:00:00")]
    dataset, findings = held(
        [{"event_id": number, "customer_id": "ann", "event_at": at, "ingested_at": known} for number, at, known in rows], zone="UTC",
        declared='observed_until = "2026-04-01"\n[tasks.churn]\nlookbacks_days = [28]\n')
    assert {(finding.code, finding.offenders) for finding in findings} == {("IN_THE_FUTURE", ("tomorrow",)), ("INGESTED_BEFORE", ("far",))}
    as_ofs = [until + timedelta(minutes=minutes) for minutes in (-3, -1, 0, 5)]
    assert [values_of(dataset, *as_ofs)["ann", as_of]["purchases_count_ever"] for as_of in as_ofs] == [1, 1, 2, 3]


def test_f28_without_a_declared_end_an_event_of_next_year_does_not_move_the_end_of_the_data(folder_of, monkeypatch):
    monkeypatch.setattr(folders, "_now", lambda: datetime(2026, 3, 10, 12))
    rows = [{"event_id": f"e{i}", "customer_id": "ann", "event_at": at} for i, at in enumerate(["2026-03-01", "2026-03-10 12:04:00", "2027-03-10", "2026-03-10 12:05:01"])]
    dataset, findings = hold(open_dataset(str(folder_of(rows, zone="UTC"))))
    assert dataset.observed_until == datetime(2026, 3, 10, 12, 4, 1)
    assert [(finding.code, finding.count, finding.offenders) for finding in findings] == [("IN_THE_FUTURE", 1, ("e2",))], "within five minutes of the last is forgiven"
    with pytest.raises(ContractError, match=r"IN_THE_FUTURE: .* that has come .*, found 2 that have not, the first at 2027-01-01 00:00:00 UTC; correct the clock"):
        open_dataset(str(folder_of([{"customer_id": "ann", "event_at": at} for at in ("2027-01-01", "2028-01-01")], zone="UTC")))


def test_f28_an_event_that_says_it_arrived_a_year_before_it_happened_is_not_the_end_of_the_data(folder_of):
    rows = [{"customer_id": "ann", "event_at": at, "ingested_at": known} for at, known in [("2024-03-01", "2024-03-01"), ("2025-03-01", "2024-03-02")]]
    dataset = open_dataset(str(folder_of(rows, zone="UTC")))
    assert dataset.observed_until == datetime(2024, 3, 1, 0, 0, 1)


@pytest.fixture
def stored(folder_of):
    """A function: zone, stamps -> ([UTC], {code: count})."""

    def read(zone, *stamps, declared=""):
        rows = [{"event_id": str(i), "customer_id": "ann", "event_at": stamp} for i, stamp in enumerate(stamps)]
        dataset, findings = hold(open_dataset(str(folder_of(rows, zone=zone, declared=declared))))
        utc = [str(at) for at in dataset.tables["events"].order_by("event_id").event_at.to_pyarrow().to_pylist()]
        return utc, {finding.code: (finding.count, *finding.offenders) for finding in findings}

    return read


def test_f29_a_naive_time_without_a_declared_zone_is_refused(folder_of):
    with pytest.raises(ContractError, match="NO_ZONE: the source must declare its zone and currency, found none"):
        open_dataset(str(folder_of([{"customer_id": "ann", "event_at": "2026-03-01 10:00:00"}], zone=None)))


def test_f29_offsets_may_be_mixed_in_a_file_and_times_without_one_are_counted(stored):
    stamps = ("2026-07-01T10:00:00Z", "2026-07-01T18:00:00+08:00", "2026-07-01 05:00:00-05:00", "2026-07-01 15:30:00+05:30")
    assert stored("Asia/Shanghai", *stamps) == (["2026-07-01 10:00:00"] * 4, {})
    utc, told = stored("Asia/Shanghai", *stamps, "2026-07-01 18:00:00")
    assert utc == ["2026-07-01 10:00:00"] * 5 and told == {"NO_OFFSET": (1, "2026-07-01 18:00:00")}


@pytest.mark.parametrize(("form", "stamp", "utc"), [
    ("%d/%m/%Y %H:%M %z", "01/07/2026 18:00 +0800", "2026-07-01 10:00:00"), ("%d/%m/%Y %H:%M %z", "01/07/2026 12:00 +0200", "2026-07-01 10:00:00"),
    ("%d/%m/%Y %H:%M", "01/07/2026 12:00", "2026-07-01 10:00:00")])
def test_f29_a_declared_format_with_an_offset_is_an_instant(stored, form, stamp, utc):
    assert stored("Europe/Berlin", stamp, declared=f'[tables.events]\ntime_format = "{form}"\n') == ([utc], {})


def test_f29_the_hours_that_clocks_skip_and_show_twice_are_read_as_stated_and_counted(stored):
    """Skipped in spring: an hour later (02:30 is 03:30 summer time). Shown twice in autumn: the second (02:30 winter time)."""
    utc, told = stored(
        "Europe/Berlin", "2026-03-29 01:59:59", "2026-03-29 02:00:00", "2026-03-29 02:59:59", "2026-03-29 03:00:00",
        "2026-10-25 01:59:59", "2026-10-25 02:00:00", "2026-10-25 02:59:59", "2026-10-25 03:00:00", declared='observed_until = "2026-11-01"\n')
    assert utc == [
        "2026-03-29 00:59:59", "2026-03-29 01:00:00", "2026-03-29 01:59:59", "2026-03-29 01:00:00",
        "2026-10-24 23:59:59", "2026-10-25 01:00:00", "2026-10-25 01:59:59", "2026-10-25 02:00:00"]
    assert told == {"SKIPPED_HOUR": (2, "2026-03-29 02:00:00", "2026-03-29 02:59:59"), "REPEATED_HOUR": (2, "2026-10-25 02:00:00", "2026-10-25 02:59:59")}


def test_f29_shanghai_changed_its_clocks_until_1991_and_not_since(stored):
    utc, told = stored("Asia/Shanghai", "1991-04-14 02:30:00", "1991-07-01 12:00:00", "1991-09-15 01:30:00", "2026-03-29 02:30:00")
    assert utc == ["1991-04-13 18:30:00", "1991-07-01 03:00:00", "1991-09-14 17:30:00", "2026-03-28 18:30:00"]
    assert {code: count for code, (count, *_) in told.items()} == {"SKIPPED_HOUR": 1, "REPEATED_HOUR": 1}


def test_f29_with_an_offset_no_hour_is_doubtful(stored):
    stamps = ["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00", "2026-03-29T01:30:00Z"]
    assert stored("Europe/Berlin", *stamps, declared='observed_until = "2026-11-01"\n') == (["2026-10-25 00:30:00", "2026-10-25 01:30:00", "2026-03-29 01:30:00"], {})


@pytest.mark.parametrize(("zone", "day", "spans"), [
    ("Europe/Berlin", datetime(2026, 3, 29), [(datetime(2026, 3, 29, 2), datetime(2026, 3, 29, 3), False)]),
    ("Europe/Berlin", datetime(2026, 10, 25), [(datetime(2026, 10, 25, 2), datetime(2026, 10, 25, 3), True)]),
    ("America/New_York", datetime(2026, 11, 1), [(datetime(2026, 11, 1, 1), datetime(2026, 11, 1, 2), True)]),
    ("Australia/Lord_Howe", datetime(2026, 4, 5), [(datetime(2026, 4, 5, 1, 30), datetime(2026, 4, 5, 2), True)]),
    ("Asia/Shanghai", datetime(2026, 3, 29), []), ("UTC", datetime(2026, 3, 29), [])])
def test_clock_changes_to_the_second(zone, day, spans):
    assert clock_changes(zone, day, day + timedelta(hours=23)) == spans


def test_clock_changes_of_many_years_agree_with_the_engine(tmp_path):
    """A local time is skipped where it does not come back from UTC as it was."""
    engine = connect((tmp_path,))
    first, last = datetime(2019, 1, 1), datetime(2026, 12, 31)
    hours = "SELECT h FROM range(TIMESTAMP '2019-01-01', TIMESTAMP '2026-12-31', INTERVAL 30 MINUTE) t(h)"
    for zone in ("Europe/London", "America/Sao_Paulo", "Africa/Casablanca", "Asia/Tehran"):
        lost = {row[0] for row in engine.con.execute(f"SELECT h FROM ({hours}) WHERE timezone($1, timezone($1, h)) <> h", [zone]).fetchall()}
        spans = [(begin, end) for begin, end, is_twice in clock_changes(zone, first, last) if not is_twice]
        assert lost == {begin + i * timedelta(minutes=30) for begin, end in spans for i in range(int((end - begin) / timedelta(minutes=30))) if begin < last}


READ = """
import sys
from features.contracts import hold
from features.sources import open_dataset
dataset, findings = hold(open_dataset(sys.argv[1]))
print(sorted(str(at) for at in dataset.tables["events"].event_at.to_pyarrow().to_pylist()), [(finding.code, finding.offenders) for finding in findings])
"""


def test_f29_neither_the_machines_zone_nor_the_engines_matters(folder_of, tmp_path):
    folder = folder_of(
        [{"customer_id": "ann", "event_at": stamp} for stamp in ("2026-10-25 02:30:00", "2026-07-01 10:00:00", "2026-07-01T10:00:00+02:00")], zone="Europe/Berlin",
        declared='observed_until = "2026-11-01"\n')
    said = {
        subprocess.run([sys.executable, "-c", READ, str(folder)], env={**os.environ, "TZ": zone}, capture_output=True, text=True, timeout=120, check=True).stdout
        for zone in ("America/New_York", "Asia/Shanghai")}
    assert said == {
        "['2026-07-01 08:00:00', '2026-07-01 08:00:00', '2026-10-25 01:30:00'] "
        "[('NO_OFFSET', ('2026-07-01 10:00:00', '2026-10-25 02:30:00')), ('REPEATED_HOUR', ('2026-10-25 02:30:00',))]\n"}
    engine = connect((tmp_path,))
    assert engine.con.execute("SELECT current_setting('TimeZone')").fetchone() == ("UTC",)
    with pytest.raises(Exception, match="configuration has been locked"):
        engine.raw_sql("SET TimeZone = 'Asia/Shanghai'")


EMPTY = {
    "customers": {"customer_id": pa.string(), "valid_from": pa.timestamp("us"), "city": pa.string()}, "items": {"item_id": pa.string(), "category": pa.string()},
    "campaigns": {"campaign_id": pa.string(), "start_at": pa.timestamp("us"), "end_at": pa.timestamp("us")}}


@pytest.mark.parametrize("form", ["typed", "untyped", "csv"])
def test_f31_an_empty_table_is_a_table_and_its_customers_are_those_of_the_events(tmp_path, form):
    """Also where nothing tells the types of its columns."""
    at = pa.array([datetime(2026, 3, 1)], pa.timestamp("us"))
    pq.write_table(pa.table({"event_id": ["1"], "customer_id": ["ann"], "event_at": at, "kind": ["purchase"], "amount": [5.0]}), tmp_path / "events.parquet")
    (tmp_path / "dataset.toml").write_text('zone = "UTC"\ncurrency = "EUR"\nobserved_until = "2026-06-01"\n')
    for name, columns in EMPTY.items():
        if form == "csv":
            (tmp_path / f"{name}.csv").write_text(",".join(columns) + "\n")
        else:
            pq.write_table(pa.table({column: pa.array([], kind if form == "typed" else pa.null()) for column, kind in columns.items()}), tmp_path / f"{name}.parquet")
    dataset, findings = hold(open_dataset(str(tmp_path)))
    assert not findings and all(dataset.tables[name].count().to_pyarrow().as_py() == 0 for name in (*EMPTY, "quarantine"))
    rows = snapshots(dataset, [datetime(2026, 3, 31)], features_of(dataset)[0]).to_pyarrow().to_pylist()
    assert [(row["customer_id"], row["purchases_count_28d"], row["spend_sum_56d_eur"]) for row in rows] == [("ann", 0, 5.0)]
    assert snapshots(dataset, [datetime(2026, 3, 1)], features_of(dataset)[0]).count().to_pyarrow().as_py() == 0, "nobody was known then: no rows"


def test_f31_a_customer_without_events_has_counts_of_zero_and_no_recency_and_nothing_is_infinite(given, values_of):
    dataset = given(
        [{"customer_id": "ann", "event_at": "2026-03-01", "amount": 5, "quantity": 1, "discount": 0, "item_id": "i", "category": "tea", "channel": "web", "session_id": "s"}],
        customers=[{"customer_id": "never", "valid_from": "2026-01-01"}], declared='observed_until = "2026-06-01"\n')
    features = {feature.name: feature for feature in features_of(dataset)[0]}
    found = values_of(dataset, datetime(2026, 3, 31))
    assert set(found) == {"ann", "never"}
    for name, value in found["never"].items():
        told = features[name].no_data
        assert value == told if told is not None else value is None, name
    assert not [name for row in found.values() for name, value in row.items() if isinstance(value, float) and not math.isfinite(value)]


def test_a_customer_with_one_event_has_no_rhythm_and_no_trend_but_a_last_purchase(given, values_of):
    dataset = given([{"customer_id": "one", "event_at": "2026-03-21", "amount": 5}, *(
        {"customer_id": "many", "event_at": f"2026-03-{day:02}", "amount": 5} for day in range(1, 22, 4))], zone="UTC", declared='observed_until = "2026-06-01"\n')
    one, many = (values_of(dataset, datetime(2026, 3, 31))[customer] for customer in ("one", "many"))
    assert one["days_since_last_purchase"] == many["days_since_last_purchase"] == 10.0 and one["purchases_count_ever"] == 1
    gaps = [name for name in one if "gap" in name and "session" not in name and "visit" not in name]
    assert gaps and all(one[name] is None for name in gaps if many[name] is not None)
    assert all(math.isfinite(value) for value in one.values() if isinstance(value, float))


@pytest.mark.parametrize("rows", [[], [{"customer_id": "ann", "event_at": ""}]])
def test_f31_no_events_at_all_is_refused(folder_of, rows):
    folder = folder_of(rows or [{"customer_id": "ann", "event_at": "2026-03-01"}])
    if not rows:
        (folder / "events.csv").write_text("event_id,customer_id,event_at,kind\n")
    with pytest.raises(ContractError, match="NO_EVENTS: events needs at least one row with an event_at, found none"):
        open_dataset(str(folder))


def test_f31_no_event_that_keeps_the_contract_is_refused_with_the_reasons(held):
    with pytest.raises(ContractError, match=r"NO_EVENTS_LEFT: events needs an event that keeps the contract; found 3 that break it \(NEGATIVE_AMOUNT 2, TESTER 1\)"):
        rows = [{"customer_id": customer, "event_at": "2026-03-01", "amount": amount} for customer, amount in (("ann", -5), ("bo", -5), ("test-1", 1))]
        held(rows, declared='testers = ["test-"]\n')


def test_lookbacks_longer_than_the_history_are_said_once(given):
    dataset = given(
        [{"customer_id": "ann", "event_at": "2026-03-01"}, {"customer_id": "ann", "event_at": "2026-03-20"}], zone="UTC", declared="[tasks.churn]\nlookbacks_days = [7, 28, 56]\n")
    assert dataset.truncated(datetime(2026, 3, 20)) == (
        "LOOKBACK_TRUNCATED: features need history as long as their lookback; found 19.0 days before 2026-03-20 00:00:00 UTC; those of 28d, 56d are truncated, "
        "they see only what is there: declare shorter lookbacks_days, or bring older events")
    assert "found 28.0 days" in dataset.truncated(datetime(2026, 3, 29)) and "those of 56d are" in dataset.truncated(datetime(2026, 3, 29))
    assert dataset.truncated(datetime(2026, 4, 26)) == "" and "7d, 28d, 56d" in dataset.truncated(datetime(2026, 2, 1))
