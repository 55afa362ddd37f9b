"""Two versions side by side: both recipes on the same folds of the newest rows. Is the new one better, for whom, and is it noise?"""

import time
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from features.errors import ContractError, first_few
from features.tasks import Task
from training import metrics
from training.backtest import Backtest, backtest, groups_of, moments_of
from training.folds import Folds, split
from training.recipes import Recipe
from training.saved_model import SavedModel
from training.tables import Rows, rows_of

if TYPE_CHECKING:
    import pandas as pd

PAIRED = {"log_loss": metrics.log_loss, "auc": metrics.auc, "brier": metrics.brier, "ece": metrics.calibration_errors, "lift_at_10": metrics.lift_at(0.10)}
SHOWN = ("auc", "log_loss", "brier", "ece", "calibration_slope", "lift_at_5", "lift_at_10", "lift_at_20")


@dataclass(frozen=True)
class Replay:
    """A version's recipe run again on given rows."""

    version: str
    model: SavedModel
    rows: Rows
    folds: Folds
    test: Backtest
    seconds: float


def replayed(version: str, model: SavedModel, task: Task, frame: "pd.DataFrame") -> Replay:
    """Fit a version's recipe anew on what was known before the test block of `task`, and ask it about that block.

    Raises: ContractError where the rows lack a feature that the version learned from.
    """
    lost = [column.name for column in model.columns if column.name not in frame.columns]
    if lost:
        raise ContractError(f"version {version} needs each of its features in the newest rows, found no {first_few(lost)}; train it again, or compare other versions")
    began = time.perf_counter()
    rows = rows_of(frame, model.columns)
    folds = split(moments_of(rows), task)
    return Replay(version, model, rows, folds, backtest(Recipe(**model.card["recipe"]), rows, folds, task, model.columns), time.perf_counter() - began)


def compared(old: Replay, new: Replay) -> dict[str, Any]:
    """Figures of both, paired differences (new minus old) with intervals over customers, groups, what differs, cost, and the answer in words."""
    test = new.rows.at(new.folds.test)
    w = metrics.resamples(test.customers)
    pairs = {name: metrics.gain(test.y, new.test.test_p, old.test.test_p, w, metric) for name, metric in PAIRED.items()}
    groups = group_differences(old, new, w)
    return {
        "model": new.model.name, "task": new.model.task["name"], "rows": len(test.y), "positives": int(test.y.sum()), "customers": len(set(test.customers)),
        "test_as_of": [f"{at.isoformat()}Z" for at in new.folds.test], "old": _figures(old, w), "new": _figures(new, w), "differences": pairs, "groups": groups,
        "differs": _differs(old, new), "answer": _answer(pairs, groups)}


def _figures(side: Replay, w: metrics.Array) -> dict[str, Any]:
    test, said = side.rows.at(side.folds.test), side.test
    measured = metrics.measure(test.y, said.test_p, w)
    members = side.model.members
    return {
        "version": side.version, "kind": said.recipe.kind, **{name: measured[name] for name in SHOWN},
        "auc_interval": measured["auc_interval"], "log_loss_interval": measured["log_loss_interval"],
        "gains": metrics.gains_curve(test.y, said.test_p), "calibration": metrics.calibration_table(test.y, said.test_p),
        "cost": {"fit_seconds": round(side.seconds, 2), "features": len(side.model.columns), "trees": sum(member.to_text().count("\nTree=") for member in members)}}


def group_differences(old: Replay, new: Replay, w: metrics.Array) -> list[dict[str, Any]]:
    """The difference in log loss in each group, worst for the new one first.

    Intervals are widened so that all of them together hold with 95 % (Bonferroni): of twenty groups at 95 % each, one stands out by chance.
    """
    test = new.rows.at(new.folds.test)
    found = list(groups_of(test, new.rows.at(new.folds.fit), new.model.columns))
    z = NormalDist().inv_cdf(1 - 0.025 / max(len(found), 1))
    rows = []
    for name, mask in found:
        ours, theirs = (metrics.log_loss(test.y[mask], side.test.test_p[mask], w[:, mask]) for side in (new, old))
        value, spread = float(ours[0] - theirs[0]), float(np.std(ours[1:] - theirs[1:]))
        rows.append({
            "group": name, "rows": int(mask.sum()), "old": round(float(theirs[0]), 5), "new": round(float(ours[0]), 5), "difference": round(value, 5),
            "interval": [round(value - z * spread, 5), round(value + z * spread, 5)],
            "says": "worse" if value - z * spread > 0 else "better" if value + z * spread < 0 else "not shown"})
    return sorted(rows, key=lambda row: -float(str(row["difference"])))


def _differs(old: Replay, new: Replay) -> dict[str, Any]:
    """What is not the same: kind, parameters, features, windows, data."""
    theirs, ours = ({column.name for column in side.model.columns} for side in (old, new))
    params = [_flat({"kind": side.test.recipe.kind, **side.test.recipe.params}) for side in (old, new)]
    same = {name for name in params[0].keys() & params[1].keys() if params[0][name] == params[1][name]}
    return {
        "parameters": {name: [side.get(name) for side in params] for name in sorted({*params[0], *params[1]} - same)},
        "features_only_old": sorted(theirs - ours), "features_only_new": sorted(ours - theirs),
        "windows": [] if old.model.task["windows"] == new.model.task["windows"] else [old.model.task["windows"], new.model.task["windows"]],
        "is_same_data": old.model.card["fingerprint"] == new.model.card["fingerprint"]}


def _flat(params: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in params.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _answer(pairs: dict[str, Any], groups: list[dict[str, Any]]) -> dict[str, str]:
    """In words: better or not, for whom, and whether chance could have done it."""
    loss, area = pairs["log_loss"], pairs["auc"]
    low, high = loss["interval"]
    told = f"log loss {loss['value']:+.4f} [{low:+.4f}, {high:+.4f}], AUC {area['value']:+.4f} [{area['interval'][0]:+.4f}, {area['interval'][1]:+.4f}]"
    is_better, is_worse = high < 0, low > 0
    stand_out = {says: [row["group"] for row in groups if row["says"] == says] for says in ("better", "worse")}
    whom = "; ".join(f"{says} for {first_few(names, 5)}" for says, names in stand_out.items() if names)
    return {
        "is_it_better": "yes" if is_better else "no, it is worse" if is_worse else "not shown", "told": told,
        "for_whom": whom or f"no group stands out ({len(groups)} looked at)",
        "is_it_noise": "chance alone would seldom give such a difference" if is_better or is_worse else "chance alone could give such a difference: the interval includes 0"}
