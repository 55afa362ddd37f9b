"""What is counted, and GET /metrics. Labels are tasks, versions and routes: nothing that a caller writes."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.drift import input_drift, score_drift

if TYPE_CHECKING:
    from serving.scoring import Base, TaskBase

R = TypeVar("R")
# Seconds. One customer takes about one thousandth, ten thousand about one.
_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


@cache
def _metrics() -> dict[str, Any]:
    """The counters of this process; where PROMETHEUS_MULTIPROC_DIR is set, those of all workers are added up."""
    from prometheus_client import Counter, Gauge, Histogram

    return {
        "requests": Counter("likeness_requests", "Requests by task and model version", ["task", "version"]),
        "rows": Counter("likeness_rows", "Customers scored by task and model version", ["task", "version"]),
        "unknown": Counter("likeness_unknown_categories", "Categories given that training never saw", ["task", "version"]),
        "swaps": Counter("likeness_swaps", "New models exchanged or refused, by worker and look", ["task", "outcome"]),
        "swap_seconds": Gauge(
            "likeness_swap_seconds", "From the look that noticed a new model to its exchange, the last one of the slowest worker", multiprocess_mode="livemax"),
        "served": Gauge("likeness_served", "Workers that serve this version", ["task", "version"], multiprocess_mode="livesum"),
        "unanswered": Gauge("likeness_registry_unanswered_seconds", "Since the registry answered last, of the worker that waits longest", multiprocess_mode="livemax"),
        "scores": Counter("likeness_scores", "Customers scored, by tenth of the base: even where those asked about are like the base", ["task", "version", "tenth"]),
        "drift": Gauge("likeness_input_drift", "Population stability index of a feature, the base against training", ["task", "feature"], multiprocess_mode="mostrecent"),
        "score_drift": Gauge("likeness_score_drift", "Population stability index of the probabilities, the base against training", ["task"], multiprocess_mode="mostrecent"),
        "learned": Gauge(
            "likeness_model_learned_until_timestamp_seconds", "The last moment that a model learned from: time() - this is its age", ["task", "version"],
            multiprocess_mode="mostrecent"),
        "as_of": Gauge("likeness_base_as_of_timestamp_seconds", "The moment that the base describes: time() - this is the age of the features", multiprocess_mode="mostrecent"),
        "scoring": Histogram("likeness_scoring_seconds", "Time that a model took for the customers of a request, without reasons", ["task", "version"], buckets=_BUCKETS),
        "seconds": Histogram("likeness_request_seconds", "Time to answer by route and status", ["route", "status"], buckets=_BUCKETS)}


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


def count_scores(task: str, version: str, results: Sequence[Mapping[str, Any]]) -> None:
    """Where in the base those stand who were scored."""
    for tenth, n in Counter(min(result["score"] // 10, 9) for result in results if result["found"]).items():
        _labelled("scores", task, version, str(tenth)).inc(n)


def timed(task: "TaskBase", ask: Callable[[], R]) -> R:
    """What `ask` gives, its time counted as this model's."""
    begun = time.perf_counter()
    said = ask()
    _labelled("scoring", task.task, task.version).observe(time.perf_counter() - begun)
    return said


def observe(route: str, status: int, seconds: float) -> None:
    """One answer."""
    _labelled("seconds", route, str(status)).observe(seconds)


def swapped(task: str, outcome: str, seconds: float | None = None) -> None:
    """A new model was `exchanged`, in so many seconds from being noticed, or `refused`."""
    _labelled("swaps", task, outcome).inc()
    if seconds is not None:
        _metrics()["swap_seconds"].set(seconds)


def unanswered(seconds: float) -> None:
    """How long the registry has not answered."""
    _metrics()["unanswered"].set(seconds)


def served(before: "Base | None", after: "Base") -> None:
    """Which versions this worker serves from now on, how old their base is, and how far it has moved from training."""
    for base, is_served in ((before, 0), (after, 1)):
        for task, version in base.versions().items() if base else ():
            _labelled("served", task, version).set(is_served)
    _metrics()["as_of"].set(datetime.fromisoformat(after.info.as_of).timestamp())
    for name, version in after.versions().items():
        if learned := after.learned_until(name):
            _labelled("learned", name, version).set(datetime.fromisoformat(learned).timestamp())
    for name, one in after.tasks.items():
        if (index := score_drift(one)) is not None:
            _labelled("score_drift", name).set(index)
        for feature, index in input_drift(one).items():
            _labelled("drift", name, feature).set(index)


class _AllWorkers:
    """What all workers counted, by their files. One that a worker is just making is empty, holds nothing yet, and cannot be read."""

    def collect(self) -> Iterable[Any]:
        from prometheus_client.multiprocess import MultiProcessCollector

        files = []
        for path in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob("*.db"):
            # A worker that ended takes some of its files along.
            with suppress(FileNotFoundError):
                files += [str(path)] if path.stat().st_size else []
        return list(MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call]  # the library has no types here


async def answer_metrics(scope: Scope, receive: Receive, send: Send) -> None:
    """GET /metrics: of all workers."""
    from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        registry.register(_AllWorkers())
    await Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})(scope, receive, send)
