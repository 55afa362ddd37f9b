"""Drift: how far the customers scored last, and the customers asked about, are from those that a model learned from."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from features.stability import LARGE, SHIFTED, stability_index

if TYPE_CHECKING:
    from serving.scoring import Base, TaskBase
    from training.saved_model import Column

Array = NDArray[np.float64]
# A saved model remembers eleven quantiles, from the 5th to the 95th percentile.
_LEVELS = np.linspace(0.05, 0.95, 11)


def input_drift(task: "TaskBase") -> dict[str, float]:
    """The population stability index of each feature, base against training, what is unknown being a class of its own; strongest first.

    Coarse where a feature has few values, whose quantiles fall together: up to a few hundredths are the rounding's. Empty: features of which training kept nothing.
    """
    shares, quantiles = task.model.reference.get("shares", {}), task.model.reference.get("quantiles", {})
    found = {}
    for column, values in zip(task.model.columns, task.x.T, strict=True):
        if column.name in shares and (column.is_category or column.name in quantiles):
            expected, actual = _classes(column, shares[column.name], quantiles.get(column.name, []), values)
            found[column.name] = round(stability_index(expected, actual, len(values)), 4)
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def _classes(column: "Column", shares: dict[str, float], quantiles: list[float], values: Array) -> tuple[Array, Array]:
    """Shares of training and of the base over the same classes: unknown first, then bins of a number or levels of a category."""
    n, unknown = max(len(values), 1), np.isnan(values)
    known = values[~unknown]
    if column.is_category:
        counts = np.bincount(known.astype(np.int64), minlength=len(column.levels)) / n
        told = [j for j, level in enumerate(column.levels) if level in shares]
        then, now = [shares[column.levels[j]] for j in told], [float(counts[j]) for j in told]
    else:
        between, counts = _between(quantiles, known)
        then, now = (between * (1 - shares["unknown"])).tolist(), (counts / n).tolist()
    rest_then, rest_now = max(0.0, 1 - shares["unknown"] - sum(then)), max(0.0, 1 - float(unknown.mean()) - sum(now))
    return np.array([shares["unknown"], *then, rest_then]), np.array([float(unknown.mean()), *now, rest_now])


def score_drift(task: "TaskBase") -> float | None:
    """The population stability index of the probabilities, base against the snapshots that training remembers. None where it remembers none."""
    quantiles = task.model.reference.get("scores")
    if not quantiles:
        return None
    expected, counts = _between(quantiles, task.ordered)
    return round(stability_index(expected, counts / max(len(task.ordered), 1), len(task.ordered)), 4)


def _between(quantiles: list[float], values: Array) -> tuple[Array, Array]:
    """The shares that stood between the quantiles, and how many of the values stand there. Quantiles that fall together are one edge, at the highest of their levels."""
    edges = np.unique(quantiles)
    levels = [_LEVELS[np.searchsorted(quantiles, edge, side="right") - 1] for edge in edges]
    return np.diff([0.0, *levels, 1.0]), np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1).astype(np.float64)


def drift_rows(base: "Base") -> list[dict[str, Any]]:
    """For people: the scores of each task, then its features, with their index and what that is usually called. Grain: task x (scores or feature), strongest first."""
    rows = []
    for name, task in base.tasks.items():
        of_scores = score_drift(task)
        found = [("scores", "", of_scores)] if of_scores is not None else []
        for what, feature, index in [*found, *(("input", feature, index) for feature, index in input_drift(task).items())]:
            says = "large shift" if index >= LARGE else "shift" if index >= SHIFTED else "steady"
            rows.append({"task": name, "version": task.version, "what": what, "feature": feature, "psi": index, "says": says})
    return rows


def write_drift(base: "Base", path: Path) -> None:
    """The rows as JSON."""
    from features.files import write_json

    write_json(path, {"as_of": base.info.as_of, "data": base.info.data, "rows": drift_rows(base)})
