"""Rows made ready once: every fit on them is the fit that stands alone, whatever came before it."""

import numpy as np
import pytest
from made_up import COLUMNS, made_up

from training.recipes import FIRST_LIGHTGBM, Ground, Recipe
from training.threads import side_by_side

TREES = [Recipe("lightgbm", {**FIRST_LIGHTGBM, "n_trees": 10, "num_leaves": n, "min_data_in_leaf": leaf}) for n, leaf in ((4, 300), (15, 20), (7, 60))]
LOGISTICS = [Recipe("logistic", {"C": strength}) for strength in (10.0, 1e-4, 0.3)]


@pytest.fixture(scope="module")
def rows():
    return made_up(60)


def texts(fitted):
    return [member.to_text() for member in fitted.members]


@pytest.mark.parametrize("recipe", TREES, ids=["few and large leaves", "many and small", "between"])
def test_trees_on_shared_bins_are_those_of_a_fit_alone(rows, recipe):
    ground = Ground(rows, COLUMNS, is_shared=True)
    for other in TREES:
        other.fit_on(ground)
    assert texts(recipe.fit_on(ground)) == texts(recipe.fit(rows, COLUMNS))


def test_a_logistic_regression_that_begins_elsewhere_ends_at_the_same_weights_in_any_order(rows):
    there, back = Ground(rows, COLUMNS, is_shared=True), Ground(rows, COLUMNS, is_shared=True)
    first = [texts(recipe.fit_on(there)) for recipe in LOGISTICS]
    assert first == [texts(recipe.fit_on(back)) for recipe in LOGISTICS[::-1]][::-1]
    for recipe in LOGISTICS:
        assert np.allclose(recipe.fit_on(there).margins(rows.x), recipe.fit(rows, COLUMNS).margins(rows.x), atol=1e-4)


def test_two_at_a_time_give_what_one_by_one_gives(rows):
    ground = Ground(rows, COLUMNS)
    together = side_by_side(lambda recipe: texts(recipe.fit(rows, COLUMNS)), [*TREES, *LOGISTICS])
    assert together == [texts(recipe.fit_on(ground)) for recipe in (*TREES, *LOGISTICS)]


def test_binning_asks_for_no_more_threads_than_a_fit_beside_it(rows):
    """LightGBM keeps the number of threads for the whole process: a change while another thread works ends it."""
    assert Ground(rows, COLUMNS).bins.params["num_threads"] == 1


def test_what_goes_wrong_beside_comes_out():
    def fails(n):
        raise ValueError(f"item {n}")

    with pytest.raises(ValueError, match="item 0"):
        side_by_side(fails, range(3))
