"""The gate: whether a challenger may be served. It compares recipes on the same folds, never figures of different days."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from features.errors import ContractError, GateFailed
from features.tasks import Task
from training import metrics
from training.backtest import Backtest, backtest, moments_of
from training.folds import split
from training.lookalike import judged, pool_of
from training.recipes import Recipe
from training.registry import CHALLENGER, CHAMPION, Registry
from training.saved_model import SavedModel
from training.space import Space
from training.tables import rows_of

if TYPE_CHECKING:
    import pandas as pd

# How much worse than the best simple rule a model may rank before serving it would harm.
AUC_TOLERANCE = 0.005


@dataclass(frozen=True)
class Verdict:
    """What the gate saw and said."""

    version: str
    says: str


def fit_to_serve(model: SavedModel | Space) -> None:
    """Hold a model's own backtest against the rule and against knowing only the base rate; a space against chance and the plain filter.

    Raises: GateFailed with the first reason.
    """
    card = model.card
    if isinstance(model, Space):
        if card["lift_interval"][0] <= 1:
            found = f"{card['lift_at_10']:.2f} {card['lift_interval']}"
            raise GateFailed(f"{model.name} must find held-out seeds better than chance (lift at 10 % above 1), found {found}; bring more seeds, or seeds that share more")
        if card["gain_over_rule"]["interval"][1] < 0:
            rule = card["rule"]
            raise GateFailed(f"{model.name} must rank no worse than the rule {rule['name']} (lift {rule['lift_at_10']:.2f}), found {card['lift_at_10']:.2f}; use the rule")
        return
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


def _against(challenger: SavedModel | Space, champion: SavedModel | Space, run: Path, standing: str) -> str:
    """Run both recipes on the newest training table; the challenger's loss must not be higher."""
    import pandas as pd

    path = run / "features" / f"{challenger.name}.parquet"
    if not path.exists():
        raise ContractError(f"comparing recipes needs the training table {path.name} in {path.parent}, found none; train again")
    frame = pd.read_parquet(path)
    if isinstance(challenger, Space) or isinstance(champion, Space):
        return _spaces_against(challenger, champion, frame, standing)
    ours, y, customers = _replay(challenger, frame)
    theirs, _, _ = _replay(champion, frame)
    w = metrics.resamples(customers)
    loss, area = metrics.gain(y, ours.test_p, theirs.test_p, w, metrics.log_loss), metrics.gain(y, ours.test_p, theirs.test_p, w)
    told = f"on the same folds: log loss {loss['value']:+.4f} {loss['interval']}, AUC {area['value']:+.4f} {area['interval']} against version {standing}"
    if loss["value"] > 1e-6:
        raise GateFailed(f"{challenger.name} must have a log loss no higher than the champion's, found {told}; the champion stays")
    return told


def _spaces_against(challenger: SavedModel | Space, champion: SavedModel | Space, frame: "pd.DataFrame", standing: str) -> str:
    """Both spaces' rankers on the same held-out seeds; the challenger's area under the reach-recall curve must not be lower."""
    if not (isinstance(challenger, Space) and isinstance(champion, Space)):
        raise ContractError(f"{challenger.name} must be of one kind in all its versions, found a model and a space; register it under another name")
    (y, ours), (_, theirs) = (judged(pool_of(frame, space.columns), space.columns, space.params) for space in (challenger, champion))
    gain = metrics.gain(y, ours, theirs, metrics.resamples(frame["customer_id"].to_numpy(object)[: len(y)]))
    told = f"on the same held-out seeds: area {gain['value']:+.4f} {gain['interval']} against version {standing}"
    if gain["value"] < -1e-6:
        raise GateFailed(f"{challenger.name} must find held-out seeds no worse than the champion, found {told}; the champion stays")
    return told


def _replay(model: SavedModel, frame: Any) -> tuple[Backtest, metrics.Array, Any]:
    task = Task.from_json(model.task)
    rows = rows_of(frame, model.columns)
    folds = split(moments_of(rows), task)
    test = rows.at(folds.test)
    return backtest(Recipe(**model.card["recipe"]), rows, folds, task, model.columns), test.y, test.customers
