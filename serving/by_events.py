"""Customers given by raw events: the features that the served models take, by the features room's form for one customer."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.errors import ContractError, UsageError

if TYPE_CHECKING:
    from features.one_customer import Portrait
    from serving.shapes import Customer

FILE = "one_customer.json"


class ByEvents:
    """Made once for a base, asked often; read when it is first asked for. `wanted` names the features that any model takes."""

    def __init__(self, run: Path, as_of: str, wanted: Collection[str]) -> None:
        self.path, self.wanted = run / "features" / FILE, frozenset(wanted)
        self.base_moment = _moment(as_of)

    @cached_property
    def portrait(self) -> "Portrait":
        """Raises: UsageError where the run has none; ContractError where it is damaged."""
        from features.one_customer import read_portrait

        try:
            whole = read_portrait(self.path)
        except OSError:
            raise UsageError("customers by events need a run that keeps the form of its events, found none; make the run again, or ask by features") from None
        return replace(whole, features=tuple(feature for feature in whole.features if feature.name in self.wanted))

    def features(self, customer: "Customer", where: str) -> Mapping[str, float | str | None]:
        """What to score of a customer who has events or a moment: the features of the events, and before them those given.

        Raises: UsageError for an event or a moment that cannot be read. No value that a caller wrote comes back in the message.
        """
        if customer.events is None:
            raise UsageError(f"{where}.as_of must stand beside events, found it without; the base has a moment of its own")
        events: list[dict[str, Any]] = [event.model_dump(exclude_none=True) for event in customer.events]
        try:
            as_of = _moment(customer.as_of) if customer.as_of is not None else self._as_of(events)
        except (ValueError, OverflowError):
            raise UsageError(f"{where} needs times such as 2026-01-31T10:00:00Z, found another form; correct it") from None
        portrait = self.portrait
        try:
            told = portrait.of(events, as_of)
        except ContractError:
            raise UsageError(
                f"{where}.events must each have an event_at such as 2026-01-31T10:00:00Z and numbers of at most 15 digits, found one that has not; correct it") from None
        return {**told, **(customer.features or {})}

    def _as_of(self, events: list[dict[str, Any]]) -> datetime:
        """The base's moment where all happened before it, else now."""
        if all(_moment(event["event_at"]) < self.base_moment for event in events):
            return self.base_moment
        return datetime.now(UTC).replace(tzinfo=None, microsecond=0)


def _moment(text: str) -> datetime:
    """ISO 8601 -> naive UTC in whole seconds, parts of one cut off. Raises: ValueError, OverflowError."""
    at = datetime.fromisoformat(text)
    return (at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at).replace(microsecond=0)
