"""The data profile's figures: given rows, expected numbers; sums that must agree; planted faults that must be found, and sound columns that must not."""

from collections import Counter
from dataclasses import replace
from datetime import date, datetime, timedelta

import ibis
import numpy as np
import pytest
from scipy.stats import chi2_contingency
from sklearn.metrics import roc_auc_score

from features.data_profile.activity import Rate, activity, label_rates, with_jumps
from features.data_profile.counted import counted
from features.data_profile.coverage import Gap, coverage
from features.data_profile.distributions import QUANTILES, distributions, spreads_of
from features.data_profile.leaks import crossed_auc, leaks, undated
from features.data_profile.profile import profile_of
from features.data_profile.supply import supplies
from features.data_profile.suspects import suspects
from features.errors import ContractError
from features.labels import labels, mature_as_ofs
from features.snapshots import features_of

CHURN = "[tasks.churn]\nhorizon_days = 28\nactive_days = 56\nlookbacks_days = [28, 56]\n"


@pytest.fixture(scope="module")
def small(held):
    """Three customers, one of them described, a bad row, an event that was 90 s on its way, and two months of silence."""
    rows = [
        {"customer_id": "ann", "event_at": "2026-01-05 10:00:00", "amount": "2.50", "session_id": "s1", "item_id": "tea", "quantity": 1, "ingested_at": "2026-01-05 10:01:30"},
        {"customer_id": "ann", "event_at": "2026-01-05 10:02:00", "amount": "1.50", "session_id": "s1", "item_id": "cup", "quantity": 2, "ingested_at": "2026-01-05 10:02:00"},
        {"customer_id": "ann", "event_at": "2026-01-07 23:30:00", "amount": "4.00", "session_id": "s2", "item_id": "tea", "quantity": 1, "ingested_at": "2026-01-07 23:30:00"},
        {"customer_id": "bo", "event_at": "2026-01-31 23:59:59", "kind": "visit", "ingested_at": "2026-01-31 23:59:59"},
        {"customer_id": "bo", "event_at": "2026-04-01 00:00:00", "kind": "visit", "ingested_at": "2026-04-01 00:00:00"},
        {"customer_id": "cy", "event_at": "2026-04-30 12:00:00", "kind": "campaign_received", "ingested_at": "2026-04-30 12:00:00"},
        {"customer_id": "", "event_at": "2026-04-30 12:00:00", "kind": "visit", "ingested_at": "2026-04-30 12:00:00"}]
    customers = [{"customer_id": "ann", "city": "Oslo"}, {"customer_id": "dee", "city": ""}]
    return held(rows, customers=customers, declared=CHURN)[0]


@pytest.fixture(scope="module")
def covered(small):
    events = counted(small)
    return coverage(small, events), activity(small, events), distributions(small, events, set())


def test_coverage_counts_rows_columns_days_and_customers(covered):
    found = covered[0]
    told = {column.name: (column.n_filled, column.n_customers, column.n_distinct, column.fullest_kind, column.n_months_without) for column in found.table("events").columns}
    assert told["event_id"] == (6, 3, 6, "", 0)
    assert told["session_id"] == (3, 1, 2, "", 1)
    assert told["amount_minor"] == (3, 1, 3, "", 1)
    assert told["brand"] == (0, 0, 0, "", 2)
    customers = {column.name: (column.n_filled, column.n_customers, column.n_distinct) for column in found.table("customers").columns}
    assert customers["city"] == (1, 1, 1) and customers["customer_id"] == (2, 2, 2)
    assert (found.first, found.last, found.n_days, found.n_silent_days, found.n_silent_months) == (date(2026, 1, 5), date(2026, 4, 30), 116, 111, 2)
    assert found.gaps[:2] == (Gap(date(2026, 2, 1), date(2026, 3, 31)), Gap(date(2026, 4, 2), date(2026, 4, 29))) and found.gaps[0].days == 59
    assert (found.n_events, found.n_late, found.quarantine) == (6, 1, {("events", "NO_CUSTOMER"): 1})
    assert (found.n_customers, found.n_described, found.n_both, found.aliases) == (3, 2, 1, None)


def test_months_are_of_the_customers_calendar_and_count_baskets_by_their_first_line(covered):
    told = [(month.first.month, month.events, month.met, month.customers, month.new, month.purchases, month.buyers, month.spend_minor) for month in covered[1].months]
    assert told == [(1, 4, 2, 2, 2, 2, 1, 800), (2, 0, 0, 0, 0, 0, 0, 0), (3, 0, 0, 0, 0, 0, 0, 0), (4, 2, 2, 1, 1, 0, 0, 0)]
    assert [month.is_partial for month in covered[1].months] == [True, False, False, True]
    assert {kind.kind: (kind.n, kind.n_customers, kind.months) for kind in covered[1].kinds} == {
        "purchase": (3, 1, ((3, 1), (0, 0), (0, 0), (0, 0))), "visit": (2, 1, ((1, 1), (0, 0), (0, 0), (1, 1))), "campaign_received": (1, 1, ((0, 0), (0, 0), (0, 0), (1, 1)))}


def test_hours_and_weekdays_are_those_of_own_events(covered):
    found = covered[2]
    assert {hour: cell for hour, cell in enumerate(found.hours) if cell[0]} == {0: (1, 1), 10: (2, 1), 23: (2, 2)}
    assert found.weekdays == ((2, 1), (0, 0), (2, 2), (0, 0), (0, 0), (1, 1), (0, 0))
    told = {(spread.column, spread.kind): (spread.n, spread.n_customers) for spread in found.spreads}
    assert told["days_between_purchases", ""] == (1, 1) and told["purchases_of_a_customer", ""] == (1, 1) and told["events_of_a_customer", ""] == (2, 2)
    assert told["ingested_at", ""] == (1, 1) and ("value", "visit") not in told
    assert all(quantile is None for spread in found.spreads for quantile in spread.quantiles), "fewer than ten customers have no quantile"


@pytest.mark.parametrize("seed", [1, 2])
def test_sums_over_months_and_kinds_are_the_totals(given, seed):
    draw = np.random.default_rng(seed)
    rows = [
        {"customer_id": f"c{draw.integers(40)}", "event_at": str(datetime(2025, 1, 1) + timedelta(minutes=int(draw.integers(400 * 1440)))),
         "kind": str(draw.choice(["purchase", "visit", "return"])), "session_id": f"s{draw.integers(150)}", "amount": f"{draw.integers(1, 9999) / 100:.2f}"} for _ in range(300)]
    # A basket is one customer's.
    rows = [{**row, "session_id": f"{row['customer_id']}-{row['session_id']}"} for row in rows]
    dataset = given([row for row in rows if row["kind"] != "return"], declared="")
    events = counted(dataset)
    found, table = activity(dataset, events), dataset.tables["events"]
    assert sum(month.events for month in found.months) == sum(kind.n for kind in found.kinds) == table.count().to_pyarrow().as_py()
    assert sum(month.new for month in found.months) == table.customer_id.nunique().to_pyarrow().as_py()
    bought = [row for row in rows if row["kind"] == "purchase"]
    assert sum(month.purchases for month in found.months) == len({row["session_id"] for row in bought})
    assert sum(month.spend_minor for month in found.months) == sum(round(100 * float(row["amount"])) for row in bought)
    for i, month in enumerate(found.months):
        assert month.events == sum(kind.months[i][0] for kind in found.kinds)
        assert month.customers == len({row["customer_id"] for row in rows if row["kind"] != "return" and row["event_at"][:7] == f"{month.first:%Y-%m}"})


def spread(dataset, values, customers=None):
    rows = [{"customer_id": str((customers or range(len(values)))[i]), "kind": "k", "value": float(value)} for i, value in enumerate(values)]
    table = dataset.engine.create_table("values_of", ibis.memtable(rows), overwrite=True)
    return spreads_of(table, "", "x", "")[0]


def test_a_quantile_needs_ten_customers_on_both_sides(small):
    found = spread(small, range(100))
    assert [q for q, at in zip(QUANTILES, found.quantiles, strict=True) if at is not None] == [0.25, 0.5, 0.75]
    assert found.quantiles[QUANTILES.index(0.5)] == 49.5
    # Ten who share the least value may be told of it; of one customer's hundred values nothing may.
    assert spread(small, [3] * 10 + list(range(4, 94))).quantiles[:2] == (3.0, 3.0)
    assert set(spread(small, range(100), ["one"] * 100).quantiles) == {None}


def test_bins_hold_the_middle_and_hide_what_few_have(small):
    assert spread(small, [1] * 50 + [2] * 30 + [4] * 12).bins == (50, 30, 0, 12)
    assert spread(small, [1] * 50 + [2] * 5 + [3] * 40).bins == (50, None, 40)
    assert spread(small, [7.5] * 12).bins == (12,)
    wide = spread(small, np.linspace(0, 1, 1601)).bins
    assert len(wide) == 16 and max(wide) - min(wide) <= 2 and sum(wide) == 1569, "the rows between the 1st and the 99th percentile, in equal steps"


def test_a_jump_is_the_two_proportion_z_against_the_neighbours_together():
    found = with_jumps([Rate(datetime(2026, 1, day), 1000, positives) for day, positives in [(1, 100), (2, 102), (3, 180), (4, 98)]])
    assert [rate.jump_z is not None for rate in found] == [False, False, True, True], "the jump, and the last beside it"
    beside = [[180, 1000 - 180], [102 + 98, 2000 - 200]]
    assert found[2].jump_z == pytest.approx(chi2_contingency(beside, correction=False).statistic ** 0.5)
    # Far in standard errors but near in size; near in standard errors but far in size; and too few to tell.
    assert all(rate.jump_z is None for rate in with_jumps([Rate(datetime(2026, 1, day), 10**6, n) for day, n in [(1, 100_000), (2, 110_000), (3, 100_000)]]))
    assert all(rate.jump_z is None for rate in with_jumps([Rate(datetime(2026, 1, day), 60, n) for day, n in [(1, 12), (2, 24), (3, 12)]]))
    assert with_jumps([Rate(datetime(2026, 1, 1), 5000, 2500), Rate(datetime(2026, 1, 2), 5000, 9)])[1].jump_z is None


@pytest.fixture(scope="module")
def shop(held):
    """Three hundred customers over a year, half of whom leave, with sound and odd attributes; goods whose amounts are sometimes in cents."""
    draw = np.random.default_rng(7)
    events, customers = [], []
    for i in range(300):
        stays = bool(draw.random() < 0.5)
        day, last = float(draw.uniform(0, 60)), 365.0 if stays else float(draw.uniform(80, 330))
        ends_as = "active" if stays else "gone away"
        customers.append({
            "customer_id": f"c{i}", "valid_from": "2025-01-01" if i % 2 else "2025-03-01", "city": f"city {i % 7}", "income": f"{draw.lognormal(10, 0.4):.2f}",
            "year_of_birth": 1950 + i % 50,
            "status": ends_as, "churned": str(draw.integers(2)), "member_no": 70_000 + i, "code": f"M{i:05d}",
            "contact": f"c{i}@example.org" if i % 9 == 0 else "none", "mobile_phone": f"+47 {draw.integers(10**7, 10**8)}",
            "remark": " ".join(draw.choice(["wants", "late", "delivery", "asked", "twice"], 9)),
            "joined": f"2024-{1 + i % 12:02d}-{1 + i % 28:02d}", "always": "yes", "rare": "x" if i < 3 else "", "never": "",
            "is_email": "yes" if i % 2 else "no", "half": "a" if i % 2 else "",
            "month": i % 12, "n": i % 3})
        while day < last:
            at = datetime(2025, 1, 1, 8) + timedelta(days=day)
            amount = (1 + i % 20) * float(draw.uniform(0.9, 1.1)) * (100 if draw.random() < 0.06 else 1)
            events.append({
                "customer_id": f"c{i}", "event_at": str(at)[:19], "amount": f"{amount:.2f}", "item_id": f"i{i % 20}", "brand": "b" if at < datetime(2025, 6, 1) else "",
                "n": i, "filled_0": "x"})
            day += float(draw.exponential(9))
        # Written when the year was over.
        customers[-1]["last_seen"] = events[-1]["event_at"]
    return held(events, customers=customers)[0]


def test_odd_columns_are_found_and_sound_ones_are_not(shop):
    events = counted(shop)
    found = {(one.table, one.column, one.code): one.figures for one in suspects(shop, events, coverage(shop, events))}
    customers = {
        "PERSONAL_DATA": ["contact", "mobile_phone"], "FREE_TEXT": ["remark"], "DATE_LIKE": ["last_seen", "joined"], "ID_LIKE": ["code", "member_no"],
        "CONSTANT": ["always", "half"], "ALMOST_EMPTY": ["rare"], "EMPTY": ["never"], "COVERAGE_JUMP": ["half"]}
    events_columns = {"CONSTANT": ["brand", "filled_0"], "COVERAGE_JUMP": ["brand"], "MIXED_UNITS": ["amount"]}
    assert set(found) == {
        (table, column, code) for table, codes in (("customers", customers), ("events", events_columns)) for code, columns in codes.items() for column in columns}
    assert found["customers", "contact", "PERSONAL_DATA"]["what"] == "email" and found["customers", "mobile_phone", "PERSONAL_DATA"]["what"] == "phone"
    assert found["events", "brand", "COVERAGE_JUMP"] == {"before": 1.0, "after": 0.0, "month": "2025-06", "kind": "purchase"}
    assert found["customers", "half", "COVERAGE_JUMP"] == {"before": 1.0, "after": 0.0, "month": "2025-03", "kind": ""}
    assert found["events", "amount", "MIXED_UNITS"]["share"] == pytest.approx(0.06, abs=0.015)


def test_a_wide_spread_of_amounts_is_no_mix_of_units(given):
    draw = np.random.default_rng(3)
    rows = [{"customer_id": f"c{i % 50}", "event_at": "2026-01-01 10:00:00", "amount": f"{amount:.2f}"} for i, amount in enumerate(draw.lognormal(3, 1.6, 3000))]
    dataset = given(rows, declared="")
    events = counted(dataset)
    assert suspects(dataset, events, coverage(dataset, events)) == []


def test_an_attribute_that_knows_the_label_is_said_and_one_that_does_not_is_not(shop):
    told = [label_rates(shop, task) for task in shop.tasks]
    found = {(one.column, one.code): one.figures for one in leaks(shop, told)}
    assert set(found) == {("last_seen", "LEAK"), ("churned", "NAMES_THE_LABEL")}
    assert found["last_seen", "LEAK"]["auc"] > 0.95
    assert undated(shop) == []


def test_label_rates_are_the_labels(shop):
    task = shop.tasks[0]
    rates = label_rates(shop, task).rates
    as_ofs = mature_as_ofs(shop, task)
    whole = labels(shop, task, as_ofs).to_pyarrow().to_pylist()
    assert [rate.as_of for rate in rates] == as_ofs
    assert {rate.as_of: rate.n for rate in rates} == Counter(row["as_of"] for row in whole)
    assert [rate.positives for rate in rates] == [sum(row["label"] for row in whole if row["as_of"] == as_of) for as_of in as_ofs]
    daily = replace(task, windows=replace(task.windows, slide_days=1))
    many = label_rates(shop, daily).rates
    assert 30 <= len(many) <= 60 and many[-1].as_of == mature_as_ofs(shop, daily)[-1], "of very many moments evenly spaced ones, to the last"


def test_the_area_is_that_of_scikit_learn():
    draw = np.random.default_rng(5)
    half, value, label = draw.integers(0, 2, 4000), draw.integers(0, 6, 4000), np.zeros(4000, int)
    label[:] = draw.random(4000) < 0.1 + 0.12 * value
    cells = [(h, str(v), int(((half == h) & (value == v)).sum()), int(label[(half == h) & (value == v)].sum())) for h in (0, 1) for v in range(6)]
    rates = {(h, v): (p + 10 * label.mean()) / (n + 10) for h, v, n, p in cells}
    assert crossed_auc(cells) == pytest.approx(roc_auc_score(label, [rates[1 - h, str(v)] for h, v in zip(half, value, strict=True)]))
    assert crossed_auc([(0, "a", 9, 0), (1, "b", 4, 0)]) == 0.5


def test_families_say_what_they_have_and_lack(small):
    found = supplies(small)
    present, absent = features_of(small)
    families = {family.family: family for family in found.families}
    assert sum(family.present for family in families.values()) == len(present)
    assert sum(sum(family.absent.values()) for family in families.values()) == len(absent)
    assert Counter(lack for lack in absent.values()) == sum((Counter(family.absent) for family in families.values()), Counter())
    # Known by the midnight before the last event: ann and bo by their events, dee by an undated row.
    assert (found.as_of, found.n_known) == (datetime(2026, 4, 29, 16), 3)
    assert {name: family.n_customers for name, family in families.items()} == {
        "profile": 1, "behaviour": 2, "consumption": 1, "interest": 1, "lifecycle": 2, "touchpoints": 2}


def test_links_between_aliases_are_counted_where_there_are_any(small):
    links = [{"alias": f"a{i}", "alias_kind": "cookie" if i else "card", "customer_id": who} for i, who in enumerate(["ann", "ann", "bo", "zoe"])]
    with_links = replace(small, tables={**small.tables, "aliases": small.engine.create_table("aliases", ibis.memtable(links))})
    found = coverage(with_links, counted(with_links)).aliases
    assert (found.n_links, found.kinds, found.n_linked) == (4, {"card": (1, 1), "cookie": (3, 3)}, 2)


@pytest.mark.parametrize("kind", ["purchase", "visit"])
def test_one_event_and_no_table_of_customers_have_a_profile(given, kind):
    found = profile_of(given([{"customer_id": "a", "event_at": "2026-01-01 10:00:00", "kind": kind}]))
    assert (found.coverage.n_events, found.suspects, found.activity.tasks[0].refused) == (1, (), "TOO_LITTLE_HISTORY")
    assert [(month.events, month.purchases) for month in found.activity.months] == [(1, int(kind == "purchase"))]


def test_no_event_that_keeps_the_contract_has_none(small):
    with pytest.raises(ContractError, match="NO_EVENTS"):
        profile_of(replace(small, tables={**small.tables, "events": small.tables["events"].limit(0)}))
