"""The endpoints under /v1: typed requests, scores and reasons, one shape of error, their own document."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse

from serving import examples, reasons
from serving.alike import SpaceBase
from serving.audit import audit
from serving.decoding import Question
from serving.door import Door, StrictRoute
from serving.keys import Keys
from serving.metrics import count, count_scores, observe, timed
from serving.pool import Pool
from serving.problems import ABOUT, KEY_ID, handle_errors, request_id_of
from serving.profile import dictionary, profile, what_if
from serving.scoring import Answers, Asked, Base, TaskBase
from serving.shapes import (
    AudienceRequest,
    AudienceResponse,
    Customer,
    Event,
    ExplainRequest,
    ExplainResponse,
    FeaturesResponse,
    ModelsResponse,
    Problem,
    ProfileRequest,
    ProfileResponse,
    ReportsResponse,
    ScoreRequest,
    ScoreResponse,
    WhatIfRequest,
    WhatIfResponse,
)

API_VERSION = "1.3.0"
# Up to here the event loop works by itself, since handing over to a thread costs more: bytes to decode, and rows to score, of which one explained is worth many.
_BYTES_AT_ONCE, _ROWS_AT_ONCE, _ROWS_OF_A_REASON = 2**16, 32, 16


@dataclass
class State:
    """What the endpoints answer from; None until it is loaded. It is read once per request, so a response has one version."""

    base: Base | None = None
    # None asks for none: for tests, and for the development switch.
    keys: Keys | None = None
    # Where audiences that were taken are written down; None writes nothing.
    run: Path | None = None
    pool: Pool = field(default_factory=Pool)

    def require(self) -> Base:
        """Raises: 503 while nothing is loaded."""
        if self.base is None:
            raise HTTPException(503, "the models are not loaded yet", {"Retry-After": "5"})
        return self.base


def create_app(state: State) -> Door:
    """The application to be mounted at /v1."""
    app = FastAPI(
        title="Likeness", version=API_VERSION, description="Who will leave, who will buy, and why.",
        docs_url=None, redoc_url=None, redirect_slashes=False, telemetry={"tracing": False, "metrics": False, "logs": False})
    app.router.route_class = StrictRoute
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    handle_errors(app, lambda: _own_words(state.base))

    @app.post("/score", response_model=ScoreResponse, summary="Score customers")
    async def score(asked: ScoreRequest, request: Request) -> Response:
        return await state.pool.run(_typed, state.require(), asked, request_id_of(request), request.scope[ABOUT])

    @app.post("/explain", response_model=ExplainResponse, summary="Score customers and say why")
    async def explain(asked: ExplainRequest, request: Request) -> Response:
        return await state.pool.run(_typed, state.require(), asked, request_id_of(request), request.scope[ABOUT])

    @app.post("/audience", response_model=AudienceResponse, summary="Find customers like some seeds")
    async def audience(asked: AudienceRequest, request: Request) -> Response:
        return await state.pool.run(_audience, state, asked, request)

    @app.get("/models", response_model=ModelsResponse, summary="The models that are served")
    async def models(request: Request) -> Response:
        base = state.require()
        served: list[TaskBase | SpaceBase] = [*base.tasks.values(), *base.spaces.values()]
        return JSONResponse({"request_id": request_id_of(request), "models": [_model(task) for task in served]})

    @app.post("/profile", response_model=ProfileResponse, summary="One customer's portrait and latest scores")
    async def portrait(asked: ProfileRequest, request: Request) -> Response:
        base = state.require()
        request.scope[ABOUT] |= {"rows": 1, "versions": base.versions()}
        return JSONResponse({"request_id": request_id_of(request), **await state.pool.run(profile, base, asked.customer_id, asked.language)})

    @app.post("/whatif", response_model=WhatIfResponse, summary="What a model would say of a customer otherwise; not what would happen")
    async def otherwise(asked: WhatIfRequest, request: Request) -> Response:
        return await state.pool.run(_what_if, state.require(), asked, request_id_of(request), request.scope[ABOUT])

    @app.get("/features", response_model=FeaturesResponse, summary="The data dictionary")
    async def features(request: Request) -> Response:
        return JSONResponse({"request_id": request_id_of(request), "features": dictionary(state.require())})

    @app.get("/reports", response_model=ReportsResponse, summary="The marketers' pages")
    async def reports(request: Request) -> Response:
        return JSONResponse({"request_id": request_id_of(request), "reports": sorted(_reports(state))})

    @app.get("/reports/{name}", response_class=HTMLResponse, summary="One page")
    async def report(name: str) -> Response:
        # Only what the folder lists: no path is made of what a caller writes.
        if (path := _reports(state).get(name)) is None:
            raise HTTPException(404, "there is no such page; GET reports lists them")
        return HTMLResponse(path.read_bytes())

    return Door(app, partial(_straight, state), state.keys, observe)


async def _straight(state: State, route: str, body: bytes, request_id: str, about: dict[str, Any]) -> bytes | None:
    """The answer to a request that is as it should be, by the shortest way; None for any other."""
    base, explains = state.base, route == "/explain"
    if base is None:
        return None
    if len(body) > _BYTES_AT_ONCE:
        question = await state.pool.run(base.decoder.read, body, explains)
    else:
        question = base.decoder.read(body, explains)
    if question is None:
        return None
    rows = len(question.ids) * len(question.tasks) * (_ROWS_OF_A_REASON if explains else 1)
    if rows > _ROWS_AT_ONCE:
        return await state.pool.run(_decoded, base, question, explains, request_id, about)
    return _decoded(base, question, explains, request_id, about)


def _decoded(base: Base, question: Question, explains: bool, request_id: str, about: dict[str, Any]) -> bytes:
    withheld = base.withheld_among(question.ids)
    answers = [timed(task, partial(_answer, base, question, task, withheld)) for task in question.tasks]
    return _told(request_id, question.tasks, question.ids, answers, question.language, question.top if explains else None, about)


def _answer(base: Base, question: Question, task: TaskBase, withheld: frozenset[int]) -> Answers:
    return task.answer(question.ids, question.places, *base.decoder.rows(question, task), withheld)


def _typed(base: Base, asked: ScoreRequest, request_id: str, about: dict[str, Any]) -> Response:
    """The answer to a typed request. Raises: UsageError for what its types cannot say."""
    tasks = base.require_tasks(asked.tasks)
    base.require_features([(customer.customer_id, customer.features) for customer in asked.customers], tasks)
    customers = [_given(base, customer, f"customers[{i}]") for i, customer in enumerate(asked.customers)]
    language, top = (asked.language, asked.top) if isinstance(asked, ExplainRequest) else ("en", None)
    ids = [customer for customer, _ in customers]
    withheld = base.withheld_among(ids)
    said = _told(request_id, tasks, ids, [timed(task, partial(task.ask, customers, withheld)) for task in tasks], language, top, about)
    return Response(said, media_type="application/json")


def _given(base: Base, customer: Customer, where: str) -> Asked:
    """Whom, and by which features; None for the base's. Raises: UsageError for events that cannot be read."""
    is_plain = customer.events is None and customer.as_of is None
    return customer.customer_id, customer.features if is_plain else base.by_events.features(customer, where)


def _told(request_id: str, tasks: list[TaskBase], ids: list[str], answers: list[Answers], language: str, top: int | None, about: dict[str, Any]) -> bytes:
    """Answers as JSON, in the order of the customers, then of the tasks; with `top` reasons each, if it is given. `about` is told how many, and the versions."""
    about |= {"rows": len(ids), "versions": {task.task: task.version for task in tasks}}
    by_task = []
    for task, answer in zip(tasks, answers, strict=True):
        results = task.results(ids, answer, language)
        if top is not None:
            for result, more in zip(results, reasons.explain(task.model, answer, language, top), strict=True):
                result |= more
        by_task.append(results)
        count(task.task, task.version, len(ids), answer.n_unknown_categories)
        count_scores(task.task, task.version, results)
    return msgspec.json.encode({"request_id": request_id, "results": by_task[0] if len(by_task) == 1 else [result for results in zip(*by_task, strict=True) for result in results]})


def _what_if(base: Base, asked: WhatIfRequest, request_id: str, about: dict[str, Any]) -> Response:
    [task] = base.require_tasks([asked.task])
    base.require_features([(asked.customer.customer_id, asked.customer.features)], [task])
    customer = _given(base, asked.customer, "customer")
    answers, changes, note = what_if(base, task, customer, asked.changes, asked.language)
    results = task.results([customer[0]] * len(answers.why), answers, asked.language)
    count(task.task, task.version, len(results))
    about |= {"rows": len(results), "versions": {task.task: task.version}}
    return JSONResponse({
        "request_id": request_id, "is_causal": False, "note": note, "changes": changes, "before": results[0], "after": results[1] if len(results) > 1 else None})


def _reports(state: State) -> dict[str, Path]:
    return {path.name: path for path in (state.run / "reports").glob("*.html")} if state.run else {}


def _audience(state: State, asked: AudienceRequest, request: Request) -> Response:
    space, request_id = state.require().require_space(asked.task), request_id_of(request)
    found = space.audience(asked.seeds, asked.reach, asked.similarity)
    count(space.task, space.version, len(found.rows))
    request.scope[ABOUT] |= {"rows": len(found.rows), "versions": {space.task: space.version}}
    if state.run is not None:
        audit(state.run, "audience", request.scope.get(KEY_ID, "none"), request_id=request_id, task=space.task, version=space.version,
              audience_id=found.audience_id, customers=len(found.rows))
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
    return names | {
        *Event.model_fields, "events", "as_of", "tasks", "customers", "customer_id", "features", "language", "top", "seeds", "reach", "similarity", "task", "customer",
        "changes"}


def _document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with every error in its true media type, and an example of every answer."""
    if app.openapi_schema is None:
        said = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        said["components"]["schemas"] = {
            name: schema for name, schema in said["components"]["schemas"].items() if name not in ("HTTPValidationError", "ValidationError")}
        said["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        error = {"description": "a problem", "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}, "example": examples.PROBLEM}}}
        for route, path in said["paths"].items():
            for method, operation in path.items():
                codes = ("401", *(("404", "422") if "{" in route else ()), "403", "429", "500", "503", *(("400", "408", "413", "415", "422", "504") if method == "post" else ()))
                operation["responses"] |= dict.fromkeys(codes, error)
                for content in operation["responses"]["200"]["content"].values():
                    content["example"] = examples.ANSWERS[route]
                for parameter in operation.get("parameters", ()):
                    parameter["example"] = examples.IN_PATH[parameter["name"]]
        said["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "description": "asked for unless the server was started without keys"}}
        said["security"] = [{"key": []}, {}]
        app.openapi_schema = said
    return app.openapi_schema
