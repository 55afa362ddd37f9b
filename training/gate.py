"""The gate: whether a challenger may be served. It compares recipes on the same folds, never figures of different days."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from features.errors import ContractError, GateFailed
from features.tasks import Task
from training import metrics
from training.backtest import Backtest, backtest, moments_of
from training.folds import split
from training.recipes import Recipe
from training.registry import CHALLENGER, CHAMPION, Registry
from training.saved_model import SavedModel
from training.tables import rows_of

# How much worse than the best simple rule a model may rank before serving it would harm.
AUC_TOLERANCE = 0.005


@dataclass(frozen=True)
class Verdict:
    """What the gate saw and said."""

    version: str
    says: str


def fit_to_serve(model: SavedModel) -> None:
    """Hold a model's own backtest against the rule and against knowing only the base rate.

    Raises: GateFailed with the first reason.
    """
    card = model.card
    if card["auc"] < card["rule"]["auc"] - AUC_TOLERANCE:
        raise GateFailed(f"{model.name} must rank no worse than the rule {card['rule']['name']} (AUC {card['rule']['auc']:.3f}), found {card['auc']:.3f}; serve the rule")
    rate = card["test_positives"] / card["test_rows"]
    know_nothing = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    if card["log_loss"] >= know_nothing:
        raise GateFailed(f"{model.name} must have a log loss below that of the base rate alone ({know_nothing:.4f}), found {card['log_loss']:.4f}; its probabilities mislead")


def promote(registry: Registry, run: Path, name: str) -> Verdict:
    """Judge the challenger and, if it passes, make it champion.

    Raises: GateFailed; UsageError where there is no challenger; ContractError where an artefact is not whole.
    """
    version = registry.require(name, CHALLENGER)
    challenger = registry.model(name, version)
    fit_to_serve(challenger)
    standing = registry.version_of(name, CHAMPION)
    says = "no champion stood"
    if standing == version:
        return Verdict(version, "it is the champion already")
    if standing is not None:
        says = _against(challenger, registry.model(name, standing), run, standing)
    registry.promote(name, version)
    return Verdict(version, says)


def _against(challenger: SavedModel, champion: SavedModel, run: Path, standing: str) -> str:
    """Run both recipes on the newest training table; the challenger's log loss must not be higher."""
    import pandas as pd

    path = run / "features" / f"{challenger.name}.parquet"
    if not path.exists():
        raise ContractError(f"comparing recipes needs the training table {path.name} in {path.parent}, found none; train again")
    frame = pd.read_parquet(path)
    ours, y, customers = _replay(challenger, frame)
    theirs, _, _ = _replay(champion, frame)
    w = metrics.resamples(customers)
    loss, area = metrics.gain(y, ours.test_p, theirs.test_p, w, metrics.log_loss), metrics.gain(y, ours.test_p, theirs.test_p, w)
    told = f"on the same folds: log loss {loss['value']:+.4f} {loss['interval']}, AUC {area['value']:+.4f} {area['interval']} against version {standing}"
    if loss["value"] > 1e-6:
        raise GateFailed(f"{challenger.name} must have a log loss no higher than the champion's, found {told}; the champion stays")
    return told


def _replay(model: SavedModel, frame: Any) -> tuple[Backtest, metrics.Array, Any]:
    task = Task.from_json(model.task)
    rows = rows_of(frame, model.columns)
    folds = split(moments_of(rows), task)
    test = rows.at(folds.test)
    return backtest(Recipe(**model.card["recipe"]), rows, folds, task, model.columns), test.y, test.customers
