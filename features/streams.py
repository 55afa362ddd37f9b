"""Streams: a customer's history brought to the grain at which a family counts.

Each takes history (one row per event, by timeline and time) and gives rows by timeline and time, with slices (texts) and measures for windows.py to
count. A marketer's event is never a customer's own behaviour: only the stream `treatments` reads them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from features.windows import DAY, UNKNOWN, Array, Rows

# What a customer tells or brings back later bears the session of its purchase, and is no part of that visit.
LATER = ("return", "refund", "review", "nps", "rating")


@dataclass(frozen=True)
class Stream:
    """How to make it, the columns of events that it reads, and the texts that it looks for in them."""

    of: Callable[[Rows], Rows]
    reads: tuple[str, ...]
    looks_for: tuple[tuple[str, str], ...] = ()


def _own(history: Rows) -> Rows:
    is_own = history.columns["is_own"] == 1
    return history if is_own.all() else history.where(is_own)


def _bought(history: Rows) -> Rows:
    own = _own(history)
    return own.where(own.is_("kind", "purchase"))


def events(history: Rows) -> Rows:
    """Grain: own event. Slices: kind, channel, category. Measures: amount_minor, value (millionths)."""
    return _own(history)


def purchases(history: Rows) -> Rows:
    """Grain: basket (a session's purchases; a purchase without session is its own basket), at the time of its first line.

    Measures: amount_minor, discount_minor, n_lines, n_promoted, is_weekend, is_evening (after 18:00), gap (seconds to the basket before), gap_squared.
    """
    lines = _bought(history)
    lines, starts = _by_session(lines)
    local = _least(lines.columns["local"], starts)
    baskets = Rows(lines.line[starts], _least(lines.at, starts), {
        "amount_minor": _total(lines.columns["amount_minor"], starts), "discount_minor": _total(lines.columns["discount_minor"], starts),
        "n_lines": np.diff(np.append(starts, len(lines))), "n_promoted": _total(lines.columns["is_promoted"], starts),
        "is_weekend": _is_weekend(local), "is_evening": (_hour(local) >= 18).astype(np.int64)}).ordered()
    gap = _gap(baskets)
    return replace(baskets, columns={**baskets.columns, "gap": gap, "gap_squared": np.where(gap == UNKNOWN, UNKNOWN, gap * gap)})


def goods(history: Rows) -> Rows:
    """Grain: line bought. Slices: category, brand. Measures: amount_minor, is_new_category (1 for the first of its category)."""
    lines = _bought(history)
    return replace(lines, columns={**lines.columns, "is_new_category": _is_first(lines, "category")})


def treatments(history: Rows) -> Rows:
    """Grain: marketer's event. Slices: kind. Measures: campaign_end (seconds since 1970)."""
    return history.where(history.columns["is_own"] == 0)


def _by_session(rows: Rows) -> tuple[Rows, Array]:
    """The rows by line and session, and where each session starts; without a session each row is one."""
    session = rows.columns["session_id"]
    session = np.where(session == UNKNOWN, -1 - np.arange(len(rows)), session)
    order = np.lexsort((rows.at, session, rows.line))
    rows, session = rows.where(order), session[order]
    return rows, np.flatnonzero(np.r_[True, (rows.line[1:] != rows.line[:-1]) | (session[1:] != session[:-1])][:len(rows)])


def _least(values: Array, starts: Array) -> Array:
    return np.minimum.reduceat(values, starts) if len(starts) else values


def _total(values: Array, starts: Array) -> Array:
    """Sums of what is known, UNKNOWN where nothing is."""
    if not len(starts):
        return values
    known = values != UNKNOWN
    return np.where(np.logical_or.reduceat(known, starts), np.add.reduceat(np.where(known, values, 0), starts), UNKNOWN)


def _gap(rows: Rows) -> Array:
    """Seconds since the row before of the same line; UNKNOWN for the first."""
    gap = np.full(len(rows), UNKNOWN)
    same = rows.line[1:] == rows.line[:-1]
    gap[1:][same] = (rows.at[1:] - rows.at[:-1])[same]
    return gap


def _is_first(rows: Rows, column: str) -> Array:
    """1 where a line's row is its first with this value, 0 where it is not, UNKNOWN where there is no value."""
    values = rows.columns[column]
    order = np.lexsort((np.arange(len(rows)), values, rows.line))
    first = np.ones(len(rows), np.int64)
    first[order[1:][(rows.line[order[1:]] == rows.line[order[:-1]]) & (values[order[1:]] == values[order[:-1]])]] = 0
    return np.where(values == UNKNOWN, UNKNOWN, first)


def _hour(local: Array) -> Array:
    return local % DAY // 3600


def _weekday(local: Array) -> Array:
    """Monday is 0: 1970 began on a Thursday."""
    return (local // DAY + 3) % 7


def _is_weekend(local: Array) -> Array:
    return np.asarray(_weekday(local) >= 5).astype(np.int64)


_PURCHASE = (("kind", "purchase"),)
STREAMS: dict[str, Stream] = {
    "events": Stream(events, ("is_own", "kind")),
    "purchases": Stream(purchases, ("is_own", "kind", "session_id", "local", "amount_minor", "discount_minor", "is_promoted"), _PURCHASE),
    "goods": Stream(goods, ("is_own", "kind", "category"), _PURCHASE),
    "treatments": Stream(treatments, ("is_own", "kind")),
}
