"""Recipes: how a candidate is made. A recipe is small and JSON; fitted on rows it gives members for a saved model."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from training.members import BoosterMember, LinearMember, Matrix, Member, lightgbm, parts_of, signed_log
from training.memory import give_back
from training.saved_model import Column
from training.tables import FEWER_ROWS, MOST_ROWS, Rows

if TYPE_CHECKING:
    import optuna

Kind = Literal["lightgbm", "logistic", "blend", "rule"]
SEED = 20260101
# Trees are added to a booster until so many in a row brought nothing, and no more than so many.
PATIENCE, LONGEST = 50, 450


@dataclass(frozen=True)
class Recipe:
    """What is fitted: a kind and its parameters. A blend averages the margins of its two parts, a rule is one column and a sign."""

    kind: Kind
    params: dict[str, Any] = field(default_factory=dict)

    def fit(self, rows: Rows, columns: tuple[Column, ...]) -> "Fitted":
        """Fit on rows, on at most MOST_ROWS of them; the result gives margins, not yet calibrated."""
        return self.fit_on(Ground(rows, columns))

    def fit_on(self, ground: "Ground") -> "Fitted":
        """The same on rows that are made ready once for many recipes."""
        if self.kind == "blend":
            trees, linear = (Recipe(kind, self.params[kind]).fit_on(ground) for kind in ("lightgbm", "logistic"))
            return blended(trees, linear)
        if self.kind == "rule":
            return Fitted((fit_rule(ground.rows, ground.columns, self.params),), (1.0,))
        if self.kind == "logistic":
            return Fitted((fit_logistic(ground, self.params),), (1.0,))
        n_bags = self.params.get("n_bags", 1)
        return Fitted(tuple(fit_lightgbm(ground, self.params, bag) for bag in range(n_bags)), (1 / n_bags,) * n_bags)


@dataclass(frozen=True)
class Fitted:
    """Fitted members and their weights."""

    members: tuple[Member, ...]
    weights: tuple[float, ...]

    def margins(self, x: Matrix) -> Matrix:
        """Shape: (n, p) -> (n,)."""
        total: Matrix = np.sum([w * member.margins(x) for w, member in zip(self.weights, self.members, strict=True)], axis=0)
        return total


def blended(trees: Fitted, linear: Fitted, share: float = 0.5) -> Fitted:
    """Both as one, their margins averaged; `share` is the weight of the trees."""
    return Fitted((*trees.members, *linear.members), (*(share * w for w in trees.weights), *((1 - share) * w for w in linear.weights)))


_BINNING = {"verbose": -1, "feature_pre_filter": False, "num_threads": 1}


class Ground:
    """Rows to fit on, at most MOST_ROWS of them, made ready once and used by every fit: the trees' bins, the logistic regression's design.

    With `is_shared`, each logistic regression begins where one of fixed strength ended: half the steps, and no fit depends on the one before it.
    """

    def __init__(self, rows: Rows, columns: tuple[Column, ...], is_shared: bool = False) -> None:
        self.rows, self.columns, self.is_shared = rows.thinned(MOST_ROWS), columns, is_shared

    @cached_property
    def bins(self) -> Any:
        """LightGBM's dataset. Columns that a large leaf could not split stay in it, because the next trial's leaves may be smaller.

        One thread: LightGBM keeps that number for the whole process, and another one in a fit beside it ends the process (seen: a segmentation fault).
        """
        made = lightgbm().Dataset(
            self.rows.x, self.rows.y, feature_name=[f"f{j}" for j in range(len(self.columns))], categorical_feature=[i for i, c in enumerate(self.columns) if c.is_category],
            free_raw_data=True, params=_BINNING).construct()
        give_back()
        return made

    def beside(self, rows: Rows) -> Any:
        """Other rows in the same bins, whose loss is watched while trees are added."""
        bins = self.bins
        return lightgbm().Dataset(
            rows.x, rows.y, reference=bins, feature_name=bins.feature_name, categorical_feature=bins.categorical_feature, free_raw_data=True, params=_BINNING).construct()

    @cached_property
    def fewer(self) -> Rows:
        """What a logistic regression learns from: beside its design stands a copy that each Newton step makes of it, for which more rows leave no room."""
        return self.rows.thinned(FEWER_ROWS)

    @cached_property
    def design(self) -> "Design":
        """The columns of the logistic regression."""
        return Design(self.fewer.x, self.columns)

    @cached_property
    def begin(self) -> Any:
        """The logistic regression that others begin with."""
        return logistic_regression(self.design, self.fewer.y, FIRST_LOGISTIC["C"])


def fit_lightgbm(ground: Ground, params: dict[str, Any], bag: int = 0) -> BoosterMember:
    """Gradient boosted trees with native categories and plain log loss: weighting the classes would spoil the probabilities. Each bag draws rows and columns anew.

    One thread: on a busy two-core machine two are twice as slow as one (2.2 s against 4 to 6 s for 300 trees).
    """
    return BoosterMember(lightgbm().train(_settings(ground, params, bag), ground.bins, num_boost_round=params["n_trees"]).model_to_string())


def grown(ground: Ground, params: dict[str, Any], beside: Any, held: Matrix) -> tuple[Matrix, int]:
    """Trees added until the rows beside gain no more from them, at most LONGEST: margins of those rows, and how many trees it took. Shape: held (n, p) -> (n,)."""
    library = lightgbm()
    booster = library.train(
        _settings(ground, params, 0), ground.bins, num_boost_round=LONGEST, valid_sets=[beside], callbacks=[library.early_stopping(PATIENCE, verbose=False)])
    margins = booster.predict(held, raw_score=True, num_iteration=booster.best_iteration, num_threads=1)
    return np.asarray(margins, dtype=np.float64), int(booster.best_iteration)


def _settings(ground: Ground, params: dict[str, Any], bag: int) -> dict[str, Any]:
    """What LightGBM is told."""
    fixed = {
        "objective": "binary", "seed": SEED + bag, "deterministic": True, "force_row_wise": True, "num_threads": 1, "verbose": -1, "bagging_freq": 1,
        "feature_pre_filter": False}
    given = {k: v for k, v in params.items() if k not in ("n_trees", "n_bags", "monotone")}
    if "monotone" in params:
        given |= {"monotone_constraints": [params["monotone"].get(column.name, 0) for column in ground.columns], "monotone_constraints_method": "intermediate"}
    return {**fixed, **given}


def suggest_lightgbm(trial: "optuna.Trial") -> dict[str, Any]:
    """The search space; trees and leaves are bounded, so that explanations stay fast."""
    return {
        "n_trees": trial.suggest_int("n_trees", 40, 400, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.15, log=True),
        "num_leaves": trial.suggest_int("num_leaves", 3, 24, log=True),
        "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 20, 300, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.15, 0.9),
        "bagging_fraction": trial.suggest_float("bagging_fraction", 0.4, 1.0),
        "lambda_l2": trial.suggest_float("lambda_l2", 0.1, 100.0, log=True),
    }


# A sound beginning for the search: shallow, slow, half of the columns at a time.
FIRST_LIGHTGBM = {"n_trees": 200, "learning_rate": 0.03, "num_leaves": 7, "min_data_in_leaf": 60, "feature_fraction": 0.4, "bagging_fraction": 0.7, "lambda_l2": 20.0}
FIRST_LOGISTIC = {"C": 0.01}


def suggest_any_trees(trial: "optuna.Trial") -> dict[str, Any]:
    """The same for a table of any kind, whose number of trees is found while they are added (`grown`): small leaves, most columns at a time.

    Splits may be drawn by lot (extremely randomised trees, Geurts et al. 2006).
    """
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.15, log=True),
        "num_leaves": trial.suggest_int("num_leaves", 3, 24, log=True),
        "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 5, 300, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.2, 0.95),
        "bagging_fraction": trial.suggest_float("bagging_fraction", 0.5, 0.95),
        "lambda_l2": trial.suggest_float("lambda_l2", 0.1, 50.0, log=True),
        "extra_trees": trial.suggest_categorical("extra_trees", [False, True]),
    }


# Where the search begins: what won on some table, unlike one another, the most often good first (decision 0036).
FIRST_ANY_TREES = tuple(
    dict(zip(("learning_rate", "num_leaves", "min_data_in_leaf", "feature_fraction", "bagging_fraction", "lambda_l2", "extra_trees"), values, strict=True)) for values in (
        (0.06, 6, 20, 0.8, 0.6, 0.5, False), (0.10, 12, 5, 0.8, 0.85, 0.5, False), (0.03, 6, 5, 0.8, 0.85, 5.0, False), (0.06, 12, 60, 0.8, 0.85, 0.5, False),
        (0.06, 3, 5, 0.8, 0.6, 5.0, False), (0.06, 24, 20, 0.8, 0.6, 0.5, False), (0.10, 6, 5, 0.25, 0.6, 30.0, False), (0.10, 24, 5, 0.5, 0.6, 0.5, True)))


def suggest_logistic(trial: "optuna.Trial") -> dict[str, Any]:
    """One number: the inverse strength of the ridge penalty."""
    return {"C": trial.suggest_float("C", 1e-4, 10.0, log=True)}


class Design:
    """Standardised signed logs, "unknown" indicators, one-hot categories; and the way back from their weights to raw features.

    Shape: `x` (n, q).
    """

    def __init__(self, x: Matrix, columns: tuple[Column, ...]) -> None:
        self.columns = columns
        self.numeric = [j for j, c in enumerate(columns) if not c.is_category]
        known, q = ~np.isnan(x)[:, self.numeric], len(self.numeric)
        n_known = np.maximum(known.sum(axis=0), 1)
        # Columns that are unknown together are one indicator: k equal ones with a ridge penalty are one sqrt(k) as large: the same model, sooner.
        places: dict[bytes, int] = {}
        self.which = np.array([places.setdefault(column.tobytes(), len(places)) for column in np.packbits(~known, axis=0).T], dtype=np.int64)
        _, first, self.k = np.unique(self.which, return_index=True, return_counts=True)
        one_hot = [j for j, column in enumerate(columns) if column.is_category]
        self.x = np.empty((len(x), q + len(self.k) + sum(len(columns[j].levels) for j in one_hot)))
        # Written where it stays: beside a large table there is no room for it twice.
        numbers = self.x[:, :q]
        for part in parts_of(len(x)):
            numbers[part] = np.where(known[part], signed_log(x[part][:, self.numeric]), 0.0)
        self.means = numbers.sum(axis=0) / n_known
        for part in parts_of(len(x)):
            numbers[part] = np.where(known[part], numbers[part] - self.means, 0.0)
        self.spread = np.sqrt(np.einsum("ij,ij->j", numbers, numbers) / n_known)
        self.spread[self.spread == 0] = 1.0
        numbers /= self.spread
        place = q + len(self.k)
        np.multiply(~known[:, first], np.sqrt(self.k), out=self.x[:, q:place])
        for j in one_hot:
            after = place + len(columns[j].levels)
            self.x[:, place:after] = x[:, [j]] == np.arange(len(columns[j].levels))
            place = after

    def member(self, coefficients: Matrix, intercept: float) -> LinearMember:
        """Fitted weights folded back, so that the member works on raw features."""
        p, q = len(self.columns), len(self.numeric)
        weights, at_missing = np.zeros(p), np.zeros(p)
        weights[self.numeric] = coefficients[:q] / self.spread
        at_missing[self.numeric] = weights[self.numeric] * self.means + (coefficients[q:q + len(self.k)] / np.sqrt(self.k))[self.which]
        levels, place = {}, q + len(self.k)
        for j, column in enumerate(self.columns):
            if column.is_category:
                levels[j] = coefficients[place:place + len(column.levels)]
                place += len(column.levels)
        return LinearMember(intercept - float((weights[self.numeric] * self.means).sum()), weights, at_missing, np.zeros(p), levels)


def fit_logistic(ground: Ground, params: dict[str, Any]) -> LinearMember:
    """Ridge logistic regression on the ground's design."""
    model = logistic_regression(ground.design, ground.fewer.y, params["C"], ground.begin if ground.is_shared else None)
    return ground.design.member(model.coef_[0], float(model.intercept_[0])).centred(ground.fewer.x)


def logistic_regression(design: Design, y: Matrix, strength: float, begin: Any = None) -> Any:
    """Scikit-learn's, by Newton steps; from the weights of another one where given, which are then a few steps away."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    model = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-8 if begin is None else 1e-6, max_iter=200, warm_start=True)
    if begin is not None:
        model.coef_, model.intercept_ = begin.coef_.copy(), begin.intercept_.copy()
    # One BLAS thread: on a shared machine two that wait for each other take seven times as long (2.8 s against 0.4 s).
    with threadpool_limits(1, "blas"):
        return model.fit(design.x, y)


def fit_rule(rows: Rows, columns: tuple[Column, ...], params: dict[str, Any]) -> LinearMember:
    """The ranking by one column, up or down; a customer without a value comes last."""
    j = [c.name for c in columns].index(params["column"])
    weights, at_missing = np.zeros(len(columns)), np.zeros(len(columns))
    weights[j] = params["sign"]
    values = weights[j] * signed_log(rows.x[:, j])
    at_missing[j] = float(np.nanmin(values)) - 1.0 if np.isfinite(values).any() else 0.0
    return LinearMember(0.0, weights, at_missing, np.zeros(len(columns)), {}).centred(rows.x)
