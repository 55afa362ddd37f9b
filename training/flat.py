"""A flat table that somebody already has: read as text, its columns typed, what cannot or should not be learned from named."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from features.errors import ContractError, UsageError, first_few
from training.members import Matrix
from training.saved_model import Column, encoded

if TYPE_CHECKING:
    import pandas as pd

NUMBER, DATE, CATEGORY = "number", "date", "category"
BLANKS = frozenset({"", "?", "na", "n/a", "nan", "null", "none", "-", "unknown", "未知"})
POSITIVE = frozenset({"1", "1.0", "yes", "y", "true", "t", "positive", "churned", "是", "有", "真", "流失"})
MIN_LEVEL = 10
MAX_LEVELS = 200
# A share of the known values that must be numbers or dates for the column to be one; the others are then unknown.
MOSTLY = 0.95
LEAK_AUC = 0.95
# How improbable it must be that a group of rows bears one label by chance.
LEAK_CHANCE = 1e-9


@dataclass(frozen=True)
class Flat:
    """A typed table. `frame` holds numbers as floats (dates as days since 1970) and categories as text; grain and order are the file's."""

    frame: "pd.DataFrame"
    types: dict[str, str]
    y: NDArray[np.float64]
    positive: str
    ids: NDArray[np.object_] | None
    times: NDArray[np.float64] | None
    dropped: dict[str, str] = field(default_factory=dict)
    suspected: dict[str, str] = field(default_factory=dict)

    def columns(self, rows: NDArray[np.int64]) -> tuple[Column, ...]:
        """The model's inputs, with the categories that these rows hold often enough."""
        made = []
        for name, kind in self.types.items():
            levels: tuple[str, ...] = ()
            if kind == CATEGORY:
                counts = self.frame[name].iloc[rows].value_counts()
                levels = tuple(sorted([str(level) for level, n in counts.items() if n >= MIN_LEVEL]))
            made.append(Column(name, "table", kind, name, name, is_category=kind == CATEGORY, levels=levels))
        return tuple(made)

    def matrix(self, columns: tuple[Column, ...]) -> Matrix:
        """Shape: (n, p)."""
        return encoded(self.frame, columns, "the table")


def read_text(path: Path) -> "pd.DataFrame":
    """Read CSV, TSV or Parquet (gzip and zstd too) as text, blanks as None. Raises: UsageError, ContractError."""
    import duckdb
    import pandas as pd

    from features.engine import connect
    from features.reading import ENDINGS, ending_of, read_file

    if not path.is_file():
        raise UsageError(f"FILE must name a table, found none at {path}; correct the name")
    if not ending_of(path):
        raise UsageError(f"FILE must end in one of {', '.join(ENDINGS)}, found {path.name}; convert it")
    try:
        table = read_file(connect((path.parent,)), path)
        frame = table.to_pyarrow().to_pandas()
    except duckdb.Error as error:
        raise ContractError(f"{path.name} must be readable as a table, found: {str(error).splitlines()[0]}; write that file again") from None
    texts = {name: [_text(value) for value in frame[name]] for name in frame.columns}
    return pd.DataFrame(texts, dtype=object, index=range(len(frame)))


def _text(value: Any) -> str | None:
    if value is None or value != value:
        return None
    text = str(value).strip()
    return None if text.lower() in BLANKS else text


def typed(frame: "pd.DataFrame", label: str, id_column: str = "", time_column: str = "", keep: tuple[str, ...] = ()) -> Flat:
    """Give every column a type, or leave it out and say why.

    Raises: UsageError for a named column that is not there; ContractError for a label of not exactly two values, or no column to learn from.
    """
    for option, name in (("--label", label), ("--id", id_column), ("--time", time_column), *(("--keep", name) for name in keep)):
        if name and name not in frame.columns:
            raise UsageError(f"{option} must name a column, found {name!r}; there are {first_few(list(frame.columns), 12)}")
    known = frame[label].notna().to_numpy()
    if not known.all():
        frame = frame[known].reset_index(drop=True)
    y, positive = _label(frame[label].tolist(), label)
    types: dict[str, str] = {}
    dropped: dict[str, str] = {} if known.all() else {label: f"{int((~known).sum()):,} rows without a label are left out"}
    values: dict[str, Any] = {}
    for name in frame.columns:
        if name in (label, id_column, time_column):
            continue
        kind, column, why = _typed(name, frame[name])
        if why:
            dropped[name] = why
        else:
            types[name], values[name] = kind, column
    suspected = {name: why for name, kind in types.items() if (why := _leak(name, kind, values[name], y, label))}
    for name in suspected:
        if name not in keep:
            dropped[name] = f"suspected leak: {suspected[name]}"
            del types[name]
    if not types:
        raise ContractError(f"a table needs at least one column to learn from beside {label}, found none: {', '.join(f'{name} ({why})' for name, why in dropped.items())}")
    import pandas as pd

    times = None
    if time_column:
        kind, column, _ = _typed(time_column, frame[time_column])
        if kind not in (NUMBER, DATE) or np.isnan(np.asarray(column, dtype=float)).any():
            raise ContractError(f"--time must name a column of dates or numbers on every row, found {time_column}; correct it, or leave --time out")
        times = np.asarray(column, dtype=float)
    return Flat(
        pd.DataFrame({name: values[name] for name in types}), types, y, positive, frame[id_column].to_numpy(object) if id_column else None, times, dropped, suspected)


def _label(texts: list[str], label: str) -> tuple[NDArray[np.float64], str]:
    found = sorted(set(texts))
    if len(found) != 2:
        raise ContractError(f"--label needs exactly two values in {label}, found {len(found)} ({first_few(found, 5)}); name another column, or make it two")
    likely = [text for text in found if text.lower() in POSITIVE]
    # Where no word tells, the rarer of the two is what one looks for.
    positive = likely[0] if len(likely) == 1 else min(found, key=lambda text: (texts.count(text), text))
    return np.array([float(text == positive) for text in texts]), positive


def _typed(name: str, texts: "pd.Series[Any]") -> tuple[str, Any, str]:
    """Type, values and, if it is left out, why."""
    import pandas as pd

    known = texts.dropna()
    if known.nunique() <= 1:
        return "", None, "empty" if known.empty else "the same on every row"
    numbers = pd.to_numeric(texts, errors="coerce").to_numpy(float, copy=True)
    numbers[~np.isfinite(numbers)] = np.nan
    is_unique = known.nunique() > 0.95 * len(texts) and len(texts) >= 50
    if np.isfinite(numbers).sum() >= MOSTLY * len(known):
        if is_unique and re.search(r"(^|_|\b)(id|no|nr|number|key|index|编号)$|Id$|ID$", name) and np.all(numbers[np.isfinite(numbers)] % 1 == 0):
            return "", None, "a number of each row, an id"
        return NUMBER, numbers, ""
    days = _days(texts)
    if np.isfinite(days).sum() >= MOSTLY * len(known):
        return DATE, days, ""
    if is_unique:
        return "", None, "a text of each row, an id or free text"
    if known.nunique() > MAX_LEVELS or known.str.len().mean() > 60:
        return "", None, f"free text or too many kinds ({known.nunique():,})"
    return CATEGORY, texts, ""


def _days(texts: "pd.Series[Any]") -> NDArray[np.float64]:
    """ISO dates as days since 1970; what is none is unknown."""
    import pandas as pd

    dates = pd.to_datetime(texts, errors="coerce", format="ISO8601", utc=True)
    epoch = pd.Timestamp("1970-01-01", tz="UTC")
    return np.asarray((dates - epoch) / pd.Timedelta(days=1), dtype=np.float64)


def _leak(name: str, kind: str, values: Any, y: NDArray[np.float64], label: str) -> str:
    """Why a column looks as if it knew the label; empty if it does not. Looks at all rows: it can only take columns away."""
    import pandas as pd
    from sklearn.metrics import roc_auc_score

    plain = re.sub(r"\W+|_", "", label.lower())
    if len(plain) >= 4 and plain in re.sub(r"\W+|_", "", name.lower()):
        return f"its name holds the label's, {label}"
    if kind == CATEGORY:
        codes = pd.Series(values).fillna("").astype(str)
        score = codes.map(pd.Series(y).groupby(codes.to_numpy()).mean()).to_numpy(float)
        groups = [(f"{name} = {level}", (codes == level).to_numpy()) for level in codes.unique()] if codes.nunique() <= 30 else []
    else:
        score = np.where(np.isnan(values), np.nanmedian(values), values)
        groups = [(f"{name} > 0", np.nan_to_num(values) > 0), (f"{name} known", ~np.isnan(values)), (f"{name} unknown", np.isnan(values))]
    area = float(roc_auc_score(y, score))
    if max(area, 1 - area) > LEAK_AUC:
        return f"alone it tells the label with an AUC of {max(area, 1 - area):.3f}"
    for words, inside in groups:
        n, rate = int(inside.sum()), float(y[inside].mean()) if inside.any() else 0.5
        base = float(y.mean()) if rate == 1 else 1 - float(y.mean())
        if rate in (0, 1) and n < len(y) and base**n < LEAK_CHANCE:
            return f"all {n:,} rows with {words} bear the same label"
    return ""


def for_model(frame: "pd.DataFrame", columns: tuple[Column, ...]) -> tuple["pd.DataFrame", list[str]]:
    """A new table's columns as a model takes them, and the columns that it does not. Raises: ContractError naming those that are missing."""
    import pandas as pd

    missing = [column.name for column in columns if column.name not in frame.columns]
    if missing:
        raise ContractError(f"the table to score needs the columns that the model learned from, found none called {first_few(missing)}; add them (they may be blank)")
    made = {}
    for column in columns:
        texts = frame[column.name]
        made[column.name] = texts if column.is_category else _days(texts) if column.unit == DATE else pd.to_numeric(texts, errors="coerce").to_numpy(float)
    return pd.DataFrame(made), [name for name in frame.columns if name not in made]
