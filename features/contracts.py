"""What every table promises, and what happens to rows that break it.

Columns, types, keys and allowed values are pandera schemas; what is wrong with single rows are rules. A rule either refuses
the data, moves the row to `quarantine`, or warns. Every finding says how many, who first, and what to do.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal

import ibis
import ibis.expr.types as ir
from ibis.util import gen_name

from features.consents import without_refusals
from features.dataset import Dataset, Finding
from features.errors import ContractError, first_few
from features.identity import APART, HUB, UNSURE, links_used
from features.mending import GIVES_BACK, mended
from features.policies import CHOICES
from features.returns import returns_first, returns_too_large, returns_without_purchase

if TYPE_CHECKING:
    import pandera.ibis as pa

# column: (type, may be null). Money is `*_minor`, times are naive UTC, `local_at` is the same moment on the customers' clock.
COLUMNS: dict[str, dict[str, tuple[str, bool]]] = {
    "events": {
        "event_id": ("string", False),
        "customer_id": ("string", False),
        "event_at": ("timestamp(6)", False),
        "ingested_at": ("timestamp(6)", False),
        "local_at": ("timestamp(6)", False),
        "kind": ("string", False),
        "initiator": ("string", False),
        "channel": ("string", True),
        "session_id": ("string", True),
        "item_id": ("string", True),
        "category": ("string", True),
        "brand": ("string", True),
        "quantity": ("int64", True),
        "amount_minor": ("int64", True),
        "discount_minor": ("int64", True),
        "is_promoted": ("boolean", True),
        "campaign_id": ("string", True),
        "value": ("float64", True),
    },
    "customers": {
        "customer_id": ("string", False), "valid_from": ("timestamp(6)", True), "consent_profiling": ("boolean", True), "consent_marketing": ("boolean", True),
        "erased_at": ("timestamp(6)", True)},
    "aliases": {
        "alias": ("string", False), "alias_kind": ("string", False), "customer_id": ("string", False), "customer_kind": ("string", False),
        "linked_at": ("timestamp(6)", False), "unlinked_at": ("timestamp(6)", True), "confidence": ("float64", True)},
    "items": {"item_id": ("string", False), "category": ("string", True), "brand": ("string", True)},
    "campaigns": {"campaign_id": ("string", False), "kind": ("string", True), "start_at": ("timestamp(6)", False), "end_at": ("timestamp(6)", False)},
}
KEYS = {"events": ["event_id"], "customers": ["customer_id", "valid_from"], "aliases": ["alias", "customer_id", "linked_at"], "items": ["item_id"], "campaigns": ["campaign_id"]}
INITIATORS = ("customer", "marketer")
# Why a link joins nobody: code, what links need, what to do. (A device that is lent at times is nothing wrong.)
WHY_NOT = {
    HUB: ("HUB", "identifiers with at most {most_links} others (most_links)", "tills and test accounts join nobody; raise most_links under [identity] if these are persons"),
    APART: ("NOT_ONE_PERSON", "to join accounts of one person, alike in {never_differ} and with at most {most_links} identifiers",
            "each card and number stays with its first account; correct the links, or unlink them from a date on by unlinked_at"),
    UNSURE: ("UNSURE_LINK", "a confidence of at least {least_confidence}", "harmless: such links wait; lower least_confidence under [identity] to use them")}


# Kinds that features know by name: one that is almost called so would be overlooked.
KNOWN_KINDS = ("purchase", "return", "refund", "visit", "campaign_received", "coupon_redemption")
Level = Literal["refuse", "quarantine", "warn"]


@dataclass(frozen=True)
class Rule:
    """A promise about single rows. `broken` is true where a row breaks it.

    `level` may be the name of a policy, which then decides. `names` is the column whose values are told as offenders, the table's key if empty; `fix` may depend on
    them.
    """

    code: str
    table: str
    level: str
    broken: Callable[[Dataset, ir.Table], ir.BooleanValue]
    required: str
    fix: str | Callable[[Dataset, tuple[str, ...]], str]
    names: str = ""

    def level_for(self, dataset: Dataset) -> Level | None:
        """What becomes of rows that break it; None where they are kept without a word."""
        said = getattr(dataset.policies, self.level) if self.level in CHOICES else self.level
        # What a policy mends was mended before: what still breaks the rule is none of what it speaks of.
        as_said: dict[str, Level | None] = {"refuse": "refuse", "warn": "warn", "keep": None}
        return as_said.get(said, "quarantine")


RULES: tuple[Rule, ...] = (
    Rule("NO_CUSTOMER", "events", "quarantine", lambda d, t: t.customer_id.isnull() | (t.customer_id == ""),
         "a customer on every event", "such events describe nobody; supply the id or leave them out"),
    Rule("NO_EVENT_ID", "events", "quarantine", lambda d, t: t.event_id.isnull(), "an event_id on every event", "number the events in the source"),
    Rule("NO_TIME", "events", "quarantine", lambda d, t: t.event_at.isnull(), "a time on every event", "supply event_at"),
    Rule("NO_KIND", "events", "quarantine", lambda d, t: t.kind.isnull(), "a kind on every event", "supply kind, such as purchase"),
    Rule("UNKNOWN_KIND", "events", "quarantine", lambda d, t: ~t.kind.isin(d.policies.kinds) if d.policies.kinds else ibis.literal(False), "one of the declared kinds",
         lambda d, found: f"{_nearest(found, d.policies.kinds)}; correct them (values in [tables.events]), or declare more kinds in [policies]", "kind"),
    Rule("NEAR_KIND", "events", "warn", lambda d, t: t.kind.isin(_almost_known(t)) if not d.policies.kinds else ibis.literal(False), "kinds that are meant as they are written",
         lambda d, found: f"{_nearest(found, KNOWN_KINDS)}; if so, say it in values of [tables.events], and if not, list all kinds in [policies]", "kind"),
    Rule("IN_THE_FUTURE", "events", "quarantine", lambda d, t: t.event_at > ibis.literal(d.observed_until) + ibis.interval(minutes=d.policies.future_minutes),
         "event_at before the end of the observation", "correct the clock, or declare a later observed_until"),
    Rule("UNKNOWN_INITIATOR", "events", "quarantine", lambda d, t: ~t.initiator.isin(INITIATORS),
         "initiator customer or marketer", "say who began it; a sent message is the marketer's"),
    Rule("MIXED_CURRENCY", "events", "other_currency", lambda d, t: _is_of_other_currency(d, t), "all money in the declared currency",
         lambda d, found: f'convert it, or declare other_currency = "convert" in [policies] and [rates] such as {found[0]} = 1.25', "currency"),
    Rule("NEGATIVE_AMOUNT", "events", "negative_amount", lambda d, t: t.amount_minor < 0, "amounts of 0 or more (a refund is a kind, not a sign)",
         'write refunds as kind return with a positive amount, or declare negative_amount = "return" in [policies]'),
    Rule("NEGATIVE_QUANTITY", "events", "negative_quantity", lambda d, t: t.quantity < 0, "quantities of 0 or more",
         'write returns as kind return with a positive quantity, or declare negative_quantity = "return" in [policies]'),
    Rule("NEGATIVE_DISCOUNT", "events", "negative_discount", lambda d, t: t.discount_minor < 0, "discounts of 0 or more (what was taken off)",
         'if they are written as what they take away, declare negative_discount = "positive" in [policies]'),
    Rule("ZERO_AMOUNT", "events", "zero_amount", lambda d, t: t.kind.isin(["purchase", *GIVES_BACK]) & (t.amount_minor == 0), "purchases and returns with an amount, as declared",
         "harmless: they are left out"),
    Rule("EMPTY_LINE", "events", "quarantine", lambda d, t: (t.kind == "purchase") & (t.quantity == 0) & (t.amount_minor == 0),
         "purchases of something", "lines with neither quantity nor amount bought nothing"),
    Rule("INGESTED_BEFORE", "events", "quarantine", lambda d, t: t.ingested_at + ibis.interval(minutes=d.policies.future_minutes) < t.event_at,
         "ingested_at not before event_at", "correct the clock of the source"),
    Rule("BOT", "events", "quarantine", lambda d, t: t.customer_id.isin(_busier_than_a_person(d, t).customer_id),
         "no more events within an hour than a person makes (bot_events_per_hour)", "programs are no customers; raise the number if these are"),
    Rule("TESTER", "events", "quarantine", lambda d, t: _begins_like(t.customer_id, d.testers), "customers, not testers (as declared)", "harmless: testers are left out"),
    Rule("RETURN_FIRST", "events", "quarantine", lambda d, t: t.event_id.isin(returns_first(t).event_id),
         "returns and refunds after the purchase of their session", "correct the clock of the source"),
    Rule("RETURN_WITHOUT_PURCHASE", "events", "unmatched_return", lambda d, t: _is_among_returns(d, t, returns_without_purchase),
         "returns of what was bought before (in their session, or of their item)", "supply the earlier purchases, or see how returns name their session or item"),
    Rule("RETURN_TOO_LARGE", "events", "unmatched_return", lambda d, t: _is_among_returns(d, t, returns_too_large),
         "returns of no more than was bought (in their session, or of their item)", "correct the amounts, or see how returns name their session or item"),
    Rule("UNKNOWN_ITEM", "events", "warn", lambda d, t: _not_in(t.item_id, d, "items", "item_id"), "item_id known to items", "add the item; until then it has no category"),
    Rule("UNKNOWN_CAMPAIGN", "events", "quarantine", lambda d, t: _not_in(t.campaign_id, d, "campaigns", "campaign_id"), "campaign_id known to campaigns", "add the campaign"),
    Rule("NO_CUSTOMER_ID", "customers", "refuse", lambda d, t: t.customer_id.isnull() | (t.customer_id == ""), "a customer_id on every row", "supply the id or remove the row"),
    Rule("NO_LINK", "aliases", "quarantine", lambda d, t: _is_empty(t["alias"]) | _is_empty(t.customer_id) | t.linked_at.isnull(),
         "two identifiers and linked_at, from when they are known to be one person's", "supply them; a link without its time would tell the past what was learned later"),
    Rule("LINK_TO_ITSELF", "aliases", "quarantine", lambda d, t: t["alias"] == t.customer_id, "links between two identifiers", "harmless: such links say nothing"),
    Rule("UNKNOWN_ALIAS_KIND", "aliases", "quarantine", lambda d, t: ~t.alias_kind.isin(d.identity.all_kinds) | ~t.customer_kind.isin(d.identity.all_kinds),
         "kinds of identifiers that are declared", "add the kind to kinds (of one person) or shared_kinds (lent at times) under [identity] in dataset.toml"),
    Rule("UNLINKED_BEFORE", "aliases", "quarantine", lambda d, t: t.unlinked_at < t.linked_at, "unlinked_at not before linked_at", "correct the dates"),
    Rule("ENDS_BEFORE_START", "campaigns", "refuse", lambda d, t: t.end_at < t.start_at, "end_at not before start_at", "correct the dates"),
)


def _is_empty(value: ir.Value) -> ir.BooleanValue:
    return value.isnull() | (value == "")


def _busier_than_a_person(dataset: Dataset, events: ir.Table) -> ir.Table:
    """Who made more events within a clock hour than a person does. The lines of a basket are one event: wholesalers buy hundreds at once."""
    own = events.filter((events.initiator == "customer") & (events.kind != "purchase"))
    hours = own.group_by(["customer_id", own.event_at.truncate("h").name("hour")]).agg(n=own.count())
    return hours.filter(hours.n > dataset.bot_events_per_hour).select("customer_id").distinct()


def _begins_like(value: ir.Value, beginnings: tuple[str, ...]) -> ir.BooleanValue:
    found: ir.BooleanValue = ibis.literal(False)
    for beginning in beginnings:
        found = found | value.startswith(beginning)
    return found


def _is_among_returns(dataset: Dataset, events: ir.Table, chosen: Callable[[ir.Table], ir.Table]) -> ir.BooleanValue:
    """Computed at once, since it costs more than other rules and is asked twice."""
    if not _count(events.filter(events.kind.isin(GIVES_BACK)).limit(1)):
        return ibis.literal(False)
    return events.event_id.isin(dataset.engine.create_table(gen_name("returns"), chosen(events)).event_id)


def _is_of_other_currency(dataset: Dataset, events: ir.Table) -> ir.BooleanValue:
    if "currency" not in events.columns:
        return ibis.literal(False)
    return (events.currency != dataset.currency) & (events.amount_minor.notnull() | events.discount_minor.notnull())


def _almost_known(events: ir.Table) -> list[str]:
    found = [str(kind) for kind in events.kind.as_table().distinct().to_pyarrow().column(0).to_pylist() if kind is not None]
    return [kind for kind in found if kind not in KNOWN_KINDS and _near(kind, KNOWN_KINDS, 0.85)]


def _near(kind: str, known: Sequence[str], least: float) -> str:
    folded = {one.casefold(): one for one in known}
    near = difflib.get_close_matches(kind.strip().casefold(), folded, 1, least)
    return folded[near[0]] if near else ""


def _nearest(found: Sequence[str], known: Sequence[str]) -> str:
    near = {kind: _near(kind, known, 0.6) for kind in found}
    told = [f"{kind} may mean {one}" for kind, one in near.items() if one]
    return first_few(told) or f"none of them is near {first_few(known)}"


def _not_in(value: ir.Value, dataset: Dataset, table: str, key: str) -> ir.BooleanValue:
    """True where a reference points nowhere; never where the other table is absent."""
    if table not in dataset.tables:
        return ibis.literal(False)
    return value.notnull() & ~value.isin(dataset.tables[table][key])


def shaped(name: str, table: ir.Table) -> ir.Table:
    """Give a table the contract's columns: types as promised, absent optional ones null, others left beside them.

    An event that does not say when it arrived arrived when it happened.
    """
    if name == "events":
        table = table.mutate(ingested_at=ibis.coalesce(table.ingested_at, table.event_at) if "ingested_at" in table.columns else table.event_at)
    columns = {
        column: table[column].cast(kind) if column in table.columns else ibis.null(kind)
        for column, (kind, _) in COLUMNS[name].items()
    }
    return table.select(**columns, **{column: table[column] for column in table.columns if column not in columns})


def schema(table: str) -> "pa.DataFrameSchema":
    """The pandera schema of a contract table.

    Uniqueness stands on the schema, since pandera's Ibis columns pass `unique=True` silently on duplicates.
    """
    import pandera.ibis as pa

    checks = {"initiator": pa.Check.isin(INITIATORS)}
    columns = {
        name: pa.Column(ibis.dtype(kind), checks.get(name), nullable=may_be_null)
        for name, (kind, may_be_null) in COLUMNS[table].items()
    }
    return pa.DataFrameSchema(columns, unique=KEYS[table])


def hold(dataset: Dataset) -> tuple[Dataset, list[Finding]]:
    """Mend what is declared to be mended, hold a dataset against the contract; give back the clean dataset (with a `quarantine` table) and the findings.

    Grain of quarantine: one row per refused row and reason (table, reason, row_id).
    Raises: ContractError with every finding that refuses the data, never only the first.
    """
    engine, findings = dataset.engine, list(dataset.notes)
    moved: list[ir.Table] = [ibis.memtable([], schema={"table": "string", "reason": "string", "row_id": "string"})]
    dataset, left_out = without_refusals(dataset)
    findings += _refusals(left_out)
    if "events" in dataset.tables:
        events, copies, said = mended(dataset)
        dataset = replace(dataset, tables={**dataset.tables, "events": events})
        moved += copies
        findings += said
    clean = {}
    for name, table in dataset.tables.items():
        # The same sighting of two identifiers told twice is one.
        kept, broken, said = _kept_and_broken(dataset, name, table.distinct() if name == "aliases" else table)
        clean[name] = engine.create_table(f"clean_{name}", kept, overwrite=True)
        moved += broken
        findings += said
    for name, table in clean.items():
        findings += _schema_findings(name, table) if _count(table) else _empty_findings(name, findings)
    refused = [finding for finding in findings if finding.level == "refuse"]
    if refused:
        raise ContractError(f"{dataset.name} breaks the contract:\n  " + "\n  ".join(finding.sentence() for finding in refused))
    clean["quarantine"] = engine.create_table("quarantine", ibis.union(*moved) if len(moved) > 1 else moved[0], overwrite=True)
    dataset = replace(dataset, tables=clean)
    return dataset, findings + (_unjoined(dataset) if "aliases" in clean else [])


def _refusals(left_out: dict[str, int]) -> list[Finding]:
    """Only how many: of whoever is erased nothing is kept, not even the number of an event."""
    return [Finding(code, "customers", "quarantine", n, (), required, "harmless: nothing is built of them") for code, n, required in (
        ("ERASED", left_out["erased"], "persons who are not erased"), ("NO_PROFILING", left_out["no_profiling"], "persons who may be profiled")) if n]


def _unjoined(dataset: Dataset) -> list[Finding]:
    """Links that join nobody by all that is known today, and why."""
    links = links_used(dataset, [dataset.observed_until.replace(microsecond=0)])
    told = links.filter(links.use.isin(list(WHY_NOT))).group_by("use").agg(n=lambda t: t.count(), first=lambda t: t["alias"].min(), last=lambda t: t["alias"].max())
    found = []
    for row in told.order_by("use").to_pyarrow().to_pylist():
        code, required, fix = WHY_NOT[row["use"]]
        found.append(Finding(code, "aliases", "warn", row["n"], tuple(dict.fromkeys((row["first"], row["last"]))), required.format(**asdict(dataset.identity)), fix))
    return found


def _kept_and_broken(dataset: Dataset, name: str, table: ir.Table) -> tuple[ir.Table, list[ir.Table], list[Finding]]:
    """The rows that stay, those that are moved (table, reason, row_id), and what was found. All rules look at the same rows: none at what another has left."""
    rules = [(rule, level) for rule in RULES if rule.table == name and (level := rule.level_for(dataset))]
    if not rules:
        return table, [], []
    # (A blank keeps these names apart from anybody's columns.)
    flagged = table.mutate(**{f"is {rule.code}": rule.broken(dataset, table).fill_null(False) for rule, _ in rules})
    told = dict.fromkeys([KEYS[name][0], *(rule.names for rule, _ in rules if rule.names in table.columns)])
    bad = flagged.filter(ibis.or_(*(flagged[f"is {rule.code}"] for rule, _ in rules)))
    bad = dataset.engine.create_table(gen_name("broken"), bad.select(*told, *(f"is {rule.code}" for rule, _ in rules)))
    counts = bad.aggregate(**{rule.code: bad[f"is {rule.code}"].sum() for rule, _ in rules}).to_pyarrow().to_pylist()[0]
    moved, findings = [], []
    for rule, level in rules:
        if not counts[rule.code]:
            continue
        rows = bad.filter(bad[f"is {rule.code}"])
        values = rows.select(value=rows[rule.names or KEYS[name][0]].cast("string")).distinct().order_by("value").limit(12 if rule.names else 3)
        named = tuple(str(value) for value in values.to_pyarrow().column(0).to_pylist())
        findings.append(Finding(rule.code, name, level, int(counts[rule.code]), named, rule.required, rule.fix if isinstance(rule.fix, str) else rule.fix(dataset, named)))
        if level == "quarantine":
            moved.append(rows.select(table=ibis.literal(name), reason=ibis.literal(rule.code), row_id=rows[KEYS[name][0]].cast("string")))
    out = [flagged[f"is {rule.code}"] for rule, level in rules if level == "quarantine"]
    return (flagged.filter(~ibis.or_(*out)) if out else flagged).select(table.columns), moved, findings


def _count(table: ir.Table) -> int:
    return int(table.count().to_pyarrow().as_py())


def _empty_findings(name: str, findings: list[Finding]) -> list[Finding]:
    """An empty table is none too few, but for events: without any there is nothing to say."""
    reasons = {finding.code: finding.count for finding in findings if finding.table == name and finding.level == "quarantine"}
    if name != "events":
        return []
    named = tuple(f"{code} {n:,}" for code, n in reasons.items())
    return [Finding("NO_EVENTS_LEFT", name, "refuse", sum(reasons.values()), named, "an event that keeps the contract", "correct the source, the most frequent reason first")]


def _schema_findings(name: str, table: ir.Table) -> list[Finding]:
    """Turn what pandera finds into coded findings."""
    import pandera.errors

    try:
        schema(name).validate(table, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        return [_finding_of(name, error, table) for error in errors.schema_errors]
    return []


def _finding_of(name: str, error: object, table: ir.Table) -> Finding:
    reason = str(getattr(getattr(error, "reason_code", ""), "name", ""))
    column = str(getattr(getattr(error, "schema", None), "name", "") or "")
    cases = getattr(error, "failure_cases", None)
    if reason == "DUPLICATES":
        keys = KEYS[name]
        twice = table.group_by(keys).agg(n=table.count()).filter(lambda t: t.n > 1)
        n = int(twice.count().to_pyarrow().as_py())
        offenders = tuple(str(value) for value in twice.order_by(keys).limit(4)[keys[0]].to_pyarrow().to_pylist())
        fix = "keep one row for each key" + (", or declare duplicate_event_id in [policies] of dataset.toml" if name == "events" else "")
        return Finding("DUPLICATE_KEY", name, "refuse", n, offenders, f"a unique {' + '.join(keys)}", fix)
    code = {"COLUMN_NOT_IN_DATAFRAME": "MISSING_COLUMN", "WRONG_DATATYPE": "WRONG_TYPE", "SERIES_CONTAINS_NULLS": "MISSING_VALUE"}.get(reason, "VALUE_NOT_ALLOWED")
    count = int(cases.count().to_pyarrow().as_py()) if isinstance(cases, ir.Table | ir.Column) else 1
    return Finding(code, name, "refuse", count, (column or str(cases),), str(getattr(error, "check", "the declared form")), "correct the source")
