"""Silences and delays: counted by hand, cut off where the data end, and against the labels that they must agree with."""

from datetime import datetime, timedelta

import numpy as np
import pytest

from features.horizons import EVERYBODY, curve, delays, followed, silences
from features.labels import labels, mature_as_ofs

DECLARED = 'observed_until = "2026-04-11"\n[tasks.churn]\nhorizon_days = 10\nactive_days = 30\nlookbacks_days = [30]\nslide_days = 5\n'


def visits(*days_of_each, copies=30):
    """Customers alike, so that every segment is told: each with purchases on these days of 2026."""
    begin = datetime(2026, 1, 1, 12)
    return [
        {"customer_id": f"{i}-{j}", "event_at": f"{begin + timedelta(days=day):%Y-%m-%d %H:%M:%S}"} for i, days in enumerate(days_of_each) for j in range(copies) for day in days]


def test_what_the_end_cuts_off_is_longer_than_seen_not_never():
    # Ten come on day 2; ten are seen for 2 days only, and ten for 4, of whom five come on day 4.
    found = curve([2, 2, 4, 4], [True, False, True, False], [10, 10, 5, 5])
    assert found.n == 30 and found.left.tolist() == pytest.approx([1, 1, 2 / 3])
    long = curve([2, 2, 4, 4], [True, False, True, False], [100, 100, 50, 50])
    assert long.left.tolist() == pytest.approx([1, 1, 2 / 3, 2 / 3, 1 / 3])
    assert long.done(2) == pytest.approx(1 / 3) and long.done(4) == pytest.approx(2 / 3) and long.done(5) is None
    assert long.returns(2, 2) == pytest.approx(0.5) and long.returns(2) == pytest.approx(0.5) and long.returns(2, 3) is None
    assert (long.day_of(0.5), long.day_of(0.95)) == (2, 4)
    assert curve([], [], []).day_of(0.5) is None


def test_silences_go_from_one_day_with_events_to_the_next_and_the_last_to_the_end(given):
    dataset = given(visits([0, 0, 10, 20], [60]), declared=DECLARED)
    found = silences(dataset, dataset.tasks[0])
    assert found[EVERYBODY].n == 4 * 30, "two events of a day are one visit"
    # The last whole day is 10 April, day 99 of the year counted from 0: 39 days after day 60, 79 after day 20.
    first = found["one day with events before"]
    assert first.n == 60 and first.done(9) == 0 and first.done(10) == 0.5 and first.done(39) == 0.5
    later = found["2 to 5 days before"]
    assert later.n == 60 and later.done(10) == 0.5 and len(later.left) == 80


def test_a_day_is_one_of_the_customers_calendar(given):
    # 23:30 and 00:30 in Shanghai are two days, though one in UTC.
    rows = [{"customer_id": f"c{j}", "event_at": at} for j in range(30) for at in ("2026-01-05 23:30:00", "2026-01-06 00:30:00")]
    found = silences(given(rows, declared=DECLARED), given(rows, declared=DECLARED).tasks[0])
    assert found[EVERYBODY].n == 60 and found["one day with events before"].done(1) == 1.0


def test_delays_agree_with_the_labels(given):
    rng = np.random.default_rng(3)
    rows = visits(*(sorted(rng.choice(95, rng.integers(1, 9), replace=False).tolist()) for _ in range(60)), copies=1)
    dataset = given(rows, declared=DECLARED)
    task = dataset.tasks[0]
    as_ofs = mature_as_ofs(dataset, task)
    some = followed(dataset, task, as_ofs, 4)
    assert len(some) == 4 and some[0] == as_ofs[0] and some[-1] == as_ofs[-1]
    found = delays(dataset, task, some)
    label = labels(dataset, task, some).to_pyarrow().to_pandas()["label"]
    assert found[EVERYBODY].n == len(label) and found[EVERYBODY].done(10) == pytest.approx(1 - label.mean())
    # Nobody is asked about who never came before.
    assert "no event before" not in found
