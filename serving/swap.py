"""New champions while the server runs: noticed, proved in a process of their own, warmed, and exchanged between two requests.

A candidate that fails at any step changes nothing: what was served goes on, the log says why and a metric counts it.
"""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from features.errors import ContractError, LikenessError
from features.files import write_json
from serving.champions import Champion, Source, champion_versions, load_artefact, source_of
from serving.metrics import served, swapped, unanswered
from serving.scoring import Base, load_base, open_base, read_info
from training.space import Space

if TYPE_CHECKING:
    from serving.api import State

_ROOT = Path(__file__).resolve().parents[1]
_PROBE_SECONDS = 120
_COUNTED = "PROMETHEUS_MULTIPROC_DIR"
# A candidate that failed is tried again after so many looks, then after twice as many, in case the fault was the store's.
_MOST_LOOKS = 64


class Watcher:
    """Looks at the registry and at the base of a run, and brings a worker's state up to them."""

    def __init__(self, run: Path, state: "State", every: float) -> None:
        self.run, self.state, self.every = run, state, every
        self.log = logging.getLogger("likeness")
        self._stamp = self._base_stamp()
        self._answered = time.monotonic()
        self._failed: dict[tuple[str, str], tuple[int, int]] = {}

    def start(self) -> None:
        """Look again and again on a thread that ends with the process."""
        threading.Thread(target=self._for_ever, name="likeness-watch", daemon=True).start()

    def look(self) -> bool:
        """Look once; give whether something was exchanged. Raises nothing that a candidate, the registry or the base can cause."""
        base, begun = self.state.base, time.monotonic()
        try:
            info = read_info(self.run)
            versions = champion_versions(self.run, info.data, info.tasks)
            self._answered = time.monotonic()
        except LikenessError as error:
            unanswered(time.monotonic() - self._answered)
            self.log.warning("the registry or the base does not answer, what was served goes on: %s", error)
            return False
        unanswered(0.0)
        if base is None:
            return self._exchange(None, lambda: open_base(self.run)) is not None
        has_changed = False
        for task, version in versions.items():
            if base.versions().get(task) == version or not self._is_due(task, version):
                continue
            if (champion := self._proved(task, f"{info.data}.{task}", version)) is None:
                continue
            now = _champions(base) | {task: champion}
            # Of the same file, the other tasks are as they were.
            same = base if self._base_stamp() == self._stamp else None
            if (fresh := self._exchange(base, partial(load_base, self.run, info, now, same))) is None:
                self._refuse(task, version, "it does not fit the base")
                continue
            base, has_changed = fresh, True
            swapped(task, "exchanged", time.monotonic() - begun)
            self.log.info("%s is served in version %s now", task, version)
        stamp = self._base_stamp()
        if has_changed or stamp == self._stamp:
            return has_changed
        # Customers were scored anew: the same models, another base. One that does not fit is not tried again until it changes.
        self._stamp, now = stamp, _champions(base)
        fresh = self._exchange(base, lambda: load_base(self.run, info, now))
        swapped("base", "refused" if fresh is None else "exchanged")
        return fresh is not None

    def _exchange(self, base: Base | None, load: Callable[[], Base]) -> Base | None:
        try:
            fresh = load()
            warm(fresh)
        except LikenessError as error:
            self.log.error("what was served goes on: %s", error)
            return None
        # One assignment, between two requests: each request reads it once.
        self.state.base = fresh
        served(base, fresh)
        remember(fresh)
        return fresh

    def _proved(self, task: str, name: str, version: str) -> Champion | None:
        try:
            source = source_of(self.run, name, version)
            prove(source)
            return Champion(load_artefact(source.folder, source.told), version)
        except LikenessError as error:
            self._refuse(task, version, str(error))
            return None

    def _refuse(self, task: str, version: str, why: str) -> None:
        looks = 2 * self._failed.get((task, version), (0, 1))[1]
        self._failed[task, version] = (min(looks, _MOST_LOOKS), min(looks, _MOST_LOOKS))
        swapped(task, "refused")
        self.log.error("version %s of %s is not served, what was served goes on: %s", version, task, why)

    def _is_due(self, task: str, version: str) -> bool:
        left, looks = self._failed.get((task, version), (0, 1))
        if left > 1:
            self._failed[task, version] = (left - 1, looks)
        return left <= 1

    def _base_stamp(self) -> tuple[int, int]:
        try:
            said = (self.run / "features" / "base.json").stat()
            return said.st_mtime_ns, said.st_ino
        except OSError:
            return 0, 0

    def _for_ever(self) -> None:
        while True:
            time.sleep(self.every)
            try:
                self.look()
            except Exception as error:
                # A worker without its watcher would serve an old model unnoticed for ever.
                self.log.error("looking for new models failed with %s", type(error).__name__)


def begin(run: Path) -> Base:
    """What a worker begins with: the champions; where one cannot be loaded, what a worker of this server served last, since a bad candidate must not matter
    to a worker that takes the place of another.

    Raises: UsageError, ContractError where neither can be loaded.
    """
    try:
        base = open_base(run)
    except ContractError as error:
        if (versions := _remembered()) is None:
            raise
        logging.getLogger("likeness").error("what was served last goes on: %s", error)
        base = open_base(run, versions)
    warm(base)
    served(None, base)
    remember(base)
    return base


def remember(base: Base) -> None:
    """Write down which versions this worker serves, where the workers of one server count (it is empty when a server begins)."""
    if folder := os.environ.get(_COUNTED):
        write_json(Path(folder) / f"served.{os.getpid()}.json", base.versions())


def _remembered() -> dict[str, str] | None:
    newest = max(Path(os.environ.get(_COUNTED, "/nowhere")).glob("served.*.json"), key=lambda path: path.stat().st_mtime_ns, default=None)
    return json.loads(newest.read_text(encoding="utf-8")) if newest else None


def _champions(base: Base) -> dict[str, Champion]:
    return {name: Champion(task.model, task.version) for name, task in base.tasks.items()} | {name: Champion(space.space, space.version) for name, space in base.spaces.items()}


def prove(source: Source) -> None:
    """Load and verify an artefact in a process of its own: LightGBM ends the process where a text is damaged. Raises: ContractError."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "serving.swap", str(source.folder), source.told], cwd=_ROOT, capture_output=True, text=True, timeout=_PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        raise ContractError(f"{source.told} must load within {_PROBE_SECONDS} seconds, found that it does not; train and register again") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1] if done.returncode == ContractError.exit_code and done.stderr.strip() else f"an end with code {done.returncode}"
        raise ContractError(f"{source.told} must load in a process of its own, found {said.removeprefix('error: ')}")


def warm(base: Base) -> None:
    """Ask each model once for all that a request asks, so that the first request does not wait."""
    for task in base.tasks.values():
        row = np.full((1, len(task.model.columns)), np.nan)
        task.answer(["warm"], [0], row)
        task.model.contributions(row)
    for space in base.spaces.values():
        space.layout  # noqa: B018 (it is made when it is first looked at)
    base.decoder.read(b'{"customers": []}', True)


def _loads(folder: Path, told: str) -> None:
    """In the process of its own: load, verify, and explain a row of nothing."""
    model = load_artefact(folder, told)
    if not isinstance(model, Space):
        model.contributions(np.full((1, len(model.columns)), np.nan))


if __name__ == "__main__":
    from features.errors import run_door

    run_door(lambda: _loads(Path(sys.argv[1]), sys.argv[2]))
