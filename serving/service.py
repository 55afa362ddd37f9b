"""The BentoML service: loads the champions of the run that LIKENESS_RUN names, and answers /v1 and /metrics before BentoML's own layers."""

import logging
import os
import sys
from pathlib import Path

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

from features.errors import LikenessError
from serving import logs, patience
from serving.api import State, create_app
from serving.keys import Keys
from serving.metrics import answer_metrics
from serving.scoring import open_base
from serving.swap import Watcher, begin

_run = Path(os.environ.get("LIKENESS_RUN", "out"))
_watch_seconds = float(os.environ.get("LIKENESS_WATCH_SECONDS", "5"))
_workers = int(os.environ.get("LIKENESS_WORKERS", "2"))
# Keys are asked for unless it was said explicitly that they are not.
_state = State(keys=None if os.environ.get("LIKENESS_WITHOUT_KEYS") == "1" else Keys(_run, 1 / _workers), run=_run)
_app = create_app(_state)


class Front:
    """All of /v1 in its own shape, by the shortest way; the rest (livez, readyz) is BentoML's.

    BentoML would measure and trace each request by its path, which may hold a customer's id, at twice the cost of the answer itself.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == "http" else ""
        if path.startswith("/v1/") or path == "/v1":
            scope["root_path"] = "/v1"
            await _app(scope, receive, send)
        elif path == "/metrics":
            await answer_metrics(scope, receive, send)
        else:
            await self.app(scope, receive, send)


@bentoml.service(
    name="likeness", workers=_workers, traffic={"timeout": 60}, metrics={"enabled": False},
    tracing={"excluded_urls": ".*"}, logging={"access": {"enabled": False}})
class LikenessService:
    """Scores and reasons from verified champions."""

    def __init__(self) -> None:
        logs.configure()
        try:
            _state.base = begin(_run)
        except LikenessError as error:
            # The run was whole when the server started. A worker that dies would be started again for ever; this one stays unready until it can.
            logging.getLogger("likeness").error("the models cannot be loaded: %s", error)
        if _watch_seconds:
            Watcher(_run, _state, _watch_seconds).start()

    def __is_ready__(self) -> bool:
        """GET /readyz: whether verified models are in memory."""
        return _state.base is not None

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def check() -> None:
        """Once, before any worker starts: end here rather than in workers that start again and again."""
        if os.environ.get("LIKENESS_IS_CHECKED") == "1":
            return
        try:
            open_base(_run)
        except LikenessError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(error.exit_code)


patience.install()
LikenessService.add_asgi_middleware(Front)  # type: ignore[attr-defined]  # BentoML's decorator gives a service, its types say a class
