"""The population stability index: how far one distribution is from another, over the same classes (Siddiqi 2006)."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
# What is usually called a shift, and a large one.
SHIFTED, LARGE = 0.1, 0.25


def stability_index(before: Array, after: Array, n: int) -> float:
    """Sum over the classes of (after - before) * ln(after / before), of shares; a class that is empty counts as half a row of the `n` after. Shape: (classes,), (classes,)."""
    least = 0.5 / max(n, 1)
    one, other = np.maximum(before, least), np.maximum(after, least)
    return float(((other - one) * np.log(other / one)).sum())
