"""Who must not be scored any more, before the data say so too; and ids that only the holder of a key can turn back.

The list holds keyed hashes, never ids. Whoever stands there is in no answer, no audience and no file; a server notices a change within a second.
"""

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.errors import ContractError, UsageError
from features.files import written_whole

FILE, KEY_FILE = "withheld.txt", "pseudonym.key"
_SECONDS_BETWEEN_LOOKS = 1.0


class Pseudonyms:
    """Ids as keyed hashes (HMAC-SHA256, 128 bits): equal for equal ids, and not to be turned back or guessed without the key.

    The key is LIKENESS_PSEUDONYM_KEY, or else a file of the run that is made once.
    """

    def __init__(self, run: Path) -> None:
        given = os.environ.get("LIKENESS_PSEUDONYM_KEY")
        self._key = given.encode() if given else _key(run)

    @property
    def key_id(self) -> str:
        """Names the key without telling it, so that files of one key can be told from those of another."""
        return hashlib.sha256(b"id of " + self._key).hexdigest()[:8]

    def of(self, customer: str) -> str:
        """The pseudonym of one id."""
        return hmac.digest(self._key, customer.encode("utf-8", "surrogatepass"), "sha256").hex()[:32]


@dataclass(frozen=True)
class Listed:
    """Who must not be scored, as a list said at one moment."""

    names: frozenset[str] = frozenset()
    pseudonyms: Pseudonyms | None = None

    def among(self, customers: Sequence[str]) -> frozenset[int]:
        """The places of those who are listed."""
        if self.pseudonyms is None or not self.names:
            return frozenset()
        return frozenset(i for i, customer in enumerate(customers) if self.pseudonyms.of(customer) in self.names)


class Withheld:
    """Who must not be scored, as the run's list says now."""

    def __init__(self, run: Path) -> None:
        self.path = run / FILE
        self._listed = Listed()
        self._stamp: tuple[int, int] | None = None
        self._looked = -_SECONDS_BETWEEN_LOOKS
        self._masks: dict[str, tuple[tuple[int, int] | None, NDArray[np.bool_]]] = {}

    def among(self, customers: Sequence[str]) -> frozenset[int]:
        """The places of those who must not be scored. Raises: ContractError where the list cannot be read: then nobody may be."""
        return self.now().among(customers)

    def now(self) -> Listed:
        """The list as it is now. Raises: ContractError where it cannot be read."""
        self._look()
        return self._listed

    def mask(self, name: str, customers: Sequence[str]) -> NDArray[np.bool_] | None:
        """As `among`, for a long list that stays the same: worked out once for each change. None where nobody is withheld."""
        if not self.now().names:
            return None
        if name not in self._masks or self._masks[name][0] != self._stamp:
            mask = np.zeros(len(customers), dtype=bool)
            mask[list(self.among(customers))] = True
            self._masks[name] = (self._stamp, mask)
        return self._masks[name][1]

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < _SECONDS_BETWEEN_LOOKS:
            return
        try:
            said = self.path.stat()
        except FileNotFoundError:
            self._listed, self._stamp, self._looked = Listed(), None, now
            return
        if (stamp := (said.st_mtime_ns, said.st_ino)) != self._stamp:
            pseudonyms = Pseudonyms(self.path.parent)
            key_id, *names = _lines(self.path)
            if key_id != pseudonyms.key_id:
                raise ContractError(f"{FILE} was written with the key {key_id}, found {pseudonyms.key_id}; give LIKENESS_PSEUDONYM_KEY as it was then")
            self._listed, self._stamp = Listed(frozenset(names), pseudonyms), stamp
        self._looked = now


def withhold(run: Path, customers: Sequence[str]) -> int:
    """Add customers to the list; give how many stand there now. Raises: UsageError, ContractError."""
    if not run.is_dir():
        raise UsageError(f"--run must name a run folder, found none at {run}; make one first: make run OUT={run}")
    if not customers:
        raise UsageError("ID needs at least one customer, found none; name whoever must not be scored")
    pseudonyms, path = Pseudonyms(run), run / FILE
    key_id, *names = _lines(path) if path.exists() else [pseudonyms.key_id]
    if key_id != pseudonyms.key_id:
        raise ContractError(f"{FILE} was written with the key {key_id}, found {pseudonyms.key_id}; give LIKENESS_PSEUDONYM_KEY as it was then")
    every = sorted({*names, *(pseudonyms.of(customer) for customer in customers)})
    with written_whole(path) as aside:
        aside.write_text("\n".join([key_id, *every]) + "\n", encoding="utf-8")
    return len(every)


def _lines(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").split()
    if not lines:
        raise ContractError(f"{path.name} must begin with the id of its key, found nothing; bring it back from a copy")
    return lines


def _key(run: Path) -> bytes:
    path = run / KEY_FILE
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        key = path.read_bytes().strip()
        if len(key) < 32:
            raise ContractError(f"{KEY_FILE} must hold the key as it was made, found {len(key)} bytes; bring it back from a copy") from None
        return key
    with open(file, "wb") as out:
        key = secrets.token_hex(32).encode()
        out.write(key + b"\n")
        out.flush()
        os.fsync(out.fileno())
    return key
