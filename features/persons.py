"""Records of persons: which column holds what, and one way of writing it. Nothing here prints a value."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir

from features.errors import ContractError, UsageError, first_few
from features.reading import ENDINGS, ending_of, read_file

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

# How people call what a person record holds, in English and Chinese; compared without case, spaces and marks. The order is the order of all that is said.
ROLES: dict[str, tuple[str, ...]] = {
    "name": ("name", "fullname", "customername", "personname", "姓名", "名字", "客户姓名", "会员姓名", "收货人", "联系人"),
    "given_name": ("givenname", "firstname", "forename", "first", "given", "middlename", "名"),
    "surname": ("surname", "lastname", "familyname", "last", "姓", "姓氏"),
    "birth_date": ("birthdate", "dateofbirth", "dob", "birthday", "born", "生日", "出生日期", "出生年月日"),
    "id_number": (
        "idnumber", "idcard", "nationalid", "socsecid", "ssn", "socialsecuritynumber", "passport", "passportnumber", "taxid",
        "身份证", "身份证号", "身份证号码", "证件号", "证件号码", "护照号"),
    "email": ("email", "emailaddress", "mail", "邮箱", "电子邮箱", "邮件", "电子邮件"),
    "phone": ("phone", "phonenumber", "telephone", "mobile", "mobilephone", "cell", "cellphone", "tel", "手机", "手机号", "手机号码", "电话", "联系电话"),
    "address": (
        "address", "street", "streetaddress", "streetnumber", "streetname", "housenumber", "address1", "address2", "addressline1", "addressline2",
        "地址", "详细地址", "收货地址", "住址"),
    "place": ("place", "city", "town", "suburb", "district", "county", "state", "province", "region", "城市", "市", "区", "省", "省份", "区县"),
    "postcode": ("postcode", "postalcode", "zip", "zipcode", "邮编", "邮政编码"),
}
# What two people of one household do not share, and how often they agree in it by chance (twins, a father's name, a common mailbox): no measurement, a cautious order of magnitude.
PERSONAL = {"given_name": 0.01, "birth_date": 0.01, "id_number": 0.0001, "email": 0.05}
# An identifier that more records bear than this is a placeholder or a shop's own number: it tells nobody from another.
MOST_SHARED = 20
_SAMPLE = 2000
_NOTHING = ("", "-", "null", "none", "nan", "n/a", "na", "unknown", "无", "未知", "不详")
_OTHER_ADDRESSES = ("ipaddress", "macaddress")
_LONG_SURNAMES = "欧阳|上官|司马|诸葛|司徒|皇甫|尉迟|公孙|慕容|令狐|长孙|宇文|夏侯|东方|端木"
_WIDE = "".join(map(chr, range(0xFF01, 0xFF5F))) + "\u3000"
_NARROW = "".join(map(chr, range(0x21, 0x7F))) + " "


@dataclass(frozen=True)
class Reading:
    """One column: what it holds (empty if it is left out) and why that is thought."""

    column: str
    role: str
    why: str


# (Ibis declares an engine's function by an empty body.)
@ibis.udf.scalar.builtin(name="strip_accents")  # type: ignore[untyped-decorator]
def _strip_accents(text: str) -> str:  # type: ignore[empty-body]
    ...


def read_persons(engine: "Backend", path: Path, key: str, told: Mapping[str, str], date_order: str = "") -> tuple[ir.Table, list[str]]:
    """Person records of a CSV or Parquet file in one form, and in words how each column was read.

    Grain: as in the file. Raises: UsageError for no such file; ContractError for a file that cannot be read, or ids that are missing or not unique.
    """
    import duckdb

    if not path.exists() or not ending_of(path):
        raise UsageError(f"FILE must be a table ({', '.join(ENDINGS)}), found {'none' if ending_of(path) else 'another ending'} at {path}; correct the name")
    try:
        table = read_file(engine, path)
        table = table.rename({name.strip(): name for name in table.columns})
        require_ids(table, key, path.name)
        table = table.mutate(**{key: table[key].cast("string").strip()})
        read = readings(table, key, told)
        records, taken = without_placeholders(one_form(table, key, read, date_order))
    except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException):
        raise  # our own mistake, not the data's
    except duckdb.Error as error:
        raise ContractError(f"the file {path.name} must be readable as a table, found: {str(error).splitlines()[0]}; write that file again") from None
    lines = [f"{one.column} -> {one.role} ({one.why})" if one.role else f"{one.column}: left out, {one.why}" for one in read]
    lines += [f"{role}: {n:,} records bear one that more than {MOST_SHARED} share; it tells nobody from another and counts as unknown" for role, n in taken.items()]
    return records, lines


def readings(table: ir.Table, key: str, told: Mapping[str, str]) -> list[Reading]:
    """What each column but the key holds: as told, else by its name, else by its values.

    Raises: UsageError for a told column or role that there is not.
    """
    for column, role in told.items():
        if role not in (*ROLES, "no"):
            raise UsageError(f"--column needs COLUMN=ROLE with a role of {', '.join(ROLES)} or no, found {role!r} for {column}; correct it")
    # By their key, so that the same records in another order are read the same way.
    sample = table.order_by(key).limit(_SAMPLE)
    texts = sample.select([_text(sample[name]).name(name) for name in table.columns if name != key]).to_pyarrow().to_pydict()
    found = []
    for column, texts_or_none in texts.items():
        values = [text for text in texts_or_none if text]
        if not values:
            found.append(Reading(column, "", "it is empty"))
        elif column in told:
            found.append(Reading(column, "" if told[column] == "no" else told[column], "as told"))
        elif role := _role_by_name(column):
            found.append(Reading(column, role, "by its name"))
        elif role := _role_by_values(values):
            found.append(Reading(column, role, "by its values"))
        else:
            found.append(Reading(column, "", "neither its name nor its values tell what it is"))
    roles = {reading.role for reading in found}
    if {"given_name", "surname"} <= roles:
        return [Reading(one.column, "", "the name stands in two columns already") if one.role == "name" else one for one in found]
    return found


def _role_by_name(column: str) -> str:
    folded = re.sub(r"[\W_]+", "", column).lower()
    for role, names in ROLES.items():
        if folded in names:
            return role
    # home_phone and billing_postcode end with what they are.
    ends = [(len(name), role) for role, names in ROLES.items() for name in names if len(name) >= 5 and folded.endswith(name)]
    return max(ends)[1] if ends and not folded.endswith(_OTHER_ADDRESSES) else ""


def _role_by_values(values: Sequence[str]) -> str:
    def mostly(pattern: str) -> bool:
        return sum(bool(re.fullmatch(pattern, value)) for value in values) >= 0.9 * len(values)

    if mostly(r"[^@\s]+@[^@\s]+\.[^@\s]+"):
        return "email"
    if mostly(r"\d{17}[\dx]"):
        return "id_number"
    if mostly(r"(\+|00)?(86)?[ -]?1[3-9]\d[ -]?\d{4}[ -]?\d{4}") or mostly(r"(\+|00)\d[\d ()-]{7,16}"):
        return "phone"
    years = sorted(int(value[:4]) for value in values if re.match(r"(19|20)\d\d\D\d{1,2}\D\d{1,2}", value))
    if len(years) >= 0.9 * len(values) and years[len(years) * 9 // 10] - years[len(years) // 10] >= 20:
        return "birth_date"
    return ""


def _text(value: ir.Value) -> ir.StringValue:
    """Small letters without accents, narrow where they were wide, null where nothing is said."""
    text = _strip_accents(value.cast("string").translate(_WIDE, _NARROW).strip().lower())
    return ibis.ifelse(text.isin(_NOTHING), ibis.null("string"), text)


def _words(text: ir.StringValue) -> ir.StringValue:
    """Letters and figures only, words one space apart; Chinese without spaces."""
    return text.re_replace(r"[^\p{L}\p{M}\p{N}]+", " ").re_replace(r"(\p{Han}) +", r"\1").strip()


def one_form(table: ir.Table, key: str, read: Sequence[Reading], date_order: str = "") -> ir.Table:
    """Person records as `id` and one text column for each role, all written one way; columns of one role are read as one, a name in its two parts.

    Grain: as given. Empty: null. Raises: UsageError where day and month could change places.
    """
    columns = {role: [_text(table[one.column]) for one in read if one.role == role] for role in ROLES}
    joined = {role: ibis.literal(" ").join(texts) if len(texts) > 1 else texts[0] for role, texts in columns.items() if texts}
    # Kept, since every form asks for its text several times.
    texts = table.select(id=table[key].cast("string"), **joined).cache()
    forms = {"id_number": _letters, "postcode": _letters, "phone": _phone, "email": _email}
    written = {role: forms.get(role, _words)(texts[role]) for role in joined if role not in ("name", "birth_date")}
    if "name" in joined:
        written = _parts(texts.name) | written
    if "birth_date" in joined:
        written["birth_date"] = _figures_of_date(texts.birth_date, date_order or _date_order(texts.birth_date))
    return texts.select("id", **{role: ibis.ifelse(written[role] == "", ibis.null("string"), written[role]) for role in ROLES if role in written}).cache()


def _letters(text: ir.StringValue) -> ir.StringValue:
    return text.re_replace(r"[^\p{L}\p{N}]+", "")


def _email(text: ir.StringValue) -> ir.StringValue:
    return ibis.ifelse(text.re_search(r"^[^@\s]+@[^@\s]+$"), text, ibis.null("string"))


def _phone(text: ir.StringValue) -> ir.StringValue:
    """Country codes and leading noughts come and go: the last nine figures stay."""
    figures = text.re_replace(r"\D", "")
    return ibis.ifelse(figures.length() >= 7, figures.right(9), ibis.null("string"))


def _parts(name: ir.StringValue) -> dict[str, ir.StringValue]:
    """A full name in two: Smith, John; John Smith; 张伟; 欧阳娜娜. A single word is a given name."""
    words = _words(name)
    is_chinese = words.re_search(r"^\p{Han}{2,5}$")
    chinese = rf"^({_LONG_SURNAMES}|\p{{Han}})(\p{{Han}}+)$"
    surname = ibis.cases(
        (is_chinese, words.re_extract(chinese, 1)), (name.contains(","), _words(name.re_extract(r"^([^,]*),(.*)$", 1))), else_=words.re_extract(r"^(.*) ([^ ]+)$", 2))
    given = ibis.cases(
        (is_chinese, words.re_extract(chinese, 2)), (name.contains(","), _words(name.re_extract(r"^([^,]*),(.*)$", 2))), (~words.contains(" "), words),
        else_=words.re_extract(r"^(.*) ([^ ]+)$", 1))
    return {"given_name": given, "surname": surname}


_YEAR_FIRST, _YEAR_LAST = r"^(\d{4})\D+(\d{1,2})\D+(\d{1,2})", r"^(\d{1,2})\D+(\d{1,2})\D+(\d{4})"


def _date_order(text: ir.StringValue) -> str:
    """Whether the day (dmy) or the month (mdy) comes first where the year comes last; what is no day of a calendar is a slip of the pen, not a proof."""
    is_last = text.re_search(_YEAR_LAST)
    first, second = text.re_extract(_YEAR_LAST, 1).nullif("").cast("int64"), text.re_extract(_YEAR_LAST, 2).nullif("").cast("int64")
    counts = text.as_table().aggregate(n=is_last.sum(), dmy=((first > 12) & (second <= 12)).sum(), mdy=((second > 12) & (first <= 12)).sum()).to_pyarrow().to_pylist()[0]
    n, dmy, mdy = (int(counts[name] or 0) for name in ("n", "dmy", "mdy"))
    if n and not (dmy > 10 * mdy or mdy > 10 * dmy):
        raise UsageError(f"birth dates must say whether day or month comes first, found {n:,} that could be read both ways; add --date-order dmy or --date-order mdy")
    return "mdy" if mdy > dmy else "dmy"


def _figures_of_date(text: ir.StringValue, order: str) -> ir.StringValue:
    """A birth date as eight figures, year first. It stays a text: a slip that makes it no date of the calendar still is one figure off."""
    def figures(pattern: str, *groups: int) -> ir.StringValue:
        year, month, day = (text.re_extract(pattern, group) for group in groups)
        return year + month.lpad(2, "0") + day.lpad(2, "0")

    return ibis.cases(
        (text.re_search(_YEAR_FIRST), figures(_YEAR_FIRST, 1, 2, 3)), (text.re_search(_YEAR_LAST), figures(_YEAR_LAST, 3, *((2, 1) if order == "dmy" else (1, 2)))),
        else_=text.re_replace(r"\D", "").substr(0, 8))


def require_ids(table: ir.Table, key: str, name: str) -> None:
    """Raises: ContractError where the ids of the records are missing, empty or not unique."""
    if key not in table.columns:
        raise ContractError(f"MISSING_COLUMN: {name} needs the column {key} that names its records, found {first_few(table.columns, 8)}; correct --id")
    text = table[key].cast("string")
    n = int(table.filter(text.isnull() | (text.strip() == "")).count().to_pyarrow().as_py())
    if n:
        raise ContractError(f"MISSING_VALUE: {name} needs an id in {key} on every row, found {n:,} without; number the records")
    twice = table.group_by(text.name("key")).agg(n=table.count()).filter(lambda t: t.n > 1)
    again = twice.order_by("key").key.to_pyarrow().to_pylist()
    if again:
        raise ContractError(
            f"DUPLICATE_KEY: {name} needs a unique {key}, found {len(again):,} ids on several rows ({first_few(again)}); keep one row for each, or number the rows")


def without_placeholders(records: ir.Table) -> tuple[ir.Table, dict[str, int]]:
    """Identifiers that more than MOST_SHARED records bear become null; how many records that took one from, by role."""
    taken = {}
    for role in ("id_number", "email", "phone"):
        if role in records.columns:
            shared = records.filter(records[role].notnull()).group_by(role).agg(n=ibis._.count()).filter(lambda t: t.n > MOST_SHARED)
            n = int(shared.n.sum().to_pyarrow().as_py() or 0)
            if n:
                records = records.mutate(**{role: ibis.ifelse(records[role].isin(shared[role]), ibis.null("string"), records[role])})
                taken[role] = n
    return records, taken
