"""What every request passes through: its id, its key, its body's limits, the straight way for what is asked most."""

import asyncio
import json
import logging
import re
import time
import traceback
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from features.errors import ContractError
from serving import logs
from serving.keys import Keys
from serving.problems import ABOUT, KEY_ID, REQUEST_ID, cannot_now, problem

MAX_BODY_BYTES, BODY_SECONDS = 32 * 2**20, 10.0
# Requests that a worker holds at once, most of them waiting for their bodies.
MOST_AT_ONCE = 512
# The routes whose requests are decoded straight to numbers.
STRAIGHT = ("/score", "/explain")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
Answer = Callable[[str, bytes, str, dict[str, Any]], Awaitable[bytes | None]]


async def read_body(said: str, receive: Receive) -> bytes:
    """The whole body; `said` is its length as the caller says it. Raises: 413 before more than the limit is held, 408 for a body that does not come."""
    too_large = HTTPException(413, f"the body must not be larger than {MAX_BODY_BYTES} bytes; send fewer customers at once")
    if said.isdecimal() and int(said) > MAX_BODY_BYTES:
        raise too_large
    parts, size, more = [], 0, True
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                parts.append(message.get("body", b""))
                size, more = size + len(parts[-1]), message.get("more_body", False)
                if size > MAX_BODY_BYTES:
                    raise too_large
    except TimeoutError:
        raise HTTPException(408, f"the body must arrive within {BODY_SECONDS:g} seconds; send it again", {"Connection": "close"}) from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def is_plain_json(kind: str, encoding: str) -> bool:
    """Whether a body is said to be JSON in UTF-8, not compressed."""
    kind, _, rest = kind.lower().partition(";")
    return kind.strip() == "application/json" and rest.strip().removeprefix("charset=").strip('"') in ("", "utf-8") and encoding == "identity"


class StrictRequest(Request):
    """A request whose body is bounded and whose JSON is taken at its word: UTF-8, each name once."""

    async def body(self) -> bytes:
        """Raises: 413 before more than the limit is held, 400 for none."""
        if not hasattr(self, "_body"):
            self._body = await read_body(self.headers.get("content-length", ""), self.receive)
        if not self._body:
            raise HTTPException(400, "the body must be JSON; found an empty one")
        return self._body

    async def json(self) -> Any:
        """Raises: 400 for what is not JSON or nested too deeply, 422 for a repeated name."""
        body = await self.body()
        try:
            return json.loads(body.decode("utf-8"), object_pairs_hook=_each_once)
        except _RepeatedName:
            raise HTTPException(422, "each name may stand only once in an object; found one repeated") from None
        except (ValueError, RecursionError):
            raise HTTPException(400, "the body must be JSON in UTF-8, not deeply nested; found something else") from None


class StrictRoute(APIRoute):
    """A route that takes JSON only."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            if request.method == "POST" and not is_plain_json(request.headers.get("content-type", ""), request.headers.get("content-encoding", "identity")):
                raise HTTPException(415, "the content type must be application/json in UTF-8, not compressed")
            return await handle(StrictRequest(request.scope, request.receive))

        return strictly


class Door:
    """The outermost layer: gives each request an id, asks for a key if keys are asked for, lets no error out in another shape.

    What is asked most goes straight to `answer`; what that does not take goes on to the application, as everything else.
    It writes one log line for each request, with the route, not the path: paths, bodies and exception texts may hold personal data. Whoever answers adds to
    what the line is about: rows, versions.
    """

    def __init__(self, app: ASGIApp, answer: Answer, keys: Keys | None, observe: Callable[[str, int, float], None]) -> None:
        self.inside = 0
        self.app, self.answer, self.keys, self.observe, self.log = app, answer, keys, observe, logging.getLogger(logs.NAME)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, begin, status = Headers(scope=scope), time.perf_counter(), 0
        # Where this is mounted, the mount stands here; what counts is the route inside.
        scope.pop("route", None)
        given = headers.get("x-request-id", "")
        request_id = scope[REQUEST_ID] = given if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())
        about: dict[str, Any] = {"request_id": request_id, "key": "none"}
        scope[ABOUT] = about

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        route = scope["path"].removeprefix(scope.get("root_path", ""))
        is_straight = route in STRAIGHT and scope["method"] == "POST"
        self.inside += 1
        try:
            if self.inside > MOST_AT_ONCE:
                raise HTTPException(503, "too much is asked at once; come again soon", {"Retry-After": "1"})
            if self.keys:
                scope[KEY_ID] = about["key"] = self.keys.require(headers.get("authorization", ""), route).id
            if is_straight and is_plain_json(headers.get("content-type", ""), headers.get("content-encoding", "identity")):
                body = await read_body(headers.get("content-length", ""), receive)
                said = await self.answer(route, body, request_id, about)
                if said is None:
                    await self.app(scope, _again(body, receive), send_with_id)
                else:
                    await send_with_id({"type": "http.response.start", "status": 200, "headers": [
                        (b"content-type", b"application/json"), (b"content-length", b"%d" % len(said))]})
                    await send({"type": "http.response.body", "body": said})
            else:
                await self.app(scope, receive, send_with_id)
        except HTTPException as error:
            await problem(request_id, error.status_code, error.detail, error.headers)(scope, receive, send_with_id)
        except ContractError as error:
            await cannot_now(request_id, error)(scope, receive, send_with_id)
        except ClientDisconnect:
            status = 499
        except Exception as error:
            self.log.error("request_id=%s failed: %s", request_id, _where(error))
            if status:
                raise RuntimeError("a response broke off") from None
            await problem(request_id, 500, "something went wrong here; the log has it under this request_id")(scope, receive, send_with_id)
        finally:
            self.inside -= 1
        if not is_straight:
            route = getattr(scope.get("route"), "path", "unknown")
        seconds = time.perf_counter() - begin
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        logs.request(self.log, method, route, status, seconds, about)
        self.observe(route, status, seconds)


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read already, then whatever comes."""
    told = False

    async def give() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give


class _RepeatedName(ValueError):
    pass


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _RepeatedName
    return found


def _where(error: BaseException) -> str:
    """An exception's type and place, without its text, which may quote a request."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return f"{type(error).__name__} at " + " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
