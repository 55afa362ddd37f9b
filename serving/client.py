"""A client of the endpoints for Python services: typed answers, one kind of error, tries again where the server says when."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel

from serving.shapes import AudienceResponse, ExplainResponse, FeaturesResponse, ModelsResponse, ProfileResponse, ReportsResponse, ScoreResponse, WhatIfResponse

Answer = TypeVar("Answer", bound=BaseModel)
Customer = str | Mapping[str, Any]
_AGAIN = (429, 503)


class ProblemError(Exception):
    """The server's refusal, as its application/problem+json says it."""

    def __init__(self, status: int, detail: str, request_id: str) -> None:
        super().__init__(f"{status}: {detail} (request_id {request_id})")
        self.status, self.detail, self.request_id = status, detail, request_id


class Client:
    """Asks one server. A customer is an id, or {"customer_id": ..., "features": {...}} or {"customer_id": ..., "events": [...]}."""

    def __init__(self, address: str = "http://127.0.0.1:3000", key: str | None = None, seconds: float = 60.0, tries: int = 3) -> None:
        self.address, self.seconds, self.tries = address.rstrip("/"), seconds, tries
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})

    def score(self, customers: Sequence[Customer], tasks: Sequence[str] | None = None) -> ScoreResponse:
        """POST /v1/score. Raises: ProblemError, OSError where nobody answers; so do all below."""
        return self._ask("score", ScoreResponse, customers=_named(customers), tasks=tasks)

    def explain(self, customers: Sequence[Customer], tasks: Sequence[str] | None = None, language: str = "en", top: int = 5) -> ExplainResponse:
        """POST /v1/explain."""
        return self._ask("explain", ExplainResponse, customers=_named(customers), tasks=tasks, language=language, top=top)

    def what_if(self, task: str, customer: Customer, changes: Mapping[str, float | str], language: str = "en") -> WhatIfResponse:
        """POST /v1/whatif."""
        return self._ask("whatif", WhatIfResponse, task=task, customer=_named([customer])[0], changes=dict(changes), language=language)

    def profile(self, customer: str, language: str = "en") -> ProfileResponse:
        """POST /v1/profile."""
        return self._ask("profile", ProfileResponse, customer_id=customer, language=language)

    def audience(self, seeds: Sequence[str], reach: int | None = None, similarity: float | None = None, top: int = 0, language: str = "en") -> AudienceResponse:
        """POST /v1/audience."""
        return self._ask("audience", AudienceResponse, seeds=list(seeds), reach=reach, similarity=similarity, top=top, language=language)

    def models(self) -> ModelsResponse:
        """GET /v1/models."""
        return self._ask("models", ModelsResponse)

    def features(self) -> FeaturesResponse:
        """GET /v1/features."""
        return self._ask("features", FeaturesResponse)

    def reports(self) -> ReportsResponse:
        """GET /v1/reports."""
        return self._ask("reports", ReportsResponse)

    def _ask(self, route: str, answer: type[Answer], **said: Any) -> Answer:
        body = json.dumps({name: value for name, value in said.items() if value is not None}).encode() if said else None
        request = urllib.request.Request(f"{self.address}/v1/{route}", body, self._headers)
        for left in reversed(range(self.tries)):
            try:
                with urllib.request.urlopen(request, timeout=self.seconds) as response:
                    return answer.model_validate_json(response.read())
            except urllib.error.HTTPError as error:
                with error:
                    problem = _problem(error)
                    wait = error.headers.get("Retry-After", "")
                if problem.status not in _AGAIN or not left:
                    raise problem from None
                time.sleep(float(wait) if wait.isdecimal() else 1.0)
        raise AssertionError("the last try answers or raises")


def _named(customers: Sequence[Customer]) -> list[dict[str, Any]]:
    return [{"customer_id": customer} if isinstance(customer, str) else dict(customer) for customer in customers]


def _problem(error: urllib.error.HTTPError) -> ProblemError:
    try:
        said = json.loads(error.read())
        return ProblemError(error.code, str(said["detail"]), str(said["request_id"]))
    except (ValueError, KeyError, TypeError):
        # A proxy's words, not ours.
        return ProblemError(error.code, error.reason, "")
