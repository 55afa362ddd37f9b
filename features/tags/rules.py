"""The language of rules: comparisons, and, or, not, in, is known, other tags. Parsed here, run by the engine; nothing is ever executed as code.

    sessions_count_30d > 10 visits and not leaving
    channel_favourite_90d in ('app', 'web') or churn.band = 'high'
    days_since_last_session is unknown
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from features.errors import ContractError

OPERATORS = ("=", "!=", "<=", ">=", "<", ">")
# More than these of one rule inside each other is no rule that a person wrote.
DEEPEST = 50
_WORDS = ("and", "or", "not", "in", "is", "known", "unknown", "true", "false")
_TOKEN = re.compile(r"""\s*(?:(?P<number>-?\d+(?:\.\d+)?)(?![\w.])|(?P<text>'[^']*'|"[^"]*")|(?P<quoted>`[^`]+`)|(?P<name>[^\W\d]\w*(?:\.\w+)?)|(?P<sign><=|>=|!=|==|[=<>(),%]))""")


@dataclass(frozen=True)
class Value:
    """What a column is compared with: a number with its unit, a text, or yes or no."""

    value: float | str | bool
    unit: str = ""


@dataclass(frozen=True)
class Compare:
    """A column of features or scores against a value; against several with `in`."""

    name: str
    operator: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Known:
    """Whether anything is known of a column."""

    name: str
    is_known: bool


@dataclass(frozen=True)
class Tag:
    """Another tag."""

    name: str


@dataclass(frozen=True)
class Not:
    """The contrary; of what is unknown the contrary is unknown too."""

    of: "Rule"


@dataclass(frozen=True)
class Both:
    """All of several (`and`), or any of them (`or`)."""

    word: str
    parts: tuple["Rule", ...]


Rule = Compare | Known | Tag | Not | Both


def parse(text: str, where: str) -> Rule:
    """A rule from its text; `where` names it in what is said. Raises: ContractError for what is no rule."""
    reading = _Reading(list(_tokens(text, where)), where)
    rule = reading.either(0)
    if reading.ahead[0] != "end":
        raise reading.wrong("and, or, or the end of the rule")
    return rule


def walk(rule: Rule) -> Iterator[Rule]:
    """The rule and all its parts."""
    yield rule
    for part in (rule.of,) if isinstance(rule, Not) else rule.parts if isinstance(rule, Both) else ():
        yield from walk(part)


def tags_in(rule: Rule) -> list[str]:
    """The other tags that it names, each once."""
    return list(dict.fromkeys(part.name for part in walk(rule) if isinstance(part, Tag)))


def columns_in(rule: Rule) -> list[str]:
    """The columns of features and scores that it names, each once."""
    return list(dict.fromkeys(part.name for part in walk(rule) if isinstance(part, Compare | Known)))


def _tokens(text: str, where: str) -> Iterator[tuple[str, str]]:
    place = 0
    while text[place:].strip():
        found = _TOKEN.match(text, place)
        if not found:
            raise ContractError(f"TAG_RULE: {where} needs names, numbers, 'texts' and the signs = != < <= > >= ( ) , % only, found {text[place:].strip()[:20]!r}; correct it")
        kind, word = str(found.lastgroup), found[str(found.lastgroup)]
        place = found.end()
        if kind == "name" and word.lower() in _WORDS:
            yield "word", word.lower()
        else:
            yield ("name" if kind == "quoted" else kind), word[1:-1] if kind in ("text", "quoted") else "=" if word == "==" else word


class _Reading:
    """Tokens read from left to right, one rule of the grammar in each method."""

    def __init__(self, tokens: list[tuple[str, str]], where: str) -> None:
        self.tokens, self.where, self.place = [*tokens, ("end", "")], where, 0

    @property
    def ahead(self) -> tuple[str, str]:
        return self.tokens[self.place]

    def take(self, kind: str, *words: str) -> str | None:
        """The next token's text if it is so, else None and nothing is read."""
        if self.ahead[0] == kind and (not words or self.ahead[1] in words):
            self.place += 1
            return self.tokens[self.place - 1][1]
        return None

    def wrong(self, needed: str) -> ContractError:
        kind, word = self.ahead
        return ContractError(f"TAG_RULE: {self.where} needs {needed}, found {'its end' if kind == 'end' else repr(word)}; correct it")

    def either(self, depth: int) -> Rule:
        return self._several("or", depth)

    def _several(self, word: str, depth: int) -> Rule:
        parts = []
        while True:
            parts.append(self._several("and", depth) if word == "or" else self._one(depth))
            if not self.take("word", word):
                return parts[0] if len(parts) == 1 else Both(word, tuple(parts))

    def _one(self, depth: int) -> Rule:
        if depth > DEEPEST:
            raise ContractError(f"TAG_RULE: {self.where} needs at most {DEEPEST} brackets and nots inside each other, found more; make two tags of it")
        if self.take("word", "not"):
            return Not(self._one(depth + 1))
        if self.take("sign", "("):
            inner = self.either(depth + 1)
            if not self.take("sign", ")"):
                raise self.wrong("a closing bracket")
            return inner
        name = self.take("name")
        if name is None:
            raise self.wrong("a feature, a score or a tag")
        if self.take("word", "is"):
            says = self.take("word", "known", "unknown")
            if says is None:
                raise self.wrong("known or unknown after is")
            return Known(name, says == "known")
        operator = self.take("sign", *OPERATORS)
        if operator:
            return Compare(name, operator, (self._value(),))
        if self.tokens[self.place:self.place + 2] == [("word", "not"), ("word", "in")]:
            self.place += 2
            return Not(Compare(name, "in", self._values()))
        return Compare(name, "in", self._values()) if self.take("word", "in") else Tag(name)

    def _values(self) -> tuple[Value, ...]:
        if not self.take("sign", "("):
            raise self.wrong("values in brackets after in")
        values = [self._value()]
        while self.take("sign", ","):
            values.append(self._value())
        if not self.take("sign", ")"):
            raise self.wrong("a comma or a closing bracket")
        return tuple(values)

    def _value(self) -> Value:
        text, says = self.take("text"), self.take("word", "true", "false")
        if text is not None or says is not None:
            return Value(text if text is not None else says == "true")
        number = self.take("number")
        if number is None:
            raise self.wrong("a number, a text in quotes, true or false")
        return Value(float(number), self.take("sign", "%") or self.take("name") or "")
