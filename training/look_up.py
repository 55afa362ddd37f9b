"""The innermost loop of explanations by tables, compiled: numpy would make a pass through memory for each step of it, and let go of Python's lock for each pass."""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np


def _compiled(loop: Callable[..., None]) -> Any:
    """Kept beside the code, or among the user's files, so that only the first process of a machine compiles (under a second); where neither can be written, every one does.

    What numba keeps is pickled; it lies where only whoever may change the code itself can write, and no image or bento takes it along (`__pycache__`).
    """
    try:
        return numba.njit(nogil=True, cache=True)(loop)
    except RuntimeError:
        return numba.njit(nogil=True)(loop)


@_compiled
def look_up(begins: Any, columns: Any, steps: Any, step_begins: Any, tables: Any, table_begins: Any, codes: Any, total: Any) -> None:
    """Add what the parts say of some rows to `total`.

    Part i has the entries begins[i] to begins[i + 1]; entry k is about a column, columns[k], and has its steps (by code) and its table (by place) between its begins.
    Shapes of `codes` and `total`: (columns, n).
    """
    n = codes.shape[1]
    place = np.empty(n, np.int32)
    for i in range(len(begins) - 1):
        place[:] = 0
        for k in range(begins[i], begins[i + 1]):
            code, step = codes[columns[k]], steps[step_begins[k]:step_begins[k + 1]]
            for row in range(n):
                place[row] += step[code[row]]
        for k in range(begins[i], begins[i + 1]):
            values, sums = tables[table_begins[k]:table_begins[k + 1]], total[columns[k]]
            for row in range(n):
                sums[row] += values[place[row]]
