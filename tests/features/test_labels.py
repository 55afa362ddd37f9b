"""Who is asked about, and what they then did: truth tables. Each case is one customer of one dataset."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from features.errors import ContractError
from features.labels import eligible, labels
from features.tasks import Eligibility, Task, WindowSpec

AS_OF = datetime(2026, 3, 31, 16)  # 2026-04-01 in Shanghai; 56 days before is 02-04, 28 days after 04-29
CHURN = Task("churn", "churn", Eligibility(active_days=56), WindowSpec(horizon_days=28))
CONVERSION = Task(
    "conversion",
    "conversion",
    Eligibility(active_days=56, received_kind="campaign_received"),
    WindowSpec(horizon_days=28),
    target_kind="coupon_redemption",
)


def event(at, kind="purchase", initiator="customer", arrived=None):
    return {"event_at": f"2026-{at}", "ingested_at": f"2026-{arrived or at}", "kind": kind, "initiator": initiator}


BUY, SENT = event("03-20 10:00:00"), event("02-20 10:00:00", "campaign_received", "marketer")


def redeem(at, initiator="customer"):
    return event(at, "coupon_redemption", initiator)


# Customer: (events, churn, churn after a gap of 7 days). No label means that the customer is not asked about.
CHURN_CASES = {
    "silent after the cut-off": ([BUY], 1, 1),
    "back at as_of": ([BUY, event("04-01 00:00:00")], 0, 1),
    "back before the gap ends": ([BUY, event("04-07 23:59:59")], 0, 1),
    "back when the gap ends": ([BUY, event("04-08 00:00:00")], 0, 0),
    "back in the last second": ([BUY, event("04-28 23:59:59")], 0, 0),
    "back when the horizon ends": ([BUY, event("04-29 00:00:00")], 1, 0),
    "back in the last second after the gap": ([BUY, event("05-05 23:59:59")], 1, 0),
    "back when gap and horizon end": ([BUY, event("05-06 00:00:00")], 1, 1),
    "many times back": ([BUY, event("04-10 10:00:00"), event("04-11 10:00:00"), BUY], 0, 0),
    "sent things by a marketer": ([BUY, event("04-10 10:00:00", "purchase", "marketer")], 1, 1),
    "only looking": ([BUY, event("04-10 10:00:00", "visit")], 1, 1),
    "back, known late": ([BUY, event("04-10 10:00:00", arrived="05-20 10:00:00")], 0, 0),
    "active exactly 56 days before": ([event("02-04 00:00:00")], 1, 1),
    "active a second too early": ([event("02-03 23:59:59"), event("04-10 10:00:00")], None, None),
    "new at as_of": ([event("04-01 00:00:00")], None, None),
    "active by a marketer": ([event("03-20 10:00:00", "purchase", "marketer")], None, None),
    "active by looking": ([event("03-20 10:00:00", "visit")], None, None),
    "active, known late": ([event("03-20 10:00:00", arrived="04-02 10:00:00")], None, None),
}
# Customer: (events, conversion, conversion where who converted before is not asked again).
CONVERSION_CASES = {
    "redeems": ([BUY, SENT, redeem("04-10 10:00:00")], 1, 1),
    "redeems at as_of": ([BUY, SENT, redeem("04-01 00:00:00")], 1, 1),
    "redeems when the horizon ends": ([BUY, SENT, redeem("04-29 00:00:00")], 0, 0),
    "does not redeem": ([BUY, SENT], 0, 0),
    "only buys": ([BUY, SENT, event("04-10 10:00:00")], 0, 0),
    "redeemed by a marketer": ([BUY, SENT, redeem("04-10 10:00:00", "marketer")], 0, 0),
    "redeemed before": ([BUY, SENT, redeem("03-10 10:00:00")], 0, None),
    "redeemed before and again": ([BUY, SENT, redeem("03-10 10:00:00"), redeem("04-10 10:00:00")], 1, None),
    "redeemed before by a marketer": ([BUY, SENT, redeem("03-10 10:00:00", "marketer")], 0, 0),
    "met no campaign": ([BUY, redeem("04-10 10:00:00")], None, None),
    "met the campaign at as_of": ([BUY, event("04-01 00:00:00", "campaign_received", "marketer"), redeem("04-10 10:00:00")], None, None),
    "met a campaign long ago": ([BUY, event("01-01 00:00:00", "campaign_received", "marketer")], 0, 0),
    "not active": ([SENT, redeem("04-10 10:00:00")], None, None),
}


@pytest.fixture(scope="module")
def dataset(given):
    cases = {**CHURN_CASES, **CONVERSION_CASES}
    rows = [{"customer_id": customer, **one} for customer, (events, *_) in cases.items() for one in {str(e): e for e in events}.values()]
    return replace(given(rows), observed_until=datetime(2026, 6, 1))


@pytest.fixture(scope="module")
def label_of(dataset):
    """A function: task -> {customer: label}; each task is asked once."""
    known = {}

    def asked(task):
        if task not in known:
            rows = labels(dataset, task, [AS_OF]).to_pyarrow().to_pylist()
            known[task] = {row["customer_id"]: row["label"] for row in rows}
            assert len(rows) == len(known[task]) and [row["customer_id"] for row in rows] == sorted(known[task])
        return known[task]

    return asked


@pytest.mark.parametrize("customer", CHURN_CASES)
def test_churn(label_of, customer):
    after_gap = replace(CHURN, windows=WindowSpec(horizon_days=28, gap_days=7))
    assert (label_of(CHURN).get(customer), label_of(after_gap).get(customer)) == CHURN_CASES[customer][1:]


@pytest.mark.parametrize("customer", CONVERSION_CASES)
def test_conversion(label_of, customer):
    once = replace(CONVERSION, windows=WindowSpec(horizon_days=28, stop_on_first_conversion=True))
    assert (label_of(CONVERSION).get(customer), label_of(once).get(customer)) == CONVERSION_CASES[customer][1:]


@pytest.mark.parametrize("task", [CHURN, CONVERSION], ids=lambda task: task.name)
def test_exactly_the_eligible_have_a_label(dataset, label_of, task):
    asked = [row["customer_id"] for row in eligible(dataset, task, [AS_OF]).to_pyarrow().to_pylist()]
    assert sorted(asked) == sorted(label_of(task)) and set(label_of(task).values()) == {0, 1}


def test_activity_may_be_another_kind(label_of):
    lookers = replace(CHURN, eligibility=Eligibility(active_days=56, active_kind="visit"))
    assert label_of(lookers) == {"active by looking": 1}


@pytest.mark.parametrize(
    ("windows", "days"),
    [
        (WindowSpec(horizon_days=28), 28),
        (WindowSpec(horizon_days=28, gap_days=7), 35),
        (WindowSpec(horizon_days=28, gap_days=7, ingestion_lag_days=2), 37),
    ],
)
def test_a_label_is_mature_when_gap_horizon_and_lag_have_passed(dataset, windows, days):
    task, until = replace(CHURN, windows=windows), AS_OF + timedelta(days=days)
    assert labels(replace(dataset, observed_until=until), task, [AS_OF]).count().to_pyarrow().as_py() > 0
    with pytest.raises(
        ContractError, match=f"IMMATURE_LABEL: churn needs {days} days after as_of, found data until .* for as_of {AS_OF}; choose an earlier as_of"
    ):
        labels(replace(dataset, observed_until=until - timedelta(seconds=1)), task, [AS_OF - timedelta(days=1), AS_OF])
