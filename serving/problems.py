"""What every request passes through: its id, its key, its body's limits; and what every error looks like (RFC 9457)."""

import hashlib
import hmac
import json
import logging
import re
import time
import traceback
import uuid
from collections.abc import Callable, Coroutine, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from features.errors import UsageError

MAX_BODY_BYTES = 16 * 2**20
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KEY = "likeness.request_id"
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
# Pydantic's kinds of error in plain words. Its own messages are not used: some of them quote the input.
_WORDS = {
    "missing": "is required", "extra_forbidden": "is not a field of this request", "finite_number": "must be a finite number",
    "string_too_short": "must not be empty", "string_too_long": "is too long", "string_pattern_mismatch": "must not hold a NUL character",
    "string_unicode": "must be valid Unicode", "too_long": "has too many entries", "too_short": "has too few entries", "string_type": "must be text",
    "float_type": "must be a number, text or null, as the feature is", "int_type": "must be a whole number", "list_type": "must be a list",
    "dict_type": "must be an object", "model_type": "must be an object", "model_attributes_type": "must be an object",
    "literal_error": "must be one of the values that the document names", "greater_than_equal": "is too small", "less_than_equal": "is too large",
}


def problem(request_id: str, status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """One error as application/problem+json."""
    title = HTTPStatus(status).phrase
    said = {"type": "about:blank", "title": title, "status": status, "detail": detail, "request_id": request_id}
    return JSONResponse(said, status, headers, media_type="application/problem+json")


def request_id_of(request: Request) -> str:
    """The id of this request, as the caller gave it or as it was made up."""
    return str(request.scope[_KEY])


class StrictRequest(Request):
    """A request whose body is bounded and whose JSON is taken at its word: UTF-8, each name once."""

    async def body(self) -> bytes:
        """Raises: 413 before more than the limit is held, 400 for none."""
        if not hasattr(self, "_body"):
            too_large = HTTPException(413, f"the body must not be larger than {MAX_BODY_BYTES} bytes; send fewer customers at once")
            said = self.headers.get("content-length", "0")
            if said.isdigit() and int(said) > MAX_BODY_BYTES:
                raise too_large
            parts, size = [], 0
            async for part in self.stream():
                size += len(part)
                if size > MAX_BODY_BYTES:
                    raise too_large
                parts.append(part)
            self._body = b"".join(parts)
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
            if request.method == "POST":
                kind, _, rest = request.headers.get("content-type", "").lower().partition(";")
                charset = rest.strip().removeprefix("charset=").strip('"')
                is_plain = request.headers.get("content-encoding", "identity") == "identity"
                if kind.strip() != "application/json" or charset not in ("", "utf-8") or not is_plain:
                    raise HTTPException(415, "the content type must be application/json in UTF-8, not compressed")
            return await handle(StrictRequest(request.scope, request.receive))

        return strictly


class Door:
    """The outermost layer: gives each request an id, asks for the key if one is set, lets no error out in another shape.

    It writes one log line for each request, with the route, not the path: paths, bodies and exception texts may hold personal data.
    """

    def __init__(self, app: ASGIApp, key_sha256: str | None, observe: Callable[[str, int, float], None]) -> None:
        self.app, self.key_sha256, self.observe, self.log = app, key_sha256, observe, logging.getLogger("likeness")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers, begin, status = Headers(scope=scope), time.perf_counter(), 0
        # Where this is mounted, the mount stands here; what counts is the route inside.
        scope.pop("route", None)
        given = headers.get("x-request-id", "")
        request_id = scope[_KEY] = given if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        try:
            if self.key_sha256 and not self._has_key(headers):
                answer = problem(request_id, 401, "a valid key is required: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})
                await answer(scope, receive, send_with_id)
            else:
                await self.app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = 499
        except Exception as error:
            self.log.error("request_id=%s failed: %s", request_id, _where(error))
            if status:
                raise RuntimeError("a response broke off") from None
            await problem(request_id, 500, "something went wrong here; the log has it under this request_id")(scope, receive, send_with_id)
        route = getattr(scope.get("route"), "path", "unknown")
        seconds = time.perf_counter() - begin
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        self.log.info("%s %s %d %.1f ms request_id=%s", method, route, status, 1000 * seconds, request_id)
        self.observe(route, status, seconds)

    def _has_key(self, headers: Headers) -> bool:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        digest = hashlib.sha256(key.encode()).hexdigest()
        return hmac.compare_digest(digest, str(self.key_sha256).lower()) and scheme.lower() == "bearer"


def handle_errors(app: FastAPI, words: Callable[[], set[str]]) -> None:
    """Give all errors the one shape. `words` are the names that may be repeated to the caller, since they are ours."""

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, AnyHTTPException)
        return problem(request_id_of(request), error.status_code, str(error.detail), dict(error.headers or {}))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return problem(request_id_of(request), 422, _invalid(error.errors(), words()))

    async def usage(request: Request, error: Exception) -> Response:
        return problem(request_id_of(request), 422, str(error))

    app.add_exception_handler(AnyHTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(UsageError, usage)


def _invalid(errors: Sequence[Any], words: set[str], most: int = 3) -> str:
    """Pydantic's errors as one line: where, and what it must be; never what it was."""
    said: dict[str, str] = {}
    for error in errors:
        where = ""
        for i, part in enumerate(error["loc"][1:]):
            if isinstance(part, int):
                where += f"[{part}]"
            elif part in words:
                where += f".{part}" if where else part
            elif i == len(error["loc"]) - 2 and error["type"] == "extra_forbidden":
                where += " an unknown field"
        # The branches of a union (number, text) fail together; of two that speak of one place, a text's fault says more than "no number".
        if where not in said or (said[where] == _WORDS["float_type"] and error["type"] != "string_type"):
            said[where] = _WORDS.get(error["type"], "is not as the document at openapi.json says")
    lines = [f"{where.strip() or 'the body'} {what}" for where, what in said.items()]
    return "; ".join(lines[:most]) + (f"; and {len(lines) - most} more" if len(lines) > most else "")


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
