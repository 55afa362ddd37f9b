"""What the page of a lookalike task says of its list of seeds, of the hidden positives, and of who would be in the audience."""

from collections.abc import Mapping
from typing import Any

from serving.words import Voice, percent

# As many uneven groups as are said in a sentence each; the table has all.
MOST_UNEVEN = 3
MOST_NAMES = 3


def said_of(card: Mapping[str, Any], labels: Mapping[str, str], voice: Voice) -> dict[str, Any]:
    """The page's part, as text. `labels` name the features."""
    return {
        "list_lines": [*_list(card, labels, voice), _selection(card["selection"], labels, voice)], "hidden": _hidden(card["unlabelled"], voice),
        "uneven": _uneven(card["skew"], labels, voice), "skew_rows": [row for one in card["skew"] for row in _rows(one, labels, voice)]}


def _list(card: Mapping[str, Any], labels: Mapping[str, str], voice: Voice) -> list[str]:
    check, say, between = card["seed_check"], voice.say, voice.words["and_day"]
    lines = [say("alike_list_size", n=f"{check['seeds']:,}")]
    if check["age_days"]:
        lines.append(say("alike_list_age", median=round(check["age_days"]["median"])))
    if check["shift"]:
        lines.append(say("alike_list_shift", names=between.join(labels.get(one["name"], one["name"]) for one in check["shift"][:MOST_NAMES])))
    filled = {"copies": f"{check['copies']:,}", "kinds": len(check["kinds"]), "shares": between.join(percent(one["share"], 0) for one in check["kinds"])}
    return lines + [say(f"alike_finding_{code}", **filled) for code in check["findings"]]


def _selection(said: Mapping[str, Any], labels: Mapping[str, str], voice: Voice) -> str:
    if said["verdict"] == "doubtful":
        names = [labels.get(one["name"], one["name"]) for one in said["columns"]]
        return voice.say("alike_selection_doubtful", names=voice.words["and_day"].join(names) or "–")
    return str(voice.words["alike_selection_none" if said["auc"] is not None else "alike_selection_unknown"])


def _hidden(said: Mapping[str, Any], voice: Voice) -> str:
    low, high = (percent(value, 1) for value in sorted(one["value"] for one in said["priors"].values()))
    key = "alike_hidden" if said["priors_agree"] else "alike_hidden_not"
    return voice.say(key, auc=f"{said['auc_pu']:.3f}", low=low, high=high, corrected=f"{said['auc_corrected'] or 0:.3f}")


def _uneven(skew: list[dict[str, Any]], labels: Mapping[str, str], voice: Voice) -> list[str]:
    """The most uneven groups, one of each attribute; sensitive attributes first."""
    worst = [(one["why"] != "sensitive", one["attribute"], one["uneven"][0]) for one in skew if one["uneven"]]
    return [
        voice.say(
            "alike_skew_uneven", group=_group(group["group"], voice), attribute=labels.get(attribute, attribute), skew=f"{group['skew']:.2f}", reach=percent(group["reach"], 0))
        for _, attribute, group in sorted(worst, key=lambda one: one[:2])[:MOST_UNEVEN]]


def _rows(one: Mapping[str, Any], labels: Mapping[str, str], voice: Voice) -> list[dict[str, Any]]:
    why = one["why"]
    told = voice.words[f"alike_why_{why}"] if why in ("sensitive", "profile") else voice.say("alike_why_told", attribute=labels.get(why, why))
    return [
        {"attribute": labels.get(one["attribute"], one["attribute"]) if i == 0 else "", "why": told, "group": _group(row["group"], voice), "seeds": _told(row["seeds"]),
         "everybody": _told(row["everybody"]), "audience": [_told(row["audience"][key]) for key in ("5", "10", "20")],
         "skew": "–" if row["skew"]["10"] is None else f"{row['skew']['10']:.2f}"}
        for i, row in enumerate(one["groups"])]


def _group(name: str, voice: Voice) -> str:
    return str(voice.words.get(f"alike_group_{name}", name))


def _told(share: float | None) -> str:
    return "–" if share is None else percent(share, 0)
