"""The card of a served model: what it is, what it learned from, how it was judged, and what it is not for (Mitchell et al. 2019)."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from training.space import Space

if TYPE_CHECKING:
    from serving.scoring import Base
    from training.saved_model import SavedModel

# What a record's blocks of time are for, in the order of time.
_BLOCKS = {
    "train_as_of": "parameters tried on", "tune_as_of": "parameters chosen on", "calibrate_as_of": "winner chosen on", "test_as_of": "judged on",
    "fit_as_of": "the model judged was fitted on", "refit_as_of": "the model served was fitted on"}
_CANDIDATES = ("lightgbm", "logistic", "blend", "rule")
_FIGURES = ("auc", "average_precision", "log_loss", "brier", "lift_at_5", "lift_at_10", "lift_at_20", "recall_at_10")
Rows = list[tuple[str, str]]


def served(base: "Base") -> "Iterator[tuple[str, SavedModel | Space, str]]":
    """Task, champion and version of all that a base serves."""
    for name, task in base.tasks.items():
        yield name, task.model, task.version
    for name, space in base.spaces.items():
        yield name, space.space, space.version


def card(model: "SavedModel | Space", version: str) -> dict[str, Any]:
    """The card as titles and rows of text, in English."""
    said, task = model.card, model.task
    is_space = isinstance(model, Space)
    sections: list[tuple[str, Rows]] = [
        ("What it is", [
            ("task", said["question"]), ("model", f"{model.name} version {version}"), ("kind", said["winner"]),
            ("gives", "likeness to seeds, which is no probability" if is_space else "a calibrated probability, and contributions that add up to its log odds"),
            ("grade", said["grade"]), ("parameters", _text(said["params"])),
            ("windows, days", _text(task["windows"])), ("who is asked about", _text({name: value for name, value in task["eligibility"].items() if value}))]),
        ("Data", [
            ("data set", f"{said['data']}{', simulated' if said.get('is_simulated') else ''}, licence {said['licence']}"), ("fingerprint", said["fingerprint"]),
            ("zone, currency", f"{said['zone']}, {said['currency']}"),
            ("rows, positives" if not is_space else "customers, seeds", f"{said['rows']:,}, {said['positives']:,} ({100 * said['base_rate']:.1f}%)"),
            ("inputs", f"{len(model.columns)}: {', '.join(column.name for column in model.columns)}"),
            ("sensitive inputs, never named in reasons", ", ".join(column.name for column in model.columns if column.is_sensitive) or "none")]),
        ("How it was judged", [*[(words, _span(said[name])) for name, words in _BLOCKS.items() if said.get(name)],
            ("figures", said["figures"]), ("chosen by", _text(said["chosen_by"]))])]
    sections.append(("Figures on what it had not seen, with 95% intervals over customers", _space_figures(said) if is_space else _figures(said)))
    told = [(doubt["code"], f"found {doubt['found']}; needed {doubt['needed']}; {doubt['do']}") for doubt in said.get("doubts", ())]
    sections.append(("Doubts that stood before any tuning", told))
    sections.append(("Stability of reasons, when the recipe is fitted again on other draws of customers", _stability(said)))
    sections.append(("Left out", list(said.get("excluded", {}).items())))
    sections.append(("Meant for", [
        ("use", "ordering these customers for an audience like the seeds" if is_space else "ordering and counting the customers of the task, until its horizon is over"),
        ("not for", "credit, work, housing, prices for single persons, or anything with legal effect; customers whom the task does not ask about; proof of a cause"),
        ("known limits", "its figures are of the past seasons that the data hold; a change of who gets campaigns changes what it predicts")]))
    sections.append(("Made with", [(name, number) for name, number in said["packages"].items()]))
    return {"title": f"{model.name} version {version}", "is_simulated": said.get("is_simulated", False), "sections": [(title, rows) for title, rows in sections if rows]}


def _figures(said: dict[str, Any]) -> Rows:
    rows = _by_candidate({kind: said[kind] for kind in _CANDIDATES}, said["winner"])
    gain = said["gain_over_rule"]
    return [
        ("rows, positives, customers judged", f"{said['test_rows']:,}, {said['test_positives']:,}, {said['test_customers']:,}"), *rows,
        (f"AUC above the rule {said['rule']['name']}", f"{gain['auc']:+.4f} [{gain['interval'][0]:+.4f}, {gain['interval'][1]:+.4f}]"),
        *_strongest(said), ("mean predicted, observed", f"{said['mean_predicted']:.4f}, {said['mean_observed']:.4f}"),
        *_lines(said),
        ("expected calibration error; by chance alone", f"{said['ece']:.4f}; {said['ece_by_chance']['mean']:.4f}, at most {said['ece_by_chance']['percentile_95']:.4f} in 95%"),
        ("AUC of customers never met before", "not known" if said["auc_unseen_customers"] is None else f"{said['auc_unseen_customers']:.4f}"),
        *_profit(said), *[(name.replace("_", " "), f"{area:.4f}") for name, area in said["ablations"].items() if area is not None]]


def _lines(said: dict[str, Any]) -> Rows:
    """Slope and intercept of the calibration line; a card of an earlier version has them without intervals."""
    return [
        (f"calibration {name}", f"{said[key]:.3f}" + ("" if f"{key}_interval" not in said else " [{:.3f}, {:.3f}]".format(*said[f"{key}_interval"])))
        for name, key in (("slope", "calibration_slope"), ("intercept", "calibration_intercept"))]


def _profit(said: dict[str, Any]) -> Rows:
    """EMPC and MPC (Verbraken et al. 2013), with the share of customers to call, for the amounts that were declared or else the source's."""
    found = said.get("profit")
    if not found:
        return []
    amounts = f"{_text(found['campaign'])}, {'declared' if found['is_declared'] else 'not declared: the amounts of the source'}"
    return [
        ("campaign, in the currency above", amounts), ("EMPC for each customer; share to call", f"{_share(found['empc'])}; {_share(found['empc_fraction'])}"),
        ("MPC for each customer; share to call", f"{_share(found['mpc'])}; {_share(found['mpc_fraction'])}"),
        ("EMPC of the rule; above it", f"{_share(found['rule']['empc'])}; {_share(found['gain_over_rule'])}")]


def _strongest(said: dict[str, Any]) -> Rows:
    """The strongest rule that was found before the test, sums of ranks and RFM cells among them; models registered earlier have none."""
    if not (rule := said.get("strongest_rule")):
        return []
    low, high = rule["gain_over_it"]["interval"]
    return [(f"AUC above the strongest of {rule['tried']} rules, {rule['name']} ({rule['auc']:.4f})", f"{rule['gain_over_it']['value']:+.4f} [{low:+.4f}, {high:+.4f}]")]


def _stability(said: dict[str, Any]) -> Rows:
    """How far the first reasons of a customer hold on later rows, by single features, by groups of correlated ones, and by families."""
    found = said.get("stability", {})
    rows = [("refits on bootstrap samples; customers asked about", f"{found['refits']}, of which {found['judging_refits']} judge; {found['customers']:,}")] if found else []
    for level in ("features", "correlated", "families"):
        if level in found:
            held, chance = found[level], found[level]["of_another_customer"]
            rows += [
                (f"{level} ({held['groups']}): overlap of the first {found['top']}; by lot; of another customer",
                 f"{_share(held['overlap'])}; {held['by_lot']['overlap']:.3f}; {_share(chance['overlap'])}"),
                (f"{level}: agreement in sign; of another customer", f"{_share(held['sign_agreement'])}; {_share(chance['sign_agreement'])}"),
                (f"{level}: firm; agreement in sign of the firm, of the others",
                 f"{_share(held['firm'])}; {_share(held['sign_agreement_firm'])}; {_share(held['sign_agreement_not_firm'])}")]
    return rows


def _share(said: dict[str, Any] | None) -> str:
    return "none" if said is None else f"{said['value']:.3f} [{said['interval'][0]:.3f}, {said['interval'][1]:.3f}]"


def _unlabelled(said: dict[str, Any]) -> Rows:
    """What is known of a list of seeds and of the hidden positives, and where its audience is uneven."""
    found, selection, check = said["unlabelled"], said["selection"], said["seed_check"]
    corrected = f"{found['auc_corrected']:.4f}" if found["priors_agree"] else "not told: the estimates disagree"
    uneven = [f"{one['attribute']} {group['group']} {group['skew']:.2f} times at {group['reach']:.0%}" for one in said["skew"] for group in one["uneven"]]
    return [
        ("AUC against everybody else, hidden positives among them", f"{found['auc_pu']:.4f} [{found['auc_pu_interval'][0]:.4f}, {found['auc_pu_interval'][1]:.4f}]"),
        ("share of hidden positives, two estimates", "; ".join(f"{name.replace('_', ' ')} {one['value']:.3f}" for name, one in found["priors"].items())),
        ("AUC corrected for them", corrected),
        ("seeds drawn by lot among those like them", selection["verdict"] + (f" (AUC of selection {selection['auc']:.3f})" if selection["auc"] is not None else "")),
        ("findings in the list of seeds", ", ".join(check["findings"]) or "none"), ("uneven in the audience", "; ".join(uneven) or "nothing beyond chance")]


def _space_figures(said: dict[str, Any]) -> Rows:
    gain = said["gain_over_rule"]
    return [
        ("customers, seeds judged", f"{said['test_rows']:,}, {said['test_seeds']:,} ({'later' if said['split'] == 'later' else said['split']})"),
        *_by_candidate({**said["rankers"], "a new list at once": said["instant"], "rule": said["rule"]}, said["winner"]),
        *_unlabelled(said),
        (f"lift at 10% above the plain filter {said['rule']['name']}", f"{gain['lift_at_10']:+.2f} [{gain['interval'][0]:+.2f}, {gain['interval'][1]:+.2f}]"),
        ("lift at 10% of random seeds", f"{said['random_seed_lift']:.2f} [{said['random_seed_interval'][0]:.2f}, {said['random_seed_interval'][1]:.2f}]"),
        ("lift at 10% with what is left out", f"{said['with_excluded']['lift_at_10']:.2f}")]


def _by_candidate(candidates: dict[str, dict[str, Any]], winner: str) -> Rows:
    rows: Rows = []
    for name in _FIGURES:
        for kind, figures in candidates.items():
            if name in figures:
                low, high = figures[f"{name}_interval"]
                rows.append((f"{name}, {kind}{' (served)' if kind == winner else ''}", f"{figures[name]:.4f} [{low:.4f}, {high:.4f}]"))
    return rows


def _span(stamps: list[str]) -> str:
    return f"{stamps[0][:10]} to {stamps[-1][:10]}, {len(stamps)} snapshots (UTC)" if len(stamps) > 1 else f"{stamps[0][:10]} (UTC)"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace('"', "").strip("{}")
