"""A served run under half of its peak load for minutes: five promotions, a bad candidate, slow clients, a killed worker, and an end under load.

The benchmark takes ten minutes, the test of every day one; both hold the same history against the same oracle.
"""

import json
import os
import shutil
import signal
import socket
import statistics
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from serving.champions import source_of
from tests.benchmarks.history import GRAIN, History
from tests.benchmarks.load import load
from tests.benchmarks.served import Server, make_run, register, registry, server
from training.saved_model import SavedModel
from training.saved_model import load as load_saved

NAME, HOST = "bench.churn", "127.0.0.1"
PROMOTIONS = ("2", "1", "2", "1", "2")
# When what happens, as shares of the time; later where workers have not followed yet.
FIRST, BETWEEN, BAD, SLOW, KILL = 0.10, 0.11, 0.62, 0.68, 0.74
N_SLOW = 50


@dataclass(frozen=True)
class Soaked:
    """What was seen. Units: seconds, requests/s; `growth` are shares of the memory after warming up (the first exchange is part of that), by worker that lived
    throughout.

    `followed`: for each promotion the seconds until the last answer that named another version; `exchanged`: of proof and load, the slowest worker's.
    `lost`: requests that failed, by the seconds since a worker was killed. `cut`: what slow clients were told. `last`: the answer while the server ended.
    """

    peak: float
    rate: float
    history: dict[str, Any]
    followed: list[float]
    exchanged: float
    lost: list[tuple[float, int]]
    growth: list[float]
    memory_mb: list[float]
    replaced: float
    cut: list[bytes]
    last: dict[str, Any]
    code: int
    seconds_to_end: float
    log: str


def soak(folder: Path, seconds: float, watch: float) -> Soaked:
    """Make a run folder, serve it with two workers that look every `watch` seconds, and let all of it happen."""
    run = folder / "out"
    names = make_run(run)
    models = {"1": load_saved(run / "saved")}
    models["2"] = SavedModel(**{**models["1"].__dict__, "slope": 0.5})
    (folder / "second").mkdir()
    models["2"].save(folder / "second")
    register(run, NAME, folder / "second")
    promote(run, "1")
    bodies, oracle = _asked(names, models)
    words = ["serving", "serve", "--run", str(run), "--port", "PORT", "--workers", "2", "--without-keys"]
    with ExitStack() as until_done:
        served = until_done.enter_context(server(words, "/readyz", run, {"LIKENESS_WATCH_SECONDS": str(watch)}))
        _until(lambda: _serving(served, "1"), 60)
        peak = statistics.median(load(served.port, "/v1/score", bodies, 3.0, connections=16)["per_second"] for _ in range(3))
        seen = until_done.enter_context(History(folder, served.port, "/v1/score", bodies, oracle, peak / 2))
        begun = time.time()
        memory = _Memory(served)
        memory.start()
        promoted, exchanged, warm = [], 0.0, 0.0
        for i, version in enumerate(PROMOTIONS):
            _wait(begun, (FIRST + BETWEEN * i) * seconds)
            promote(run, version)
            promoted.append(time.time())
            _until(partial(_serving, served, version), 120)
            exchanged, warm = max(exchanged, _metric(served.port, "likeness_swap_seconds")), warm or time.time()
        _wait(begun, BAD * seconds)
        _offer_damaged(run, folder)
        _until(lambda: _metric(served.port, 'likeness_swaps_total{outcome="refused",task="churn"}') >= 2, 120)
        _wait(begun, SLOW * seconds)
        slow = [_half_a_request(served.port, has_headers=i % 2 == 0) for i in range(N_SLOW)]
        _wait(begun, KILL * seconds)
        before = {worker.pid for worker in _workers(served)}
        victim = _workers(served)[0]
        victim.kill()
        killed = time.time()
        _until(lambda: len({worker.pid for worker in _workers(served)} - before) == 1, 30)
        cut = [_end_of(one) for one in slow]
        _until(lambda: _is_ready_anew(served, before), 120)
        replaced = time.time() - killed
        _wait(begun, seconds)
        end, told = time.time(), seen.told()
        memory.stopped.set()
        memory.join(10)
        last, code, seconds_to_end = _end_under_load(served, names)
        log = "\n".join(line for line in served.log.read_text(encoding="utf-8").splitlines() if '"message":"POST /' not in line)
    lost = [(at - killed, status) for at, status in told["failures"]]
    growth, megabytes = memory.growth(warm, end)
    return Soaked(peak, peak / 2, told, _followed(told["versions"], promoted), exchanged, lost, growth, megabytes, replaced, cut, last, code, seconds_to_end, log)


def promote(run: Path, version: str) -> None:
    """Make a registered version the champion."""
    with registry(run) as (_, client):
        client.set_registered_model_alias(NAME, "champion", version)


def _asked(names: list[str], models: dict[str, SavedModel]) -> tuple[list[str], list[dict[str, float]]]:
    """199 customers by all features, and what each version must say of each."""
    rng = np.random.default_rng(4)
    x = np.round(rng.gamma(1.5, 40, (199, len(names))), 2)
    bodies = [json.dumps({"customers": [{"customer_id": f"c{i}", "features": dict(zip(names, row, strict=True))}]}) for i, row in enumerate(x.tolist())]
    told = {version: model.probabilities(x).round(6).tolist() for version, model in models.items()}
    return bodies, [{version: told[version][i] for version in told} for i in range(len(x))]


def _offer_damaged(run: Path, folder: Path) -> None:
    """A third version whose booster was cut in half, as champion."""
    shutil.copytree(source_of(run, NAME, "1").folder, folder / "damaged")
    [member] = (folder / "damaged").rglob("member0.txt")
    member.write_text(member.read_text(encoding="utf-8")[:20_000], encoding="utf-8")
    with registry(run) as (_, client):
        version = client.create_model_version(NAME, (folder / "damaged").as_uri()).version
        client.set_registered_model_alias(NAME, "champion", version)


def _followed(versions: list[Any], promoted: list[float]) -> list[float]:
    """For each promotion the seconds until the last answer before the next one that names another version."""
    found = []
    for version, at, until in zip(PROMOTIONS, promoted, [*promoted[1:], float("inf")], strict=True):
        found.append(max([moment + GRAIN - at for moment, named, _ in versions if at <= moment < until and named != version], default=0.0))
    return found


def _half_a_request(port: int, has_headers: bool) -> socket.socket:
    one = socket.create_connection((HOST, port))
    one.sendall(b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n" + b"\r\n{" * has_headers)
    return one


def _end_of(one: socket.socket) -> bytes:
    """The answer to a client that never finishes; nothing where its worker was killed."""
    one.settimeout(30)
    with one, suppress(ConnectionResetError):
        return one.recv(100)
    return b""


def _end_under_load(served: Server, names: list[str]) -> tuple[dict[str, Any], int, float]:
    """Told to end while it works on something long: that answer, the exit code, the seconds."""
    asked = json.dumps({"customers": [{"customer_id": f"c{i}", "features": {names[0]: i % 199}} for i in range(3_000)], "top": 100})
    answers: list[dict[str, Any]] = []
    request = urllib.request.Request(f"http://{HOST}:{served.port}/v1/explain", asked.encode(), {"Content-Type": "application/json"})

    def ask() -> None:
        with urllib.request.urlopen(request, timeout=60) as answer:
            answers.append(json.load(answer))

    last = threading.Thread(target=ask)
    last.start()
    time.sleep(0.5)
    begun = time.monotonic()
    served.process.send_signal(signal.SIGTERM)
    code = served.process.wait(timeout=40)
    seconds = time.monotonic() - begun
    last.join(10)
    return answers[0] if answers else {}, code, seconds


def _serving(served: Server, version: str) -> bool:
    """Whether both workers serve a version."""
    return _metric(served.port, f'likeness_served{{task="churn",version="{version}"}}') == 2


def _workers(served: Server) -> list[psutil.Process]:
    """The living ones."""
    found = []
    for child in psutil.Process(served.process.pid).children(recursive=True):
        with suppress(psutil.Error):
            if any("worker" in word and "service" in word for word in child.cmdline()):
                found.append(child)
    return found


def _is_ready_anew(served: Server, before: set[int]) -> bool:
    """Whether a worker that was not there before has its models: it has counted them, in a file of its number."""
    new = {str(worker.pid) for worker in _workers(served) if worker.pid not in before}
    return any(path.stem.rpartition("_")[2] in new for path in (served.log.parent / "bentoml").rglob("gauge_livesum_*.db"))


class _Memory(threading.Thread):
    """The resident memory of each worker, twice a second, from /proc. Units: MB."""

    def __init__(self, served: Server) -> None:
        super().__init__(daemon=True)
        self.served, self.stopped, self.seen = served, threading.Event(), list[tuple[float, int, float]]()

    def run(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while not self.stopped.wait(0.5):
            for worker in _workers(self.served):
                with suppress(OSError):
                    pages = int(Path(f"/proc/{worker.pid}/statm").read_text(encoding="ascii").split()[1])
                    self.seen.append((time.time(), worker.pid, pages * page / 2**20))

    def growth(self, warm: float, end: float) -> tuple[list[float], list[float]]:
        """Of each worker that lived from `warm` to `end`: how much more it holds in the last tenth than in the first after warming up, and how much."""
        span, growth, held = (end - warm) / 10, [], []
        for pid in {pid for _, pid, _ in self.seen}:
            first = [mb for at, one, mb in self.seen if one == pid and warm <= at < warm + span]
            last = [mb for at, one, mb in self.seen if one == pid and end - span <= at < end]
            if first and last:
                growth.append(statistics.median(last) / statistics.median(first) - 1)
                held.append(statistics.median(last))
        return growth, held


def _metric(port: int, name: str) -> float:
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return max((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)), default=0.0)


def _wait(begun: float, seconds: float) -> None:
    time.sleep(max(0.0, begun + seconds - time.time()))


def _until(condition: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("it did not come in time")
        time.sleep(0.1)


def rows(large: bool) -> list[dict[str, Any]]:
    """The table of this benchmark: ten minutes, each worker looking for new champions as often as it does unless told otherwise."""
    from tests.benchmarks.__main__ import row

    with tempfile.TemporaryDirectory(prefix="likeness-soak-") as scratch:
        seen = soak(Path(scratch), 600.0, watch := 5.0)
    told, bound = seen.history, watch + seen.exchanged + 1
    in_flight = [one for one in seen.lost if 0 <= one[0] <= 2 and one[1] == 0]
    growth = max(seen.growth, default=float("inf"))
    return [
        row("requests in ten minutes, at half of the peak rate", told["answered"], "requests", "all sent", told["unanswered"] == 0),
        row("peak rate of two workers", round(seen.peak), "requests/s"),
        row("failed, but in flight on the killed worker", len(seen.lost) - len(in_flight), "requests", "0", len(seen.lost) == len(in_flight)),
        row("in flight on the killed worker", len(in_flight), "requests"),
        row("answers unlike the oracle of the version that they name", told["n_wrong"], "answers", "0", told["n_wrong"] == 0),
        row("slowest of five promotions until all workers follow", round(max(seen.followed), 1), "s", f"look + proof and load ({seen.exchanged:.1f}) + 1: {bound:.1f}",
            max(seen.followed) <= bound),
        row("memory of a worker, end against warm", round(100 * growth, 1), "%", "at most 5", growth <= 0.05),
        row("memory of a worker at the end", round(max(seen.memory_mb, default=0.0)), "MB"),
        row("until another worker answers for the killed one", round(seen.replaced, 1), "s", "at most 30", seen.replaced <= 30),
        row("score throughout, median", round(1000 * told["median"], 2), "ms"), row("score throughout, 99th percentile", round(1000 * told["p99"], 1), "ms"),
        row("slowest answer", round(told["slowest"], 2), "s")]
