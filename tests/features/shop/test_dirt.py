"""Dirt: each kind at its rate, written down row by row, and nothing else touched."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from features.consents import without_refusals
from features.contracts import hold
from features.shop.dirt import DIRT, dirt_of, soil
from features.shop.simulate import FEWEST_MONTHS, Plan, partition_tables, simulate
from features.shop.world import World
from features.sources import open_dataset

# Events of each kind are a part of all events; a rate is of these.
OF_KIND = {"refunds_first": "refund", "negative_prices": "purchase", "unknown_items": "purchase"}
ADDED = ("duplicates", "redelivered", "bots", "testers", "conflicting_profiles")


@pytest.fixture(scope="module")
def clean() -> dict[str, pa.Table]:
    tables = partition_tables(Plan(1000, FEWEST_MONTHS, 5, {}, World()), 0)
    return {name: table.cast(pa.schema([(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in table.schema])) for name, table in tables.items()}


def by(table: pa.Table, key: str) -> dict[str, list[dict]]:
    rows: dict[str, list[dict]] = {}
    for row in table.to_pylist():
        rows.setdefault(row[key], []).append(row)
    return rows


@pytest.mark.parametrize("name", [name for name in DIRT if name not in (*ADDED, "out_of_order", "missing_zone", "mixed_encodings")])
def test_a_dirt_changes_its_rows_and_no_others_and_the_ledger_undoes_it(clean, name):
    rate = .3 if name in OF_KIND else .02
    dirty = soil(clean, {name: rate}, 0, 5)
    ledger = dirty["truth/dirt"].to_pylist()
    among = clean["events"].filter(pc.equal(clean["events"]["kind"], OF_KIND[name])) if name in OF_KIND else clean["events"]
    assert abs(len(ledger) - rate * len(among)) < 5 * (rate * len(among)) ** .5
    assert {row["what"] for row in ledger} == {name}
    column, before = ledger[0]["column"], {row["row_id"]: row["before"] for row in ledger}
    ids = clean["events"]["event_id"].to_pylist()
    old, new = (events[column].cast(pa.string()).to_pylist() for events in (clean["events"], dirty["events"]))
    for event_id, a, b in zip(ids, old, new, strict=True):
        assert (a != b) == (event_id in before), event_id
        assert event_id not in before or before[event_id] == a
    rest = [other for other in clean["events"].column_names if other != column]
    assert dirty["events"].select(rest).equals(clean["events"].select(rest))
    assert all(dirty[table].equals(clean[table]) for table in clean if table != "events")


@pytest.mark.parametrize("name", ["duplicates", "redelivered"])
def test_the_same_event_again(clean, name):
    dirty = soil(clean, {name: .02}, 0, 5)
    ids = {row["row_id"] for row in dirty["truth/dirt"].to_pylist()}
    rows = by(dirty["events"], "event_id")
    assert len(ids) > 100
    for event_id, copies in rows.items():
        assert len(copies) == 1 + (event_id in ids)
        if event_id in ids:
            different = {column for column in copies[0] if copies[0][column] != copies[1][column] and copies[0][column] == copies[0][column]}
            assert different == ({"ingested_at"} if name == "redelivered" else set())
            assert name != "redelivered" or copies[1]["ingested_at"] > copies[0]["ingested_at"]


def test_rows_out_of_order_are_all_there(clean):
    dirty = soil(clean, {"out_of_order": .1}, 0, 5)["events"]
    assert not dirty["event_id"].equals(clean["events"]["event_id"])
    assert dirty.sort_by("event_id").equals(clean["events"].sort_by("event_id"))


@pytest.mark.parametrize(("name", "prefix"), [("bots", "ck_b07"), ("testers", "CTEST")])
def test_strangers_come_beside_the_customers(clean, name, prefix):
    dirty = soil(clean, {name: .01}, 0, 5)
    strange = dirty["events"].filter(pc.starts_with(dirty["events"]["customer_id"], prefix))
    assert len(strange) == len(dirty["truth/dirt"]) > 100
    assert dirty["events"].filter(pc.invert(pc.starts_with(dirty["events"]["customer_id"], prefix))).equals(clean["events"])
    assert pc.max(strange["event_at"]).as_py() <= pc.max(clean["events"]["event_at"]).as_py()


def test_times_that_do_not_say_their_zone(clean):
    dirty = soil(clean, {"missing_zone": .05}, 0, 5)
    texts = dirty["events"]["event_at"]
    bare = dirty["events"].filter(pc.invert(pc.ends_with(texts, "Z")))
    assert set(bare["event_id"].to_pylist()) == {row["row_id"] for row in dirty["truth/dirt"].to_pylist()}


def test_two_sources_disagree_about_a_customer(clean):
    dirty = soil(clean, {"conflicting_profiles": .1}, 0, 5)
    extra = len(dirty["customers"]) - len(clean["customers"])
    assert extra == len(dirty["truth/dirt"]) > 50
    for rows in by(dirty["customers"], "customer_id").values():
        rows.sort(key=lambda row: row["valid_from"])
        near = [(a, b) for a, b in zip(rows, rows[1:], strict=False) if (b["valid_from"] - a["valid_from"]).total_seconds() == 60]
        assert all(a["gender"] != b["gender"] and a["age_band"] != b["age_band"] for a, b in near)


def test_text_of_another_encoding(clean):
    dirty = soil(clean, {"mixed_encodings": .1}, 0, 5)
    pairs = [(a, b) for a, b in zip(clean["customers"]["city"].to_pylist(), dirty["customers"]["city"].to_pylist(), strict=True) if a != b]
    assert len(pairs) == len(dirty["truth/dirt"]) > 50
    assert all(b.encode("latin-1").decode("gb18030") == a for a, b in pairs)


def test_refunds_that_come_first_do(clean):
    dirty = soil(clean, {"refunds_first": .5}, 0, 5)
    rows = by(dirty["events"], "event_id")
    bought: dict[str, object] = {}
    for row in clean["events"].to_pylist():
        if row["kind"] == "purchase":
            bought.setdefault(row["session_id"], row["event_at"])
    moved = [rows[row["row_id"]][0] for row in dirty["truth/dirt"].to_pylist()]
    assert len(moved) > 20 and all(row["event_at"] < bought[row["session_id"]] for row in moved)


def test_names_and_rates():
    assert dirt_of(["late=0.1", "bots"]) == {"late": .1, "bots": DIRT["bots"][1]}
    assert set(dirt_of(["all"])) == set(DIRT)


def test_all_of_it_at_once_is_still_a_dataset_and_every_repeat_is_counted_once(tmp_path):
    folder = simulate(tmp_path / "dirty", 1000, FEWEST_MONTHS, 5, ["all"])
    dataset, findings = hold(open_dataset(str(folder)))
    found = {finding.code: finding.count for finding in findings}
    assert {"IN_THE_FUTURE", "NEGATIVE_AMOUNT", "INGESTED_BEFORE", "UNKNOWN_ITEM", "REPEATED_EVENT", "RETURN_FIRST"} <= set(found)
    assert all(finding.level in ("quarantine", "warn") for finding in findings)
    events = dataset.tables["events"]
    n, distinct = events.aggregate(n=events.count(), d=events.event_id.nunique()).to_pyarrow().to_pylist()[0].values()
    assert n == distinct


@pytest.mark.parametrize(("dirt", "code"), [
    ("bots", "BOT"), ("testers", "TESTER"), ("refunds_first", "RETURN_FIRST"), ("negative_prices", "NEGATIVE_AMOUNT"), ("future_dates", "IN_THE_FUTURE"),
    ("wrong_zone", "INGESTED_BEFORE")])
def test_the_contract_finds_what_was_made_dirty_and_nothing_else(tmp_path, dirt, code):
    """Quarantine against the ledger. A clock that is eight hours fast is found by the arrival that comes before."""
    rate = {"bots": .004, "testers": .004, "refunds_first": .3}.get(dirt, .02)
    folder = simulate(tmp_path / "dirty", 1000, FEWEST_MONTHS, 5, [f"{dirt}={rate}"])
    with (folder / "dataset.toml").open("r+", encoding="utf-8") as file:
        text = file.read()
        file.seek(0)
        file.write('testers = ["CTEST"]\n' + text)
    source = open_dataset(str(folder))
    dataset, _ = hold(source)
    # Of whoever refused profiling nothing is looked at, dirty or not.
    gone = source.tables["events"].anti_join(without_refusals(source)[0].tables["events"], "event_id").event_id.to_pyarrow().to_pylist()
    ledger = {row["row_id"] for row in pq.read_table(folder / "truth" / "dirt").to_pylist()} - set(gone)
    found = {row["row_id"] for row in dataset.tables["quarantine"].to_pyarrow().to_pylist() if row["reason"] == code}
    assert len(ledger) > 10 and found == ledger
