"""The moments at which snapshots are taken: the customers' midnights, evenly apart, as many as the data bear."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from features.errors import ContractError
from features.labels import local_midnight, mature_as_ofs
from features.tasks import Eligibility, Task, WindowSpec

TASK = Task("churn", "churn", Eligibility(active_days=56), WindowSpec(horizon_days=28, slide_days=14))


@pytest.fixture(scope="module")
def any_dataset(given):
    return given([{"customer_id": "ann", "event_at": "2026-01-01"}])


def utc(local, zone):
    return datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC).replace(tzinfo=None)


def shown(moments, zone):
    return [moment.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)) for moment in moments]


# A year and a half crosses three changes of the clock, whatever the season in which it ends; the hours are those around midnight.
@pytest.mark.parametrize("zone", ["Asia/Shanghai", "Europe/Berlin", "America/New_York", "UTC"])
@pytest.mark.parametrize(
    "until",
    ["2026-02-01 00:00:00", "2026-07-15 00:00:00", "2026-07-15 12:34:56", "2026-07-15 00:30:00", "2026-02-01 23:30:00", "2026-07-15 23:59:59"],
)
def test_moments_are_local_midnights_one_slide_apart(any_dataset, zone, until):
    dataset = replace(any_dataset, zone=zone, observed_from=utc("2025-01-01", zone), observed_until=utc(until, zone))
    found = shown(mature_as_ofs(dataset, TASK), zone)
    assert len(found) > 20 and {(at.hour, at.minute, at.second) for at in found} == {(0, 0, 0)}
    assert {(later.date() - earlier.date()).days for earlier, later in pairwise(found)} == {14}


@pytest.mark.parametrize(
    ("until", "newest"),
    [
        ("2026-07-15 00:00:00", date(2026, 6, 17)),
        ("2026-07-14 23:59:59", date(2026, 6, 16)),
        ("2026-07-15 23:59:59", date(2026, 6, 17)),
        # 28 days of 24 hours before this midnight it was 23:00: the clock went forward between.
        ("2026-04-10 00:00:00", date(2026, 3, 12)),
    ],
)
def test_the_newest_label_is_just_mature(any_dataset, until, newest):
    dataset = replace(any_dataset, zone="Europe/Berlin", observed_from=datetime(2025, 1, 1), observed_until=utc(until, "Europe/Berlin"))
    found = mature_as_ofs(dataset, TASK)
    assert shown(found, "Europe/Berlin")[-1].date() == newest
    assert found[-1] + timedelta(days=28) <= dataset.observed_until < found[-1] + timedelta(days=29, hours=1)


def test_gap_and_lag_make_the_newest_older(any_dataset):
    dataset = replace(any_dataset, observed_from=datetime(2025, 1, 1), observed_until=datetime(2026, 1, 1))
    slow = replace(TASK, windows=replace(TASK.windows, gap_days=7, ingestion_lag_days=3))
    assert mature_as_ofs(dataset, TASK)[-1] - mature_as_ofs(dataset, slow)[-1] == timedelta(days=10)


def test_the_oldest_has_a_whole_window_of_activity_before_it(any_dataset):
    begin = datetime(2025, 1, 1)
    dataset = replace(any_dataset, zone="UTC", observed_from=begin, observed_until=begin + timedelta(days=56 + 3 * 14 + 28))
    assert mature_as_ofs(dataset, TASK) == [begin + timedelta(days=56 + 14 * step) for step in range(4)]
    assert len(mature_as_ofs(replace(dataset, observed_from=begin + timedelta(seconds=1)), TASK)) == 3


def test_a_task_that_may_begin_with_less_history_begins_earlier(any_dataset):
    begin = datetime(2025, 1, 1)
    dataset = replace(any_dataset, zone="UTC", observed_from=begin, observed_until=begin + timedelta(days=14 + 28))
    assert mature_as_ofs(dataset, replace(TASK, min_history_days=14)) == [begin + timedelta(days=14)]


def test_too_little_history_says_how_much_there_is_and_is_needed(any_dataset):
    begin = datetime(2025, 1, 1)
    enough = replace(any_dataset, zone="UTC", observed_from=begin, observed_until=begin + timedelta(days=84))
    assert mature_as_ofs(enough, TASK) == [begin + timedelta(days=56)]
    with pytest.raises(
        ContractError,
        match=r"TOO_LITTLE_HISTORY: churn needs at least 84 days \(56 .*before, 28 for the label\), found 83 in .*; shorten .* or bring",
    ):
        mature_as_ofs(replace(enough, observed_until=begin + timedelta(days=83)), TASK)


@pytest.mark.parametrize(
    ("moment", "midnight"),
    [
        ("2026-03-29 00:00:00", "2026-03-29"),
        ("2026-03-29 12:00:00", "2026-03-29"),
        ("2026-03-28 23:59:59", "2026-03-28"),
        ("2026-10-25 23:59:59", "2026-10-25"),
    ],
)
def test_the_local_midnight_holds_on_days_when_the_clock_changes(moment, midnight):
    assert local_midnight(utc(moment, "Europe/Berlin"), "Europe/Berlin") == utc(midnight, "Europe/Berlin")
