"""Streams: history brought to the grain at which a family counts.

Each takes history (one row per event and as_of, all before as_of) and gives rows with customer_id, as_of, `age` (whole seconds
before as_of, decides the window), slices (text) and measures. A marketer's event is never a customer's own behaviour: only the
stream `treatments` reads them.
"""

from collections.abc import Callable

import ibis
import ibis.expr.types as ir

_KEY = ["customer_id", "as_of"]


def _own(history: ir.Table) -> ir.Table:
    return history.filter(history.initiator == "customer")


def events(history: ir.Table, longest_days: int) -> ir.Table:
    """Grain: own event. Slices: kind. Measures: amount_minor."""
    return _own(history).select(*_KEY, "age", "kind", "amount_minor")


def lines(history: ir.Table, longest_days: int) -> ir.Table:
    """Grain: own event. Slices: kind, category."""
    return _own(history).select(*_KEY, "age", "kind", "category")


def purchases(history: ir.Table, longest_days: int) -> ir.Table:
    """Grain: basket (a session's purchases; a purchase without session is its own basket), at the time of its first line.

    Measures: amount_minor, discount_minor, n_lines, n_promoted, is_weekend, is_evening (after 18:00), gap (seconds to the basket before).
    """
    lines = _own(history).filter(lambda t: t.kind == "purchase")
    lines = lines.mutate(basket=ibis.coalesce(lines.session_id, lines.event_id))
    baskets = lines.group_by([*_KEY, "basket"]).agg(
        age=lines.age.max(), local_at=lines.local_at.min(), amount_minor=lines.amount_minor.sum(),
        discount_minor=lines.discount_minor.sum(), n_lines=lines.count(), n_promoted=lines.is_promoted.cast("int64").sum())
    before = baskets.age.lag().over(ibis.window(group_by=_KEY, order_by=[baskets.age.desc(), baskets.basket]))
    gap = before - baskets.age
    return baskets.mutate(
        is_weekend=(baskets.local_at.day_of_week.index() >= 5).cast("int64"),
        is_evening=(baskets.local_at.hour() >= 18).cast("int64"),
        gap=gap, gap_squared=gap * gap)


def weeks(history: ir.Table, longest_days: int) -> ir.Table:
    """Grain: week before as_of (0 is the last seven days) with a purchase."""
    bought = _own(history).filter(lambda t: t.kind == "purchase")
    bought = bought.mutate(week=(bought.age - 1) // (7 * 86400))
    return bought.group_by([*_KEY, "week"]).agg(age=bought.age.min())


def _kinds_of_goods(column: str) -> Callable[[ir.Table, int], ir.Table]:
    def stream(history: ir.Table, longest_days: int) -> ir.Table:
        """Grain: category (or brand) bought, aged by its last purchase. Measures: spend in the longest lookback, first_age."""
        lines = _own(history).filter(lambda t: (t.kind == "purchase") & t[column].notnull())
        inside = lines.age <= longest_days * 86400
        goods = lines.group_by([*_KEY, column]).agg(
            age=lines.age.min(), first_age=lines.age.max(), spend=ibis.ifelse(inside, lines.amount_minor, 0).sum())
        spend = goods.spend.cast("float64")
        # Logarithms as whole millionths: sums of doubles differ with the order that threads add in.
        return goods.mutate(spend_log_spend=ibis.ifelse(goods.spend > 0, (spend * spend.nullif(0).ln() * 1e6).round().cast("int64"), 0))
    return stream


def _new(stream: Callable[[ir.Table, int], ir.Table]) -> Callable[[ir.Table, int], ir.Table]:
    def first_times(history: ir.Table, longest_days: int) -> ir.Table:
        """The same goods, aged by their first purchase."""
        goods = stream(history, longest_days)
        return goods.mutate(age=goods.first_age)
    return first_times


def treatments(history: ir.Table, longest_days: int) -> ir.Table:
    """Grain: marketer's event. Slices: kind. Measures: days_left of its campaign at as_of (null when over), is_open."""
    sent = history.filter(history.initiator == "marketer")
    left = sent.campaign_end_at.epoch_seconds() - sent.as_of.epoch_seconds()
    return sent.mutate(days_left=ibis.ifelse(left > 0, left / 86400.0, ibis.null("float64")), is_open=ibis.ifelse(left > 0, 1, 0)).select(
        *_KEY, "age", "kind", "days_left", "is_open")


categories = _kinds_of_goods("category")
brands = _kinds_of_goods("brand")
STREAMS: dict[str, Callable[[ir.Table, int], ir.Table]] = {
    "events": events, "lines": lines, "purchases": purchases, "weeks": weeks, "categories": categories, "brands": brands,
    "new_categories": _new(categories), "treatments": treatments,
}
