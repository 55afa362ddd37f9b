"""MLproject: every declared parameter reaches a door that knows it, and none has a default of its own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
ENTRIES = yaml.safe_load((ROOT / "MLproject").read_text(encoding="utf-8"))["entry_points"]
VALUES = {
    "data": "no-such-data", "trials": "7", "run": "no-such-run", "task": "churn", "as_of": "2017-10-01", "out": "no-such-out.parquet", "lang": "en",
    "file": "no-such-file.csv", "label": "left", "seeds": "no-such-seeds.csv", "top": "10"}


@pytest.mark.parametrize("name", ENTRIES)
def test_declared_parameters_are_passed_and_hold_no_default(name):
    entry = ENTRIES[name]
    assert set(re.findall(r"\{(\w+)\}", entry["command"])) == set(entry["parameters"])
    assert all("default" not in said for said in entry["parameters"].values())


@pytest.mark.parametrize("name", ENTRIES)
def test_the_door_takes_the_command(name):
    words = ENTRIES[name]["command"].format(**VALUES).split()[1:]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=120)
    # The door understood its words (argparse would say "usage:") and refused what does not exist.
    assert done.returncode == 2
    assert "usage:" not in done.stderr
    assert "no-such" in done.stderr
