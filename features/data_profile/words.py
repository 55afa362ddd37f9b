"""How the profile is written in a language: sentences, counts that are too small to be told, shares, money, times, and texts from the data made harmless."""

import tomllib
import unicodedata
from collections.abc import Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from features.data_profile.cells import SMALLEST_GROUP, hidden, is_small
from features.dataset import minor_units

LANGUAGES = ("en", "zh")
MOST_CHARACTERS = 40


@cache
def words_of(language: str) -> dict[str, Any]:
    """The words of a language, read once."""
    return tomllib.loads((Path(__file__).parent / "words" / f"{language}.toml").read_text(encoding="utf-8"))


def harmless(text: str) -> str:
    """A text from the data on one short line, without characters that steer a terminal or turn the direction of writing."""
    seen = "".join(" " if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") else character for character in text)
    seen = " ".join(seen.split())
    return seen if len(seen) <= MOST_CHARACTERS else seen[:MOST_CHARACTERS - 1] + "…"


class Words:
    """One language."""

    def __init__(self, language: str) -> None:
        self.language, self.words = language, words_of(language)

    def __getitem__(self, key: str) -> str:
        return str(self.words[key])

    def say(self, key: str, **values: Any) -> str:
        """The sentence of that key with its values; a dot leads into a table."""
        found: Any = self.words
        for part in key.split("."):
            found = found[part]
        return str(found).format(**values)

    def day(self, day: date) -> str:
        """A day of the calendar."""
        return self.say("date", year=day.year, month=day.month, day=day.day)

    def count(self, n: int, of: int = 0) -> str:
        """A number of customers or rows; where few, or all but a few of a whole, only that is told."""
        if is_small(n):
            return self.say("few", n=SMALLEST_GROUP)
        return self.say("all_but_few", n=SMALLEST_GROUP) if of and is_small(of - n) else f"{n:,}"

    def counts(self, numbers: Sequence[int], groups: Sequence[int]) -> list[str]:
        """Numbers that make up a total, each of a group of so many customers; what could be found by subtraction is hidden too."""
        return [
            self.count(group) if is_small(group) else self["hidden"] if is_hidden else f"{n:,}"
            for n, group, is_hidden in zip(numbers, groups, hidden(groups), strict=True)]

    def share(self, n: float, of: float = 1.0) -> str:
        """A share in whole percent; what is neither nothing nor all is never written so."""
        percent = 100 * n / of if of else 0.0
        if 0 < percent < 1:
            return "<1%"
        return ">99%" if 99 < percent < 100 else f"{percent:.0f}%"

    def rate(self, n: int, of: int) -> str:
        """A share in percent with one decimal, of groups that are large enough."""
        return f"{100 * n / of:.1f}%"

    def number(self, value: float, unit: str, currency: str = "") -> str:
        """A number in its unit. Units: minor (of the currency), seconds, days, or a plain number."""
        if unit == "minor":
            units = minor_units(currency)
            return f"{value / units:,.{len(str(units)) - 1}f}"
        if unit in ("seconds", "days"):
            seconds = value * (86400 if unit == "days" else 1)
            size = next(((name, length) for name, length in (("days", 86400), ("hours", 3600), ("minutes", 60)) if seconds >= length), ("seconds", 1))
            return self.say(f"units.{size[0]}", n=f"{seconds / size[1]:,.3g}" if seconds < 1000 * size[1] else f"{seconds / size[1]:,.0f}")
        return f"{value:,.0f}" if value == round(value) else f"{value:,.2f}" if abs(value) < 1000 else f"{value:,.0f}"

    def joined(self, parts: Sequence[str]) -> str:
        """Names one after the other."""
        return self["list"].join(parts) or self["none"]
