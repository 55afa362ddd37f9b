"""One task from snapshots to a registered challenger: split, tune, calibrate, evaluate, refit."""

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from features.dataset import Dataset
from features.feature import Feature
from features.tasks import Task
from training import metrics, profit, recipes
from training.backtest import Backtest, ablations, backtest, best_rule, blend_of, by_group, family_gains, moments_of, rank_sum_rule, refitted, rules_on_test, unseen_customers
from training.calibrate import calibrated, fit_platt, fitted_log_loss
from training.folds import Folds, known_before
from training.memory import give_back
from training.recipes import Fitted, Ground, Recipe
from training.reference import band_cuts, bands_on, drivers, reference_of
from training.rules import searched
from training.saved_model import Column, SavedModel
from training.stability import firm_bounds, refits, stability
from training.sufficiency import Doubt, doubts, history_days_before, require_labels
from training.tables import FEWER_ROWS, MOST_ROWS, Rows, columns_of, rows_of
from training.threads import side_by_side
from training.tune import study_storage, tuned

if TYPE_CHECKING:
    import pandas as pd

PACKAGES = ("bentoml", "duckdb", "ibis-framework", "lightgbm", "mlflow", "numpy", "optuna", "pandas", "scikit-learn", "scipy")
# Candidates from simple to complex.
SIMPLE_FIRST = ("rule", "logistic", "lightgbm", "blend")
OnTrial = Callable[[str, int, float], None]


@dataclass(frozen=True)
class Trained:
    """What training one task gives: the refitted model, the record for run.json, the tuning history."""

    model: SavedModel
    record: dict[str, Any]
    history: dict[str, list[dict[str, Any]]]


def train(
    dataset: Dataset, task: Task, frame: "pd.DataFrame", features: Sequence[Feature], folds: Folds, *, run: Path, trials: int,
    allow: Sequence[str] = (), exclude: Collection[str] = (), on_trial: OnTrial = lambda kind, n, loss: None, on_doubt: Callable[[Doubt], None] = lambda doubt: None,
) -> Trained:
    """Tune two candidates, choose among them, their blend and the best rule, judge once, refit on all.

    The order is the honesty: parameters from train and tune; the winner from the calibration block, by models that knew only what came
    before it; the test block is read after.
    Raises: ContractError for blocks that cannot teach or judge.
    """
    is_fit, categories = frame["as_of"].isin(folds.fit), [feature.name for feature in features if feature.is_category]
    columns = columns_of(features, frame.loc[is_fit, categories], allow, exclude)
    rows = rows_of(frame, columns)
    # A large table is not held twice.
    del frame
    give_back()
    require_labels(rows, folds, task)
    doubted = doubts(rows, folds, task, columns, history_days_before(moments_of(rows), dataset.observed_from))
    for doubt in doubted:
        on_doubt(doubt)

    params, history = _tune(dataset, task, rows, folds, columns, run, trials, on_trial)
    rule, rules_before = best_rule(rows, folds, task, columns)
    candidates = (Recipe("lightgbm", params["lightgbm"]), Recipe("logistic", params["logistic"]), rule)
    tests: dict[str, Backtest] = {recipe.kind: backtest(recipe, rows, folds, task, columns) for recipe in candidates}
    tests["blend"] = blend_of(tests["lightgbm"], tests["logistic"], rows, folds)
    calibration = rows.at(folds.calibrate)
    winner, choice = simplest_of_the_best(task.metric, {kind: test.model.margins[-1] for kind, test in tests.items()}, calibration)
    record = _judge(task, rows, folds, columns, tests, winner, rules_before, choice)
    again = refits(tests[winner].recipe, rows.at(folds.fit, task.windows.row_cap, MOST_ROWS), columns)
    record["doubts"] = [doubt.to_json() for doubt in doubted]
    record["stability"] = stability(tests[winner].model.fitted, again, rows.at(folds.calibrate), rows.at(folds.test), columns)
    model = _refit(dataset, task, rows, folds, columns, tests[winner], record, again)
    return Trained(model, record, history)


def simplest_of_the_best(metric: str, margins: dict[str, metrics.Array], block: Rows) -> tuple[str, dict[str, dict[str, Any]]]:
    """The simplest candidate that the best one is not shown to beat on a block, and each one's loss and distance from the best.

    A more complex model must show that it is better: the 95 % interval of the paired difference, customers resampled, must leave out 0.
    It is the bar that the grade against the rule uses, too.
    """
    w = metrics.resamples(block.customers)
    losses = {}
    for kind, margin in margins.items():
        p = calibrated(margin, *fit_platt(margin, block.y))
        losses[kind] = -metrics.auc(block.y, p, w) if metric == "auc" else metrics.log_loss(block.y, p, w)
    best = losses[min(losses, key=lambda kind: float(losses[kind][0]))]
    told: dict[str, dict[str, Any]] = {
        kind: {"loss": round(float(loss[0]), 5), "behind": round(float(loss[0] - best[0]), 5), "interval": metrics.interval(loss - best)}
        for kind, loss in losses.items()}
    return next(kind for kind in SIMPLE_FIRST if told[kind]["interval"][0] <= 0), told


def _declared_loss(task: Task, margins: metrics.Array, y: metrics.Array) -> float:
    """The task's declared metric as a loss."""
    if task.metric == "auc":
        return -float(metrics.auc(y, margins, np.ones((1, len(y))))[0])
    return fitted_log_loss(margins, y)


def _tune(
    dataset: Dataset, task: Task, rows: Rows, folds: Folds, columns: tuple[Column, ...], run: Path, trials: int, on_trial: OnTrial,
) -> tuple[dict[str, dict[str, Any]], dict[str, list[dict[str, Any]]]]:
    storage = study_storage(run)
    blocks = [
        (Ground(rows.at(known_before(moments_of(rows), block[0], task), task.windows.row_cap, FEWER_ROWS), columns, is_shared=True), rows.at(block)) for block in folds.tune]
    # A campaign's amounts change what a ranking is worth, not which one is learned.
    asked = {key: value for key, value in asdict(task).items() if key != "campaign"}
    depends_on = json.dumps([dataset.fingerprint, asked, [str(t) for t in folds.train], str(folds.tune), [asdict(c) for c in columns], recipes.SEED])
    digest = hashlib.sha256(depends_on.encode()).hexdigest()[:12]
    params, history = {}, {}
    for kind, first, suggest, n in (
        ("lightgbm", [recipes.FIRST_LIGHTGBM], recipes.suggest_lightgbm, trials),
        ("logistic", [recipes.FIRST_LOGISTIC], recipes.suggest_logistic, max(1, trials // 2)),
    ):
        def loss(given: dict[str, Any], kind: str = kind) -> float:
            recipe = Recipe(kind, given)  # type: ignore[arg-type]
            return float(np.mean(side_by_side(lambda block: _declared_loss(task, recipe.fit_on(block[0]).margins(block[1].x), block[1].y), blocks)))

        params[kind], history[kind] = tuned(
            storage, f"{dataset.name}.{task.name}.{kind}.{digest}", n, first, suggest, loss,
            lambda n_done, value, kind=kind: on_trial(kind, n_done, value))  # type: ignore[misc]
    return params, history


def _judge(
    task: Task, rows: Rows, folds: Folds, columns: tuple[Column, ...], tests: dict[str, Backtest], winner: str,
    rules_before: dict[str, float], choice: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """Read the test block, once."""
    test, best = rows.at(folds.test), tests[winner]
    w = metrics.resamples(test.customers)
    figures = {kind: metrics.measure(test.y, result.test_p, w) for kind, result in tests.items()}
    # A rule is judged by its continuous ranking, before calibration rounds anything.
    over_rule = metrics.gain(test.y, best.test_margins, tests["rule"].test_margins, w)
    low = over_rule["interval"][0]
    grade = "no better than the rule" if winner == "rule" or low <= 0 else "better than the rule"
    names = ("days_since_last_purchase", *(next((r for r in task.rules if r.startswith(start)), "") for start in ("purchases_count", "spend_sum")))
    return {
        "kind": task.kind, "question": task.question(), "rows": len(rows.y), "positives": int(rows.y.sum()), "base_rate": round(float(rows.y.mean()), 5),
        "test_rows": len(test.y), "test_positives": int(test.y.sum()), "test_customers": len(set(test.customers)),
        "train_as_of": _stamps(folds.train), "tune_as_of": _stamps([t for block in folds.tune for t in block]),
        "calibrate_as_of": _stamps(folds.calibrate), "test_as_of": _stamps(folds.test),
        "fit_as_of": _stamps(folds.fit),
        "label_rate_by_as_of": {_stamp(t): round(float(rows.at([t]).y.mean()), 5) for t in moments_of(rows)},
        **figures[winner], "params": best.recipe.params,
        "rule": {"name": tests["rule"].recipe.params["column"], **figures["rule"]}, "logistic": figures["logistic"], "lightgbm": figures["lightgbm"],
        "blend": figures["blend"], "winner": winner, "chosen_by": {"metric": task.metric, "on": "calibrate", "candidates": choice},
        "gain_over_rule": {"auc": over_rule["value"], "interval": over_rule["interval"]},
        "gain_over_logistic": {
            "auc": metrics.gain(test.y, best.test_p, tests["logistic"].test_p, w), "log_loss": metrics.gain(test.y, best.test_p, tests["logistic"].test_p, w, metrics.log_loss)},
        "rules_before_test": rules_before, "rules_on_test": rules_on_test(rows, folds, task, columns, best.test_margins, w),
        "rfm_rank_sum_auc": rank_sum_rule(rows, folds, columns, names, task), "strongest_rule": searched(rows, folds, task, columns, best.test_margins, w),
        # A rule has no families: then it is told of the trees.
        "families": family_gains(tests["lightgbm"] if winner == "rule" else best, rows, folds, task, columns, w),
        "ablations": ablations(best.recipe, rows, folds, task, columns), "auc_unseen_customers": unseen_customers(best.recipe, rows, folds, task, columns),
        "calibration": metrics.calibration_table(test.y, best.test_p), "gains": metrics.gains_curve(test.y, best.test_p),
        "rule_gains": metrics.gains_curve(test.y, tests["rule"].test_margins), "grade": grade,
        "quality": metrics.quality(figures[winner]["auc"], over_rule["interval"]), "by_group": by_group(best, rows, folds, task, columns, w),
        **({"profit": profit.profit(test.y, best.test_p, tests["rule"].test_margins, w, task.campaign)} if task.kind == "churn" else {}),
    }


def _refit(
    dataset: Dataset, task: Task, rows: Rows, folds: Folds, columns: tuple[Column, ...], best: Backtest, record: dict[str, Any], again: Sequence[Fitted],
) -> SavedModel:
    """Fit the winning recipe on every mature snapshot, its calibrator on every block's out-of-time margins; `again` says which of its reasons are firm."""
    moments, final = moments_of(rows), refitted(best, rows, folds, task, columns)
    cuts = band_cuts(calibrated(np.concatenate(final.margins), final.slope, final.intercept))
    model = SavedModel(
        f"{dataset.name}.{task.name}", asdict(task), columns, final.fitted.members, final.fitted.weights, final.slope, final.intercept, cuts,
        card={
            **record, "data": dataset.name, "fingerprint": dataset.fingerprint, "licence": dataset.licence, "is_simulated": dataset.is_simulated,
            "currency": dataset.currency, "zone": dataset.zone,
            "recipe": asdict(best.recipe), "refit_as_of": _stamps(moments), "packages": {name: version(name) for name in PACKAGES},
            "figures": "of the backtest: the recipe fitted on fit_as_of, calibrated on margins of tune_as_of and calibrate_as_of; "
                       "the model served is the same recipe refitted on refit_as_of"})
    latest = rows.at(moments[-2:])
    reference = {**reference_of(model, latest), "firm_from": firm_bounds(model, again, latest)}
    model = SavedModel(**{**model.__dict__, "reference": reference})
    # What the bands would have held on the test block, by the backtest's own probabilities, and what drives the served model.
    model.card["bands"] = bands_on(cuts, best.test_p, rows.at(folds.test).y)
    model.card["drivers"] = drivers(model, latest)
    return model


def _stamp(moment: datetime) -> str:
    return moment.isoformat() + "Z"


def _stamps(moments: Sequence[datetime]) -> list[str]:
    return [_stamp(moment) for moment in moments]
