"""The shapes of requests and answers under /v1, as their document tells them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

MAX_CUSTOMERS = 10_000
MAX_SEEDS = 100_000
MAX_TASKS, MAX_TOP, MAX_TEXT, MAX_ID = 100, 100, 1000, 128

Text = Annotated[str, Field(max_length=MAX_TEXT, pattern=r"^[^\x00]*$")]
Id = Annotated[str, Field(min_length=1, max_length=MAX_ID, pattern=r"^[^\x00]*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Customer(_Strict):
    """One customer: by id, from the base scored last; or by features, of which those not given count as not known."""

    customer_id: Id
    features: dict[Text, FiniteFloat | Text | None] = Field(default=None)  # type: ignore[arg-type]


class ScoreRequest(_Strict):
    """Whom to score, for which tasks (all that are served, if not said)."""

    model_config = ConfigDict(json_schema_extra={"examples": [
        {"tasks": ["churn"], "customers": [{"customer_id": "1123"}, {"customer_id": "a", "features": {"purchases_count_28d": 2}}]}]})
    tasks: Annotated[list[Text], Field(min_length=1, max_length=MAX_TASKS)] = Field(default=None)  # type: ignore[arg-type]
    customers: Annotated[list[Customer], Field(max_length=MAX_CUSTOMERS)]


class ExplainRequest(ScoreRequest):
    """As score, with the language of the sentences and how many features to name."""

    model_config = ConfigDict(json_schema_extra={
        "examples": [{"tasks": ["churn"], "customers": [{"customer_id": "1123"}], "language": "en", "top": 5}]})
    language: Literal["en", "zh"] = "en"
    top: Annotated[int, Field(ge=1, le=MAX_TOP)] = 5


class AudienceRequest(_Strict):
    """Seeds, and how far to go: the `reach` most alike, or all with at least that `similarity` (likeness, 0 to 1). One of the two."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"seeds": ["1", "7"], "reach": 1000}, {"seeds": ["1", "7"], "similarity": 0.8, "top": 3}]})
    seeds: Annotated[list[Id], Field(min_length=1, max_length=MAX_SEEDS)]
    reach: Annotated[int, Field(ge=1, le=10_000_000)] = Field(default=None)  # type: ignore[assignment]
    similarity: Annotated[FiniteFloat, Field(ge=0, le=1)] = Field(default=None)  # type: ignore[assignment]
    task: Text = Field(default=None)  # type: ignore[assignment]
    language: Literal["en", "zh"] = "en"
    top: Annotated[int, Field(ge=0, le=20, description="reasons for each member")] = 0


class Result(BaseModel):
    """A customer's score for a task; `why` says in plain words what is missing where `found` is false, and the numbers are null."""

    model_config = ConfigDict(extra="forbid")
    customer_id: str
    task: str
    found: bool
    score: int | None = Field(ge=0, le=100, description="the percentile, rounded")
    probability: float | None = Field(ge=0, le=1)
    percentile: float | None = Field(ge=0, le=100, description="rank within the base of as_of")
    band: Literal["low", "medium", "high"] | None
    as_of: str
    model: str
    version: str
    why: str = ""


class Reason(BaseModel):
    """What one feature adds to the log-odds; `other` is the rest, `not_shown` all that is sensitive, as one amount."""

    model_config = ConfigDict(extra="forbid")
    family: str
    feature: str
    label: str
    value: float | str | None
    average: float | str | None
    contribution: float
    sentence: str


class Explained(Result):
    """A result with its reasons: base_log_odds + all contributions = log_odds."""

    base_log_odds: float | None
    log_odds: float | None
    reasons: list[Reason]


class ScoreResponse(BaseModel):
    """Results in the order of the customers, then of the tasks."""

    request_id: str
    results: list[Result]


class ExplainResponse(BaseModel):
    """Results with reasons, in the order of the customers, then of the tasks."""

    request_id: str
    results: list[Explained]


class Alike(BaseModel):
    """What makes a member like the seeds: its value beside everybody's and the seeds' averages."""

    model_config = ConfigDict(extra="forbid")
    family: str
    feature: str
    label: str
    value: float | str | None
    average: float | str | None
    seeds: float | str | None
    contribution: float
    sentence: str


class Member(BaseModel):
    """A customer of an audience. `likeness` is the share of the seeds themselves that are less like the seeds; it is no probability."""

    customer_id: str
    likeness: float = Field(ge=0, le=1)
    percentile: float = Field(ge=0, le=100, description="rank within the base of as_of")
    reasons: list[Alike] = []


class CurvePoint(BaseModel):
    """At this reach: the least likeness inside, and how many times as many of the seeds' kind as a random audience would hold."""

    reach: int
    similarity: float
    expected_lift: float


class AudienceResponse(BaseModel):
    """An audience, most alike first, without the seeds."""

    request_id: str
    audience_id: str
    task: str
    model: str
    version: str
    as_of: str
    expires_at: str
    seeds_used: int
    seeds_unknown: int
    audience: list[Member]
    curve: list[CurvePoint]


class Input(BaseModel):
    """A feature that a model takes."""

    name: str
    kind: Literal["number", "category"]
    unit: str
    levels: list[str]


class Model(BaseModel):
    """A model that is served."""

    task: str
    model: str
    version: str
    kind: str
    as_of: str
    customers: int
    schema_hash: str
    features: list[Input]


class ModelsResponse(BaseModel):
    """All models that are served."""

    request_id: str
    models: list[Model]


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
