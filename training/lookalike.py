"""Lookalike training: judge rankers on seeds that were held out before anything was fitted, then register a space.

Held-out seeds are later than the others where seeds have dates, and a random share of customers where they have none. What is judged is
recall@k, the share of the held-out seeds among the first k of the held-out population, and lift@k = recall@k / (k / N); both can be known without true negatives
(Elkan and Noto 2008 discuss why precision cannot).
"""

import difflib
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from features.dataset import Dataset
from features.errors import ContractError, UsageError, first_few
from features.feature import Feature
from features.files import written_whole
from features.labels import eligible
from features.moments import KEY
from features.seeds import event_seeds, excluded_columns, require_seeds, seed_moments
from features.tasks import Task
from training import metrics
from training.backtest import rule_score
from training.members import Matrix
from training.priors import evaluated
from training.reference import averages_of
from training.saved_model import Column
from training.seed_check import checked, selection
from training.skew import skews
from training.space import RANKERS, SEED, Params, Space, example_of, make_space
from training.tables import beside_features, columns_of, rows_of
from training.train import PACKAGES

if TYPE_CHECKING:
    import pandas as pd

Mask = NDArray[np.bool_]
HELD_OUT_SHARE, MIN_HELD_OUT = 0.3, 25
# A column that orders the population as a defining one does tells no more than the definition.
COPY_CORRELATION = 0.95
GRID_C, GRID_COMPONENTS, GRID_GROUPS = (0.003, 0.01, 0.03, 0.1), (6, 12, 20), (1, 2, 4)
N_FOLDS = 4
N_RANDOM = 5
REACHES = (0.05, 0.10, 0.20)


@dataclass(frozen=True)
class TrainedSpace:
    """What training a lookalike task gives: the space with its example seeds, and the record for run.json."""

    model: Space
    record: dict[str, Any]
    history: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Pool:
    """A population in a matrix. Shape: x (n, p); is_seed, held_out (n,)."""

    x: Matrix
    is_seed: Mask
    held_out: Mask


def train_space(
    dataset: Dataset, task: Task, frame: "pd.DataFrame", features: Sequence[Feature], allow: Sequence[str] = (), exclude: Collection[str] = (),
) -> TrainedSpace:
    """Choose a ranker on seeds inside the training part, judge it once on the held-out part, refit on everybody.

    Grain of `frame`: customer, with as_of, is_seed and features. Raises: ContractError for seeds that cannot teach or judge.
    """
    # A copy holds its columns together; many that were inserted one by one are slow, and pandas says so.
    frame = frame.reset_index(drop=True).copy()
    is_seed = frame["is_seed"].to_numpy(bool)
    require_seeds(task.name, int(is_seed.sum()), len(frame))
    every = columns_of(features, frame, allow, exclude)
    rows = rows_of(frame.rename(columns={"is_seed": "label"}), every)
    held_out, split = _held_out(rows.as_ofs, is_seed)
    why = excluded_columns(features, task)
    why |= _copies(rows.x[~held_out], every, why, task)
    used = np.array([column.name not in why for column in every])
    columns = tuple(column for column in every if column.name not in why)
    pool = Pool(rows.x[:, used], is_seed, held_out)

    params, choice = choose(pool, columns)
    record = _judge(task, pool, Pool(rows.x, is_seed, held_out), every, columns, params)
    record |= {
        "seed_check": checked(pool.x, is_seed, rows.as_ofs, columns, task.windows.horizon_days, task.seeds is not None and bool(task.seeds.event_kind)),
        "selection": selection(pool.x[~held_out], is_seed[~held_out], columns),
        "kind": "lookalike", "question": task.question(), "rows": len(frame), "seeds": int(is_seed.sum()), "positives": int(is_seed.sum()),
        "base_rate": round(float(is_seed.mean()), 5), "split": split, "train_as_of": _stamps(rows.as_ofs[~held_out]), "test_as_of": _stamps(rows.as_ofs[held_out]),
        "winner": params.ranker, "params": asdict(params), "chosen_by": {"metric": "auc", "on": "train, four folds of customers", "candidates": choice},
        "excluded": why, "auc": None, "average_precision": None, "log_loss": None, "brier": None, "ece": None}
    space = _refit(dataset, task, pool, columns, params, record, features)
    record["skew"] = skews(frame, features, is_seed, space.scores(example_of(space), pool.x), columns)
    space.card["skew"] = record["skew"]
    return TrainedSpace(space, record)


def write_population(
    dataset: Dataset, task: Task, snapshot_file: Path, path: Path, ids: Sequence[str] | None = None,
) -> None:
    """Put seeds and everybody else beside their features, and write the table whole. `ids` are seeds by a list.

    Grain: customer, with as_of, is_seed (0 or 1) and features, ordered by customer.
    Raises: ContractError for seeds that are too few, unknown, or everybody.
    """
    import pyarrow as pa

    is_dated = task.seeds is not None and bool(task.seeds.event_kind)
    chosen = event_seeds(dataset, task) if is_dated else eligible(dataset, task, seed_moments(dataset, task)).order_by(KEY)
    frame: pd.DataFrame = pa.concat_tables(beside_features(chosen.to_pyarrow().to_pandas(), snapshot_file)).to_pandas()
    if not is_dated:
        frame.insert(2, "is_seed", _is_seed(frame, task, ids))
    require_seeds(task.name, int(frame["is_seed"].sum()), len(frame))
    with written_whole(path) as aside:
        frame.to_parquet(aside, index=False)


def _is_seed(frame: "pd.DataFrame", task: Task, ids: Sequence[str] | None) -> NDArray[np.int8]:
    if ids is not None:
        known = frame["customer_id"].isin(set(ids)).to_numpy()
        if known.sum() < len(ids) / 2:
            strangers = sorted(set(ids) - set(frame["customer_id"]))
            raise ContractError(
                f"UNKNOWN_SEEDS: seeds must be customers whom {task.name} asks about, found {len(strangers):,} of {len(ids):,} that are not "
                f"({first_few(strangers)}); give the ids as the data have them")
        return known.astype(np.int8)
    seeds = task.seeds
    if seeds is None or seeds.column not in frame.columns:
        numbers = [name for name in frame.columns if frame[name].dtype.kind in "if"]
        nearest = difflib.get_close_matches(seeds.column if seeds else "", numbers, 3, 0.3)
        found = seeds.column if seeds else ""
        raise UsageError(f"the seeds of {task.name} need a feature to be the first by, found {found!r}; near are {', '.join(nearest) or first_few(numbers)}")
    n_seeds = round(seeds.top_share * len(frame))
    order = np.lexsort((frame["customer_id"].to_numpy(str), -np.nan_to_num(frame[seeds.column].to_numpy(np.float64, na_value=np.nan), nan=-np.inf)))
    chosen = np.zeros(len(frame), dtype=np.int8)
    chosen[order[:n_seeds]] = 1
    return chosen


def pool_of(frame: "pd.DataFrame", columns: tuple[Column, ...]) -> Pool:
    """A population table as a pool, with its held-out part."""
    rows = rows_of(frame.rename(columns={"is_seed": "label"}), columns)
    is_seed = rows.y == 1
    return Pool(rows.x, is_seed, _held_out(rows.as_ofs, is_seed)[0])


def choose(pool: Pool, columns: tuple[Column, ...]) -> tuple[Params, dict[str, float]]:
    """Parameters and ranker by the area under the reach-recall curve of seeds left out in four folds; the held-out part is not looked at."""
    inside = np.flatnonzero(~pool.held_out)
    fold = np.random.default_rng(SEED).permutation(len(inside)) % N_FOLDS
    grounds = [(_ground(pool, columns, inside[fold != i], inside[fold == i]), pool.is_seed[inside[fold == i]]) for i in range(N_FOLDS)]

    def area(params: Params) -> float:
        return round(float(np.mean([_area(is_seed, ground.rank(params)) for ground, is_seed in grounds])), 5)

    best_c = max(GRID_C, key=lambda c: area(Params("classifier", C=c)))
    grid = list(product(GRID_COMPONENTS, GRID_GROUPS))
    d, k = max(grid, key=lambda one: area(Params("similarity", n_components=one[0], n_groups=one[1])))
    candidates = {ranker: Params(ranker, best_c, d, k) for ranker in RANKERS}
    areas = {ranker: area(params) for ranker, params in candidates.items()}
    return candidates[max(RANKERS, key=lambda ranker: areas[ranker])], {str(ranker): value for ranker, value in areas.items()}


def judged(pool: Pool, columns: tuple[Column, ...], params: Params) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit on the part that is not held out; give the held-out part's truth and scores. Shape: (m,), (m,)."""
    fit, ask = _parts(pool)
    return pool.is_seed[ask].astype(np.float64), _ground(pool, columns, fit, ask).rank(params)


@dataclass(frozen=True)
class Ground:
    """Customers to learn from and to ask about, laid out once for every ranker. Shape: z (n, q), is_seed (n,), asked (m, q)."""

    space: Space
    z: Matrix
    is_seed: Mask
    asked: Matrix

    def rank(self, params: Params, is_seed: Mask | None = None) -> NDArray[np.float64]:
        """Scores of those asked about. Shape: (m,)."""
        return self.space.ranked(self.z, self.is_seed if is_seed is None else is_seed, self.asked, params)


def _ground(pool: Pool, columns: tuple[Column, ...], fit: NDArray[np.int64], ask: NDArray[np.int64]) -> Ground:
    space = make_space("", {}, columns, pool.x[fit], Params())
    return Ground(space, space.z(pool.x[fit]), pool.is_seed[fit], space.z(pool.x[ask]))


def _parts(pool: Pool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Who teaches, and who is held out."""
    return np.flatnonzero(~pool.held_out), np.flatnonzero(pool.held_out)


def _judge(task: Task, pool: Pool, whole: Pool, every: tuple[Column, ...], columns: tuple[Column, ...], params: Params) -> dict[str, Any]:
    """Read the held-out part, once: every ranker, the best plain filter found before, a random seed, and all columns for comparison."""
    fit, ask = _parts(pool)
    ground, y = _ground(pool, columns, fit, ask), pool.is_seed[ask].astype(np.float64)
    by_ranker = {ranker: ground.rank(replace(params, ranker=ranker)) for ranker in RANKERS}
    ours = by_ranker[params.ranker]
    w = metrics.resamples(np.arange(len(y)).astype(str).astype(object))
    rule, rule_scores = _best_rule(task, pool, columns)
    gain = metrics.gain(y, ours, rule_scores, w, metrics.lift_at(0.10))
    chance = _random_seeds(pool, ground, params, w)
    # As a new list would be ranked at once: no choice of ranker or parameters, from the components alone.
    instant = ground.space.scores(ground.space.expand(ground.space.lay_out(pool.x[fit]), pool.is_seed[fit])[0], pool.x[ask])
    with_all, with_own = judged(whole, every, params)[1], metrics.lift_at(0.10)(y, ours, w)
    figures = _lifts(y, ours, w)
    return figures | {
        "test_rows": len(y), "test_seeds": int(y.sum()), "lift_interval": figures["lift_at_10_interval"],
        "rule": {"name": rule, **_lifts(y, rule_scores, w)}, "rankers": {ranker: _lifts(y, scores, w) for ranker, scores in by_ranker.items()},
        "gain_over_rule": {"lift_at_10": gain["value"], "interval": gain["interval"]},
        "grade": "better than the rule" if gain["interval"][0] > 0 else "no better than the rule",
        "random_seed_lift": chance["lift"], "random_seed_interval": chance["interval"],
        "instant": _lifts(y, instant, w), "unlabelled": evaluated(y, ours, w, *_left_out(pool, columns, params)),
        "with_excluded": {"lift_at_10": round(float(metrics.lift_at(0.10)(y, with_all, w)[0]), 4), "without": round(float(with_own[0]), 4)},
        "curve": [{"reach": share, "recall": _recall(y, ours, share), "rule_recall": _recall(y, rule_scores, share)} for share in np.linspace(0.05, 1, 20).round(2)],
    }


def _left_out(pool: Pool, columns: tuple[Column, ...], params: Params) -> tuple[NDArray[np.float64], Mask]:
    """The training part's margins by the plain classifier, each customer left out of its own fit, and who is a seed there. Shape: (n,), (n,)."""
    inside, _ = _parts(pool)
    fold, margins = np.random.default_rng(SEED).permutation(len(inside)) % N_FOLDS, np.empty(len(inside))
    for i in range(N_FOLDS):
        margins[fold == i] = _ground(pool, columns, inside[fold != i], inside[fold == i]).rank(replace(params, ranker="classifier"))
    return margins, pool.is_seed[inside]


def _lifts(y: NDArray[np.float64], scores: NDArray[np.float64], w: NDArray[np.float64]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for share in REACHES:
        lift, name = metrics.lift_at(share)(y, scores, w), f"{round(100 * share)}"
        said |= {f"lift_at_{name}": round(float(lift[0]), 4), f"lift_at_{name}_interval": metrics.interval(lift)}
        said |= {f"recall_at_{name}": round(float(lift[0]) * share, 4), f"recall_at_{name}_interval": metrics.interval(lift * share)}
    return said


def _recall(y: NDArray[np.float64], scores: NDArray[np.float64], share: float) -> float:
    return round(float(metrics.lift_at(float(share))(y, scores, np.ones((1, len(y))))[0] * share), 4)


def _best_rule(task: Task, pool: Pool, columns: tuple[Column, ...]) -> tuple[str, NDArray[np.float64]]:
    """The plain filter: the column among the task's rules that tells the training seeds best, and which way; its held-out ranking."""
    names = [column.name for column in columns]
    inside, found = ~pool.held_out, {}
    for name in task.rules:
        if name in names:
            score = rule_score(pool.x, names.index(name))
            area = _area(pool.is_seed[inside], score[inside])
            found[name] = (max(area, 1 - area), score if area >= 0.5 else -score)
    if not found:
        raise ContractError(f"{task.name} needs a plain filter to be judged against, found none of {', '.join(task.rules) or 'its rules'} among the features; declare rules")
    best = max(found, key=lambda name: found[name][0])
    return best, found[best][1][pool.held_out]


def _random_seeds(pool: Pool, ground: Ground, params: Params, w: NDArray[np.float64]) -> dict[str, Any]:
    """The negative control: as many customers drawn by lot, in each part, treated as seeds; the mean of a few draws should lift by about 1."""
    lifts = []
    for i in range(N_RANDOM):
        rng = np.random.default_rng([SEED, i])
        fakes = [np.isin(np.arange(len(part)), rng.choice(len(part), int(pool.is_seed[part].sum()), replace=False)) for part in _parts(pool)[::-1]]
        lifts.append(metrics.lift_at(0.10)(fakes[0].astype(np.float64), ground.rank(params, fakes[1]), w))
    mean = np.mean(lifts, axis=0)
    return {"lift": round(float(mean[0]), 4), "interval": metrics.interval(mean)}


def _held_out(as_ofs: NDArray[np.datetime64], is_seed: Mask) -> tuple[Mask, str]:
    """The latest snapshots with at least 30 % of the seeds; a random 30 % of customers where all stand at one moment.

    Raises: ContractError where either part would have fewer than 25 seeds.
    """
    moments = np.unique(as_ofs)
    if len(moments) > 1:
        later = [as_ofs >= moment for moment in moments[1:]]
        held_out, split = next((part for part in reversed(later) if is_seed[part].mean() and is_seed[part].sum() >= HELD_OUT_SHARE * is_seed.sum()), later[0]), "later"
    else:
        held_out, split = np.random.default_rng(SEED).random(len(as_ofs)) < HELD_OUT_SHARE, "other customers"
    sizes = [int(is_seed[part].sum()) for part in (~held_out, held_out)]
    if min(sizes) < MIN_HELD_OUT:
        raise ContractError(
            f"TOO_FEW_SEEDS: held-out seeds must judge and the rest teach, at least {MIN_HELD_OUT} each, found {sizes[0]} to teach and {sizes[1]} to judge; bring more seeds")
    return held_out, split


def _copies(x: Matrix, columns: tuple[Column, ...], why: dict[str, str], task: Task) -> dict[str, str]:
    """Columns that order customers as the seeds' definition does (rank correlation), by the training part alone."""
    from scipy.stats import rankdata

    column = task.seeds.column if task.seeds else ""
    definition = {column} if column else {name for name, word in why.items() if word == "defines the seeds"}
    numeric = [j for j, column in enumerate(columns) if not column.is_category]
    ranks = {j: rankdata(rule_score(x, j)) for j in numeric}
    found = {}
    for j in numeric:
        for k in numeric:
            if columns[j].name in why or columns[k].name not in definition or np.ptp(ranks[j]) == 0 or np.ptp(ranks[k]) == 0:
                continue
            if abs(float(np.corrcoef(ranks[j], ranks[k])[0, 1])) >= COPY_CORRELATION:
                found[columns[j].name] = f"orders customers as {columns[k].name} does"
    return found


def _refit(
    dataset: Dataset, task: Task, pool: Pool, columns: tuple[Column, ...], params: Params, record: dict[str, Any], features: Sequence[Feature],
) -> Space:
    """The space of everybody, with all seeds as its example, and averages of seeds and population for the reasons."""
    space = make_space(f"{dataset.name}.{task.name}", asdict(task), columns, pool.x, params)
    card = {
        **record, "data": dataset.name, "fingerprint": dataset.fingerprint, "licence": dataset.licence, "is_simulated": dataset.is_simulated,
        "currency": dataset.currency, "zone": dataset.zone,
        "labels": {feature.name: {"en": feature.label_en, "zh": feature.label_zh} for feature in features}, "packages": {name: version(name) for name in PACKAGES},
        "figures": "of the held-out seeds, by a space fitted without them; the space registered is fitted on everybody"}
    reference = averages_of(columns, pool.x, {"all": np.ones(len(pool.x), dtype=bool), "seeds": pool.is_seed})
    return replace(space, example=space.fit(pool.x, pool.is_seed), reference=reference, card=card)


def _area(is_seed: Mask, scores: NDArray[np.float64]) -> float:
    return float(metrics.auc(is_seed.astype(np.float64), scores, np.ones((1, len(scores))))[0])


def _stamps(as_ofs: NDArray[np.datetime64]) -> list[str]:
    return [moment.item().isoformat() + "Z" for moment in np.unique(as_ofs) if isinstance(moment.item(), datetime)]
