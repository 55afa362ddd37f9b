"""Requests decoded once: from bytes straight into one matrix of the models' features.

This is the straight way, for requests as they should be. Whatever it does not take, the typed requests judge and name (serving.shapes);
it takes nothing that they refuse.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import astuple
from numpy.typing import NDArray

from serving.shapes import MAX_CUSTOMERS, MAX_ID, MAX_TASKS, MAX_TEXT, MAX_TOP

if TYPE_CHECKING:
    from serving.scoring import TaskBase

Array = NDArray[np.float64]
# The very object that stands where nothing was given: told from any other NaN by being it, and a number for numpy.
_NOT_GIVEN = float("nan")
_TEXTS = re.compile(rb'"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True)
class Question:
    """What a request asks, decoded. `places` are those of the customers given by features, in the order of the rows of `numbers` and `texts`."""

    tasks: list["TaskBase"]
    ids: list[str]
    places: list[int]
    numbers: Array
    texts: list[tuple[Any, ...]]
    language: str = "en"
    top: int = 5


class Decoder:
    """Decodes what is asked of some tasks: one column for each feature that any of them takes, numbers first, then texts."""

    def __init__(self, tasks: Mapping[str, "TaskBase"]) -> None:
        kinds: dict[str, set[bool]] = {}
        for task in tasks.values():
            for column in task.model.columns:
                kinds.setdefault(column.name, set()).add(column.is_category)
        self.tasks = tasks
        self.numbers = [name for name, found in kinds.items() if found == {False}]
        self.texts = [name for name, found in kinds.items() if found == {True}]
        place = {name: i for i, name in enumerate([*self.numbers, *self.texts])}
        # A feature that is a number here and a text there, and a name that JSON would have to escape, go the other way.
        self.is_able = bool(kinds) and len(place) == len(kinds) and all(name.isprintable() and not set(name) & set('"\\') for name in kinds)
        if not self.is_able:
            return
        score, explain = _requests(self.numbers, self.texts)
        self._score: msgspec.json.Decoder[Any] = msgspec.json.Decoder(score)
        self._explain: msgspec.json.Decoder[Any] = msgspec.json.Decoder(explain)
        names = {name: [column.name for column in task.model.columns] for name, task in tasks.items()}
        # For each task: its columns that are numbers and where they stand here, and the same of its texts.
        self._layout: dict[str, tuple[list[int], list[int], list[tuple[int, int]]]] = {}
        for name, task in tasks.items():
            numeric = [j for j, column in enumerate(task.model.columns) if not column.is_category]
            textual = [(j, place[column.name] - len(self.numbers)) for j, column in enumerate(task.model.columns) if column.is_category]
            self._layout[name] = numeric, [place[names[name][j]] for j in numeric], textual
        self._foreign = {name: frozenset(place[other] for other in place.keys() - set(names[name])) for name in tasks}

    def read(self, body: bytes, explains: bool) -> Question | None:
        """The body of a request -> what it asks; None for whatever the straight way does not take."""
        if not self.is_able or rb"\u0000" in body:
            return None
        try:
            said = (self._explain if explains else self._score).decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if said.tasks is not UNSET and not all(name in self.tasks for name in said.tasks):
            return None
        asked = list(dict.fromkeys(said.tasks)) if said.tasks is not UNSET else list(self.tasks)
        customers = said.customers
        places = [i for i, customer in enumerate(customers) if customer.features is not UNSET]
        rows = [astuple(customers[i].features) for i in places]
        # Features that none of the tasks asked takes.
        foreign = frozenset.intersection(*(self._foreign[name] for name in asked))
        if foreign and any(row[place] is not _NOT_GIVEN for row in rows for place in foreign):
            return None
        n_given = len(rows) * (1 + len(self.numbers) + len(self.texts)) - sum(row.count(_NOT_GIVEN) for row in rows)
        if not _each_once(body, n_given + len(customers) + sum(value is not UNSET for value in astuple(said))):
            return None
        n = len(self.numbers)
        numbers = np.array([row[:n] for row in rows], dtype=np.float64).reshape(len(rows), n)
        tasks, ids, texts = [self.tasks[name] for name in asked], [customer.customer_id for customer in customers], [row[n:] for row in rows]
        if not explains:
            return Question(tasks, ids, places, numbers, texts)
        return Question(tasks, ids, places, numbers, texts, "en" if said.language is UNSET else said.language, 5 if said.top is UNSET else said.top)

    def rows(self, question: Question, task: "TaskBase") -> tuple[Array, int]:
        """The features given, as a task's model takes them: (m, p), and how many categories training never saw."""
        numeric, at, textual = self._layout[task.task]
        if not textual and at == list(range(len(self.numbers))):
            return question.numbers, 0
        x, n_unknown = np.full((len(question.places), len(task.model.columns)), np.nan), 0
        x[:, numeric] = question.numbers[:, at]
        for j, place in textual:
            codes = task.codes[j]
            for i, row in enumerate(question.texts):
                if isinstance(row[place], str):
                    x[i, j] = code = codes.get(row[place], np.nan)
                    n_unknown += code != code
        return x, n_unknown


def is_count(name: str) -> bool:
    """Names carry their statistic: `<thing>_<statistic>_<window>`."""
    return "_count_" in f"{name}_" or "_nunique_" in f"{name}_"


def _requests(numbers: list[str], texts: list[str]) -> tuple[type, type]:
    """The same requests as ScoreRequest and ExplainRequest, with one field for each feature."""
    count, text = Annotated[float, Meta(ge=0)], Annotated[str, Meta(max_length=MAX_TEXT)]
    kinds = [*((count if is_count(name) else float) for name in numbers), *(text for _ in texts)]
    struct = partial(msgspec.defstruct, forbid_unknown_fields=True, gc=False)
    features = struct(
        "Features", [(f"f{i}", kind | None, _NOT_GIVEN) for i, kind in enumerate(kinds)], rename={f"f{i}": name for i, name in enumerate([*numbers, *texts])})
    customer = struct("Customer", [("customer_id", Annotated[str, Meta(min_length=1, max_length=MAX_ID)]), ("features", features | UnsetType, UNSET)])
    # (Types made here are values to the type checker: hence the exemptions.)
    score: list[Any] = [
        ("customers", Annotated[list[customer], Meta(max_length=MAX_CUSTOMERS)]),  # type: ignore[valid-type]
        ("tasks", Annotated[list[text], Meta(min_length=1, max_length=MAX_TASKS)] | UnsetType, UNSET)]  # type: ignore[valid-type]
    more: list[Any] = [("language", Literal["en", "zh"] | UnsetType, UNSET), ("top", Annotated[int, Meta(ge=1, le=MAX_TOP)] | UnsetType, UNSET)]
    return struct("Score", score), struct("Explain", [*score, *more])


def _each_once(body: bytes, n_names: int) -> bool:
    """Whether valid JSON holds just so many names: of one that is repeated, decoding keeps the last only. A name is followed by a colon."""
    return body.count(b":") == n_names or _TEXTS.sub(b"", body).count(b":") == n_names
