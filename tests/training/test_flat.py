"""Reading a flat table: delimiters, marks, kinds of columns, labels; what is left out is told with its reason."""

import gzip

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from features.errors import ContractError, UsageError
from training import flat
from training.flat import Field, columns_of_inputs, inputs_of, label_of, read_flat, typed, unread


def one(name, values):
    """What a column of text is taken for: its kind and form, or the reason it is left out."""
    found, dropped = typed(pd.DataFrame({name: pd.Series(values, dtype="str")}), [name])
    return (found[0].kind, found[0].form) if found else dropped[name]


@pytest.mark.parametrize(("ending", "pack"), [
    ("csv", lambda raw: raw), ("csv.gz", gzip.compress), ("csv.zst", lambda raw: pa.compress(raw, "zstd", asbytes=True)), ("csv", lambda raw: b"\xef\xbb\xbf" + raw)])
@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_a_text_table_is_read_whatever_its_mark_and_packing(tmp_path, ending, pack, mark):
    rows = [["name", "wert", "城市"], ["a", "1", "北京, 中国"], ["b", "?", "x"], ["c", "", "NA"]]
    text = "\n".join(mark.join(f'"{cell}"' if "," in cell else cell for cell in row) for row in rows)
    path = tmp_path / f"table.{ending}"
    path.write_bytes(pack(text.encode()))
    frame = read_flat(path)
    assert list(frame) == ["name", "wert", "城市"]
    assert frame.isna().to_numpy().tolist() == [[False, False, False], [False, True, False], [False, True, True]]
    assert frame["城市"][0] == "北京, 中国"


def test_parquet_keeps_its_numbers(tmp_path):
    pd.DataFrame({"n": [1.5, np.inf], "is": [True, False], "at": pd.to_datetime(["2026-01-31", None])}).to_parquet(tmp_path / "t.parquet")
    frame = read_flat(tmp_path / "t.parquet")
    assert frame["n"].tolist()[0] == 1.5
    assert np.isinf(frame["n"][1]), "it is said, and then counts as missing: see below"
    assert frame["is"].tolist() == ["True", "False"]
    assert frame["at"][0].startswith("2026-01-31")
    assert frame["at"].isna()[1]


@pytest.mark.parametrize(("raw", "message"), [
    (b"", "header"), (b"a,b\n", "at least one row"), (b"a,a\n1,2\n", "a more than once"), (b"a,b\n1,2\n1,2,3\n", "Row #3.*got 3"), (b"a,b\n1,2\n1\n1,2\n", "Row #3.*got 1"),
    ("a,b\n1,ü\n".encode("latin-1"), "UTF-8.*line 2"), (b"PAR1 nothing PAR1", "readable as a table"), (b"\x28\xb5\x2f\xfdnothing", "readable as a table")])
def test_what_is_no_table_is_refused(tmp_path, raw, message):
    (tmp_path / "t.csv").write_bytes(raw)
    with pytest.raises(ContractError, match=message):
        read_flat(tmp_path / "t.csv")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match="none at"):
        read_flat(tmp_path / "none.csv")


MANY = range(200)
COLUMNS = {
    "plain numbers": ([f"{i / 7:.3f}" for i in MANY], ("number", ".")),
    "numbers with some words": ([*(str(i / 2) for i in MANY), "unknown", None], ("number", ".")),
    "thousands": ([f"{i * 997:,}" for i in MANY], ("number", ".")),
    "money": ([f"$ {i * 3.5:,.2f}" for i in MANY], ("number", ".")),
    "decimal commas": ([f"{i // 2},{i % 2 * 5}" for i in MANY], ("number", ",")),
    "postcodes": ([f"0{i % 9}123" for i in MANY], ("category", "")),
    "words": ([("red", "green", None)[i % 3] for i in MANY], ("category", "")),
    "iso dates": ([f"2026-{i % 12 + 1:02d}-{i % 28 + 1:02d}" for i in MANY], ("date", "ISO8601")),
    "Chinese dates": ([f"2026年{i % 12 + 1}月{i % 28 + 1}日" for i in MANY], ("date", "%Y年%m月%d日")),
    "day first": ([f"{i % 28 + 1:02d}/{i % 12 + 1:02d}/2026" for i in MANY], ("date", "%d/%m/%Y")),
    "month first": ([f"{i % 12 + 1:02d}/{i % 28 + 1:02d}/2026" for i in MANY], ("date", "%m/%d/%Y")),
    "day or month first": ([f"{i % 12 + 1:02d}/{i % 11 + 1:02d}/2026" for i in MANY], "cannot be told apart"),
    "row numbers": ([str(i) for i in MANY], "an id"),
    "customer_id": ([str(i * i + 5) for i in MANY], "an id"),
    "PassengerId": ([str(i * i + 5) for i in MANY], "an id"),
    "squares": ([str(i * i + 5) for i in MANY], ("number", ".")),
    "codes": ([f"{i * 7919:x}-q" for i in MANY], "an id"),
    "remarks": ([f"she said that number {i} did not work for her" for i in MANY], "free text"),
    "constant": (["a"] * 200, "one value in every row"),
    "blank": ([None] * 200, "no value"),
    "a flag or nothing": (["x", None] * 100, ("category", "")),
    "rare": ([f"k{i % 60}" for i in MANY], "none with 10 rows"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_what_a_column_is_taken_for(name):
    values, expected = COLUMNS[name]
    found = one(name, values)
    assert expected in found if isinstance(expected, str) else found == expected


@pytest.mark.parametrize(("text", "form", "number"), [
    ("1,234.5", ".", 1234.5), ("1.234,5", ",", 1234.5), ("12,5", ",", 12.5), ("¥ 1,200", ".", 1200), ("12%", ".", 12), ("-3e2", ".", -300),
    ("inf", ".", np.nan), ("x", ".", np.nan)])
def test_a_number_is_read_by_its_mark(text, form, number):
    read = inputs_of(pd.DataFrame({"n": pd.Series([text, "7"], dtype="str")}), [Field("n", "number", form)])["n"]
    assert read[0] == pytest.approx(number, nan_ok=True)
    assert read[1] == 7


def test_a_date_gives_its_day_month_and_weekday():
    inputs = inputs_of(pd.DataFrame({"d": pd.Series(["2000-01-02", "no"], dtype="str")}), [Field("d", "date", "ISO8601")])
    assert inputs.iloc[0].tolist() == [1, 1, 6]
    assert inputs.iloc[1].isna().all()


@pytest.mark.parametrize(("values", "positive"), [
    (["1", "0", "0"], "1"), (["1.0", "0", "1"], "1"), (["Yes", "no", "NO", "yes "], None), (["Yes", "no", "NO", "yes"], "yes"), (["TRUE", "False"], "true"), (["是", "否"], "是"),
    (["churned", "no"], "churned"), (["2", "1", "2"], "2"), (["-1", "1"], "1"), (["stay", "leave", "stay"], "leave"), ([0.0, 1.0], "1"), (["Y", None, "N"], "y")])
def test_which_value_counts_as_positive(values, positive):
    if positive is None:
        values, positive = [value.strip() for value in values], "yes"
    assert label_of(pd.Series(values), "label").positive == positive


@pytest.mark.parametrize(("values", "message"), [
    (["a", "b", "c"], "LABEL_NOT_BINARY: .*found 3 .*a"), (["a", "a"], r"ONE_CLASS: .*found 1 \(a\)"), ([None, None], "NO_LABEL: .*found 0")])
def test_a_label_has_two_values(values, message):
    with pytest.raises(ContractError, match=message):
        label_of(pd.Series(values, dtype="str"), "label")


def test_an_infinity_is_no_number_and_is_said():
    frame = pd.DataFrame({"spend": [1.5, np.inf, -np.inf, np.nan, 2.0] * 20, "ratio": [*(f"{i / 100}" for i in range(98)), "inf", "-inf"], "broken": [np.inf, -np.inf] * 50})
    frame = pd.DataFrame({name: flat._plain(frame[name]) for name in frame})
    fields, dropped = typed(frame, list(frame))
    assert [(field.name, field.kind) for field in fields] == [("spend", "number"), ("ratio", "number")]
    assert dropped == {"broken": "no value at all"}
    inputs = inputs_of(frame, fields)
    assert inputs.isna().sum().to_dict() == {"spend": 60, "ratio": 2}
    assert not np.isinf(inputs).any(axis=None)
    told = "values of a.csv are no number and count as missing"
    assert unread(frame, inputs, fields, "a.csv") == [f"spend: 40 {told}", f"ratio: 2 {told}"]


def test_a_category_of_a_hundred_thousand_levels_has_few_columns_or_none():
    n = 110_000
    rng, number = np.random.default_rng(0), np.arange(n)
    rare = np.where(rng.random(n) < 0.1, "common", np.char.add("s", (number % 100_000).astype(str)))
    words = pd.DataFrame({"street": pd.Series(rare, dtype="str"), "once": pd.Series(np.char.add("s", number.astype(str)), dtype="str")})
    fields, dropped = typed(words, ["street", "once"])
    assert dropped == {"once": "an id: nearly every row has its own"}
    (column,) = columns_of_inputs(inputs_of(words, fields), fields, np.ones(n, dtype=bool))
    assert column.levels == ("common",)
