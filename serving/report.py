"""The marketers' reports: one HTML file per task and an index, which open offline. Every number comes from the run."""

import json
import tomllib
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from features.errors import UsageError
from features.files import write_json, written_whole
from serving import charts
from serving.reasons import shown
from training.saved_model import BANDS, sigmoid

if TYPE_CHECKING:
    from serving.scoring import Base, TaskBase

_HERE = Path(__file__).parent
# How far the average probability may be from what came true before the page tells the reader to use the order only.
MEAN_TOLERANCE = 0.10
Words = dict[str, Any]


def write_reports(run: Path, out: Path, lang: str = "en") -> list[Path]:
    """Write `index.<lang>.html` and `<task>.<lang>.html` for every champion, each whole, and name them in the run's `run.json`.

    Raises: UsageError for a language without words; ContractError where the run has no base or champion.
    """
    from serving.scoring import open_base

    words_file = _HERE / "words" / f"{lang}.toml"
    if not words_file.exists():
        known = ", ".join(sorted(path.stem for path in words_file.parent.glob("*.toml")))
        raise UsageError(f"--lang must be one of {known}, found {lang!r}; choose one of them")
    words = tomllib.loads(words_file.read_text(encoding="utf-8"))
    base = open_base(run)
    pages = {f"{name}.{lang}.html": page(task, base, words, lang) for name, task in base.tasks.items()}
    index = {
        "data": base.info.data, "as_of": _day(base.info.as_of),
        "pages": [{**said, "file": name} for name, said in pages.items()]}
    written = [_write(out / f"index.{lang}.html", "index.html.j2", index, words, lang)]
    written += [_write(out / name, "report.html.j2", said, words, lang) for name, said in pages.items()]
    _name_in_run(run, written)
    return written


def _write(path: Path, template: str, said: dict[str, Any], words: Words, lang: str) -> Path:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    html = environment.get_template(template).render(**said, words=words, lang=lang, say=_sayer(words))
    with written_whole(path) as aside:
        aside.write_text(html, encoding="utf-8")
    return path


def _name_in_run(run: Path, written: list[Path]) -> None:
    summary = run / "run.json"
    if summary.exists():
        said = json.loads(summary.read_text(encoding="utf-8"))
        inside = [str(path.resolve().relative_to(run.resolve())) for path in written if path.resolve().is_relative_to(run.resolve())]
        said["reports"] = sorted({*said.get("reports", []), *inside})
        write_json(summary, said)


def _sayer(words: Words) -> Callable[..., str]:
    def say(key: str, **numbers: Any) -> str:
        return str(words[key]).format(**numbers)
    return say


def page(task: "TaskBase", base: "Base", words: Words, lang: str) -> dict[str, Any]:
    """Everything that one task's page says, as text and charts."""
    model, card, say = task.model, task.model.card, _sayer(words)
    kind, windows, asks = model.task["kind"], model.task["windows"], model.task["eligibility"]
    goal = words["goal_churn"] if kind == "churn" else words["goals"].get(model.task["target_kind"], model.task["target_kind"].replace("_", " "))
    did, will = words[f"did_{kind}"], words[f"will_{kind}"]
    labels = {c.name: (c.label_zh if lang == "zh" else c.label_en) for c in model.columns}
    rule = labels.get(card["rule"]["name"], card["rule"]["name"])
    is_better = card["grade"] == "better than the rule"
    found = {name: _percent(_found_at(card[curve], 0.10)) for name, curve in (("ours", "gains"), ("rule", "rule_gains"))}
    bands = _bands(task, words)
    gain, low_high = card["gain_over_rule"], card["auc_interval"]
    valid_until = _day((datetime.fromisoformat(base.info.as_of) + timedelta(days=windows["horizon_days"])).isoformat())
    use_numbers = {
        "high_n": bands[0]["customers"], "high_expected": bands[0]["expected"], "goal": goal, "horizon": windows["horizon_days"],
        "slide": windows["slide_days"], "as_of": _day(base.info.as_of)}
    who_not = say(
        f"who_not_{kind}", kind=asks["active_kind"].replace("_", " "), days=asks["active_days"], met=words["who_not_met"] if asks.get("received_kind") else "")
    return {
        "title": say("title", goal=goal), "goal": goal, "question": card["question"],
        "verdict": _verdict(card, rule, is_better, say), "verdict_class": "better" if is_better else "same",
        "cards": [
            (found["ours"], say("card_found", did=did, rule=rule, rule_found=found["rule"])),
            (f"{card['auc']:.3f}", say("card_auc", low=f"{low_high[0]:.3f}", high=f"{low_high[1]:.3f}", rule_auc=f"{card['rule']['auc']:.3f}")),
            (f"{gain['auc']:+.3f}", say("card_gain", low=f"{gain['interval'][0]:+.3f}", high=f"{gain['interval'][1]:+.3f}")),
            (_percent(card["mean_predicted"]), say("card_rate", observed=_percent(card["mean_observed"]), goal=goal))],
        "who_lead": say("who_lead", n=f"{len(task.ids):,}", as_of=_day(base.info.as_of)), "bands": bands,
        "uses": [line.format(**use_numbers) for line in words[f"use_{kind}"]],
        "not_uses": [line.format(who_not=who_not, valid_until=valid_until) for line in words["not_use"]],
        "family_chart": charts.bars([(words[row["family"]], row["strength"]) for row in card["drivers"]["families"]], words["drives"]),
        "band_names": [words[band] for band in reversed(BANDS)], "drivers": _drivers(task, words, labels, lang),
        "good_lead": say("good_lead", rows=f"{card['test_rows']:,}", dates=_days(card["test_as_of"]), will=will),
        "gains_chart": charts.curves(
            [(words["line_model"], charts.OURS, _curve(card["gains"])), (say("line_rule", rule=rule), charts.THEIRS, _curve(card["rule_gains"])),
             (words["line_chance"], charts.SOFT, [(0, 0), (1, 1)])], words["gains_x"], say("gains_y", did=did)),
        "calibration_lead": say(
            "calibration_lead", goal=goal, ece=_percent(card["ece"]), ece_chance=_percent(card["ece_by_chance"]["mean"]),
            ece_high=_percent(card["ece_by_chance"]["percentile_95"])),
        "calibration_chart": charts.against([(b["predicted"], b["observed"], b["rows"]) for b in card["calibration"]], words["calibration_x"], words["calibration_y"]),
        "judged_lead": say("judged_lead", purge=windows["gap_days"] + windows["horizon_days"]),
        "blocks": [(words[f"block_{name}"], _days(card[f"{name}_as_of"])) for name in ("train", "tune", "calibrate", "test")],
        "candidates": _candidates(card, words, rule),
        "notes": _notes(card, say), "season_title": say("season", did=did),
        "season_chart": charts.columns([(_day(day), rate) for day, rate in card["label_rate_by_as_of"].items()], say("season", did=did)),
        "made": say("made", model=model.name, version=task.version, fingerprint=card["fingerprint"][:12], as_of=base.info.as_of), "licence": card["licence"],
    }


def _verdict(card: dict[str, Any], rule: str, is_better: bool, say: Callable[..., str]) -> str:
    """Better over the whole list may still be no better at its very top, where a small campaign looks; then it is said."""
    verdict = say("verdict_better" if is_better else "verdict_same", rule=rule)
    if is_better and _found_at(card["gains"], 0.10) <= _found_at(card["rule_gains"], 0.10):
        verdict += " " + say("verdict_top", rule=rule)
    off = card["mean_predicted"] / card["mean_observed"] - 1
    if abs(off) > MEAN_TOLERANCE:
        verdict += " " + say("verdict_high" if off > 0 else "verdict_low", off=f"{100 * abs(off):.0f}%")
    return verdict


def _bands(task: "TaskBase", words: Words) -> list[dict[str, str]]:
    """Each band now and in the test, highest first. A group under ten is not counted out."""
    p = sigmoid(task.log_odds)
    names = np.array(task.model.bands(p))
    rows = []
    for then in task.model.card["bands"]:
        inside = p[names == then["band"]]
        is_shown = len(inside) >= 10
        rows.append({
            "name": words[then["band"]], "customers": f"{len(inside):,}" if is_shown else words["few"],
            "probability": _percent(float(inside.mean())) if is_shown else "", "expected": f"{inside.sum():,.0f}" if is_shown else "",
            "test_rows": f"{then['rows']:,}", "test_expected": f"{then['expected']:,.0f}",
            "test_actual": words["few"] if then["actual"] is None else f"{then['actual']:,}"})
    return rows


def _drivers(task: "TaskBase", words: Words, labels: dict[str, str], lang: str) -> list[dict[str, Any]]:
    """The strongest features: direction, band averages from high to low, shape."""
    columns = {column.name: column for column in task.model.columns}
    rows = []
    for said in task.model.card["drivers"]["features"]:
        column, averages = columns[said["feature"]], task.model.reference["averages"][said["feature"]]
        rows.append({
            "label": labels[column.name], "family": words[column.family],
            "tags": [words[flag] for flag in ("actionable", "treatment", "undated") if getattr(column, f"is_{flag}")],
            "direction": "" if column.is_category else words[said["direction"]],
            "averages": ["–" if averages[band] is None else shown(averages[band], column.unit, lang, is_average=True) for band in reversed(BANDS)],
            "shape": charts.shape([(point["value"], point["contribution"]) for point in said["shape"]], labels[column.name])})
    return rows


def _candidates(card: dict[str, Any], words: Words, rule: str) -> list[dict[str, Any]]:
    rows = []
    for name in ("lightgbm", "logistic", "blend", "rule"):
        figures = card[name]
        rows.append({
            "name": words[name].format(rule=rule), "auc": f"{figures['auc']:.3f} [{figures['auc_interval'][0]:.3f}, {figures['auc_interval'][1]:.3f}]",
            "log_loss": f"{figures['log_loss']:.4f}", "lift": f"{figures['lift_at_10']:.2f}", "is_winner": card["winner"] == name})
    return rows


def _notes(card: dict[str, Any], say: Callable[..., str]) -> list[str]:
    notes = [say("unseen", auc=f"{card['auc_unseen_customers']:.3f}")]
    for name in ("treatment", "undated"):
        area = card["ablations"].get(f"auc_without_{name}")
        if area is not None:
            notes.append(say(f"without_{name}", auc=f"{area:.3f}"))
    return notes


def _curve(gains: list[dict[str, float]]) -> list[charts.Point]:
    return [(point["reached"], point["hits"]) for point in gains]


def _found_at(gains: list[dict[str, float]], share: float) -> float:
    return next(point["hits"] for point in gains if abs(point["reached"] - share) < 1e-9)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _day(stamp: str) -> str:
    return stamp[:10]


def _days(stamps: list[str]) -> str:
    days = [_day(stamp) for stamp in stamps]
    return ", ".join(days) if len(days) <= 4 else f"{days[0]} … {days[-1]} ({len(days)})"
