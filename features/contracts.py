"""What every table promises, and what happens to rows that break it.

Columns, types, keys and allowed values are pandera schemas; what is wrong with single rows are rules. A rule either refuses
the data, moves the row to `quarantine`, or warns. Every finding says how many, who first, and what to do.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal

import ibis
import ibis.expr.types as ir

from features.consents import without_refusals
from features.dataset import Dataset
from features.errors import ContractError, first_few
from features.identity import APART, HUB, UNSURE, links_used

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


@dataclass(frozen=True)
class Finding:
    """One broken promise: `count` rows of `table`, the first offenders, and what would mend it."""

    code: str
    table: str
    level: Literal["refuse", "quarantine", "warn"]
    count: int
    offenders: tuple[str, ...]
    required: str
    fix: str

    def sentence(self) -> str:
        """The finding in one line."""
        named = f" ({first_few(self.offenders)})" if self.offenders else ""
        return f"{self.code}: {self.table} needs {self.required}; found {self.count:,} that break it{named}; {self.fix}"


@dataclass(frozen=True)
class Rule:
    """A promise about single rows. `broken` is true where a row breaks it."""

    code: str
    table: str
    level: Literal["refuse", "quarantine", "warn"]
    broken: Callable[[Dataset, ir.Table], ir.BooleanValue]
    required: str
    fix: str


RULES: tuple[Rule, ...] = (
    Rule("NO_CUSTOMER", "events", "quarantine", lambda d, t: t.customer_id.isnull() | (t.customer_id == ""),
         "a customer on every event", "such events describe nobody; supply the id or leave them out"),
    Rule("NO_EVENT_ID", "events", "quarantine", lambda d, t: t.event_id.isnull(), "an event_id on every event", "number the events in the source"),
    Rule("NO_TIME", "events", "quarantine", lambda d, t: t.event_at.isnull(), "a time on every event", "supply event_at"),
    Rule("NO_KIND", "events", "quarantine", lambda d, t: t.kind.isnull(), "a kind on every event", "supply kind, such as purchase"),
    Rule("IN_THE_FUTURE", "events", "quarantine", lambda d, t: t.event_at > ibis.literal(d.observed_until) + ibis.interval(minutes=5),
         "event_at before the end of the observation", "correct the clock, or declare a later observed_until"),
    Rule("UNKNOWN_INITIATOR", "events", "quarantine", lambda d, t: ~t.initiator.isin(INITIATORS),
         "initiator customer or marketer", "say who began it; a sent message is the marketer's"),
    Rule("NEGATIVE_AMOUNT", "events", "quarantine", lambda d, t: t.amount_minor < 0, "amounts of 0 or more (a refund is a kind, not a sign)",
         "write refunds as kind return with a positive amount"),
    Rule("NEGATIVE_QUANTITY", "events", "quarantine", lambda d, t: t.quantity < 0, "quantities of 0 or more", "write returns as kind return with a positive quantity"),
    Rule("EMPTY_LINE", "events", "quarantine", lambda d, t: (t.kind == "purchase") & (t.quantity == 0) & (t.amount_minor == 0),
         "purchases of something", "lines with neither quantity nor amount bought nothing"),
    Rule("INGESTED_BEFORE", "events", "quarantine", lambda d, t: t.ingested_at < t.event_at, "ingested_at not before event_at", "correct the clock of the source"),
    Rule("BOT", "events", "quarantine", lambda d, t: t.customer_id.isin(_busier_than_a_person(d, t).customer_id),
         "no more events within an hour than a person makes (bot_events_per_hour)", "programs are no customers; raise the number if these are"),
    Rule("TESTER", "events", "quarantine", lambda d, t: _begins_like(t.customer_id, d.testers), "customers, not testers (as declared)", "harmless: testers are left out"),
    Rule("RETURN_FIRST", "events", "quarantine", lambda d, t: t.event_id.isin(_returns_before_purchase(t).event_id),
         "returns and refunds after the purchase of their session", "correct the clock of the source"),
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


def _returns_before_purchase(events: ir.Table) -> ir.Table:
    bought = events.filter((events.kind == "purchase") & events.session_id.notnull()).group_by("session_id").agg(bought_at=events.event_at.min())
    back = events.filter(events.kind.isin(["return", "refund"])).join(bought, "session_id")
    return back.filter(back.event_at < back.bought_at).select("event_id")


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
    """Hold a dataset against the contract; give back the clean dataset (with a `quarantine` table) and the findings.

    Grain of quarantine: one row per refused row and reason (table, reason, row_id).
    Raises: ContractError with every finding that refuses the data, never only the first.
    """
    dataset, left_out = without_refusals(dataset)
    # Only how many: of whoever is erased nothing is kept, not even the number of an event.
    findings = [Finding(code, "customers", "quarantine", n, (), required, "harmless: nothing is built of them") for code, n, required in (
        ("ERASED", left_out["erased"], "persons who are not erased"), ("NO_PROFILING", left_out["no_profiling"], "persons who may be profiled")) if n]
    tables = dict(dataset.tables)
    quarantined: list[ir.Table] = []
    for rule in RULES:
        if rule.table not in dataset.tables:
            continue
        table = dataset.tables[rule.table]
        is_broken = rule.broken(dataset, table).fill_null(False)
        bad = table.filter(is_broken)
        key = bad[KEYS[rule.table][0]]
        row = bad.aggregate(n=bad.count(), first=key.cast("string").min(), last=key.cast("string").max()).to_pyarrow().to_pylist()[0]
        if not row["n"]:
            continue
        named = tuple(sorted({str(row["first"]), str(row["last"])}))
        findings.append(Finding(rule.code, rule.table, rule.level, row["n"], named, rule.required, rule.fix))
        if rule.level == "quarantine":
            kept = tables[rule.table]
            tables[rule.table] = kept.filter(~rule.broken(dataset, kept).fill_null(False))
            quarantined.append(bad.select(table=ibis.literal(rule.table), reason=ibis.literal(rule.code), row_id=key.cast("string")))
    if "events" in tables:
        tables["events"], repeated, finding = _without_repeats(tables["events"])
        if finding:
            findings.append(finding)
            quarantined.append(repeated)
    if "aliases" in tables:
        # The same sighting told twice is one.
        tables["aliases"] = tables["aliases"].distinct()
    engine = dataset.engine
    clean = {name: engine.create_table(f"clean_{name}", table, overwrite=True) for name, table in tables.items() if name != "quarantine"}
    for name, table in clean.items():
        findings += _schema_findings(name, table)
    refused = [finding for finding in findings if finding.level == "refuse"]
    if refused:
        raise ContractError(f"{dataset.name} breaks the contract:\n  " + "\n  ".join(finding.sentence() for finding in refused))
    empty = ibis.memtable([], schema={"table": "string", "reason": "string", "row_id": "string"})
    clean["quarantine"] = engine.create_table("quarantine", ibis.union(empty, *quarantined) if quarantined else empty, overwrite=True)
    dataset = replace(dataset, tables=clean)
    return dataset, findings + (_unjoined(dataset) if "aliases" in clean else [])


def _unjoined(dataset: Dataset) -> list[Finding]:
    """Links that join nobody by all that is known today, and why."""
    links = links_used(dataset, [dataset.observed_until.replace(microsecond=0)])
    told = links.filter(links.use.isin(list(WHY_NOT))).group_by("use").agg(n=lambda t: t.count(), first=lambda t: t["alias"].min(), last=lambda t: t["alias"].max())
    found = []
    for row in told.order_by("use").to_pyarrow().to_pylist():
        code, required, fix = WHY_NOT[row["use"]]
        found.append(Finding(code, "aliases", "warn", row["n"], tuple(dict.fromkeys((row["first"], row["last"]))), required.format(**asdict(dataset.identity)), fix))
    return found


def _without_repeats(events: ir.Table) -> tuple[ir.Table, ir.Table, Finding | None]:
    """Events sent twice count once, from their first arrival on. The same event_id with another content is left for the key check to refuse."""
    content = [column for column in events.columns if column != "ingested_at"]
    once = events.group_by(content).agg(ingested_at=events.ingested_at.min()).select(events.columns)
    total, kept = (int(n) for n in (events.count().to_pyarrow().as_py(), once.count().to_pyarrow().as_py()))
    if total == kept:
        return events, events.limit(0), None
    times = events.group_by("event_id").agg(n=events.count()).filter(lambda t: t.n > 1)
    repeated = times.select(table=ibis.literal("events"), reason=ibis.literal("REPEATED_EVENT"), row_id=times.event_id)
    first = repeated.row_id.min().to_pyarrow().as_py()
    finding = Finding("REPEATED_EVENT", "events", "quarantine", total - kept, (first,), "each event once", "harmless: the copies are left out")
    return once, repeated, finding


def _schema_findings(name: str, table: ir.Table) -> list[Finding]:
    """Turn what pandera finds into coded findings."""
    import pandera.errors

    try:
        schema(name).validate(table, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        # In a table without rows pandera finds nulls where there is nothing.
        return [finding for finding in (_finding_of(name, error, table) for error in errors.schema_errors) if finding.count]
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
        return Finding("DUPLICATE_KEY", name, "refuse", n, offenders, f"a unique {' + '.join(keys)}", "keep one row for each key")
    code = {"COLUMN_NOT_IN_DATAFRAME": "MISSING_COLUMN", "WRONG_DATATYPE": "WRONG_TYPE", "SERIES_CONTAINS_NULLS": "MISSING_VALUE"}.get(reason, "VALUE_NOT_ALLOWED")
    count = int(cases.count().to_pyarrow().as_py()) if isinstance(cases, ir.Table | ir.Column) else 1
    return Finding(code, name, "refuse", count, (column or str(cases),), str(getattr(error, "check", "the declared form")), "correct the source")
