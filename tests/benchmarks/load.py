"""Load from a process of its own: python -m tests.benchmarks.load, told by JSON on its standard input, answers by JSON on its output.

Closed: each of some connections sends its next request when the last is answered. Open: requests leave at a fixed rate, and waiting for a
free connection counts as latency.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections import deque
from typing import Any


def load(port: int, path: str, bodies: list[str], seconds: float, connections: int = 8, rate: float | None = None) -> dict[str, Any]:
    """Send `bodies` in turn for some seconds, in another process. Units: seconds."""
    said = {"port": port, "path": path, "bodies": bodies, "seconds": seconds, "connections": connections, "rate": rate}
    done = subprocess.run([sys.executable, "-m", "tests.benchmarks.load"], input=json.dumps(said), capture_output=True, text=True, check=True, timeout=seconds + 60)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


class Connection(asyncio.Protocol):
    """One request at a time on one connection that is kept. `answered` is told the connection, the status (0: it broke off), the seconds and the body."""

    def __init__(self, answered: Any) -> None:
        self.answered, self.parts, self.began, self.is_asking = answered, b"", 0.0, False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def ask(self, raw: bytes, began: float) -> None:
        self.began, self.is_asking = began, True
        self.transport.write(raw)

    def data_received(self, data: bytes) -> None:
        self.parts += data
        end = self.parts.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.parts[:end].lower()
        place = head.index(b"content-length:") + 15
        length = int(head[place:].split(b"\r\n", 1)[0])
        if len(self.parts) >= end + 4 + length:
            status, body, self.parts, self.is_asking = int(head[9:12]), self.parts[end + 4:], b"", False
            self.answered(self, status, time.perf_counter() - self.began, body)

    def connection_lost(self, error: Exception | None) -> None:
        self.answered(self, 0, time.perf_counter() - self.began, b"")


def raws_of(path: str, bodies: list[str]) -> list[bytes]:
    """Requests as they go over the wire."""
    raws = []
    for body in bodies:
        raw = body.encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
        raws.append(head.encode() + raw)
    return raws


async def _run(said: dict[str, Any]) -> dict[str, Any]:
    raws = raws_of(said["path"], said["bodies"])
    loop, latencies, failures, sent = asyncio.get_running_loop(), [], {}, 0
    begin = time.perf_counter()
    end, rate, free, waiting = begin + said["seconds"], said["rate"], deque(), deque()

    def answered(connection: Connection, status: int, seconds: float, _: bytes) -> None:
        nonlocal sent
        if status == 200:
            latencies.append(seconds)
        elif status or time.perf_counter() < end:
            failures[status] = failures.get(status, 0) + 1
        if not status:
            return
        if rate is None and time.perf_counter() < end:
            sent += 1
            connection.ask(raws[sent % len(raws)], time.perf_counter())
        elif waiting:
            sent += 1
            connection.ask(raws[sent % len(raws)], waiting.popleft())
        else:
            free.append(connection)

    connections = [(await loop.create_connection(lambda: Connection(answered), "127.0.0.1", said["port"]))[1] for _ in range(said["connections"])]
    begin = time.perf_counter()
    end = begin + said["seconds"]
    if rate is None:
        for connection in connections:
            connection.ask(raws[0], time.perf_counter())
        await asyncio.sleep(said["seconds"] + 0.2)
    else:
        free.extend(connections)
        for i in range(int(rate * said["seconds"])):
            due = begin + i / rate
            while (left := due - time.perf_counter()) > 0:
                await asyncio.sleep(left if left > 0.002 else 0)
            if free:
                sent += 1
                free.popleft().ask(raws[sent % len(raws)], due)
            else:
                waiting.append(due)
        await asyncio.sleep(0.5)
    # Few numbers: what is long comes out of a process torn where its output does not wait.
    half, most = (statistics.median(latencies), statistics.quantiles(latencies, n=100)[98]) if len(latencies) > 1 else (float("inf"), float("inf"))
    return {"requests": len(latencies), "per_second": len(latencies) / said["seconds"], "failures": failures, "median": half, "p99": most}


if __name__ == "__main__":
    import uvloop

    print(json.dumps(uvloop.run(_run(json.load(sys.stdin)))))
