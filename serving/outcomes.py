"""Outcomes: scores and audiences handed out before, held against what happened since."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from features.dataset import Dataset
from features.errors import ContractError, UsageError
from features.files import write_json
from features.matured import SMALLEST_GROUP, labels_at, matured, of_all, rounded, score_log, stamp, wilson
from features.tasks import Task
from serving.audience import CONTACTED, HOLDOUT, detectable, treatments
from serving.champions import recorded_task
from serving.pages import write_page

if TYPE_CHECKING:
    import pandas as pd

_HERE = Path(__file__).parent


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
    scores, due = matured(dataset, log, lambda model, version: recorded_task(run, model, version))
    told.scores.extend(scores)
    told.due.extend(due)
    for row in _audiences(dataset, run, task):
        told.due.append(row) if "due_on" in row else told.audiences.append(row)
    return told


def _log(run: Path, dataset: Dataset, task: str | None) -> "pd.DataFrame":
    log = score_log(run)
    if log is None:
        raise UsageError(f"outcomes need scores that were logged before, found none in {run / 'scores'}; hand some out first: make run OUT={run}")
    of_others = sorted({str(model) for model in log["model"].unique() if not str(model).startswith(f"{dataset.name}.")})
    log = log[log["model"].str.startswith(f"{dataset.name}.")]
    if log.empty:
        raise ContractError(f"the scores of {run} must be of {dataset.name}, found those of {', '.join(of_others)}; give the data that were scored")
    names = sorted(log["task"].unique())
    if task is not None:
        if task not in names:
            raise UsageError(f"TASK must be one that was scored in {run}, one of {', '.join(names)}; found {task!r}; correct the name")
        log = log[log["task"] == task]
    return log


def _audiences(dataset: Dataset, run: Path, task: str | None) -> list[dict[str, Any]]:
    """Contacted against held out, as assigned (intention to treat), whoever was really reached."""
    table = treatments(run)
    if table is None:
        return []
    rows = []
    for _, part in table.groupby("audience_id", sort=True):
        audience_id, name, of_task, model, version, moment = of_all(part, "audience_id", "name", "task", "model", "version", "as_of")
        if task not in (None, of_task) or not model.startswith(f"{dataset.name}."):
            continue
        spec = recorded_task(run, model, version)
        said = {"audience_id": audience_id, "name": name, "task": of_task, "version": version, "as_of": stamp(moment), "rule": part["rule"].iloc[0]}
        if spec.kind == "lookalike":
            rows.append(said | {"says": "no_outcome", "contacted": int((part["arm"] == CONTACTED).sum()), "held_out": int((part["arm"] == HOLDOUT).sum())})
            continue
        due = moment + timedelta(days=spec.windows.mature_after_days)
        if due > dataset.observed_until:
            rows.append({"what": "audience", **said, "customers": len(part), "due_on": stamp(due)})
            continue
        rows.append(said | _compared(part.merge(labels_at(dataset, spec, moment), on="customer_id"), spec))
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
        "contacted_share": rounded(hits[0] / n[0]), "held_out_share": rounded(hits[1] / n[1]), "difference": rounded(value), "interval": [rounded(low), rounded(high)],
        "customers": round(value * n[0], 1), "customers_interval": [round(low * n[0], 1), round(high * n[0], 1)], "says": says,
        "detectable": rounded(detectable(sum(hits) / sum(n), *n))}


def difference(hits: Sequence[int], n: Sequence[int]) -> tuple[float, float, float]:
    """The difference of two shares and its 95 % interval (Newcombe 1998, method 10, of two Wilson intervals)."""
    one, other = (h / m for h, m in zip(hits, n, strict=True))
    (low_one, high_one), (low_other, high_other) = (wilson(h, m) for h, m in zip(hits, n, strict=True))
    value = one - other
    return (
        value, value - float(np.sqrt((one - low_one) ** 2 + (high_other - other) ** 2)), value + float(np.sqrt((high_one - one) ** 2 + (other - low_other) ** 2)))


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


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"

