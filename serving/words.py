"""The words of a language, and how its readers write questions, dates and amounts. One file of words for each language."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from features.notes import Note

if TYPE_CHECKING:
    from training.saved_model import Column

# Not a path of the file system: on Spark's workers this room is an archive.
_FOLDER = files("serving") / "words"
LANGUAGES = ("en", "zh")
_WITHOUT_MINOR_UNITS = {"JPY", "KRW", "VND", "CLP", "ISK"}
_BETWEEN = re.compile(r"(?<=[\u4e00-\u9fff])(?=[0-9A-Za-z])|(?<=[0-9A-Za-z%])(?=[\u4e00-\u9fff])")
# More days than this are told by the first, the last and how many there are.
MOST_DAYS = 4


@cache
def words_of(language: str) -> dict[str, Any]:
    """The words of a language, read once."""
    return tomllib.loads((_FOLDER / f"{language}.toml").read_text(encoding="utf-8"))


@cache
def base_words(language: str) -> dict[str, Any]:
    """The words of the pages of the whole base."""
    return tomllib.loads((_FOLDER / f"base.{language}.toml").read_text(encoding="utf-8"))


@cache
def _notes(language: str) -> dict[str, Any]:
    path = _FOLDER / f"notes.{language}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def told(text: str, language: str, names: Mapping[str, str] | None = None) -> tuple[str, str]:
    """A note of the features room in a language, and which language that is: English where it has no words for it. `names` are what things are called here."""
    if not isinstance(text, Note):
        return str(text), "en"
    # The room's own sentences are English.
    known: dict[str, Any] = {"names": {}, "between": ", ", text.key: text.template} if language == "en" else _notes(language)
    if text.key not in known:
        return str(text), "en"
    called: dict[str, str] = {**known["names"], **(names or {})}

    def here(value: str) -> str:
        """A note, a name, or names in a row."""
        if isinstance(value, Note):
            return told(value, language, names)[0]
        return called[value] if value in called else str(known["between"]).join(called.get(part, part) for part in value.split(", "))

    values = {name: here(value) for name, value in text.values.items()}
    return Voice(language).spaced(str(known[text.key]).format(**values)), language


class Voice:
    """One language and one calendar: `say` fills a sentence, the rest writes values as its readers do."""

    def __init__(self, language: str, zone: str = "UTC") -> None:
        self.language, self.words, self.zone = language, words_of(language), ZoneInfo(zone)

    def say(self, key: str, **values: Any) -> str:
        """The sentence of that key with its values."""
        return str(self.words[key]).format(**values)

    def day(self, stamp: str) -> str:
        """An instant (ISO, UTC) or a date -> the day that customers call it."""
        moment = datetime.fromisoformat(stamp)
        local = moment.astimezone(self.zone) if moment.tzinfo else moment
        return self.say("date", year=local.year, month=local.month, day=local.day)

    def days(self, stamps: Sequence[str]) -> str:
        """Some days in a row."""
        told = [self.day(stamp) for stamp in stamps]
        return str(self.words["and_day"]).join(told) if len(told) <= MOST_DAYS else self.say("day_range", first=told[0], last=told[-1], n=len(told))

    def label(self, column: "Column") -> str:
        """What a column is called."""
        return self.named({"en": column.label_en, "zh": column.label_zh})

    def named(self, labels: Mapping[str, str]) -> str:
        """A label by language; Chinese stands apart from digits and Latin letters, as in every sentence here."""
        return self.spaced(labels[self.language])

    def spaced(self, text: str) -> str:
        """A text of the data's dictionary as this language sets it."""
        return _BETWEEN.sub(" ", text) if self.language == "zh" else text

    def kind(self, name: str) -> str:
        """What a kind of event is called; one that nobody knows here, as the data name it."""
        return str(self.words["kinds"].get(name, name.replace("_", " ")))

    def event(self, task: Mapping[str, Any]) -> str:
        """The event that a task is about, with its category where one is named."""
        event, category = self.kind(task["target_kind"]), task.get("target_category")
        return self.say("in_category", event=event, category=category) if category else event

    def goal(self, task: Mapping[str, Any]) -> str:
        """What a customer does whom the task finds: leaves, buys, redeems a coupon."""
        if task["kind"] == "churn":
            return str(self.words["goal_churn"])
        goal = self.words["goals"].get(task["target_kind"]) or self.say("goal_other", kind=self.kind(task["target_kind"]))
        category = task.get("target_category")
        return self.say("goal_in_category", goal=goal, category=category) if category else str(goal)

    def question(self, task: Mapping[str, Any], labels: Mapping[str, str]) -> str:
        """A task in one plain sentence; `labels` name the features."""
        asks, seeds = task["eligibility"], task.get("seeds") or {}
        met = self.say("question_met", received=self.kind(asks["received_kind"])) if asks.get("received_kind") else ""
        return self.say(
            f"question_{task['kind']}", event=self.event(task), days=task["windows"]["horizon_days"], active=self.kind(asks["active_kind"]),
            active_days=asks["active_days"], met=met, seeds=self.seeds(seeds, labels))

    def seeds(self, seeds: Mapping[str, Any], labels: Mapping[str, str]) -> str:
        """Who the seeds of a lookalike task are."""
        if seeds.get("event_kind"):
            first, until = seeds.get("from_date"), seeds.get("until_date")
            dates = ""
            if first and until:
                last = datetime.fromisoformat(until) - timedelta(days=1)
                dates = self.say("seeds_dates", first=self.day(first), last=self.day(last.isoformat()))
            return self.say("seeds_event", event=self.kind(seeds["event_kind"]), dates=dates)
        if seeds.get("column"):
            return self.say("seeds_top", share=percent(seeds["top_share"], 0), label=labels.get(seeds["column"], seeds["column"]))
        return str(self.words["seeds_list"])

    def currency(self, code: str) -> str:
        """A currency by its name; by its code where it has none here."""
        return str(self.words["currencies"].get(code, code))

    def shown(self, value: float | str | None, unit: str, is_average: bool = False) -> str:
        """A value as a person would write it: money with its currency, shares in percent, days as days, counts whole.

        Units: a currency code, share, days, category; any other is a plain number.
        """
        words = self.words["reasons"]
        if value is None:
            return str(words["not_known"])
        if isinstance(value, str):
            return value
        if len(unit) == 3 and unit.isalpha() and unit.isupper():
            return str(words["money"]).format(amount=f"{value:,.{0 if unit in _WITHOUT_MINOR_UNITS else 2}f}", code=unit, currency=self.currency(unit))
        if unit == "share":
            return percent(value, 0 if abs(value) >= 0.1 or value == 0 else 1)
        if unit == "days":
            n = number(value, 0 if abs(value) >= 10 else 1)
            return str(words["day"] if n == "1" else words["days"].format(n=n))
        if unit in ("ratio", "nats"):
            return number(value, 2)
        return number(value, 1 if is_average else 2)


def number(value: float, digits: int) -> str:
    """At most `digits` decimals, without trailing zeros, thousands apart."""
    text = f"{value:,.{digits}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def percent(share: float, digits: int = 1) -> str:
    """A share of 1 in percent."""
    return f"{100 * share:.{digits}f}%"
