"""A slow second opinion: most features of purchases again in plain Python, customer by customer, on random events at several moments at once.

Every aggregate, of whatever events, is computed a second time in test_slow_aggregates.
"""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import isclose, log, sqrt
from zoneinfo import ZoneInfo

import hypothesis
from hypothesis import strategies as st

LOOKBACKS = (14, 42, 84)
ZONE = "Europe/Berlin"  # its clock changes on 2026-03-29, between the two later moments
AS_OFS = (datetime(2026, 2, 1, 23), datetime(2026, 3, 15, 23), datetime(2026, 4, 12, 22))
DECLARED = f'[tasks.churn]\nlookbacks_days = {list(LOOKBACKS)}\n[tasks.tea]\ntarget_category = "tea"\nlookbacks_days = {list(LOOKBACKS)}\n'
CUSTOMERS = ("ann", "bo", "chen", "di")
DAY = 86400

# Times near the edges of windows and weeks, where mistakes live, and anywhere.
EDGES = [timedelta(days=days, seconds=seconds) for days in (0, -7, *(-d for d in LOOKBACKS)) for seconds in (-1, 0, 1)]
TIMES = st.one_of(
    st.builds(lambda as_of, edge: as_of + edge, st.sampled_from(AS_OFS), st.sampled_from(EDGES)),
    st.datetimes(datetime(2025, 9, 1), datetime(2026, 5, 1)).map(lambda at: at.replace(microsecond=0)),
)
EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "customer_id": st.sampled_from(CUSTOMERS),
            "event_at": TIMES,
            "late_days": st.sampled_from([0, 0, 0, 20]),
            "kind": st.sampled_from(["purchase"] * 6 + ["return", "coupon_redemption", "visit"]),
            "initiator": st.sampled_from(["customer"] * 9 + ["marketer"]),
            "session_id": st.sampled_from([None, None, "s1", "s2"]),
            "category": st.sampled_from([None, "milk", "tea", "rice"]),
            "brand": st.sampled_from([None, "a", "b"]),
            "minor": st.one_of(st.none(), st.integers(0, 10**7)),
            "discount_minor": st.one_of(st.none(), st.integers(0, 500)),
            "is_promoted": st.sampled_from([None, True, False]),
        }
    ),
    min_size=30,
    max_size=120,
)
# One event that fills every column, so that the whole catalogue is there, of somebody who is not compared.
FILLER = [
    {
        "customer_id": "filler",
        "event_at": datetime(2026, 1, 1),
        "late_days": 0,
        "kind": kind,
        "initiator": who,
        "session_id": None,
        "category": "milk",
        "brand": "a",
        "minor": 1,
        "discount_minor": 1,
        "is_promoted": True,
    }
    for kind, who in [("purchase", "customer"), ("return", "customer"), ("coupon_redemption", "customer"), ("campaign_received", "marketer"), ("visit", "customer")]
]


def over(numerator, denominator):
    return numerator / denominator if denominator else None


def baskets_of(lines):
    """Purchases by session -> dicts, oldest first, each with the seconds since the one before."""
    sessions = {}
    for i, line in enumerate(lines):
        sessions.setdefault(line["session_id"] or f"line {i}", []).append(line)
    baskets = []
    for ours in sessions.values():
        first = min(line["event_at"] for line in ours)
        local = first.replace(tzinfo=UTC).astimezone(ZoneInfo(ZONE))
        paid = [line["minor"] for line in ours if line["minor"] is not None]
        baskets.append(
            {
                "at": first,
                "local": local,
                "n": len(ours),
                "paid": paid,
                "off": sum(line["discount_minor"] or 0 for line in ours),
                "promoted": sum(bool(line["is_promoted"]) for line in ours),
                "gap": None,
            }
        )
    baskets.sort(key=lambda basket: basket["at"])
    for before, basket in pairwise(baskets):
        basket["gap"] = (basket["at"] - before["at"]).total_seconds()
    return baskets


def expected(events, as_of):
    """The features of one customer at one moment."""
    own = [e for e in events if e["event_at"] < as_of and e["event_at"] + timedelta(days=e["late_days"]) < as_of and e["initiator"] == "customer"]
    lines = [e for e in own if e["kind"] == "purchase"]
    baskets, longest = baskets_of(lines), LOOKBACKS[-1]

    def within(rows, d, key=lambda row: row["event_at"]):
        return [row for row in rows if key(row) >= as_of - timedelta(days=d)]

    def value(rows):
        return sum(row["minor"] or 0 for row in rows)

    def recent(d):
        return within(baskets, d, lambda basket: basket["at"])

    def paid(d):
        return sum(sum(basket["paid"]) for basket in recent(d))

    ages = [(as_of - basket["at"]).total_seconds() for basket in baskets]
    redemptions = [e for e in own if e["kind"] == "coupon_redemption"]
    out = {
        "days_since_last_purchase": min(ages) / DAY if ages else None,
        "purchases_count_ever": len(baskets),
        "redemptions_count_ever": len(redemptions),
        "days_since_last_redemption": min(((as_of - e["event_at"]).total_seconds() / DAY for e in redemptions), default=None),
    }
    in_tea = {f"{kind}_in_tea": [e for e in own if (e["kind"], e["category"]) == (kind, "tea")] for kind in ("purchase", "return", "coupon_redemption", "visit")}
    for name, rows in {"visit": [e for e in own if e["kind"] == "visit"], **in_tea}.items():
        out |= {f"{name}_count_{d}d": len(within(rows, d)) for d in LOOKBACKS}
        out[f"{name}_count_ever"] = len(rows)
        out[f"days_since_last_{name}"] = min(((as_of - e["event_at"]).total_seconds() / DAY for e in rows), default=None)
    for d in LOOKBACKS:
        off = sum(basket["off"] for basket in recent(d))
        out |= {
            f"purchases_count_{d}d": len(recent(d)),
            f"spend_sum_{d}d_eur": paid(d) / 100,
            f"basket_value_mean_{d}d_eur": over(paid(d) / 100, len(recent(d))),
            f"active_weeks_count_{d}d": len({((as_of - e["event_at"]).total_seconds() - 1) // (7 * DAY) for e in within(lines, d)}),
            f"discount_share_{d}d": over(off, off + paid(d)),
            f"redemptions_count_{d}d": len(within(redemptions, d)),
            f"categories_nunique_{d}d": len({e["category"] for e in within(lines, d) if e["category"]}),
        }
    ours, gaps = recent(longest), [basket["gap"] for basket in recent(longest) if basket["gap"] is not None]
    mean = over(sum(gaps), len(gaps))
    spread = sqrt(max(0, sum(gap * gap for gap in gaps) / len(gaps) - mean * mean)) if gaps else None
    returns = within([e for e in own if e["kind"] == "return"], longest)
    spends = {}
    for e in within(lines, longest):
        if e["category"]:
            spends[e["category"]] = spends.get(e["category"], 0) + (e["minor"] or 0)
    total = sum(spends.values())
    firsts = {}
    for e in lines:
        if e["category"]:
            firsts[e["category"]] = min(firsts.get(e["category"], e["event_at"]), e["event_at"])
    w = f"{longest}d"
    return out | {
        f"purchase_gap_mean_{w}_days": mean / DAY if gaps else None,
        f"purchase_gap_max_{w}_days": max(gaps) / DAY if gaps else None,
        f"purchase_gap_cv_{w}": over(spread, mean) if gaps else None,
        f"overdue_ratio_{w}": over(min(ages), mean) if gaps else None,
        f"days_until_expected_purchase_{w}": (mean - min(ages)) / DAY if gaps else None,
        f"weekend_share_{w}": over(sum(b["local"].weekday() >= 5 for b in ours), len(ours)),
        f"evening_share_{w}": over(sum(b["local"].hour >= 18 for b in ours), len(ours)),
        f"basket_value_max_{w}_eur": max((sum(b["paid"]) / 100 for b in ours if b["paid"]), default=None),
        f"basket_lines_mean_{w}": over(sum(b["n"] for b in ours), len(ours)),
        f"promoted_share_{w}": over(sum(b["promoted"] for b in ours), sum(b["n"] for b in ours)),
        f"returns_count_{w}": len(returns),
        f"returned_share_{w}": over(value(returns), paid(longest)),
        f"new_categories_count_{LOOKBACKS[0]}d": len([at for at in firsts.values() if at >= as_of - timedelta(days=LOOKBACKS[0])]),
        f"top_category_share_{w}": over(max(spends.values(), default=0), total),
        f"category_entropy_{w}": round(log(total) - sum(round(1e6 * s * log(s)) for s in spends.values() if s) / total / 1e6, 6) if total else None,
        f"brands_nunique_{w}": len({e["brand"] for e in within(lines, longest) if e["brand"]}),
        f"purchases_trend_{w}": over(len(recent(LOOKBACKS[0])), len(ours)),
        f"spend_trend_{w}": over(paid(LOOKBACKS[0]), paid(longest)),
        f"first_purchase_age_{w}_days": max((age / DAY for age in ages if age <= longest * DAY), default=None),
    }


def is_same(name, got, want):
    """Exact for counts, times and sums of money; to 1e-9 for what is divided."""
    is_exact = (
        want is None
        or isinstance(want, int)
        or name.startswith(("spend_sum", "basket_value_max", "days_since", "first_purchase", "purchase_gap_max"))
    )
    return type(got) is type(want) and (got == want if is_exact else isclose(got, want, rel_tol=1e-9, abs_tol=1e-9))


def row_of(event):
    row = {key: value for key, value in event.items() if key not in ("minor", "discount_minor", "late_days")}
    if event["kind"] == "return":
        row["session_id"] = None  # else one before the purchases of its session would go to quarantine
    row |= {"event_at": f"{event['event_at']}Z", "ingested_at": f"{event['event_at'] + timedelta(days=event['late_days'])}Z"}
    return row | {"amount": event["minor"] and event["minor"] / 100, "discount": event["discount_minor"] and event["discount_minor"] / 100}


# The fixtures are the session's, functions without state. A failure is not shrunk: that takes minutes, and the message names customer and feature.
@hypothesis.settings(
    max_examples=10,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=[hypothesis.Phase.generate],
)
@hypothesis.given(events=EVENTS)
def test_f34_features_equal_the_slow_computation(given, values_of, events):
    found = values_of(given([row_of(event) for event in [*events, *FILLER]], zone=ZONE, currency="EUR", declared=DECLARED), *AS_OFS)
    for as_of in AS_OFS:
        for customer in CUSTOMERS:
            mine = [event for event in events if event["customer_id"] == customer]
            is_known = any(e["event_at"] + timedelta(days=e["late_days"]) < as_of for e in mine)
            assert ((customer, as_of) in found) == is_known
            if is_known:
                got, want = found[customer, as_of], expected(mine, as_of)
                wrong = {name: (got[name], value) for name, value in want.items() if not is_same(name, got[name], value)}
                assert not wrong, f"{customer} at {as_of}: (found, expected) {wrong}"
