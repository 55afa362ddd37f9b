"""One customer as the base knows them, and what a model would say of them otherwise."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from features.errors import UsageError
from serving.reasons import explain
from serving.standing import standing
from serving.words import Voice

if TYPE_CHECKING:
    from serving.scoring import Answers, Asked, Base, TaskBase
    from training.saved_model import Column


# Reasons beside each score.
N_REASONS = 3


def profile(base: "Base", customer: str, language: str) -> dict[str, Any]:
    """A customer's features by family, in words, segments, tags, and every task's score with its first reasons. Of what is sensitive only how much of it is not shown.

    Empty: no families where no task asks about the customer, and the scores say why; nothing of one who is withheld.
    """
    withheld, voice = base.withheld_among([customer]), Voice(language)
    asked: list[Asked] = [(customer, None)]
    families: dict[str, dict[str, dict[str, Any]]] = {}
    hidden: set[str] = set()
    scores = []
    for task in base.tasks.values():
        answers = task.ask(asked, withheld)
        scores += [{**result, **why} for result, why in zip(task.results([customer], answers, language), explain(task.model, answers, language, N_REASONS), strict=True)]
        if answers.found[0]:
            for column, code in zip(task.model.columns, answers.x[0], strict=True):
                if column.is_sensitive:
                    hidden.add(column.name)
                else:
                    families.setdefault(column.family, {}).setdefault(column.name, _told(column, float(code), voice))
    return {
        "customer_id": customer, "as_of": base.info.as_of, "found": bool(families),
        "families": [{"family": family, "features": list(features.values())} for family, features in families.items()],
        "features_not_shown": len(hidden), **standing(None if withheld else base.run, customer, language), "scores": scores}


def _told(column: "Column", code: float, voice: Voice) -> dict[str, Any]:
    value: float | str | None = None if np.isnan(code) else column.levels[int(code)] if column.is_category else code
    return {"feature": column.name, "label": voice.label(column), "value": value, "unit": column.unit, "text": voice.shown(value, column.unit)}


def dictionary(base: "Base") -> list[dict[str, Any]]:
    """Every feature that a model takes: what it is, its flags, and which tasks take it."""
    found: dict[str, dict[str, Any]] = {}
    asked = {name: task.model.columns for name, task in base.tasks.items()} | {name: space.space.columns for name, space in base.spaces.items()}
    for name, columns in asked.items():
        for column in columns:
            entry = found.setdefault(column.name, {
                "name": column.name, "family": column.family, "unit": column.unit, "label_en": column.label_en, "label_zh": column.label_zh,
                "is_actionable": column.is_actionable, "is_sensitive": column.is_sensitive, "is_treatment": column.is_treatment, "tasks": []})
            entry["tasks"].append(name)
    return list(found.values())


def what_if(base: "Base", task: "TaskBase", asked: "Asked", changes: Mapping[str, float | str], language: str) -> tuple["Answers", list[dict[str, Any]], str]:
    """What a model says of a customer as they are and as they would be: answers for both, the changes in words, and what that is not.

    Raises: UsageError for a feature that nobody can act on, and for a value outside of what training observed.
    """
    columns = {column.name: (j, column) for j, column in enumerate(task.model.columns)}
    withheld = base.withheld_among([asked[0]])
    before = task.ask([asked], withheld)
    voice, told = Voice(language), []
    changed = before.x[:1].copy()
    for name, value in changes.items():
        j, column = columns.get(name, (-1, None))
        if column is None or not column.is_actionable or column.is_sensitive:
            able = ", ".join(column.name for _, column in columns.values() if column.is_actionable and not column.is_sensitive) or "none"
            raise UsageError(f"changes must be of features that can be acted on, here {able}; found another")
        if column.is_category:
            if value not in column.levels:
                raise UsageError(f"changes.{name} must be one of the values that training saw (GET models lists them); found another")
            code = float(column.levels.index(str(value)))
        else:
            seen = task.model.reference.get("quantiles", {}).get(name)
            if isinstance(value, str) or not seen or not seen[0] <= value <= seen[-1]:
                within = f"between {seen[0]:g} and {seen[-1]:g}, where nine in ten customers are" if seen else "observed by training, which knows too few"
                raise UsageError(f"changes.{name} must be {within}; found another")
            code = float(value)
        told.append({"feature": name, "label": voice.label(column), "before": _told(column, float(before.x[0, j]), voice)["value"], "after": value})
        changed[0, j] = code
    after = task.answer([asked[0]] * 2, [0, 1], np.vstack([before.x[:1], changed])) if before.found[0] else before
    return after, told, str(voice.words["what_if"]["note"])
