"""Sufficiency: whether the rows can teach and judge a model at all, and what makes one doubtful, said before any tuning.

What cannot work is refused; what may still be worth a try is a doubt, with its code, what was found, what is needed, what to do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import numpy as np

from features.errors import ContractError, first_few
from features.stability import LARGE, stability_index
from features.tasks import Task
from training.folds import MIN_TRAIN_SNAPSHOTS, Folds
from training.leaks import SUSPECT_AUC, suspects
from training.metrics import Array
from training.saved_model import Column
from training.tables import Rows

# Rows of each label without which a block can neither teach nor judge.
MIN_TRAIN, MIN_LATER = 50, 10
# Customers behind each label, and rows of each, from which on a model is usually worth its trouble (field guides ask for 500 and 500); the rarest target.
FEW_CUSTOMERS, FEW_ROWS, RAREST = 50, 500, 0.01
# A jump of the label rate between two snapshots: this many times the odds, and more standard errors than chance gives.
JUMP_ODDS, JUMP_ERRORS = 1.8, 4.0
# Bins of the population stability index.
N_BINS = 10
# Enough rows to see a leak.
MOST_ROWS = 20_000


@dataclass(frozen=True)
class Doubt:
    """One reason to believe a model less."""

    code: str
    found: str
    needed: str
    do: str

    def sentence(self) -> str:
        """The doubt in one line."""
        return f"{self.code}: needs {self.needed}, found {self.found}; {self.do}"

    def to_json(self) -> dict[str, str]:
        """For run.json and the card."""
        return asdict(self)


def require_labels(rows: Rows, folds: Folds, task: Task) -> None:
    """Refuse labels that cannot teach or judge.

    Raises: ContractError with what was found in each block and what is needed.
    """
    wrong = ~np.isin(rows.y, (0.0, 1.0))
    if wrong.any():
        raise ContractError(
            f"INVALID_LABEL: {task.name} needs a label of 0 or 1 in every row, found {int(wrong.sum())} others ({first_few([str(value) for value in np.unique(rows.y[wrong])])}); "
            f"correct them or leave those rows out")
    for name, as_ofs, least in (("fit", folds.fit, MIN_TRAIN), ("tune", folds.tune[-1], MIN_LATER), ("calibrate", folds.calibrate, MIN_LATER), ("test", folds.test, MIN_LATER)):
        y = rows.at(as_ofs).y
        positives = int(y.sum())
        if min(positives, len(y) - positives) < least:
            code = "NO_POSITIVE" if positives == 0 else "ONE_CLASS" if positives == len(y) else "TOO_FEW_LABELS"
            raise ContractError(
                f"{code}: {task.name} needs at least {least} rows of each label in its {name} block, found {positives} positive of {len(y)}; "
                f"is {task.target_kind!r} the right target, or choose another horizon or more data")


def doubts(rows: Rows, folds: Folds, task: Task, columns: tuple[Column, ...], history_days: int) -> list[Doubt]:
    """All that makes the model doubtful; `history_days` lie before the first snapshot. Labels of the test block are only counted, here as in the record."""
    fit = rows.at(folds.fit)
    return [*_few(fit), *_short(folds, task, history_days), *_jumps(rows), *_drift(fit, rows.at(folds.test), columns), *_leaks(fit, columns)]


def _few(fit: Rows) -> Iterator[Doubt]:
    for label, name in ((1.0, "positive"), (0.0, "negative")):
        n, customers = int((fit.y == label).sum()), len(set(fit.customers[fit.y == label]))
        if customers < FEW_CUSTOMERS:
            yield Doubt(
                "FEW_CUSTOMERS", f"{n:,} {name} rows of {customers} customers", f"{FEW_CUSTOMERS} customers behind each label",
                "bring more customers, or read the intervals, not the figures")
        elif n < FEW_ROWS:
            yield Doubt("FEW_LABELS", f"{n:,} {name} rows", f"{FEW_ROWS} rows of each label to learn from", "bring more history, shorten the slide, or take a wider target")
    rate = float(fit.y.mean())
    if not RAREST <= rate <= 1 - RAREST:
        yield Doubt(
            "RARE_TARGET", f"a label rate of {100 * rate:.2f} %", f"a rate between {100 * RAREST:.0f} and {100 - 100 * RAREST:.0f} %",
            "lengthen the horizon, or take a wider target")


def _short(folds: Folds, task: Task, history_days: int) -> Iterator[Doubt]:
    if len(folds.fit) < MIN_TRAIN_SNAPSHOTS:
        yield Doubt(
            "FEW_SNAPSHOTS", f"{len(folds.fit)} to learn from", f"{MIN_TRAIN_SNAPSHOTS} snapshots, so that more than one season is seen",
            "bring a longer history, or shorten the slide or the horizon")
    longest = task.windows.lookbacks_days[-1]
    if history_days < longest:
        yield Doubt(
            "SHORT_HISTORY", f"{history_days} days before the first snapshot", f"{longest} days, the longest lookback",
            f"set min_history_days = {longest}, or leave that lookback out: in the first snapshots it sees less than its name says")


def _jumps(rows: Rows) -> Iterator[Doubt]:
    """The sharpest jump of the label rate from one snapshot to the next, if one is more than chance and large."""
    moments = np.unique(rows.as_ofs)
    place = np.searchsorted(moments, rows.as_ofs)
    n, hits = np.bincount(place), np.bincount(place, rows.y)
    # Half a row more of each, so that a rate of nothing has odds.
    logits = np.log((hits + 0.5) / (n - hits + 0.5))
    errors = np.sqrt(1 / (hits + 0.5) + 1 / (n - hits + 0.5))
    steps, spread = np.abs(np.diff(logits)), np.sqrt(errors[1:] ** 2 + errors[:-1] ** 2)
    large = np.flatnonzero((steps > np.log(JUMP_ODDS)) & (steps > JUMP_ERRORS * spread))
    if len(large):
        worst = int(large[np.argmax(steps[large])])
        days = [str(moment)[:10] for moment in moments[worst:worst + 2]]
        rates = [f"{100 * hits[i] / n[i]:.1f} %" for i in (worst, worst + 1)]
        yield Doubt(
            "LABEL_RATE_JUMP", f"{rates[0]} on {days[0]} and {rates[1]} on {days[1]}" + (f", and {len(large) - 1} more jumps" if len(large) > 1 else ""),
            f"label rates whose odds stay within {JUMP_ODDS} times from one snapshot to the next",
            "look for a season, a campaign, or events that are missing there; leave those snapshots out if the data are at fault")


def _drift(fit: Rows, test: Rows, columns: tuple[Column, ...]) -> Iterator[Doubt]:
    shifts = {column.name: shift(fit.x[:, j], test.x[:, j]) for j, column in enumerate(columns)}
    large = sorted((name for name, index in shifts.items() if index > LARGE), key=lambda name: -shifts[name])
    if large:
        yield Doubt(
            "DRIFT", f"{len(large)} of {len(columns)} beyond it: {first_few([f'{name} ({shifts[name]:.2f})' for name in large])}",
            f"features with a stability index up to {LARGE} between what is learned from and what is judged",
            "see whether their meaning or source changed; --exclude them and compare, since a model that leans on them is asked about what it has not met")


def shift(before: Array, after: Array) -> float:
    """Population stability index of a column, unknown being a class of its own; bins are tenths of `before`. Shape: (n,), (m,)."""
    known = before[~np.isnan(before)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, N_BINS + 1)[1:-1])) if len(known) else np.array([])

    def shares(values: Array) -> Array:
        is_known = ~np.isnan(values)
        counts = np.bincount(np.searchsorted(edges, values[is_known], side="left"), minlength=len(edges) + 1)
        return np.append(counts, (~is_known).sum()) / len(values)

    return stability_index(shares(before), shares(after), min(len(before), len(after)))


def _leaks(fit: Rows, columns: tuple[Column, ...]) -> Iterator[Doubt]:
    """Columns that alone order the labels, or have a value behind which there is one label only, which no honest feature has."""
    found = suspects(fit.thinned(MOST_ROWS), columns, "label")
    if found:
        yield Doubt(
            "LEAK_SUSPECTED", first_few([f"{name}: {why}" for name, why in found.items()]), f"no feature that alone has an AUC above {SUSPECT_AUC} or gives the label away",
            "see when it is written: it may know the label; --exclude it")


def history_days_before(as_ofs: Sequence[datetime], observed_from: datetime) -> int:
    """Whole days of history before the first snapshot."""
    return (min(as_ofs) - observed_from).days
