"""A slow second opinion on every aggregate of the catalogue: streams and statistics again, row by row in plain Python, on random events at several moments."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import isclose, log
from statistics import median
from zoneinfo import ZoneInfo

import pytest
import whole

from features.catalogue import CATALOGUE, expand
from features.feature import Feature
from features.snapshots import snapshots
from features.streams import LATER, ROLES, STAGES

ZONE, DAY = "Europe/Berlin", 86400  # its clock changes on 2026-03-29, between the two later moments
AS_OFS = (datetime(2026, 2, 1, 23), datetime(2026, 3, 15, 23), datetime(2026, 4, 12, 22))
DECLARED = "[tasks.churn]\nlookbacks_days = [14, 42, 84]\n"
CUSTOMERS = ("ann", "bo", "chen")
TEXTS = ("channel", "kind", "category", "brand", "item_id")
CAMPAIGNS = [{"campaign_id": "c1", "start_at": "2026-01-01", "end_at": "2026-03-20"}, {"campaign_id": "c2", "start_at": "2026-01-01", "end_at": "2026-06-20"}, *whole.CAMPAIGNS]
AGGREGATES = list(dict.fromkeys(aggregate for feature in expand(CATALOGUE, (14, 42, 84), "EUR") for aggregate in feature.aggregates() if aggregate.stream))


def random_events(seed):
    draw = random.Random(seed)
    kinds = [*whole.KINDS, "campaign_received", "campaign_received", *["purchase"] * 8, *["product_view"] * 4]
    edges = [as_of - timedelta(days=days, seconds=second) for as_of in AS_OFS for days in (0, 14, 42, 84) for second in (-1, 0, 1)]
    events = []
    for i in range(150):
        kind = draw.choice(kinds)
        at = draw.choice(edges) if i % 5 == 0 else datetime(2024, 12, 1) + timedelta(seconds=draw.choice([draw.randrange(500, 500 * DAY), draw.randrange(370 * DAY, 500 * DAY)]))
        if i % 7 == 1:  # soon after another, as in a session
            at = events[-1]["event_at"] + timedelta(seconds=draw.randrange(3 * DAY))
        events.append({
            "event_id": f"e{i}", "customer_id": draw.choice(CUSTOMERS), "event_at": at, "ingested_at": at + timedelta(days=draw.choice([0, 0, 0, 20])), "kind": kind,
            "initiator": "marketer" if kind == "campaign_received" else "customer", "session_id": None if kind == "return" else draw.choice([None, f"s{i // 6}"]),
            "channel": draw.choice(["web", "app", None]), "item_id": draw.choice(["i1", "i2", "i3", None]), "category": draw.choice(["milk", "tea", None]),
            "brand": draw.choice(["a", "b", None]), "quantity": draw.choice([None, 0, 1, 3]), "minor": draw.choice([None, draw.randrange(10**6)]),
            "off": draw.choice([None, 0, draw.randrange(500)]), "is_promoted": draw.choice([None, True, False]), "value": draw.choice([None, draw.randrange(11)]),
            "campaign_id": draw.choice(["c1", "c2"]) if kind == "campaign_received" else None})
    return events


def row_of(event):
    row = {key: value for key, value in event.items() if key not in ("minor", "off")}
    row |= {key: f"{event[key]}Z" for key in ("event_at", "ingested_at")}
    return row | {"amount": event["minor"] and event["minor"] / 100, "discount": event["off"] and event["off"] / 100}


def added(values):
    """The sum of what is told, None where nothing is."""
    told = [value for value in values if value is not None]
    return sum(told) if told else None


def sessions(events):
    """Events by session, each without one by itself; in the order of their first."""
    found = {}
    for i, event in enumerate(events):
        found.setdefault(event["session_id"] or i, []).append(event)
    return list(found.values())


def clock(event):
    local = event["event_at"].replace(tzinfo=UTC).astimezone(ZoneInfo(ZONE))
    return {"hour": local.hour, "weekday": local.weekday(), "day": local.date(), "month": local.month, "is_weekend": int(local.weekday() >= 5),
            "is_morning": int(local.hour < 12), "is_evening": int(local.hour >= 18)}


def with_pauses(rows):
    """Each row with the seconds since the one before, and whether it came by another channel."""
    for row in rows:
        row |= {"gap": None, "gap_squared": None, "is_switch": None, "is_comeback": None}
    gaps = []
    for before, row in pairwise(rows):
        gap = int((row["at"] - before["at"]).total_seconds())
        usual = max(sum(gaps) / len(gaps), 7 * DAY) if gaps else 28 * DAY
        row |= {"gap": gap, "gap_squared": gap * gap, "is_comeback": int(gap > 4 * usual)}
        gaps.append(gap)
        if row["channel"] and before["channel"]:
            row["is_switch"] = int(row["channel"] != before["channel"])
    return rows


def purchases(events):
    baskets = []
    for lines in sessions([event for event in events if event["initiator"] == "customer" and event["kind"] == "purchase"]):
        minor = added(line["minor"] for line in lines)
        off = added(line["off"] for line in lines)
        baskets.append({
            "at": lines[0]["event_at"], "channel": lines[0]["channel"], "amount_minor": minor, "amount_squared": minor and minor**2, "discount_minor": off,
            "is_discounted": int(bool(off)), "n_lines": len(lines), "is_single": int(len(lines) == 1), "n_units": added(line["quantity"] for line in lines),
            "n_promoted": added(line["is_promoted"] for line in lines), **clock(lines[0])})
    return with_pauses(baskets)


def goods(events):
    rows, met, bought = [], set(), {}
    for i, event in enumerate(events):
        if event["initiator"] != "customer" or event["kind"] != "purchase":
            continue
        basket, at, item = event["session_id"] or i, event["event_at"], event["item_id"]

        def is_new(*what):
            is_it = None if None in what else int(what not in met)
            met.add(what)
            return is_it

        since = int((at - bought[item]).total_seconds()) if item in bought else None
        rows.append({
            **{name: event[name] for name in ("category", "brand", "item_id", "quantity")}, "at": at, "amount_minor": event["minor"],
            "unit_minor": event["minor"] // event["quantity"] if event["minor"] is not None and event["quantity"] else None,
            "is_new_category": is_new("category", event["category"]), "is_new_brand": is_new("brand", event["brand"]), "is_new_item": is_new("item", item),
            "item_gap": since if since is not None and since >= DAY else None, "is_new_in_basket": is_new("in", basket, event["category"]) or 0,
            "is_basket": int(event["category"] is not None and is_new("basket", basket))})
        if item:
            bought[item] = at
    return rows


def acts(events):
    return [
        {"at": event["event_at"], "role": role, "amount_minor": event["minor"], "value": event["value"] and event["value"] * 10**6,
         **{name: event[name] for name in ("channel", "category", "item_id")}, **clock(event)}
        for event in events if event["initiator"] == "customer" for role, kinds in ROLES.items() if event["kind"] in kinds]


def visits(events):
    rows = []
    for steps in sessions([event for event in events if event["initiator"] == "customer" and event["kind"] not in LATER]):
        stages = [STAGES.get(step["kind"], 0) for step in steps]
        stage, times = max(stages), [step["event_at"] for step in steps]
        if stage:
            rows.append({
                "at": times[0], "channel": steps[0]["channel"], "kind": steps[0]["kind"], "n_events": len(steps), "seconds": int((times[-1] - times[0]).total_seconds()),
                "stage": stage, "is_carted": int(stage >= 3), "is_abandoned": int(stage in (3, 4)), "is_bounce": int(len(steps) == 1 and stage < 5), "is_bought": int(stage == 5),
                "is_deep": int(stages[0] in (2, 3, 4)), "n_looks": stages.count(2), "n_searches": sum(step["kind"] == "search" for step in steps),
                "n_back": sum(0 < later < earlier for earlier, later in pairwise(stages)), **clock(steps[0])})
    return with_pauses(rows)


def journeys(events):
    rows, path, baskets = [], [], set()
    for event in events:
        stage = STAGES.get(event["kind"], 0)
        if event["initiator"] != "customer" or not stage or (event["kind"] == "purchase" and event["session_id"] in baskets):
            continue
        if path and event["event_at"] - path[-1]["event_at"] > timedelta(days=30):
            path = []
        looked = [step["item_id"] for step in [*path, event] if STAGES[step["kind"]] == 2]
        again = sum(item in looked[:i] for i, item in enumerate(looked) if item)
        begun = (path or [event])[0]["event_at"]
        row = {"at": event["event_at"], "begun": int((begun - datetime(1970, 1, 1)).total_seconds()), "n_steps": None, "n_looks": None, "n_relooks": None, "seconds": None}
        if event["kind"] == "purchase":
            row |= {"n_open": 0, "n_relooks_open": 0}
            if path:
                row |= {"n_steps": len(path), "n_looks": len(looked), "n_relooks": again, "seconds": int((event["event_at"] - begun).total_seconds())}
            baskets |= {event["session_id"]} - {None}
            path = []
        else:
            path = [*path, event]
            row |= {"n_open": len(path), "n_relooks_open": again}
        rows.append(row)
    return rows


def treatments(events):
    ends = {"c1": datetime(2026, 3, 19, 23), "c2": datetime(2026, 6, 19, 22)}
    return [
        {"at": event["event_at"], "kind": event["kind"], "channel": event["channel"], "campaign_end": int((ends[event["campaign_id"]] - datetime(1970, 1, 1)).total_seconds())}
        for event in events if event["initiator"] == "marketer"]


def answers(events):
    rows, sent, unanswered, baskets = [], None, 0, set()
    for event in events:
        since = int((event["event_at"] - sent).total_seconds()) if sent else None
        row = {"at": event["event_at"], "open_seconds": None, "is_soon": None}
        if event["initiator"] == "marketer":
            sent, unanswered = event["event_at"], unanswered + 1
        elif event["kind"] in ROLES["open"]:
            unanswered, row["open_seconds"] = 0, since
        elif event["kind"] == "purchase" and event["session_id"] not in baskets:
            row["is_soon"] = int(since is not None and since <= 7 * DAY)
            baskets |= {event["session_id"]} - {None}
        else:
            continue
        rows.append({**row, "n_unanswered": unanswered})
    return rows


STREAMS = {
    "purchases": purchases, "goods": goods, "acts": acts, "visits": visits, "journeys": journeys, "treatments": treatments, "answers": answers,
    "events": lambda events: [{"at": event["event_at"], "kind": event["kind"]} for event in events if event["initiator"] == "customer"]}


def aggregated(rows, asked, as_of):
    """One aggregate of a customer's rows."""
    days = int(asked.window)
    rows = [row for row in rows if not days or row["at"] >= as_of - timedelta(days=days)]
    rows = [row for row in rows if all(str(row[column]) == value for column, value in asked.where)]
    ages = [int((as_of - row["at"]).total_seconds()) for row in rows]
    name = asked.statistic
    if asked.column == "age":
        return float((min if name == "min" else max)(ages)) if ages else None
    if name == "weeks":
        return len({(age - 1) // (7 * DAY) for age in ages})
    told = [(row, 2 ** (-age / 30 / DAY)) for row, age in zip(rows, ages, strict=True) if not any(row[column] is None for column in (asked.column, asked.by) if column)]
    values = [row[asked.column] if asked.column else 1 for row, _ in told]
    if name == "after":
        return sum(value > (as_of - datetime(1970, 1, 1)).total_seconds() for value in values)
    if name == "shorter":
        return sum(value < min(ages) for value in values)
    if name in ("count", "sum", "total", "decayed"):
        weights = [weight for _, weight in told] if name == "decayed" else [1] * len(told)
        return len(told) if name == "count" else sum(value * weight for value, weight in zip(values, weights, strict=True))
    if name == "distinct":
        return len({row[asked.by] for row, _ in told})
    if name == "entropy" or "largest" in name or "favourite" in name:
        totals, latest = Counter(), {}
        for place, ((row, weight), value) in enumerate(zip(told, values, strict=True)):
            totals[row[asked.by]] += value * (weight if "decayed" in name else 1)
            latest[row[asked.by]] = place
        if name == "entropy":
            whole_of_it = sum(totals.values())
            return round(abs(-sum(n / whole_of_it * log(n / whole_of_it) for n in totals.values() if n)), 6) if whole_of_it else None
        if "largest" in name:
            return max(totals.values(), default=0)
        return max(totals, key=lambda value: (totals[value], latest[value])) if totals else None
    if not values:
        return None
    return {"min": min, "max": max, "median": median, "first": lambda v: v[0], "oldest": lambda v: v[0], "last": lambda v: v[-1], "newest": lambda v: v[-1]}[name](values)


def is_same(got, want, name):
    if want is None or got is None or isinstance(want, str):
        return got == want
    return isclose(got, want, rel_tol=1e-9, abs_tol=1e-9) if name in ("decayed", "decayed_largest", "entropy") else got == want


def told_by(i, aggregate):
    """A feature that is nothing but the aggregate; a text is told as such."""
    column = aggregate.by or aggregate.column
    texts = column if column in TEXTS and aggregate.statistic in ("favourite", "decayed_favourite", "newest", "oldest") else ""
    return Feature(f"f{i}", "behaviour", aggregate, "events", "x", "x", texts=texts)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_aggregate_equals_the_slow_computation(given, seed):
    events = random_events(seed)
    dataset = given([row_of(event) for event in events], campaigns=CAMPAIGNS, zone=ZONE, currency="EUR", declared=DECLARED)
    features = [told_by(i, aggregate) for i, aggregate in enumerate(AGGREGATES)]
    rows = {(row["customer_id"], row["as_of"]): row for row in snapshots(dataset, AS_OFS, features).to_pyarrow().to_pylist()}
    compared = Counter()
    for customer, as_of in rows:
        seen = [e for e in events if e["customer_id"] == customer and e["event_at"] < as_of and e["ingested_at"] < as_of]
        seen.sort(key=lambda event: (event["event_at"], event["event_id"]))
        streams = {name: make(seen) for name, make in STREAMS.items()}
        for i, asked in enumerate(AGGREGATES):
            got, want = rows[customer, as_of][f"f{i}"], aggregated(streams[asked.stream], asked, as_of)
            if asked.by in ("hour", "weekday", "month", "stage") and asked.statistic == "favourite" and want is None:
                want = -(2**63)
            assert is_same(got, want, asked.statistic), f"{customer} at {as_of}: {asked} is {got}, expected {want}"
            compared[asked.statistic] += bool(want)
    assert len(rows) >= 8 and all(compared.values()), "each statistic had something to tell"
