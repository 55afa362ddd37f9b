"""Killed between tracking, registering, naming and promoting (F5): the old champion serves, and the same command goes on."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_up import COLUMNS

from training import changes, gate
from training.members import LinearMember
from training.registry import CHALLENGER, CHAMPION, Registry
from training.saved_model import SavedModel
from training.train import PACKAGES, Trained

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
NAME = "shop.churn"
RECORD = {"winner": "logistic", "params": {"C": 1.0}, "grade": "x", "test_as_of": [], "gain_over_rule": {"auc": 0.1}}
# What is judged is of no matter here: any challenger passes.
BEGIN = """
import json, os, sys
from pathlib import Path
from features.errors import run_door
from training import changes, gate
gate.fit_to_serve, gate._against = lambda model: None, lambda *given: "on the same folds: better"
run = Path(sys.argv[1])
"""
PROMOTE = BEGIN + """
sys.argv = ["training", "promote", "churn", "--run", str(run)]
{crash}
from training.__main__ import main
run_door(main)
"""
REGISTER = BEGIN + """
import mlflow
from training.registry import Registry
from training.saved_model import load
from training.train import Trained
registry = Registry(run)
{crash}
registry.register(Trained(load(run / "saved"), json.loads((run / "record.json").read_text()), {{}}), "shop", "second")
"""
DIE = "lambda *given, **named: os._exit(9)"


def child(code, run):
    return subprocess.Popen([sys.executable, "-c", code, str(run)], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def done(code, run):
    process = child(code, run)
    out, err = process.communicate(timeout=200)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder whose champion is version 1."""
    folder = tmp_path_factory.mktemp("killed")
    member = LinearMember(0.1, np.arange(6.0), np.zeros(6), np.zeros(6), {4: np.array([0.1, 0.2, 0.3])})
    card = {"fingerprint": "f" * 64, "packages": dict.fromkeys(PACKAGES, "1.0")}
    model = SavedModel(NAME, {"kind": "churn", "windows": {}}, COLUMNS, (member,), (1.0,), 0.9, -0.1, (0.2, 0.5), card=card)
    model.save(folder / "saved")
    (folder / "record.json").write_text(json.dumps(RECORD))
    (folder / "run.json").write_text('{"data": "shop"}')
    registry = Registry(folder)
    registry.register(Trained(model, RECORD, {}), "shop", "first")
    registry.promote(NAME, "1", None)
    changes.write_line(folder, NAME, "promote", None, "1", "no champion stood")
    return folder


def told(run):
    return [(line["action"], line["from"], line["to"]) for line in changes.lines_of(run, NAME)]


def test_killed_anywhere_the_old_champion_serves_and_the_same_command_goes_on(run):
    registry = Registry(run)
    # Killed when the run is tracked and nothing registered.
    assert done(REGISTER.format(crash=f"mlflow.register_model = {DIE}"), run)[0] == 9
    assert [str(version.version) for version in registry.versions(NAME)] == ["1"] and registry.kept(NAME, "second") is None
    # Killed when the version is registered and not yet called challenger.
    assert done(REGISTER.format(crash=f"registry.client.set_registered_model_alias = {DIE}"), run)[0] == 9
    assert registry.version_of(NAME, CHALLENGER) == "1" and registry.version_of(NAME, CHAMPION) == "1"
    assert registry.kept(NAME, "second")[0] == "2" and registry.version_of(NAME, CHALLENGER) == "2", "found by its key, not trained again"
    runs = registry.client.search_runs([registry.client.get_experiment_by_name("shop").experiment_id])
    assert len(runs) == 2, "what was tracked without a version is set aside"
    # Killed when it has passed and nothing moved; then when the champion has moved and its line is not written.
    assert done(PROMOTE.format(crash=f"from training.registry import Registry; Registry.promote = {DIE}"), run)[0] == 9
    assert registry.version_of(NAME, CHAMPION) == "1" and told(run)[-1] == ("passed", "1", "2")
    late = "write = changes.write_line\nchanges.write_line = lambda run, name, action, *rest: write(run, name, action, *rest) if action == 'passed' else os._exit(9)"
    assert done(PROMOTE.format(crash=late), run)[0] == 9
    assert registry.version_of(NAME, CHAMPION) == "2" and told(run)[-1] == ("passed", "1", "2")
    for _ in range(2):
        code, out, err = done(PROMOTE.format(crash=""), run)
        assert code == 0 and "version 2 is champion" in out, err
    assert [line for line in told(run) if line[0] == "promote"] == [("promote", None, "1"), ("promote", "1", "2")], "once, with whom it replaced"
    assert gate.roll_back(registry, run, NAME).version == "1"
