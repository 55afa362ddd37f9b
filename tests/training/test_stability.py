"""Reasons that hold: found on the made-up table, whose law is known, and on columns where nothing can hold."""

from dataclasses import replace

import numpy as np
import pytest
from made_up import COLUMNS, TASK, made_up

from training.backtest import backtest
from training.recipes import FIRST_LIGHTGBM, SEED, Recipe
from training.saved_model import SavedModel
from training.stability import Level, _overlap_by_lot, contributions, firm_bounds, firm_from, judged_rows, levels_of, refits, stability

TREES = Recipe("lightgbm", {**FIRST_LIGHTGBM, "n_trees": 60})


@pytest.fixture(scope="module")
def again(rows, folds):
    return refits(TREES, rows.at(folds.fit), COLUMNS, 8)


@pytest.fixture(scope="module")
def judged(rows, folds, again):
    model = backtest(TREES, rows, folds, TASK, COLUMNS).model.fitted
    return model, stability(model, again, rows.at(folds.calibrate), rows.at(folds.test), COLUMNS)


def test_refits_draw_customers_with_replacement_all_rows_of_one_together():
    met = []

    class Spy(Recipe):
        def fit(self, rows, columns):
            met.append(rows)
            return super().fit(rows, columns)

    rows = made_up(60)
    refits(Spy("rule", {"column": "visits_count_28d", "sign": 1}), rows, COLUMNS, 3)
    for drawn in met:
        names, counts = np.unique(drawn.customers.astype(str), return_counts=True)
        assert set(counts % 21) == {0} and counts.max() > 21 and len(names) < 60 and len(drawn.y) == len(rows.y)
        for name in names[:3]:
            one, all_ = drawn.where(drawn.customers == name), rows.where(rows.customers == name)
            assert set(one.x[:, 1]) == set(all_.x[:, 1])
    assert len({tuple(drawn.customers) for drawn in met}) == 3


def test_reasons_overlap_more_than_by_lot_and_firm_ones_agree_more_on_later_rows(judged):
    for level in ("features", "correlated", "families"):
        held = judged[1][level]
        assert held["overlap"]["interval"][0] > held["of_another_customer"]["overlap"]["interval"][0] > 0
        assert held["overlap"]["interval"][0] > held["by_lot"]["overlap"]
        assert held["sign_agreement"]["interval"][0] > 0.85 and abs(held["of_another_customer"]["sign_agreement"]["value"] - 0.5) < 0.1
        # The bounds come from other refits and earlier rows.
        assert held["sign_agreement_firm"]["interval"][0] > held["sign_agreement_not_firm"]["interval"][1]
        assert held["sign_agreement_firm"]["value"] >= 0.95


def test_where_labels_are_noise_few_reasons_are_firm(rows, folds):
    drawn = np.random.default_rng(2)
    noise = replace(rows, y=(drawn.random(len(rows.y)) < 0.3).astype(float), x=np.where(np.isnan(rows.x), np.nan, np.column_stack([
        drawn.integers(0, 3, len(rows.y)) if column.is_category else drawn.random(len(rows.y)) for column in COLUMNS])))
    fitted = TREES.fit(noise.at(folds.fit), COLUMNS)
    held = stability(fitted, refits(TREES, noise.at(folds.fit), COLUMNS), noise.at(folds.calibrate), noise.at(folds.test), COLUMNS)["features"]
    # Refits share the noise that the model learned, so they agree more than models of other data would.
    assert held["firm"]["value"] < 0.35 and held["sign_agreement"]["value"] < 0.9


@pytest.mark.parametrize(("again", "expected"), [
    # Every refit agrees; none does; they agree from .5 on; too few customers show the size at which they agree.
    (lambda phi: phi, 0.01), (lambda phi: -phi, None), (lambda phi: np.where(np.abs(phi) >= 0.5, phi, -phi), 0.5), (lambda phi: np.where(np.abs(phi) >= 0.9, phi, -phi), None)])
def test_a_reason_is_firm_from_the_size_on_at_which_refits_agree(again, expected):
    phi = np.linspace(0.01, 1, 100) * np.tile([1, -1], 50)
    assert firm_from(phi[:, None], np.stack([again(phi)[:, None]] * 4)) == [pytest.approx(expected) if expected else None]


def test_what_a_model_does_not_use_is_never_firm():
    assert firm_from(np.zeros((100, 1)), np.zeros((4, 100, 1))) == [None]


def test_a_saved_model_marks_its_reasons_by_its_bounds(rows, folds, again, tmp_path):
    from training.saved_model import load

    fitted = TREES.fit(rows, COLUMNS)
    plain = SavedModel("demo.churn", {"kind": "churn"}, COLUMNS, fitted.members, fitted.weights, 0.8, 0.1, (0.2, 0.5))
    latest = rows.at(folds.test)
    phi = plain.contributions(latest.x)[:, :-1]
    assert plain.is_firm(phi) is None and plain.by_family(phi)[2] is None
    bounds = firm_bounds(plain, again, latest)
    replace(plain, reference={"firm_from": bounds}).save(tmp_path / "m")
    model = load(tmp_path / "m")
    firm = model.is_firm(phi)
    x = judged_rows(latest).x
    signs = [np.sign(contributions(one, x)) == np.sign(model.contributions(x)[:, :-1]) for one in again]
    marked = model.is_firm(model.contributions(x)[:, :-1])
    assert 0.3 < firm.mean() < 0.98
    assert np.mean([agree[marked].mean() for agree in signs]) > 0.95 > np.mean([agree[~marked].mean() for agree in signs])
    names, sums, of_families = model.by_family(phi)
    assert names == ["behaviour", "consumption", "interest", "profile", "touchpoints"]
    assert sums[:, 0] == pytest.approx(phi[:, 0] + phi[:, 1]) and sums.sum(axis=1) == pytest.approx(phi.sum(axis=1))
    assert of_families[:, 0].mean() > of_families[:, 2].mean()


def test_what_is_sensitive_is_in_no_level(rows):
    columns = tuple(replace(column, is_sensitive=column.name == "city") for column in COLUMNS)
    for level in levels_of(columns, rows.x[:300]).values():
        phi = np.zeros((1, 6))
        phi[0, 4] = 1.0
        assert not level.sums(phi).any()
    model = SavedModel("demo.churn", {}, columns, (), (), 1.0, 0.0, (0.2, 0.5))
    assert model.by_family(np.eye(6))[1].sum() == 5


def test_columns_that_order_alike_are_one_group():
    draw = np.random.default_rng(SEED)
    x = draw.normal(size=(400, 6))
    x[:, 2], x[:, 5] = np.exp(x[:, 0]), -x[:, 1] ** 3
    level = levels_of(COLUMNS, x)["correlated"]
    assert level.of[0] == level.of[2] and level.of[1] == level.of[5] and len(set(level.of)) == 4
    assert isinstance(level, Level) and level.names[level.of[2]] == "visits_count_28d"


def test_overlap_by_lot_is_that_of_draws():
    draw = np.random.default_rng(1)
    seen = [len(shared) / (6 - len(shared)) for _ in range(4000) if (shared := set(draw.permutation(10)[:3]) & set(draw.permutation(10)[:3])) is not None]
    assert _overlap_by_lot(3, 10) == pytest.approx(np.mean(seen), abs=0.01)
