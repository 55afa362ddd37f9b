"""What the page *Touchpoints* says: the funnel, the first steps, attribution, and where to look first; where nobody browses, why there is none."""

from typing import TYPE_CHECKING, Any

from serving import charts
from serving.base_pages import lacking, records
from serving.words import Voice, base_words, percent
from serving.words import told as told_in

if TYPE_CHECKING:
    from serving.base_pages import BaseTold

DAYS, MOST_STEPS, MOST_PATHS, MOST_PLACES = 90, 8, 10, 10
METHODS = ("first", "last", "linear", "position", "markov-1", "shapley")


def page(told: "BaseTold", voice: Voice) -> dict[str, Any]:
    """Everything that the page says, as text and charts; `data` is what its numbers come from."""
    words, found, as_of = base_words(voice.language), told.journeys, voice.day(told.as_of)
    tables = {name: records(frame) for name, frame in found.tables.items() if name in ("funnel", "step_matrix", "paths", "attribution", "priority")} if found else {}
    lacks = {**(found.unavailable if found else {}), **({"journeys": told.lacks["journeys"]} if "journeys" in told.lacks else {})}
    unit = words[f"unit_{found.ladder.unit}"] if found else words["unit_sessions"]
    funnel = [row for row in tables.get("funnel", []) if row["dimension"] == ""] if "funnel" not in lacks else []
    ranked = sorted((row for row in tables.get("priority", []) if row["rank"] is not None), key=lambda row: row["rank"])[:MOST_PLACES] if "priority" not in lacks else []
    notes = found.notes if found else []
    data = {"data": told.data, "as_of": as_of, "days": DAYS, "tables": tables, "notes": notes, "unavailable": lacks,
            "card": {"fingerprint": told.fingerprint, "licence": told.licence}}

    def called(name: str) -> str:
        return named(name, words)

    def where(row: dict[str, Any]) -> str:
        return f"{called(row['stage'])} · {called(row['channel'])} · {called(row['device'])}"

    cards = []
    if funnel and funnel[0]["n_sessions"]:
        last = funnel[-1]
        cards = [(f"{funnel[0]['n_sessions']:,.0f}", words["card_sessions"].format(unit=unit, days=DAYS)),
                 *([(percent(last["share_of_first"]), words["card_converted"].format(last=called(last["stage"])))] if last["share_of_first"] is not None else [])]
    # The first of a ranking stands out only where chance does not explain it.
    if ranked:
        cards.append((where(ranked[0]), words["card_first"]) if ranked[0]["excess_per_1000_low"] > 0 else ("–", words["card_none"]))
    return {
        "data": data, "zone": told.zone, "is_simulated": told.is_simulated, "title": words["touchpoints_title"], "base": words,
        "lead": words["touchpoints_lead"].format(days=DAYS, as_of=as_of), "cards": cards, "unit": unit,
        "unit_column": words[f"unit_{found.ladder.unit if found else 'sessions'}_column"], "excess": words["excess"].format(unit=unit),
        "funnel": [_stage(row, called(row["stage"]), words) for row in funnel],
        "funnel_chart": charts.bars([(called(row["stage"]), row["n_sessions"]) for row in funnel if row["n_sessions"]], words["funnel_title"]) if funnel else "",
        "by_channel": _by_channel(tables.get("funnel", []), [row["stage"] for row in funnel], words) if funnel else "",
        "steps": _steps(tables.get("step_matrix", []), words),
        "paths": [{"path": " → ".join(called(step) for step in row["path"].split(" > ")), "n": f"{row['n_sessions']:,.0f}",
        "share": percent(row["share"]), "converted": _percent(row["converted"])}
                  for row in tables.get("paths", [])[:MOST_PATHS]],
        "attribution": _attribution(tables.get("attribution", []), words) if "attribution" not in lacks else "",
        "priority": [{"place": where(row), "excess": f"{row['excess_per_1000']:.2f}", "drop": _percent(row["drop_off"]),
                      "elsewhere": _percent(row["drop_off_elsewhere"])} for row in ranked],
        "priority_chart": charts.ranged(
            [(where(row), row["excess_per_1000"], row["excess_per_1000_low"], row["excess_per_1000_high"], f"{row['excess_per_1000']:.2f}") for row in ranked],
            words["priority_title"]),
        "lacks": lacking(lacks, words, voice), "notes": [told_in(line, voice.language, words["names"]) for line in notes],
        "made": words["base_made"].format(data=told.data, fingerprint=told.fingerprint[:12], as_of=as_of), "licence": told.licence}


def named(name: str, words: dict[str, Any]) -> str:
    """A stage, kind of event, channel or device by its name here; else as the data call it."""
    return str(words["names"].get(name, name.replace("_", " ")))


def _percent(share: float | None, digits: int = 1) -> str:
    return "" if share is None else percent(share, digits)


def _stage(row: dict[str, Any], name: str, words: dict[str, Any]) -> dict[str, str]:
    interval = "" if row["drop_off"] is None else f"{percent(row['drop_off_low'])} – {percent(row['drop_off_high'])}"
    return {"stage": name, "n": words["base_few"] if row["n_sessions"] is None else f"{row['n_sessions']:,.0f}", "lost": _percent(row["drop_off"]), "interval": interval}


def _by_channel(rows: list[dict[str, Any]], stages: list[str], words: dict[str, Any]) -> Any:
    told = [row for row in rows if row["dimension"] == "channel"]
    cells = {(row["value"], row["stage"]): row["drop_off"] for row in told}
    channels = list(dict.fromkeys(row["value"] for row in told))

    def cell(channel: str, name: str) -> tuple[float | None, str]:
        value = cells.get((channel, name))
        return (None, "·") if value is None else (value, percent(value, 0))

    lost = [(named(channel, words), [cell(channel, name) for name in stages[:-1]]) for channel in channels]
    return charts.heat([named(name, words) for name in stages[:-1]], lost, words["by_channel"]) if channels else ""


def _steps(rows: list[dict[str, Any]], words: dict[str, Any]) -> Any:
    """As far as somebody goes on, and the end."""
    from features.journeys.paths import END

    shares = {(row["step"], row["place"]): row["share"] for row in rows if row["share"] is not None}
    last = max((place for step, place in shares if step != END), default=0) + 1
    places = sorted({row["place"] for row in rows if row["place"] <= last})[:MOST_STEPS]
    # Equal ones by name, the end last: a page is the same each time.
    steps = sorted({step for step, _ in shares}, key=lambda step: (-sum(shares.get((step, place), 0) for place in places), step == END, step))[:12]

    def cell(step: str, place: int) -> tuple[float | None, str]:
        value = shares.get((step, place))
        return (None, "") if value is None else (value, percent(value, 0))

    told = [(named(step, words), [cell(step, place) for place in places]) for step in steps]
    return charts.heat([words["place"].format(i=place) for place in places], told, words["steps_title"]) if steps else ""


def _attribution(rows: list[dict[str, Any]], words: dict[str, Any]) -> Any:
    shares = {(row["channel"], row["method"]): row["share"] for row in rows}
    methods = [method for method in METHODS if any(row["method"] == method for row in rows)]
    channels = list(dict.fromkeys(row["channel"] for row in rows))

    def cell(channel: str, method: str) -> tuple[float | None, str]:
        value = shares.get((channel, method))
        return (None, "·") if value is None else (value, percent(value, 0))

    told = [(words["methods"].get(method, method), [cell(channel, method) for channel in channels]) for method in methods]
    return charts.heat([named(channel, words) for channel in channels], told, words["attribution_title"]) if methods else ""
