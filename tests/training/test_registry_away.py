"""A registry that is locked, gone or half there: a coded refusal, and nothing registered, promoted or begun anew in silence."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from features.errors import ContractError, GateFailed, UsageError
from training import changes, gate
from training import registry as module
from training.registry import CHALLENGER, CHAMPION, Registry

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
NAME = "shop.churn"
ASK = {
    "version_of": lambda registry: registry.version_of(NAME, CHAMPION), "versions": lambda registry: registry.versions(NAME), "kept": lambda registry: registry.kept(NAME, "key"),
    "model": lambda registry: registry.model(NAME, "1"), "promote": lambda registry: registry.promote(NAME, "1", None)}


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A store without models, made once: making one takes seconds."""
    folder = tmp_path_factory.mktemp("empty")
    Registry(folder)
    return folder / "mlflow.db"


@pytest.fixture
def registry(empty, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.05)
    shutil.copy(empty, tmp_path / "mlflow.db")
    registry = Registry(tmp_path)
    assert registry.version_of(NAME, CHAMPION) is None and registry.versions(NAME) == []
    return registry


@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
def test_a_locked_registry_is_no_empty_one(registry, tmp_path, ask):
    holder = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(ContractError, match="REGISTRY_LOCKED: .*mlflow.db must answer, found it locked .* nothing was registered"):
        ask(registry)
    holder.execute("ROLLBACK")
    assert registry.versions(NAME) == []


@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
def test_a_registry_that_is_gone_is_no_empty_one(registry, tmp_path, ask):
    (tmp_path / "mlflow.db").rename(tmp_path / "elsewhere")
    with pytest.raises(ContractError, match="REGISTRY_GONE: .*nothing was registered or promoted"):
        ask(registry)
    assert not (tmp_path / "mlflow.db").exists(), "nobody makes an empty one in its place"


def test_what_is_no_database_is_refused(registry, tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"no database at all" * 400)
    with pytest.raises(ContractError, match="REGISTRY_GONE"):
        registry.versions(NAME)


def test_a_run_folder_that_has_had_champions_gets_no_new_registry(registry, tmp_path):
    changes.write_line(tmp_path, NAME, "promote", None, "1", "no champion stood")
    (tmp_path / "mlflow.db").unlink()
    with pytest.raises(ContractError, match="REGISTRY_GONE: .*put the file back from a copy"):
        Registry(tmp_path)


def test_a_server_that_does_not_answer_is_said_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somebody:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for ask in (ASK["version_of"], ASK["versions"]):
        with pytest.raises(ContractError, match="REGISTRY_GONE: the registry http://127.0.0.1:9 must be there") as refusal:
            ask(Registry(tmp_path))
        assert "secret" not in str(refusal.value)


def test_a_promotion_that_was_refused_is_written_down_and_is_no_change(tmp_path, monkeypatch):
    """A stand-in for MLflow's side: another champion came between look and move."""
    class Between:
        seen = 0

        def require(self, name, alias):
            assert alias == CHALLENGER
            return "2"

        def version_of(self, name, alias):
            return "1"

        def model(self, name, version):
            return version

        def promote(self, name, version, standing):
            raise GateFailed("another came; judge again")

    monkeypatch.setattr(gate, "fit_to_serve", lambda model: None)
    monkeypatch.setattr(gate, "_against", lambda *given: "better")
    changes.write_line(tmp_path, NAME, "promote", None, "1", "no champion stood")
    with pytest.raises(GateFailed, match="another came"):
        gate.promote(Between(), tmp_path, NAME)
    lines = changes.lines_of(tmp_path, NAME)
    told = [(line["action"], line["from"], line["to"]) for line in lines]
    assert told == [("promote", None, "1"), ("passed", "1", "2"), ("refuse", "1", "2")] and "another came" in lines[-1]["says"]
    assert changes.champion_before(tmp_path, NAME, "2") is None


def test_the_door_says_it_in_a_line(registry, tmp_path):
    (tmp_path / "run.json").write_text('{"data": "shop"}')
    holder = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    code = "import training.registry as r; r.WAIT_SECONDS = 0.05; import sys; sys.argv = ['training', 'promote', 'churn', '--run', sys.argv[1]]\n" \
           "from features.errors import run_door; from training.__main__ import main; run_door(main)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[2], capture_output=True, text=True, env=dict(os.environ))
    holder.close()
    assert done.returncode == 2 and done.stderr.startswith("error: REGISTRY_LOCKED: ") and done.stderr.count("\n") == 1, done.stderr
    with pytest.raises(UsageError, match="train it first"):
        registry.require(NAME, CHALLENGER)
