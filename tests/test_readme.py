"""The README's commands exist and its paths point somewhere; what they do is tested where it is done."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKE = sorted(set(re.findall(r"(?<![\w-])make ([a-z]+)(?=[\s\[`,]|$)", README)))
DOORS = sorted(set(re.findall(r"python -m (features|training|serving) ([a-z]+)", README)))


def test_the_readme_names_the_commands_that_are_promised():
    assert {"setup", "run", "serve", "test", "check"} <= set(MAKE)
    assert {("features", "check"), ("features", "build"), ("features", "describe"), ("training", "train"), ("training", "compare"),
            ("serving", "score"), ("serving", "report")} <= set(DOORS)


@pytest.mark.parametrize("target", MAKE)
def test_a_make_target_exists(target):
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_make_passes_what_is_given_and_nothing_else():
    plain = subprocess.run(["make", "-n", "run"], cwd=ROOT, capture_output=True, text=True).stdout
    assert "--trials" not in plain
    assert "--data" not in plain
    given = subprocess.run(["make", "-n", "run", "DATA=some folder", "TRIALS=7", "OUT=there"], cwd=ROOT, capture_output=True, text=True).stdout
    assert '--data "some folder" --trials "7" --run "there"' in given


@pytest.mark.parametrize(("room", "command"), DOORS)
def test_a_door_knows_its_command(room, command):
    done = subprocess.run([sys.executable, "-m", room, command, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert "example" in done.stdout


def test_what_the_readme_links_to_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
    for path in re.findall(r"`((?:features|serving|training)/[\w./]*)`", README):
        assert (ROOT / path).exists(), path


def test_the_promised_defaults_are_the_doors():
    from_help = subprocess.run([sys.executable, "-m", "training", "run", "--help"], cwd=ROOT, capture_output=True, text=True).stdout
    assert "default 20" in from_help
    assert "complete-journey" in from_help
