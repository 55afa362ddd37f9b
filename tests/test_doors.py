"""The doors: help within a second, and bad input gives one clear message, exit code 2, and leaves nothing half-written."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("features", "training", "serving")
EVENTS = "event_id,customer_id,event_at,kind,amount\n"
DECLARED = 'zone = "Europe/London"\ncurrency = "GBP"\n'


def door(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=300, env={**os.environ, "COLUMNS": "200"})


@pytest.mark.parametrize("room", ROOMS)
def test_help_answers_within_a_second(room):
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        assert door(room, "--help").returncode == 0
        times.append(time.perf_counter() - begin)
    assert min(times) < 1.0


def many(n_days: int = 300, kind: str = "purchase", **changes: str) -> str:
    """Sixty customers who buy every few days for n_days, written as CSV."""
    lines = []
    for customer in range(60):
        for day in range(customer % 7, n_days, 3 + customer % 11):
            row = {"event_id": f"{customer}-{day}", "customer_id": str(customer), "event_at": f"{time.strftime('%Y-%m-%d', time.gmtime(1735689600 + 86400 * day))} 12:00:00",
                   "kind": kind, "amount": "3.50", **changes}
            lines.append(",".join(row.values()))
    return EVENTS + "\n".join(lines) + "\n"


CASES = {
    "a missing folder": (None, DECLARED, "folder of tables"),
    "an empty folder": ("", "", "needs a file events"),
    "a missing column": ("event_id,customer_id,kind\n1,2,purchase\n", DECLARED, "MISSING_COLUMN.*event_at"),
    "an unparsable time": (EVENTS + "1,a,yesterday,purchase,1\n", DECLARED, "UNPARSABLE_TIME.*yesterday"),
    "a source without a zone": (EVENTS + "1,a,2026-01-01,purchase,1\n", 'currency = "GBP"\n', "NO_ZONE"),
    "a duplicate key": (EVENTS + "1,a,2026-01-01,purchase,1\n1,b,2026-01-02,purchase,1\n", DECLARED, "DUPLICATE_KEY"),
    "mixed currencies": ("event_id,customer_id,event_at,kind,amount,currency\n1,a,2026-01-01,purchase,1,GBP\n2,a,2026-01-02,purchase,1,EUR\n", DECLARED, "MIXED_CURRENCY.*EUR"),
    "too little history": (many(40), DECLARED, "TOO_LITTLE_HISTORY.*found"),
    "history for one snapshot but not for four blocks": (many(120), DECLARED, "TOO_LITTLE_HISTORY.*would fit"),
    "no positive label": (many(), DECLARED, "NO_POSITIVE|TOO_FEW_LABELS|ONE_CLASS"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_bad_data_is_refused_in_one_message(case, tmp_path):
    events, declared, message = CASES[case]
    folder, run = tmp_path / "data", tmp_path / "run"
    if events is not None:
        folder.mkdir()
        if events:
            (folder / "events.csv").write_text(events)
        if declared:
            (folder / "dataset.toml").write_text(declared)
    done = door("training", "run", "--data", str(folder), "--run", str(run), "--trials", "1")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    message_line = done.stderr[done.stderr.index("error: "):]
    assert re.search(message, message_line, re.DOTALL), message_line
    assert not (run / "run.json").exists()
    assert not list(tmp_path.rglob("*.part"))


def test_a_corrupt_parquet_file_is_named(tmp_path):
    (tmp_path / "events.parquet").write_bytes(b"PAR1 this is no table PAR1")
    (tmp_path / "dataset.toml").write_text(DECLARED)
    done = door("features", "check", str(tmp_path))
    assert done.returncode == 2
    assert "events.parquet" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("words", "message"), [
    (("training", "run", "--data", "complete-jorney"), "complete-journey"),
    (("training", "promote", "churn", "--run", "nowhere"), "make run"),
    (("training", "run", "--trials", "0"), "TRIALS"),
    (("features", "build", "nowhere", "--as-of", "2017-10-01", "--out", "x.parquet"), "folder of tables"),
    (("serving", "report", "--out", "x", "--run", "nowhere"), "make run"),
])
def test_bad_words_are_refused(words, message):
    done = door(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_task_names_those_there_are(tmp_path):
    (tmp_path / "events.csv").write_text(many(20))
    (tmp_path / "dataset.toml").write_text(DECLARED)
    done = door("training", "train", "lottery", "--data", str(tmp_path), "--run", str(tmp_path / "run"))
    assert done.returncode == 2
    assert "churn" in done.stderr
    assert "lottery" in done.stderr
