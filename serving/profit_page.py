"""What a churn page says of money: what a campaign could earn with the marketer's four amounts, and what other amounts would say."""

from collections.abc import Callable
from typing import Any

from serving import charts
from serving.words import Voice, percent


def section(card: dict[str, Any], task: str, rule: str, currency: str, voice: Voice) -> dict[str, Any] | None:
    """Sentences, curve and sensitivity table; None for a task without profit. Units: amounts for each customer of the base, in the run's currency."""
    said = card.get("profit")
    if not said:
        return None
    words = voice.words["profit"]

    def money(amount: float) -> str:
        return voice.shown(amount, currency)

    def share_of(amount: float) -> str:
        return percent(amount, 0)

    shown: dict[str, Callable[[float], str]] = {"clv": money, "incentive_cost": money, "contact_cost": money, "accept_rate": share_of}
    amounts = {key: shown[key](value) for key, value in said["campaign"].items()}
    empc, rule_empc, gain = said["empc"], said["rule"]["empc"], said["gain_over_rule"]["interval"]
    return {
        "lead": words["declared" if said["is_declared"] else "not_declared"].format(**amounts, task=task),
        "found": words["found"].format(
            share=percent(said["empc_fraction"]["value"], 0), empc=money(empc["value"]), low=money(empc["interval"][0]), high=money(empc["interval"][1]), rule=rule,
            rule_empc=money(rule_empc["value"]), everybody=money(said["all_called"]), gain_low=money(gain[0]), gain_high=money(gain[1])),
        "chart": charts.amounts(
            [(voice.words["line_model"], charts.OURS, _points(said["curve"])), (voice.say("line_rule", rule=rule), charts.THEIRS, _points(said["rule_curve"]))],
            voice.words["gains_x"], words["axis"].format(currency=voice.currency(currency))),
        "rows": [
            {"amount": words[row["amount"]], "value": shown[row["amount"]](row["value"]), "empc": money(row["empc"]), "share": percent(row["empc_fraction"], 0)}
            for row in said["sensitivity"]]}


def _points(curve: list[dict[str, float]]) -> list[charts.Point]:
    return [(point["reached"], point["profit"]) for point in curve]
