"""The two kinds of fitted model that a saved model may hold, each with exact contributions to its margin.

A member sees a matrix (rows x features, float64; a category is its code, what is not known is NaN) and gives margins (log-odds before
calibration). Contributions have one column per feature and the base in the last, and add up to the margin.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training import explain

Matrix = NDArray[np.float64]
# Rows that are worked on at a time where all at once would take the memory of a large table several times over.
_PART = 16_384


def parts_of(n: int) -> Iterator[slice]:
    """Where each part of n rows lies."""
    return (slice(begin, begin + _PART) for begin in range(0, n, _PART))


def signed_log(x: Matrix) -> Matrix:
    """sign(x) log(1 + |x|): tames long tails, keeps order and zero."""
    return np.sign(x) * np.log1p(np.abs(x))


@dataclass(frozen=True)
class LinearMember:
    """A sum of one-column functions: weight times signed log of a number, or one amount per category level.

    Shape: `weights`, `at_missing`, `means` (p,); `levels` maps a category column to the amounts of its codes.
    Contributions are centred on `means`, the average of each function over the training rows (linear SHAP, independent features).
    """

    intercept: float
    weights: Matrix
    at_missing: Matrix
    means: Matrix
    levels: dict[int, Matrix]

    def _terms(self, x: Matrix) -> Matrix:
        terms = self.weights * signed_log(x)
        for column, amounts in self.levels.items():
            known = ~np.isnan(x[:, column])
            terms[known, column] = amounts[x[known, column].astype(np.int64)]
        return np.where(np.isnan(x), self.at_missing, terms)

    def margins(self, x: Matrix) -> Matrix:
        """Shape: (n,)."""
        total = np.empty(len(x))
        for part in parts_of(len(x)):
            total[part] = self._terms(x[part]).sum(axis=1) + self.intercept
        return total

    def centred(self, x: Matrix) -> "LinearMember":
        """The same member with contributions measured from the average of these rows. Shape: (n, p)."""
        total = np.sum([self._terms(x[part]).sum(axis=0) for part in parts_of(len(x))], axis=0)
        return replace(self, means=total / len(x))

    def contributions(self, x: Matrix) -> Matrix:
        """Shape: (n, p + 1)."""
        base = np.full((len(x), 1), self.intercept + self.means.sum())
        return np.hstack([self._terms(x) - self.means, base])

    def to_text(self) -> str:
        """JSON with every digit."""
        import json

        return json.dumps({
            "intercept": self.intercept, "weights": self.weights.tolist(), "at_missing": self.at_missing.tolist(),
            "means": self.means.tolist(), "levels": {str(column): amounts.tolist() for column, amounts in self.levels.items()}})

    @classmethod
    def from_text(cls, text: str) -> "LinearMember":
        """The inverse of `to_text`."""
        import json

        said = json.loads(text)
        return cls(
            float(said["intercept"]), np.array(said["weights"]), np.array(said["at_missing"]), np.array(said["means"]),
            {int(column): np.array(amounts) for column, amounts in said["levels"].items()})


class BoosterMember:
    """A LightGBM booster, kept as its text. Contributions are path-dependent TreeSHAP (Lundberg et al. 2018), by LightGBM itself, or of many rows by tables."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._booster = lightgbm().Booster(model_str=text)
        self._one_row = {kind: _OneRow(self._booster, kind) for kind in (_RAW_SCORE, _CONTRIBUTIONS)}

    def margins(self, x: Matrix) -> Matrix:
        """Shape: (n,)."""
        if len(x) == 1:
            return self._one_row[_RAW_SCORE](x)
        return np.asarray(self._booster.predict(x, raw_score=True, num_threads=1), dtype=np.float64)

    def contributions(self, x: Matrix) -> Matrix:
        """Shape: (n, p + 1)."""
        if len(x) == 1:
            return self._one_row[_CONTRIBUTIONS](x)[np.newaxis]
        if len(x) >= explain.MANY_ROWS:
            return explain.contributions(self._booster, x)
        return np.asarray(self._booster.predict(x, pred_contrib=True, num_threads=1), dtype=np.float64)

    def to_text(self) -> str:
        """LightGBM's text format."""
        return self._text


# LightGBM's numbers for what it predicts (C_API_PREDICT_RAW_SCORE, C_API_PREDICT_CONTRIB) and for float64 (C_API_DTYPE_FLOAT64).
_RAW_SCORE, _CONTRIBUTIONS, _FLOAT64 = 1, 3, 1


class _OneRow:
    """A booster's prediction of one row by LightGBM's own quick call, which is set up once; its usual call takes five times as long for a row of 60."""

    def __init__(self, booster: Any, kind: int) -> None:
        import ctypes

        from lightgbm.basic import _LIB, _safe_call

        self._library, self._check, self._booster = _LIB, _safe_call, booster
        self._columns = booster.num_feature()
        self._size = 1 if kind == _RAW_SCORE else self._columns + 1
        self._made, self._free = ctypes.c_void_p(), _LIB.LGBM_FastConfigFree
        _safe_call(_LIB.LGBM_BoosterPredictForMatSingleRowFastInit(
            booster._handle, ctypes.c_int(kind), ctypes.c_int(0), ctypes.c_int(-1), ctypes.c_int(_FLOAT64), ctypes.c_int32(self._columns),
            ctypes.c_char_p(b"num_threads=1"), ctypes.byref(self._made)))
        self._n, self._pointer, self._by_reference = ctypes.c_int64, ctypes.c_void_p, ctypes.byref

    def __call__(self, x: Matrix) -> Matrix:
        """Shape: (1, p) -> what there is of that row."""
        if x.shape[1] != self._columns:
            raise ValueError(f"a row must have {self._columns} features, found {x.shape[1]}")
        row, out, n = np.ascontiguousarray(x, dtype=np.float64), np.empty(self._size), self._n()
        self._check(self._library.LGBM_BoosterPredictForMatSingleRowFast(
            self._made, self._pointer(row.ctypes.data), self._by_reference(n), self._pointer(out.ctypes.data)))
        return out

    def __del__(self) -> None:
        # Not made where LightGBM refused.
        if getattr(self, "_made", None):
            self._free(self._made)


Member = LinearMember | BoosterMember


def lightgbm() -> Any:
    """Import LightGBM, and give it the OpenMP library that a bare Debian lacks.

    Its wheel asks for libgomp.so.1. Where the system has none, scikit-learn's wheel carries the same library under a private
    name; a copy in memory with the public name in its header answers the request. Nothing is written to disk.
    """
    import ctypes
    import os
    import sys

    if sys.platform == "linux" and "lightgbm" not in sys.modules:
        try:
            ctypes.CDLL("libgomp.so.1", mode=ctypes.RTLD_GLOBAL)
        except OSError:
            from importlib.util import find_spec
            from pathlib import Path

            found = find_spec("sklearn")
            bundled = next((Path(str(found.origin)).parent.parent / "scikit_learn.libs").glob("libgomp-*.so*")) if found else None
            if bundled:
                private = bundled.name.encode()
                public = b"libgomp.so.1".ljust(len(private), b"\0")
                memory = os.memfd_create("libgomp.so.1")
                os.write(memory, bundled.read_bytes().replace(private, public))
                ctypes.CDLL(f"/proc/self/fd/{memory}", mode=ctypes.RTLD_GLOBAL)
    import lightgbm as library

    return library
