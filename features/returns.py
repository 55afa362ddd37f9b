"""Returns and refunds against what had been bought by then."""

import ibis
import ibis.expr.types as ir

from features.mending import GIVES_BACK

_SCOPE = ["by", "owner", "of"]


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

    What counts as bought is what was bought in the return's session, under whichever id; where that has no purchase, what the customer bought of the return's
    item, if the customer's purchases name items; else whatever the customer bought.
    """
    back = events.filter(events.kind.isin(GIVES_BACK) & (events.customer_id.length() > 0))
    bought = events.filter(events.kind == "purchase")
    is_in_session = back.session_id.isin(bought.session_id)
    is_of_item = back.item_id.notnull() & back.customer_id.isin(bought.filter(bought.item_id.notnull()).customer_id)
    back = back.mutate(by=ibis.cases((is_in_session.fill_null(False), "session"), (is_of_item.fill_null(False), "item"), else_="all"))
    back = back.mutate(
        owner=(back.by == "session").ifelse("", back.customer_id), of=back.by.cases(("session", back.session_id), ("item", back.item_id), else_=""))
    nobody = ibis.literal("")
    scopes = {"session": (nobody, bought.session_id), "item": (bought.customer_id, bought.item_id), "all": (bought.customer_id, nobody)}
    sold = ibis.union(*(bought.mutate(by=ibis.literal(by), owner=owner, of=of) for by, (owner, of) in scopes.items())).semi_join(back, _SCOPE)
    lines = ibis.union(*(
        part.select(*_SCOPE, "kind", "event_id", "event_at", minor=part.amount_minor, is_back=ibis.literal(is_back)) for part, is_back in ((sold, False), (back, True))))
    order = [lines.event_at, lines.is_back, lines.event_id]
    until, of_kind_until = (ibis.window(group_by=group, order_by=order, following=0) for group in (_SCOPE, [*_SCOPE, "kind"]))
    lines = lines.mutate(
        n_bought=lines.is_back.ifelse(0, 1).sum().over(until), bought=lines.is_back.ifelse(0, lines.minor).sum().over(until),
        n_untold=(lines.minor.isnull() & ~lines.is_back).ifelse(1, 0).sum().over(until))
    # One that is larger than all that was bought is a mistake, and takes nothing from the others.
    lines = lines.mutate(taken=(lines.is_back & (lines.minor <= lines.bought)).ifelse(lines.minor, 0))
    # Goods come back (return), and then the money (refund): each is counted by itself.
    return lines.mutate(back_before=lines.taken.sum().over(of_kind_until) - lines.taken).filter(lines.is_back)
