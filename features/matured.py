"""Scores handed out before, held against what happened since: which are mature, expected and actual by band, how well the order held.

The log comes as a table (`scores/*.parquet` of a run folder), the model's task from whoever has the model.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from features.dataset import Dataset
from features.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

SMALLEST_GROUP = 10
BANDS = ("high", "medium", "low")
_Z = 1.959964


def score_log(run: Path) -> "pd.DataFrame | None":
    """All scores that a run folder logged; None where there are none. Scored twice at one moment by one version, the later says what was handed out last.

    Grain: task, version, as_of, customer.
    """
    import pandas as pd

    files = sorted((run / "scores").glob("*.parquet"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    if not files:
        return None
    log = pd.concat([pd.read_parquet(path) for path in files], ignore_index=True)
    return log.drop_duplicates(["task", "model", "version", "as_of", "customer_id"], keep="last")


def matured(dataset: Dataset, log: "pd.DataFrame", task_of: Callable[[str, str], Task]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Scores whose horizon is over against what came, and those that are not due yet, by task, version and moment; all JSON.

    The label is the one that the model was trained for, at the logged as_of. A group with fewer than ten hits or misses is not counted out.
    `task_of` gives the task of a model and version.
    """
    held: list[dict[str, Any]] = []
    not_due: list[dict[str, Any]] = []
    for _, part in log.groupby(["task", "model", "version", "as_of"], sort=True):
        name, model, version, moment = of_all(part, "task", "model", "version", "as_of")
        task = task_of(model, version)
        due = moment + timedelta(days=task.windows.mature_after_days)
        if due > dataset.observed_until:
            not_due.append({"what": "scores", "task": name, "version": version, "as_of": stamp(moment), "customers": len(part), "due_on": stamp(due)})
            continue
        held.append({"task": name, "version": version, "as_of": stamp(moment), **_held(part.merge(labels_at(dataset, task, moment), on="customer_id"))})
    return held, not_due


def of_all(part: "pd.DataFrame", *columns: str) -> list[Any]:
    """What all rows of a part share; moments as naive UTC."""
    first = part.iloc[0]
    return [first[column].to_pydatetime() if column == "as_of" else str(first[column]) for column in columns]


def labels_at(dataset: Dataset, task: Task, as_of: datetime) -> "pd.DataFrame":
    """What came of a task's customers of one moment. Grain: customer."""
    from features.labels import labels

    frame: pd.DataFrame = labels(dataset, task, [as_of]).to_pyarrow().to_pandas()
    return frame[["customer_id", "label"]]


def _held(met: "pd.DataFrame") -> dict[str, Any]:
    """Expected and actual by band and in all, and how well the order held."""
    y, p = met["label"].to_numpy(float), met["probability"].to_numpy(float)
    rows = []
    for band in BANDS:
        inside = (met["band"] == band).to_numpy()
        rows.append({"band": band, **_counts(y[inside], p[inside])})
    everybody = _counts(y, p)
    hidden = [row for row in rows if row["actual"] is None and row["customers"]]
    if len(hidden) == 1:
        # One hidden row would be the total less the others.
        everybody |= dict.fromkeys(("actual", "actual_share", "interval"))
    n_hits = y.sum()
    is_known = everybody["actual"] is not None
    high = (met["band"] == "high").to_numpy()
    lift = float(y[high].mean() / y.mean()) if is_known and rows[0]["actual"] is not None else None
    return {
        "bands": rows, "all": everybody, "auc": _auc(y, p) if min(n_hits, len(y) - n_hits) >= SMALLEST_GROUP else None, "lift_of_high": rounded(lift)}


def _counts(y: "np.ndarray[Any, Any]", p: "np.ndarray[Any, Any]") -> dict[str, Any]:
    n, hits = len(y), int(y.sum())
    said: dict[str, Any] = {"customers": n, "expected": round(float(p.sum()), 1), "expected_share": rounded(float(p.mean()) if n else None)}
    if min(hits, n - hits) < SMALLEST_GROUP:
        return said | {"actual": None, "actual_share": None, "interval": None}
    return said | {"actual": hits, "actual_share": rounded(hits / n), "interval": [rounded(edge) for edge in wilson(hits, n)]}


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    share = hits / n
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z * float(np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))) / (1 + _Z**2 / n)
    return middle - half, middle + half


def _auc(y: "np.ndarray[Any, Any]", p: "np.ndarray[Any, Any]") -> float:
    from sklearn.metrics import roc_auc_score

    return round(float(roc_auc_score(y, p)), 4)


def rounded(value: float | None) -> float | None:
    """To four digits, for JSON."""
    return None if value is None else round(value, 4)


def stamp(moment: datetime) -> str:
    """A naive UTC moment as text."""
    return moment.isoformat() + "Z"
