"""The BentoML service: loads the champions of the run that LIKENESS_RUN names, and mounts the endpoints at /v1."""

import logging
import os
import re
import sys
from pathlib import Path

import bentoml
from starlette.types import Receive, Scope, Send

from features.errors import LikenessError
from serving.api import State, create_app
from serving.scoring import open_base

_state = State()
_app = create_app(_state)
_ROUTES = ("/v1/score", "/v1/explain", "/v1/audience", "/v1/models", "/v1/openapi.json")


async def _v1(scope: Scope, receive: Receive, send: Send) -> None:
    """All of /v1 in its own shape: BentoML would answer unknown paths itself if it saw the application's routes."""
    await _app(scope, receive, send)


# BentoML's access log writes paths, which may hold a customer's id; ours writes routes.
@bentoml.service(name="likeness", workers=2, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
@bentoml.asgi_app(_v1, path="/v1", name="v1")
class LikenessService:
    """Scores and reasons from verified champions."""

    def __init__(self) -> None:
        logging.getLogger("likeness").setLevel(logging.INFO)
        try:
            _state.base = open_base(Path(os.environ.get("LIKENESS_RUN", "out")))
        except LikenessError as error:
            # The run was whole when the server started. A worker that dies would be started again for ever; this one stays unready.
            logging.getLogger("likeness").error("the models cannot be loaded: %s", error)

    def __is_ready__(self) -> bool:
        """GET /readyz: whether verified models are in memory."""
        return _state.base is not None

    def __metrics__(self, text: str) -> str:
        """GET /metrics without the paths that callers made up, which BentoML counts one by one."""
        return "".join(line for line in text.splitlines(keepends=True) if (path := _endpoint(line)) is None or path in _ROUTES)

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def check() -> None:
        """Once, before any worker starts: end here rather than in workers that start again and again."""
        if os.environ.get("LIKENESS_IS_CHECKED") == "1":
            return
        try:
            open_base(Path(os.environ.get("LIKENESS_RUN", "out")))
        except LikenessError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(error.exit_code)


def _endpoint(line: str) -> str | None:
    found = re.search(r'[{,]endpoint="((?:[^"\\]|\\.)*)"', line)
    return found.group(1) if found else None
