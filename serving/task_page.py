"""What the page of a churn or conversion task says: sentences, tables, charts, and the data that they stand on."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serving import charts, profit_page
from serving.actions import actions
from serving.words import Voice, number, percent
from training.saved_model import BANDS, sigmoid

if TYPE_CHECKING:
    import pandas as pd

    from serving.scoring import Info, TaskBase

# How far the average probability may be from what came true before the page tells the reader to use the order only.
MEAN_TOLERANCE = 0.10
SMALLEST_GROUP = 10
REACHES = (5, 10, 20, 30, 50)
Array = NDArray[np.float64]
Card = dict[str, Any]


def page(task: "TaskBase", info: "Info", frame: "pd.DataFrame", voice: Voice) -> dict[str, Any]:
    """Everything that one task's page says, as text and charts; `data` is what its numbers come from.

    Grain of `frame`: customer of the base, with features.
    """
    model, card, words, say = task.model, task.model.card, voice.words, voice.say
    kind, windows, asks = model.task["kind"], model.task["windows"], model.task["eligibility"]
    goal, did, will = voice.goal(model.task), words[f"did_{kind}"], words[f"will_{kind}"]
    labels = {column.name: voice.label(column) for column in model.columns}
    rule = labels.get(card["rule"]["name"], card["rule"]["name"])
    p = sigmoid(task.log_odds)
    valid_until = datetime.fromisoformat(info.as_of) + timedelta(days=windows["gap_days"] + windows["horizon_days"])
    data: dict[str, Any] = {
        "data": info.data, "as_of": voice.day(info.as_of), "valid_until": voice.day(valid_until.isoformat()), "currency": info.currency, "customers": len(p),
        "task": {**model.task, "rules": None}, "version": task.version, "labels": labels, "bands": band_counts(task, p), "reach": reach(p),
        "found_at_10": {"model": found_at(card["gains"], 0.10), "rule": found_at(card["rule_gains"], 0.10)},
        "actions": actions(frame.set_index("customer_id").loc[task.ids], p, words), "purge_days": windows["gap_days"] + windows["horizon_days"],
        "averages": {row["feature"]: model.reference["averages"][row["feature"]] for row in card["drivers"]["features"]},
        "mean_off": abs(card["mean_predicted"] / card["mean_observed"] - 1), "card": {name: said for name, said in card.items() if name not in ("params", "recipe")},
        "days": {name: voice.days(stamps) for name, stamps in card.items() if name.endswith("_as_of") and isinstance(stamps, list)}}
    data["season"] = [(voice.day(day), rate) for day, rate in card["label_rate_by_as_of"].items()]
    bands = _bands(data["bands"], words)
    filled = {
        "goal": goal, "horizon": windows["horizon_days"], "slide": windows["slide_days"], "as_of": data["as_of"], "valid_until": data["valid_until"],
        "high_n": bands[0]["customers"], "high_expected": bands[0]["expected"], "who_not": say(
            f"who_not_{kind}", kind=voice.kind(asks["active_kind"]), days=asks["active_days"], met=words["who_not_met"] if asks.get("received_kind") else "")}
    use = words[f"use_{kind}"] if bands[0]["expected"] else words[f"use_{kind}"][1:]
    gain, low_high = card["gain_over_rule"], card["auc_interval"]
    is_better = card["grade"] == "better than the rule"
    return {
        "zone": card["zone"], "data": data, "title": say("title", goal=goal), "goal": goal, "question": voice.question(model.task, labels),
        "verdict": _verdict(card, data, rule, is_better, voice), "verdict_class": "better" if is_better else "same",
        "cards": [
            (percent(data["found_at_10"]["model"]), say("card_found", did=did, goal=goal, rule=rule, rule_found=percent(data["found_at_10"]["rule"]))),
            (f"{card['auc']:.3f}", say("card_auc", low=f"{low_high[0]:.3f}", high=f"{low_high[1]:.3f}", rule_auc=f"{card['rule']['auc']:.3f}")),
            (f"{gain['auc']:+.3f}", say("card_gain", low=f"{gain['interval'][0]:+.3f}", high=f"{gain['interval'][1]:+.3f}")),
            (percent(card["mean_predicted"]), say("card_rate", observed=percent(card["mean_observed"]), goal=goal))],
        "who_lead": say("who_lead", n=f"{len(p):,}", as_of=data["as_of"]), "bands": bands,
        "bands_chart": charts.pairs(
            [(row["name"], then["expected"], then["actual"]) for row, then in zip(bands, card["bands"], strict=True) if row["test_actual"] != words["few"]],
            words["test_expected"], words["test_actual"]),
        "uses": [line.format(**filled) for line in use], "not_uses": [line.format(**filled) for line in words["not_use"]],
        "reach_rows": [_reach_row(row) for row in data["reach"]["rows"]], "reach_success": say(f"reach_success_{kind}", goal=goal),
        "reach_lead": say("reach_lead", as_of=data["as_of"]), "currency": voice.currency(info.currency), "actions": data["actions"],
        "family_chart": charts.bars([(words[row["family"]], row["strength"]) for row in card["drivers"]["families"]], words["drives"]),
        "band_names": [words[band] for band in reversed(BANDS)], "drivers": _drivers(task, voice, labels), "firm_lead": _firm_lead(card, voice),
        "profit": profit_page.section(card, task.task, rule, info.currency, voice),
        "good_lead": say("good_lead", rows=f"{card['test_rows']:,}", dates=data["days"]["test_as_of"], will=will),
        "gains_chart": charts.curves(
            [(words["line_model"], charts.OURS, _curve(card["gains"])), (say("line_rule", rule=rule), charts.THEIRS, _curve(card["rule_gains"])),
             (words["line_chance"], charts.SOFT, [(0, 0), (1, 1)])], words["gains_x"], say("gains_y", did=did, goal=goal)),
        "calibration_lead": say(
            "calibration_lead", goal=goal, ece=percent(card["ece"]), ece_chance=percent(card["ece_by_chance"]["mean"]),
            ece_high=percent(card["ece_by_chance"]["percentile_95"])),
        "calibration_chart": charts.against([(b["predicted"], b["observed"], b["rows"]) for b in card["calibration"]], words["calibration_x"], words["calibration_y"]),
        "judged_lead": say("judged_lead", purge=data["purge_days"]),
        "blocks": [(words[f"block_{name}"], data["days"][f"{name}_as_of"]) for name in ("train", "tune", "calibrate", "test")],
        "candidates": _candidates(card, words, rule), "notes": _notes(card, voice), "season_title": say("season", did=did, goal=goal),
        "season_chart": charts.columns(data["season"], say("season", did=did, goal=goal)),
        "made": say("made", model=model.name, version=task.version, fingerprint=card["fingerprint"][:12], as_of=data["as_of"]), "licence": card["licence"],
        "is_simulated": card.get("is_simulated", False)}


def _verdict(card: Card, data: dict[str, Any], rule: str, is_better: bool, voice: Voice) -> str:
    """Better over the whole list may still be no better at its very top, where a small campaign looks; then it is said."""
    found = data["found_at_10"]
    lines = ["verdict_better" if is_better else "verdict_same"]
    if is_better and found["model"] <= found["rule"]:
        lines.append("verdict_top")
    if data["mean_off"] > MEAN_TOLERANCE:
        lines.append("verdict_high" if card["mean_predicted"] > card["mean_observed"] else "verdict_low")
    return str(voice.words["between_sentences"]).join(voice.say(line, rule=rule, off=percent(data["mean_off"], 0)) for line in lines)


def band_counts(task: "TaskBase", p: Array) -> list[dict[str, Any]]:
    """Each band now and in the test, highest first; None for what would tell of fewer than ten, and for the next smallest where one alone is hidden."""
    names = np.array(task.model.bands(p))
    rows: list[dict[str, Any]] = []
    for then in task.model.card["bands"]:
        inside = p[names == then["band"]]
        rows.append({
            "band": then["band"], "customers": len(inside), "probability": float(inside.mean()) if len(inside) else 0.0, "expected": float(inside.sum()),
            "test_rows": then["rows"], "test_expected": then["expected"], "test_actual": then["actual"]})
    for counted, hidden in (("customers", ("customers", "probability", "expected")), ("test_actual", ("test_actual",))):
        for i in too_small([row[counted] for row in rows]):
            rows[i] |= dict.fromkeys(hidden)
    return rows


def too_small(counts: Sequence[int | None]) -> list[int]:
    """Places of counts that must not be shown: those under ten, and the smallest other where one alone is hidden, or the total would tell it."""
    hidden = [i for i, n in enumerate(counts) if n is None or 0 < n < SMALLEST_GROUP]
    if len(hidden) == 1 and len(counts) > 1:
        others = [i for i in range(len(counts)) if i not in hidden and counts[i]]
        hidden += [min(others, key=lambda i: counts[i] or 0)] if others else []
    return hidden


def _bands(rows: list[dict[str, Any]], words: dict[str, Any]) -> list[dict[str, str]]:
    few = words["few"]
    return [{
        "name": words[row["band"]], "customers": few if row["customers"] is None else f"{row['customers']:,}",
        "probability": "" if row["probability"] is None else percent(row["probability"]), "expected": "" if row["expected"] is None else f"{row['expected']:,.0f}",
        "test_rows": f"{row['test_rows']:,}", "test_expected": f"{row['test_expected']:,.0f}",
        "test_actual": few if row["test_actual"] is None else f"{row['test_actual']:,}"} for row in rows]


def reach(p: Array) -> dict[str, Any]:
    """How many are expected among the first 0, 1, ... 100 % of customers by score: sums of their probabilities; and some shares in rows. Shape: p (n,)."""
    total = np.concatenate([[0.0], np.cumsum(np.sort(p)[::-1])])
    hits = [round(float(total[reached(len(p), share)]), 2) for share in range(101)]
    rows = [{
        "share": share / 100, "reached": reached(len(p), share), "hits": hits[share], "of_all": hits[share] / hits[100] if hits[100] else 0.0,
        "wasted": reached(len(p), share) - hits[share]} for share in REACHES]
    return {"customers": len(p), "hits": hits, "rows": rows}


def reached(n: int, share: int) -> int:
    """How many of n customers a share in percent reaches, halves up."""
    return (2 * n * share + 100) // 200


def _reach_row(row: dict[str, float]) -> dict[str, str]:
    return {
        "share": percent(row["share"], 0), "reached": f"{row['reached']:,}", "hits": f"{row['hits']:,.0f}", "of_all": percent(row["of_all"], 0),
        "wasted": f"{row['wasted']:,.0f}"}


def _drivers(task: "TaskBase", voice: Voice, labels: dict[str, str]) -> list[dict[str, Any]]:
    """The strongest features: direction, band averages from high to low, shape."""
    columns, words = {column.name: column for column in task.model.columns}, voice.words
    rows = []
    for said in task.model.card["drivers"]["features"]:
        column, averages = columns[said["feature"]], task.model.reference["averages"][said["feature"]]
        points = [(point["value"], point["contribution"]) for point in said["shape"]]
        rows.append({
            "label": labels[column.name], "family": words[column.family],
            "tags": [words[flag] for flag in ("actionable", "treatment", "undated") if getattr(column, f"is_{flag}")],
            "direction": "" if column.is_category else words[said["direction"]],
            "firm": "–" if said.get("firm_share") is None else percent(said["firm_share"], 0),
            "averages": ["–" if averages[band] is None else voice.shown(averages[band], column.unit, is_average=True) for band in reversed(BANDS)],
            "shape": charts.shape(points, [_tick(value, column.unit) for value, _ in points], labels[column.name])})
    return rows


def _firm_lead(card: Card, voice: Voice) -> str:
    """How far reasons hold when the model is fitted on other customers; empty for a model that was trained before this was asked."""
    said = card.get("stability")
    if not said:
        return ""
    held = said["features"]
    firm, rest = held["sign_agreement_firm"], held["sign_agreement_not_firm"]
    if not firm:
        return voice.say("firm_none", refits=said["refits"], top=said["top"])
    return voice.say(
        "firm_lead", refits=said["refits"], top=said["top"], overlap=percent(held["overlap"]["value"], 0), chance=percent(held["by_lot"]["overlap"], 0),
        other=percent(held["of_another_customer"]["overlap"]["value"], 0), firm=percent(held["firm"]["value"], 0), agree=percent(firm["value"], 0),
        rest=voice.say("firm_rest", share=percent(rest["value"], 0)) if rest else "")


def _tick(value: float, unit: str) -> str:
    """A value under a small picture: its unit stands beside it in the table."""
    return percent(value, 0) if unit == "share" else number(value, 0 if abs(value) >= 10 else 1)


def _candidates(card: Card, words: dict[str, Any], rule: str) -> list[dict[str, Any]]:
    rows = []
    for name in ("lightgbm", "logistic", "blend", "rule"):
        figures = card[name]
        rows.append({
            "name": words[name].format(rule=rule), "auc": f"{figures['auc']:.3f} [{figures['auc_interval'][0]:.3f}, {figures['auc_interval'][1]:.3f}]",
            "log_loss": f"{figures['log_loss']:.4f}", "lift": f"{figures['lift_at_10']:.2f}", "is_winner": card["winner"] == name})
    return rows


def _notes(card: Card, voice: Voice) -> list[str]:
    areas = {"unseen": card["auc_unseen_customers"], **{f"without_{name}": card["ablations"].get(f"auc_without_{name}") for name in ("treatment", "undated")}}
    return [voice.say(name, auc=f"{area:.3f}") for name, area in areas.items() if area is not None]


def _curve(gains: list[dict[str, float]]) -> list[charts.Point]:
    return [(point["reached"], point["hits"]) for point in gains]


def found_at(gains: list[dict[str, float]], share: float) -> float:
    """The share of all hits that the first `share` of customers holds."""
    return next(point["hits"] for point in gains if abs(point["reached"] - share) < 1e-9)
