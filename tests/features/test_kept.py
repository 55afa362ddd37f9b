"""What is kept between runs: the same tables come back, and only from the same files and code; one run at a time."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from features import kept
from features.errors import UsageError
from features.lock import locked
from features.snapshots import features_of, snapshots
from features.sources import open_dataset

EVENTS = [
    {"customer_id": f"c{i % 20}", "event_at": f"2026-0{1 + i % 5}-1{i % 9} 10:00:00", "amount": f"{i}.50",
     "category": "tea" if i % 3 else "salt", "kind": "purchase" if i % 7 else "return"}
    for i in range(200)]
BAD = [{"customer_id": "", "event_at": "2026-01-01", "amount": "1", "kind": "purchase", "category": "tea"}]


@pytest.fixture
def folder(folder_of):
    declared = 'simulated = true\nlicence = "made up"\n[features]\nexclude = ["top_*"]\n'
    return folder_of([*EVENTS, *BAD], declared=declared, customers=[{"customer_id": "c1", "valid_from": "2026-01-01", "city": "上海", "age": "30"}])


def test_kept_tables_are_the_tables(folder, tmp_path):
    fresh, findings, key, was_kept = kept.open_kept(str(folder), tmp_path)
    again, findings_again, key_again, was_kept_again = kept.open_kept(str(folder), tmp_path)
    assert (was_kept, was_kept_again) == (False, True)
    assert (key, findings) == (key_again, findings_again)
    for name, table in fresh.tables.items():
        by = table.columns[:3]
        assert table.order_by(by).to_pyarrow().equals(again.tables[name].order_by(by).to_pyarrow()), name
    assert {**fresh.__dict__, "engine": 0, "tables": 0} == {**again.__dict__, "engine": 0, "tables": 0}
    # What only reading needs is not kept; all else is as it was declared.
    declared = open_dataset(str(folder))
    assert {**fresh.__dict__, "engine": 0, "tables": 0} == {**declared.__dict__, "engine": 0, "tables": 0}
    assert fresh.is_simulated and fresh.licence == "made up" and fresh.exclude == ("top_*",) and [a.kind for a in fresh.attributes] == ["category", "number"]
    moment = [fresh.observed_until.replace(microsecond=0)]
    assert snapshots(fresh, moment, features_of(fresh)[0]).to_pyarrow().equals(snapshots(again, moment, features_of(again)[0]).to_pyarrow())


def test_a_changed_datum_or_declaration_is_read_again(folder, tmp_path):
    first = kept.open_kept(str(folder), tmp_path)[2]
    lines = (folder / "events.csv").read_text().splitlines()
    (folder / "events.csv").write_text("\n".join([*lines, lines[1].replace("e0,", "e999,", 1)]) + "\n")
    dataset, _, second, was_kept = kept.open_kept(str(folder), tmp_path)
    assert not was_kept and second != first
    with (folder / "dataset.toml").open("a") as file:
        file.write("# a word\n")
    assert not kept.open_kept(str(folder), tmp_path)[3]
    # Only the newest is kept.
    assert len(list((tmp_path / "features" / "clean").iterdir())) == 1
    assert dataset.tables["events"].count().to_pyarrow().as_py() == 201


def test_changed_code_that_reads_is_another_key(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "b.py").write_text("y = 1\n")
    both, one = kept.code_digest(tmp_path), kept.code_digest(tmp_path, ["a"])
    (tmp_path / "b.py").write_text("y = 2\n")
    assert kept.code_digest(tmp_path) != both
    assert kept.code_digest(tmp_path, ["a"]) == one


def test_a_change_in_a_family_of_features_is_another_key(tmp_path):
    """The files of features depend on what is declared in families/, too."""
    room = Path(kept.__file__).parent
    imported = {path.relative_to(room).with_suffix("").as_posix() for path in (room / "families").glob("[a-z]*.py")}
    assert imported <= set(kept.FEATURE_CODE) <= set(kept.BASE_CODE) and len(imported) == 5
    copy = tmp_path / "features"
    shutil.copytree(room, copy)
    before = kept.code_digest(copy, kept.FEATURE_CODE)
    with (copy / "families" / "interest.py").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert kept.code_digest(copy, kept.FEATURE_CODE) != before


def test_a_half_written_or_changed_file_is_not_kept(tmp_path):
    path = tmp_path / "table.parquet"
    path.write_bytes(b"one")
    kept.keep(path, "key")
    assert kept.is_kept(path, "key")
    assert not kept.is_kept(path, "other")
    path.write_bytes(b"two")
    assert not kept.is_kept(path, "key")


def test_the_second_in_a_folder_is_refused_and_told_who_is_there(tmp_path):
    code = f"import time\nfrom pathlib import Path\nfrom features.lock import locked\nwith locked(Path({str(tmp_path)!r})):\n    print('in', flush=True)\n    time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    try:
        assert holder.stdout.readline() == "in\n"
        with pytest.raises(UsageError, match=f"found process {holder.pid}.*since 20"), locked(tmp_path):
            pass
    finally:
        holder.kill()
        holder.communicate()
    # The kernel lets go of what a killed process held.
    for _ in range(50):
        try:
            with locked(tmp_path):
                return
        except UsageError:
            time.sleep(0.1)
    pytest.fail("the lock of a dead process still holds")


def test_a_folder_that_is_none_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="found none at"), locked(tmp_path / "nowhere"):
        pass
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(UsageError, match="can be written"), locked(tmp_path / "file" / "out", may_make=True):
        pass


def test_what_a_killed_process_left_half_written_is_cleared_away(tmp_path):
    (tmp_path / "features" / ".clean.7.part").mkdir(parents=True)
    (tmp_path / "features" / ".clean.7.part" / "events.parquet").write_text("half")
    (tmp_path / "features" / ".base.parquet.7.part").write_text("half")
    (tmp_path / "features" / "base.parquet").write_text("whole")
    with locked(tmp_path):
        assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [".lock", "base.parquet"]
