"""Returns and refunds against what the customer had bought by then."""

import ibis
import ibis.expr.types as ir

from features.mending import GIVES_BACK

_SCOPE = ["customer_id", "by", "scope"]


def returns_first(events: ir.Table) -> ir.Table:
    """The returns (event_id) that come before the first purchase of their session."""
    bought = events.filter((events.kind == "purchase") & events.session_id.notnull()).group_by("session_id").agg(bought_at=events.event_at.min())
    back = events.filter(events.kind.isin(GIVES_BACK)).join(bought, "session_id")
    return back.filter(back.event_at < back.bought_at).select("event_id")


def returns_without_purchase(events: ir.Table) -> ir.Table:
    """The returns (event_id) before which nothing was bought; those before the purchases of their session are told by `returns_first`."""
    back = _against_purchases(events)
    return back.filter((back.n_bought == 0) & (back.by != "session")).select("event_id")


def returns_too_large(events: ir.Table) -> ir.Table:
    """The returns (event_id) that bring back more than was bought and not brought back before. A purchase that does not tell its amount may have been as large as any."""
    back = _against_purchases(events)
    return back.filter((back.n_bought > 0) & (back.n_untold == 0) & (back.minor + back.back_before > back.bought)).select("event_id")


def _against_purchases(events: ir.Table) -> ir.Table:
    """Grain: return of a known customer, with what was bought (n_bought, bought, n_untold) and brought back until then.

    What counts as bought is what the customer bought in the return's session; where that has no purchase, of the return's item, if the customer's purchases
    name items; else anything.
    """
    back = events.filter(events.kind.isin(GIVES_BACK) & (events.customer_id.length() > 0))
    bought = events.filter(events.kind == "purchase").semi_join(back, "customer_id")
    is_in_session = _in_session(back).isin(_in_session(bought)).fill_null(False)
    is_of_item = (back.item_id.notnull() & back.customer_id.isin(bought.filter(bought.item_id.notnull()).customer_id)).fill_null(False)
    back = back.mutate(by=ibis.cases((is_in_session, "session"), (is_of_item, "item"), else_="all"))
    back = back.mutate(scope=back.by.cases(("session", back.session_id), ("item", back.item_id), else_=""))
    scopes = {"session": bought.session_id, "item": bought.item_id, "all": ibis.literal("")}
    sold = ibis.union(*(bought.mutate(by=ibis.literal(by), scope=scope) for by, scope in scopes.items())).semi_join(back, _SCOPE)
    lines = ibis.union(*(part.select(*_SCOPE, "event_id", "event_at", minor=part.amount_minor, is_back=ibis.literal(is_back)) for part, is_back in ((sold, False), (back, True))))
    until = ibis.window(group_by=_SCOPE, order_by=[lines.event_at, lines.is_back, lines.event_id], following=0)
    lines = lines.mutate(
        n_bought=lines.is_back.ifelse(0, 1).sum().over(until), bought=lines.is_back.ifelse(0, lines.minor).sum().over(until),
        n_untold=(lines.minor.isnull() & ~lines.is_back).ifelse(1, 0).sum().over(until))
    # A return that is larger than all that was bought is a mistake, and takes nothing from the others.
    lines = lines.mutate(taken=(lines.is_back & (lines.minor <= lines.bought)).ifelse(lines.minor, 0))
    return lines.mutate(back_before=lines.taken.sum().over(until) - lines.taken).filter(lines.is_back)


def _in_session(events: ir.Table) -> ir.Value:
    return events.customer_id.concat("\x1f", events.session_id)
