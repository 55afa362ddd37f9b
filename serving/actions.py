"""Who could be met where with what: a first table of actions, chosen by what this base can tell of its customers."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serving.words import number, percent

if TYPE_CHECKING:
    import pandas as pd

Mask = NDArray[np.bool_]
SMALLEST_GROUP = 10


@dataclass(frozen=True)
class Action:
    """One row of the library: which features it needs, who it is for, and whether it touches prices.

    `who` gets one column of numbers for each of `needs` (unknown is NaN) and gives the customers and the numbers that its words name.
    """

    key: str
    needs: tuple[str, ...]
    who: Callable[..., tuple[Mask, dict[str, str]]]
    is_price: bool = False


def _top(values: NDArray[np.float64], share: float) -> float:
    known = values[~np.isnan(values)]
    return float(np.quantile(known, 1 - share)) if len(known) else np.inf


def _valued_and_silent(spend: NDArray[np.float64], silent: NDArray[np.float64]) -> tuple[Mask, dict[str, str]]:
    least, days = _top(spend, 0.2), _top(silent, 0.25)
    return (spend >= least) & (silent >= days), {"spend": f"{least:,.0f}", "days": number(days, 0)}


def _overdue(ratio: NDArray[np.float64], count: NDArray[np.float64]) -> tuple[Mask, dict[str, str]]:
    return (ratio >= 2) & (count >= 3), {"times": "2", "count": "3"}


def _price_sensitive(share: NDArray[np.float64]) -> tuple[Mask, dict[str, str]]:
    least = max(_top(share, 0.2), 0.05)
    return share >= least, {"share": percent(least, 0)}


def _loyal(weeks: NDArray[np.float64]) -> tuple[Mask, dict[str, str]]:
    least = max(_top(weeks, 0.1), 4)
    return weeks >= least, {"weeks": number(least, 0)}


def _new(ever: NDArray[np.float64], silent: NDArray[np.float64]) -> tuple[Mask, dict[str, str]]:
    return (ever <= 2) & (silent <= 28), {"count": "2", "days": "28"}


def _returning_goods(returns: NDArray[np.float64]) -> tuple[Mask, dict[str, str]]:
    return returns >= 3, {"count": "3"}


def _narrow(categories: NDArray[np.float64], count: NDArray[np.float64]) -> tuple[Mask, dict[str, str]]:
    few, often = float(np.nanquantile(categories, 0.25)) if not np.isnan(categories).all() else -1.0, max(_top(count, 0.5), 3)
    return (categories <= few) & (count >= often), {"categories": number(few, 0), "count": number(often, 0)}


LIBRARY = (
    Action("valued_and_silent", ("spend_sum_", "days_since_last_purchase"), _valued_and_silent),
    Action("overdue", ("overdue_ratio_", "purchases_count_"), _overdue),
    Action("price_sensitive", ("discount_share_",), _price_sensitive, is_price=True),
    Action("returning_goods", ("returns_count_",), _returning_goods),
    Action("new", ("purchases_count_ever", "days_since_last_purchase"), _new, is_price=True),
    Action("narrow", ("categories_nunique_", "purchases_count_"), _narrow),
    Action("loyal", ("active_weeks_count_",), _loyal),
)


def actions(frame: "pd.DataFrame", p: NDArray[np.float64], words: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that these customers' features allow, with how many there are and what is expected of them; under ten are left out.

    Shape: frame and p (n,), the customers that a task asks about and their probabilities.
    """
    rows = []
    for action in LIBRARY:
        columns = [_column(frame, need) for need in action.needs]
        if any(column is None for column in columns):
            continue
        chosen, numbers = action.who(*(frame[str(column)].to_numpy(np.float64, na_value=np.nan) for column in columns))
        n = int(chosen.sum())
        if min(n, len(frame) - n) < SMALLEST_GROUP:
            continue
        said = words["actions"][action.key]
        days = next((match[1] for column in columns if (match := re.search(r"_(\d+)d", str(column)))), "")
        rows.append({
            "who": said["who"].format(**{"lookback": days, **numbers}), "where": said["where"], "what": said["what"], "measure": said["measure"],
            "is_price": action.is_price, "customers": n, "expected": round(float(p[chosen].sum()), 1)})
    return rows


def _column(frame: "pd.DataFrame", need: str) -> str | None:
    """The column of that name, or of that beginning with the longest lookback."""
    if not need.endswith("_"):
        return need if need in frame.columns else None
    found = {int(match[1]): str(name) for name in frame.columns if (match := re.fullmatch(re.escape(need) + r"(\d+)d(_.*)?", str(name)))}
    return found[max(found)] if found else None
