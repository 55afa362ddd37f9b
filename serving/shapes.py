"""The shapes of requests and answers under /v1, as their document tells them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

MAX_CUSTOMERS, MAX_EVENTS = 10_000, 10_000
MAX_SEEDS = 100_000
MAX_TASKS, MAX_TOP, MAX_TEXT, MAX_ID = 100, 100, 1000, 128

# (What is left out is None, but null is refused: a default outside of its type, hence the exemptions.)
Text = Annotated[str, Field(max_length=MAX_TEXT, pattern=r"^[^\x00]*$")]
Id = Annotated[str, Field(min_length=1, max_length=MAX_ID, pattern=r"^[^\x00]*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Event(_Strict):
    """What a customer did, or a marketer to them. Times are ISO 8601 (without an offset: UTC), money is in major units of the data's currency."""

    event_id: Id
    event_at: Text
    kind: Text
    ingested_at: Text | None = None
    initiator: Literal["customer", "marketer"] | None = None
    channel: Text | None = None
    session_id: Text | None = None
    item_id: Text | None = None
    category: Text | None = None
    brand: Text | None = None
    quantity: FiniteFloat | None = None
    amount: FiniteFloat | None = None
    discount: FiniteFloat | None = None
    is_promoted: bool | None = None
    campaign_id: Text | None = None
    value: FiniteFloat | None = None


class Customer(_Strict):
    """One customer: by id, from the base scored last; or by features, of which those not given count as not known; or by raw events.

    Events are looked at from `as_of`: if it is not given, from the base's moment where all happened before it, else from now. Features beside events tell what
    events do not, such as attributes, and go before them.
    """

    customer_id: Id
    features: dict[Text, FiniteFloat | Text | None] = Field(default=None)  # type: ignore[arg-type]
    events: Annotated[list[Event], Field(max_length=MAX_EVENTS)] = Field(default=None)  # type: ignore[arg-type]
    as_of: Text = Field(default=None, description="ISO 8601; only beside events")  # type: ignore[assignment]


class ScoreRequest(_Strict):
    """Whom to score, for which tasks (all that are served, if not said)."""

    model_config = ConfigDict(json_schema_extra={"examples": [
        {"tasks": ["churn"], "customers": [{"customer_id": "1123"}, {"customer_id": "a", "features": {"purchases_count_28d": 2}},
            {"customer_id": "b", "events": [{"event_id": "e1", "event_at": "2026-01-31T10:00:00Z", "kind": "purchase", "amount": 12.5}]}]}]})
    tasks: Annotated[list[Text], Field(min_length=1, max_length=MAX_TASKS)] = Field(default=None)  # type: ignore[arg-type]
    customers: Annotated[list[Customer], Field(max_length=MAX_CUSTOMERS)]


class ExplainRequest(ScoreRequest):
    """As score, with the language of the sentences and how many features to name."""

    model_config = ConfigDict(json_schema_extra={
        "examples": [{"tasks": ["churn"], "customers": [{"customer_id": "1123"}], "language": "en", "top": 5}]})
    language: Literal["en", "zh"] = "en"
    top: Annotated[int, Field(ge=1, le=MAX_TOP)] = 5


class ProfileRequest(_Strict):
    """Whose portrait. The id stands in the body, since addresses are logged on their way."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"customer_id": "1123", "language": "zh"}]})
    customer_id: Id
    language: Literal["en", "zh"] = "en"


class WhatIfRequest(_Strict):
    """One customer and what to suppose of the features that can be acted on, within what training observed."""

    model_config = ConfigDict(json_schema_extra={"examples": [
        {"task": "churn", "customer": {"customer_id": "1123"}, "changes": {"discount_share_28d": 0.2}}]})
    task: Text
    customer: Customer
    changes: Annotated[dict[Text, FiniteFloat | Text], Field(min_length=1, max_length=20)]
    language: Literal["en", "zh"] = "en"


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
    band_average: float | str | None = Field(description="the average of those in the same band")
    is_actionable: bool = Field(description="whether a marketer can act on it")
    contribution: float
    is_firm: bool | None = Field(description="whether models fitted on other customers agree with its sign nine times in ten; null where that is not known")
    sentence: str


class FamilySum(BaseModel):
    """The contributions of a family's features, summed with their signs; what is sensitive is in none."""

    model_config = ConfigDict(extra="forbid")
    family: str
    contribution: float
    is_firm: bool | None = Field(description="as of a reason")


class Explained(Result):
    """A result with its reasons: base_log_odds + all contributions of the reasons = log_odds; the families' sums are the same contributions taken together."""

    base_log_odds: float | None
    log_odds: float | None
    reasons: list[Reason]
    families: list[FamilySum]


class Known(BaseModel):
    """What is known of one feature."""

    feature: str
    label: str
    value: float | str | None
    unit: str
    text: str


class KnownFamily(BaseModel):
    """A family of features."""

    family: str
    features: list[Known]


class Belongs(BaseModel):
    """The segment of a scheme that a customer is in, as counted at `as_of`."""

    scheme: str
    title: str
    segment: str
    label: str
    as_of: str


class Holds(BaseModel):
    """A tag that a customer holds, from `as_of` to `valid_until`; `value` is what it tells, if anything."""

    tag: str
    label: str
    layer: str
    value: str | None
    as_of: str
    valid_until: str


class ProfileResponse(BaseModel):
    """A customer's portrait by family, segments, tags, and the latest score of every task with its first reasons. Of what is sensitive only how much is not shown."""

    request_id: str
    customer_id: str
    as_of: str
    found: bool
    families: list[KnownFamily]
    features_not_shown: int
    segments: list[Belongs]
    tags: list[Holds]
    tags_not_shown: int
    scores: list[Explained]


class Change(BaseModel):
    """What was supposed of a feature."""

    feature: str
    label: str
    before: float | str | None
    after: float | str


class WhatIfResponse(BaseModel):
    """The model's answer for the customer as they are and as supposed; `note` says what that is not. `after` is null where nobody was found."""

    request_id: str
    is_causal: Literal[False] = False
    note: str
    changes: list[Change]
    before: Result
    after: Result | None


class Entry(BaseModel):
    """A feature in the data dictionary."""

    name: str
    family: str
    unit: str
    label_en: str
    label_zh: str
    is_actionable: bool
    is_sensitive: bool
    is_treatment: bool
    tasks: list[str]


class FeaturesResponse(BaseModel):
    """The data dictionary of the models that are served."""

    request_id: str
    features: list[Entry]


class ReportsResponse(BaseModel):
    """The pages of the run, by name: GET reports/NAME."""

    request_id: str
    reports: list[str]


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
