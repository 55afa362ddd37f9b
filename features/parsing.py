"""Texts to times, numbers and money. What could be read in two ways is refused until it is declared."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir

from features.dataset import minor_units
from features.engine import local_to_utc
from features.errors import ContractError, first_few

# Money and quantities beyond this, and values beyond that, could not be summed in 64 bits.
MOST, MOST_VALUE = 10**15, 10**9
_WANTED = {"int64": f"whole numbers below {MOST:,}", "float64": f"numbers below {MOST_VALUE:,}", "boolean": "true or false", "string": "texts"}
_OFFSET = r"[zZ]$|:\d\d(\.\d+)? ?([+-]\d\d(:?\d\d)?|[A-Za-z].*)$"
# Written orders of day, month and year that people use, for the advice; the first two are each other's false friend.
TIME_FORMATS = tuple(
    f"{day}{clock}" for day in ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y/%m/%d", "%Y年%m月%d日", "%d-%m-%Y", "%m-%d-%Y", "%Y%m%d", "%d/%m/%y", "%m/%d/%y")
    for clock in ("", " %H:%M", " %H:%M:%S"))


@dataclass(frozen=True)
class Form:
    """How a file writes times and numbers. `time_format` is strftime's; empty is ISO 8601."""

    time_format: str = ""
    decimal: str = "."
    thousands: str = ""


# (Ibis declares an engine's function by an empty body and types as values; which of the two types this one gives, the format says.)
@ibis.udf.scalar.builtin(name="try_strptime")  # type: ignore[untyped-decorator]
def _try_local(text: str, form: str) -> dt.Timestamp():  # type: ignore[valid-type]
    ...


@ibis.udf.scalar.builtin(name="try_strptime")  # type: ignore[untyped-decorator]
def _try_instant(text: str, form: str) -> dt.Timestamp("UTC"):  # type: ignore[valid-type]
    ...


def parsed(name: str, table: ir.Table, column: str, kind: str, zone: str, form: Form) -> ir.Value:
    """Parse a column; a stamp with an offset (or a zoned type) is an instant, one without is local time of `zone`.

    Raises: ContractError for another type than such a column can have, with the first values that cannot be read, and how to declare what they seem to be.
    """
    value = table[column]
    is_time, is_text = kind.startswith("timestamp"), value.type().is_string()
    if not (is_text or _can_be(value.type(), kind)):
        _refuse_type(name, table, column, _WANTED.get(kind, "times (as text, or as a type of their own)"))
        return ibis.null(kind)
    if kind == "string":
        return _as_text(name, table, column)
    result = as_time(value, zone, form) if is_time else (plain(value, form) if is_text else value).try_cast(kind)
    is_given = value.cast("string").length() > 0
    is_wrong = result.isnull()
    if is_time:
        is_wrong |= ~is_a_time(result)
    elif kind == "int64":
        is_wrong |= (result.abs() >= MOST) | (~plain(value, form).re_search(r"^ *[+-]?[0-9]+(\.0*)? *$") if is_text else value.cast("float64") != result.cast("float64"))
    elif kind == "float64":
        is_wrong |= _is_nan(value) | (result.abs() >= MOST_VALUE)
    bad = table.filter(is_given & is_wrong).select(value=value.cast("string"))
    n = int(bad.count().to_pyarrow().as_py())
    if n:
        code, wanted = ("UNPARSABLE_TIME", _times_wanted(form)) if is_time else ("UNPARSABLE_VALUE", _WANTED[kind])
        examples = bad.limit(4).to_pyarrow().column(0).to_pylist()
        advice = _time_advice(name, bad.limit(2000).to_pyarrow().column(0).to_pylist(), form) if is_time else _number_advice(name, examples, form)
        raise ContractError(f"{code}: {name}.{column} needs {wanted}; found {n:,} that are not ({first_few(examples)}); {advice}")
    return result


def _can_be(found: dt.DataType, kind: str) -> bool:
    """Whether a column that is no text may be read as such a kind. Seconds since 1970 are no times: nothing says that they are, nor in which unit."""
    if kind.startswith("timestamp"):
        return bool(found.is_timestamp() or found.is_date())
    if kind == "string":
        return not bool(found.is_nested())
    return bool(found.is_integer() or (found.is_boolean() if kind == "boolean" else found.is_floating() or found.is_decimal()))


def _refuse_type(name: str, table: ir.Table, column: str, wanted: str) -> None:
    """Refuse what stands in a column of a wrong type; an empty column is of any type."""
    given = table.filter(table[column].notnull()).select(value=table[column].cast("string"))
    if n := int(given.count().to_pyarrow().as_py()):
        examples = given.limit(3).to_pyarrow().column(0).to_pylist()
        raise ContractError(f"WRONG_TYPE: {name}.{column} needs {wanted}; found {n:,} of type {table[column].type()} ({first_few(examples)}); write it as that in the source")


def _is_nan(value: ir.Value) -> ir.BooleanValue:
    """By its text: of Parquet the engine looks at least and greatest, which know nothing of NaN, and finds no number to be none."""
    return value.cast("string").strip().lower() == "nan"


def _as_text(name: str, table: ir.Table, column: str) -> ir.Value:
    """Texts; whole numbers that a table with gaps has turned into 17850.0 are told as 17850."""
    value = table[column]
    if not value.type().is_floating():
        return value.cast("string")
    whole = value.try_cast("int64")
    bad = table.filter(value.notnull() & ~_is_nan(value) & (whole.isnull() | (whole.cast("float64") != value) | (value.abs() >= 2**53))).select(value=value)
    if n := int(bad.count().to_pyarrow().as_py()):
        raise ContractError(
            f"WRONG_TYPE: {name}.{column} needs texts or whole numbers; found {n:,} with decimals ({first_few(bad.limit(3).to_pyarrow().column(0).to_pylist())}); "
            "write it as text in the source")
    return whole.cast("string")


def local_part(value: ir.Value, form: Form) -> ir.Value:
    """What is written without an offset, as it is written; null where an offset (or a zoned type) makes it an instant, or where it cannot be read."""
    if not value.type().is_string():
        is_instant = value.type().is_timestamp() and value.type().timezone
        return ibis.null("timestamp") if is_instant else value.cast("timestamp")
    if form.time_format:
        return ibis.null("timestamp") if _has_offset(form.time_format) else _try_local(value.strip(), form.time_format)
    return value.re_search(_OFFSET).ifelse(ibis.null("timestamp"), value.try_cast("timestamp"))


def is_a_time(time: ir.Value) -> ir.Value:
    """Whether a time is one that people mean; null where there is none."""
    return time.between(datetime(1800, 1, 1), datetime(2200, 1, 1))


def as_time(value: ir.Value, zone: str, form: Form) -> ir.Value:
    """A column as naive UTC, null where it is no time."""
    local = local_to_utc(local_part(value, form), zone)
    if not value.type().is_string():
        return value.cast("timestamp('UTC')").cast("timestamp") if value.type().is_timestamp() and value.type().timezone else local
    if form.time_format:
        return _try_instant(value.strip(), form.time_format).cast("timestamp") if _has_offset(form.time_format) else local
    return value.re_search(_OFFSET).ifelse(value.try_cast("timestamp('UTC')").cast("timestamp"), local)


def _has_offset(time_format: str) -> bool:
    return "%z" in time_format or "%Z" in time_format


def plain(value: ir.Value, form: Form) -> ir.Value:
    """A number's text with a point for the decimals and nothing between thousands."""
    text = value.strip()
    if form.thousands:
        text = text.replace(form.thousands, "")
    return text if form.decimal == "." else text.replace(form.decimal, ".")


def in_minor_units(events: ir.Table, currency: str, form: Form, policy: str) -> ir.Table:
    """Turn `amount` and `discount` into whole minor units, each of its own currency where other ones are not refused.

    Raises: ContractError for another currency if these are, or what is no decimal number.
    """
    units: ir.Value = ibis.literal(minor_units(currency))
    if "currency" in events.columns:
        code = events.currency.cast("string").strip().upper()
        events = events.mutate(currency=(code.length() > 0).ifelse(code, currency).fill_null(currency))
        found = sorted(events.currency.as_table().distinct().to_pyarrow().column(0).to_pylist())
        if policy == "refuse":
            if any(value != currency for value in found):
                raise ContractError(
                    f"MIXED_CURRENCY: all money must be in {currency} as declared, found {', '.join(found)}; convert it in the source, or declare other_currency in [policies]")
            events = events.drop("currency")
        else:
            units = events.currency.cases(*[(value, minor_units(value)) for value in found], else_=minor_units(currency))
    for column in ("amount", "discount"):
        if column in events.columns:
            given = events[column]
            if not (given.type().is_string() or _can_be(given.type(), "float64")):
                _refuse_type("events", events, column, "decimal numbers such as 12.50")
                given = ibis.null("float64")
            money = (plain(given, form) if given.type().is_string() else given).try_cast("float64")
            bad = events.filter((given.cast("string").length() > 0) & (money.isnull() | _is_nan(given) | (money.abs() >= 1e13))).select(value=given.cast("string"))
            n = int(bad.count().to_pyarrow().as_py())
            if n:
                examples = bad.limit(4).to_pyarrow().column(0).to_pylist()
                raise ContractError(
                    f"UNPARSABLE_VALUE: events.{column} needs decimal numbers such as 12.50; found {n:,} that are not ({first_few(examples)}); "
                    + _number_advice("events", examples, form))
            events = events.mutate(**{f"{column}_minor": (money * units).round().cast("int64")}).drop(column)
    return events


def _times_wanted(form: Form) -> str:
    return f"times as declared, {form.time_format}" if form.time_format else "times such as 2026-01-31 18:05:00 or 2026-01-31T18:05:00Z"


def fitting_formats(texts: list[str]) -> list[str]:
    """The known written orders that all these texts fit."""
    def fits(form: str) -> bool:
        try:
            return all(datetime.strptime(text.strip(), form) for text in texts)
        except ValueError:
            return False

    return [form for form in TIME_FORMATS if fits(form)]


def _time_advice(name: str, texts: list[str], form: Form) -> str:
    found = [] if form.time_format else fitting_formats(texts)
    if not found:
        return "correct them in the source"
    if len(found) == 1:
        return f'declare in [tables.{name}] of dataset.toml: time_format = "{found[0]}"'
    return f"day and month could change places: declare in [tables.{name}] of dataset.toml which it is, " + " or ".join(f'time_format = "{one}"' for one in found)


def number_forms(texts: list[str]) -> list[tuple[str, str]]:
    """The ways (decimal, thousands) in which all these texts are numbers, the plain one first; a separator that none of them bears is no way."""
    seen = "".join(texts)
    return [
        (decimal, thousands) for decimal, thousands in ((".", ""), (",", ""), (".", ","), (",", "."), (",", " "), (".", " "), (".", "'"))
        if thousands in seen and (decimal == "." or decimal in seen) and all(re.fullmatch(
            rf"[+-]?(\d+|\d{{1,3}}({re.escape(thousands)}\d{{3}})+)({re.escape(decimal)}\d*)?" if thousands else rf"[+-]?\d+({re.escape(decimal)}\d*)?", text.strip())
            for text in texts)]


def _number_advice(name: str, texts: list[Any], form: Form) -> str:
    plain = (".", "")
    found = [] if (form.decimal, form.thousands) != plain else [one for one in number_forms([str(text) for text in texts]) if one != plain]
    told = " or ".join(f'decimal = "{decimal}"' + (f', thousands = "{thousands}"' if thousands else "") for decimal, thousands in found)
    return f"declare in [tables.{name}] of dataset.toml {'which it is, ' if len(found) > 1 else ''}{told}" if found else "correct them in the source"
