"""What is counted, and GET /metrics. Labels are tasks, versions and routes: nothing that a caller writes."""

import os
from functools import cache
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send


@cache
def _metrics() -> dict[str, Any]:
    """The counters of this process; where PROMETHEUS_MULTIPROC_DIR is set, those of all workers are added up."""
    from prometheus_client import Counter, Histogram

    return {
        "requests": Counter("likeness_requests", "Requests by task and model version", ["task", "version"]),
        "rows": Counter("likeness_rows", "Customers scored by task and model version", ["task", "version"]),
        "unknown": Counter("likeness_unknown_categories", "Categories given that training never saw", ["task", "version"]),
        "seconds": Histogram("likeness_request_seconds", "Time to answer by route and status", ["route", "status"])}


@cache
def _labelled(name: str, *labels: str) -> Any:
    """One line of a metric; looking it up is most of what counting costs."""
    return _metrics()[name].labels(*labels)


def count(task: str, version: str, rows: int, unknown: int = 0) -> None:
    """One request about a task."""
    _labelled("requests", task, version).inc()
    _labelled("rows", task, version).inc(rows)
    if unknown:
        _labelled("unknown", task, version).inc(unknown)


def observe(route: str, status: int, seconds: float) -> None:
    """One answer."""
    _labelled("seconds", route, str(status)).observe(seconds)


async def answer_metrics(scope: Scope, receive: Receive, send: Send) -> None:
    """GET /metrics: of all workers."""
    from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    await Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})(scope, receive, send)
