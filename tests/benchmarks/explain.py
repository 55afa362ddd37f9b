"""Explanations: 50,000 rows by the saved model's trees beside shap.TreeExplainer on the same booster, and one row alone.

The rows are made: 171 columns, counts, amounts, gaps and a category. The boosters have the size of what is tuned: shallow ones (200 trees of 7 leaves, where tuning
begins), and the largest that it may choose (400 of 24; for one row also the largest bag, 900 trees).
"""

import time
from typing import Any

import numpy as np

N_ROWS, N_COLUMNS, N_ALONE = 50_000, 171, 200


def made(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and labels. Shape: (n, columns), (n,)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, N_COLUMNS))
    x[:, :60] = rng.poisson(3, (n, 60))
    x[rng.random((n, N_COLUMNS)) < 0.1] = np.nan
    x[:, 70] = rng.integers(0, 12, n)
    known = np.nan_to_num(x)
    margin = known[:, :30].sum(axis=1) / 15 + known[:, 80] * known[:, 90] + known[:, 100] + (x[:, 70] % 3 == 1) - 7
    return x, (rng.random(n) < 1 / (1 + np.exp(-margin))).astype(float)


def booster_of(trees: int, leaves: int) -> Any:
    """A booster of a size."""
    from training.members import lightgbm

    x, y = made(20_000)
    params = {"objective": "binary", "num_leaves": leaves, "learning_rate": 0.03, "min_data_in_leaf": 60, "feature_fraction": 0.4, "bagging_fraction": 0.7, "bagging_freq": 1,
              "lambda_l2": 20.0, "verbose": -1, "num_threads": 1, "seed": 1}
    return lightgbm().train(params, lightgbm().Dataset(x, y, categorical_feature=[70]), trees)


def rows(large: bool) -> list[dict[str, Any]]:
    """The table of this benchmark."""
    import warnings

    from tests.benchmarks.__main__ import row
    from training.members import BoosterMember
    from training.nested import MOST_TREES

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import shap

    x, _ = made(N_ROWS)
    first = BoosterMember(booster_of(5, 7).model_to_string())
    seconds, _ = _timed(lambda: first.contributions(x[:3_000]))
    found = [row("the first 3,000 explanations of a process, 5 trees of 7 leaves (loads the compiled loop, or compiles it)", round(seconds, 2), "s", "")]
    for trees, leaves in ((200, 7), (400, 24)):
        booster = booster_of(trees, leaves)
        member, explainer = BoosterMember(booster.model_to_string()), shap.TreeExplainer(booster)
        ours, told = _median(lambda member=member: member.contributions(x))  # type: ignore[misc]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs, by_shap = (_median if leaves < 10 else _timed)(lambda explainer=explainer: np.asarray(explainer.shap_values(x)).reshape(len(x), -1))  # type: ignore[misc]
        apart = float(np.abs(told[:, :-1] - by_shap).max())
        size = f"{trees} trees of {leaves} leaves"
        found += [
            row(f"{N_ROWS:,} explanations, {size}", round(ours, 2), "s", "10 times as fast", theirs / ours >= 10, round(theirs, 2), "shap.TreeExplainer", round(theirs / ours, 1)),
            row("  largest difference of a contribution", f"{apart:.1e}", "log-odds", "1e-5", apart <= 1e-5)]
    for trees, leaves in ((400, 24), (MOST_TREES, 24)):
        member = BoosterMember(booster_of(trees, leaves).model_to_string())
        alone = [_timed(lambda i=i, member=member: member.contributions(x[[i]]))[0] for i in range(N_ALONE)]  # type: ignore[misc]
        median, most = 1000 * float(np.median(alone)), 1000 * float(np.percentile(alone, 99))
        found.append(row(f"one explanation, {trees:,} trees of {leaves} leaves: median, 99 in 100", f"{median:.1f}, {most:.1f}", "ms", "at most 5", median <= 5))
    return found


def _median(do: Any) -> tuple[float, Any]:
    """Of five runs, each result given back before the next: the first pays for memory that later ones have, up to .2 s of the kernel's time here."""
    seconds, result = [], None
    for _ in range(5):
        del result
        second, result = _timed(do)
        seconds.append(second)
    return float(np.median(seconds)), result


def _timed(do: Any) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = do()
    return time.perf_counter() - begin, result
