"""Files that are either whole or not there: write aside, fsync, rename."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a name to write to; on success it becomes `path` in one step, on failure nothing is left.

    Raises: whatever the writer raises, after the unfinished file is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield aside
        with open(aside, "rb") as file:
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def folder_whole(path: Path) -> Iterator[Path]:
    """Give a folder to write to; on success it becomes `path`, in place of one that stood there, on failure nothing is left and the old one stands.

    Raises: whatever the writer raises, after the unfinished folder is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside, old = (path.with_name(f".{path.name}.{os.getpid()}{ending}") for ending in (".part", ".old.part"))
    try:
        aside.mkdir()
        yield aside
        if path.exists():
            path.replace(old)
        aside.replace(path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole; NaN is refused, since no other reader knows it."""
    with written_whole(path) as aside:
        aside.write_text(json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
