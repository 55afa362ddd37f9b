"""What every error looks like (RFC 9457), and in what words."""

import logging
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as AnyHTTPException

from features.errors import ContractError, UsageError

REQUEST_ID, KEY_ID = "likeness.request_id", "likeness.key_id"
# What the log's line tells of a request beside route and status: rows, versions.
ABOUT = "likeness.about"
# Pydantic's kinds of error in plain words. Its own messages are not used: some of them quote the input.
_WORDS = {
    "missing": "is required", "extra_forbidden": "is not a field of this request", "finite_number": "must be a finite number",
    "string_too_short": "must not be empty", "string_too_long": "is too long", "string_pattern_mismatch": "must not hold a NUL character",
    "string_unicode": "must be valid Unicode", "too_long": "has too many entries", "too_short": "has too few entries", "string_type": "must be text",
    "float_type": "must be a number, text or null, as the feature is", "int_type": "must be a whole number", "list_type": "must be a list",
    "dict_type": "must be an object", "model_type": "must be an object", "model_attributes_type": "must be an object",
    "literal_error": "must be one of the values that the document names", "greater_than_equal": "is too small", "less_than_equal": "is too large",
}


def problem(request_id: str, status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """One error as application/problem+json."""
    title = HTTPStatus(status).phrase
    said = {"type": "about:blank", "title": title, "status": status, "detail": detail, "request_id": request_id}
    return JSONResponse(said, status, headers, media_type="application/problem+json")


def cannot_now(request_id: str, error: Exception) -> Response:
    """What is here is not as it must be: that is no fault of the caller's, and the log says which."""
    logging.getLogger("likeness").error("request_id=%s cannot be answered: %s", request_id, error)
    return problem(request_id, 503, "this cannot be answered now; the log has the reason under this request_id", {"Retry-After": "5"})


def request_id_of(request: Request) -> str:
    """The id of this request, as the caller gave it or as it was made up."""
    return str(request.scope[REQUEST_ID])


def handle_errors(app: FastAPI, words: Callable[[], set[str]]) -> None:
    """Give all errors the one shape. `words` are the names that may be repeated to the caller, since they are ours."""

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, AnyHTTPException)
        return problem(request_id_of(request), error.status_code, str(error.detail), dict(error.headers or {}))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return problem(request_id_of(request), 422, _invalid(error.errors(), words()))

    async def unfit(request: Request, error: Exception) -> Response:
        return cannot_now(request_id_of(request), error)

    async def usage(request: Request, error: Exception) -> Response:
        return problem(request_id_of(request), 422, str(error))

    app.add_exception_handler(AnyHTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(UsageError, usage)
    app.add_exception_handler(ContractError, unfit)


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
