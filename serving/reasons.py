"""Reasons: from contributions to sentences."""

from collections.abc import Iterable
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
    """Answers -> for each customer `base_log_odds`, `log_odds`, `reasons` and their sums by family; nulls and no reasons where none was found.

    base_log_odds + all contributions = log_odds. `other` carries what `top` leaves out; sensitive features are one amount, `not_shown`.
    """
    empty: dict[str, Any] = {"base_log_odds": None, "log_odds": None, "reasons": [], "families": []}
    said = [dict(empty) for _ in answers.why]
    found = np.flatnonzero(answers.found)
    if len(found) == 0:
        return said
    contributions = model.contributions(answers.x[found])
    firm, (names, sums, firm_sums) = model.is_firm(contributions[:, :-1]), model.by_family(contributions[:, :-1])
    for place, (i, phi) in enumerate(zip(found.tolist(), contributions, strict=True)):
        said[i] = {
            "base_log_odds": float(phi[-1]), "log_odds": float(answers.log_odds[i]),
            "reasons": reasons(model, answers.x[i], phi[:-1], float(phi[-1]), language, top, None if firm is None else firm[place]),
            "families": [
                {"family": name, "contribution": total, "is_firm": None if firm_sums is None else bool(firm_sums[place, k])}
                for k, (name, total) in enumerate(zip(names, sums[place].tolist(), strict=True))]}
    return said


def reasons(
    model: "SavedModel", x: Array, phi: Array, base: float, language: str, top: int, firm: NDArray[np.bool_] | None = None,
) -> list[dict[str, Any]]:
    """One customer's reasons, strongest first, then `not_shown` (if any feature is sensitive) and `other`. `base` is the contribution of nothing known.

    `firm` says of which features the model would say the same had it met other customers; a reason that is not firm is worded with care.
    """
    [band] = model.bands(sigmoid(np.array([phi.sum() + base])))
    hidden = np.array([column.is_sensitive for column in model.columns], dtype=bool)
    strongest = [int(j) for j in np.argsort(-np.abs(phi), kind="stable") if not hidden[j] and phi[j] != 0][:top]
    said = [_reason(model, model.columns[j], float(x[j]), float(phi[j]), language, band, None if firm is None else bool(firm[j])) for j in strongest]
    if hidden.any():
        said.append(_sum(model, NOT_SHOWN, float(phi[hidden].sum()), language))
    rest = ~hidden
    rest[strongest] = False
    return [*said, _sum(model, OTHER, float(phi[rest].sum()), language)]


def top_sentences(model: "SavedModel", x: Array, n: int, language: str = "en") -> list[list[str]]:
    """Matrix (rows, p) -> for each row up to `n` sentences on single features that may be named."""
    contributions = model.contributions(x)
    found = model.is_firm(contributions[:, :-1])
    marks: Iterable[NDArray[np.bool_] | None] = [None] * len(x) if found is None else found
    return [
        [reason["sentence"] for reason in reasons(model, row, phi[:-1], float(phi[-1]), language, n, firm) if reason["feature"] not in (OTHER, NOT_SHOWN)]
        for row, phi, firm in zip(x, contributions, marks, strict=True)]


def _reason(
    model: "SavedModel", column: "Column", code: float, contribution: float, language: str, band: str, is_firm: bool | None,
) -> dict[str, Any]:
    value: float | str | None = None if np.isnan(code) else column.levels[int(code)] if column.is_category else code
    averages = model.reference.get("averages", {}).get(column.name, {})
    average = averages.get("all")
    pattern = "alone" if average is None else "category" if column.is_category else "number"
    voice = Voice(language)
    sentence = voice.words["reasons"][pattern].format(
        label=voice.label(column), value=voice.shown(value, column.unit), average=voice.shown(average, column.unit, is_average=True),
        effect=effect(model, contribution, language, is_firm is False))
    return {
        "family": column.family, "feature": column.name, "label": voice.label(column), "value": value, "average": average, "band_average": averages.get(band),
        "is_actionable": column.is_actionable, "contribution": contribution, "is_firm": is_firm, "sentence": sentence}


def _sum(model: "SavedModel", feature: str, contribution: float, language: str) -> dict[str, Any]:
    words = Voice(language).words["reasons"]
    label = words[feature]
    sentence = words["sum"].format(label=label, effect=effect(model, contribution, language))
    return {
        "family": feature, "feature": feature, "label": label, "value": None, "average": None, "band_average": None, "is_actionable": False,
        "contribution": contribution, "is_firm": None, "sentence": sentence}


def effect(model: "SavedModel", contribution: float, language: str = "en", is_doubtful: bool = False) -> str:
    """What a contribution does, in words: raises or lowers what the task predicts, or may do so."""
    words = Voice(language).words["reasons"]
    way = "raises" if contribution > 0 else "lowers" if contribution < 0 else "nothing"
    if is_doubtful and contribution:
        way = f"may_{way}"
    return str(words[way]).format(target=target(model, language))


def target(model: "SavedModel", language: str = "en") -> str:
    """What the task predicts, in words."""
    voice = Voice(language)
    return str(voice.words["reasons"][f"target_{model.task['kind']}"]).format(goal=voice.goal(model.task))
