"""The models of a simulated shop beside one who knows the law: ranking, calibration, and nothing where labels are shuffled. `--large` is a shop of 100,000 customers."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

CUSTOMERS, LARGE, MONTHS, SEED, TRIALS = 10_000, 100_000, 12, 1, 20
TASKS = ("churn", "conversion")
# A shop of this size teaches what a small one cannot: the bar is the large one's.
BEHIND = 0.02


def known_at(folder: Path, name: str, test_as_of: Sequence[str]) -> pd.DataFrame:
    """The labels of a task's test moments beside the ideal observer's probabilities."""
    from features.contracts import hold
    from features.labels import labels
    from features.sources import open_dataset

    dataset, _ = hold(open_dataset(str(folder)))
    task = next(task for task in dataset.tasks if task.name == name)
    as_ofs = [pd.Timestamp(text).tz_localize(None).to_pydatetime() for text in test_as_of]
    rows = labels(dataset, task, as_ofs).to_pyarrow().to_pandas()
    truth = pd.read_parquet(folder / "truth" / "moments", filters=[("as_of", "in", [pd.Timestamp(text) for text in test_as_of])])
    truth["as_of"] = truth["as_of"].dt.tz_localize(None).astype(rows["as_of"].dtype)
    known = rows.merge(truth, on=["customer_id", "as_of"])
    # Cards that are not linked yet are customers to a model, but no persons whom the observer is asked about.
    assert len(known) > .9 * len(rows)
    return known


def ceiling(known: pd.DataFrame, name: str) -> tuple[float, list[float]]:
    """The AUC of the ideal observer and its interval over customers."""
    from training import metrics

    values = metrics.auc(known["label"].to_numpy(float), known[f"p_{name}"].to_numpy(float), metrics.resamples(known["customer_id"].to_numpy(object)))
    return float(values[0]), metrics.interval(values)


def shuffled(folder: Path, run: Path, name: str) -> float:
    """The AUC of trees that were taught shuffled labels, on later ones."""
    from features.snapshots import features_of
    from features.sources import open_dataset
    from training import metrics
    from training.folds import split
    from training.recipes import FIRST_LIGHTGBM, Recipe
    from training.tables import MOST_ROWS, columns_of, rows_of

    dataset = open_dataset(str(folder))
    task, features = next(task for task in dataset.tasks if task.name == name), features_of(dataset)[0]
    frame = pd.read_parquet(run / "features" / f"{dataset.name}.{name}.parquet")
    folds = split(sorted(moment.to_pydatetime() for moment in frame["as_of"].unique()), task)
    frame = frame[frame["as_of"].isin([*folds.fit, *folds.test])]
    frame["label"] = np.random.default_rng(SEED).permutation(frame["label"].to_numpy())
    columns = columns_of(features, frame, ())
    rows = rows_of(frame, columns)
    test = rows.at(folds.test)
    margins = Recipe("lightgbm", FIRST_LIGHTGBM).fit(rows.at(folds.fit, task.windows.row_cap, MOST_ROWS), columns).margins(test.x)
    return float(metrics.auc(test.y, margins, np.ones((1, len(test.y))))[0])


def trained(folder: Path, run: Path) -> tuple[float, float]:
    """The door's whole run of every task: seconds, and the most memory that it had at a time, in GB."""
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "training", "run", "--data", str(folder), "--trials", str(TRIALS), "--run", str(run)], stdout=subprocess.DEVNULL)
    _, code, used = os.wait4(process.pid, 0)
    if code:
        raise RuntimeError(f"training run must end well, found exit code {os.waitstatus_to_exitcode(code)}")
    return time.perf_counter() - begin, used.ru_maxrss / 1e6


def rows(large: bool) -> list[dict[str, Any]]:
    """The table of this benchmark."""
    from features.shop.simulate import simulate

    with tempfile.TemporaryDirectory() as made:
        folder, run = simulate(Path(made) / "shop", LARGE if large else CUSTOMERS, MONTHS, SEED), Path(made) / "run"
        seconds, memory = trained(folder, run)
        return judged(folder, run, json.loads((run / "run.json").read_text(encoding="utf-8")), large, seconds, memory)


def judged(folder: Path, run: Path, summary: dict[str, Any], large: bool, seconds: float, memory: float) -> list[dict[str, Any]]:
    """What a run's models reach."""
    from tests.benchmarks.__main__ import row

    size = LARGE if large else CUSTOMERS
    found = [row(f"{size:,} customers, {MONTHS} months, {TRIALS} trials: the whole run", round(seconds), "s"), row("  most memory", round(memory, 1), "GB")]
    for name in TASKS:
        said = summary["tasks"][name]
        best, (low, high) = ceiling(known_at(folder, name, said["test_as_of"]), name)
        bar = f"at most {BEHIND} behind" if large else ""
        found += [
            row(f"{name}: AUC on {said['test_rows']:,} later rows ({said['winner']})", "{auc:.4f} [{auc_interval[0]:.4f}, {auc_interval[1]:.4f}]".format(**said), "AUC", bar,
                said["auc"] >= best - BEHIND if large else None, f"{best:.4f} [{low:.4f}, {high:.4f}]", "one who knows the law", round(said["auc"] / best, 3)),
            row("  calibration slope", "{calibration_slope:.3f} [{calibration_slope_interval[0]:.3f}, {calibration_slope_interval[1]:.3f}]".format(**said), "", "0.9 to 1.1",
                0.9 <= said["calibration_slope"] <= 1.1),
            row(f"  best rule ({said['rule']['name']}), logistic regression", f"{said['rule']['auc']:.4f}, {said['logistic']['auc']:.4f}", "AUC")]
        of_nothing = shuffled(folder, run, name)
        found.append(row("  trees taught shuffled labels", round(of_nothing, 4), "AUC", "0.5 within 0.02", abs(of_nothing - 0.5) <= 0.02))
    return found
