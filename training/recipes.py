"""Recipes: how a candidate is made. A recipe is small and JSON; fitted on rows it gives members for a saved model."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from training.members import BoosterMember, LinearMember, Matrix, Member, lightgbm, signed_log
from training.saved_model import Column
from training.tables import Rows

if TYPE_CHECKING:
    import optuna

Kind = Literal["lightgbm", "logistic", "blend", "rule"]
SEED = 20260101
# A fit learns from no more; the figures are of all customers. On demo-shop (100,000 customers) more rows brought less than .001 of AUC.
MOST_ROWS = 150_000


@dataclass(frozen=True)
class Recipe:
    """What is fitted: a kind and its parameters. A blend averages the margins of its two parts, a rule is one column and a sign."""

    kind: Kind
    params: dict[str, Any] = field(default_factory=dict)

    def fit(self, rows: Rows, columns: tuple[Column, ...]) -> "Fitted":
        """Fit on rows, on at most MOST_ROWS of them; the result gives margins, not yet calibrated."""
        rows = rows.thinned(MOST_ROWS)
        if self.kind == "blend":
            parts = [Recipe(kind, self.params[kind]).fit(rows, columns) for kind in ("lightgbm", "logistic")]
            return Fitted(tuple(m for part in parts for m in part.members), (0.5, 0.5))
        fit: dict[str, Callable[[Rows, tuple[Column, ...], dict[str, Any]], Member]] = {"lightgbm": fit_lightgbm, "logistic": fit_logistic, "rule": fit_rule}
        return Fitted((fit[self.kind](rows, columns, self.params),), (1.0,))


@dataclass(frozen=True)
class Fitted:
    """Fitted members and their weights."""

    members: tuple[Member, ...]
    weights: tuple[float, ...]

    def margins(self, x: Matrix) -> Matrix:
        """Shape: (n, p) -> (n,)."""
        total: Matrix = np.sum([w * member.margins(x) for w, member in zip(self.weights, self.members, strict=True)], axis=0)
        return total


def fit_lightgbm(rows: Rows, columns: tuple[Column, ...], params: dict[str, Any]) -> BoosterMember:
    """Gradient boosted trees with native categories and plain log loss: weighting the classes would spoil the probabilities.

    One thread: on a busy two-core machine two are twice as slow as one (2.2 s against 4 to 6 s for 300 trees).
    """
    library = lightgbm()
    fixed = {"objective": "binary", "seed": SEED, "deterministic": True, "force_row_wise": True, "num_threads": 1, "verbose": -1, "bagging_freq": 1}
    data = library.Dataset(
        rows.x, rows.y, feature_name=[f"f{j}" for j in range(len(columns))], categorical_feature=[i for i, c in enumerate(columns) if c.is_category],
        free_raw_data=True, params={"verbose": -1, "min_data_in_leaf": params["min_data_in_leaf"]})
    booster = library.train({**fixed, **{k: v for k, v in params.items() if k != "n_trees"}}, data, num_boost_round=params["n_trees"])
    return BoosterMember(booster.model_to_string())


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


def suggest_logistic(trial: "optuna.Trial") -> dict[str, Any]:
    """One number: the inverse strength of the ridge penalty."""
    return {"C": trial.suggest_float("C", 1e-4, 10.0, log=True)}


def fit_logistic(rows: Rows, columns: tuple[Column, ...], params: dict[str, Any]) -> LinearMember:
    """Ridge logistic regression on standardised signed logs, one-hot categories and "unknown" indicators.

    The fitted weights are folded back, so that the member works on raw features.
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    numeric = [j for j, c in enumerate(columns) if not c.is_category]
    logs = signed_log(rows.x[:, numeric])
    known = ~np.isnan(logs)
    n_known = np.maximum(known.sum(axis=0), 1)
    means = np.where(known, logs, 0.0).sum(axis=0) / n_known
    spread = np.sqrt(np.where(known, (logs - means) ** 2, 0.0).sum(axis=0) / n_known)
    spread[spread == 0] = 1.0
    # Columns that are unknown together are one indicator: k equal ones with a ridge penalty are one sqrt(k) as large: the same model, sooner.
    _, first, which, k = np.unique(np.packbits(~known, axis=0), axis=1, return_index=True, return_inverse=True, return_counts=True)
    blocks = [np.where(known, (logs - means) / spread, 0.0), ~known[:, first] * np.sqrt(k)]
    for j, column in enumerate(columns):
        if column.is_category:
            blocks.append((rows.x[:, [j]] == np.arange(len(column.levels))).astype(np.float64))
    # One BLAS thread: on a shared machine two that wait for each other take seven times as long (2.8 s against 0.4 s).
    with threadpool_limits(1, "blas"):
        model = LogisticRegression(C=params["C"], solver="newton-cholesky", tol=1e-8, max_iter=200).fit(np.hstack(blocks), rows.y)
    coefficients = model.coef_[0]

    p, q = len(columns), len(numeric)
    weights, at_missing = np.zeros(p), np.zeros(p)
    weights[numeric] = coefficients[:q] / spread
    at_missing[numeric] = weights[numeric] * means + (coefficients[q:q + len(k)] / np.sqrt(k))[which]
    levels, place = {}, q + len(k)
    for j, column in enumerate(columns):
        if column.is_category:
            levels[j] = coefficients[place:place + len(column.levels)]
            place += len(column.levels)
    intercept = float(model.intercept_[0] - (weights[numeric] * means).sum())
    return centred(LinearMember(intercept, weights, at_missing, np.zeros(p), levels), rows.x)


def fit_rule(rows: Rows, columns: tuple[Column, ...], params: dict[str, Any]) -> LinearMember:
    """The ranking by one column, up or down; a customer without a value comes last."""
    j = [c.name for c in columns].index(params["column"])
    weights, at_missing = np.zeros(len(columns)), np.zeros(len(columns))
    weights[j] = params["sign"]
    values = weights[j] * signed_log(rows.x[:, j])
    at_missing[j] = float(np.nanmin(values)) - 1.0 if np.isfinite(values).any() else 0.0
    return centred(LinearMember(0.0, weights, at_missing, np.zeros(len(columns)), {}), rows.x)


def centred(member: LinearMember, x: Matrix) -> LinearMember:
    """The same member with contributions measured from the training average."""
    return LinearMember(member.intercept, member.weights, member.at_missing, member.contributions(x)[:, :-1].mean(axis=0), member.levels)
