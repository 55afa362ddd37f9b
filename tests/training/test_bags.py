"""What a table's procedure saves: boosters averaged by lot, their trees bounded, a blend whose share is found out of fold."""

from dataclasses import replace

import numpy as np
import pytest
from made_up import COLUMNS, made_up

from training import nested
from training.calibrate import fitted_log_loss
from training.nested import MOST_TREES, SHARES, Wishes, learn
from training.recipes import FIRST_LIGHTGBM, Ground, Recipe, blended
from training.tune import make_storage


@pytest.fixture(scope="module")
def rows():
    return made_up(60)


@pytest.fixture(scope="module")
def learned(rows, tmp_path_factory):
    return learn(rows, COLUMNS, False, Wishes(2), make_storage(tmp_path_factory.mktemp("bags") / "optuna.db"), "t", lambda: None)


def test_bags_are_averaged_and_differ_by_lot(rows):
    ground, one = Ground(rows, COLUMNS), {**FIRST_LIGHTGBM, "n_trees": 10}
    fitted = Recipe("lightgbm", {**one, "n_bags": 3}).fit_on(ground)
    assert len({member.to_text() for member in fitted.members}) == 3
    assert np.allclose(fitted.margins(rows.x), np.mean([member.margins(rows.x) for member in fitted.members], axis=0))
    assert fitted.members[0].to_text() == Recipe("lightgbm", one).fit_on(ground).members[0].to_text()


def test_the_trees_that_are_served_are_bounded(learned):
    bags, trees = (learned.params["lightgbm"][name] for name in ("n_bags", "n_trees"))
    assert bags > 1
    assert bags * trees <= MOST_TREES
    assert sum(member.to_text().count("\nTree=") for member in learned.fitted["blend"].members) <= MOST_TREES


def test_the_blend_has_the_share_that_was_best_out_of_fold(rows, learned):
    share = learned.params["blend"]["share_of_trees"]
    trees, linear = (learned.fitted[kind].margins(rows.x) for kind in ("lightgbm", "logistic"))
    assert np.allclose(learned.fitted["blend"].margins(rows.x), share * trees + (1 - share) * linear)
    assert sum(learned.fitted["blend"].weights) == pytest.approx(1)


@pytest.mark.parametrize("better", ["lightgbm", "logistic"])
def test_the_better_part_weighs_more(rows, tmp_path, monkeypatch, better):
    """One part is spoiled by noise: the blend leans to the other."""
    whole = Recipe.fit_on

    def spoiled(self, ground):
        return whole(self, ground if self.kind == better else Ground(replace(ground.rows, y=np.random.default_rng(1).permutation(ground.rows.y)), COLUMNS))

    monkeypatch.setattr(nested.Recipe, "fit_on", spoiled)
    if better == "logistic":
        monkeypatch.setattr(nested.recipes, "grown", lambda ground, params, beside, held: (np.random.default_rng(2).normal(size=len(held)), 20))
    found = learn(rows, COLUMNS, False, Wishes(1), make_storage(tmp_path / "optuna.db"), "t", lambda: None)
    assert found.params["blend"]["share_of_trees"] == (max(SHARES) if better == "lightgbm" else min(SHARES))
    assert SHARES[0] == 0.5, "among equals, the plain average"
    assert blended(found.fitted["lightgbm"], found.fitted["logistic"], 0.25).weights[-1] == 0.75
    assert found.losses["blend"] < fitted_log_loss(np.zeros(len(rows.y)), rows.y)
