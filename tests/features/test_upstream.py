"""What changes or is busy upstream (F33, F37): one line says so, and what was built before stays as it was."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.__main__ import main
from features.contracts import hold
from features.errors import ContractError, run_door
from features.files import written_whole
from features.sources import open_dataset

ROWS = {
    "event_id": ["1", "2", "3"], "customer_id": ["ann", "ann", "bo"], "event_at": [datetime(2026, 3, day) for day in (1, 8, 9)], "kind": ["purchase"] * 3,
    "amount": [5.0, 6.0, 7.5], "quantity": [1, 2, 1]}
DECLARED = 'zone = "UTC"\ncurrency = "EUR"\n[tasks.churn]\nlookbacks_days = [7, 28]\n'


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


def write(folder, rows=ROWS, name="events.parquet"):
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "dataset.toml").write_text(DECLARED)
    pq.write_table(pa.table(rows), folder / name)
    return folder


def without(*columns):
    return {column: values for column, values in ROWS.items() if column not in columns}


CHANGED = {  # what happened to the source: the rows now, what is said
    "dropped": (without("event_at"), "MISSING_COLUMN: events.parquet needs the columns event_at; found event_id, customer_id, kind"),
    "renamed": ({**without("kind"), "type": ROWS["kind"]}, "MISSING_COLUMN: events.parquet needs the columns kind; found .*type; add or rename them"),
    "times to numbers": ({**ROWS, "event_at": [1772323200] * 3}, r"WRONG_TYPE: events.event_at needs times .*; found 3 of type int64 \(1772323200, "),
    "times to flags": ({**ROWS, "event_at": [True] * 3}, "WRONG_TYPE: events.event_at needs times .*; found 3 of type boolean"),
    "ids to structures": ({**ROWS, "customer_id": [{"id": 1}] * 3}, "WRONG_TYPE: events.customer_id needs texts; found 3 of type struct"),
    "ids to decimals": ({**ROWS, "customer_id": [1.5, 2.0, 3.0]}, r"WRONG_TYPE: events.customer_id needs texts or whole numbers; found 1 with decimals \(1.5\)"),
    "amounts to text": ({**ROWS, "amount": ["5 EUR", "6", "7.5"]}, r"UNPARSABLE_VALUE: events.amount needs decimal numbers .*; found 1 that are not \(5 EUR\)"),
    "amounts to lists": ({**ROWS, "amount": [[5.0], [6.0], [7.5]]}, "WRONG_TYPE: events.amount needs decimal numbers such as 12.50; found 3 of type array"),
    "amounts to flags": ({**ROWS, "amount": [True] * 3}, "WRONG_TYPE: events.amount needs decimal numbers such as 12.50; found 3 of type boolean"),
    "quantities to fractions": ({**ROWS, "quantity": [1.5, 2.0, 1.0]}, r"UNPARSABLE_VALUE: events.quantity needs whole numbers .*; found 1 that are not \(1.5\)"),
    "quantities too large": ({**ROWS, "quantity": [2**62, 1, 1]}, "UNPARSABLE_VALUE: events.quantity needs whole numbers below 1,000,000,000,000,000; found 1"),
    "ratings that are none": ({**ROWS, "value": [float("nan"), 1.0, 2.0]}, r"UNPARSABLE_VALUE: events.value needs numbers .*; found 1 that are not \(nan\)"),
    "amounts that are none": ({**ROWS, "amount": [float("nan"), 1.0, 2.0]}, r"UNPARSABLE_VALUE: events.amount needs decimal numbers .*; found 1 that are not \(nan\)"),
    "ratings without bounds": ({**ROWS, "value": [float("inf"), 1.0, 2.0]}, r"UNPARSABLE_VALUE: events.value needs numbers below 1,000,000,000; found 1 that are not \(inf\)"),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder and the table that was built from it while it was whole."""
    folder = write(tmp_path_factory.mktemp("upstream") / "source")
    out = folder.parent / "out" / "table.parquet"
    subprocess.run([sys.executable, "-m", "features", "build", folder, "--as-of", "2026-03-09", "--out", out], check=True, capture_output=True, timeout=120)
    assert pq.read_table(out).num_rows == 1
    return folder, out


def refused(door, folder, out):
    """The one line that is said, while the table of before stays."""
    before = out.read_bytes()
    code, _, said = door("build", folder, "--as-of", "2026-03-09", "--out", out)
    line = said.strip().splitlines()[-1]
    assert code == 2 and line.startswith("error: ") and "Traceback" not in said
    assert out.read_bytes() == before and [path.name for path in out.parent.iterdir()] == [out.name]
    return line


@pytest.mark.parametrize("what", CHANGED)
def test_f33_a_changed_source_is_refused_in_one_line_and_the_old_table_stays(door, built, what):
    folder, out = built
    rows, says = CHANGED[what]
    write(folder, rows)
    assert re.search(says, refused(door, folder, out))


@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_f33_a_truncated_file_is_refused_and_the_old_table_stays(door, built, share):
    folder, out = built
    write(folder)
    whole = (folder / "events.parquet").read_bytes()
    (folder / "events.parquet").write_bytes(whole[:int(len(whole) * share)])
    assert re.search("must be readable as tables, found: .*; write that file again", refused(door, folder, out))


def test_f33_whole_numbers_that_a_gap_has_turned_into_decimals_are_still_the_same_ids(tmp_path):
    """As pandas writes them: 17850 yesterday, 17850.0 today."""
    for ids in ([17850, 12, 7], [17850.0, float("nan"), 7.0]):
        dataset = open_dataset(str(write(tmp_path / "source", {**ROWS, "customer_id": ids})))
        found = dataset.tables["events"].order_by("event_id").customer_id.to_pyarrow().to_pylist()
        assert found == ["17850", "12" if ids[1] == 12 else None, "7"]


def test_f33_a_column_of_almost_the_name_of_one_that_is_gone_is_a_warning(tmp_path):
    _, findings = hold(open_dataset(str(write(tmp_path / "source", {**without("amount"), "Amounts": ROWS["amount"], "colour": ["red"] * 3}))))
    assert [(finding.code, finding.level, finding.offenders) for finding in findings] == [("NEAR_COLUMN", "warn", ("Amounts in events.parquet may mean amount",))]
    _, findings = hold(open_dataset(str(write(tmp_path / "source", {**ROWS, "Amounts": ROWS["amount"]}))))
    assert not findings, "where the column is there, another is somebody's own"


def parts(tmp_path, first, second):
    for i, rows in enumerate((first, second)):
        write(tmp_path / "source" / "events", {**rows, "event_id": [f"{i}{number}" for number in ROWS["event_id"]]}, f"part-{i}.parquet")
    (tmp_path / "source" / "dataset.toml").write_text(DECLARED)
    return open_dataset(str(tmp_path / "source"))


def test_f33_a_column_that_only_some_parts_have_is_unknown_in_the_others_and_said(tmp_path):
    for first, second in ((ROWS, without("amount")), (without("amount"), ROWS)):
        dataset, findings = hold(parts(tmp_path, first, second))
        assert sorted(dataset.tables["events"].amount_minor.to_pyarrow().to_pylist(), key=str) == [500, 600, 750, None, None, None]
        lacking = "part-1.parquet" if first is ROWS else "part-0.parquet"
        assert [(finding.code, finding.offenders) for finding in findings] == [("PART_LACKS_COLUMN", (f"amount in {lacking}",))]


def test_f33_parts_may_write_their_numbers_and_texts_otherwise_but_nothing_is_rounded(tmp_path):
    second = {
        **ROWS, "amount": pa.array([5, 6, 7], pa.int32()), "quantity": [1.0, 2.0, 1.0], "kind": pa.array(ROWS["kind"]).dictionary_encode(), "channel": pa.nulls(3)}
    dataset, findings = hold(parts(tmp_path, {**ROWS, "channel": ["web"] * 3}, second))
    assert not findings and sorted(dataset.tables["events"].amount_minor.to_pyarrow().to_pylist()) == [500, 500, 600, 600, 700, 750]
    dataset, _ = hold(parts(tmp_path, second, ROWS))
    assert 750 in dataset.tables["events"].amount_minor.to_pyarrow().to_pylist()


@pytest.mark.parametrize(("column", "values", "kinds"), [
    ("event_at", [datetime(2026, 3, 1, tzinfo=UTC)] * 3, "time without zone in part-0.parquet, time with a zone in part-1.parquet"),
    ("amount", ["5", "6", "7"], "number in part-0.parquet, text in part-1.parquet"), ("kind", [1, 2, 3], "text in part-0.parquet, number in part-1.parquet")])
def test_f33_parts_of_other_types_are_refused(tmp_path, column, values, kinds):
    with pytest.raises(ContractError, match=f"WRONG_TYPE: events.{column} needs one type in all parts, found {kinds}; write the later parts as the earlier ones"):
        parts(tmp_path, ROWS, {**ROWS, column: values})


def test_f33_a_truncated_part_is_named(tmp_path):
    parts(tmp_path, ROWS, ROWS)
    cut = tmp_path / "source" / "events" / "part-1.parquet"
    cut.write_bytes(cut.read_bytes()[:100])
    with pytest.raises(ContractError, match="must be readable as tables, found: part-1.parquet, .*; write that file again"):
        open_dataset(str(tmp_path / "source"))


@pytest.fixture
def base(tmp_path):
    """A folder with a DuckDB file that holds orders and people."""
    folder = tmp_path / "shop"
    folder.mkdir()
    with duckdb.connect(str(folder / "shop.duckdb")) as engine:
        engine.execute(
            "CREATE TABLE orders AS SELECT i AS event_id, 'c' || (i % 3) AS who, TIMESTAMP '2026-03-01' + INTERVAL (i) HOUR AS event_at, 'purchase' AS kind, "
            "CAST(i AS DECIMAL(9, 2)) / 4 AS amount FROM range(9) t(i)")
        engine.execute("CREATE VIEW customers AS SELECT DISTINCT who AS customer_id, 'Lhasa' AS city FROM orders")
        engine.execute("CREATE VIEW elsewhere AS SELECT * FROM read_csv('/etc/passwd')")
    declared = '[tables.events]\nfile = "shop.duckdb"\ntable = "orders"\ncolumns = { customer_id = "who" }\n[tables.customers]\nfile = "shop.duckdb"\n'
    (folder / "dataset.toml").write_text(DECLARED + declared)
    return folder


WRITER = """
import sys, time, duckdb
engine = duckdb.connect(sys.argv[1])
engine.execute("INSERT INTO orders VALUES (100, 'c9', TIMESTAMP '2026-03-09', 'purchase', 1)")
engine.execute("BEGIN")
engine.execute("INSERT INTO orders SELECT i, 'c8', TIMESTAMP '2026-03-09', 'purchase', 1 FROM range(1000, 9000) t(i)")
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def writer(base):
    """A process that is writing into the DuckDB file: one row committed, 8,000 not."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(base / "shop.duckdb")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


def events_of(folder):
    return hold(open_dataset(str(folder)))[0].tables["events"]


def test_f37_a_duckdb_file_is_read_where_it_is_named_and_let_go_at_once(base):
    before = (base / "shop.duckdb").read_bytes()
    dataset, findings = hold(open_dataset(str(base)))
    events = dataset.tables["events"].order_by("event_at").to_pyarrow().to_pylist()
    assert not findings and [(row["event_id"], row["customer_id"], row["amount_minor"]) for row in events[:2]] == [("0", "c0", 0), ("1", "c1", 25)]
    assert sorted(dataset.tables["customers"].customer_id.to_pyarrow().to_pylist()) == ["c0", "c1", "c2"]
    assert (base / "shop.duckdb").read_bytes() == before
    # The dataset is still at work, and nobody is kept from writing.
    subprocess.run([sys.executable, "-c", f"import duckdb; duckdb.connect({str(base / 'shop.duckdb')!r}).execute('DELETE FROM orders')"], check=True, timeout=60)
    assert dataset.tables["events"].count().to_pyarrow().as_py() == 9


def test_f37_a_file_that_another_process_writes_is_refused_by_the_process_and_read_when_that_was_killed(door, base, writer, tmp_path):
    out = tmp_path / "out" / "table.csv"
    out.parent.mkdir()
    out.write_text("of before")
    line = refused(door, base, out)
    assert f"LOCKED: shop.duckdb must not be open for writing while it is read, found that process {writer.pid} has it open; close it there" in line
    writer.kill()
    writer.wait()
    customers = events_of(base).customer_id.to_pyarrow().to_pylist()
    assert len(customers) == 10 and "c9" in customers and "c8" not in customers, "what was committed is there, the rest is not"


def test_f37_a_file_that_this_very_process_writes_is_refused_too(base):
    with duckdb.connect(str(base / "shop.duckdb")), pytest.raises(ContractError, match="LOCKED: .*found that this process has it open; close it there"):
        open_dataset(str(base))
    assert events_of(base).count().to_pyarrow().as_py() == 9


@pytest.mark.parametrize(("declared", "message"), [
    ('table = "order"\n', "shop.duckdb needs a table or view order, found customers, elsewhere, orders; name one in dataset.toml: table = ..."),
    ('table = "elsewhere"\n', "must be readable as tables, found: Permission Error: Cannot access file \"/etc/passwd\""),
    ("", "shop.duckdb needs a table or view events, found customers, elsewhere, orders")])
def test_a_relation_that_is_not_there_or_reaches_outside_is_refused(base, declared, message):
    (base / "dataset.toml").write_text(f'{DECLARED}[tables.events]\nfile = "shop.duckdb"\n{declared}')
    with pytest.raises(ContractError, match=message):
        open_dataset(str(base))


def test_a_duckdb_file_that_nobody_named_is_told_how(base):
    (base / "dataset.toml").write_text(DECLARED)
    with pytest.raises(ContractError, match=r'found dataset.toml, shop.duckdb; export your events there, or declare \[tables.events\] file = "shop.duckdb", table = "..."'):
        open_dataset(str(base))
    (base / "events.csv").write_text("event_id,customer_id,event_at,kind\n1,a,2026-03-01,purchase\n")
    assert events_of(base).count().to_pyarrow().as_py() == 1, "beside a table of its own name it is nobody's"
    (base / "dataset.toml").write_text(f'{DECLARED}[tables.events]\ntable = "orders"\n')
    with pytest.raises(ContractError, match="tables.events.table must name a table of a .duckdb file, found the file events.csv"):
        open_dataset(str(base))


@pytest.mark.parametrize("broken", ["empty", "cut", "text"])
def test_f33_a_broken_duckdb_file_is_refused(base, broken):
    path = base / "shop.duckdb"
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": whole[:len(whole) // 2], "text": b"hello" * 9999}[broken])
    with pytest.raises(ContractError, match="must be readable as tables, found: .*; write that file again"):
        open_dataset(str(base))


KILLED = """
import os, sys
import pyarrow.parquet as pq
from features.__main__ import main
write = pq.ParquetWriter.write_batch
def dies(self, batch):
    write(self, batch)
    os.kill(os.getpid(), 9)
pq.ParquetWriter.write_batch = dies
main()
"""


def test_f37_a_build_that_is_killed_while_it_writes_leaves_the_old_table(built):
    folder, out = built
    write(folder)
    before = out.read_bytes()
    words = ["build", str(folder), "--as-of", "2026-03-09", "2026-03-08T12:00:00", "--out", str(out)]
    done = subprocess.run([sys.executable, "-c", KILLED, *words], capture_output=True, timeout=120, check=False)
    assert done.returncode == -9 and out.read_bytes() == before
    for left in out.parent.glob(".*.part"):
        left.unlink()


def test_f37_two_processes_that_write_the_same_file_leave_one_of_the_two_whole(tmp_path):
    path = tmp_path / "table.json"
    script = f"import sys; from pathlib import Path; from features.files import write_json\nfor i in range(60): write_json(Path({str(path)!r}), [sys.argv[1]] * 20000)"
    writers = [subprocess.Popen([sys.executable, "-c", script, name]) for name in ("a", "b")]
    while any(process.poll() is None for process in writers):
        if path.exists():
            found = json.loads(path.read_text())
            assert len(found) == 20000 and len(set(found)) == 1
    assert [process.returncode for process in writers] == [0, 0] and [one.name for one in tmp_path.iterdir()] == ["table.json"]
    with pytest.raises(RuntimeError), written_whole(path):
        raise RuntimeError
    assert json.loads(path.read_text()) == found
