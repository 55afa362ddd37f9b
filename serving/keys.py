"""Keys: who may ask what, and how often. The run folder holds their hashes only; every worker notices a change within a second."""

import fcntl
import hashlib
import json
import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from fastapi import HTTPException

from features.errors import ContractError, UsageError
from features.files import write_json

# `admin` opens every door.
SCOPES = ("score", "audience", "profile", "reports", "admin")
_OF_ROUTE = {
    "/score": "score", "/explain": "score", "/whatif": "score", "/models": "score", "/audience": "audience", "/profile": "profile", "/features": "reports", "/reports": "reports"}
FILE = "keys.json"
_SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True)
class Key:
    """What is kept of a key. The key itself is 32 random bytes, which no list of guesses holds, so a plain SHA-256 keeps it."""

    id: str
    name: str
    sha256: str
    scopes: tuple[str, ...]
    per_second: float | None
    created_at: str
    revoked_at: str | None = None


def read_keys(run: Path) -> list[Key]:
    """All keys of a run, oldest first; none where none was made. Raises: ContractError where the file is not as it was written."""
    try:
        said = json.loads((run / FILE).read_text(encoding="utf-8"))
        return [Key(**{**one, "scopes": tuple(one["scopes"])}) for one in said]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise ContractError(f"{FILE} must be readable as it was written, found {type(error).__name__} in {run}; take it away and make the keys again") from None


def add(run: Path, name: str, scopes: list[str], per_second: float | None = None) -> tuple[Key, str]:
    """Make a key: what is kept, and the key itself, which is told once. Raises: UsageError."""
    odd = [scope for scope in scopes if scope not in SCOPES]
    if odd or not scopes:
        raise UsageError(f"--scope must be of {', '.join(SCOPES)}, found {odd[0] if odd else 'none'}; give at least one")
    if per_second is not None and not 0 < per_second < 1e6:
        raise UsageError(f"--per-second must be above 0, found {per_second:g}; leave it out for no limit")
    with _alone(run):
        kept, identity = read_keys(run), secrets.token_hex(4)
        secret = f"lk_{identity}_{secrets.token_urlsafe(32)}"
        key = Key(identity, name, _digest(secret), tuple(dict.fromkeys(scopes)), per_second, _now())
        _write(run, [*kept, key])
    return key, secret


def revoke(run: Path, identity: str) -> Key:
    """End a key. Raises: UsageError where there is none of this id that still opens."""
    with _alone(run):
        kept = read_keys(run)
        found = [key for key in kept if key.id == identity and key.revoked_at is None]
        if not found:
            open_ones = ", ".join(key.id for key in kept if key.revoked_at is None) or "none"
            raise UsageError(f"ID must be of a key that still opens, one of {open_ones}; found {identity!r}: python -m serving keys list")
        ended = replace(found[0], revoked_at=_now())
        _write(run, [ended if key.id == identity else key for key in kept])
    return ended


class Keys:
    """The keys of a run while it is served. `share` is this worker's part of what a key may ask each second."""

    def __init__(self, run: Path, share: float = 1.0) -> None:
        self.run, self.share = run, share
        self._by_digest: dict[str, Key] = {}
        self._stamp: tuple[int, int] | None = None
        self._looked = -_SECONDS_BETWEEN_LOOKS
        self._left: dict[str, tuple[float, float]] = {}

    def require(self, authorization: str, route: str) -> Key:
        """The key of a request for a route. Raises: 401 without one that opens, 403 for another's door, 429 where it asks too often."""
        self._look()
        scheme, _, secret = authorization.partition(" ")
        key = self._by_digest.get(_digest(secret)) if scheme.lower() == "bearer" else None
        if key is None:
            raise HTTPException(401, "a valid key is required: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})
        needed = "reports" if route.startswith("/reports/") else _OF_ROUTE.get(route)
        if needed is not None and needed not in key.scopes and "admin" not in key.scopes:
            raise HTTPException(403, f"this key may not ask here: that needs the scope {needed}")
        if key.per_second is not None:
            self._spend(key.id, key.per_second * self.share)
        return key

    def _spend(self, identity: str, rate: float) -> None:
        """A bucket that fills at `rate` and holds one second's worth, at least one."""
        now, most = time.monotonic(), max(1.0, rate)
        left, since = self._left.get(identity, (most, now))
        left = min(most, left + (now - since) * rate)
        self._left[identity] = (left - 1, now) if left >= 1 else (left, now)
        if left < 1:
            raise HTTPException(429, "this key asks more often than it may; wait, or ask for more customers at once", {"Retry-After": str(max(1, round((1 - left) / rate)))})

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < _SECONDS_BETWEEN_LOOKS:
            return
        self._looked = now
        try:
            said = (self.run / FILE).stat()
            stamp: tuple[int, int] | None = (said.st_mtime_ns, said.st_ino)
        except FileNotFoundError:
            stamp = None
        if stamp != self._stamp:
            try:
                self._by_digest = {key.sha256: key for key in read_keys(self.run) if key.revoked_at is None}
            except ContractError as error:
                # Whoever was let in before still is, and nobody else.
                logging.getLogger("likeness").error("the keys cannot be read: %s", error)
            self._stamp = stamp


@contextmanager
def _alone(run: Path) -> Iterator[None]:
    """One change of the keys at a time. Raises: UsageError where there is no run."""
    if not run.is_dir():
        raise UsageError(f"--run must name a run folder, found none at {run}; make one first: make run OUT={run}")
    with open(run / f".{FILE}.lock", "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(run: Path, keys: list[Key]) -> None:
    before = os.umask(0o077)
    try:
        write_json(run / FILE, [asdict(key) for key in keys])
    finally:
        os.umask(before)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
