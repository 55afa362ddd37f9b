"""Reasons: from contributions to sentences. All words that a reader sees of a score stand here, once per language."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from serving.scoring import Answers
    from training.saved_model import Column, SavedModel

Array = NDArray[np.float64]
LANGUAGES = ("en", "zh")
OTHER, NOT_SHOWN = "other", "not_shown"
_WITHOUT_MINOR_UNITS = {"JPY", "KRW", "VND", "CLP", "ISK"}

WORDS: dict[str, dict[str, str]] = {
    "en": {
        "number": "{label}: {value}, average {average}: {effect}", "category": "{label}: {value}, most often {average}: {effect}",
        "alone": "{label}: {value}: {effect}", "alike": "{label}: {value}, seeds {seeds}, everybody {average}", "sum": "{label}: {effect}",
        "not_known": "not known", "day": "1 day", "days": "{n} days", OTHER: "everything else together", NOT_SHOWN: "what is not shown, together",
        "raises": "raises {target}", "lowers": "lowers {target}", "nothing": "does not change {target}",
        "churn": "the risk of leaving", "conversion": "the chance of {a_kind}", "purchase": "buying"},
    "zh": {
        "number": "{label}：{value}，平均 {average}，{effect}", "category": "{label}：{value}，最常见为 {average}，{effect}",
        "alone": "{label}：{value}，{effect}", "alike": "{label}：{value}（种子人群平均 {seeds}，全体平均 {average}）", "sum": "{label}：{effect}",
        "not_known": "未知", "day": "1 天", "days": "{n} 天", OTHER: "其余因素合计", NOT_SHOWN: "不展示的因素合计",
        "raises": "提高{target}", "lowers": "降低{target}", "nothing": "不改变{target}",
        "churn": "流失风险", "conversion": "{a_kind}的可能性", "purchase": "购买", "coupon_redemption": "核销优惠券"},
}


def words_of(language: str) -> dict[str, str]:
    """The words of a language."""
    return WORDS[language]


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
    for i, phi in zip(found, contributions, strict=True):
        said[i] = {
            "base_log_odds": float(phi[-1]), "log_odds": float(answers.log_odds[i]), "reasons": reasons(model, answers.x[i], phi[:-1], language, top)}
    return said


def reasons(model: "SavedModel", x: Array, phi: Array, language: str, top: int) -> list[dict[str, Any]]:
    """One customer's reasons, strongest first, then `not_shown` (if any feature is sensitive) and `other`."""
    hidden = np.array([column.is_sensitive for column in model.columns], dtype=bool)
    strongest = [int(j) for j in np.argsort(-np.abs(phi), kind="stable") if not hidden[j] and phi[j] != 0][:top]
    said = [_reason(model, model.columns[j], float(x[j]), float(phi[j]), language) for j in strongest]
    if hidden.any():
        said.append(_sum(model, NOT_SHOWN, float(phi[hidden].sum()), language))
    rest = ~hidden
    rest[strongest] = False
    return [*said, _sum(model, OTHER, float(phi[rest].sum()), language)]


def top_sentences(model: "SavedModel", x: Array, n: int, language: str = "en") -> list[list[str]]:
    """Matrix (rows, p) -> for each row up to `n` sentences on single features that may be named."""
    named = []
    for row, phi in zip(x, model.contributions(x), strict=True):
        named.append([reason["sentence"] for reason in reasons(model, row, phi[:-1], language, n) if reason["feature"] not in (OTHER, NOT_SHOWN)])
    return named


def _reason(model: "SavedModel", column: "Column", code: float, contribution: float, language: str) -> dict[str, Any]:
    value: float | str | None = None if np.isnan(code) else column.levels[int(code)] if column.is_category else code
    average = model.reference.get("averages", {}).get(column.name, {}).get("all")
    label = column.label_zh if language == "zh" else column.label_en
    pattern = "alone" if average is None else "category" if column.is_category else "number"
    sentence = WORDS[language][pattern].format(
        label=label, value=shown(value, column.unit, language), average=shown(average, column.unit, language, is_average=True),
        effect=effect(model, contribution, language))
    return {
        "family": column.family, "feature": column.name, "label": label, "value": value, "average": average, "contribution": contribution,
        "sentence": sentence}


def _sum(model: "SavedModel", feature: str, contribution: float, language: str) -> dict[str, Any]:
    label = WORDS[language][feature]
    sentence = WORDS[language]["sum"].format(label=label, effect=effect(model, contribution, language))
    return {
        "family": feature, "feature": feature, "label": label, "value": None, "average": None, "contribution": contribution, "sentence": sentence}


def effect(model: "SavedModel", contribution: float, language: str = "en") -> str:
    """What a contribution does, in words: raises or lowers what the task predicts."""
    words = WORDS[language]
    way = "raises" if contribution > 0 else "lowers" if contribution < 0 else "nothing"
    return words[way].format(target=target(model, language))


def target(model: "SavedModel", language: str = "en") -> str:
    """What the task predicts, in words."""
    words, kind = WORDS[language], str(model.task.get("target_kind", "purchase"))
    if model.task.get("kind") == "churn":
        return words["churn"]
    plain = kind.replace("_", " ")
    named = words.get(kind) or (plain if language == "zh" else f"{'an' if plain[:1] in 'aeiou' else 'a'} {plain}")
    return words["conversion"].format(a_kind=named)


def shown(value: float | str | None, unit: str, language: str = "en", is_average: bool = False) -> str:
    """A value as a person would write it: money with its currency, shares in percent, days as days, counts whole.

    Units: a currency code, share, days, category; any other is a plain number.
    """
    words = WORDS[language]
    if value is None:
        return words["not_known"]
    if isinstance(value, str):
        return value
    if _is_currency(unit):
        return f"{value:,.{0 if unit in _WITHOUT_MINOR_UNITS else 2}f} {unit}"
    if unit == "share":
        return f"{100 * value:.0f}%" if abs(value) >= 0.1 or value == 0 else f"{100 * value:.1f}%"
    if unit == "days":
        n = number(value, 0 if abs(value) >= 10 else 1)
        return words["day"] if n == "1" else words["days"].format(n=n)
    if unit in ("ratio", "nats"):
        return number(value, 2)
    return number(value, 1 if is_average else 2)


def number(value: float, digits: int) -> str:
    """At most `digits` decimals, without trailing zeros, thousands apart."""
    text = f"{value:,.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _is_currency(unit: str) -> bool:
    return len(unit) == 3 and unit.isalpha() and unit.isupper()
