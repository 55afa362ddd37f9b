"""The server's log: one JSON object on each line, so that any collector can read it.

A request is one line: its id, key, route, status, milliseconds, rows, versions. Nothing of a customer belongs here: no ids, no bodies, no paths.
"""

import logging
import os
import sys
import time
from typing import Any

import msgspec

NAME = "likeness"
# Set to "no", requests are only counted (GET /metrics); warnings and errors are written all the same.
SWITCH = "LIKENESS_LOG_REQUESTS"
_ABOUT = "about"


class JsonLines(logging.Formatter):
    """A record as one JSON object: at (UTC), level, message, and what it is about."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        at = f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{int(record.msecs):03d}Z"
        said = {"at": at, "level": record.levelname.lower(), "message": record.getMessage(), **getattr(record, _ABOUT, {})}
        return msgspec.json.encode(said).decode()

    # UTC.
    converter = staticmethod(time.gmtime)


def configure() -> None:
    """Write what this process logs to its standard error, as JSON lines."""
    log, handler = logging.getLogger(NAME), logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO if os.environ.get(SWITCH, "yes") != "no" else logging.WARNING)


def request(log: logging.Logger, method: str, route: str, status: int, seconds: float, about: dict[str, Any]) -> None:
    """One line for one request."""
    if log.isEnabledFor(logging.INFO):
        told = {"method": method, "route": route, "status": status, "ms": round(1000 * seconds, 1), **about}
        log.info("%s %s %d", method, route, status, extra={_ABOUT: told})
