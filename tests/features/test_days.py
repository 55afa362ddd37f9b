"""A folder of days: each made once, equal to the table of all at once, and never changed by what comes later."""

import shutil
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from features.__main__ import main

DAYS = ("2026-03-01", "2026-03-15")
TIMES = [f"2026-0{month}-{day:02d} 10:00:00" for month in (1, 2, 3) for day in (3, 17)]
EVENTS = [{"customer_id": c, "event_at": at, "ingested_at": at, "amount": i} for c in "abc" for i, at in enumerate(TIMES)]
LATER = [{"customer_id": "a", "event_at": "2026-03-02 10:00:00", "ingested_at": "2026-03-20 10:00:00", "amount": 9, "event_id": "late"},
         {"customer_id": "d", "event_at": "2026-03-20 21:00:00", "ingested_at": "2026-03-20 21:00:00", "amount": 9, "event_id": "new"}]


@pytest.fixture
def build(monkeypatch, capsys):
    def called(data, out, *days):
        monkeypatch.setattr(sys, "argv", ["features", "build", str(data), "--as-of", *days, "--out", str(out)])
        main()
        said = capsys.readouterr()
        return said.out.split(), said.err

    return called


def rows(*paths):
    return [row for path in paths for row in pq.read_table(path, partitioning=None).to_pylist()]


def test_days_equal_the_table_of_all_at_once_and_are_made_once(folder_of, build, tmp_path):
    data = folder_of(EVENTS)
    paths, _ = build(data, tmp_path / "days", *DAYS)
    assert [path.split("/")[-2] for path in paths] == ["as_of=2026-02-28T160000Z", "as_of=2026-03-14T160000Z"]
    build(data, tmp_path / "all.parquet", *DAYS)
    assert sorted(rows(*paths), key=str) == sorted(rows(tmp_path / "all.parquet"), key=str)
    before = [(path, Path(path).read_bytes()) for path in paths]
    again, said = build(data, tmp_path / "days", *DAYS, "2026-03-17")
    assert "2 of 3 days are up to date" in said and "for 1 days" in said and "the tables are up to date" in said
    assert [(path, Path(path).read_bytes()) for path in again[:2]] == before and len(rows(again[2])) == 3


def test_what_comes_later_leaves_every_day_as_it_was(folder_of, build, tmp_path):
    early = folder_of(EVENTS)
    paths, _ = build(early, tmp_path / "days", *DAYS)
    kept = rows(*paths)
    data = tmp_path / early.name
    shutil.copytree(folder_of([*EVENTS, *LATER]), data)
    paths, said = build(data, tmp_path / "days", *DAYS, "2026-03-20T13:00:01Z")
    assert "for 3 days" in said and rows(*paths[:2]) == kept, "made again from more events, the same"
    assert {row["customer_id"] for row in rows(paths[2])} == set("abcd")


def test_a_damaged_day_is_made_again(folder_of, build, tmp_path):
    data = folder_of(EVENTS)
    (path, _), _ = build(data, tmp_path / "days", *DAYS)
    good = rows(path)
    Path(path).write_bytes(Path(path).read_bytes() + b"x")
    _, said = build(data, tmp_path / "days", *DAYS)
    assert "for 1 days" in said and rows(path) == good
