"""A task is a frozen value: what is predicted, for whom, over which windows of time."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from features.errors import UsageError


@dataclass(frozen=True)
class WindowSpec:
    """All that a task says about time; every amount is in days.

    A snapshot at `as_of` sees events in [as_of - longest lookback, as_of) (and, where a feature says "ever", all before),
    and its label looks at [as_of + gap, as_of + gap + horizon).
    """

    horizon_days: int
    lookbacks_days: tuple[int, ...] = (28, 56, 112)
    gap_days: int = 0
    slide_days: int = 14
    ingestion_lag_days: int = 0
    row_cap: int = 10
    stop_on_first_conversion: bool = False

    def __post_init__(self) -> None:
        if min(self.horizon_days, self.slide_days, self.row_cap, *self.lookbacks_days) < 1 or min(self.gap_days, self.ingestion_lag_days) < 0:
            raise UsageError(f"windows need positive days (gap and lag may be 0), found {self}; correct the task's windows")
        if list(self.lookbacks_days) != sorted(set(self.lookbacks_days)):
            raise UsageError(f"lookbacks must rise, found {self.lookbacks_days}; write them from short to long")

    @property
    def purge_days(self) -> int:
        """How far apart two snapshots must be so that the label of the first is known before the second."""
        return self.gap_days + self.horizon_days

    @property
    def mature_after_days(self) -> int:
        """How long after `as_of` the label is complete."""
        return self.purge_days + self.ingestion_lag_days


@dataclass(frozen=True)
class Eligibility:
    """Who is asked about: active (an event of `active_kind`) in the days before, and, if named, having ever met `received_kind`."""

    active_days: int
    active_kind: str = "purchase"
    received_kind: str | None = None


@dataclass(frozen=True)
class Seeds:
    """Who is the example of a lookalike task: customers with a first `event_kind` in [from_date, until_date) of the dataset's calendar,
    or the highest `top_share` of the population by the feature `column`.
    """

    event_kind: str = ""
    from_date: str = ""
    until_date: str = ""
    column: str = ""
    top_share: float = 0.10

    def words(self) -> str:
        """The seeds in plain English."""
        if self.event_kind:
            dates = f" from {self.from_date} until {self.until_date}" if self.from_date and self.until_date else ""
            return f"the customers with a first {self.event_kind.replace('_', ' ')}{dates}"
        return f"the first {100 * self.top_share:.0f}% by {self.column}" if self.column else "the customers of a list"


@dataclass(frozen=True)
class Campaign:
    """What a call to somebody at risk costs and may keep; amounts in the dataset's currency, for each customer. The first values are those of Verbraken et al. 2013.

    `clv` is what a customer who stays is worth, `accept_rate` the share of those who would leave that the incentive keeps.
    Raises: UsageError for amounts with which no campaign could pay.
    """

    clv: float = 200.0
    incentive_cost: float = 10.0
    contact_cost: float = 1.0
    accept_rate: float = 0.3

    def __post_init__(self) -> None:
        if min(self.clv, self.incentive_cost, self.contact_cost) <= 0 or not 0 < self.accept_rate < 1 or self.incentive_cost >= self.clv:
            raise UsageError(f"a campaign needs amounts above 0, an incentive below the value kept, an accept_rate between 0 and 1, found {self}; correct them")


@dataclass(frozen=True)
class Task:
    """One question to the data.

    `target_kind` is the event whose absence (churn) or presence (conversion) is the label, narrowed to `target_category` where one is named.
    A lookalike task has no label: it ranks by likeness to `seeds`.
    """

    name: str
    kind: Literal["churn", "conversion", "lookalike"]
    eligibility: Eligibility
    windows: WindowSpec
    target_kind: str = "purchase"
    target_category: str = ""
    seeds: Seeds | None = None
    # The single columns that a marketer would sort by; the best of them is found before the test period.
    rules: tuple[str, ...] = ()
    # What the winner is chosen by, declared before the test period is read.
    metric: Literal["log_loss", "auc"] = "log_loss"
    # How much history the first snapshot needs; less than `active_days` where the data are short, and then it is said.
    min_history_days: int = 0
    # What its campaign costs and keeps; the marketer's to say.
    campaign: Campaign | None = None

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> "Task":
        """The inverse of `dataclasses.asdict` after a way through JSON, as a model remembers its task."""
        windows = WindowSpec(**{**said["windows"], "lookbacks_days": tuple(said["windows"]["lookbacks_days"])})
        seeds = Seeds(**said["seeds"]) if said.get("seeds") else None
        campaign = Campaign(**said["campaign"]) if said.get("campaign") else None
        return cls(**{**said, "eligibility": Eligibility(**said["eligibility"]), "windows": windows, "rules": tuple(said["rules"]), "seeds": seeds, "campaign": campaign})

    @property
    def history_days(self) -> int:
        """Days of history before the first snapshot."""
        return self.min_history_days or self.eligibility.active_days

    def question(self) -> str:
        """The task in one plain English sentence."""
        if self.seeds:
            return f"Who is like {self.seeds.words()}, among customers with a {self.eligibility.active_kind} in the {self.eligibility.active_days} days before?"
        days, who = self.windows.horizon_days, f"customers with a {self.eligibility.active_kind} in the {self.eligibility.active_days} days before"
        if self.eligibility.received_kind:
            who += f" and a {self.eligibility.received_kind.replace('_', ' ')} at any time"
        verb = "have no" if self.kind == "churn" else "have a"
        category = f" in {self.target_category}" if self.target_category else ""
        return f"Who will {verb} {self.target_kind.replace('_', ' ')}{category} in the next {days} days, among {who}?"

    def target_column(self) -> str:
        """How the customer's own past of the target is called in the names of features."""
        return slug(self.target_kind) + (f"_in_{slug(self.target_category)}" if self.target_category else "")


def slug(text: str) -> str:
    """A text from the data as part of a column's name."""
    return re.sub(r"\W+", "_", text.lower()).strip("_")
