"""The arrow: features imports none of ours; training imports features; serving imports features and, of training, the saved model and the saved space."""

import ast
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("features", "training", "serving")
ALLOWED = {"features": ("features",), "training": ("features", "training"), "serving": ("features", "serving", "training.saved_model", "training.space")}
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def imported(tree: ast.AST) -> list[str]:
    """Every module that a file imports, wherever in the file."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def breaks(room: str, source: str) -> list[str]:
    """Imports of ours that the room may not have."""
    ours = [name for name in imported(ast.parse(source)) if name.split(".")[0] in (*ROOMS, "tests", "notebooks")]
    return [name for name in ours if not any(name == allowed or name.startswith(allowed + ".") for allowed in ALLOWED[room])]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_what_its_room_may(path):
    assert breaks(path.relative_to(ROOT).parts[0], path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(("room", "source"), [
    ("features", "import training.members"), ("serving", "from training import members"), ("training", "def f():\n    from serving import api"),
    ("features", "from tests.conftest import x")])
def test_a_forbidden_import_is_found(room, source):
    assert breaks(room, source)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_short_enough_to_read(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def tracked(*endings: str) -> list[Path]:
    left_out = {".venv", "out", ".git", ".mypy_cache", ".ruff_cache", "__pycache__"}
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in left_out]
        found += [Path(folder) / name for name in names if name.endswith(endings)]
    return found


def test_no_lock_names_a_package_index():
    for path in tracked(".lock", ".toml", ".in"):
        text = path.read_text(encoding="utf-8")
        assert "index-url" not in text
        assert "find-links" not in text
        if path.suffix == ".lock":
            assert "://" not in text, path


def test_nothing_pickled_crosses_a_boundary():
    for path in FILES:
        names = {name.split(".")[0] for name in imported(ast.parse(path.read_text(encoding="utf-8")))}
        assert not names & {"pickle", "joblib", "cloudpickle", "dill", "skops"}, path
