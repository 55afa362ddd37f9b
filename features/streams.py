"""Streams: a customer's history brought to the grain at which a family counts.

Each takes history (one row per event, by timeline and time) and gives rows by timeline and time, with slices (texts) and measures for windows.py to
count. A marketer's event is never a customer's own behaviour: only the stream `treatments` reads them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from features.feature import UNKNOWN, Aggregate
from features.windows import DAY, Array, Rows

# What a customer tells or brings back later bears the session of its purchase, and is no part of that visit.
LATER = ("return", "refund", "review", "nps", "rating")


# What kinds of events mean, whatever a source calls them.
ROLES: dict[str, tuple[str, ...]] = {
    "return": ("return", "refund"), "service": ("service_contact", "support_ticket", "service_call", "complaint"), "complaint": ("complaint",),
    "rating": ("review", "rating"), "nps": ("nps",), "open": ("email_open", "push_open", "message_open", "offer_viewed", "campaign_open"),
    "cart": ("cart_add", "add_to_cart", "cart"), "payment_failed": ("payment_failed",), "search": ("search",), "referral": ("invitation", "referral")}
# How far towards a purchase a kind of event is.
STAGES: dict[str, int] = {
    "visit": 1, "page_view": 1, "landing_view": 1, "store_visit": 1, "mini_program_open": 1, "search": 1, "catalog": 1, "main": 1,
    "product_view": 2, "item_view": 2, "view": 2, "product1": 2, "product2": 2, "cart_add": 3, "add_to_cart": 3, "cart": 3,
    "checkout": 4, "payment": 4, "payment_choice": 4, "delivery_choice": 4, "payment_failed": 4, "purchase": 5, "payment_done": 5}
CART, CHECKOUT, BOUGHT = 3, 4, 5


@dataclass(frozen=True)
class Stream:
    """How to make it, the columns of events that it reads, the texts that it looks for in them, and which column of events each measure is made of."""

    of: Callable[[Rows], Rows]
    reads: tuple[str, ...]
    looks_for: tuple[tuple[str, str], ...] = ()
    made_of: dict[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()


def needs_of(aggregate: Aggregate) -> set[str]:
    """Kinds of events, or columns of events, without which an aggregate would be a zero that looks like knowledge."""
    if not aggregate.stream:
        return set()
    stream = STREAMS[aggregate.stream]
    kinds = {f"{column}:{value}" for column, value in aggregate.where if column in ("kind", "role") and value != "purchase"}
    return {*stream.needs, *kinds, *(stream.made_of[column] for column in (aggregate.column, aggregate.by) if column in stream.made_of)}


def _own(history: Rows) -> Rows:
    is_own = history.columns["is_own"] == 1
    return history if is_own.all() else history.where(is_own)


def _bought(history: Rows) -> Rows:
    own = _own(history)
    return own.where(own.is_("kind", "purchase"))


def events(history: Rows) -> Rows:
    """Grain: own event. Slices: kind, channel, category. Measures: amount_minor, value (millionths)."""
    return _own(history)


def acts(history: Rows) -> Rows:
    """Grain: own event and role that its kind plays (a complaint is a service contact too). Slices: role. Measures: amount_minor, value (millionths)."""
    own = _own(history)
    parts = []
    for number, kinds in enumerate(ROLES.values()):
        mask = np.logical_or.reduce([own.is_("kind", kind) for kind in kinds])
        some = own.where(mask)
        parts.append(replace(some, columns={**some.columns, "role": np.full(len(some), number)}))
    line, at = (np.concatenate([getattr(part, name) for part in parts]) for name in ("line", "at"))
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    named = {**history.named, "role": {role: number for number, role in enumerate(ROLES)}}
    return Rows(line, at, columns, named).ordered()


def purchases(history: Rows) -> Rows:
    """Grain: basket (a session's purchases; a purchase without session is its own basket), at the time of its first line.

    Slices: channel (of its first line). Measures: amount_minor, amount_squared, discount_minor, is_discounted, n_lines, n_units, n_promoted, hour, weekday,
    day, is_weekend, is_morning (before 12:00), is_evening (after 18:00), gap (seconds to the basket before), gap_squared, is_switch (another channel than
    the basket before).
    """
    lines, starts = _by_session(_bought(history))
    told = lines.columns
    local, amount = _least(told["local"], starts), _total(told["amount_minor"], starts)
    discount = _total(told["discount_minor"], starts)
    baskets = Rows(lines.line[starts], _least(lines.at, starts), {
        "channel": told["channel"][starts], "amount_minor": amount, "amount_squared": np.where(amount == UNKNOWN, UNKNOWN, amount * amount),
        "discount_minor": discount, "is_discounted": (discount > 0).astype(np.int64), "n_lines": np.diff(np.append(starts, len(lines))),
        "n_units": _total(told["quantity"], starts), "n_promoted": _total(told["is_promoted"], starts), **_clock(local)}).ordered()
    gap = _gap(baskets)
    return replace(baskets, columns={
        **baskets.columns, "gap": gap, "gap_squared": np.where(gap == UNKNOWN, UNKNOWN, gap * gap), "is_switch": _is_switch(baskets, "channel")}, named=history.named)


def goods(history: Rows) -> Rows:
    """Grain: line bought. Slices: category, brand, item_id. Measures: amount_minor, quantity, unit_minor (price of one), and is_new_category, _brand, _item (1 for the first)."""
    lines = _bought(history)
    amount, quantity = lines.columns["amount_minor"], lines.columns["quantity"]
    one = np.where((amount != UNKNOWN) & (quantity > 0), amount // np.maximum(quantity, 1), UNKNOWN)
    return replace(lines, columns={
        **lines.columns, "unit_minor": one, "is_new_category": _is_first(lines, "category"), "is_new_brand": _is_first(lines, "brand"),
        "is_new_item": _is_first(lines, "item_id")})


def visits(history: Rows) -> Rows:
    """Grain: visit (a session's own events; an event without session is a visit by itself), at its first event. What is told or brought back later is no visit.

    Slices: channel. Measures: n_events, seconds, stage (how far towards a purchase), is_carted, is_abandoned (a cart or checkout without purchase),
    is_bounce (one event), is_bought, gap, hour, day, is_switch.
    """
    own = _own(history)
    own = own.where(~np.logical_or.reduce([own.is_("kind", kind) for kind in LATER]))
    stage = np.zeros(len(own), np.int64)
    for kind, depth in STAGES.items():
        stage[own.is_("kind", kind)] = depth
    own = replace(own, columns={**own.columns, "stage": stage})
    rows, starts = _by_session(own)
    ends = np.append(starts, len(rows))
    n, end = np.diff(ends), ends[1:] - 1
    furthest = np.maximum.reduceat(rows.columns["stage"], starts) if len(starts) else rows.columns["stage"]
    found = Rows(rows.line[starts], rows.at[starts], {
        "channel": rows.columns["channel"][starts], "n_events": n, "seconds": rows.at[end] - rows.at[starts], "stage": furthest,
        "is_carted": (furthest >= CART).astype(np.int64), "is_abandoned": ((furthest >= CART) & (furthest < BOUGHT)).astype(np.int64),
        "is_bounce": (n == 1).astype(np.int64), "is_bought": (furthest == BOUGHT).astype(np.int64), **_clock(rows.columns["local"][starts])}).ordered()
    return replace(found, columns={**found.columns, "gap": _gap(found), "is_switch": _is_switch(found, "channel")}, named=history.named)


def treatments(history: Rows) -> Rows:
    """Grain: marketer's event. Slices: kind, channel. Measures: campaign_end (seconds since 1970)."""
    return history.where(history.columns["is_own"] == 0)


def _by_session(rows: Rows) -> tuple[Rows, Array]:
    """The rows by line and session, and where each session starts; without a session each row is one."""
    session = rows.columns["session_id"]
    if (session == UNKNOWN).all():
        return rows, np.arange(len(rows))
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


def _is_switch(rows: Rows, column: str) -> Array:
    """1 where a row has another value than the one before of its line, UNKNOWN for the first and where one is not told."""
    values = rows.columns[column]
    out = np.full(len(rows), UNKNOWN)
    known = (rows.line[1:] == rows.line[:-1]) & (values[1:] != UNKNOWN) & (values[:-1] != UNKNOWN)
    out[1:][known] = (values[1:] != values[:-1])[known]
    return out


def _clock(local: Array) -> dict[str, Array]:
    """What the customers' clock and calendar show; Monday is 0, since 1970 began on a Thursday."""
    hour, weekday = local % DAY // 3600, (local // DAY + 3) % 7
    return {"hour": hour, "weekday": weekday, "day": local // DAY, "is_weekend": (weekday >= 5).astype(np.int64), "is_morning": (hour < 12).astype(np.int64),
            "is_evening": (hour >= 18).astype(np.int64)}


_PURCHASE = (("kind", "purchase"),)
_GOODS = {column: column for column in ("category", "brand", "item_id", "amount_minor", "quantity")}
_BROWSED = tuple(("kind", kind) for kind in (*STAGES, *LATER))
_VISITS = ("is_own", "kind", "session_id", "local", "channel")
STREAMS: dict[str, Stream] = {
    "events": Stream(events, ("is_own", "kind"), (), {"amount_minor": "amount_minor", "channel": "channel", "category": "category"}),
    "acts": Stream(acts, ("is_own", "kind", "amount_minor", "value"), tuple(("kind", kind) for kinds in ROLES.values() for kind in kinds), {
        "amount_minor": "amount_minor", "value": "value"}),
    "purchases": Stream(
        purchases, ("is_own", "kind", "session_id", "local", "channel", "quantity", "amount_minor", "discount_minor", "is_promoted"), _PURCHASE, {
            "amount_minor": "amount_minor", "amount_squared": "amount_minor", "discount_minor": "discount_minor", "is_discounted": "discount_minor",
            "n_units": "quantity", "n_promoted": "is_promoted", "channel": "channel", "is_switch": "channel"}),
    "goods": Stream(goods, ("is_own", "kind", *_GOODS), _PURCHASE, {
        **_GOODS, "unit_minor": "quantity", "is_new_category": "category", "is_new_brand": "brand", "is_new_item": "item_id"}),
    "visits": Stream(visits, _VISITS, _BROWSED, {"channel": "channel", "is_switch": "channel"}, ("browsing",)),
    "treatments": Stream(treatments, ("is_own", "kind"), (), {"campaign_end": "table:campaigns", "channel": "channel"}),
}
