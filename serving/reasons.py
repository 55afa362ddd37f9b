"""Reasons: from contributions to sentences."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serving.words import Voice
from training.saved_model import sigmoid

if TYPE_CHECKING:
    from serving.scoring import Answers
    from training.saved_model import Column, SavedModel

Array = NDArray[np.float64]
OTHER, NOT_SHOWN = "other", "not_shown"


def explain(model: "SavedModel", answers: "Answers", language: str = "en", top: int = 5) -> list[dict[str, Any]]:
    """Answers -> for each customer `base_log_odds`, `log_odds` and `reasons`; nulls and no reasons where none was found.

    base_log_odds + all contributions = log_odds. `other` carries what `top` leaves out; sensitive features are one amount, `not_shown`.
    """
    empty: dict[str, Any] = {"base_log_odds": None, "log_odds": None, "reasons": []}
    said = [dict(empty) for _ in answers.why]
    found = np.flatnonzero(answers.found)
    if len(found) == 0:
        return said
    contributions = model.contributions(answers.x[found])
    for i, phi in zip(found.tolist(), contributions, strict=True):
        said[i] = {
            "base_log_odds": float(phi[-1]), "log_odds": float(answers.log_odds[i]), "reasons": reasons(model, answers.x[i], phi[:-1], float(phi[-1]), language, top)}
    return said


def reasons(model: "SavedModel", x: Array, phi: Array, base: float, language: str, top: int) -> list[dict[str, Any]]:
    """One customer's reasons, strongest first, then `not_shown` (if any feature is sensitive) and `other`. `base` is the contribution of nothing known."""
    [band] = model.bands(sigmoid(np.array([phi.sum() + base])))
    hidden = np.array([column.is_sensitive for column in model.columns], dtype=bool)
    strongest = [int(j) for j in np.argsort(-np.abs(phi), kind="stable") if not hidden[j] and phi[j] != 0][:top]
    said = [_reason(model, model.columns[j], float(x[j]), float(phi[j]), language, band) for j in strongest]
    if hidden.any():
        said.append(_sum(model, NOT_SHOWN, float(phi[hidden].sum()), language))
    rest = ~hidden
    rest[strongest] = False
    return [*said, _sum(model, OTHER, float(phi[rest].sum()), language)]


def top_sentences(model: "SavedModel", x: Array, n: int, language: str = "en") -> list[list[str]]:
    """Matrix (rows, p) -> for each row up to `n` sentences on single features that may be named."""
    named = []
    for row, phi in zip(x, model.contributions(x), strict=True):
        named.append([reason["sentence"] for reason in reasons(model, row, phi[:-1], float(phi[-1]), language, n) if reason["feature"] not in (OTHER, NOT_SHOWN)])
    return named


def _reason(model: "SavedModel", column: "Column", code: float, contribution: float, language: str, band: str) -> dict[str, Any]:
    value: float | str | None = None if np.isnan(code) else column.levels[int(code)] if column.is_category else code
    averages = model.reference.get("averages", {}).get(column.name, {})
    average = averages.get("all")
    pattern = "alone" if average is None else "category" if column.is_category else "number"
    voice = Voice(language)
    sentence = voice.words["reasons"][pattern].format(
        label=voice.label(column), value=voice.shown(value, column.unit), average=voice.shown(average, column.unit, is_average=True),
        effect=effect(model, contribution, language))
    return {
        "family": column.family, "feature": column.name, "label": voice.label(column), "value": value, "average": average, "band_average": averages.get(band),
        "is_actionable": column.is_actionable, "contribution": contribution, "sentence": sentence}


def _sum(model: "SavedModel", feature: str, contribution: float, language: str) -> dict[str, Any]:
    words = Voice(language).words["reasons"]
    label = words[feature]
    sentence = words["sum"].format(label=label, effect=effect(model, contribution, language))
    return {
        "family": feature, "feature": feature, "label": label, "value": None, "average": None, "band_average": None, "is_actionable": False,
        "contribution": contribution, "sentence": sentence}


def effect(model: "SavedModel", contribution: float, language: str = "en") -> str:
    """What a contribution does, in words: raises or lowers what the task predicts."""
    words = Voice(language).words["reasons"]
    way = "raises" if contribution > 0 else "lowers" if contribution < 0 else "nothing"
    return str(words[way]).format(target=target(model, language))


def target(model: "SavedModel", language: str = "en") -> str:
    """What the task predicts, in words."""
    voice = Voice(language)
    return str(voice.words["reasons"][f"target_{model.task['kind']}"]).format(goal=voice.goal(model.task))
