"""A full disk (F36; a limit on the size of files stands for it): the old model stays whole, nothing half-written is left, and it is said in a line."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up import COLUMNS

from features.files import folder_whole
from training.members import LinearMember
from training.registry import CHALLENGER, Registry
from training.saved_model import SavedModel, load
from training.train import PACKAGES, Trained

ROOT = Path(__file__).parents[2]
# Limits writing in a process of its own, then does what is given.
LIMITED = """
import resource, sys
from pathlib import Path
from features.errors import run_door
def main():
    {imports}
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
    {do}
run_door(main)
"""


def limited(limit, imports, do, *words):
    code = LIMITED.format(limit=limit, imports=imports.replace("\n", "\n    "), do=do)
    given = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, "-c", code, *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False, env=given)


@pytest.fixture(scope="module")
def model():
    member = LinearMember(0.1, np.arange(6.0), np.zeros(6), np.zeros(6), {4: np.array([0.1, 0.2, 0.3])})
    packages = dict.fromkeys(PACKAGES, "1.0")
    return SavedModel(
        "shop.churn", {"kind": "churn", "windows": {}}, COLUMNS, (member,), (1.0,), 0.9, -0.1, (0.2, 0.5),
        card={"fingerprint": "f" * 64, "packages": packages, "padding": "x" * 20_000})


@pytest.mark.parametrize("limit", [0, 300, 8_000])
def test_saving_over_a_model_on_a_full_disk_leaves_the_old_one(model, tmp_path, limit):
    model.save(tmp_path / "model")
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    imports = "from dataclasses import replace\nfrom training.saved_model import load\nmodel = replace(load(Path(sys.argv[1])), slope=0.5)"
    done = limited(limit, imports, "model.save(Path(sys.argv[1]))", tmp_path / "model")
    assert done.returncode == 2 and done.stderr.startswith("error: a file must be written, found ") and done.stderr.count("\n") == 1, done.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"] and load(tmp_path / "model").slope == 0.9


def test_a_model_takes_the_place_of_another_as_a_whole(model, tmp_path):
    model.save(tmp_path / "model")
    (tmp_path / "model" / "left-over").write_text("of the old one")
    replace(model, slope=0.5).save(tmp_path / "model")
    assert load(tmp_path / "model").slope == 0.5 and [path.name for path in tmp_path.iterdir()] == ["model"]
    with pytest.raises(KeyError), folder_whole(tmp_path / "model") as aside:
        (aside / "half").write_text("x")
        raise KeyError
    assert load(tmp_path / "model").slope == 0.5 and [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_registering_on_a_full_disk_registers_nothing(model, tmp_path):
    record = {"winner": "logistic", "params": {"C": 1.0}, "grade": "x", "test_as_of": [], "gain_over_rule": {"auc": 0.1}}
    registry = Registry(tmp_path / "run")
    registry.register(Trained(model, record, {}), "shop", "first")
    model.save(tmp_path / "other")
    (tmp_path / "record.json").write_text(json.dumps(record))
    imports = (
        "import json\nfrom training.registry import Registry\nfrom training.saved_model import load\nfrom training.train import Trained\n"
        "registry = Registry(Path(sys.argv[1]))\ntrained = Trained(load(Path(sys.argv[2])), json.loads(Path(sys.argv[3]).read_text()), {})")
    done = limited(4_000, imports, "registry.register(trained, 'shop', 'second')", tmp_path / "run", tmp_path / "other", tmp_path / "record.json")
    assert done.returncode == 2 and done.stderr.startswith("error: ") and "REGISTRY_FULL" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert [str(version.version) for version in registry.versions("shop.churn")] == ["1"]
    assert registry.version_of("shop.churn", CHALLENGER) == "1" and registry.model("shop.churn", "1").slope == 0.9
    assert registry.register(Trained(model, record, {}), "shop", "second") == "2", "with room again it goes on"
