"""Scores: the base that was scored last, and where a customer stands in it. Pure numpy once it is loaded."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from features.errors import ContractError, UsageError
from serving.alike import SpaceBase, trained_seeds
from serving.by_events import ByEvents
from serving.champions import Champion, champions, versions_of
from serving.decoding import Decoder, is_count
from serving.withheld import Withheld
from serving.words import Voice
from training.space import Space

if TYPE_CHECKING:
    import pandas as pd

    from training.saved_model import SavedModel

Array = NDArray[np.float64]
Features = Mapping[str, float | str | None]
Asked = tuple[str, Features | None]


@dataclass(frozen=True)
class Info:
    """What `features/base.json` says of the base: whose it is, the moment it describes, the tasks it can be asked."""

    data: str
    fingerprint: str
    as_of: str
    currency: str
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Answers:
    """What one task says to a list of customers, in order. `why` is a word where a customer is not found, and the numbers are NaN."""

    x: Array
    log_odds: Array
    why: list[str | None]
    n_unknown_categories: int = 0

    @property
    def found(self) -> NDArray[np.bool_]:
        """Shape: (n,)."""
        return np.array([word is None for word in self.why], dtype=bool)


class TaskBase:
    """One task's part of the base: the customers it asks about, their features encoded once, and their scores."""

    def __init__(
        self, task: str, model: "SavedModel", version: str, ids: Sequence[str], x: Array, known: frozenset[str], as_of: str,
        may_contact: NDArray[np.bool_] | None = None,
    ) -> None:
        self.task, self.model, self.version, self.as_of = task, model, version, as_of
        self.ids, self.x, self.known = list(ids), x, known
        self.may_contact = np.ones(len(self.ids), dtype=bool) if may_contact is None else may_contact
        self.row_of = {customer: row for row, customer in enumerate(self.ids)}
        self.log_odds = self.model.log_odds(x)
        self.ordered = np.sort(_probabilities(self.log_odds))
        self.column_of = {column.name: i for i, column in enumerate(self.model.columns)}
        self.codes = [{level: float(i) for i, level in enumerate(column.levels)} for column in self.model.columns]

    def percentiles(self, probabilities: Array) -> Array:
        """Shape: (n,) -> (n,). The share of the base with a probability at most as high, times 100, to one decimal."""
        shares: Array = (100.0 * self.ordered.searchsorted(probabilities, side="right") / len(self.ordered)).round(1)
        return shares

    def encode(self, features: Features) -> tuple[Array, int]:
        """One customer's features -> (p,), and how many categories were never seen in training. What is not given is not known."""
        row, n_unknown = np.full(len(self.codes), np.nan), 0
        for name, value in features.items():
            place = self.column_of.get(name)
            if place is None or value is None:
                continue
            if isinstance(value, str):
                row[place] = self.codes[place].get(value, np.nan)
                n_unknown += value not in self.codes[place]
            else:
                row[place] = value
        return row, n_unknown

    def ask(self, asked: Sequence[Asked], withheld: frozenset[int] = frozenset()) -> Answers:
        """Answer for customers by id (from the base) or by features."""
        fresh = [self.encode(features) for _, features in asked if features is not None]
        places = [i for i, (_, features) in enumerate(asked) if features is not None]
        rows = np.array([row for row, _ in fresh]).reshape(len(fresh), len(self.codes))
        return self.answer([customer for customer, _ in asked], places, rows, sum(n for _, n in fresh), withheld)

    def answer(self, ids: Sequence[str], places: Sequence[int], rows: Array, n_unknown: int = 0, withheld: frozenset[int] = frozenset()) -> Answers:
        """Answer for customers of whom those at `places` are given by features, encoded in `rows`; the others stand in the base, or nowhere.

        Nothing is worked out for those at the places `withheld`.
        """
        if withheld:
            rows = rows[[place not in withheld for place in places]]
            places = [place for place in places if place not in withheld]
        n, n_given = len(ids), len(places)
        why: list[str | None] = [None] * n
        if n_given == n:
            return Answers(rows, self.model.log_odds(rows) if n else np.empty(0), why, n_unknown)
        x, log_odds = np.full((n, len(self.codes)), np.nan), np.full(n, np.nan)
        if n_given:
            x[places], log_odds[places] = rows, self.model.log_odds(rows)
        given = set(places)
        for i, customer in enumerate(ids):
            if i in given:
                continue
            if i in withheld:
                why[i] = "withheld"
            elif (row := self.row_of.get(customer)) is not None:
                x[i], log_odds[i] = self.x[row], self.log_odds[row]
            else:
                why[i] = "not_asked" if customer in self.known else "unknown"
        return Answers(x, log_odds, why, n_unknown)

    def results(self, ids: Sequence[str], answers: Answers, language: str = "en") -> list[dict[str, Any]]:
        """Answers -> what is handed out: one result for each customer asked about."""
        found = _probabilities(answers.log_odds)
        probabilities: list[float] = found.tolist()
        percentiles: list[float] = self.percentiles(found).tolist()
        # A NaN sorts last: it gets a band and a place that are not told.
        bands = self.model.bands(found)
        same = {"as_of": self.as_of, "model": self.model.name, "version": self.version}
        results: list[dict[str, Any]] = []
        for i, customer in enumerate(ids):
            result: dict[str, Any] = {"customer_id": customer, "task": self.task}
            if (word := answers.why[i]) is None:
                result |= {"found": True, "score": round(percentiles[i]), "probability": round(probabilities[i], 6), "percentile": percentiles[i], "band": bands[i]}
            else:
                result |= {"found": False, "score": None, "probability": None, "percentile": None, "band": None, "why": self._why(word, language)}
            results.append(result | same)
        return results

    def _why(self, word: str, language: str) -> str:
        voice, asks = Voice(language), self.model.task["eligibility"]
        words, received = voice.words["not_found"], asks.get("received_kind")
        met = words["met"].format(received=voice.kind(received)) if received else ""
        who = words["who"].format(active=voice.kind(asks["active_kind"]), days=asks["active_days"], as_of=self.as_of, met=met)
        return str(words[word]).format(as_of=self.as_of, task=self.task, who=who)


@dataclass(frozen=True)
class Base:
    """The base of a run and its champions: all that is needed to answer, in memory and never changed."""

    info: Info
    tasks: dict[str, TaskBase]
    spaces: dict[str, SpaceBase] = field(default_factory=dict)
    withheld: Withheld | None = None
    run: Path | None = None

    def versions(self) -> dict[str, str]:
        """Each task that is served, and in which version."""
        return {name: task.version for name, task in self.tasks.items()} | {name: space.version for name, space in self.spaces.items()}

    def learned_until(self, name: str) -> str | None:
        """The last moment that a task's model learned from, as its card tells; None where it tells none."""
        card = self.tasks[name].model.card if name in self.tasks else self.spaces[name].space.card
        told: list[str] = card.get("refit_as_of") or card.get("train_as_of") or []
        return max(told, default=None)

    def withheld_among(self, customers: Sequence[str]) -> frozenset[int]:
        """The places of those who must not be scored any more. Raises: ContractError where that cannot be known."""
        return self.withheld.among(customers) if self.withheld else frozenset()

    @cached_property
    def by_events(self) -> ByEvents:
        """What reads customers who are given by raw events. Raises: UsageError for a base that is of no run."""
        if self.run is None:
            raise UsageError("customers by events need a run folder, found a base without; ask by features")
        return ByEvents(self.run, self.info.as_of, {column.name for task in self.tasks.values() for column in task.model.columns})

    @cached_property
    def decoder(self) -> Decoder:
        """What decodes requests about these tasks."""
        return Decoder(self.tasks)

    def require_space(self, name: str | None) -> SpaceBase:
        """The named lookalike task; the first if None. Raises: UsageError naming those that are served."""
        if not self.spaces or (name is not None and name not in self.spaces):
            raise UsageError(f"task must be a lookalike task, one of {', '.join(self.spaces) or 'none'}; found " + ("one that is not" if name else "no lookalike task served"))
        return self.spaces[name or next(iter(self.spaces))]

    def require_tasks(self, names: Sequence[str] | None) -> list[TaskBase]:
        """The named tasks, each once; all if None. Raises: UsageError naming those that are served."""
        if any(name in self.spaces for name in names or ()):
            raise UsageError(f"tasks must be among {', '.join(self.tasks)}; found a lookalike task, which has no probabilities: POST audience answers for it")
        if any(name not in self.tasks for name in names or ()):
            raise UsageError(f"tasks must be among {', '.join(self.tasks)}; found one that is not")
        return [self.tasks[name] for name in dict.fromkeys(names or self.tasks)]

    def require_features(self, asked: Sequence[Asked], tasks: Sequence[TaskBase]) -> None:
        """Hold given features against the models' inputs. No value, and no name that a caller made up, comes back in the message.

        Raises: UsageError for a feature that no asked task knows, a wrong type, a negative count.
        """
        columns = {column.name: column for task in tasks for column in task.model.columns}
        for i, (_, features) in enumerate(asked):
            for name, value in (features or {}).items():
                column, where = columns.get(name), f"customers[{i}].features"
                if column is None:
                    raise UsageError(f"{where} must name features of the models asked (GET models lists them); found one that none has")
                if value is not None and isinstance(value, str) != column.is_category:
                    raise UsageError(f"{where}.{name} must be {'text' if column.is_category else 'a number'} or null; found another type")
                if isinstance(value, float) and value < 0 and is_count(name):
                    raise UsageError(f"{where}.{name} is a count and must not be negative; found one that is")


def open_base(run: Path, versions: Mapping[str, str] | None = None) -> Base:
    """Load the base of a run and the champions of its tasks, or the versions given.

    Raises: UsageError where there is no run; ContractError where base or champions are missing, damaged, or do not fit each other.
    """
    info = read_info(run)
    return load_base(run, info, champions(run, info.data, info.tasks) if versions is None else versions_of(run, info.data, versions))


def read_info(run: Path) -> Info:
    """Read `features/base.json`. Raises: UsageError, ContractError."""
    if not run.is_dir():
        raise UsageError(f"--run must name a run folder, found none at {run}; make one first: make run OUT={run}")
    path = run / "features" / "base.json"
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return Info(said["data"], said["fingerprint"], said["as_of"], said["currency"], tuple(said["tasks"]))
    except FileNotFoundError:
        raise _unfit(run, "a run needs features/base.json", "none") from None
    except (ValueError, KeyError, TypeError) as error:
        raise _unfit(run, "features/base.json must be readable", type(error).__name__) from None


def load_base(run: Path, info: Info, served: Mapping[str, Champion], before: Base | None = None) -> Base:
    """Read `features/base.parquet` and score it with each champion. `before`: read from the same file; what it has in the same version is kept.

    Raises: ContractError where they do not fit.
    """
    frame = read_base(run)
    missing = [name for name in ("customer_id", *(f"eligible_{task}" for task in served)) if name not in frame.columns]
    if missing:
        raise _unfit(run, f"features/base.parquet needs the columns {', '.join(missing)}", "none")
    withheld = Withheld(run)
    if gone := withheld.among(frame["customer_id"].astype(str).tolist()):
        frame = frame.drop(frame.index[list(gone)]).reset_index(drop=True)
    ids = frame["customer_id"].astype(str).tolist()
    known = frozenset(ids)
    if len(known) != len(ids):
        raise _unfit(run, "features/base.parquet must hold each customer once", f"{len(ids) - len(known)} repeated")
    may_contact = frame["may_contact"].to_numpy(bool) if "may_contact" in frame.columns else np.ones(len(frame), dtype=bool)
    tasks, spaces = dict[str, TaskBase](), dict[str, SpaceBase]()
    for task, champion in served.items():
        if before is not None and before.versions().get(task) == champion.version:
            tasks |= {task: before.tasks[task]} if task in before.tasks else {}
            spaces |= {task: before.spaces[task]} if task in before.spaces else {}
            continue
        inside = frame[f"eligible_{task}"].to_numpy(bool)
        if not inside.any():
            raise ContractError(f"{task} needs customers to rank, found none that it asks about at {info.as_of}; bring data up to a later day")
        chosen = [customer for customer, is_inside in zip(ids, inside, strict=True) if is_inside]
        x = _encode(champion.model, frame[inside], run)
        if isinstance(champion.model, Space):
            spaces[task] = SpaceBase(task, champion.model, champion.version, chosen, x, info.as_of, trained_seeds(run, info.data, task), may_contact[inside], withheld)
        else:
            tasks[task] = TaskBase(task, champion.model, champion.version, chosen, x, known, info.as_of, may_contact[inside])
    return Base(info, tasks, spaces, withheld, run)


def read_base(run: Path) -> "pd.DataFrame":
    """Read `features/base.parquet`. Grain: customer. Raises: ContractError."""
    import pandas as pd

    try:
        return pd.read_parquet(run / "features" / "base.parquet")
    except FileNotFoundError:
        raise _unfit(run, "a run needs features/base.parquet", "none") from None
    except (ValueError, OSError) as error:
        raise _unfit(run, "features/base.parquet must be readable", type(error).__name__) from None


def _unfit(run: Path, required: str, found: str) -> ContractError:
    return ContractError(f"{required}, found {found} in {run}; build it again: make run OUT={run}")


def _encode(model: "SavedModel | Space", frame: "pd.DataFrame", run: Path) -> Array:
    try:
        return model.encode(frame)
    except ContractError as error:
        raise ContractError(f"{error}: make run OUT={run}") from None
    except (ValueError, TypeError):
        raise _unfit(run, f"the features of {model.name} must be numbers or text as in training", "another type") from None


def _probabilities(log_odds: Array) -> Array:
    from training.saved_model import sigmoid

    return sigmoid(log_odds)
