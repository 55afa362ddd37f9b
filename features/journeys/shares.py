"""Shares of sessions with intervals that know that one person makes several of them; and what is hidden because too few people are in it."""

from typing import Any

import numpy as np
import pandas as pd

from features.notes import note

Array = np.ndarray[Any, Any]

# Fewer people than this are not shown.
FEWEST = 10
Z = 1.959964


def told_number(n: int) -> str:
    """A number of cases for a sentence; a small one is not told."""
    return note("few", "a few") if 0 < n < FEWEST else f"{n:,}"


def wilson(share: Any, n: Any) -> tuple[Array, Array]:
    """The 95 % interval of a share of n independent cases; 0 to 1 where n is 0."""
    share, n = np.asarray(share, float), np.asarray(n, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
        half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return np.where(n > 0, np.clip(middle - half, 0, 1), 0.0), np.where(n > 0, np.clip(middle + half, 0, 1), 1.0)


def clustered(part: Any, whole: Any, part_squared: Any, cross: Any, whole_squared: Any) -> tuple[Array, Array]:
    """A share (part of whole) and the number of independent cases that it is worth, from sums over people of part, whole and their products.

    With one case a person that number is the number of people, and wilson() is the plain interval.
    """
    part, whole, part_squared, cross, whole_squared = (np.asarray(x, float) for x in (part, whole, part_squared, cross, whole_squared))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = part / whole
        variance = (part_squared - 2 * share * cross + share**2 * whole_squared) / whole**2
        worth = share * (1 - share) / variance
        # Where all or none do it, nothing is known of how alike a person's cases are: they count as one.
        worth = np.where(variance > 0, worth, whole**2 / whole_squared)
    return share, np.where(whole > 0, np.clip(worth, 0, whole), 0.0)


def with_shares(frame: pd.DataFrame, name: str, part: Any, whole: Any, part_squared: Any, cross: Any, whole_squared: Any) -> pd.DataFrame:
    """Add a share and its 95 % interval: NAME, NAME_low, NAME_high; unknown where there is no case."""
    share, worth = clustered(part, whole, part_squared, cross, whole_squared)
    low, high = wilson(np.nan_to_num(share), worth)
    known = np.asarray(whole, float) > 0
    return frame.assign(**{name: np.where(known, share, np.nan), f"{name}_low": np.where(known, low, np.nan), f"{name}_high": np.where(known, high, np.nan)})


def hidden(people: pd.Series, within: pd.Series | None = None) -> Array:
    """Which cells have too few people; and where only one of a group has, the next smallest too, so that no total gives it away. Cells with nobody stay."""
    n = people.to_numpy()
    small = (n > 0) & (n < FEWEST)
    if within is None:
        return small
    for group in pd.unique(within):
        places = np.flatnonzero(within == group)
        few = places[small[places]]
        others = places[~small[places] & (n[places] > 0)]
        if len(few) == 1 and len(others):
            small[others[np.argmin(n[others])]] = True
    return small


def quantiles(values: Array, counts: Array, at: tuple[float, ...]) -> list[float]:
    """The smallest value that so large a share of the cases does not exceed."""
    order = np.argsort(values)
    below = np.cumsum(counts[order])
    places = np.searchsorted(below, np.clip(np.array(at), 1e-12, 1) * below[-1] * (1 - 1e-12))
    return [float(value) for value in np.asarray(values)[order][np.minimum(places, len(order) - 1)]]
