"""Trees that are added until nothing is gained, and one split that is tuned once: what makes `training table` quick and its margins many."""

import numpy as np
import pytest
from made_up import COLUMNS, made_up

from training import nested
from training.calibrate import fitted_log_loss
from training.nested import KINDS, PARTS, Wishes, figures, judge, learn, n_trials, outer_splits
from training.recipes import FIRST_ANY_TREES, LONGEST, Ground, Recipe, grown
from training.tune import make_storage


@pytest.fixture(scope="module")
def rows():
    return made_up(60)


def halves(rows):
    is_first = np.arange(len(rows.y)) % 2 == 0
    return Ground(rows.where(is_first), COLUMNS, is_shared=True), rows.where(~is_first)


def test_trees_are_added_until_the_rows_beside_gain_nothing(rows):
    ground, held = halves(rows)
    margins, n = grown(ground, FIRST_ANY_TREES[0], ground.beside(held), held.x)
    assert 1 <= n < LONGEST
    at = {k: Recipe("lightgbm", FIRST_ANY_TREES[0] | {"n_trees": k}).fit_on(ground).margins(held.x) for k in (n, LONGEST)}
    assert np.allclose(margins, at[n]), "those of a fit of just so many"
    assert fitted_log_loss(at[n], held.y) < fitted_log_loss(at[LONGEST], held.y)


def test_rows_beside_stay_whole_for_the_next_trial(rows):
    ground, held = halves(rows)
    beside = ground.beside(held)
    one, other, again = (grown(ground, FIRST_ANY_TREES[i], beside, held.x) for i in (0, 4, 0))
    assert (one[0] == again[0]).all()
    assert one[1] == again[1]
    assert not np.allclose(one[0], other[0])


def run(rows, folder, monkeypatch, most=10):
    """Judge as a table of more rows than are crossed is judged."""
    monkeypatch.setattr(nested, "CROSSED_ROWS", most)
    asked, storage = [], make_storage(folder / "optuna.db")

    def learn_on(i, fit, columns, each):
        asked.append((i, len(fit.y)))
        return learn(fit, columns, False, Wishes(2), storage, str(i), lambda: None, each)

    splits = outer_splits(rows, False)
    judged, final = judge(splits, lambda seen: (rows, COLUMNS), learn_on, Wishes(2))
    return splits, judged, final, asked


def test_where_one_split_judges_all_is_tuned_once_and_fitted_again_on_all_rows(rows, tmp_path, monkeypatch):
    ((fit, held),), judged, final, asked = run(rows, tmp_path, monkeypatch)
    assert asked == [(0, fit.sum())]
    assert n_trials(rows, False, 10) == 15
    # The judged rows were seen by no fit that predicted them; then they join the calibration.
    alone = learn(rows.where(fit), COLUMNS, False, Wishes(2), make_storage(tmp_path / "alone.db"), "0", lambda: None)
    for kind in KINDS:
        assert np.allclose(judged.p[kind], alone.probabilities(kind, rows.x[held]))
    assert len(final.y) == len(alone.y) + held.sum()
    assert (final.y[len(alone.y):] == rows.y[held]).all()
    for kind in PARTS:
        assert final.params[kind] == alone.params[kind]
        assert np.allclose(final.margins[kind][len(alone.y):], alone.fitted[kind].margins(rows.x[held]))
        whole = Recipe(kind, final.params[kind]).fit(rows, COLUMNS)
        assert np.allclose(final.fitted[kind].margins(rows.x), whole.margins(rows.x))


def test_where_each_row_is_judged_every_part_and_all_rows_are_tuned(rows, tmp_path, monkeypatch):
    splits, judged, _, asked = run(rows, tmp_path, monkeypatch, most=10_000)
    assert len(splits) > 1
    assert sorted(i for i, _ in asked) == list(range(len(splits) + 1))
    assert figures(judged)["judged_rows"] == sum(held.sum() for _, held in splits)


def test_the_best_trees_of_tuning_are_compared_once_more_on_all_rows(rows, tmp_path, monkeypatch):
    """Tuning sees part of a large table, so its first may be its second of all rows; here the first cannot split at all."""
    good = FIRST_ANY_TREES[0]
    monkeypatch.setattr(nested, "_tuned_params", lambda *given: ([good | {"min_data_in_leaf": 100_000}, good], {"C": 0.1}))
    found = learn(rows, COLUMNS, False, Wishes(1), make_storage(tmp_path / "optuna.db"), "t", lambda: None)
    assert found.params["lightgbm"]["min_data_in_leaf"] == good["min_data_in_leaf"]
    assert found.params["lightgbm"]["n_trees"] > 1
