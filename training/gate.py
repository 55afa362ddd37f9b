"""The gate: whether a challenger may be served. It compares recipes on the same folds, never figures of different days."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from features.errors import ContractError, GateFailed, UsageError, first_few
from features.tasks import Task
from training import changes, metrics
from training.compare import compared, replayed
from training.lookalike import judged, pool_of
from training.registry import CHALLENGER, CHAMPION, Registry
from training.saved_model import SavedModel
from training.space import Space

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
    """Hold a model's own backtest against the rule and against knowing only the base rate, its reasons against those of refits; a space against chance and the plain filter.

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
    held = card["stability"]["features"] if "stability" in card else None
    if held and held["sign_agreement"] and held["sign_agreement"]["interval"][0] <= held["of_another_customer"]["sign_agreement"]["interval"][1]:
        found = f"{held['sign_agreement']['value']:.2f} {held['sign_agreement']['interval']} against {held['of_another_customer']['sign_agreement']['value']:.2f}"
        raise GateFailed(
            f"{model.name} must give reasons that models fitted on other customers agree with more than with some other customer's, found {found}; "
            "its reasons are an accident: bring more customers, or exclude features")


def promote(registry: Registry, run: Path, name: str) -> Verdict:
    """Judge the challenger and, if it passes, make it champion; the change is written down, and so is a refusal.

    Raises: GateFailed, also where another champion came meanwhile; UsageError where there is no challenger; ContractError where an artefact is not whole.
    """
    version = registry.require(name, CHALLENGER)
    standing = registry.version_of(name, CHAMPION)
    try:
        challenger = registry.model(name, version)
        fit_to_serve(challenger)
        if standing == version:
            # A process that was killed between the change and its line comes here.
            lines = [line for line in changes.lines_of(run, name) if line["to"] == version and line["action"] != "refuse"]
            if not lines or lines[-1]["action"] == "passed":
                before = lines[-1]["from"] if lines else None
                changes.write_line(run, name, "promote", before, version, "the line was missing: the process that made the change was stopped")
            return Verdict(version, "it is the champion already")
        says = "no champion stood" if standing is None else _against(challenger, registry.model(name, standing), run, version, standing)
        # Written before the move, so that whom it replaced is known though the process be stopped right after it.
        changes.write_line(run, name, "passed", standing, version, says)
        registry.promote(name, version, standing)
    except GateFailed as refusal:
        changes.write_line(run, name, "refuse", standing, version, str(refusal))
        raise
    changes.write_line(run, name, "promote", standing, version, says)
    return Verdict(version, says)


def roll_back(registry: Registry, run: Path, name: str) -> Verdict:
    """Make the champion before the present one champion again, if its artefact is whole and scores its golden rows as it did.

    Raises: UsageError where there is none; ContractError where its artefact is not whole: then the present one stays.
    """
    standing = registry.require(name, CHAMPION)
    before = changes.champion_before(run, name, standing)
    if before is None:
        raise UsageError(f"{name} needs an earlier champion to go back to, found none before version {standing} in {run / changes.FILE}; promote another version")
    registry.model(name, before)
    registry.promote(name, before, standing)
    changes.write_line(run, name, "rollback", standing, before, "asked for")
    return Verdict(before, f"version {standing} is champion no more")


def _against(challenger: SavedModel | Space, champion: SavedModel | Space, run: Path, version: str, standing: str) -> str:
    """Run both recipes on the newest training table; the challenger's loss must not be higher, nor its calibration or any group be shown to be worse."""
    frame = newest_rows(run, challenger.name)
    if isinstance(challenger, Space) or isinstance(champion, Space):
        return _spaces_against(challenger, champion, frame, standing)
    task = Task.from_json(challenger.task)
    said = compared(replayed(standing, champion, task, frame), replayed(version, challenger, task, frame))
    told = f"on the same folds: {said['answer']['told']} against version {standing}"
    if said["differences"]["log_loss"]["value"] > 1e-6:
        raise GateFailed(f"{challenger.name} must have a log loss no higher than the champion's, found {told}; the champion stays")
    ece = said["differences"]["ece"]
    if ece["interval"][0] > 0:
        found = f"an expected calibration error {ece['value']:+.4f} {ece['interval']} against version {standing}"
        raise GateFailed(f"{challenger.name} must give probabilities that can be believed no less than the champion's, found {found}; the champion stays")
    harmed = [f"{row['group']} ({row['difference']:+.4f} {row['interval']})" for row in said["groups"] if row["says"] == "worse"]
    if harmed:
        raise GateFailed(f"{challenger.name} must serve no group worse than the champion, found a higher log loss for {first_few(harmed)}; the champion stays")
    return told


def newest_rows(run: Path, name: str) -> "pd.DataFrame":
    """The training table that was written last. Raises: ContractError where there is none."""
    import pandas as pd

    path = run / "features" / f"{name}.parquet"
    if not path.exists():
        raise ContractError(f"comparing recipes needs the training table {path.name} in {path.parent}, found none; train again")
    return pd.read_parquet(path)


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
