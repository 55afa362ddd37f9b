"""Every promise of the tables, broken on purpose: found with its code, count and level, and never more than that."""

from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.contracts import COLUMNS, RULES, hold, schema
from features.dataset import Dataset
from features.errors import ContractError
from features.sources import open_dataset

DECLARED = 'observed_until = "2026-04-01T00:00:00"\nbot_events_per_hour = 3\ntesters = ["test-"]\n'


def event(number, **more):
    return {
        "event_id": number,
        "customer_id": "ann",
        "event_at": "2026-03-01 10:00:00",
        "ingested_at": "2026-03-01 10:00:00",
        "kind": "purchase",
        "initiator": "customer",
        "item_id": "tea",
        "quantity": 1,
        "amount": 5,
        "campaign_id": "c1",
        **more,
    }


# Nothing is wrong with these, though each comes close to breaking a promise.
GOOD = {
    "events": [
        event("g1"),
        event("g2", amount=0),
        event("g3", quantity=0),
        event("g4", kind="visit", amount=0, quantity=0),
        event("g5", item_id=None, campaign_id=None),
        event("g6", amount=None, quantity=None),
        event("g7", initiator="marketer"),
        event("g8", ingested_at="2026-03-01 10:00:01"),
        event("g9", event_at="2026-04-01 00:05:00", ingested_at="2026-04-01 00:05:00"),
        *(event(f"h{i}", customer_id="bo", kind="visit") for i in range(3)),
        *(event(f"i{i}", customer_id="bo", kind="visit", event_at="2026-03-01 11:00:00", ingested_at="2026-03-01 11:00:00") for i in range(3)),
        *(event(f"j{i}", customer_id="bo", kind="visit", initiator="marketer") for i in range(4)),
        event("k1", customer_id="a test-driver", session_id="s1"),
        event("k2", customer_id="a test-driver", session_id="s1", kind="return"),
        event("k3", session_id="s2", kind="refund", event_at="2026-03-02", ingested_at="2026-03-02"),
        event("k4", ingested_at="2026-03-01 09:55:00", discount=0),
    ],
    "customers": [
        {"customer_id": "ann", "valid_from": "2026-01-01", "city": "Lhasa"},
        {"customer_id": "ann", "valid_from": "2026-02-01", "city": "Lhasa"},
    ],
    "aliases": [{"alias": "d1", "alias_kind": "device", "customer_id": "ann", "customer_kind": "customer", "linked_at": "2026-02-01", "unlinked_at": None, "confidence": 1}],
    "items": [{"item_id": "tea", "category": "drinks", "brand": None}],
    "campaigns": [{"campaign_id": "c1", "kind": "mail", "start_at": "2026-01-01", "end_at": "2026-01-01"}],
}
QUARANTINED = {  # code: the rows that break it, which are moved
    "NO_CUSTOMER": [event("b1", customer_id=None), event("b2", customer_id=None)],
    "NO_EVENT_ID": [event(None)],
    "NO_TIME": [event("b1", event_at=None)],
    "NO_KIND": [event("b1", kind=None)],
    "IN_THE_FUTURE": [
        event("b1", event_at="2026-04-01 00:05:01", ingested_at="2026-04-01 00:05:01"),
        event("b2", event_at="2036-04-01", ingested_at="2036-04-01"),
    ],
    "UNKNOWN_INITIATOR": [event("b1", initiator="robot")],
    "NEGATIVE_AMOUNT": [event("b1", amount="-0.01"), event("b2", amount="-5", kind="return")],
    "NEGATIVE_QUANTITY": [event("b1", quantity=-1)],
    "EMPTY_LINE": [event("b1", quantity=0, amount=0)],
    "INGESTED_BEFORE": [event("b1", ingested_at="2026-03-01 09:54:59")],
    "BOT": [event(f"b{i}", customer_id="crawler", kind="visit", event_at=f"2026-03-01 10:{i}9:59", ingested_at="2026-03-01 11:00:00") for i in range(4)],
    "TESTER": [event("b1", customer_id="test-7"), event("b2", customer_id="test-", kind="visit")],
    "RETURN_FIRST": [
        event("b1", customer_id="a test-driver", session_id="s1", kind="return", event_at="2026-03-01 09:59:59"),
        event("b2", customer_id="a test-driver", session_id="s1", kind="refund", event_at="2026-02-28"),
    ],
    "UNKNOWN_CAMPAIGN": [event("b1", campaign_id="c9"), event("b2", campaign_id="c8"), event("b3", campaign_id="c7")],
}
WARNED = {  # code: the rows that are doubtful and stay
    "UNKNOWN_ITEM": [event("b1", item_id="coffee"), event("b2", item_id="milk")],
    "NEGATIVE_DISCOUNT": [event("b1", discount="-0.01"), event("b2", discount=-3)],
    "RETURN_WITHOUT_PURCHASE": [event("b1", customer_id="new", kind="return"), event("b2", kind="refund", event_at="2026-02-01", ingested_at="2026-02-01")],
    "RETURN_TOO_LARGE": [
        event("b1", customer_id="a test-driver", session_id="s1", kind="return", amount="5.01"),
        event("b2", customer_id="a test-driver", kind="refund", amount=6),
    ],
    "NEAR_KIND": [event("b1", kind="Purchase"), event("b2", kind="purchases")],
}
# What only a policy makes of its rows: see test_policies.py.
BY_POLICY = {"UNKNOWN_KIND", "ZERO_AMOUNT", "MIXED_CURRENCY"}
REFUSED = {  # (code, table): the rows that break it, how many, and who is named
    ("NO_CUSTOMER_ID", "customers"): ([{"customer_id": None, "valid_from": "2026-01-01", "city": "Lhasa"}], 1, ".*"),
    ("ENDS_BEFORE_START", "campaigns"): ([{"campaign_id": "c2", "kind": "mail", "start_at": "2026-01-02", "end_at": "2026-01-01"}], 1, "c2"),
    ("DUPLICATE_KEY", "events"): ([event("g1", amount=6), event("g2", customer_id="bo"), event("g2", customer_id="chen")], 2, "g1, g2"),
    ("DUPLICATE_KEY", "customers"): ([{"customer_id": "ann", "valid_from": "2026-01-01", "city": "Wuhan"}], 1, "ann"),
    ("DUPLICATE_KEY", "items"): ([{"item_id": "tea", "category": "leaves", "brand": None}], 1, "tea"),
    ("DUPLICATE_KEY", "campaigns"): ([{"campaign_id": "c1", "kind": "letter", "start_at": "2026-01-01", "end_at": "2026-01-01"}], 1, "c1"),
    ("MISSING_VALUE", "campaigns"): ([{"campaign_id": "c2", "kind": "mail", "start_at": "2026-01-02", "end_at": None}], 1, "end_at"),
    ("MISSING_VALUE", "events"): ([event("b1", initiator=None), event("b2", initiator=None)], 2, "initiator"),
    ("MISSING_VALUE", "items"): ([{"item_id": None, "category": "leaves", "brand": None}], 1, "item_id"),
}


def planted(table, rows):
    return {**GOOD, table: [*GOOD[table], *rows]}


def hold_rows(folder_of, tables):
    return hold(
        open_dataset(
            str(folder_of(tables["events"], zone="UTC", declared=DECLARED, **{name: rows for name, rows in tables.items() if name != "events"}))
        )
    )


def rows_of(table):
    return table.to_pyarrow().to_pylist()


def test_good_rows_pass_whole(folder_of):
    dataset, findings = hold_rows(folder_of, GOOD)
    assert not findings and not rows_of(dataset.tables["quarantine"])
    assert {name: len(rows_of(dataset.tables[name])) for name in GOOD} == {name: len(rows) for name, rows in GOOD.items()}


def test_every_rule_has_a_planted_defect_of_its_level():
    levels = {"quarantine": set(QUARANTINED), "warn": set(WARNED), "refuse": {code for code, _ in REFUSED} - {"DUPLICATE_KEY", "MISSING_VALUE"}}
    said = Dataset("d", "UTC", "EUR", datetime(2026, 1, 1), datetime(2026, 2, 1), None, {}, (), "")
    found = {level: {rule.code for rule in RULES if rule.level_for(said) == level and rule.code not in BY_POLICY and rule.table != "aliases"} for level in levels}
    assert levels == found, "those of links stand in test_identity"


@pytest.mark.parametrize("code", QUARANTINED)
def test_a_broken_row_is_moved_to_quarantine(folder_of, code):
    rows = QUARANTINED[code]
    dataset, findings = hold_rows(folder_of, planted("events", rows))
    assert [(finding.code, finding.table, finding.level, finding.count) for finding in findings] == [(code, "events", "quarantine", len(rows))]
    assert sorted(row["event_id"] for row in rows_of(dataset.tables["events"])) == sorted(row["event_id"] for row in GOOD["events"])
    moved = rows_of(dataset.tables["quarantine"])
    assert sorted(map(str, moved)) == sorted(str({"table": "events", "reason": code, "row_id": row["event_id"]}) for row in rows)
    assert f"{code}: events needs {findings[0].required}; found {len(rows)} that break it ({rows[0]['event_id']}" in findings[0].sentence()
    assert findings[0].sentence().endswith(f"; {findings[0].fix}") and findings[0].fix


@pytest.mark.parametrize("code", WARNED)
def test_a_doubtful_row_stays_with_a_warning(folder_of, code):
    rows = WARNED[code]
    dataset, findings = hold_rows(folder_of, planted("events", rows))
    named = ("Purchase", "purchases") if code == "NEAR_KIND" else ("b1", "b2")
    assert [(finding.code, finding.level, finding.count, finding.offenders) for finding in findings] == [(code, "warn", len(rows), named)]
    assert len(rows_of(dataset.tables["events"])) == len(GOOD["events"]) + len(rows) and not rows_of(dataset.tables["quarantine"])


@pytest.mark.parametrize(("code", "table"), REFUSED)
def test_a_broken_table_is_refused(folder_of, code, table):
    rows, count, named = REFUSED[code, table]
    with pytest.raises(ContractError, match=rf"breaks the contract:\n  {code}: {table} needs [^;]+; found {count} that break it \({named}\); \w+"):
        hold_rows(folder_of, planted(table, rows))


def test_a_refusal_names_every_broken_table_not_only_the_first(folder_of):
    tables = {**planted("customers", REFUSED["NO_CUSTOMER_ID", "customers"][0]), "items": GOOD["items"] + REFUSED["DUPLICATE_KEY", "items"][0]}
    with pytest.raises(ContractError, match="(?s)NO_CUSTOMER_ID: customers.*DUPLICATE_KEY: items"):
        hold_rows(folder_of, tables)


def test_a_row_with_two_faults_has_two_reasons_and_is_moved_once(folder_of):
    dataset, findings = hold_rows(folder_of, planted("events", [event("b1", amount=-1, quantity=-1)]))
    assert {finding.code for finding in findings} == {"NEGATIVE_AMOUNT", "NEGATIVE_QUANTITY"}
    assert sorted(row["reason"] for row in rows_of(dataset.tables["quarantine"])) == ["NEGATIVE_AMOUNT", "NEGATIVE_QUANTITY"]
    assert len(rows_of(dataset.tables["events"])) == len(GOOD["events"])


def test_an_event_sent_again_is_quarantined_as_repeated(folder_of):
    dataset, findings = hold_rows(folder_of, planted("events", [event("g1"), event("g1"), event("g2", amount=0)]))
    assert [(finding.code, finding.level, finding.count) for finding in findings] == [("REPEATED_EVENT", "quarantine", 3)]
    assert sorted({row["row_id"] for row in rows_of(dataset.tables["quarantine"])}) == ["g1", "g2"]
    assert len(rows_of(dataset.tables["events"])) == len(GOOD["events"])


def test_references_to_a_table_that_is_not_there_are_no_fault(folder_of):
    _, findings = hold_rows(folder_of, {"events": [event("e1", item_id="anything", campaign_id="any")]})
    assert not findings


def test_an_empty_customer_id_is_none(tmp_path):
    at = [datetime(2026, 3, 1, 10)] * 3
    pq.write_table(
        pa.table({"event_id": ["1", "2", "3"], "customer_id": ["ann", "", None], "event_at": at, "kind": ["purchase"] * 3}),
        tmp_path / "events.parquet",
    )
    (tmp_path / "dataset.toml").write_text('zone = "UTC"\ncurrency = "EUR"\n')
    dataset, findings = hold(open_dataset(str(tmp_path)))
    assert [(finding.code, finding.count) for finding in findings] == [("NO_CUSTOMER", 2)]
    assert [row["event_id"] for row in rows_of(dataset.tables["events"])] == ["1"]


def test_an_event_that_does_not_say_when_it_arrived_arrived_when_it_happened(folder_of):
    rows = {"events": [event("e1", ingested_at=None), event("e2", ingested_at="2026-03-02 00:00:00")]}
    found = {row["event_id"]: row["ingested_at"] for row in rows_of(hold_rows(folder_of, rows)[0].tables["events"])}
    assert found == {"e1": datetime(2026, 3, 1, 10), "e2": datetime(2026, 3, 2)}


def test_where_the_source_does_not_say_who_began_it_was_the_customer(given):
    dataset = given([{"customer_id": "ann", "event_at": "2026-03-01"}])
    assert [row["initiator"] for row in rows_of(dataset.tables["events"])] == ["customer"]


@pytest.mark.parametrize("table", COLUMNS)
def test_clean_tables_have_the_promised_columns_and_types(folder_of, table):
    dataset, _ = hold_rows(folder_of, GOOD)
    found = dataset.tables[table].schema()
    assert {column: (str(found[column]), True) for column in COLUMNS[table]} == {column: (kind, True) for column, (kind, _) in COLUMNS[table].items()}
    assert set(schema(table).columns) == set(COLUMNS[table])


def test_items_tell_the_category_and_brand_of_events_that_do_not(given):
    items = [{"item_id": "p1", "category": "tea", "brand": "b"}, {"item_id": "p2", "category": "milk", "brand": None}]
    events = [
        {"customer_id": "ann", "event_at": "2026-03-01", "item_id": item, "category": category}
        for item, category in [("p1", None), ("p2", None), ("p1", "gifts")]
    ]
    found = rows_of(given(events, items=items).tables["events"])
    assert sorted((row["item_id"], row["category"], row["brand"]) for row in found if row["category"] != "gifts") == [
        ("p1", "tea", "b"),
        ("p2", "milk", None),
    ]
    assert [row["brand"] for row in found if row["category"] == "gifts"] == ["b"]


def test_no_events_at_all_within_an_hour_is_no_bound(folder_of):
    with pytest.raises(ContractError, match="bot_events_per_hour of 1 or more, found 0; correct it"):
        open_dataset(str(folder_of(GOOD["events"], declared="bot_events_per_hour = 0\n")))
