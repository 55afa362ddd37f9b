"""What is mended in events before they are held: copies, versions of one event, other currencies, what is written with a minus. Nothing in silence."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal

import ibis
import ibis.expr.types as ir
from ibis.util import gen_name

from features.dataset import Dataset, Finding, minor_units
from features.parsing import MOST

GIVES_BACK = ("return", "refund")


def mended(dataset: Dataset) -> tuple[ir.Table, list[ir.Table], list[Finding]]:
    """The events, what was moved out of them (table, reason, row_id), and what was done."""
    events, moved, findings = _each_once(dataset)
    for mend in (_converted, _returned, _positive_discounts):
        events, finding = mend(dataset, events)
        if finding:
            findings.append(finding)
    # (Under a name of its own, so that every question about it is short.)
    return dataset.engine.create_view(gen_name("mended"), events) if findings else events, moved, findings


def _each_once(dataset: Dataset) -> tuple[ir.Table, list[ir.Table], list[Finding]]:
    """Events sent twice count once, from their first arrival on; versions of one event are chosen between as declared, or left for the key check to refuse."""
    events, engine = dataset.tables["events"], dataset.engine
    ids = events.filter(events.event_id.notnull()).group_by("event_id").agg(n=ibis._.count())
    ids = engine.create_table(gen_name("repeated"), ids.filter(ids.n > 1))
    if not _number(ids.count()):
        return events, [], []
    several = engine.create_table(gen_name("several"), events.semi_join(ids, "event_id"))
    content = [column for column in events.columns if column != "ingested_at"]
    once = several.group_by(content).agg(ingested_at=several.ingested_at.min()).select(events.columns)
    once = engine.create_table(gen_name("once"), once.mutate(n_versions=ibis._.count().over(ibis.window(group_by="event_id"))))
    copied = ids.join(once.group_by("event_id").agg(m=once.count()), "event_id").filter(ibis._.n > ibis._.m)
    moved, findings = [], []
    if n := _number(ids.n.sum()) - _number(once.count()):
        moved.append(_moved(copied, "REPEATED_EVENT"))
        findings.append(Finding("REPEATED_EVENT", "events", "quarantine", n, _first(copied.event_id), "each event once", "harmless: the copies are left out"))
    left, policy = once, dataset.policies.duplicate_event_id
    versions = once.filter(once.n_versions > 1)
    if policy != "refuse" and _number(versions.count()):
        left, more, said = _chosen(versions, policy)
        left = once.filter(once.n_versions == 1).union(left)
        moved += more
        findings += said
    return events.anti_join(ids, "event_id").union(left.drop("n_versions")), moved, findings


def _chosen(versions: ir.Table, policy: str) -> tuple[ir.Table, list[ir.Table], list[Finding]]:
    """One version of each event: of the first or the last arrival, or none. Two that arrived at the same time are refused: nothing tells which came first."""
    if policy == "quarantine":
        fix = "all its versions are left out, as declared"
        return versions.limit(0), [_moved(versions, "CHANGED_EVENT")], [_changed(versions, fix)]
    at = versions.ingested_at
    chosen = versions.mutate(is_chosen=at == (at.min() if policy == "first" else at.max()).over(group_by="event_id"))
    chosen = chosen.mutate(is_tied=chosen.is_chosen.sum().over(group_by="event_id") > 1)
    tied, out = chosen.filter(chosen.is_tied), chosen.filter(~chosen.is_tied & ~chosen.is_chosen)
    findings = []
    if _number(out.count()):
        findings.append(_changed(out, f"the {policy} to arrive is kept, as declared"))
    if n := _number(tied.event_id.nunique()):
        findings.append(Finding(
            "SAME_ARRIVAL", "events", "refuse", n, _first(tied.event_id), f"versions of an event that arrived at different times, so that the {policy} can be kept",
            'supply ingested_at, or declare duplicate_event_id = "quarantine" in [policies]'))
    return chosen.filter(~chosen.is_tied & chosen.is_chosen).drop("is_chosen", "is_tied"), [_moved(out, "CHANGED_EVENT")], findings


def _changed(versions: ir.Table, fix: str) -> Finding:
    return Finding("CHANGED_EVENT", "events", "quarantine", _number(versions.count()), _first(versions.event_id), "one content for each event_id", fix)


def _converted(dataset: Dataset, events: ir.Table) -> tuple[ir.Table, Finding | None]:
    """Money of other currencies by the declared rates: exact in minor units, then rounded to whole ones of the dataset's currency, halves away from zero."""
    if "currency" not in events.columns or dataset.policies.other_currency != "convert":
        return events, None
    declared, home = dataset.policies.rates, dataset.currency
    other = events.filter((events.currency != home) & (events.amount_minor.notnull() | events.discount_minor.notnull()))
    counts = other.group_by("currency").agg(n=ibis._.count(), most=ibis.greatest(other.amount_minor.abs(), other.discount_minor.abs()).max())
    found: dict[str, Any] = {row["currency"]: row for row in counts.order_by("currency").to_pyarrow().to_pylist()}
    if not found:
        return events.drop("currency"), None
    rates = {code: declared[code] * minor_units(home) / minor_units(code) for code in found if code in declared}

    def finding(code: str, level: Literal["refuse", "warn"], of: Sequence[str], named: Sequence[str], required: str, fix: str) -> tuple[ir.Table, Finding]:
        return events, Finding(code, "events", level, sum(found[one]["n"] for one in of), tuple(named), required, fix)

    if unknown := [code for code in found if code not in rates]:
        fix = f"write in [rates] of dataset.toml how many {home} one is, such as {unknown[0]} = 1.25"
        return finding("NO_RATE", "refuse", unknown, unknown, "a rate for every other currency", fix)
    if large := [code for code, rate in rates.items() if found[code]["most"] * rate >= MOST]:
        return finding("AMOUNT_TOO_LARGE", "refuse", large, large, f"amounts below {MOST:,} minor units of {home}", "correct the amounts or the rates")
    events = events.mutate(**{column: _by_rate(events[column], events.currency, rates) for column in ("amount_minor", "discount_minor")}).drop("currency")
    named = [f"{code} at {declared[code]}" for code in found]
    return finding("CURRENCY_CONVERTED", "warn", list(found), named, f"all money in {home}", "converted as declared, rounded to whole minor units, halves away from zero")


def _by_rate(minor: ir.Value, currency: ir.Value, rates: dict[str, Decimal]) -> ir.Value:
    kind = "decimal(38, 12)"
    rate = currency.cases(*[(code, ibis.literal(rate, kind)) for code, rate in rates.items()], else_=ibis.literal(Decimal(1), kind))
    return (minor.cast("decimal(38, 0)") * rate).round().cast("int64")


def _returned(dataset: Dataset, events: ir.Table) -> tuple[ir.Table, Finding | None]:
    """Purchases (and returns) with a minus, read as returns with positive amounts and quantities where that is declared."""
    policies, is_minus = dataset.policies, ibis.literal(False)
    if policies.negative_amount == "return":
        is_minus |= events.amount_minor < 0
    if policies.negative_quantity == "return":
        is_minus |= events.quantity < 0
    is_return = (is_minus & events.kind.isin(["purchase", *GIVES_BACK])).fill_null(False)
    finding = _counted(events.filter(is_return), "READ_AS_RETURN", "returns as a kind, not as a minus", "read as returns with positive amounts, as declared")
    if not finding:
        return events, None
    # An amount with a minus that is not declared to mean a return keeps it, and meets its rule.
    plain = ("quantity", "amount_minor", "discount_minor") if policies.negative_amount == "return" else ("quantity",)
    kind = ibis.ifelse(events.kind == "purchase", "return", events.kind)
    return events.mutate(kind=is_return.ifelse(kind, events.kind), **{column: is_return.ifelse(events[column].abs(), events[column]) for column in plain}), finding


def _positive_discounts(dataset: Dataset, events: ir.Table) -> tuple[ir.Table, Finding | None]:
    """Discounts that a source writes as what they take away, read as what was given."""
    if dataset.policies.negative_discount != "positive":
        return events, None
    finding = _counted(events.filter(events.discount_minor < 0), "DISCOUNT_AS_POSITIVE", "discounts of 0 or more", "read as positive, as declared")
    return events.mutate(discount_minor=events.discount_minor.abs()), finding


def _counted(changed: ir.Table, code: str, required: str, fix: str) -> Finding | None:
    n = _number(changed.count())
    return Finding(code, "events", "warn", n, _first(changed.event_id), required, fix) if n else None


def _moved(rows: ir.Table, reason: str) -> ir.Table:
    """Grain of quarantine: here one row per event, however many of its copies or versions were moved."""
    return rows.select(table=ibis.literal("events"), reason=ibis.literal(reason), row_id=rows.event_id).distinct()


def _first(ids: ir.Column) -> tuple[str, ...]:
    return tuple(str(one) for one in ids.as_table().distinct().order_by(ids.get_name()).limit(3).to_pyarrow().column(0).to_pylist())


def _number(value: ir.Scalar) -> int:
    return int(value.to_pyarrow().as_py() or 0)
