"""The endpoints under /v1: typed requests, scores and reasons, one shape of error, their own document."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from serving import reasons
from serving.alike import SpaceBase
from serving.problems import Door, StrictRoute, handle_errors, request_id_of
from serving.scoring import Base, TaskBase
from serving.shapes import (
    AudienceRequest,
    AudienceResponse,
    ExplainRequest,
    ExplainResponse,
    ModelsResponse,
    Problem,
    ScoreRequest,
    ScoreResponse,
)

API_VERSION = "1.1.0"
# Up to here the event loop computes by itself: handing over to a thread costs more than a few rows.
_ROWS_AT_ONCE = 32


@dataclass
class State:
    """What the endpoints answer from; None until it is loaded. It is read once per request, so a response has one version."""

    base: Base | None = None
    key_sha256: str | None = field(default_factory=lambda: os.environ.get("LIKENESS_API_KEY_SHA256") or None)

    def require(self) -> Base:
        """Raises: 503 while nothing is loaded."""
        if self.base is None:
            raise HTTPException(503, "the models are not loaded yet", {"Retry-After": "5"})
        return self.base


def create_app(state: State) -> FastAPI:
    """The application to be mounted at /v1."""
    app = FastAPI(
        title="Likeness", version=API_VERSION, description="Who will leave, who will buy, and why.",
        docs_url=None, redoc_url=None, redirect_slashes=False, telemetry={"tracing": False, "metrics": False, "logs": False})
    app.router.route_class = StrictRoute
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    app.add_middleware(Door, key_sha256=state.key_sha256, observe=_observe)
    handle_errors(app, lambda: _own_words(state.base))

    @app.post("/score", response_model=ScoreResponse, summary="Score customers")
    async def score(asked: ScoreRequest, request: Request) -> Response:
        return await _answer(state, request, asked, lambda task, customers: _scored(task, customers)[0])

    @app.post("/explain", response_model=ExplainResponse, summary="Score customers and say why")
    async def explain(asked: ExplainRequest, request: Request) -> Response:
        def with_reasons(task: TaskBase, customers: list[Any]) -> list[dict[str, Any]]:
            results, answers = _scored(task, customers, asked.language)
            said = reasons.explain(task.model, answers, asked.language, asked.top)
            return [result | more for result, more in zip(results, said, strict=True)]

        return await _answer(state, request, asked, with_reasons)

    @app.post("/audience", response_model=AudienceResponse, summary="Find customers like some seeds")
    async def audience(asked: AudienceRequest, request: Request) -> Response:
        return await run_in_threadpool(_audience, state.require(), asked, request_id_of(request))

    @app.get("/models", response_model=ModelsResponse, summary="The models that are served")
    async def models(request: Request) -> Response:
        base = state.require()
        served: list[TaskBase | SpaceBase] = [*base.tasks.values(), *base.spaces.values()]
        return JSONResponse({"request_id": request_id_of(request), "models": [_model(task) for task in served]})

    return app


async def _answer(state: State, request: Request, asked: ScoreRequest, results_of: Callable[[TaskBase, list[Any]], list[dict[str, Any]]]) -> Response:
    base = state.require()
    request_id = request_id_of(request)

    def work() -> Response:
        tasks = base.require_tasks(asked.tasks)
        customers = [(customer.customer_id, customer.features) for customer in asked.customers]
        base.require_features(customers, tasks)
        by_task = [results_of(task, customers) for task in tasks]
        for task in tasks:
            _count(task, len(customers))
        return JSONResponse({"request_id": request_id, "results": [result for results in zip(*by_task, strict=True) for result in results]})

    return work() if len(asked.customers) <= _ROWS_AT_ONCE else await run_in_threadpool(work)


def _scored(task: TaskBase, customers: list[Any], language: str = "en") -> tuple[list[dict[str, Any]], Any]:
    answers = task.ask(customers)
    if answers.n_unknown_categories:
        _metrics()["unknown"].labels(task.task, task.version).inc(answers.n_unknown_categories)
    return task.results(customers, answers, language), answers


def _audience(base: Base, asked: AudienceRequest, request_id: str) -> Response:
    space = base.require_space(asked.task)
    found = space.audience(asked.seeds, asked.reach, asked.similarity)
    _metrics()["requests"].labels(space.task, space.version).inc()
    return JSONResponse({
        "request_id": request_id, "audience_id": found.audience_id, "task": space.task, "model": space.space.name, "version": space.version, "as_of": space.as_of,
        "expires_at": found.expires_at, "seeds_used": found.n_seeds, "seeds_unknown": found.n_unknown,
        "audience": space.members(found, asked.top, asked.language), "curve": found.curve})


def _model(task: TaskBase | SpaceBase) -> dict[str, Any]:
    model = task.space if isinstance(task, SpaceBase) else task.model
    inputs = [{"name": c.name, "kind": "category" if c.is_category else "number", "unit": c.unit, "levels": list(c.levels)} for c in model.columns]
    return {
        "task": task.task, "model": model.name, "version": task.version, "kind": str(model.task.get("kind", "")), "as_of": task.as_of,
        "customers": len(task.ids), "schema_hash": model.schema_hash(), "features": inputs}


def _own_words(base: Base | None) -> set[str]:
    """Names that an error may repeat: the fields of the requests and the features of the models."""
    names = {column.name for task in base.tasks.values() for column in task.model.columns} if base else set()
    return names | {"tasks", "customers", "customer_id", "features", "language", "top", "seeds", "reach", "similarity", "task"}


def _document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with every error in its true media type."""
    if app.openapi_schema is None:
        said = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        said["components"]["schemas"] = {
            name: schema for name, schema in said["components"]["schemas"].items() if name not in ("HTTPValidationError", "ValidationError")}
        said["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        error = {"description": "a problem", "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
        for path in said["paths"].values():
            for method, operation in path.items():
                codes = ("400", "413", "415", "422", "500", "503") if method == "post" else ("500", "503")
                operation["responses"] |= dict.fromkeys(codes, error)
        app.openapi_schema = said
    return app.openapi_schema


@cache
def _metrics() -> dict[str, Any]:
    """Counters of this process, for GET /metrics. Their labels are tasks, versions and routes: nothing that a caller writes."""
    from prometheus_client import Counter, Histogram

    return {
        "requests": Counter("likeness_requests", "Requests by task and model version", ["task", "version"]),
        "rows": Counter("likeness_rows", "Customers scored by task and model version", ["task", "version"]),
        "unknown": Counter("likeness_unknown_categories", "Categories given that training never saw", ["task", "version"]),
        "seconds": Histogram("likeness_request_seconds", "Time to answer by route and status", ["route", "status"])}


def _count(task: TaskBase, rows: int) -> None:
    _metrics()["requests"].labels(task.task, task.version).inc()
    _metrics()["rows"].labels(task.task, task.version).inc(rows)


def _observe(route: str, status: int, seconds: float) -> None:
    _metrics()["seconds"].labels(route, str(status)).observe(seconds)
