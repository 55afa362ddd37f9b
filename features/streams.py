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


# How far towards a purchase a kind of event is.
STAGES: dict[str, int] = {
    "visit": 1, "page_view": 1, "landing_view": 1, "store_visit": 1, "mini_program_open": 1, "search": 1, "catalog": 1, "main": 1,
    "product_view": 2, "item_view": 2, "view": 2, "product1": 2, "product2": 2, "cart_add": 3, "add_to_cart": 3, "cart": 3,
    "checkout": 4, "payment": 4, "payment_choice": 4, "delivery_choice": 4, "payment_failed": 4, "purchase": 5, "payment_done": 5}
LOOKED, CART, CHECKOUT, BOUGHT = 2, 3, 4, 5
# What kinds of events mean, whatever a source calls them.
ROLES: dict[str, tuple[str, ...]] = {
    "return": ("return", "refund"), "service": ("service_contact", "support_ticket", "service_call", "complaint"), "complaint": ("complaint",),
    "rating": ("review", "rating"), "nps": ("nps",), "open": ("email_open", "push_open", "message_open", "offer_viewed", "campaign_open"),
    "look": tuple(kind for kind, stage in STAGES.items() if stage == LOOKED), "cart": tuple(kind for kind, stage in STAGES.items() if stage == CART),
    "checkout": tuple(kind for kind, stage in STAGES.items() if stage == CHECKOUT), "payment_failed": ("payment_failed",), "referral": ("invitation", "referral")}
# A role's events that are another's too: a complaint is a contact with service, a failed payment a checkout.
_WITHIN = {"complaint": "service", "payment_failed": "checkout"}
# How long a silence is that a customer comes back from, in usual pauses; the usual pause where there is none yet, and the shortest that counts as one.
GONE, USUAL_DAYS, SHORTEST_PAUSE_DAYS = 4, 28, 7
# A journey to a purchase is over after so long a silence; a purchase so soon after a message may be its answer.
JOURNEY_DAYS, ANSWER_DAYS = 30, 7


@dataclass(frozen=True)
class Stream:
    """How to make it, the columns of events that it reads, the texts that it looks for in them, which columns of events each measure is made of, what all need."""

    of: Callable[[Rows], Rows]
    reads: tuple[str, ...]
    looks_for: tuple[tuple[str, str], ...] = ()
    made_of: dict[str, tuple[str, ...]] = field(default_factory=dict)
    needs: tuple[str, ...] = ()


def needs_of(aggregate: Aggregate) -> set[str]:
    """Kinds of events, or columns of events, without which an aggregate would be a zero that looks like knowledge.

    A column of a role's events must be told by them: that purchases have a category says nothing of what was looked at.
    """
    if not aggregate.stream:
        return set()
    stream = STREAMS[aggregate.stream]
    kinds = {f"{column}:{value}" for column, value in aggregate.where if column in ("kind", "role") and value != "purchase"}
    role = next((f" of {value}" for column, value in aggregate.where if column == "role"), "")
    asked = (aggregate.column, aggregate.by, *(column for column, _ in aggregate.where))
    return {*stream.needs, *kinds, *(need + role for column in asked for need in stream.made_of.get(column, ()))}


def _own(history: Rows) -> Rows:
    def own() -> Rows:
        is_own = history.columns["is_own"] == 1
        return history if is_own.all() else history.where(is_own)

    return history.keeping("own", own)  # type: ignore[no-any-return]  # kept things are of any type


def _stages(own: Rows) -> Array:
    """How far towards a purchase each event is; 0 for what is no step on the way."""
    def stages() -> Array:
        stage = np.zeros(len(own), np.int64)
        for kind, depth in STAGES.items():
            stage[own.is_("kind", kind)] = depth
        return stage

    return own.keeping("stages", stages)  # type: ignore[no-any-return]  # kept things are of any type


def _bought(history: Rows) -> Rows:
    own = _own(history)
    return own.where(own.is_("kind", "purchase"))


def events(history: Rows) -> Rows:
    """Grain: own event. Slices: kind, channel, category. Measures: amount_minor, value (millionths)."""
    return _own(history)


def acts(history: Rows) -> Rows:
    """Grain: own event and role that its kind plays (a complaint is a contact with service too).

    Slices: role, channel, category, item_id. Measures: amount_minor, value (millionths), hour.
    """
    own, place = _own(history), {role: number for number, role in enumerate(ROLES)}
    role = np.full(len(own), -1)
    for name, kinds in ROLES.items():
        if name not in _WITHIN:
            role[np.logical_or.reduce([own.is_("kind", kind) for kind in kinds])] = place[name]
    mine = np.flatnonzero(role >= 0)
    again = {name: np.flatnonzero(np.logical_or.reduce([own.is_("kind", kind) for kind in ROLES[name]])) for name in _WITHIN}
    rows = own.where(np.concatenate([mine, *again.values()]))
    roles = np.concatenate([role[mine], *(np.full(len(rest), place[name]) for name, rest in again.items())])
    columns = {**rows.columns, "role": roles, "hour": rows.columns["local"] % DAY // 3600}
    return replace(rows, columns=columns, named={**history.named, "role": place}).ordered()


def purchases(history: Rows) -> Rows:
    """Grain: basket (a session's purchases; a purchase without session is its own basket), at the time of its first line.

    Slices: channel (of its first line). Measures: amount_minor, amount_squared, discount_minor, is_discounted, n_lines, is_single (one line), n_units,
    n_promoted, hour, weekday, day, month (1 to 12), is_weekend, is_morning (before 12:00), is_evening (after 18:00), gap (seconds to the basket before),
    gap_squared, is_comeback (after a silence as of one who had left), is_switch (another channel than the basket before).
    """
    lines, starts, first = _by_session(_bought(history))
    told = lines.columns
    local, amount = _least(told["local"], starts), _total(told["amount_minor"], starts)
    discount, n_lines = _total(told["discount_minor"], starts), np.diff(np.append(starts, len(lines)))
    month = (local // DAY).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12 + 1
    baskets = Rows(lines.line[starts], _least(lines.at, starts), {
        "channel": told["channel"][starts], "amount_minor": amount, "amount_squared": np.where(amount == UNKNOWN, UNKNOWN, amount * amount),
        "discount_minor": discount, "is_discounted": (discount > 0).astype(np.int64), "n_lines": n_lines, "is_single": (n_lines == 1).astype(np.int64),
        "n_units": _total(told["quantity"], starts), "n_promoted": _total(told["is_promoted"], starts), "month": month, **_clock(local)}).where(first)
    gap = _gap(baskets)
    return replace(baskets, columns={
        **baskets.columns, "gap": gap, "gap_squared": np.where(gap == UNKNOWN, UNKNOWN, gap * gap), "is_comeback": _is_comeback(baskets, gap),
        "is_switch": _is_switch(baskets, "channel")}, named=history.named)


def goods(history: Rows) -> Rows:
    """Grain: line bought.

    Slices: category, brand, item_id. Measures: amount_minor, quantity, unit_minor (price of one), is_new_category, _brand, _item (1 for the first), item_gap
    (seconds since the same item was bought on an earlier day), is_new_in_basket (the first of its category there), is_basket (the first that tells a category).
    """
    lines = _bought(history)
    amount, quantity = lines.columns["amount_minor"], lines.columns["quantity"]
    one = np.where((amount != UNKNOWN) & (quantity > 0), amount // np.maximum(quantity, 1), UNKNOWN)
    category, basket = lines.columns["category"], _sessions(lines)
    is_told = category != UNKNOWN
    return replace(lines, columns={
        **lines.columns, "unit_minor": one, "is_new_category": _is_new(lines, "category"), "is_new_brand": _is_new(lines, "brand"), "is_new_item": _is_new(lines, "item_id"),
        "item_gap": _gap_of(lines, "item_id"), "is_new_in_basket": (is_told & _is_first(lines.line, basket, category)).astype(np.int64),
        "is_basket": (is_told & _is_first(lines.line, basket, is_told)).astype(np.int64)})


def visits(history: Rows) -> Rows:
    """Grain: visit (a session's own events; an event without session is a visit by itself), at its first event.

    What is told or brought back later is no visit, nor is a session without a step on the way to a purchase, such as an opened message or a call.
    Slices: channel, kind (of the first event). Measures: n_events, seconds, stage (how far towards a purchase), is_carted, is_abandoned (a cart or checkout
    without purchase), is_bounce (one event, and no purchase), is_bought, is_deep (begins at a product or beyond), n_looks, n_searches, n_back (steps to an
    earlier stage), gap, hour, weekday, day, is_switch.
    """
    own = _own(history)
    own = replace(own, columns={**own.columns, "stage": _stages(own)})
    rows, starts, first = _by_session(own.where(~np.logical_or.reduce([own.is_("kind", kind) for kind in LATER])))
    n, stage = np.diff(np.append(starts, len(rows))), rows.columns["stage"]
    end, furthest = starts + n - 1, np.maximum.reduceat(stage, starts) if len(starts) else stage
    is_back = np.r_[False, (stage[1:] < stage[:-1]) & (stage[1:] > 0)][:len(rows)]
    is_back[starts] = False
    found = Rows(rows.line[starts], rows.at[starts], {
        "channel": rows.columns["channel"][starts], "kind": rows.columns["kind"][starts], "n_events": n, "seconds": rows.at[end] - rows.at[starts], "stage": furthest,
        "is_carted": (furthest >= CART).astype(np.int64), "is_abandoned": ((furthest >= CART) & (furthest < BOUGHT)).astype(np.int64),
        "is_bounce": ((n == 1) & (furthest < BOUGHT)).astype(np.int64), "is_bought": (furthest == BOUGHT).astype(np.int64),
        "is_deep": ((stage[starts] >= LOOKED) & (stage[starts] < BOUGHT)).astype(np.int64), "n_looks": _total((stage == LOOKED).astype(np.int64), starts),
        "n_searches": _total(rows.is_("kind", "search").astype(np.int64), starts), "n_back": _total(is_back.astype(np.int64), starts),
        **_clock(rows.columns["local"][starts])}).where(first[furthest[first] > 0])
    return replace(found, columns={**found.columns, "gap": _gap(found), "is_switch": _is_switch(found, "channel")}, named=history.named)


def journeys(history: Rows) -> Rows:
    """Grain: own step towards a purchase, in its journey: the steps up to a purchase, or to thirty days of silence. Of a basket only the first line is a step.

    Measures, up to the step and with it: begun (seconds since 1970 of the first step), n_open, n_relooks_open (looks at a good that was looked at before; 0
    for a purchase, which ends the journey). For a purchase: n_steps, n_looks, n_relooks, seconds before it, UNKNOWN where no step was seen.
    """
    own = _own(history)
    stage, is_bought = _stages(own), own.is_("kind", "purchase")
    is_step = stage > 0
    bought = own.where(is_bought)
    is_step[is_bought] = _is_first(bought.line, _sessions(bought))
    rows, stage, is_end = own.where(is_step, ("item_id",)), stage[is_step], is_bought[is_step]
    is_new = np.r_[True, (rows.line[1:] != rows.line[:-1]) | is_end[:-1] | (rows.at[1:] - rows.at[:-1] > JOURNEY_DAYS * DAY)][:len(rows)]
    journey = np.cumsum(is_new)
    begin = np.flatnonzero(is_new)[journey - 1]
    is_look, item = stage == LOOKED, rows.columns["item_id"]
    is_again = is_look & (item != UNKNOWN) & ~_is_first(journey, item, is_look)
    before = np.arange(len(rows)) - begin
    is_path = is_end & (before > 0)

    def so_far(is_it: Array) -> Array:
        total: Array = np.cumsum(is_it)
        before_it: Array = (total - is_it)[begin]
        return total - before_it

    looks, again = so_far(is_look), so_far(is_again)
    return Rows(rows.line, rows.at, {
        "begun": rows.at[begin], "n_open": np.where(is_end, 0, before + 1), "n_relooks_open": np.where(is_end, 0, again), "n_steps": np.where(is_path, before, UNKNOWN),
        "n_looks": np.where(is_path, looks, UNKNOWN), "n_relooks": np.where(is_path, again, UNKNOWN), "seconds": np.where(is_path, rows.at - rows.at[begin], UNKNOWN)})


def answers(history: Rows) -> Rows:
    """Grain: marketer's event, own opening of a message, own basket. Measures: n_unanswered (messages since one was last opened, up to the row).

    For an opening: open_seconds since the last message. For a basket: is_soon (within a week of a message). UNKNOWN for the others.
    """
    is_sent = history.columns["is_own"] == 0
    is_open = ~is_sent & np.logical_or.reduce([history.is_("kind", kind) for kind in ROLES["open"]])
    is_bought = ~is_sent & history.is_("kind", "purchase")
    bought = history.where(is_bought)
    is_bought[is_bought] = _is_first(bought.line, _sessions(bought))
    is_row = is_sent | is_open | is_bought
    rows, is_sent, is_open, is_bought = history.where(is_row, ()), is_sent[is_row], is_open[is_row], is_bought[is_row]
    place = np.arange(len(rows))
    start = np.maximum.accumulate(np.where(np.r_[True, rows.line[1:] != rows.line[:-1]][:len(rows)], place, 0)) if len(rows) else place
    sent = np.cumsum(is_sent)
    answered = np.maximum.accumulate(np.where(is_open, sent, (sent - is_sent)[start])) if len(rows) else sent
    last = np.maximum.accumulate(np.where(is_sent, place, -1)) if len(rows) else place
    since = np.where(last >= start, rows.at - rows.at[last], UNKNOWN)
    return Rows(rows.line, rows.at, {
        "n_unanswered": sent - answered, "open_seconds": np.where(is_open, since, UNKNOWN),
        "is_soon": np.where(is_bought, (since != UNKNOWN) & (since <= ANSWER_DAYS * DAY), UNKNOWN)})


def treatments(history: Rows) -> Rows:
    """Grain: marketer's event. Slices: kind, channel. Measures: campaign_end (seconds since 1970)."""
    return history.where(history.columns["is_own"] == 0)


def _by_session(rows: Rows) -> tuple[Rows, Array, Array]:
    """The rows by line and session, where each session starts among them, and the sessions in the order of their first rows."""
    if (rows.columns["session_id"] == UNKNOWN).all():
        return rows, np.arange(len(rows)), np.arange(len(rows))
    session = _sessions(rows)
    order = np.lexsort((session, rows.line))
    rows, session = rows.where(order), session[order]
    starts = np.flatnonzero(np.r_[True, (rows.line[1:] != rows.line[:-1]) | (session[1:] != session[:-1])][:len(rows)])
    return rows, starts, np.argsort(order[starts])


def _sessions(rows: Rows) -> Array:
    """The number of each row's session; without one each row has a number of its own."""
    session = rows.columns["session_id"]
    return np.where(session == UNKNOWN, -1 - np.arange(len(rows)), session)


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


def _is_comeback(rows: Rows, gap: Array) -> Array:
    """1 where a gap is more than four weeks and four times the mean of those before it, UNKNOWN for the first row. (Those add up to a span of time.)"""
    place = np.arange(len(rows))
    start = np.maximum.accumulate(np.where(gap == UNKNOWN, place, 0)) if len(rows) else place
    n = np.maximum(place - start - 1, 0)
    span = np.where(n > 0, rows.at[np.maximum(place - 1, 0)] - rows.at[start], 0)
    usual = np.where(n > 0, np.maximum(span, n * SHORTEST_PAUSE_DAYS * DAY), USUAL_DAYS * DAY)
    return np.where(gap == UNKNOWN, UNKNOWN, gap * np.maximum(n, 1) > GONE * usual)


def _is_first(*keys: Array) -> Array:
    """Whether a row is the first with these keys, of which the first is the outermost."""
    order = np.lexsort(keys[::-1])
    is_same: Array = np.logical_and.reduce([key[order[1:]] == key[order[:-1]] for key in keys])
    first = np.ones(len(order), bool)
    first[order[1:][is_same]] = False
    return first


def _is_new(rows: Rows, column: str) -> Array:
    """1 where a line's row is its first with this value, 0 where it is not, UNKNOWN where there is no value."""
    values = rows.columns[column]
    return np.where(values == UNKNOWN, UNKNOWN, _is_first(rows.line, values))


def _gap_of(rows: Rows, column: str) -> Array:
    """Seconds since the line's row before with this value, if that is a day or more; else UNKNOWN."""
    values = rows.columns[column]
    order = np.lexsort((values, rows.line))
    gap, later, earlier = np.full(len(rows), UNKNOWN), order[1:], order[:-1]
    since = rows.at[later] - rows.at[earlier]
    is_known = (rows.line[later] == rows.line[earlier]) & (values[later] == values[earlier]) & (values[later] != UNKNOWN) & (since >= DAY)
    gap[later[is_known]] = since[is_known]
    return gap


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
_STEPS = tuple(("kind", kind) for kind in (*STAGES, *LATER))
_ACTS = tuple(("kind", kind) for kinds in ROLES.values() for kind in kinds)
_OPENS = tuple(("kind", kind) for kind in ROLES["open"])


def _itself(*columns: str) -> dict[str, tuple[str, ...]]:
    return {column: (column,) for column in columns}


STREAMS: dict[str, Stream] = {
    "events": Stream(events, ("is_own", "kind"), (), _itself("amount_minor", "channel", "category")),
    "acts": Stream(acts, ("is_own", "kind", "local"), _ACTS, _itself("amount_minor", "value", "channel", "category", "item_id")),
    "purchases": Stream(
        purchases, ("is_own", "kind", "session_id", "local", "channel", "quantity", "amount_minor", "discount_minor", "is_promoted"), _PURCHASE, {
            **_itself("amount_minor", "discount_minor", "channel"), "amount_squared": ("amount_minor",), "is_discounted": ("discount_minor",), "n_units": ("quantity",),
            "n_promoted": ("is_promoted",), "is_switch": ("channel",)}),
    "goods": Stream(goods, ("is_own", "kind", "session_id", "category", "brand", "item_id", "amount_minor", "quantity"), _PURCHASE, {
        **_itself("category", "brand", "item_id", "amount_minor"), "unit_minor": ("amount_minor", "quantity"), "is_new_category": ("category",), "is_new_brand": ("brand",),
        "is_new_item": ("item_id",), "item_gap": ("item_id",), "is_new_in_basket": ("category",), "is_basket": ("category",)}),
    "visits": Stream(visits, ("is_own", "kind", "session_id", "local", "channel"), _STEPS, {"channel": ("channel",), "is_switch": ("channel",)}, ("browsing",)),
    "journeys": Stream(
        journeys, ("is_own", "kind", "session_id", "item_id"), _STEPS, {"n_relooks": ("item_id of look",), "n_relooks_open": ("item_id of look",)}, ("browsing",)),
    "treatments": Stream(treatments, ("is_own", "kind"), (), {"campaign_end": ("table:campaigns",), "channel": ("channel of contacts",)}, ("contacts",)),
    "answers": Stream(answers, ("is_own", "kind", "session_id"), (*_OPENS, *_PURCHASE), {"n_unanswered": ("role:open",), "open_seconds": ("role:open",)}, ("contacts",)),
}
