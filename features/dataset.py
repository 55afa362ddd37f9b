"""A dataset: a company's tables in the contract's form, and what it declares of itself."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import ibis.expr.types as ir

from features.tasks import Task

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

# Minor units per major unit (ISO 4217), where it is not 100.
_MINOR_UNITS = {"JPY": 1, "KRW": 1, "VND": 1, "CLP": 1, "ISK": 1, "BHD": 1000, "JOD": 1000, "KWD": 1000, "OMR": 1000, "TND": 1000}


def minor_units(currency: str) -> int:
    """How many minor units (cents, fen) make one of `currency`."""
    return _MINOR_UNITS.get(currency, 100)


@dataclass(frozen=True)
class Attribute:
    """A column of `customers` that describes a person."""

    name: str
    label_en: str
    label_zh: str
    is_sensitive: bool = False


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
    # Made by a simulation: every report says so.
    is_simulated: bool = False
    funnels: tuple[Funnel, ...] = ()

    def lookbacks_days(self) -> tuple[int, ...]:
        """The lookbacks of all its tasks, from short to long: what the feature table is built for."""
        return tuple(sorted({days for task in self.tasks for days in task.windows.lookbacks_days}))
