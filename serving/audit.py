"""The audit log of a run: who took an audience, made or ended a key. One JSON line each, only ever added to."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

FILE = "audit.jsonl"


def audit(run: Path, what: str, by: str, **more: str | int | None) -> None:
    """Add a line. `by` is a key's id, or the door; nothing of a customer belongs here."""
    line = json.dumps({"at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "what": what, "by": by, **more}, ensure_ascii=False) + "\n"
    # One write to a file opened for appending: workers do not tear each other's lines.
    file = os.open(run / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
        os.fsync(file)
    finally:
        os.close(file)
