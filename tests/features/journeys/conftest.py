"""A shop small enough to count by hand: sessions of single letters, and what is asked of them."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest

from features.journeys.sessions import Sessions, sessions_of, with_segment
from features.journeys.stages import kinds_in, standard

BEGIN = datetime(2026, 1, 1, 12)
UNTIL = datetime(2026, 3, 1)
KINDS = {"v": "visit", "p": "product_view", "c": "cart_add", "k": "checkout", "f": "payment_failed", "b": "purchase", "o": "email_open"}


def session(customer: str, letters: str, day: float = 0, name: str | None = None, **more: Any) -> list[dict[str, Any]]:
    """Events of one session, a minute apart: `session("a", "vpcb")`."""
    at = BEGIN + timedelta(days=day)
    return [{"customer_id": customer, "event_at": (at + timedelta(minutes=i)).isoformat(), "kind": KINDS[letter], "session_id": name or f"{customer}-{day}", **more}
            for i, letter in enumerate(letters)]


def rows_of(*sessions: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sessions one after another, with an event_id each."""
    return [{**event, "event_id": f"e{i}"} for i, event in enumerate(event for one in sessions for event in one)]


@pytest.fixture(scope="session")
def counted(given: Callable[..., Any]) -> Callable[..., Sessions]:
    """A function: sessions -> what the engine makes of them with the standard funnel."""

    def count(*sessions: list[dict[str, Any]], declared: str = "", **more: Any) -> Sessions:
        dataset = given(rows_of(*sessions), declared='observed_until = "2026-03-01T00:00:00Z"\n' + declared, zone="UTC", **more)
        return sessions_of(dataset, standard(kinds_in(dataset)[0])[0], UNTIL)

    return count


def all_of(found: Sessions) -> Any:
    """Every session, without segments."""
    return with_segment(found.sessions, None)


def walk_of(found: Sessions) -> Any:
    """Every step, without segments."""
    return with_segment(found.walk(found.sessions), None)
