"""Columns that look wrong or dangerous: what makes them so, without a single value of theirs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

import ibis
import ibis.expr.types as ir

from features.contracts import COLUMNS
from features.data_profile.cells import SMALLEST_GROUP
from features.data_profile.counted import Counted, rows_of
from features.data_profile.coverage import Coverage
from features.data_profile.distributions import scales_among
from features.dataset import Dataset
from features.engine import utc_to_local

# Rows whose texts are looked at, and how many rows or customers it takes to say anything of a column.
SAMPLE_ROWS, FEWEST = 20_000, 20
# Shares: a column that is almost empty, values that are almost all different, of rows that look like dates, like something personal.
EMPTY_SHARE, ID_SHARE, DATE_SHARE = 0.02, 0.95, 0.9
EMAIL_SHARE, PERSONAL_SHARE = 0.01, 0.2
# A free text: so many characters on average, and so many of the values different.
TEXT_LENGTH, TEXT_SHARE = 25, 0.5
# Coverage jumps where it changes by so much between two months in a row of so many rows each.
JUMP_POINTS, JUMP_ROWS = 0.3, 100
# Amounts of mixed units: of an item's amounts, so many at about a hundred times its usual one or a hundredth, and so many times more than in between.
MIXED_SHARE, MIXED_TIMES = 0.02, 3
PATTERNS = {
    "email": r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}",
    "phone": r"^ *((\+|00)[1-9][0-9 ().-]{7,18}|1[3-9][0-9]{9}|\(?0[0-9]{1,4}\)?[ /-][0-9][0-9 -]{4,}) *$",
    "id_number": r"^[1-9][0-9]{5}(19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9Xx]$",
    "date": r"^ *([0-9]{4}[-/.年][0-9]{1,2}[-/.月][0-9]{1,2}|[0-9]{1,2}[-/.][0-9]{1,2}[-/.][0-9]{2,4})"}
NAMES = re.compile(
    r"(^|[\W_])(e.?mail|(tele|mobile.?)?phone|mobile.?(no|number)|street|address|surname|(first|last|full|family|given).?name|birth.?(day|date)|date.?of.?birth|passport|iban)"
    r"(.?(address|no|number))?$|姓名|手机|电话|邮箱|地址|身份证|生日", re.IGNORECASE)
# A column with such a name is let pass where so few of its values differ: a yes or no tells nobody's address.
NAMED_SHARE = 0.1
# Found by what stands in a column: its values are then shown nowhere.
PERSONAL = ("PERSONAL_DATA", "FREE_TEXT")


@dataclass(frozen=True)
class Suspect:
    """A column under suspicion: a code, and the figures of its reason."""

    code: str
    table: str
    column: str
    figures: dict[str, str | float] = field(default_factory=dict)


def suspects(dataset: Dataset, events: Counted, coverage: Coverage) -> list[Suspect]:
    """What the columns' counts and texts give rise to."""
    attributes = [attribute.name for attribute in dataset.attributes]
    texts = _by_text(dataset)
    # What names a person needs no second reason why all its values differ, and a number of many values is no id.
    scales = {name for name, is_scale in (scales_among(dataset.tables["customers"], attributes) if attributes else {}).items() if is_scale}
    explained = {one.column for one in texts if one.table == "customers"} | scales
    counts = [one for one in _of_counts(coverage, events, attributes) if one.code != "ID_LIKE" or one.column not in explained]
    return [*texts, *counts, *_coverage_jumps(dataset, events, attributes), *_mixed_units(dataset)]


def _of_counts(coverage: Coverage, events: Counted, attributes: Sequence[str]) -> list[Suspect]:
    found = []
    for table in coverage.tables:
        for column in table.columns:
            is_attribute = table.name == "customers" and column.name in attributes
            if not (is_attribute or (table.name == "events" and column.name in events.columns) or (table.name not in COLUMNS and column.name != "customer_id")):
                continue
            share = column.n_filled / table.n_rows if table.n_rows else 0.0
            here = (table.name, column.name)
            if column.n_filled == 0 and table.n_rows >= FEWEST and column.name not in COLUMNS.get(table.name, {}):
                found.append(Suspect("EMPTY", *here))
            elif 0 < max(share, column.fullest_share) < EMPTY_SHARE and table.n_rows >= FEWEST:
                found.append(Suspect("ALMOST_EMPTY", *here, {"share": max(share, column.fullest_share)}))
            elif column.n_distinct == 1 and column.n_filled >= FEWEST:
                found.append(Suspect("CONSTANT", *here))
            elif is_attribute and (column.n_customers or 0) >= FEWEST and column.n_distinct >= ID_SHARE * (column.n_customers or 0):
                found.append(Suspect("ID_LIKE", *here, {"share": column.n_distinct / (column.n_customers or 1)}))
    return found


def _by_text(dataset: Dataset) -> list[Suspect]:
    """What texts look like, in some twenty thousand rows of each table; and what a column's name says."""
    found = []
    for name, table in dataset.tables.items():
        if name == "quarantine":
            continue
        known = COLUMNS.get(name, {})
        texts = [
            column for column in table.columns
            if (table[column].type().is_string() or (table[column].type().is_integer() and column not in known)) and not (name == "events" and column in ("event_id", "initiator"))]
        times = [column for column in table.columns if table[column].type().is_timestamp() or table[column].type().is_date()]
        is_attribute = {attribute.name for attribute in dataset.attributes} if name == "customers" else set()
        found += [Suspect("DATE_LIKE", name, column, {"share": 1.0}) for column in times if column in is_attribute]
        shares = _shares(table, texts)
        for column in table.columns:
            told = shares.get(column, {})
            personal = next((what for what, least in (("email", EMAIL_SHARE), ("phone", PERSONAL_SHARE), ("id_number", PERSONAL_SHARE)) if told.get(what, 0) >= least), "")
            if personal:
                found.append(Suspect("PERSONAL_DATA", name, column, {"what": personal, "share": told[personal]}))
            elif column not in known and NAMES.search(column) and not table[column].type().is_boolean() and told.get("distinct", 1.0) >= NAMED_SHARE:
                found.append(Suspect("PERSONAL_DATA", name, column, {"what": "name"}))
            elif told.get("length", 0) >= TEXT_LENGTH and told["distinct"] >= TEXT_SHARE and column not in known:
                found.append(Suspect("FREE_TEXT", name, column, {"length": told["length"]}))
            elif column in is_attribute and told.get("date", 0) >= DATE_SHARE:
                found.append(Suspect("DATE_LIKE", name, column, {"share": told["date"]}))
    return found


def _shares(table: ir.Table, texts: Sequence[str]) -> dict[str, dict[str, float]]:
    """For each text column with enough values: the share of them that fits each pattern, their average length, and how many of them differ."""
    if not texts:
        return {}
    rows = int(table.count().to_pyarrow().as_py())
    # Rows by a hash of the key, so that the same rows are looked at every time.
    sample = table if rows <= SAMPLE_ROWS else table.filter(table[table.columns[0]].cast("string").hash().abs() % (rows // SAMPLE_ROWS) == 0)
    sample = sample.select(**{f"t{i}": sample[column].cast("string") for i, column in enumerate(texts)})
    told: dict[str, ir.Value] = {}
    for i in range(len(texts)):
        text = sample[f"t{i}"]
        told |= {f"n_{i}": text.count(), f"length_{i}": text.length().mean(), f"distinct_{i}": text.nunique()}
        told |= {f"{what}_{i}": text.re_search(pattern).sum() for what, pattern in PATTERNS.items()}
    row = rows_of(sample.aggregate(**told))[0]
    return {
        column: {"length": row[f"length_{i}"], **{what: row[f"{what}_{i}"] / row[f"n_{i}"] for what in ("distinct", *PATTERNS)}}
        for i, column in enumerate(texts) if row[f"n_{i}"] >= FEWEST}


def _coverage_jumps(dataset: Dataset, events: Counted, attributes: Sequence[str]) -> list[Suspect]:
    """Columns that begin or cease to be told between two months: of events within a kind, of customers by the month from which a row holds."""
    series: dict[tuple[str, str, str], list[tuple[date, int, int]]] = {}
    for cell in events.months:
        for i, column in enumerate(events.columns if cell.customers >= SMALLEST_GROUP else ()):
            series.setdefault(("events", column, cell.kind), []).append((cell.month.date(), cell.n, cell.filled[i]))
    if attributes:
        people = dataset.tables["customers"]
        told = people.select("customer_id", "valid_from", **{f"a{i}": people[name].notnull().cast("int64") for i, name in enumerate(attributes)})
        first = events.people.group_by("customer_id").agg(met_in=events.people.month.min())
        told = told.left_join(first, "customer_id")
        told = told.mutate(month=ibis.coalesce(utc_to_local(told.valid_from, dataset.zone), told.met_in).truncate("M")).filter(lambda t: t.month.notnull())
        for row in rows_of(told.group_by("month").agg(n=told.count(), **{f"a{i}": told[f"a{i}"].sum() for i in range(len(attributes))}).order_by("month")):
            for i, name in enumerate(attributes):
                series.setdefault(("customers", name, ""), []).append((row["month"].date(), row["n"], row[f"a{i}"]))
    worst: dict[tuple[str, str], tuple[float, Suspect]] = {}
    for (table, column, kind), told_by_month in series.items():
        enough = [(month, filled / n) for month, n, filled in told_by_month if n >= JUMP_ROWS]
        for (_, before), (month, after) in zip(enough, enough[1:], strict=False):
            if abs(after - before) >= JUMP_POINTS and abs(after - before) > worst.get((table, column), (0.0, None))[0]:
                figures: dict[str, str | float] = {"before": before, "after": after, "month": f"{month:%Y-%m}", "kind": kind}
                worst[table, column] = (abs(after - before), Suspect("COVERAGE_JUMP", table, column, figures))
    return [suspect for _, suspect in worst.values()]


def _mixed_units(dataset: Dataset) -> list[Suspect]:
    """Amounts of which some look like cents among euros: two humps a hundred times apart, with little between them.

    Held against the most frequent size of the same item's amounts (by tenths of a power of ten); of the same kind's where there are no items.
    """
    events = dataset.tables["events"]
    told = events.filter((events.amount_minor > 0) & (events.quantity.isnull() | (events.quantity > 0)))
    power = (told.amount_minor / ibis.coalesce(told.quantity, 1)).log10()
    told = told.select(goods=ibis.coalesce(told.item_id, told.kind), power=power, step=(power * 10).round())
    usual = told.group_by("goods").agg(n=told.count(), step=told.step.mode())
    met = told.join(usual.filter(usual.n >= FEWEST), "goods", rname="usual_{name}")
    away = (met.power - met.usual_step / 10).abs()
    row = rows_of(met.aggregate(n=met.count(), hump=away.between(1.8, 2.2).sum(), valley=away.between(1.2, 1.6).sum()))[0]
    if not row["n"] or row["hump"] < max(MIXED_SHARE * row["n"], FEWEST) or row["hump"] < MIXED_TIMES * row["valley"]:
        return []
    return [Suspect("MIXED_UNITS", "events", "amount", {"share": row["hump"] / row["n"]})]


