"""One run at a time in a run folder."""

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from features.errors import UsageError


@contextmanager
def locked(run: Path, may_make: bool = False) -> Iterator[None]:
    """Hold a run folder while something is written there. The kernel lets go when the process ends, however it ends.

    Raises: UsageError where there is no folder (unless it may be made), where another process holds it (who, and since when), or where it
    cannot be written.
    """
    if not run.is_dir() and not may_make:
        raise UsageError(f"--run must name a run folder, found none at {run}; make one first: make run OUT={run}")
    try:
        run.mkdir(parents=True, exist_ok=True)
        file = open(run / ".lock", "a+", encoding="utf-8")  # noqa: SIM115 (it is closed with the lock)
    except OSError as error:
        raise UsageError(f"--run needs a folder that can be written, found {run} ({error.strerror}); choose another: OUT=...") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise UsageError(f"only one run may work in {run} at a time, found {_holder(file.read())}; wait for it, or choose another folder: OUT=...") from None
        file.truncate(0)
        json.dump({"pid": os.getpid(), "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC", "command": " ".join(sys.argv[1:])}, file)
        file.flush()
        # Nobody else works here now: what is half-written was left by a process that was killed.
        for part in [*run.rglob("*.part")]:
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink(missing_ok=True)
        yield


def _holder(text: str) -> str:
    try:
        said = json.loads(text)
        return f"process {said['pid']} ({said['command']}) there since {said['since']}"
    except (ValueError, KeyError):
        return "another process there"
