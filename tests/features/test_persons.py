"""Person records: which column is taken for what, and that what is written in many ways comes out in one."""

import random

import pyarrow as pa
import pytest

from features import persons
from features.engine import connect
from features.errors import ContractError, UsageError
from features.persons import MOST_SHARED, one_form, read_persons, readings, without_placeholders


def read(rows, told=None, date_order=""):
    """Literal rows -> (role by column, records in one form)."""
    table = connect(()).create_table("raw", pa.Table.from_pylist(rows))
    read = readings(table, "id", told or {})
    return {one.column: one.role for one in read}, one_form(table, "id", read, date_order).order_by("id").to_pyarrow().to_pylist()


def form(role, *values, date_order=""):
    """What values of one role become."""
    rows = [{"id": str(i), "x": value} for i, value in enumerate(values)]
    return [[row.get(name) for name in (("given_name", "surname") if role == "name" else (role,))] for row in read(rows, {"x": role}, date_order)[1]]


def test_a_full_name_is_two_parts():
    names = {
        "John Smith": ["john", "smith"], "Smith, John": ["john", "smith"], "  JOHN   SMITH ": ["john", "smith"], "João da Silva": ["joao da", "silva"],
        "Madonna": ["madonna", None],
        "O'Brien-Jones, Mary": ["mary", "o brien jones"], "张伟": ["伟", "张"], "张 伟": ["伟", "张"], "欧阳娜娜": ["娜娜", "欧阳"], "李小明": ["小明", "李"]}
    assert dict(zip(names, form("name", *names), strict=True)) == names


@pytest.mark.parametrize(("role", "written"), [
    ("phone", {"+44 7700 900111": "700900111", "07700 900111": "700900111", "+86 138-1234-5678": "812345678", "１３８１２３４５６７８": "812345678", "12": None}),
    ("email", {" Ann@Shop.COM ": "ann@shop.com", "none": None, "ann at shop": None}), ("postcode", {"ls1 4ab": "ls14ab", "-": None}),
    ("id_number", {"11010519491231002X": "11010519491231002x", "530-43-1988": "530431988"}),
    ("address", {"12, Mill-Lane.": "12 mill lane", "中山路 １２号": "中山路12号"}), ("place", {"Zürich": "zurich", "N/A": None, "未知": None})])
def test_what_is_written_in_many_ways_comes_out_in_one(role, written):
    assert dict(zip(written, (value for value, in form(role, *written)), strict=True)) == written


def test_a_birth_date_is_eight_figures():
    dates = ("1990-03-05", "19900305", "1990/3/5", "1990年3月5日", "1990-03-05 00:00:00", "5.3.1990", "05/03/1990")
    assert form("birth_date", *dates, date_order="dmy") == [["19900305"]] * len(dates)


def test_a_slip_leaves_a_birth_date_one_figure_off():
    assert form("birth_date", "1990-13-05", "19931359") == [["19901305"], ["19931359"]]


def test_day_and_month_are_told_apart_by_what_is_no_month():
    assert form("birth_date", "05/03/1990", "25/12/1990") == [["19900305"], ["19901225"]]
    assert form("birth_date", "03/05/1990", "12/25/1990") == [["19900305"], ["19901225"]]
    with pytest.raises(UsageError, match=r"day or month comes first, found 2 .*--date-order"):
        form("birth_date", "05/03/1990", "04/12/1990")


def test_columns_are_known_by_english_and_chinese_names_and_by_values():
    roles, rows = read([
        {"id": f"{i}", "Home Phone": f"0770090{i:04}", "会员姓名": "张伟", "出生日期": f"19{i % 40 + 50}-01-02", "c4": f"a{i}@b.com", "c5": f"1381234{i:04}",
         "c6": f"19{i % 40 + 50}-03-04",
         "billing_postcode": "LS1", "IP Address": "10.0.0.1", "street_number": str(i), "street": "High St", "points": str(i)} for i in range(40)])
    assert roles == {
        "Home Phone": "phone", "会员姓名": "name", "出生日期": "birth_date", "c4": "email", "c5": "phone", "c6": "birth_date", "billing_postcode": "postcode", "IP Address": "",
        "street_number": "address", "street": "address", "points": ""}
    assert rows[3]["address"] == "11 high st"  # by id as text: 0, 1, 10, 11


def test_what_is_told_of_columns_goes_before_guesses():
    rows = [{"id": str(i), "email": "Leeds", "x": "y"} for i in range(3)]
    assert read(rows, {"email": "place", "x": "no"})[0] == {"email": "place", "x": ""}
    with pytest.raises(UsageError, match=r"--column needs COLUMN=ROLE with a role of name.*found 'town'"):
        read(rows, {"email": "town"})


def test_an_empty_column_is_left_out():
    roles, rows = read([{"id": str(i), "phone": "", "postcode": "  ", "city": "York"} for i in range(3)])
    assert roles == {"phone": "", "postcode": "", "city": "place"} and set(rows[0]) == {"id", "place"}


def test_an_identifier_that_too_many_bear_counts_as_unknown():
    n = MOST_SHARED + 1
    table = connect(()).create_table("raw", pa.table({"id": [str(i) for i in range(n + 2)], "phone": ["000000000"] * n + ["7", "7"], "place": ["york"] * (n + 2)}))
    records, taken = without_placeholders(table)
    assert taken == {"phone": n}
    assert sorted(records.phone.to_pyarrow().to_pylist(), key=str)[-1] is None and records.phone.notnull().sum().to_pyarrow().as_py() == 2
    assert records.place.notnull().all().to_pyarrow().as_py(), "many live in one place"


def test_the_order_of_rows_changes_no_reading(monkeypatch):
    monkeypatch.setattr(persons, "_SAMPLE", 20)
    rows = [{"id": f"{i:02}", "name": f"Ann {'xyz'[i % 3]}", "c2": f"a{i}@b.com" if i < 20 else "by post", "born": f"{i % 28 + 1:02}/{i % 12 + 1:02}/19{i % 40 + 50}"}
            for i in range(60)]
    shuffled = rows.copy()
    random.Random(1).shuffle(shuffled)
    assert read(rows) == read(shuffled) and read(shuffled)[0]["c2"] == "email"


@pytest.mark.parametrize(("text", "says"), [
    ("id,name\n1,Ann\n,Bo\n", r"MISSING_VALUE: people.csv needs an id in id on every row, found 1"),
    ("id,name\n1,Ann\n1,Bo\n2,Cy\n", r"DUPLICATE_KEY: people.csv needs a unique id, found 1 ids on several rows \(1\)"),
    ("no,name\n1,Ann\n", r"MISSING_COLUMN: people.csv needs the column id .* found no, name; correct --id")])
def test_records_without_names_of_their_own_are_refused(text, says, tmp_path):
    (tmp_path / "people.csv").write_text(text)
    with pytest.raises(ContractError, match=says):
        read_persons(connect((tmp_path,)), tmp_path / "people.csv", "id", {})


def test_a_file_that_is_none_is_named(tmp_path):
    for name, says in (("none.csv", "found none at"), ("people.xlsx", "found another ending at")):
        with pytest.raises(UsageError, match=f"FILE must be a table .*{says}"):
            read_persons(connect((tmp_path,)), tmp_path / name, "id", {})
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 this is no table PAR1")
    with pytest.raises(ContractError, match=r"broken.parquet must be readable"):
        read_persons(connect((tmp_path,)), tmp_path / "broken.parquet", "id", {})
