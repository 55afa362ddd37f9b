"""Who was champion when: a line for each change, each refusal and each challenger that passed, append-only, beside the registry."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FILE = "champions.jsonl"


def write_line(run: Path, name: str, action: str, before: str | None, after: str, says: str) -> None:
    """Append one change of a model's champion; it is on the disk when this returns."""
    line = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "model": name, "action": action, "from": before, "to": after, "says": says}
    with open(run / FILE, "a", encoding="utf-8") as file:
        # A process that died in the middle of a line leaves it without an end.
        file.write(("" if _ends_whole(run) else "\n") + json.dumps(line, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def lines_of(run: Path, name: str) -> list[dict[str, Any]]:
    """A model's changes, oldest first; half a line is none."""
    path, found = run / FILE, []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if line["model"] == name:
            found.append(line)
    return found


def champion_before(run: Path, name: str, champion: str) -> str | None:
    """Whom the present champion replaced when it was promoted."""
    return next((line["from"] for line in reversed(lines_of(run, name)) if line["action"] == "promote" and line["to"] == champion), None)


def _ends_whole(run: Path) -> bool:
    path = run / FILE
    return not path.exists() or not path.stat().st_size or path.read_bytes().endswith(b"\n")
