"""A steady load whose every answer is held against the oracle of the version that it names: python -m tests.benchmarks.history.

A process of its own, told by JSON on its standard input; what it saw goes to the file that it is told. A connection that breaks is made anew.
"""

import asyncio
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

from tests.benchmarks.load import Connection, raws_of

# How finely it is told which versions answered when. Units: seconds.
GRAIN = 0.1
# A connection is left after so many requests, so that a worker that begins later gets its share.
REQUESTS_OF_A_CONNECTION = 300


class History:
    """Requests at a fixed rate until it is ended. `oracle` has for each body in turn what each version must answer."""

    def __init__(self, folder: Path, port: int, path: str, bodies: list[str], oracle: list[dict[str, float]], rate: float, connections: int = 32) -> None:
        self.file, self.end = folder / "history.json", folder / "end"
        said = {"port": port, "path": path, "bodies": bodies, "oracle": oracle, "rate": rate, "connections": connections, "file": str(self.file), "end": str(self.end)}
        self.process = subprocess.Popen([sys.executable, "-m", "tests.benchmarks.history"], stdin=subprocess.PIPE, text=True)
        assert self.process.stdin
        self.process.stdin.write(json.dumps(said))
        self.process.stdin.close()

    def __enter__(self) -> "History":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def told(self) -> dict[str, Any]:
        """End it; what was seen. Units: seconds; moments are those of time.time()."""
        self.end.touch()
        if self.process.wait(timeout=1200):
            raise RuntimeError("the load ended by itself; its words stand above")
        told: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))
        return told


async def _run(said: dict[str, Any]) -> dict[str, Any]:
    raws, oracle, loop = raws_of(said["path"], said["bodies"]), said["oracle"], asyncio.get_running_loop()
    latencies: list[float] = []
    failures: list[tuple[float, int]] = []
    wrong: list[Any] = []
    versions: Counter[tuple[int, str]] = Counter()
    free: deque[Connection] = deque()
    waiting: deque[float] = deque()
    asked: dict[Connection, int] = {}
    answers: Counter[Connection] = Counter()
    sent = n_wrong = 0

    def ask(connection: Connection, due: float) -> None:
        nonlocal sent
        asked[connection] = sent % len(raws)
        connection.ask(raws[sent % len(raws)], due)
        sent += 1

    def answered(connection: Connection, status: int, seconds: float, body: bytes) -> None:
        nonlocal n_wrong
        if not status:
            # An idle connection may end; a request that was on its way is lost.
            if connection.is_asking:
                failures.append((time.time(), 0))
            asked.pop(connection, None)
            answers.pop(connection, None)
            tasks.add(task := loop.create_task(connect()))
            task.add_done_callback(tasks.discard)
            return
        if status == 200:
            latencies.append(seconds)
            [result] = json.loads(body)["results"]
            versions[int(time.time() / GRAIN), result["version"]] += 1
            if result["probability"] != oracle[asked[connection]].get(result["version"]):
                n_wrong += 1
                wrong.append([asked[connection], result]) if n_wrong <= 5 else None
        else:
            failures.append((time.time(), status))
        answers[connection] += 1
        if answers[connection] >= REQUESTS_OF_A_CONNECTION:
            connection.transport.close()
        else:
            release(connection)

    def release(connection: Connection) -> None:
        if waiting:
            ask(connection, waiting.popleft())
        else:
            free.append(connection)

    async def connect() -> None:
        release((await loop.create_connection(lambda: Connection(answered), "127.0.0.1", said["port"]))[1])

    tasks: set[asyncio.Task[None]] = set()
    for _ in range(said["connections"]):
        await connect()
    begin, end = time.perf_counter(), Path(said["end"])
    for i in itertools.count():
        # Looking costs more than asking: not each time.
        if i % 100 == 0 and end.exists():
            break
        due = begin + i / said["rate"]
        while (left := due - time.perf_counter()) > 0:
            await asyncio.sleep(left if left > 0.002 else 0)
        while free and free[0].transport.is_closing():
            free.popleft()
        if free:
            ask(free.popleft(), due)
        else:
            waiting.append(due)
    until = time.perf_counter() + 30
    while (waiting or len(latencies) + len(failures) < sent) and time.perf_counter() < until:
        await asyncio.sleep(0.05)
    cuts = statistics.quantiles(latencies, n=1000)
    return {
        "sent": sent, "answered": len(latencies), "unanswered": sent - len(latencies) - len(failures) + len(waiting), "failures": failures, "n_wrong": n_wrong, "wrong": wrong,
        "median": cuts[499], "p99": cuts[989], "slowest": max(latencies), "versions": [[grain * GRAIN, version, n] for (grain, version), n in sorted(versions.items())]}


if __name__ == "__main__":
    import uvloop

    _said = json.load(sys.stdin)
    Path(_said["file"]).write_text(json.dumps(uvloop.run(_run(_said))), encoding="utf-8")
