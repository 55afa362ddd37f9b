"""A flat table of one's own: read, typed, its label found. What each column is taken for is said, and written down for the next file."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from features.errors import ContractError, UsageError, first_few
from training.saved_model import Column

if TYPE_CHECKING:
    import pandas as pd

MISSING = ("", "?", "na", "n/a", "nan", "null", "-", "#n/a", "<na>")
POSITIVE_WORDS = ("yes", "y", "true", "t", "是", "有")
NEGATIVE_WORDS = ("no", "n", "false", "f", "否", "无")
ID_NAME = re.compile(r"(?i:^|[\W_])(?i:id|no|nr|key|index|uuid|guid)$|[a-z]I[Dd]$|编号|号码|序号")
SMALLEST_LEVEL = 10
MOST_LEVELS = 400
# How dates are written. Where day and month could change places, both forms stand in a pair and only one may fit.
DATES = (("ISO8601",), ("%Y/%m/%d",), ("%Y/%m/%d %H:%M",), ("%Y/%m/%d %H:%M:%S",), ("%Y年%m月%d日",), ("%d.%m.%Y",), ("%d.%m.%Y %H:%M",), ("%d %b %Y",), *(
    tuple(f"{order}{time}" for order in (f"%d{mark}%m{mark}%Y", f"%m{mark}%d{mark}%Y")) for mark in "/-" for time in ("", " %H:%M", " %H:%M:%S")))


@dataclass(frozen=True)
class Field:
    """How a column of a file is read. `form` is the decimal mark of a number or the format of a date."""

    name: str
    kind: Literal["number", "category", "date"]
    form: str = ""


@dataclass(frozen=True)
class Label:
    """The column that is learned, and how its two values are written (trimmed, in small letters)."""

    column: str
    positive: str
    negative: str


def read_flat(path: Path) -> "pd.DataFrame":
    """Read a CSV, TSV or Parquet file (also gzip or zstd), delimiter guessed; numbers of Parquet stay numbers, all else is text, None where missing.

    Raises: UsageError for no such file; ContractError for a file that is no table.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise UsageError(f"FILE must be a CSV, TSV or Parquet file, found none at {path}; correct the path")
    try:
        raw = path.read_bytes()
        packed = "zstd" if raw[:4] == b"\x28\xb5\x2f\xfd" else "gzip" if raw[:2] == b"\x1f\x8b" else None
        if packed:
            raw = pa.CompressedInputStream(pa.BufferReader(raw), packed).read()
        frame = pq.read_table(pa.BufferReader(raw)).to_pandas() if raw[:4] == b"PAR1" else _from_text(raw, path.name)
    except (pa.ArrowException, OSError) as error:
        raise ContractError(f"{path.name} must be readable as a table, found: {str(error).splitlines()[0]}; write it again") from None
    frame.columns = [str(name).strip() or f"column {i + 1}" for i, name in enumerate(frame.columns)]
    twice = sorted({name for name in frame.columns if list(frame.columns).count(name) > 1})
    if twice:
        raise ContractError(f"{path.name} needs a name of its own for each column, found {first_few(twice)} more than once; rename them")
    if frame.empty:
        raise ContractError(f"{path.name} needs a header and at least one row, found no row; write it again")
    return pd.DataFrame({name: _plain(frame[name]) for name in frame.columns})


def _from_text(raw: bytes, name: str) -> "pd.DataFrame":
    import pyarrow as pa
    import pyarrow.csv as pacsv

    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[:error.start].count(b"\n") + 1
        raise ContractError(f"{name} must be written in UTF-8, found another encoding in line {line}; save it as UTF-8 (a spreadsheet offers CSV UTF-8)") from None
    head = text[:100_000].splitlines()[:50]
    if not head or not head[0].strip():
        raise ContractError(f"{name} needs a header in its first line, found none; write the columns' names there")
    widths = {mark: [len(row) for row in csv.reader(head[:-1] or head, delimiter=mark)] for mark in ",;\t|"}
    # The delimiter that cuts most lines as it cuts the header; among equals, the one that cuts more.
    mark = max(widths, key=lambda mark: (widths[mark][0] > 1, sum(n == widths[mark][0] for n in widths[mark]), widths[mark][0]))
    types = {f"f{i}": pa.string() for i in range(widths[mark][0])}
    try:
        frame: pd.DataFrame = pacsv.read_csv(
            pa.BufferReader(text.encode()), pacsv.ReadOptions(use_threads=False, autogenerate_column_names=True), pacsv.ParseOptions(delimiter=mark, newlines_in_values=True),
            pacsv.ConvertOptions(column_types=types, strings_can_be_null=False)).to_pandas()
    except pa.ArrowInvalid as error:
        found = str(error).removeprefix("CSV parse error: ").splitlines()[0]
        raise ContractError(f"{name} needs as many fields in each line as in its header, found: {found[:120]}; correct that line") from None
    frame.columns = frame.iloc[0].tolist()
    return frame.iloc[1:].reset_index(drop=True)


def _plain(values: "pd.Series") -> "pd.Series":
    """A column as float64 or as trimmed text with None where missing."""
    import pandas as pd
    from pandas.api import types

    if types.is_numeric_dtype(values) and not types.is_bool_dtype(values):
        return values.astype("float64")
    if types.is_datetime64_any_dtype(values):
        values = values.map(lambda at: None if pd.isna(at) else at.isoformat())
    text = values.map(str, na_action="ignore").astype("str").str.strip()
    return text.mask(text.str.casefold().isin(MISSING), None)


def is_number(values: "pd.Series") -> bool:
    """Whether a column came as numbers; else it is text."""
    return values.dtype.kind in "fiu"


def label_of(values: "pd.Series", column: str) -> Label:
    """Which two values a label has, and which of them counts as positive: the larger number; yes, true, 是; what is not no; else the rarer.

    Raises: ContractError for one value or for more than two.
    """
    counts = written(values).value_counts()
    found = [str(value) for value in counts.index]
    if len(found) != 2:
        code = ("NO_LABEL", "ONE_CLASS")[len(found)] if len(found) < 2 else "LABEL_NOT_BINARY"
        raise ContractError(
            f"{code}: the label {column} needs just two values, found {len(found)} ({first_few(found) or 'none'}); choose another --label, or make one with two values")
    by_word = [value for value in found if value in POSITIVE_WORDS] or [value for value in found if {*found} - {value} <= {*NEGATIVE_WORDS}]
    is_numeric = _numbers(written(values), ".").notna().sum() == counts.sum()
    positive = max(found, key=float) if is_numeric else by_word[0] if len(by_word) == 1 else found[-1]
    return Label(column, positive, next(value for value in found if value != positive))


def written(values: "pd.Series") -> "pd.Series":
    """Values as a label is compared: small letters, whole numbers without their fraction."""
    return values.map({value: re.sub(r"^(-?\d+)\.0+$", r"\1", str(value).casefold()) for value in values.dropna().unique()})


def typed(frame: "pd.DataFrame", names: Sequence[str]) -> tuple[tuple[Field, ...], dict[str, str]]:
    """What each column is taken for, and the columns left out with the reason. Looks at no label."""
    fields, dropped = [], {}
    for name in names:
        found = _field(name, frame[name])
        if isinstance(found, Field):
            fields.append(found)
        else:
            dropped[name] = found
    return tuple(fields), dropped


def _field(name: str, values: "pd.Series") -> Field | str:
    known = values.dropna()
    n, n_distinct = len(known), known.nunique()
    if n == 0:
        return "no value at all"
    if n_distinct == 1 and n == len(values):
        return "one value in every row"
    form = _number_form(known)
    if form:
        numbers = _numbers(known, form)
        if numbers.isna().all():
            return "no value at all"
        is_whole = bool((numbers % 1 == 0).all())
        steps_by_one = is_whole and n_distinct == n and numbers.max() - numbers.min() == n - 1
        if is_whole and n > 50 and n_distinct > 0.99 * n and (steps_by_one or ID_NAME.search(name)):
            return "an id: every row has its own"
        return Field(name, "number", form)
    date = date_form(known)
    if date:
        return Field(name, "date", date) if "|" not in date else f"dates whose day and month cannot be told apart, such as {known.iloc[0]}; write them as 2026-01-31"
    if n_distinct > max(50, 0.3 * n) and _is_prose(known):
        return "free text"
    if n > 50 and n_distinct > 0.95 * n:
        return "an id: nearly every row has its own"
    if known.value_counts().iloc[0] < SMALLEST_LEVEL:
        return f"{n_distinct:,} categories, none with {SMALLEST_LEVEL} rows"
    return Field(name, "category")


def _is_prose(known: "pd.Series") -> bool:
    """Whether values are sentences rather than names; scripts without spaces are counted by their length."""
    words = known.map(lambda text: len(text.split()) if " " in text else 1 + len(text) // 12)
    return bool(words.mean() >= 4 or known.str.len().mean() > 60)


def _number_form(known: "pd.Series") -> str:
    """The decimal mark of a column of numbers, empty where it is none. A leading zero tells a code, such as a postcode."""
    if is_number(known):
        return "."
    sample = known.drop_duplicates()
    if sample.str.match(r"^0\d").mean() > 0.02:
        return ""
    # A few words among numbers, such as "unknown", do not make them categories.
    needed = 0.95 if len(sample) > 20 else 1.0
    return next((mark for mark in ".," if _numbers(sample, mark).notna().mean() >= needed), "")


def _numbers(values: "pd.Series", mark: str) -> "pd.Series":
    """Values -> numbers, NaN for what is none, such as an infinity; signs of money and per cent fall away, as do thousands between groups of three."""
    import pandas as pd

    if is_number(values):
        return values.where(np.isfinite(values))
    numbers = pd.to_numeric(values, errors="coerce").astype("float64")
    if mark == "." and numbers.notna().sum() == values.notna().sum():
        return numbers.where(np.isfinite(numbers))
    distinct = pd.Series(values.dropna().unique(), dtype="str")
    bare = distinct.str.replace(r"[$€£¥￥%\s]", "", regex=True)
    comma, point = (",", r"\.") if mark == "." else (r"\.", ",")
    grouped = bare.str.match(rf"^[+-]?\d{{1,3}}({comma}\d{{3}})+({point}\d+)?$")
    bare = bare.where(~grouped, bare.str.replace(comma, "", regex=True))
    if mark == ",":
        bare = bare.where(~bare.str.contains(".", regex=False), "").str.replace(",", ".", regex=False)
    numbers = pd.to_numeric(bare, errors="coerce").astype("float64")
    numbers = numbers.where(np.isfinite(numbers))
    return values.map(dict(zip(distinct, numbers, strict=True))).astype("float64")


def date_form(known: "pd.Series") -> str:
    """The format of a column of dates, empty where it is none; two formats with | between where day and month could change places."""
    if is_number(known):
        return ""
    for forms in DATES:
        few = known.drop_duplicates().iloc[:50]
        fitting = [form for form in forms if moments(few, form).notna().mean() > 0.9 and moments(known, form).notna().mean() >= 0.98]
        if fitting:
            shares = [moments(known, form).notna().mean() for form in fitting]
            return "|".join(form for form, share in zip(fitting, shares, strict=True) if share == max(shares))
    return ""


def moments(values: "pd.Series", form: str) -> "pd.Series":
    """Text -> UTC moments, NaT for what is none."""
    import pandas as pd

    return pd.to_datetime(values, format=form, errors="coerce", utc=True)


def inputs_of(frame: "pd.DataFrame", fields: Sequence[Field]) -> "pd.DataFrame":
    """The model's inputs, one column each: numbers, categories as text, and of a date its day, month and weekday."""
    import pandas as pd

    inputs: dict[str, pd.Series] = {}
    for field in fields:
        values = frame[field.name]
        if field.kind == "number":
            inputs[field.name] = _numbers(values, field.form)
        elif field.kind == "category":
            inputs[field.name] = written_level(values)
        else:
            at = moments(values, field.form)
            inputs[field.name] = (at - pd.Timestamp("2000-01-01", tz="UTC")) / pd.Timedelta(days=1)
            inputs[f"{field.name} (month)"] = at.dt.month.astype("float64")
            inputs[f"{field.name} (weekday)"] = at.dt.day_of_week.astype("float64")
    return pd.DataFrame(inputs)


def unread(frame: "pd.DataFrame", inputs: "pd.DataFrame", fields: Sequence[Field], file: str) -> list[str]:
    """What to say of values that are not of their column's kind and so count as missing."""
    counts = {field: int((inputs[field.name].isna() & frame[field.name].notna()).sum()) for field in fields}
    return [f"{field.name}: {n:,} values of {file} are no {field.kind} and count as missing" for field, n in counts.items() if n]


def written_level(values: "pd.Series") -> "pd.Series":
    """A category as text, so that a column of Parquet numbers and one of a CSV file name the same level."""
    return values if not is_number(values) else values.map(lambda value: None if value != value else f"{value:.15g}")


def columns_of_inputs(inputs: "pd.DataFrame", fields: Sequence[Field], seen: NDArray[np.bool_]) -> tuple[Column, ...]:
    """The model's columns with the levels of the rows seen; rare levels count as unknown. Raises: ContractError where none is left."""
    categories = {field.name for field in fields if field.kind == "category"}
    dates = {field.name for field in fields if field.kind == "date"}
    counts = {name: inputs.loc[seen, name].value_counts() for name in inputs.columns if name in categories}
    levels = {name: sorted(((n, str(level)) for level, n in found.items() if n >= SMALLEST_LEVEL), reverse=True) for name, found in counts.items()}
    # Every level is a column of the logistic regression, so their number is bounded: the widest columns give way first.
    most = next(most for most in (1000, 300, 100, 50, 25, 12) if most == 12 or sum(min(len(found), most) for found in levels.values()) <= MOST_LEVELS)
    return tuple(
        Column(name, "table", "category" if name in categories else "days" if name in dates else "number", name, name, is_category=name in categories,
               levels=tuple(sorted(level for _, level in levels.get(name, [])[:most])))
        for name in inputs.columns)
