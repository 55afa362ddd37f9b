"""Attributes of unknown name become what their values are; what could be meant otherwise is said, and what is declared counts."""

import re
from datetime import date, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import ContractError
from features.snapshots import features_of, snapshots
from features.sources import open_dataset

AS_OF = datetime(2026, 3, 31, 16)  # 2026-04-01 in Shanghai
EVENTS = [{"customer_id": "c1", "event_at": "2026-03-01"}]


def of(given, values, declared):
    """A dataset whose customers c0, c1, ... have these values of x."""
    return given(EVENTS, customers=[{"customer_id": f"c{i}", "x": value} for i, value in enumerate(values)], declared=declared)


MANY = range(200)
READ = {
    "numbers": (["12", "3.5", "-4", None], "number", ""),
    "numbers with words among them": ([*(str(i * i) for i in MANY), "n/a", "much"], "number", "1 values that are no number count as not known"),
    "a few whole numbers": (["1", "2", "7"] * 20, "number", 'read as a number; if its 3 values are codes, declare .attributes.* type = "category"'),
    "postcodes": (["01234", "10115", "80331"], "category", ""),
    "days": (["1990-05-01", "2001-12-31", "1985-01-31"], "date", ""),
    "times": (["2026-01-31 10:00:00", "2026-02-01T10:00:00Z"], "date", ""),
    "days without marks": (["20180726", "20170101"], "date", "numbers such as 20180726 are read as dates"),
    "days as Germans write them": (["31.12.1990", "01.02.1985"], "date", "read as dates of the form %d.%m.%Y"),
    "day and month could change places": (["03/04/1990", "05/06/1991"], "text", "a declared time_format .* could change places"),
    "decimals could be thousands": (["1,234", "5,678"], "text", "a declared decimal and thousands .* can be read in two ways"),
    "yes and no": (["yes", "No", "yes", None], "boolean", ""),
    "one and nought": (["1", "0", "1"], "boolean", ""),
    "是否": (["是", "否"], "boolean", ""),
    "cities": (["Xi'an", "Lhasa", "Xi'an"], "category", ""),
    "many cities": ([f"city {i % 150}" for i in range(300)], "category", ""),
    "names": ([f"person {i}x" for i in MANY], "text", "values that repeat .each customer has one of their own."),
    "phone numbers": ([str(13800000000 + 7919 * i) for i in MANY], "text", "values that repeat .each customer has a number of their own."),
    "row numbers": ([str(1 + i) for i in MANY], "text", "values that repeat"),
    "incomes": ([str(20000 + 7919 * i) for i in MANY], "number", ""),
    "notes": ([f"called on day {i % 100} and was not there" for i in MANY], "text", "values that repeat .it is written freely."),
    "nothing": ([None, "", "unknown"], "text", "any value"),
}


@pytest.fixture(scope="module")
def read(folder_of):
    """Every case as a column of one table; customers whom a case does not give are not told."""
    rows = [{"customer_id": f"c{i}", **{name: values[i] if i < len(values) else None for name, (values, *_) in READ.items()}} for i in range(300)]
    return {attribute.name: attribute for attribute in open_dataset(str(folder_of(EVENTS, customers=rows))).attributes}


@pytest.mark.parametrize("case", READ)
def test_the_values_decide_what_an_attribute_is(read, case):
    _, kind, note = READ[case]
    assert read[case].kind == kind and (re.search(note, read[case].note) if note else read[case].note == "")


PEOPLE = [
    {"customer_id": "c1", "valid_from": "2026-01-01", "income": "50000.5", "born_at": "1990-04-01", "is_member": "yes", "ends_at": "2026-04-11", "city": "Lhasa", "note": None},
    {"customer_id": "c1", "valid_from": "2026-03-31", "income": "60000", "born_at": "1990-04-01", "is_member": "no", "ends_at": "2026-04-11", "city": "Wuhan", "note": None},
    {"customer_id": "c1", "valid_from": "2026-04-01", "income": "70000", "born_at": "1990-04-01", "is_member": "yes", "ends_at": None, "city": "Dalian", "note": None},
    {"customer_id": "c2", "valid_from": "2026-01-01", "income": None, "born_at": None, "is_member": None, "ends_at": None, "city": None, "note": None},
]


def test_each_kind_becomes_a_feature_of_its_type(given):
    dataset = given(EVENTS, customers=PEOPLE)
    features, absent = features_of(dataset)
    told = {feature.name: (feature.unit, feature.is_category) for feature in features if feature.family == "profile"}
    assert told == {"income": ("number", False), "days_since_born_at": ("days", False), "is_member": ("yes or no", False), "days_since_ends_at": ("days", False),
                    "city": ("category", True)}
    assert absent["note"] == "any value"
    table = snapshots(dataset, [AS_OF], features).to_pyarrow()
    assert [table.schema.field(name).type for name in told] == [pa.float64(), pa.float64(), pa.int64(), pa.float64(), pa.string()]
    rows = {row["customer_id"]: {name: row[name] for name in told} for row in table.to_pylist()}
    # As known before as_of; a dated attribute may tell of what is to come.
    age = (datetime(2026, 4, 1) - datetime(1990, 4, 1)).days
    assert rows["c1"] == {"income": 60000.0, "days_since_born_at": float(age), "is_member": 0, "days_since_ends_at": -10.0, "city": "Wuhan"}
    assert set(rows["c2"].values()) == {None}


def test_an_undated_date_that_is_still_to_come_is_not_known(given):
    """Nobody can say that it was known at as_of: the day on which a contract was ended is the label."""
    dataset = given(EVENTS, customers=[{"customer_id": "c1", "left_at": "2026-04-05"}, {"customer_id": "c2", "left_at": "2026-03-02"}])
    found = {row["customer_id"]: row["days_since_left_at"] for row in snapshots(dataset, [AS_OF], features_of(dataset)[0]).to_pyarrow().to_pylist()}
    assert found == {"c1": None, "c2": 30.0}


def test_parquet_tells_its_types(folder_of):
    folder = folder_of(EVENTS)
    pq.write_table(pa.table({
        "customer_id": ["c1", "c2"], "points": pa.array([3, None], pa.int64()), "rate": [0.5, float("nan")], "is_vip": [True, None],
        "born_on": [date(2026, 3, 31), None], "seen_at": pa.array([datetime(2026, 3, 31, 15), None], pa.timestamp("us", "UTC"))}), folder / "customers.parquet")
    dataset = open_dataset(str(folder))
    assert [attribute.kind for attribute in dataset.attributes] == ["number", "number", "boolean", "date", "date"]
    rows = {row["customer_id"]: row for row in snapshots(dataset, [AS_OF], features_of(dataset)[0]).to_pyarrow().to_pylist()}
    names = ("points", "rate", "is_vip", "days_since_born_on", "days_since_seen_at")
    assert [[rows[customer][name] for name in names] for customer in ("c1", "c2")] == [[3.0, 0.5, 1, 1.0, 1 / 24], [None] * 5]


@pytest.mark.parametrize(("kind", "values", "expected"), [
    ("category", ["1", "2", "7"] * 20, "1"), ("number", ["1", "0"], 1.0), ("date", ["2026-03-31", None], 1.0), ("boolean", ["ja"], None), ("category", ["yes", "no"], "yes")])
def test_a_declared_type_counts(given, kind, values, expected):
    declared = f'[attributes.x]\ntype = "{kind}"\n'
    if expected is None:
        with pytest.raises(ContractError, match=r"customers.x needs yes or no .* found 1 that are neither \(ja\)"):
            of(given, values, declared)
        return
    dataset = of(given, values, declared)
    row = next(row for row in snapshots(dataset, [AS_OF], features_of(dataset)[0]).to_pyarrow().to_pylist() if row["customer_id"] == "c0")
    assert (dataset.attributes[0].kind, dataset.attributes[0].note) == (kind, "") and row["days_since_x" if kind == "date" else "x"] == expected


@pytest.mark.parametrize(("declared", "message"), [
    ('[attributes.x]\ntype = "numbre"\n', "attributes.x.type must be one of number, date, boolean, category, found 'numbre'"),
    ('[attributes.x]\ntype = "number"\n', r"UNPARSABLE_VALUE: customers.x needs numbers below 1,000,000,000; found 1 that are not \(soon\)"),
    ('[attributes.x]\ntype = "date"\n', r"UNPARSABLE_TIME: customers.x needs times .* found 1 that are not \(soon\)"),
    ('[attributes.y]\ntype = "date"\n', "attributes and sensitive must name columns of customers, found y; there are x")])
def test_a_declaration_that_the_values_do_not_keep_is_refused(given, declared, message):
    with pytest.raises(ContractError, match=message):
        of(given, ["soon"], declared)
