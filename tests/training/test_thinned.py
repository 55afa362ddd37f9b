"""Very many rows: a fit learns from whole customers, the same ones every time."""

import numpy as np

from training.tables import Rows


def test_whole_customers_stay_or_go_and_few_rows_stay_as_they_are():
    customers = np.repeat(np.array([f"c{i}" for i in range(2000)], dtype=object), 3)
    rows = Rows(np.arange(6000, dtype=float)[:, None], np.zeros(6000), customers, np.full(6000, np.datetime64("2026-01-01", "us")))
    some = rows.thinned(1500)
    _, counts = np.unique(some.customers.astype(str), return_counts=True)
    assert set(counts) == {3}
    assert abs(len(some.y) - 1500) < 200
    assert (rows.thinned(1500).x == some.x).all()
    assert rows.thinned(6000) is rows
    assert set(rows.thinned(600).customers) < set(some.customers)
    # Thinned in two steps or in one: the same.
    assert set(some.thinned(600).customers) == set(rows.thinned(600).customers) and 600 <= len(some.thinned(600).y) <= 602


def test_a_recipe_fits_no_more_rows_than_it_may(monkeypatch):
    from training import recipes

    seen = []
    monkeypatch.setattr(recipes, "MOST_ROWS", 900)
    monkeypatch.setattr(recipes, "fit_rule", lambda rows, columns, params: seen.append(len(rows.y)))
    customers = np.array([f"c{i}" for i in range(3000)], dtype=object)
    rows = Rows(np.zeros((3000, 1)), np.zeros(3000), customers, np.full(3000, np.datetime64("2026-01-01", "us")))
    recipes.Recipe("rule", {}).fit(rows, ())
    assert 700 < seen[0] < 1100


def test_a_logistic_regression_learns_from_fewer_rows_than_the_trees(monkeypatch):
    from training import recipes
    from training.saved_model import Column

    monkeypatch.setattr(recipes, "MOST_ROWS", 2000)
    monkeypatch.setattr(recipes, "FEWER_ROWS", 900)
    rng = np.random.default_rng(1)
    customers = np.array([f"c{i}" for i in range(3000)], dtype=object)
    rows = Rows(rng.normal(size=(3000, 1)), (rng.random(3000) < .3).astype(float), customers, np.full(3000, np.datetime64("2026-01-01", "us")))
    columns = (Column("x", "behaviour", "n", "x", "x"),)
    ground = recipes.Ground(rows, columns)
    assert 700 < len(ground.design.x) < 1100 and 1800 < ground.bins.num_data() < 2200
    # Its contributions are centred on the rows that it learned from.
    (member,) = recipes.Recipe("logistic", {"C": 1.0}).fit_on(ground).members
    assert abs(member.contributions(ground.fewer.x)[:, 0].mean()) < 1e-9
