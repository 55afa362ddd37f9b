"""A dataset: a company's tables in the contract's form, and what it declares of itself."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import ibis.expr.types as ir

from features.errors import first_few
from features.policies import Policies
from features.tasks import Task

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

# Minor units per major unit (ISO 4217), where it is not 100.
_MINOR_UNITS = {"JPY": 1, "KRW": 1, "VND": 1, "CLP": 1, "ISK": 1, "BHD": 1000, "JOD": 1000, "KWD": 1000, "OMR": 1000, "TND": 1000}


def minor_units(currency: str) -> int:
    """How many minor units (cents, fen) make one of `currency`."""
    return _MINOR_UNITS.get(currency, 100)


Kind = Literal["number", "date", "boolean", "category", "text"]


@dataclass(frozen=True)
class Attribute:
    """A column of `customers` that describes a person, and what kind of thing it tells. A text as everybody has one of their own is no feature.

    `note` says what could be meant otherwise than the values were read, and of a text what it lacks.
    """

    name: str
    label_en: str
    label_zh: str
    is_sensitive: bool = False
    kind: Kind = "category"
    note: str = ""


@dataclass(frozen=True)
class IdentityRules:
    """How identifiers become persons (identity.py): kinds that belong to one person, the most trusted first, and kinds that people share.

    `most_links` is how many links one identifier or person has at most, `least_confidence` how sure a probable link must be, `never_differ` names
    attributes of which a person has one value for life.
    """

    kinds: tuple[str, ...] = ("customer", "unionid", "id_hash", "card", "phone_hash", "email_hash")
    shared_kinds: tuple[str, ...] = ("openid", "device", "cookie")
    most_links: int = 100
    least_confidence: float = 0.95
    never_differ: tuple[str, ...] = ("birth_date", "birthday", "date_of_birth", "birth_year")

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> "IdentityRules":
        """The rules that are declared, the others as usual; lists may stand for tuples."""
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}
        return cls(**values)

    @property
    def all_kinds(self) -> tuple[str, ...]:
        """Every kind that is known, the most trusted first."""
        return (*self.kinds, *self.shared_kinds)


@dataclass(frozen=True)
class Finding:
    """One broken promise: `count` rows of `table`, the first offenders, and what would mend it, or how it was mended."""

    code: str
    table: str
    level: Literal["refuse", "quarantine", "warn"]
    count: int
    offenders: tuple[str, ...]
    required: str
    fix: str

    def sentence(self) -> str:
        """The finding in one line."""
        named = f" ({first_few(self.offenders)})" if self.offenders else ""
        return f"{self.code}: {self.table} needs {self.required}; found {self.count:,} that break it{named}; {self.fix}"


@dataclass(frozen=True)
class Funnel:
    """The stages that a company declares, in order: kinds of events, or names of the standard funnel."""

    name: str
    stages: tuple[str, ...]
    unit: Literal["sessions", "customers"] = "sessions"


@dataclass(frozen=True)
class Dataset:
    """Tables and declarations. Times inside are naive UTC; money is integer minor units of `currency`.

    `zone` is where the customers live their days: hours, weekdays and the midnights at which snapshots are taken.
    `observed_until` is the moment up to which the data are complete; no label may reach beyond it.
    """

    name: str
    zone: str
    currency: str
    observed_from: datetime
    observed_until: datetime
    engine: "Backend"
    tables: dict[str, ir.Table]
    tasks: tuple[Task, ...]
    fingerprint: str
    attributes: tuple[Attribute, ...] = ()
    # Tasks that this data cannot answer, and why: said once in the run's summary.
    not_applicable: dict[str, str] = field(default_factory=dict)
    licence: str = "not stated"
    # What an absent consent means: granted, or required and so not given.
    consent: Literal["granted", "required"] = "granted"
    # How many events within an hour no person makes, and how the ids of colleagues who test begin.
    bot_events_per_hour: int = 300
    testers: tuple[str, ...] = ()
    identity: IdentityRules = field(default_factory=IdentityRules)
    policies: Policies = field(default_factory=Policies)
    # What was doubtful in reading, to be said with what is found later.
    notes: tuple[Finding, ...] = ()
    # Made by a simulation: every report says so.
    is_simulated: bool = False
    # Which features are built, by name (glob), family or what they are; all if none is named.
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    funnels: tuple[Funnel, ...] = ()

    def lookbacks_days(self) -> tuple[int, ...]:
        """The lookbacks of all its tasks, from short to long: what the feature table is built for."""
        return tuple(sorted({days for task in self.tasks for days in task.windows.lookbacks_days}))

    def truncated(self, as_of: datetime) -> str:
        """In one line, which lookbacks reach further back from `as_of` than the data do; empty where none does."""
        days = max((as_of - self.observed_from) / timedelta(days=1), 0.0)
        longer = [f"{lookback}d" for lookback in self.lookbacks_days() if lookback > days]
        return (
            f"LOOKBACK_TRUNCATED: features need history as long as their lookback; found {days:.1f} days before {as_of} UTC; those of {', '.join(longer)} are truncated, "
            "they see only what is there: declare shorter lookbacks_days, or bring older events") if longer else ""
