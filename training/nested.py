"""Nested judging of a table without snapshots: inner folds tune, calibrate and choose, outer rows judge what came of it."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training import metrics, recipes
from training.calibrate import calibrated, fit_platt, fitted_log_loss
from training.leaks import best_column, ranked_by
from training.members import LinearMember
from training.metrics import Array
from training.recipes import Fitted, Ground, Kind, Recipe, blended
from training.saved_model import Column
from training.tables import Rows
from training.threads import side_by_side
from training.tune import tuned

Split = tuple[NDArray[np.bool_], NDArray[np.bool_]]
OnTrial = Callable[[], None]
Each = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]
PARTS: tuple[Kind, ...] = ("lightgbm", "logistic")
KINDS: tuple[Kind, ...] = ("logistic", "lightgbm", "blend")
# Up to so many rows each row is judged once; of more, a quarter is judged, at most JUDGED_ROWS.
CROSSED_ROWS, JUDGED_ROWS = 12_000, 20_000
SMALL_ROWS, SMALL_REPEATS = 1_000, 3
OUTER, INNER = 5, 4
# Boosters that differ by lot are averaged while all their trees together stay so many, which bounds the time of an explanation; of many rows fewer, as each says more.
MOST_TREES, MOST_BAGS, MOST_BAGS_OF_MANY = 900, 8, 3
# Weights of the trees in the blend that are tried out of fold.
SHARES = (0.5, 0.25, 0.75, 0.9)
# How a time for learning is shared; what is left is for the fits out of fold and the last ones.
SHARE_OF_TIME = {"lightgbm": 0.6, "logistic": 0.15}
# What tuning sees of a large table: so many rows, so many cells (rows x columns), and half of the inner folds.
TUNING_ROWS, TUNING_CELLS = 15_000, 1_000_000
# Up to so many rows all inner folds tune, above half of them.
WHOLLY_TUNED_ROWS = 4_000
# So many of the best trees are compared once more on all inner folds and rows.
FINALISTS = 3


@dataclass(frozen=True)
class Wishes:
    """What is asked of learning beside the rows: how many trials, at most how many seconds for them, and columns in which the odds may only rise (1) or fall (-1)."""

    trials: int = 20
    seconds: float | None = None
    monotone: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Learned:
    """What came of some rows alone: candidates with their parameters, calibrators and losses on inner folds, and the choice."""

    params: dict[str, dict[str, Any]]
    fitted: dict[str, Fitted]
    calibrators: dict[str, tuple[float, float]]
    losses: dict[str, float]
    winner: Kind
    # Out-of-fold margins of each candidate, and the labels of their rows.
    margins: dict[str, Array]
    y: Array

    @property
    def out_of_fold(self) -> Array:
        """Calibrated probabilities of the winner for rows that it was not fitted on. Shape: (m,)."""
        return calibrated(self.margins[self.winner], *self.calibrators[self.winner])

    def probabilities(self, kind: str, x: Array) -> Array:
        """Shape: (n, p) -> (n,)."""
        return calibrated(self.fitted[kind].margins(x), *self.calibrators[kind])


@dataclass(frozen=True)
class Judged:
    """Judged rows, fold after fold: labels, groups, the probabilities of each candidate and of the procedure's own choice, and the rule's ranking."""

    y: Array
    groups: NDArray[np.object_]
    p: dict[str, Array]
    rule: Array
    rules: list[str]
    winners: list[str]


def outer_splits(rows: Rows, is_timed: bool) -> list[Split]:
    """What is fitted and what is judged: the latest quarter where rows have times, else folds of groups, repeated for a small table."""
    n = len(rows.y)
    if is_timed:
        return [_cut_at(rows, 0.75, 1.0)]
    if n > CROSSED_ROWS:
        n_parts = max(4, math.ceil(n / JUDGED_ROWS))
        return [next(_folds(rows, n_parts, 0))]
    return [split for repeat in range(SMALL_REPEATS if n < SMALL_ROWS else 1) for split in _folds(rows, OUTER, repeat)]


def inner_splits(rows: Rows, is_timed: bool) -> list[Split]:
    """The same within the fitted rows: later blocks asked of earlier ones where rows have times, else folds of groups."""
    if is_timed:
        return [_cut_at(rows, begin, begin + 0.2) for begin in (0.4, 0.6, 0.8)]
    return list(_folds(rows, INNER, 100))


def _folds(rows: Rows, k: int, seed: int) -> Iterator[Split]:
    """Folds that keep groups together and labels even: groups in random order, dealt out by their number of positives and rows."""
    _, place = np.unique(rows.customers.astype(str), return_inverse=True)
    sizes, positives = np.bincount(place), np.bincount(place, rows.y)
    lot = np.random.default_rng(recipes.SEED + seed).permutation(len(sizes))
    part = np.empty(len(sizes), dtype=np.int64)
    part[np.lexsort((lot, sizes, positives))] = np.arange(len(sizes)) % k
    for i in range(k):
        yield part[place] != i, part[place] == i


def _cut_at(rows: Rows, begin: float, end: float) -> Split:
    """The rows before a moment, and those from it on until another; rows of one moment stay together."""
    times = np.sort(rows.as_ofs)
    first = times[min(int(begin * len(times)), len(times) - 1)]
    later = rows.as_ofs >= first
    if end < 1:
        later &= rows.as_ofs < times[int(end * len(times))]
    return rows.as_ofs < first, later


def in_turn(do: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """One after the other: for what is itself one of several that run side by side."""
    return [do(item) for item in items]


def n_trials(rows: Rows, is_timed: bool, trials: int) -> int:
    """How many trials a whole run takes, for its progress."""
    return n_learned(outer_splits(rows, is_timed)) * (trials + max(1, trials // 2))


def n_learned(splits: Sequence[Split]) -> int:
    """How many times something is tuned: where one split judges, once; else for each and for all rows."""
    return 1 if len(splits) == 1 else len(splits) + 1


def learn(
    rows: Rows, columns: tuple[Column, ...], is_timed: bool, wishes: Wishes, storage: str, name: str, on_trial: OnTrial, each: Each = in_turn,
) -> Learned:
    """Tune both parts, calibrate on out-of-fold margins, choose by log loss, refit: all from these rows alone. `each` says how folds are worked on."""
    finalists, linear = _tuned_params(rows, columns, is_timed, wishes, storage, name, on_trial, each)
    splits = inner_splits(rows, is_timed)
    # Of very many rows half of the folds tell enough of levels and spreads.
    splits = splits if len(rows.y) <= CROSSED_ROWS else splits[-2:]

    def apart(split: Split) -> tuple[list[tuple[Array, int]], Array]:
        fit, held = rows.where(split[0]), rows.where(split[1])
        ground = Ground(fit, columns)
        beside = ground.beside(held)
        return [recipes.grown(ground, trees, beside, held.x) for trees in finalists], Recipe("logistic", linear).fit_on(ground).margins(held.x)

    found = each(apart, splits)
    y = np.concatenate([rows.y[held] for _, held in splits])
    grown = [np.concatenate([trees[i][0] for trees, _ in found]) for i in range(len(finalists))]
    best = min(range(len(finalists)), key=lambda i: fitted_log_loss(grown[i], y))
    # As many trees as rows of this number gained from.
    n_trees = max(1, round(math.exp(np.mean([math.log(trees[best][1]) for trees, _ in found]))))
    most = MOST_BAGS if len(rows.y) <= CROSSED_ROWS else MOST_BAGS_OF_MANY
    params = {"lightgbm": finalists[best] | {"n_trees": n_trees, "n_bags": max(1, min(most, MOST_TREES // n_trees))}, "logistic": linear}
    margins = {"lightgbm": grown[best], "logistic": np.concatenate([margins for _, margins in found])}
    return made(rows, columns, params, margins, y, wishes)


def made(rows: Rows, columns: tuple[Column, ...], params: dict[str, dict[str, Any]], margins: dict[str, Array], y: Array, wishes: Wishes) -> Learned:
    """Candidates of known parameters: fitted on these rows, calibrated, blended and chosen by margins of rows that each was not fitted on.

    Trees keep what is declared monotone; the logistic regression, and a blend with it, are chosen only if its weights happen to.
    Several margins of the same recipe are pooled, so the calibrator knows the recipe, not one fit of it. Shape: each of margins, y (m,).
    """
    blends = {share: share * margins["lightgbm"] + (1 - share) * margins["logistic"] for share in SHARES}
    share = min(SHARES, key=lambda share: fitted_log_loss(blends[share], y))
    margins = margins | {"blend": blends[share]}
    calibrators = {kind: fit_platt(margin, y) for kind, margin in margins.items()}
    losses = {kind: fitted_log_loss(margin, y) for kind, margin in margins.items()}
    ground = Ground(rows, columns)
    fitted: dict[str, Fitted] = {kind: Recipe(kind, params[kind]).fit_on(ground) for kind in PARTS}
    allowed = KINDS if _is_monotone(fitted["logistic"], columns, wishes.monotone) else ("lightgbm",)
    winner = min(allowed, key=lambda kind: losses[kind])
    fitted["blend"] = blended(fitted["lightgbm"], fitted["logistic"], share)
    return Learned({**params, "blend": {"share_of_trees": share}}, fitted, calibrators, losses, winner, margins, y)


def _tuned_params(
    rows: Rows, columns: tuple[Column, ...], is_timed: bool, wishes: Wishes, storage: str, name: str, on_trial: OnTrial, each: Each,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The best parameters found on inner folds, of a large table on part of the rows: a few for trees, those of the logistic regression."""
    few = _thinned(rows, min(TUNING_ROWS, TUNING_CELLS // len(columns)))
    inner = inner_splits(few, is_timed)
    tuning = [(Ground(few.where(fit), columns, is_shared=True), few.where(held)) for fit, held in (inner if len(few.y) <= WHOLLY_TUNED_ROWS else inner[-2:])]
    watched = [(ground, ground.beside(held), held) for ground, held in tuning]
    declared = {"monotone": wishes.monotone} if wishes.monotone else {}

    def trees_loss(given: dict[str, Any]) -> float:
        return float(np.mean(each(lambda fold: fitted_log_loss(recipes.grown(fold[0], given | declared, fold[1], fold[2].x)[0], fold[2].y), watched)))

    def linear_loss(given: dict[str, Any]) -> float:
        return float(np.mean(each(lambda fold: fitted_log_loss(Recipe("logistic", given).fit_on(fold[0]).margins(fold[1].x), fold[1].y), tuning)))

    def best(kind: Kind, first: Sequence[dict[str, Any]], suggest: Any, n: int, loss: Callable[[dict[str, Any]], float]) -> list[dict[str, Any]]:
        seconds = None if wishes.seconds is None else wishes.seconds * SHARE_OF_TIME[kind]
        _, history = tuned(storage, f"{name}.{kind}", n, first, suggest, loss, lambda n_done, value: on_trial(), seconds)
        return [{key: value for key, value in one.items() if key not in ("trial", "loss")} for one in sorted(history, key=lambda one: float(one["loss"]))]

    trees = best("lightgbm", recipes.FIRST_ANY_TREES, recipes.suggest_any_trees, wishes.trials, trees_loss)
    linear = best("logistic", [recipes.FIRST_LOGISTIC], recipes.suggest_logistic, max(1, wishes.trials // 2), linear_loss)
    return [one | declared for one in trees[:FINALISTS]], linear[0]


def _is_monotone(linear: Fitted, columns: tuple[Column, ...], monotone: dict[str, int]) -> bool:
    """Whether the weights of a logistic regression have the signs declared."""
    member = linear.members[0]
    assert isinstance(member, LinearMember)
    return all(member.weights[j] * monotone.get(column.name, 0) >= 0 for j, column in enumerate(columns))


def _thinned(rows: Rows, most: int) -> Rows:
    """At most about so many rows, whole groups by lot."""
    if len(rows.y) <= most:
        return rows
    names, place = np.unique(rows.customers.astype(str), return_inverse=True)
    kept = np.random.default_rng(recipes.SEED).random(len(names)) < most / len(rows.y)
    return rows.where(kept[place])


def judge(
    splits: Sequence[Split], encode: Callable[[NDArray[np.bool_]], tuple[Rows, tuple[Column, ...]]], learn_on: Callable[[int, Rows, tuple[Column, ...], Each], Learned],
    wishes: Wishes,
) -> tuple[Judged, Learned]:
    """Learn on each split's fitted rows and predict its judged rows; learn on all rows. `encode` gives all rows with the levels of those fitted.

    Where one split judges, what it tuned is fitted again on all rows, and the margins of its judged rows join those that calibrate and choose: nothing is tuned twice.
    """
    everybody = np.ones(len(splits[0][0]), dtype=bool)

    def one(i: int, each: Each = in_turn) -> tuple[Judged, Learned, Rows]:
        fit, held = splits[i]
        rows, columns = encode(fit)
        seen, asked = rows.where(fit), rows.where(held)
        learned = learn_on(i, seen, columns, each)
        p = {kind: learned.probabilities(kind, asked.x) for kind in KINDS}
        j = best_column(seen, columns)
        ranking = ranked_by(j, columns[j].is_category, seen, asked.x)
        # As shares of the ranking, so that folds with different rules can stand together.
        share = np.searchsorted(np.sort(ranking), ranking, side="right") / len(ranking)
        return Judged(asked.y, asked.customers, p | {"chosen": p[learned.winner]}, share, [columns[j].name], [learned.winner]), learned, asked

    if len(splits) == 1:
        judged, learned, asked = one(0, side_by_side)
        margins: dict[str, Array] = {kind: np.concatenate([learned.margins[kind], learned.fitted[kind].margins(asked.x)]) for kind in PARTS}
        rows, columns = encode(everybody)
        return judged, made(rows, columns, {kind: learned.params[kind] for kind in PARTS}, margins, np.concatenate([learned.y, asked.y]), wishes)

    def piece(i: int) -> tuple[Judged | None, Learned]:
        return one(i)[:2] if i < len(splits) else (None, learn_on(i, *encode(everybody), in_turn))

    # The longest piece, which is all rows, first.
    (_, final), *rest = side_by_side(piece, [len(splits), *range(len(splits))])
    parts = [part for part, _ in rest if part]
    return Judged(
        np.concatenate([part.y for part in parts]), np.concatenate([part.groups for part in parts]),
        {kind: np.concatenate([part.p[kind] for part in parts]) for kind in parts[0].p}, np.concatenate([part.rule for part in parts]),
        [name for part in parts for name in part.rules], [winner for part in parts for winner in part.winners]), final


def figures(judged: Judged) -> dict[str, Any]:
    """All figures of the judged rows, intervals by groups: of the choice, of each candidate, of the rule, and the gain over it."""
    w = metrics.resamples(judged.groups)
    found = dict(zip(judged.p, side_by_side(lambda p: metrics.measure(judged.y, p, w), judged.p.values()), strict=True))
    over_rule = metrics.gain(judged.y, judged.p["chosen"], judged.rule, w)
    areas, lifts = (metric(judged.y, judged.rule, w) for metric in (metrics.auc, metrics.lift_at(0.10)))
    return {
        "judged_rows": len(judged.y), "judged_positives": int(judged.y.sum()), **found["chosen"],
        "rule": {"name": max(judged.rules, key=judged.rules.count), "auc": round(float(areas[0]), 5), "auc_interval": metrics.interval(areas),
                 "lift_at_10": round(float(lifts[0]), 5), "lift_at_10_interval": metrics.interval(lifts)},
        **{kind: found[kind] for kind in KINDS}, "gain_over_rule": {"auc": over_rule["value"], "interval": over_rule["interval"]}, "chosen_in_folds": judged.winners,
        "grade": "better than the rule" if over_rule["interval"][0] > 0 else "no better than the rule",
        "quality": metrics.quality(found["chosen"]["auc"], over_rule["interval"]),
        "calibration": metrics.calibration_table(judged.y, judged.p["chosen"]), "gains": metrics.gains_curve(judged.y, judged.p["chosen"]),
    }
