"""The endpoints under load from another process, beside a plain BentoML service and a bare ASGI application of the same booster."""

import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.benchmarks.load import load
from tests.benchmarks.served import bodies, histories, make_run, server


def rows(large: bool) -> list[dict[str, Any]]:
    """The table of this benchmark: rounds in turn, medians of the rounds."""
    from tests.benchmarks.__main__ import row

    seconds, rounds = (10.0, 5) if large else (4.0, 3)
    with tempfile.TemporaryDirectory(prefix="likeness-serving-") as scratch, ExitStack() as stack:
        run = Path(scratch) / "out"
        names = make_run(run)
        servers = {
            "ours": stack.enter_context(server(["serving", "serve", "--run", str(run), "--port", "PORT", "--workers", "1", "--without-keys"], "/readyz", run)),
            "plain": stack.enter_context(server(["bentoml", "serve", "tests.benchmarks.peers:Plain", "--port", "PORT"], "/readyz", run)),
            "bare": stack.enter_context(server(["uvicorn", "--factory", "tests.benchmarks.peers:bare", "--port", "PORT", "--log-level", "warning"], "/", run))}
        ports = {who: one.port for who, one in servers.items()}
        paths = {"ours": "/v1/score", "plain": "/score", "bare": "/"}
        speed: dict[tuple[str, int], list[float]] = {}
        for _ in range(rounds):
            for who, port in ports.items():
                for n in (1, 100):
                    told = load(port, paths[who], bodies(names, n), seconds)
                    if told["failures"]:
                        raise RuntimeError(f"{who} failed under load: {told['failures']}")
                    speed.setdefault((who, n), []).append(n * told["per_second"])
        ours, plain, bare = ({n: statistics.median(speed[who, n]) for n in (1, 100)} for who in ("ours", "plain", "bare"))
        calm = _latencies(ports["ours"], "/v1/score", bodies(names, 1), 200, seconds, rounds)
        why = _latencies(ports["ours"], "/v1/explain", bodies(names, 1, {"top": 5}), 50, seconds, rounds)
        raw = _latencies(ports["ours"], "/v1/score", histories(200), 10, seconds, rounds)
        plain_of, bare_of = {n: round(ours[n] / plain[n], 2) for n in ours}, {n: round(ours[n] / bare[n], 2) for n in ours}
        return [
            row("one customer by features, one worker", round(ours[1]), "requests/s", "at least 4 x", ours[1] >= 4 * plain[1], round(plain[1]), "plain BentoML", plain_of[1]),
            row("the same beside no framework", round(ours[1]), "requests/s", "aim: 0.5 x", ours[1] >= 0.5 * bare[1], round(bare[1]), "bare ASGI", bare_of[1]),
            row("100 customers a call", round(ours[100]), "rows/s", "at least 30,000", ours[100] >= 30_000, round(plain[100]), "plain BentoML", plain_of[100]),
            row("the same beside no framework", round(ours[100]), "rows/s", "", None, round(bare[100]), "bare ASGI", bare_of[100]),
            row("score at 200 requests/s, median", calm[0], "ms", "at most 3", calm[0] <= 3),
            row("score at 200 requests/s, 99th percentile", calm[1], "ms", "at most 15", calm[1] <= 15),
            row("explain at 50 requests/s, median", why[0], "ms", "at most 8", why[0] <= 8),
            row("score by 200 raw events at 10 requests/s, median", raw[0], "ms", "at most 30", raw[0] <= 30)]


def _latencies(port: int, path: str, asked: list[str], rate: float, seconds: float, rounds: int) -> tuple[float, float]:
    """Median over the rounds of the median and of the 99th percentile. Units: ms."""
    found = []
    for _ in range(rounds):
        told = load(port, path, asked, seconds, connections=16, rate=rate)
        if told["failures"] or told["requests"] < 0.95 * rate * seconds:
            raise RuntimeError(f"{path} at {rate}/s answered {told['requests']} with failures {told['failures']}")
        found.append([1000 * told["median"], 1000 * told["p99"]])
    half, most = (round(statistics.median(one), 2) for one in zip(*found, strict=True))
    return half, most
