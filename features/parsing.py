"""Texts to times, numbers and money. What could be read in two ways is refused until it is declared."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir

from features.dataset import minor_units
from features.engine import local_to_utc
from features.errors import ContractError, UsageError, first_few

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


# (Ibis declares an engine's function by an empty body and types as values.)
@ibis.udf.scalar.builtin(name="try_strptime")  # type: ignore[untyped-decorator]
def _try_strptime(text: str, form: str) -> dt.Timestamp():  # type: ignore[valid-type]
    ...


def parsed(name: str, table: ir.Table, column: str, kind: str, zone: str, form: Form) -> ir.Value:
    """Parse a column; a stamp with an offset (or a zoned type) is an instant, one without is local time of `zone`.

    Raises: ContractError with the first values that cannot be read, and how to declare what they seem to be.
    """
    value = table[column]
    is_time = kind.startswith("timestamp")
    if is_time:
        result = _time(value, zone, form)
    elif value.type().is_string():
        result = _plain(value, form).try_cast(kind)
    else:
        result = value.try_cast(kind)
    is_given = value.cast("string").length() > 0
    is_wrong = result.isnull()
    if is_time:
        is_wrong |= ~result.between(datetime(1800, 1, 1), datetime(2200, 1, 1))
    elif kind == "int64" and value.type().is_string():
        is_wrong |= ~_plain(value, form).re_search(r"^ *[+-]?[0-9]+(\.0*)? *$")
    bad = table.filter(is_given & is_wrong).select(value=value.cast("string"))
    n = int(bad.count().to_pyarrow().as_py())
    if n:
        code, wanted = ("UNPARSABLE_TIME", _times_wanted(form)) if is_time else ("UNPARSABLE_VALUE", kind)
        examples = bad.limit(4).to_pyarrow().column(0).to_pylist()
        advice = _time_advice(name, bad.limit(2000).to_pyarrow().column(0).to_pylist(), form) if is_time else _number_advice(name, examples, form)
        raise ContractError(f"{code}: {name}.{column} needs {wanted}; found {n:,} that are not ({first_few(examples)}); {advice}")
    return result


def _time(value: ir.Value, zone: str, form: Form) -> ir.Value:
    if value.type().is_timestamp() and value.type().timezone:
        return value.cast("timestamp('UTC')").cast("timestamp")
    if not value.type().is_string():
        return local_to_utc(value.cast("timestamp"), zone)
    if form.time_format:
        return local_to_utc(_try_strptime(value.strip(), form.time_format), zone)
    has_offset = value.re_search(r"[zZ]$|:\d\d(\.\d+)? ?([+-]\d\d(:?\d\d)?|[A-Za-z].*)$")
    instant = value.try_cast("timestamp('UTC')").cast("timestamp")
    return ibis.ifelse(has_offset, instant, local_to_utc(value.try_cast("timestamp"), zone))


def _plain(value: ir.Value, form: Form) -> ir.Value:
    """A number's text with a point for the decimals and nothing between thousands."""
    text = value.strip()
    if form.thousands:
        text = text.replace(form.thousands, "")
    return text if form.decimal == "." else text.replace(form.decimal, ".")


def in_minor_units(events: ir.Table, currency: str, form: Form) -> ir.Table:
    """Turn `amount` and `discount` into whole minor units. Raises: ContractError for another currency, or what is no decimal number."""
    if "currency" in events.columns:
        found = sorted(str(value) for value in events.currency.as_table().distinct().to_pyarrow().column(0).to_pylist() if value)
        if any(value != currency for value in found):
            raise ContractError(f"MIXED_CURRENCY: all money must be in {currency} as declared, found {', '.join(found)}; convert it in the source")
        events = events.drop("currency")
    for column in ("amount", "discount"):
        if column in events.columns:
            given = events[column]
            money = (_plain(given, form) if given.type().is_string() else given).try_cast("float64")
            bad = events.filter((given.cast("string").length() > 0) & (money.isnull() | money.isnan() | (money.abs() >= 1e13))).select(value=given.cast("string"))
            n = int(bad.count().to_pyarrow().as_py())
            if n:
                examples = bad.limit(4).to_pyarrow().column(0).to_pylist()
                raise ContractError(
                    f"UNPARSABLE_VALUE: events.{column} needs decimal numbers such as 12.50; found {n:,} that are not ({first_few(examples)}); "
                    + _number_advice("events", examples, form))
            events = events.mutate(**{f"{column}_minor": (money * minor_units(currency)).round().cast("int64")}).drop(column)
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
    found = [] if (form.decimal, form.thousands) != (".", "") else number_forms([str(text) for text in texts])
    told = " or ".join(f'decimal = "{decimal}"' + (f', thousands = "{thousands}"' if thousands else "") for decimal, thousands in found)
    return f"declare in [tables.{name}] of dataset.toml {'which it is, ' if len(found) > 1 else ''}{told}" if found else "correct them in the source"


def moment_of(text: str, zone: str) -> datetime:
    """A time of the command line as naive UTC; without an offset it is local. Raises: UsageError for a text that is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--as-of needs a time such as 2017-10-01 or 2017-10-01T05:00:00Z, found {text!r}; correct it") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC).replace(tzinfo=None)
