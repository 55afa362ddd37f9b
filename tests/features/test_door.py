"""The door of the room: what it prints and writes, how it refuses, and that nothing half-written stays."""

import json
import os
import re
import subprocess
import sys
from collections import Counter

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from features.__main__ import main
from features.errors import ContractError, GateFailed, UsageError, first_few, run_door
from features.files import sha256, write_json, written_whole


@pytest.fixture
def door(monkeypatch, capsys):
    """A function: arguments -> (exit code, standard output, standard error)."""

    def called(*arguments):
        monkeypatch.setattr(sys, "argv", ["features", *map(str, arguments)])
        code = 0
        try:
            run_door(main)
        except SystemExit as error:
            code = error.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return called


@pytest.fixture(scope="module")
def shop(folder_of):
    rows = [{"customer_id": who, "event_at": f"2026-03-{day:02d} 10:00:00", "amount": day} for who, day in [("ann", 1), ("ann", 20), ("bo", 31)]]
    return folder_of([*rows, {**rows[0], "event_id": "e0"}, {"customer_id": None, "event_at": "2026-03-01"}])


def test_check_tells_rows_findings_and_features(door, shop):
    code, out, _ = door("check", shop)
    assert code == 0
    assert "events                3 rows" in out and "quarantine            2 rows" in out
    assert "NO_CUSTOMER: events needs" in out and "REPEATED_EVENT: events needs" in out and "features can be built" in out


@pytest.mark.parametrize("name", ["table.parquet", "table.csv"])
def test_build_writes_one_row_for_each_customer_and_moment(door, shop, tmp_path, name):
    path = tmp_path / "made" / name
    code, out, _ = door("build", shop, "--as-of", "2026-03-31", "2026-03-20T02:00:00Z", "--out", path)
    assert code == 0 and str(path) in out
    table = pq.read_table(path) if name.endswith("parquet") else pyarrow.csv.read_csv(path)
    # The first moment is midnight in Shanghai; the second is the very time of the second purchase, which it does not see.
    assert [(row["customer_id"], str(row["as_of"])[:19], row["purchases_count_56d"], row["spend_sum_56d_cny"]) for row in table.to_pylist()] == [
        ("ann", "2026-03-20 02:00:00", 1, 1.0),
        ("ann", "2026-03-30 16:00:00", 2, 21.0),
    ]
    assert [path.name for path in path.parent.iterdir()] == [name]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["check", "nowhere"], "DATA must be one of .* found 'nowhere'.*; correct the name"),
        (["build", "SHOP", "--as-of", "soon", "--out", "t.parquet"], "--as-of needs a time such as .*, found 'soon'; correct it"),
        (
            ["build", "SHOP", "--as-of", "2026-03-31", "2026-05-01", "--out", "t.parquet"],
            "--as-of must not be after the end of the data .*, found 2026-05-01; choose an earlier",
        ),
        (["build", "SHOP", "--as-of", "2026-03-31", "--out", "t.xlsx"], "--out must end in .parquet or .csv, or be a folder, found t.xlsx; name it so"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(door, shop, monkeypatch, tmp_path, arguments, says):
    monkeypatch.chdir(tmp_path)
    code, _, err = door(*(shop if argument == "SHOP" else argument for argument in arguments))
    line = err.strip().splitlines()[-1]
    assert code == 2 and re.search(f"^error: {says}", line) and "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_describe_is_the_data_dictionary(door, shop):
    code, out, _ = door("describe", "--data", shop, "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0 and rows["spend_sum_28d_cny"] == {
        "name": "spend_sum_28d_cny",
        "family": "consumption",
        "unit": "CNY",
        "no_data": 0,
        "label_en": "spend in the last 28 days",
        "label_zh": "近28天消费金额",
        "flags": [],
        "needs": ["amount_minor"],
    }
    _, markdown, _ = door("describe", "--data", shop)
    assert len(markdown.splitlines()) == len(rows) + 4 and "| spend_sum_28d_cny | consumption | CNY | 0 |" in markdown
    counts = Counter(row["family"] for row in rows.values())
    assert markdown.startswith(f"{len(rows)} features: {counts['behaviour']} behaviour, {counts['consumption']} consumption")
    _, some, _ = door("describe", "--data", shop, "--json", "--include", "family:consumption", "--exclude", "*_28d_*", "actionable")
    assert {row["name"] for row in json.loads(some)} == {
        name for name, row in rows.items() if row["family"] == "consumption" and "_28d_" not in name and "actionable" not in row["flags"]}


def test_a_label_with_a_bar_stays_in_its_cell(door, folder_of):
    folder = folder_of([{"customer_id": "ann", "event_at": "2026-03-01"}], customers=[{"customer_id": "ann", "city": "x"}], declared='[attributes.city]\nlabel_en = "a | b"\n')
    _, markdown, _ = door("describe", "--data", folder, "--include", "city")
    assert r"| city | profile | category | None | a \| b | city | undated, category |  |" in markdown


def test_check_says_how_attributes_were_read(door, folder_of):
    people = [{"customer_id": f"c{i}", "store": i % 3 + 1, "email": f"u{i}@x", "born": f"{i % 9 + 1}.5.1990"} for i in range(90)]
    code, out, _ = door("check", folder_of([{"customer_id": "c1", "event_at": "2026-03-01"}], customers=people))
    assert code == 0
    for line in ('attribute store: read as a number; if its 3 values are codes, declare [attributes.store] type = "category"',
                 "attribute email: left out, for lack of values that repeat (each customer has one of their own)", "attribute born: read as dates of the form %d.%m.%Y"):
        assert line in out


def test_a_portrait_is_printed_for_one_customer_at_one_moment(door, shop):
    code, out, _ = door("portrait", shop, "ann", "--as-of", "2026-03-20T02:00:00Z", "--lang", "zh", "--include", "family:consumption")
    assert code == 0 and out.splitlines()[2:5] == ["消费画像", "  近28天消费金额：1.00 CNY", "  近56天消费金额：1.00 CNY"]
    code, _, err = door("portrait", shop, "ann", "--as-of", "2026-03-01")
    assert code == 2 and err.startswith("error: CUSTOMER must be known before 2026-02-28 16:00:00 UTC, and be neither erased nor refuse profiling, found 'ann', who is not")
    assert "must not be after the end of the data" in door("portrait", shop, "ann", "--as-of", "2027-03-01")[2]


@pytest.mark.parametrize("words", [["describe", "--data", "SHOP"], ["build", "SHOP", "--as-of", "2026-03-20", "--out", "t.csv"]])
def test_a_word_that_means_no_feature_is_refused(door, shop, monkeypatch, tmp_path, words):
    monkeypatch.chdir(tmp_path)
    code, _, err = door(*(shop if word == "SHOP" else word for word in words), "--exclude", "spend_some_28d_cny")
    assert code == 2 and "found 'spend_some_28d_cny', which means none; the nearest is spend_sum_28d_cny" in err and not list(tmp_path.iterdir())


def test_build_writes_the_chosen(door, shop, tmp_path):
    path = tmp_path / "some.parquet"
    assert door("build", shop, "--as-of", "2026-03-31", "--out", path, "--include", "purchases_count_*", "--exclude", "*_ever")[0] == 0
    assert pq.read_table(path).column_names == ["customer_id", "as_of", "purchases_count_28d", "purchases_count_56d"]


def test_simulate_writes_a_folder_that_can_be_checked(door, tmp_path):
    out = tmp_path / "shop"
    words = ("simulate", "--customers", "1000", "--months", "9", "--seed", "2", "--out", out)
    code, said, _ = door(*words, "--without", "pressure", "--dirt", "late=0.01")
    assert code == 0 and f"make run DATA={out}" in said
    assert door("check", out)[0] == 0
    code, _, error = door(*words)
    assert code == 2 and "new or empty folder, found files in it" in error
    code, _, error = door(*words[:-1], tmp_path / "other", "--without", "weather")
    assert code == 2 and "one of slow_payment, unanswered, pressure, found 'weather'" in error and not (tmp_path / "other").exists()


def test_help_loads_nothing_heavy():
    look = "import sys; sys.argv = ['features', '--help']\ntry:\n    import features.__main__ as door; door.main()\nexcept SystemExit: pass\n"
    look += "print('heavy:', sorted({'ibis', 'duckdb', 'pandas', 'pyarrow', 'pandera', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=60, check=True)
    assert "check" in done.stdout and "build" in done.stdout and done.stdout.strip().endswith("heavy: []")


@pytest.mark.parametrize(("error", "code"), [(UsageError("x"), 2), (ContractError("x"), 2), (GateFailed("x"), 3)])
def test_exit_codes_tell_what_went_wrong(error, code, capsys):
    def fails():
        raise error

    with pytest.raises(SystemExit) as left:
        run_door(fails)
    assert left.value.code == code and capsys.readouterr().err == "error: x\n"


def test_a_reader_who_has_seen_enough_is_no_error(shop):
    seen, written = os.pipe()
    os.close(seen)
    done = subprocess.run([sys.executable, "-m", "features", "describe", "--data", shop], stdout=written, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(written)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_bug_keeps_its_trace():
    def fails():
        raise KeyError("x")

    with pytest.raises(KeyError):
        run_door(fails)


def test_first_offenders_are_named_and_the_rest_counted():
    assert first_few(["a", "b"]) == "a, b" and first_few(list("abcde")) == "a, b, c and 2 more"


def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "new" / "value.json"
    write_json(path, {"a": "中"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "中"}
    with pytest.raises(RuntimeError), written_whole(path) as aside:
        aside.write_text("half")
        assert path.read_text(encoding="utf-8") != "half"
        raise RuntimeError
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "中"}, "the old file stays"
    assert [one.name for one in path.parent.iterdir()] == ["value.json"], "nothing half-written stays"


def test_a_fingerprint_is_the_sha256_of_the_bytes(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
