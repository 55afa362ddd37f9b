"""Explanations of many rows by tables are the ones that LightGBM and the shap package give, for every kind of value."""

import numpy as np
import pytest

from training import explain
from training.members import BoosterMember, lightgbm

ODD = (np.nan, np.inf, -np.inf, 0.0, -1.0, 2.5, 99.0)


def made(n=3_500, leaves=12, trees=25, chain=False):
    """Counts, amounts, a gap, a category; odd values come in when asking, some of which training never saw."""
    rng = np.random.default_rng(4)
    x = np.column_stack([rng.poisson(2, n), rng.normal(size=(n, 4)), rng.integers(0, 9, n), np.where(rng.random(n) < 0.3, np.nan, rng.random(n)), rng.normal(size=(n, 16))])
    margin = x[:, 0] - 2 + x[:, 1] * x[:, 2] + (x[:, 5] % 3 == 1) + np.nan_to_num(x[:, 6], nan=0.7)
    y = rng.random(n) < 1 / (1 + np.exp(-margin))
    if chain:
        # One column after another tells a little: a path of as many columns as leaves.
        y = (x[:, 7:] > 1.2).any(axis=1)
    params = {"objective": "binary", "num_leaves": leaves, "min_data_in_leaf": 20, "verbose": -1, "num_threads": 1, "seed": 1, "bagging_fraction": 0.8, "bagging_freq": 1}
    booster = lightgbm().train(
        params, lightgbm().Dataset(x, y.astype(float), categorical_feature=[5], params={"verbose": -1, "num_threads": 1}), trees)
    asked = x.copy()
    for j in range(x.shape[1]):
        asked[rng.random(n) < 0.1, j] = rng.choice(ODD)
    for k, value in enumerate(ODD):
        asked[k::61, 5] = value
    return booster, asked


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("leaves", [2, 3, 12, 24])
def test_as_the_shap_package_says(leaves):
    import shap

    booster, x = made(leaves=leaves)
    told, by_shap = explain.contributions(booster, x), np.asarray(shap.TreeExplainer(booster).shap_values(x[:500])).reshape(500, -1)
    assert np.abs(told[:500, :-1] - by_shap).max() < 1e-10
    assert np.abs(told.sum(axis=1) - booster.predict(x, raw_score=True)).max() < 1e-10


def test_a_tree_with_long_paths_is_left_to_lightgbm():
    booster, x = made(leaves=18, trees=6, chain=True)
    longest = max(len(leaf.shares) for leaf in _leaves(booster))
    assert longest > explain.MOST_COLUMNS
    assert np.abs(explain.contributions(booster, x) - booster.predict(x, pred_contrib=True, num_threads=1)).max() < 1e-10


def test_small_tables_say_the_same(monkeypatch):
    booster, x = made()
    whole = explain.contributions(booster, x)
    monkeypatch.setattr(explain, "MOST_CELLS", 4)
    monkeypatch.setattr(explain, "BLOCK", 100)
    assert np.allclose(explain.contributions(booster, x), whole, atol=1e-12, rtol=0)


def test_a_member_takes_the_tables_for_many_rows(monkeypatch):
    booster, x = made(n=explain.MANY_ROWS)
    member = BoosterMember(booster.model_to_string())
    few = member.contributions(x[:-1])
    calls = []
    by_tables = explain.contributions
    monkeypatch.setattr(explain, "contributions", lambda *given: calls.append(1) or by_tables(*given))
    assert np.allclose(member.contributions(x)[:-1], few, atol=1e-10, rtol=0)
    assert calls == [1]


def _leaves(booster):
    roots = [tree["tree_structure"] for tree in booster.dump_model()["tree_info"]]
    codes = explain._codes([node for root in roots for node in explain._splits(root)])
    return [leaf for root in roots for leaf in explain._tree(root, codes).leaves]


def test_where_nothing_can_be_kept_the_loop_is_compiled_all_the_same(monkeypatch):
    import numba

    from training.look_up import _compiled

    compiled, asked = numba.njit, []

    def njit(cache=False, **others):
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return compiled(**others)

    monkeypatch.setattr(numba, "njit", njit)
    assert _compiled(lambda a: a + 1)(2) == 3 and asked == [True, False]
