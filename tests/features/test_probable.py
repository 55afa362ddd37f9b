"""Probable links: who is linked, who is not, why, and that neither the order of rows nor a household misleads."""

import random
import re
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features import probable
from features.__main__ import main
from features.engine import connect
from features.errors import ContractError, UsageError, run_door
from features.persons import one_form, read_persons, readings
from features.probable import explain, learn, proposed_links, values_of
from tests.features.families import families, figures

FEBRL = Path(__file__).parents[3] / "shared" / "data" / "febrl"
AT = datetime(2026, 1, 1)
COLUMNS = ("id", "name", "birth_date", "address", "city", "postcode", "phone")
# One person twice, with a slip (a1, a2); two of one household (b1, b2); twins (c1, c2).
ENGLISH = """a1|Anna Schmidt|1980-03-05|12 Mill Lane|Leeds|LS1 4AB|07700 900111
a2|Anna Schmit|1980-03-05|12 Mill Lane|Leeds|LS1 4AB|+44 7700 900111
b1|Tom Baker|1991-07-21|7 Castle Road|York|YO1 7HH|07700 900222
b2|Tim Baker|1993-01-12|7 Castle Road|York|YO1 7HH|07700 900222
c1|Mary Jones|1975-11-30|3 Park View|Hull|HU1 1AA|07700 900333
c2|Eve Jones|1975-11-30|3 Park View|Hull|HU1 1AA|07700 900333"""
CHINESE = """a1|张伟|1980-03-05|中山路12号|上海市|200001|13812345678
a2|张 伟|1980年3月5日|中山路１２号|上海|200001|+86 138-1234-5678
b1|李娜|1991-07-21|人民路7号|北京市|100001|13900001111
b2|李静|1993-01-12|人民路7号|北京市|100001|13900001111
c1|欧阳娜娜|1975-11-30|解放路3号|广州市|510000|13700002222
c2|欧阳明|1975-11-30|解放路3号|广州市|510000|13700002222"""


def rows_of(text, n_strangers=15):
    """The people of a text among strangers who share no more than a city."""
    rows = [dict(zip(COLUMNS, line.split("|"), strict=True)) for line in text.splitlines()]
    return [*rows, *(dict(zip(COLUMNS, (
        f"z{i}", f"{chr(97 + i)}ea{i} {chr(122 - i)}o{i}", f"{1950 + i}-0{i % 9 + 1}-1{i % 9}", f"{i * 7} Long Road {i}", ("Leeds", "York", "Hull")[i % 3], f"AB{i} {i}CD",
        f"0771{i:02}8{i * 37:04}"), strict=True)) for i in range(n_strangers))]


def learned_from(*files, **options):
    """Literal rows, one list for each file -> what is learned of them."""
    engine = connect(())
    tables = [engine.create_table(f"raw{i}", pa.Table.from_pylist(rows)) for i, rows in enumerate(files)]
    return learn(engine, [one_form(table, "id", readings(table, "id", {})) for table in tables], **options)


def links(learned, *arguments, **options):
    return proposed_links(learned, AT, *arguments, **options).to_pyarrow().to_pylist()


def pairs(found):
    return {(row["customer_id"], row["alias"]) for row in found}


@pytest.fixture(scope="module")
def english():
    return learned_from(rows_of(ENGLISH))


def test_a_person_with_a_slip_is_linked_and_a_household_is_not(english):
    found = links(english)
    assert pairs(found) == {("a1", "a2")}
    row = found[0]
    assert 0.95 <= row["confidence"] < 1 and row["alias_kind"] == row["customer_kind"] == "customer" and row["unlinked_at"] is None
    assert row["linked_at"].replace(tzinfo=None) == AT and row["linked_at"].tzinfo is not None
    assert "surname nearly the same" in row["reason"] and "birth date the same (+" in row["reason"]
    assert explain(english, "b1", "b2")["confidence"] < 0.1, "two birth dates at one address"
    assert explain(english, "c1", "c2")["confidence"] < 0.9, "twins"


def test_chinese_names_addresses_and_numbers_are_linked():
    found = learned_from(rows_of(CHINESE))
    assert pairs(links(found)) == {("a1", "a2")}
    assert explain(found, "c1", "c2")["confidence"] < 0.9, "twins of one compound surname"


def test_families_do_not_become_one_person():
    rows, who = families(300)
    learned = learned_from(rows)
    n_true = len(who) - len(set(who.values()))
    assert not learned.untaught
    precision, recall, _ = figures(links(learned), who.get, n_true)
    assert precision >= 0.98 and recall >= 0.8
    # Against strangers alone, as is usual, every family would be one.
    assert figures(links(replace(learned, share_household=0)), who.get, n_true)[0] < 0.5


def test_the_same_seed_and_any_order_of_rows_give_the_same_links(monkeypatch):
    monkeypatch.setattr(probable, "_SAMPLED_PAIRS", 20_000)  # so that random pairs are really drawn
    rows, _ = families(120, seed=3)
    shuffled = rows.copy()
    random.Random(5).shuffle(shuffled)
    first, again, other = learned_from(rows), learned_from(shuffled), learned_from(rows, seed=2)
    assert links(first, 0.5) and links(first, 0.5) == links(again, 0.5)
    assert probable.weights_in_words(first) == probable.weights_in_words(again) != probable.weights_in_words(other)


def test_pairs_are_counted_before_they_are_compared(english):
    rows = rows_of(ENGLISH)
    for role in ("postcode", "phone"):
        brute = sum(a[role].replace("+44 ", "0") == b[role].replace("+44 ", "0") for i, a in enumerate(rows) for b in rows[:i])
        assert english.rules[role,] == brute


def many(n, **columns):
    return [{"id": f"{i:05}", **{name: value(i) for name, value in columns.items()}} for i in range(n)]


def test_a_block_that_would_explode_is_refused_or_narrowed():
    rows = many(2000, name=lambda i: "Wei Zhang", city=lambda i: "Beijing", postcode=lambda i: "100001")
    with pytest.raises(UsageError, match=r"TOO_MANY_COMPARISONS: a rule may compare 200,000 pairs .* found at least 1,999,000 \(that agree in .*\); supply a column"):
        learned_from(rows)
    table = connect(()).create_table("t", pa.Table.from_pylist(many(2000, given_name=lambda i: f"n{i % 4}", place=lambda i: f"p{i % 5}", surname=lambda i: f"s{i // 2}")))
    # 4 x 500 alike in the given name, 5 x 400 in the place, 20 x 100 in both, and 1,000 couples of one surname.
    assert probable._blocking_rules([table], ["given_name", "surname", "place"], 500_000) == {("surname",): 1000, ("given_name", "place"): 99_000}
    assert probable._blocking_rules([table], ["given_name", "surname", "place"], 400_000) == {("surname",): 1000}


@pytest.mark.parametrize(("rows", "says"), [
    (many(1, name=lambda i: "Ann Lee", phone=lambda i: "0770090011"), "TOO_FEW_RECORDS: links need at least 2 records in a file, found 1"),
    (many(5, email=lambda i: f"a{i}@b.com", phone=lambda i: ""), "TOO_FEW_COLUMNS: .* at least three things to compare.*; found email;"),
    (many(5, address=lambda i: "1 Mill Lane", city=lambda i: "York", postcode=lambda i: "YO1"), "NOTHING_PERSONAL: .*found address, place, postcode"),
    (many(3, name=lambda i: f"{'ABC'[i]}nn {'XYZ'[i]}", city=lambda i: ("York", "Hull", "Bath")[i]), "NOTHING_IN_COMMON: .*found none that do")])
def test_records_that_tell_too_little_are_refused(rows, says):
    with pytest.raises(ContractError, match=says):
        learned_from(rows)


def test_shares_of_pairs_are_recovered_from_their_weights():
    draw = np.random.default_rng(1)
    kinds = {"same": (100, 40, 10), "household": (300, 20, -8), "chance": (5000, 3, 2)}
    strangers, household = (np.concatenate([draw.normal(kind[at], 1, kind[0]) for kind in kinds.values()]) for at in (1, 2))
    same, other = probable._shares(strangers, household, 10_000_000)
    assert same * 1e7 == pytest.approx(101, abs=3) and other * 1e7 == pytest.approx(301, abs=5)


@pytest.fixture(scope="module")
def two_files():
    """Everyone of the first file in the second, one of them twice."""
    first, _ = families(80, seed=7)
    second = [{**row, "id": f"s{row['id']}"} for row in first]
    return learned_from(first, [*second, {**second[0], "id": "szz", "phone": ""}])


def test_between_two_files_the_first_holds_the_customers_and_the_second_their_aliases(two_files):
    found = links(two_files, kinds=("crm", "shop"))
    assert {(row["customer_kind"], row["alias_kind"], row["customer_id"][0], row["alias"][0]) for row in found} == {("crm", "shop", "r", "s")}


def test_what_is_personal_weighs_no_more_against_a_household_than_chance_within_it_allows(two_files):
    for row in two_files.pairs.limit(20).to_pyarrow().to_pylist():
        assert row["household"] == pytest.approx(min(row["weight_given_name"], np.log2(100)) + min(row["weight_birth_date"], np.log2(100)))
        assert row["weight_birth_date"] > 6 or row["level_birth_date"] != "the same"


def test_a_lesson_that_ends_in_a_probability_of_0_is_none(two_files):
    # The second file is a copy: no match disagrees in anything, so the more often it is asked, the nearer m comes to 0.
    endless = {**two_files.settings, "em_convergence": 1e-300}
    assert probable._lesson(two_files.engine, two_files.records, endless, ("birth_date",), None) == {}
    assert probable._lesson(two_files.engine, two_files.records, two_files.settings, ("birth_date",), None).keys() >= {"given_name", "surname", "address", "phone", "postcode"}


def test_one_to_one_links_a_record_once_to_what_it_resembles_most(two_files):
    several, once = links(two_files), links(two_files, one_to_one=True)
    twice = next(row["customer_id"] for row in several if row["alias"] == "szz")
    assert {f"s{twice}", "szz"} <= {row["alias"] for row in several if row["customer_id"] == twice}
    assert [row["alias"] for row in once if row["customer_id"] == twice] == [f"s{twice}"]
    assert len(pairs(once)) == len({row["alias"] for row in once}) == len({row["customer_id"] for row in once})


def test_ids_of_one_kind_may_not_stand_in_both_files():
    rows, _ = families(30, seed=2)
    learned = learned_from(rows, rows)
    with pytest.raises(UsageError, match=rf"two files of the kind customer need ids of their own, found {len(rows)} in both \(r0000, r0001, r0002 and .*--kind crm shop"):
        links(learned)
    assert ("r0000", "r0000") in pairs(links(learned, kinds=("crm", "shop")))


def test_any_two_records_are_explained(english):
    found = explain(english, "a2", "a1")
    assert (found["id_l"], found["level_surname"], found["level_phone"]) == ("a1", "nearly the same", "the same")
    assert found["strangers"] == pytest.approx(sum(found[name] for name in found if name.startswith("weight_")))
    never = explain(english, "a1", "z3")
    assert never["level_given_name"] == never["level_birth_date"] == "different" and never["confidence"] < 0.01
    assert values_of(english, "a1", "b1")["phone"] == ("700900111", "700900222")
    # One agreement in 24 records cannot weigh more than their 276 pairs can tell.
    assert max(found[name] for name in found if name.startswith("weight_")) <= np.log2(277)
    with pytest.raises(UsageError, match="found no record nobody"):
        explain(english, "a1", "nobody")
    with pytest.raises(UsageError, match="two different records, found a1 twice"):
        explain(english, "a1", "a1")


def test_too_little_to_learn_from_leaves_starting_values_and_says_so(english):
    assert set(english.untaught) >= {"given_name", "birth_date"}
    assert probable.weights_in_words(english)[0] == "given_name: starting values, for lack of anything to learn from"


@pytest.fixture
def door(monkeypatch, capsys):
    """A function: the words after `features link` -> exit code, standard output, standard error."""

    def called(*words):
        monkeypatch.setattr(sys, "argv", ["features", "link", *map(str, words)])
        code = 0
        try:
            run_door(main)
        except SystemExit as error:
            code = error.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return called


@pytest.fixture
def people(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("\n".join(["id;name;birth_date;address;city;postcode;phone;points", *(";".join(row.values()) + ";7" for row in rows_of(ENGLISH))]), encoding="utf-8")
    return path


def test_the_door_says_how_it_read_writes_links_and_tells_nothing_personal(door, people, caplog):
    out = people.parent / "made" / "links.parquet"
    with caplog.at_level(0):
        code, said, err = door(people, "--id", "id", "--out", out, "--explain", "a1", "a2", "--linked-at", "2026-01-01")
    assert code == 0, err
    assert "birth_date -> birth_date (by its name)" in said and "points: left out, neither its name nor its values" in said
    assert "pairs that agree in phone" in said and "a1 and a2: one person with probability 0.9" in said and "1 links with a probability of at least 0.95" in said
    table = pq.read_table(out)
    assert table.column_names == ["alias", "alias_kind", "customer_id", "customer_kind", "linked_at", "unlinked_at", "confidence", "reason"] and len(table) == 1
    everything = (said + err + caplog.text + str(table.to_pylist())).lower()
    assert not [value for value in ("schmi", "anna", "1980", "mill lane", "mill", "ls1", "900111", "leeds") if value in everything]
    code, said, _ = door(people, "--id", "id", "--explain", "a1", "a2", "--show-values")
    assert code == 0 and "schmidt | schmit" in said


@pytest.mark.parametrize(("words", "says"), [
    (("--id", "no", "--out", "x.parquet"), "MISSING_COLUMN: people.csv needs the column no"), (("--id", "id"), "link needs --out FILE .*found neither"),
    (("--id", "id", "--out", "x.xlsx"), "--out must end in .parquet or .csv"), (("--id", "id", "--out", "x.csv", "--threshold", "95"), "--threshold must be a probability"),
    (("--id", "id", "--out", "x.csv", "--one-to-one"), "--one-to-one is between two files"),
    (("--id", "id", "--out", "x.csv", "--column", "phone"), "--column needs COL=ROLE, found 'phone'"),
    (("--id", "id", "id", "--out", "x.csv"), "one file or two, and at most one --id"), (("--id", "id", "--out", "x.csv", "--linked-at", "soon"), "--linked-at needs a time"),
    (("--id", "id", "--out", "x.csv", "--most-comparisons", "0"), "--most-comparisons must be 1 or more")])
def test_wrong_words_are_one_line_and_exit_code_2(door, people, monkeypatch, words, says):
    monkeypatch.chdir(people.parent)
    code, _, err = door(people, *words)
    line = err.strip().splitlines()[-1]
    assert code == 2 and line.startswith("error: ") and re.search(says, line) and "Traceback" not in err
    assert [path.name for path in people.parent.iterdir()] == ["people.csv"]


def test_without_splink_the_door_says_how_to_get_it(door, people, monkeypatch):
    monkeypatch.setitem(sys.modules, "splink", None)
    code, _, err = door(people, "--id", "id", "--out", people.parent / "x.parquet")
    assert code == 2 and "links by probability need Splink, found it not installed; install requirements-extra.lock" in err


def febrl(need, *numbers):
    engine = connect((FEBRL,))
    paths = [need(FEBRL / f"dataset{number}.csv.zst", "the data sets stand beside the project under ../shared/data") for number in numbers]
    return learn(engine, [read_persons(engine, path, "rec_id", {})[0] for path in paths])


def person(record):
    return record.split("-")[1]


@pytest.mark.slow
def test_febrl_4_is_linked_at_once(need):
    learned = febrl(need, "4a", "4b")
    assert min(figures(links(learned), person, 5000)) >= 0.99
    assert not learned.untaught and learned.share_same * 5000**2 == pytest.approx(5000, rel=0.01)


@pytest.mark.slow
def test_febrl_1_is_rid_of_its_repeats(need):
    assert min(figures(links(febrl(need, "1")), person, 500)) >= 0.99


@pytest.mark.slow
def test_where_nobody_comes_twice_nobody_is_linked(need):
    assert links(febrl(need, "4a")) == []
