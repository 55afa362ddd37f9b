"""What the page of a lookalike task says: how good the ranking is, how far an audience can grow, and what makes it alike."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from serving import charts
from serving.alike_list import said_of
from serving.task_page import SMALLEST_GROUP
from serving.words import Voice, percent

if TYPE_CHECKING:
    from serving.alike import Audience, SpaceBase
    from serving.scoring import Info

SHARE = 0.10
N_COLUMNS = 10


def page(base: "SpaceBase", info: "Info", voice: Voice) -> dict[str, Any]:
    """Everything that the page says, as text and charts; `data` is what its numbers come from.

    Raises: UsageError where too few of the seeds are in the base.
    """
    space, card, words, say = base.space, base.space.card, voice.words, voice.say
    labels = {name: voice.named(said) for name, said in card["labels"].items()}
    rule = labels.get(card["rule"]["name"], card["rule"]["name"])
    found = base.audience(reach=max(1, round(SHARE * (len(base.ids) - len(base.seed_ids)))))
    valid_until = datetime.fromisoformat(info.as_of) + timedelta(days=space.task["windows"]["horizon_days"])
    data = {
        "data": info.data, "as_of": voice.day(info.as_of), "valid_until": voice.day(valid_until.isoformat()), "customers": len(base.ids), "task": {**space.task, "rules": None},
        "version": base.version, "labels": labels, "card": {name: said for name, said in card.items() if name != "params"}, "reach": found.curve,
        "seeds_dates": voice.seeds(space.task.get("seeds") or {}, labels), "shared": shared(base, found, voice)}
    is_better = card["grade"] == "better than the rule"
    lift = {"lift": f"{card['lift_at_10']:.2f}", "rule_lift": f"{card['rule']['lift_at_10']:.2f}", "rule": rule}
    interval, chance = card["lift_at_10_interval"], card["random_seed_interval"]
    with_all = card["with_excluded"]
    return {
        "zone": card["zone"], "data": data, "title": words["lookalike_title"], "question": voice.question(space.task, labels),
        "verdict": say("alike_better" if is_better else "alike_same", **lift), "verdict_class": "better" if is_better else "same",
        "cards": [
            (lift["lift"], say("alike_card_lift", low=f"{interval[0]:.2f}", high=f"{interval[1]:.2f}")), (percent(card["recall_at_10"]), words["alike_card_recall"]),
            (lift["rule_lift"], say("alike_card_rule", rule=rule)),
            (f"{card['random_seed_lift']:.2f}", say("alike_card_random", low=f"{chance[0]:.2f}", high=f"{chance[1]:.2f}"))],
        "how_lead": say("alike_how_lead", seeds=f"{card['seeds']:,}", customers=f"{len(base.ids):,}", as_of=data["as_of"]),
        "reach_rows": [
            {"share": percent(point["share"], 0), "customers": f"{row['reach']:,}", "similarity": percent(row["similarity"], 0), "lift": f"{row['expected_lift']:.1f}"}
            for point, row in zip(found.fitted.curve, found.curve, strict=True)],
        "curve_chart": charts.curves(
            [(words["line_model"], charts.OURS, [(0, 0), *((point["reach"], point["recall"]) for point in card["curve"])]),
             (say("line_rule", rule=rule), charts.THEIRS, [(0, 0), *((point["reach"], point["rule_recall"]) for point in card["curve"])]),
             (words["line_chance"], charts.SOFT, [(0, 0), (1, 1)])], words["alike_x"], words["alike_y"]),
        "shared": data["shared"],
        "judged": say("alike_judged_later" if card["split"] == "later" else "alike_judged_others", n=f"{card['test_seeds']:,}"),
        "left_out": say(
            "alike_left_out", names=words["and_day"].join(labels.get(name, name) for name in card["excluded"]), with_all=f"{with_all['lift_at_10']:.2f}",
            without=f"{with_all['without']:.2f}") if card["excluded"] else "",
        "rankers": [
            *(_ranker(words[name], said, name == card["winner"]) for name, said in card["rankers"].items()), _ranker(words["alike_instant"], card["instant"], False),
            _ranker(say("rule", rule=rule), card["rule"], False)],
        **said_of(card, labels, voice),
        "uses": [line.format(task=base.task, valid_until=data["valid_until"]) for line in words["alike_use"]], "not_uses": words["alike_not"],
        "made": say("made", model=space.name, version=base.version, fingerprint=card["fingerprint"][:12], as_of=data["as_of"]), "licence": card["licence"],
        "is_simulated": card.get("is_simulated", False)}


def shared(base: "SpaceBase", found: "Audience", voice: Voice) -> list[dict[str, Any]]:
    """What adds most to the likeness of the audience found, strongest first: averages of seeds, audience and everybody; sensitive columns are not named."""
    columns, x = base.space.columns, base.x
    strength = base.space.contributions(found.fitted, x[found.rows]).mean(axis=0)
    groups = {"seeds": x[[customer in base.seed_ids for customer in base.ids]], "tenth": x[found.rows], "all": x}
    chosen = [j for j in np.argsort(-strength, kind="stable") if strength[j] > 0 and not columns[j].is_sensitive][:N_COLUMNS]

    def told(j: int, group: str) -> str:
        column, values = columns[j], groups[group][:, j]
        known = values[~np.isnan(values)]
        if len(known) < SMALLEST_GROUP:
            return "–"
        average = column.levels[int(np.bincount(known.astype(int)).argmax())] if column.is_category else float(known.mean())
        return voice.shown(average, column.unit, is_average=True)

    return [
        {"label": voice.label(columns[j]), "family": voice.words[columns[j].family], **{group: told(j, group) for group in ("seeds", "tenth", "all")}}
        for j in map(int, chosen)]


def _ranker(name: str, said: dict[str, Any], is_winner: bool) -> dict[str, Any]:
    low, high = said["lift_at_10_interval"]
    return {"name": name, "lift": f"{said['lift_at_10']:.2f} [{low:.2f}, {high:.2f}]", "recall": percent(said["recall_at_10"]), "is_winner": is_winner}
