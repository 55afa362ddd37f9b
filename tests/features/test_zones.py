"""Times: local without an offset, instants with one, UTC inside, and the customers' clock beside them, also when it changes."""

import os
import subprocess
import sys
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.contracts import hold
from features.errors import ContractError
from features.labels import labels
from features.sources import open_dataset


@pytest.fixture
def read(folder_of):
    """A function: stamps and zone -> the (UTC, local) pairs that are stored, in order."""

    def stored(zone, *stamps):
        rows = [{"event_id": str(i), "customer_id": "ann", "event_at": stamp} for i, stamp in enumerate(stamps)]
        events = open_dataset(str(folder_of(rows, zone=zone))).tables["events"].order_by("event_id").to_pyarrow().to_pylist()
        return [(str(row["event_at"]), str(row["local_at"])) for row in events]

    return stored


def test_shanghai_is_eight_hours_ahead_all_year(read):
    assert read("Asia/Shanghai", "2026-01-31 18:05:00", "2026-07-31 00:00:00", "2026-07-31T07:59:59", "2026-03-01") == [
        ("2026-01-31 10:05:00", "2026-01-31 18:05:00"),
        ("2026-07-30 16:00:00", "2026-07-31 00:00:00"),
        ("2026-07-30 23:59:59", "2026-07-31 07:59:59"),
        ("2026-02-28 16:00:00", "2026-03-01 00:00:00"),
    ]


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        # Clocks go forward on 2026-03-29 from 02:00 to 03:00 and back on 2026-10-25 from 03:00 to 02:00.
        ("2026-03-29 00:30:00", "2026-03-28 23:30:00"),
        ("2026-03-29 01:59:59", "2026-03-29 00:59:59"),
        ("2026-03-29 03:00:00", "2026-03-29 01:00:00"),
        ("2026-03-29 23:00:00", "2026-03-29 21:00:00"),
        ("2026-10-25 01:59:59", "2026-10-24 23:59:59"),
        ("2026-10-25 03:00:00", "2026-10-25 02:00:00"),
    ],
)
def test_the_days_when_the_clock_changes_in_europe(read, local, utc):
    assert read("Europe/Berlin", local) == [(utc, local)]


def test_an_hour_that_comes_twice_is_one_of_the_two_and_one_that_does_not_come_is_an_hour_off(read):
    twice, never = read("Europe/Berlin", "2026-10-25 02:30:00", "2026-03-29 02:30:00")
    assert twice in [("2026-10-25 00:30:00", "2026-10-25 02:30:00"), ("2026-10-25 01:30:00", "2026-10-25 02:30:00")]
    assert never in [("2026-03-29 00:30:00", "2026-03-29 01:30:00"), ("2026-03-29 01:30:00", "2026-03-29 03:30:00")]


@pytest.mark.parametrize(
    ("stamp", "utc"),
    [
        ("2026-03-01T10:00:00Z", "2026-03-01 10:00:00"),
        ("2026-03-01 10:00:00z", "2026-03-01 10:00:00"),
        ("2026-03-01 10:00:00+08:00", "2026-03-01 02:00:00"),
        ("2026-03-01T10:00:00-0500", "2026-03-01 15:00:00"),
        ("2026-03-01 10:00:00+05:30", "2026-03-01 04:30:00"),
        ("2026-03-01 10:00:00.250Z", "2026-03-01 10:00:00.250000"),
        # PostgreSQL writes whole hours alone; others name the zone. What is written must count or be refused, never be passed over.
        ("2026-03-01 10:00:00-05", "2026-03-01 15:00:00"),
        ("2026-03-01 10:00:00+08", "2026-03-01 02:00:00"),
        ("2026-03-01 10:00:00 UTC", "2026-03-01 10:00:00"),
        ("2026-03-01 10:00:00 +0800", "2026-03-01 02:00:00"),
        ("2026-03-01 10:00:00 Asia/Tokyo", "2026-03-01 01:00:00"),
    ],
)
def test_an_offset_is_honoured_or_the_time_refused_whatever_the_zone(read, stamp, utc):
    try:
        assert read("Europe/Berlin", stamp)[0][0] == utc
    except ContractError as error:
        assert "UNPARSABLE_TIME" in str(error) and not stamp.endswith(("Z", ":00", "0500", ":30")), "the usual forms are read"


def test_instants_show_the_customers_clock(read):
    assert read("Europe/Berlin", "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z") == [
        ("2026-03-29 00:30:00", "2026-03-29 01:30:00"),
        ("2026-03-29 01:30:00", "2026-03-29 03:30:00"),
        ("2026-10-25 00:30:00", "2026-10-25 02:30:00"),
        ("2026-10-25 01:30:00", "2026-10-25 02:30:00"),
    ]


@pytest.mark.parametrize(
    ("kind", "utc"),
    [
        (pa.timestamp("us"), "2026-07-01 08:00:00"),
        (pa.timestamp("ns"), "2026-07-01 08:00:00"),
        (pa.timestamp("us", "UTC"), "2026-07-01 10:00:00"),
        (pa.timestamp("us", "Asia/Shanghai"), "2026-07-01 10:00:00"),
        (pa.date32(), "2026-06-30 22:00:00"),
    ],
    ids=str,
)
def test_parquet_times_without_zone_are_local_and_with_zone_instants(tmp_path, kind, utc):
    at = datetime(2026, 7, 1, 10, tzinfo=UTC if getattr(kind, "tz", None) else None)
    stamps = pa.array([at.date() if kind == pa.date32() else at], kind)
    pq.write_table(pa.table({"event_id": ["1"], "customer_id": ["ann"], "event_at": stamps, "kind": ["purchase"]}), tmp_path / "events.parquet")
    (tmp_path / "dataset.toml").write_text('zone = "Europe/Berlin"\ncurrency = "EUR"\n')
    row = open_dataset(str(tmp_path)).tables["events"].to_pyarrow().to_pylist()[0]
    assert str(row["event_at"]) == utc


READ = """
import sys
from features.sources import open_dataset
events = open_dataset(sys.argv[1]).tables["events"]
print(sorted((str(row["event_at"]), str(row["local_at"])) for row in events.to_pyarrow().to_pylist()))
"""


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
def test_the_machines_own_zone_does_not_matter(folder_of, zone):
    folder = folder_of(
        [{"customer_id": "ann", "event_at": stamp} for stamp in ("2026-07-01 10:00:00", "2026-07-01T10:00:00+02:00")], zone="Europe/Berlin"
    )
    # The engine looks at the machine's zone once in a process, so this takes another one.
    done = subprocess.run(
        [sys.executable, "-c", READ, str(folder)], env={**os.environ, "TZ": zone}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == str([("2026-07-01 08:00:00", "2026-07-01 10:00:00")] * 2), done.stderr


def test_a_window_is_days_of_24_hours_also_when_the_clock_changes(given, values_of):
    # Midnight of 2026-04-10 in Berlin is 22:00 UTC; 28 days of 24 hours before it the clock showed 23:00.
    rows = [{"customer_id": "in", "event_at": "2026-03-12 23:00:00"}, {"customer_id": "out", "event_at": "2026-03-12 22:59:59"}]
    found = values_of(given(rows, zone="Europe/Berlin", currency="EUR"), datetime(2026, 4, 9, 22))
    assert {customer: row["purchases_count_28d"] for customer, row in found.items()} == {"in": 1, "out": 0}
    assert found["in"]["days_since_last_purchase"] == 28.0


def test_evening_and_weekend_follow_the_clock_across_its_change(given, values_of):
    # 16:30 UTC is 17:30 before the change (no evening) and 18:30 after; 22:30 UTC on Friday 03-27 is Friday, on Friday 04-03 Saturday.
    stamps = {
        "winter evening": "2026-03-25T16:30:00Z",
        "summer evening": "2026-04-01T16:30:00Z",
        "winter night": "2026-03-27T22:30:00Z",
        "summer night": "2026-04-03T22:30:00Z",
    }
    rows = [{"customer_id": customer, "event_at": stamp} for customer, stamp in stamps.items()]
    found = values_of(given(rows, zone="Europe/Berlin", currency="EUR"), datetime(2026, 4, 9, 22))
    assert {customer: (row["evening_share_56d"], row["weekend_share_56d"]) for customer, row in found.items()} == {
        "winter evening": (0, 0),
        "summer evening": (1, 0),
        "winter night": (1, 0),
        "summer night": (0, 1),
    }


@pytest.mark.parametrize(
    ("declared", "until"),
    [
        ("2026-06-01T00:00:00Z", datetime(2026, 6, 1)),
        ("2026-06-01T00:00:00+02:00", datetime(2026, 5, 31, 22)),
        ("2026-06-01T00:00:00", datetime(2026, 5, 31, 16)),
        ("2026-06-01", datetime(2026, 5, 31, 16)),
    ],
)
@pytest.mark.parametrize("quote", ["", '"'], ids=["time", "text"])
def test_the_declared_end_of_observation_is_read_like_every_other_time(folder_of, declared, until, quote):
    folder = folder_of([{"customer_id": "ann", "event_at": "2026-03-01"}], declared=f"observed_until = {quote}{declared}{quote}\n")
    dataset, findings = hold(open_dataset(str(folder)))
    assert dataset.observed_until == until and not findings
    assert labels(dataset, dataset.tasks[0], [datetime(2026, 3, 10)]).count().to_pyarrow().as_py() == 1


def test_without_a_declared_end_the_observation_ends_just_after_the_last_event(given):
    dataset = given([{"customer_id": "ann", "event_at": "2026-03-01 10:00:00"}, {"customer_id": "ann", "event_at": "2026-03-05 10:00:00"}])
    assert (dataset.observed_from, dataset.observed_until) == (datetime(2026, 3, 1, 2), datetime(2026, 3, 5, 2, 0, 1))
