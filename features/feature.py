"""What a feature is: declared once, and everything else (data dictionary, compilation, schema, sentences) follows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Family = Literal["profile", "behaviour", "consumption", "interest", "lifecycle", "touchpoints"]
# The window of an aggregate: days, or everything before as_of. In a declaration the words stand for the dataset's lookbacks.
EACH, SHORTEST, LONGEST, EVER = "each", "shortest", "longest", "ever"


Numbers = NDArray[Any]
# A whole number that is not known.
UNKNOWN = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Aggregate:
    """One number from the rows of a stream inside a window: a statistic of a column, for rows whose `where` columns have these values.

    Aggregates of one stream are computed together, whatever their windows and slices; windows.py says what each statistic is. `by` splits the
    rows by a column of texts first, for statistics such as distinct, largest and entropy.
    """

    stream: str
    statistic: str = "count"
    column: str = ""
    where: tuple[tuple[str, str], ...] = ()
    window: str | int = EACH
    by: str = ""


def over(stream: str, *where: tuple[str, str]) -> Callable[..., Aggregate]:
    """A short way to name aggregates of one stream and slice: over("purchases")("sum", "amount_minor", LONGEST)."""
    def aggregate(statistic: str = "count", column: str = "", window: str | int = EACH, by: str = "") -> Aggregate:
        return Aggregate(stream, statistic, column, where, window, by)
    return aggregate


# The moment itself, in seconds since 1970, for formulas that compare it with a time.
NOW = Aggregate("", "as_of", window=EVER)


@dataclass(frozen=True)
class Formula:
    """A number computed from aggregates: `compute` gets one array over customers and moments for each of `inputs`, in order."""

    compute: Callable[..., Any]
    inputs: tuple[Aggregate, ...]


@dataclass(frozen=True)
class AsOf:
    """An attribute of `customers` as it was known at as_of."""

    attribute: str


@dataclass(frozen=True)
class Feature:
    """One column of the feature table.

    In `name` and labels, {d} is the lookback in days and {currency} the dataset's currency in lower case.
    `no_data` is the value for a customer without any row in the window: 0 for what can be counted, None for what is then unknown.
    `is_treatment` marks what marketers did; `is_undated` an attribute without a date, which may have been learned after as_of.
    """

    name: str
    family: Family
    expression: Aggregate | Formula | AsOf
    unit: str
    label_en: str
    label_zh: str
    no_data: int | str | None = None
    is_actionable: bool = False
    is_sensitive: bool = False
    is_treatment: bool = False
    is_undated: bool = False
    is_category: bool = False
    # What the numbers of a category stand for: the texts of a column of events, or names by place.
    texts: str | tuple[tuple[str, str], ...] = ""

    def aggregates(self) -> tuple[Aggregate, ...]:
        """What must be aggregated for it."""
        if isinstance(self.expression, Aggregate):
            return (self.expression,)
        return self.expression.inputs if isinstance(self.expression, Formula) else ()


def days(seconds: Numbers) -> Numbers:
    """Seconds -> days."""
    return seconds / 86400.0


def known(numbers: Numbers) -> Numbers:
    """Whole numbers as what a feature tells: NaN where not known."""
    return np.where(numbers == UNKNOWN, np.nan, numbers.astype(np.float64))


def ratio(numerator: Numbers, denominator: Numbers) -> Numbers:
    """A quotient that is unknown, not infinite, where there is nothing to divide by."""
    out = np.full(np.shape(denominator), np.nan)
    np.divide(numerator, denominator, out=out, where=denominator != 0)
    return out


def unevenness(total: Numbers, squares: Numbers, n: Numbers) -> Numbers:
    """Standard deviation by mean (coefficient of variation), from sums."""
    mean = ratio(total, n)
    return ratio(np.sqrt(np.maximum(ratio(squares, n) - mean ** 2, 0)), mean)


def surely(hits: Numbers, n: Numbers) -> Numbers:
    """What a share is at least, with 95 % confidence: few cases prove little. Source: Wilson (1927), lower bound of the score interval."""
    z2, share = 1.959964 ** 2, ratio(hits, n)
    return ratio(share + z2 / (2 * np.maximum(n, 1)) - np.sqrt(z2 * (share * (1 - share) + z2 / (4 * np.maximum(n, 1))) / np.maximum(n, 1)), 1 + z2 / np.maximum(n, 1))
