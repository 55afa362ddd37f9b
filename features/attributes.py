"""Attributes of unknown name: what kind of thing each further column of `customers` tells, by what stands in it; what could be meant otherwise is said."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ibis
import ibis.expr.types as ir

from features.contracts import COLUMNS
from features.dataset import Attribute, Kind
from features.errors import ContractError, first_few
from features.parsing import Form, as_time, fitting_formats, is_a_time, number_forms, parsed, plain

KINDS: tuple[Kind, ...] = ("number", "date", "boolean", "category")
YES, NO = ("true", "yes", "y", "t", "1", "是", "有"), ("false", "no", "n", "f", "0", "否", "无")
# What stands where nothing is known, beside the empty cell.
MISSING = ("", "?", "-", "na", "n/a", "nan", "null", "none", "unknown", "未知")
ID_NAME = re.compile(r"(?i:^|[\W_])(?i:id|no|nr|key|phone|mobile|uuid|guid)$|[a-z]I[Dd]$|编号|号码|序号|手机|电话")
# Among so few customers nothing shows a pattern; of more, this share of different values tells that each has one of their own.
FEW, OF_THEIR_OWN = 50, 0.95
# Whole numbers of so few kinds may be codes. Texts of so many letters or words are written freely.
FEW_KINDS, MANY_LETTERS, MANY_WORDS = 12, 60, 4


@dataclass(frozen=True)
class Facts:
    """What the values of a column look like: how many are told, how many customers tell one, how many are different, numbers, whole, times and so on."""

    n: int
    n_customers: int
    n_different: int
    n_numbers: int
    n_whole: int
    n_codes: int
    n_times: int
    n_days: int
    n_yes_no: int
    least: float | None
    most: float | None
    letters: float | None
    words: float | None

    @property
    def is_of_their_own(self) -> bool:
        """Whether nearly every customer has a value of their own."""
        return self.n_customers > FEW and self.n_different > OF_THEIR_OWN * self.n_customers


def typed(people: ir.Table, said: Mapping[str, Any], sensitive: set[str], zone: str, form: Form) -> tuple[ir.Table, tuple[Attribute, ...]]:
    """Give each column beside the contract's the type of what it tells. `said` and `sensitive` are what dataset.toml declares.

    Raises: ContractError for a declaration of a column that is not there, or of a type that its values are not.
    """
    extra = [column for column in people.columns if column not in COLUMNS["customers"]]
    odd = [name for name in (*said, *sensitive) if name not in extra]
    if odd:
        raise ContractError(f"attributes and sensitive must name columns of customers, found {first_few(odd)}; there are {', '.join(extra) or 'none'}; correct dataset.toml")
    found, columns = [], {}
    for name in extra:
        given = said.get(name, {})
        if "type" in given:
            kind, note = _declared(name, given["type"]), ""
            columns[name] = _as_declared(people, name, kind, zone, form)
        else:
            kind, note, way = _kind(people, name, zone, form)
            columns[name] = _as(people[name], kind, zone, way)
        found.append(Attribute(name, given.get("label_en", name.replace("_", " ")), given.get("label_zh", name), given.get("sensitive", name in sensitive), kind, note))
    return people.mutate(**columns), tuple(found)


def _declared(name: str, kind: str) -> Kind:
    for known in KINDS:
        if kind == known:
            return known
    raise ContractError(f"attributes.{name}.type must be one of {', '.join(KINDS)}, found {kind!r}; correct dataset.toml")


def _text(value: ir.Value) -> ir.Value:
    """A value as trimmed text, null where nothing is known."""
    text = value.cast("string").strip()
    return ibis.ifelse(text.lower().isin(MISSING), ibis.null("string"), text)


def _facts(people: ir.Table, name: str, zone: str, form: Form) -> Facts:
    text = _text(people[name])
    number = _number(text, form)
    time = _time(people[name], zone, form)
    is_day = text.re_search("^(19|20)[0-9]{6}$") & is_a_time(as_time(text, zone, Form("%Y%m%d")))
    row = people.aggregate(
        n=text.count(), n_customers=people.customer_id.nunique(where=text.notnull()), n_different=text.nunique(), n_numbers=number.count(), n_whole=(number % 1 == 0).sum(),
        n_codes=text.re_search("^0[0-9]").sum(), n_times=time.count(), n_days=is_day.sum(), n_yes_no=text.lower().isin((*YES, *NO)).sum(), least=number.min(),
        most=number.max(), letters=text.length().mean(), words=(text.length() - text.replace(" ", "").length() + 1).mean()).to_pyarrow().to_pylist()[0]
    return Facts(**{key: int(value or 0) if key.startswith("n") else value for key, value in row.items()})


def _time(value: ir.Value, zone: str, form: Form) -> ir.Value:
    """A column as a time, null where it is none; of a file that types its columns only a time is one."""
    time = as_time(value if value.type().is_timestamp() or value.type().is_date() else _text(value), zone, form)
    return ibis.ifelse(is_a_time(time), time, ibis.null("timestamp"))


def _kind(people: ir.Table, name: str, zone: str, form: Form) -> tuple[Kind, str, Form]:
    """What a column tells, what is to be said of that, and how it is written. Of a text that is no attribute the note says what it lacks."""
    facts = _facts(people, name, zone, form)
    if not facts.n:
        return "text", "any value", form
    if facts.n_yes_no == facts.n:
        return "boolean", "", form
    if facts.n_days == facts.n:
        return "date", "numbers such as 20180726 are read as dates", Form("%Y%m%d")
    if not facts.n_codes and facts.n_numbers >= facts.n * (0.95 if facts.n_different > 20 else 1):
        is_whole = facts.n_whole == facts.n_numbers and facts.least is not None and facts.most is not None
        # (is_whole means that there are a least and a most, which the checker does not see.)
        if is_whole and facts.is_of_their_own and (facts.most - facts.least == facts.n_different - 1 or facts.least >= 10**7 or ID_NAME.search(name)):  # type: ignore[operator]
            return "text", "values that repeat (each customer has a number of their own)", form
        notes = [f"{facts.n - facts.n_numbers:,} values that are no number count as not known"] if facts.n > facts.n_numbers else []
        if is_whole and facts.n_different <= FEW_KINDS:
            notes.append(f'read as a number; if its {facts.n_different} values are codes, declare [attributes.{name}] type = "category"')
        return "number", "; ".join(notes), form
    if facts.n_times >= 0.98 * facts.n:
        return "date", f"{facts.n - facts.n_times:,} values that are no date count as not known" if facts.n > facts.n_times else "", form
    return _of_texts(people, name, facts, form)


def _of_texts(people: ir.Table, name: str, facts: Facts, form: Form) -> tuple[Kind, str, Form]:
    text = _text(people[name])
    sample = people.filter(text.notnull()).select(text=text).distinct().limit(2000).to_pyarrow().column("text").to_pylist()
    formats = [] if form.time_format else fitting_formats(sample)
    if formats:
        declare = " or ".join(f'time_format = "{one}"' for one in formats)
        if len(formats) > 1:
            return "text", f"a declared time_format (day and month of {sample[0]} could change places: in [tables.customers] {declare})", form
        return "date", f"read as dates of the form {formats[0]}", Form(formats[0])
    if not facts.n_codes and number_forms(sample):
        return "text", f"a declared decimal and thousands in [tables.customers] (numbers such as {sample[0]} can be read in two ways)", form
    if facts.n_different > max(FEW, 0.3 * facts.n_customers) and ((facts.words or 0) >= MANY_WORDS or (facts.letters or 0) > MANY_LETTERS):
        return "text", "values that repeat (it is written freely)", form
    if facts.is_of_their_own:
        return "text", "values that repeat (each customer has one of their own)", form
    return "category", "", form


def _number(text: ir.Value, form: Form) -> ir.Value:
    number = plain(text, form).try_cast("float64")
    return ibis.ifelse(number.isnan() | number.isinf(), ibis.null("float64"), number)


def _as(value: ir.Value, kind: Kind, zone: str, form: Form) -> ir.Value:
    """A column as what it tells, null where it does not."""
    if kind == "number":
        return _number(_text(value), form)
    if kind == "date":
        return _time(value, zone, form).cast("timestamp(6)")
    if kind == "boolean":
        word = _text(value).lower()
        return ibis.cases((word.isin(YES), True), (word.isin(NO), False), else_=ibis.null("boolean"))
    return value.cast("string")


def _as_declared(people: ir.Table, name: str, kind: Kind, zone: str, form: Form) -> ir.Value:
    """The same where the type is declared: then what is of another is refused."""
    if kind in ("number", "date"):
        return parsed("customers", people, name, "float64" if kind == "number" else "timestamp(6)", zone, form)
    found = _as(people[name], kind, zone, form)
    bad = people.filter(_text(people[name]).notnull() & found.isnull()).select(value=people[name].cast("string"))
    if n := int(bad.count().to_pyarrow().as_py()):
        raise ContractError(
            f"UNPARSABLE_VALUE: customers.{name} needs yes or no (true, false, 1, 0, 是, 否), found {n:,} that are neither "
            f"({first_few(bad.limit(4).to_pyarrow().column(0).to_pylist())}); correct them, or [attributes.{name}] type")
    return found
