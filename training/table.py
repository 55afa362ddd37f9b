"""A flat table to a judged, calibrated model: nested cross-validation, so that nothing fitted or chosen saw the rows that judge it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from features.errors import ContractError, UsageError
from features.files import write_json, written_whole
from training import metrics, recipes
from training.backtest import rule_score
from training.calibrate import calibrated, fit_platt, fitted_log_loss
from training.flat import Flat, for_model, read_text, typed
from training.recipes import SEED, Recipe
from training.reference import band_cuts, bands_on, drivers, reference_of
from training.saved_model import BANDS, Column, SavedModel, sigmoid
from training.tables import Rows
from training.tune import make_storage, tuned

if TYPE_CHECKING:
    from features.progress import Steps

N_OUTER, N_INNER = 5, 4
SMALL, WARN_UNDER, MIN_ROWS, MIN_LABEL = 2000, 500, 100, 20
LATER_SHARE = 0.3
KINDS = ("logistic", "lightgbm", "blend", "rule")
Index = NDArray[np.int64]
Split = tuple[Index, Index]


@dataclass(frozen=True)
class Asked:
    """What the door was asked for."""

    file: Path
    label: str
    out: Path
    id_column: str = ""
    time_column: str = ""
    score: Path | None = None
    predictions: Path | None = None
    trials: int = 12
    keep: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chosen:
    """What was found on some rows: parameters, the winner, and each candidate's margins on rows that it did not see. Shape: seen (m,), margins (m,)."""

    recipes: dict[str, Recipe]
    winner: str
    seen: Index
    margins: dict[str, NDArray[np.float64]]


def run_table(asked: Asked, steps: "Steps") -> dict[str, Any]:
    """Judge by outer folds, then tune, choose, calibrate and fit once more on all rows; write `model/` and `table.json`, and predictions if asked.

    Raises: UsageError, ContractError before anything is written.
    """
    if (asked.score is None) != (asked.predictions is None):
        raise UsageError("--score and --predictions go together, found one of them; give both")
    if asked.predictions and asked.predictions.suffix not in (".csv", ".parquet"):
        raise UsageError(f"--predictions must end in .csv or .parquet, found {asked.predictions.name}; name it so")
    with steps.step("read", f"reading {asked.file}"):
        flat = typed(read_text(asked.file), asked.label, asked.id_column, asked.time_column, asked.keep)
        new = read_text(asked.score) if asked.score else None
    n, positives = len(flat.y), int(flat.y.sum())
    if n < MIN_ROWS or min(positives, n - positives) < MIN_LABEL:
        raise ContractError(f"a table needs at least {MIN_ROWS} rows and {MIN_LABEL} of each label, found {n} rows, {positives} of them {flat.positive}; bring more")
    _tell(steps, flat, asked)
    groups = groups_of(flat)
    outer = outer_splits(flat, groups)
    p, margins, y, at = _judged(steps, flat, groups, outer, asked.trials)
    with steps.step("fit", "tuning, choosing and fitting on all rows"), TemporaryDirectory() as aside:
        everyone = np.arange(n)
        columns = flat.columns(everyone)
        chosen = choose(flat, columns, everyone, groups, Path(aside), asked.trials)
    record = _record(flat, asked, chosen, p, margins, y, at, groups, outer)
    model = _saved(flat, asked, columns, chosen, record)
    asked.out.mkdir(parents=True, exist_ok=True)
    if new is not None and asked.predictions:
        # A table that cannot be scored is refused before anything is written.
        probabilities, extra = predicted(model, new)
        if extra:
            steps.say(f"  not used of {asked.score}: {', '.join(extra)}")
        _write_predictions(asked, new, probabilities)
    model.save(asked.out / "model")
    write_json(asked.out / "table.json", record)
    return record


def _tell(steps: "Steps", flat: Flat, asked: Asked) -> None:
    n, positives = len(flat.y), int(flat.y.sum())
    steps.say(f"  {n:,} rows, {positives:,} of them {asked.label} = {flat.positive} ({100 * positives / n:.1f} %); {len(flat.types)} columns to learn from")
    for name, why in flat.dropped.items():
        steps.say(f"  left out: {name}, {why}" + (f" (use it all the same: --keep {name})" if name in flat.suspected else ""))
    if n < WARN_UNDER:
        steps.say(f"  warning: {n} rows are few; look at the intervals, not at the figures")


def groups_of(flat: Flat) -> NDArray[np.object_]:
    """Rows that must stay together in every split: those of one id, and those that are equal in every column."""
    import pandas as pd

    key = pd.util.hash_pandas_object(flat.frame.astype(str), index=False).to_numpy().astype(str).astype(object)
    if flat.ids is None:
        return key
    # Equal rows of two ids join their ids' groups.
    first: dict[str, str] = {}
    parent = {str(one): str(one) for one in flat.ids}

    def root(one: str) -> str:
        while parent[one] != one:
            one = parent[one]
        return one

    for row, one in zip(key, map(str, flat.ids), strict=True):
        parent[root(one)] = root(first.setdefault(row, one))
    return np.array([root(str(one)) for one in flat.ids], dtype=object)


def outer_splits(flat: Flat, groups: NDArray[np.object_]) -> list[Split]:
    """Rows to learn from and rows to judge by: the latest part where time is told, else folds by groups, three times over where rows are few."""
    if flat.times is not None:
        order = np.argsort(flat.times, kind="stable")
        cut = flat.times[order[int((1 - LATER_SHARE) * len(order))]]
        earlier, later = np.flatnonzero(flat.times < cut), np.flatnonzero(flat.times >= cut)
        inside = set(groups[earlier])
        # Who is known from before is no new case.
        later = np.array([row for row in later if groups[row] not in inside], dtype=np.int64)
        if min(len(earlier), len(later)) < MIN_ROWS or min(flat.y[later].sum(), (1 - flat.y[later]).sum()) < MIN_LABEL:
            raise ContractError(
                f"--time needs at least {MIN_ROWS} rows and {MIN_LABEL} of each label in the latest {100 * LATER_SHARE:.0f} %, found {len(later)} rows of new cases; bring more")
        return [(earlier, later)]
    return [split for seed in range(3 if len(flat.y) < SMALL else 1) for split in _folds(flat.y, groups, N_OUTER, SEED + seed)]


def _folds(y: NDArray[np.float64], groups: NDArray[np.object_], n: int, seed: int) -> list[Split]:
    from sklearn.model_selection import StratifiedGroupKFold

    return list(StratifiedGroupKFold(n, shuffle=True, random_state=seed).split(np.zeros(len(y)), y, groups.astype(str)))


def _inner(flat: Flat, rows: Index, groups: NDArray[np.object_]) -> list[Split]:
    """Splits of some rows: forward in time where time is told, else by groups."""
    if flat.times is None:
        return [(rows[fit], rows[ask]) for fit, ask in _folds(flat.y[rows], groups[rows], N_INNER, SEED)]
    blocks = np.array_split(rows[np.argsort(flat.times[rows], kind="stable")], 5)
    return [(np.concatenate(blocks[:i]), blocks[i]) for i in (2, 3, 4)]


def choose(flat: Flat, columns: tuple[Column, ...], rows: Index, groups: NDArray[np.object_], folder: Path, trials: int) -> Chosen:
    """Tune, and choose the simplest candidate that the best one is not shown to beat, all by inner folds of these rows."""
    from training.train import simplest_of_the_best

    every = rows_of(flat, columns, groups)
    splits = _inner(flat, rows, groups)
    storage = make_storage(folder / "optuna.db")

    def margins_of(recipe: Recipe) -> NDArray[np.float64]:
        return np.concatenate([recipe.fit(at(every, fit), columns).margins(every.x[ask]) for fit, ask in splits])

    seen = np.concatenate([ask for _, ask in splits])
    y = flat.y[seen]
    params: dict[str, dict[str, Any]] = {}
    spaces: tuple[tuple[str, dict[str, Any], Callable[[Any], dict[str, Any]], int], ...] = (
        ("lightgbm", recipes.FIRST_LIGHTGBM, recipes.suggest_lightgbm, trials), ("logistic", recipes.FIRST_LOGISTIC, recipes.suggest_logistic, max(1, trials // 2)))
    for kind, first, suggest, n in spaces:
        params[kind], _ = tuned(
            storage, kind, n, first, suggest, lambda given, kind=kind: fitted_log_loss(margins_of(Recipe(kind, given)), y), lambda *_: None)  # type: ignore[misc]
    found = {"logistic": Recipe("logistic", params["logistic"]), "lightgbm": Recipe("lightgbm", params["lightgbm"]), "blend": Recipe("blend", params)}
    found["rule"] = best_rule(at(every, rows), columns)
    margins = {kind: margins_of(recipe) for kind, recipe in found.items()}
    winner, _ = simplest_of_the_best("log_loss", margins, at(every, seen))
    return Chosen(found, winner, seen, margins)


def best_rule(rows: Rows, columns: tuple[Column, ...]) -> Recipe:
    """The single column of numbers that orders these rows best, up or down; the first column where there are none."""
    w = np.ones((1, len(rows.y)))
    areas = {column.name: float(metrics.auc(rows.y, rule_score(rows.x, j), w)[0]) for j, column in enumerate(columns) if not column.is_category}
    if not areas:
        return Recipe("rule", {"column": columns[0].name, "sign": 1.0})
    name = max(areas, key=lambda one: abs(areas[one] - 0.5))
    return Recipe("rule", {"column": name, "sign": 1.0 if areas[name] >= 0.5 else -1.0})


def rows_of(flat: Flat, columns: tuple[Column, ...], groups: NDArray[np.object_]) -> Rows:
    """The whole table as matrix, label and groups."""
    return Rows(flat.matrix(columns), flat.y, groups, np.zeros(len(flat.y), dtype="datetime64[us]"))


def at(rows: Rows, places: Index) -> Rows:
    """Some rows, in that order."""
    return Rows(rows.x[places], rows.y[places], rows.customers[places], rows.as_ofs[places])


def _judged(
    steps: "Steps", flat: Flat, groups: NDArray[np.object_], outer: Sequence[Split], trials: int,
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]], NDArray[np.float64], Index]:
    """Probabilities of the whole procedure, and of each candidate, for rows that it did not see; a row's come once for each repeat."""
    ours, theirs, places = [], {kind: [] for kind in KINDS}, []  # type: ignore[var-annotated]
    for i, (fit, ask) in enumerate(outer, 1):
        with steps.step(f"fold_{i}", f"judging, part {i} of {len(outer)}"), TemporaryDirectory() as aside:
            columns = flat.columns(fit)
            chosen = choose(flat, columns, fit, groups, Path(aside), trials)
            every = rows_of(flat, columns, groups)
            for kind, recipe in chosen.recipes.items():
                margins = recipe.fit(at(every, fit), columns).margins(every.x[ask])
                p = calibrated(margins, *fit_platt(chosen.margins[kind], flat.y[chosen.seen]))
                theirs[kind].append(p)
                if kind == chosen.winner:
                    ours.append(p)
            places.append(ask)
    place = np.concatenate(places)
    return np.concatenate(ours), {kind: np.concatenate(parts) for kind, parts in theirs.items()}, flat.y[place], place


def _record(
    flat: Flat, asked: Asked, chosen: Chosen, p: NDArray[np.float64], candidates: dict[str, NDArray[np.float64]], y: NDArray[np.float64], place: Index,
    groups: NDArray[np.object_], outer: Sequence[Split],
) -> dict[str, Any]:
    w = metrics.resamples(groups[place])
    gain = metrics.gain(y, p, candidates["rule"], w)
    judged_by = "the latest part in time" if flat.times is not None else f"{len(outer)} parts by cross-validation" + (", three times over" if len(outer) > N_OUTER else "")
    return {
        "file": asked.file.name, "label": asked.label, "positive": flat.positive, "rows": len(flat.y), "positives": int(flat.y.sum()), "base_rate": round(float(flat.y.mean()), 5),
        "judged_rows": len(y), "judged_by": judged_by, **metrics.measure(y, p, w), **metrics.believability(y, p),
        "candidates": {kind: metrics.measure(y, values, w) for kind, values in candidates.items()}, "rule": chosen.recipes["rule"].params["column"],
        "gain_over_rule": {"auc": gain["value"], "interval": gain["interval"]},
        "grade": "better than the rule" if gain["interval"][0] > 0 else "no better than the rule", "winner": chosen.winner,
        "columns": flat.types, "dropped": flat.dropped, "suspected_leaks": flat.suspected, "calibration": metrics.calibration_table(y, p)}


def _saved(flat: Flat, asked: Asked, columns: tuple[Column, ...], chosen: Chosen, record: dict[str, Any]) -> SavedModel:
    recipe = chosen.recipes[chosen.winner]
    rows = rows_of(flat, columns, np.zeros(len(flat.y), dtype=object))
    fitted = recipe.fit(rows, columns)
    slope, intercept = fit_platt(chosen.margins[chosen.winner], flat.y[chosen.seen])
    p = calibrated(chosen.margins[chosen.winner], slope, intercept)
    cuts = band_cuts(p)
    task = {"name": asked.label, "kind": "table", "target_kind": flat.positive}
    # Every input, also those of a rule: the reasons of all columns are there to be read.
    plain = SavedModel(f"table.{asked.file.name.split('.')[0]}", task, columns, fitted.members, fitted.weights, slope, intercept, cuts, {}, record)
    model = SavedModel(**{**plain.__dict__, "reference": reference_of(plain, rows)})
    model.card["bands"] = bands_on(cuts, p, flat.y[chosen.seen])
    model.card["drivers"] = drivers(model, rows)
    assert set(BANDS) == {band["band"] for band in model.card["bands"]}
    return model


def predicted(model: SavedModel, frame: Any) -> tuple[NDArray[np.float64], list[str]]:
    """A probability for each row in order, and the columns that were not used. Raises: ContractError for missing columns."""
    table, extra = for_model(frame, model.columns)
    return sigmoid(model.log_odds(model.encode(table))), extra


def _write_predictions(asked: Asked, new: Any, probabilities: NDArray[np.float64]) -> None:
    import pandas as pd

    columns: dict[str, Any] = {asked.id_column: new[asked.id_column]} if asked.id_column and asked.id_column in new.columns else {}
    table = pd.DataFrame({**columns, "probability": np.round(probabilities, 6)})
    assert asked.predictions is not None
    asked.predictions.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(asked.predictions) as aside:
        if asked.predictions.suffix == ".csv":
            table.to_csv(aside, index=False)
        else:
            table.to_parquet(aside, index=False)


def in_short(record: dict[str, Any]) -> str:
    """The record in a few lines."""
    low, high = record["auc_interval"]
    lines = [f"{record['winner']}: AUC {record['auc']:.3f} [{low:.3f}, {high:.3f}], log loss {record['log_loss']:.4f}, ECE {record['ece']:.3f}, judged on {record['judged_by']}"]
    lines += [f"  {kind:9} AUC {said['auc']:.3f}, log loss {said['log_loss']:.4f}" + (f" ({record['rule']})" if kind == "rule" else "")
              for kind, said in record["candidates"].items()]
    gain = record["gain_over_rule"]
    return "\n".join([*lines, f"  above the rule: {gain['auc']:+.3f} {json.dumps(gain['interval'])}: {record['grade']}"])
