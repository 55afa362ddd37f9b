"""Outcomes: scores and audiences handed out before, held against what happened since."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from features.dataset import Dataset
from features.errors import ContractError, UsageError
from features.files import write_json
from features.tasks import Task
from serving.audience import CONTACTED, HOLDOUT, detectable, treatments
from serving.champions import recorded_task
from serving.pages import write_page

if TYPE_CHECKING:
    import pandas as pd

SMALLEST_GROUP = 10
BANDS = ("high", "medium", "low")
_HERE = Path(__file__).parent
_Z = 1.959964


@dataclass(frozen=True)
class Outcomes:
    """What came of scores and audiences whose horizon is over, and when the others are due. All values are JSON."""

    data: str
    observed_until: str
    scores: list[dict[str, Any]]
    audiences: list[dict[str, Any]]
    due: list[dict[str, Any]]
    is_simulated: bool = False

    def sentences(self) -> list[str]:
        """Audiences, and what is not due yet, for the screen."""
        said = []
        for row in self.audiences:
            found = f"{100 * row['difference']:+.1f} points {row['interval']} ({row['says']})" if "difference" in row else row["says"]
            said.append(f"audience {row['audience_id']} {row['name']} ({row['task']}, {row['rule']}): contacted {row['contacted']:,}, held out {row['held_out']:,}: {found}")
        said += [f"{row['what']} of {row['task']} as of {row['as_of'][:10]}: {row['customers']:,} customers, due on {row['due_on'][:10]}" for row in self.due]
        return said


def outcomes(dataset: Dataset, run: Path, task: str | None = None) -> Outcomes:
    """Hold everything logged in a run against a dataset that was held against its contract.

    The label is the one that the model was trained for, at the logged as_of. A group with fewer than ten hits or misses is not counted out.
    Raises: UsageError where nothing was logged for the task; ContractError where the log is of other data.
    """
    log = _log(run, dataset, task)
    told = Outcomes(dataset.name, dataset.observed_until.isoformat() + "Z", [], [], [], dataset.is_simulated)
    for _, part in log.groupby(["task", "model", "version", "as_of"], sort=True):
        name, model, version, moment = _of_all(part, "task", "model", "version", "as_of")
        spec = recorded_task(run, model, version)
        due = moment + timedelta(days=spec.windows.mature_after_days)
        if due > dataset.observed_until:
            told.due.append({"what": "scores", "task": name, "version": version, "as_of": _stamp(moment), "customers": len(part), "due_on": _stamp(due)})
            continue
        told.scores.append({"task": name, "version": version, "as_of": _stamp(moment), **_held(part.merge(_labels(dataset, spec, moment), on="customer_id"))})
    for row in _audiences(dataset, run, task):
        told.due.append(row) if "due_on" in row else told.audiences.append(row)
    return told


def _log(run: Path, dataset: Dataset, task: str | None) -> "pd.DataFrame":
    import pandas as pd

    files = sorted((run / "scores").glob("*.parquet"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    if not files:
        raise UsageError(f"outcomes need scores that were logged before, found none in {run / 'scores'}; hand some out first: make run OUT={run}")
    log = pd.concat([pd.read_parquet(path) for path in files], ignore_index=True)
    of_others = sorted({str(model) for model in log["model"].unique() if not str(model).startswith(f"{dataset.name}.")})
    log = log[log["model"].str.startswith(f"{dataset.name}.")]
    if log.empty:
        raise ContractError(f"the scores of {run} must be of {dataset.name}, found those of {', '.join(of_others)}; give the data that were scored")
    names = sorted(log["task"].unique())
    if task is not None:
        if task not in names:
            raise UsageError(f"TASK must be one that was scored in {run}, one of {', '.join(names)}; found {task!r}; correct the name")
        log = log[log["task"] == task]
    # Scored twice at one moment by one version, the later says what was handed out last.
    return log.drop_duplicates(["task", "version", "as_of", "customer_id"], keep="last")


def _of_all(part: "pd.DataFrame", *columns: str) -> list[Any]:
    """What all rows of a part share; moments as naive UTC."""
    first = part.iloc[0]
    return [first[column].to_pydatetime() if column == "as_of" else str(first[column]) for column in columns]


def _labels(dataset: Dataset, task: Task, as_of: datetime) -> "pd.DataFrame":
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
    return {"bands": rows, "all": everybody, "auc": _auc(y, p) if min(n_hits, len(y) - n_hits) >= SMALLEST_GROUP else None, "lift_of_high": _round(lift)}


def _counts(y: "np.ndarray[Any, Any]", p: "np.ndarray[Any, Any]") -> dict[str, Any]:
    n, hits = len(y), int(y.sum())
    said: dict[str, Any] = {"customers": n, "expected": round(float(p.sum()), 1), "expected_share": _round(float(p.mean()) if n else None)}
    if min(hits, n - hits) < SMALLEST_GROUP:
        return said | {"actual": None, "actual_share": None, "interval": None}
    return said | {"actual": hits, "actual_share": _round(hits / n), "interval": [_round(edge) for edge in wilson(hits, n)]}


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    share = hits / n
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z * float(np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))) / (1 + _Z**2 / n)
    return middle - half, middle + half


def difference(hits: Sequence[int], n: Sequence[int]) -> tuple[float, float, float]:
    """The difference of two shares and its 95 % interval (Newcombe 1998, method 10, of two Wilson intervals)."""
    one, other = (h / m for h, m in zip(hits, n, strict=True))
    (low_one, high_one), (low_other, high_other) = (wilson(h, m) for h, m in zip(hits, n, strict=True))
    value = one - other
    return (
        value, value - float(np.sqrt((one - low_one) ** 2 + (high_other - other) ** 2)), value + float(np.sqrt((high_one - one) ** 2 + (other - low_other) ** 2)))


def _audiences(dataset: Dataset, run: Path, task: str | None) -> list[dict[str, Any]]:
    """Contacted against held out, as assigned (intention to treat), whoever was really reached."""
    table = treatments(run)
    if table is None:
        return []
    rows = []
    for _, part in table.groupby("audience_id", sort=True):
        audience_id, name, of_task, model, version, moment = _of_all(part, "audience_id", "name", "task", "model", "version", "as_of")
        if task not in (None, of_task) or not model.startswith(f"{dataset.name}."):
            continue
        spec = recorded_task(run, model, version)
        said = {"audience_id": audience_id, "name": name, "task": of_task, "version": version, "as_of": _stamp(moment), "rule": part["rule"].iloc[0]}
        if spec.kind == "lookalike":
            rows.append(said | {"says": "no_outcome", "contacted": int((part["arm"] == CONTACTED).sum()), "held_out": int((part["arm"] == HOLDOUT).sum())})
            continue
        due = moment + timedelta(days=spec.windows.mature_after_days)
        if due > dataset.observed_until:
            rows.append({"what": "audience", **said, "customers": len(part), "due_on": _stamp(due)})
            continue
        rows.append(said | _compared(part.merge(_labels(dataset, spec, moment), on="customer_id"), spec))
    return rows


def _compared(met: "pd.DataFrame", task: Task) -> dict[str, Any]:
    n = [int((met["arm"] == arm).sum()) for arm in (CONTACTED, HOLDOUT)]
    hits = [int(met.loc[met["arm"] == arm, "label"].sum()) for arm in (CONTACTED, HOLDOUT)]
    said: dict[str, Any] = {"contacted": n[0], "held_out": n[1]}
    if min(*hits, n[0] - hits[0], n[1] - hits[1]) < SMALLEST_GROUP:
        return said | {"says": "too_few"}
    value, low, high = difference(hits, n)
    # For churn fewer is better.
    better = value < 0 if task.kind == "churn" else value > 0
    says = "chance" if low <= 0 <= high else "helped" if better else "harmed"
    return said | {
        "contacted_share": _round(hits[0] / n[0]), "held_out_share": _round(hits[1] / n[1]), "difference": _round(value), "interval": [_round(low), _round(high)],
        "customers": round(value * n[0], 1), "customers_interval": [round(low * n[0], 1), round(high * n[0], 1)], "says": says,
        "detectable": _round(detectable(sum(hits) / sum(n), *n))}


def write_outcomes(told: Outcomes, path: Path, language: str = "en") -> None:
    """Write as JSON or as a page for marketers, whole. Raises: UsageError for another ending."""
    if path.suffix == ".json":
        write_json(path, told.__dict__)
        return
    if path.suffix != ".html":
        raise UsageError(f"--out must end in .html or .json, found {path.name}; name it so")
    words = tomllib.loads((_HERE / "words" / f"outcomes.{language}.toml").read_text(encoding="utf-8"))
    write_page(path, "outcomes.html.j2", {"told": told, "words": words, "lang": language, "is_simulated": told.is_simulated, "percent": _percent, "points": _points})


def table_rows(told: Outcomes) -> list[tuple[str, ...]]:
    """For the screen: task, version, as_of, band, customers, expected, actual, interval."""
    rows: list[tuple[str, ...]] = []
    for one in told.scores:
        for row in (*one["bands"], {"band": "all", **one["all"]}):
            actual = "fewer than 10" if row["actual"] is None else f"{row['actual']:,}"
            interval = "" if row["interval"] is None else f"{_percent(row['interval'][0])} to {_percent(row['interval'][1])}"
            rows.append((one["task"], one["version"], one["as_of"][:10], row["band"], f"{row['customers']:,}", f"{row['expected']:,.0f}", actual, interval))
    return rows


def _auc(y: "np.ndarray[Any, Any]", p: "np.ndarray[Any, Any]") -> float:
    from sklearn.metrics import roc_auc_score

    return round(float(roc_auc_score(y, p)), 4)


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _stamp(moment: datetime) -> str:
    return moment.isoformat() + "Z"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"

