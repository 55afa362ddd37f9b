"""Members and recipes: the saved form says what the fitted form said, and contributions add up and agree with the shap package."""

import numpy as np
import pytest
from made_up import COLUMNS
from sklearn.linear_model import LogisticRegression

from training.members import BoosterMember, LinearMember, signed_log
from training.recipes import FIRST_LIGHTGBM, Design, Recipe

PARAMS = {"lightgbm": {**FIRST_LIGHTGBM, "n_trees": 30}, "logistic": {"C": 0.1}}
RECIPES = {
    "lightgbm": Recipe("lightgbm", PARAMS["lightgbm"]), "logistic": Recipe("logistic", PARAMS["logistic"]), "blend": Recipe("blend", PARAMS),
    "rule": Recipe("rule", {"column": "visits_count_28d", "sign": -1})}


@pytest.mark.parametrize("kind", RECIPES)
def test_contributions_add_up_to_the_margin(kind, rows):
    fitted = RECIPES[kind].fit(rows, COLUMNS)
    for member in fitted.members:
        assert np.abs(member.contributions(rows.x).sum(axis=1) - member.margins(rows.x)).max() < 1e-9


@pytest.mark.parametrize("kind", RECIPES)
def test_the_text_of_a_member_scores_the_same(kind, rows):
    for member in RECIPES[kind].fit(rows, COLUMNS).members:
        again = type(member).from_text(member.to_text()) if isinstance(member, LinearMember) else BoosterMember(member.to_text())
        assert (again.margins(rows.x) == member.margins(rows.x)).all()


def test_contributions_of_the_trees_agree_with_shap(rows):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import shap

        (member,) = RECIPES["lightgbm"].fit(rows, COLUMNS).members
        explainer = shap.TreeExplainer(member._booster, feature_perturbation="tree_path_dependent")
        theirs = explainer.shap_values(rows.x[:50])
    theirs = theirs[1] if isinstance(theirs, list) else theirs
    assert np.abs(member.contributions(rows.x[:50])[:, :-1] - theirs).max() < 1e-9


def test_contributions_of_the_linear_model_are_its_terms_from_their_average(rows):
    (member,) = RECIPES["logistic"].fit(rows, COLUMNS).members
    phi = member.contributions(rows.x)[:, :-1]
    assert np.abs(phi.mean(axis=0)).max() < 1e-9
    step = member.weights[0] * (signed_log(rows.x[1:2, 0]) - signed_log(rows.x[0:1, 0]))
    assert phi[1, 0] - phi[0, 0] == pytest.approx(step[0], abs=1e-12)


def test_the_design_and_the_margins_of_a_large_table_take_little_more_than_what_they_give(rows):
    """Beside a table of gigabytes there is no room for copies of it, and two fits stand side by side."""
    import tracemalloc

    x = np.tile(rows.x, (-(-400_000 // len(rows.x)), 1))
    (member,) = RECIPES["logistic"].fit(rows, COLUMNS).members
    tracemalloc.start()
    try:
        design = Design(x, COLUMNS)
        given, most = tracemalloc.get_traced_memory()
        assert given >= design.x.nbytes
        assert most < 1.35 * design.x.nbytes
        tracemalloc.reset_peak()
        margins = member.centred(x).margins(x)
        assert len(margins) == len(x)
        assert tracemalloc.get_traced_memory()[1] - given < .8 * x.nbytes
    finally:
        tracemalloc.stop()


def test_the_folded_logistic_is_scikit_learns(rows):
    (member,) = RECIPES["logistic"].fit(rows, COLUMNS).members
    logs = signed_log(rows.x[:, [0, 1, 2, 3, 5]])
    known = ~np.isnan(logs)
    mean = np.nanmean(logs, axis=0)
    z = np.where(known, (logs - mean) / np.nanstd(logs, axis=0), 0.0)
    one_hot = (rows.x[:, [4]] == np.arange(3)).astype(float)
    design = np.hstack([z, ~known, one_hot])
    model = LogisticRegression(C=0.1, tol=1e-8, max_iter=500).fit(design, rows.y)
    assert np.abs(model.decision_function(design) - member.margins(rows.x)).max() < 1e-4


def test_a_category_never_seen_counts_as_unknown(rows):
    x = rows.x[:5].copy()
    x[:, 4] = np.nan
    for kind in ("lightgbm", "logistic"):
        assert np.isfinite(RECIPES[kind].fit(rows, COLUMNS).margins(x)).all()


def test_a_rule_ranks_by_its_column_and_puts_the_unknown_last(rows):
    fitted = Recipe("rule", {"column": "noise_ratio", "sign": -1}).fit(rows, COLUMNS)
    margins = fitted.margins(rows.x)
    known = ~np.isnan(rows.x[:, 3])
    order = np.argsort(rows.x[known, 3])
    assert (np.diff(margins[known][order]) <= 0).all()
    assert margins[~known].max() < margins[known].min()


def test_fitting_twice_gives_the_same_model(rows):
    first, second = (RECIPES["lightgbm"].fit(rows, COLUMNS).members[0].to_text() for _ in range(2))
    assert first == second


def test_the_row_cap_keeps_the_latest(rows):
    capped = rows.capped(3)
    assert len(capped.y) == 3 * 160
    assert capped.as_ofs.min() == np.unique(rows.as_ofs)[-3]


def test_one_row_by_the_quick_call_is_the_same_number_also_from_many_threads():
    from concurrent.futures import ThreadPoolExecutor

    from training.members import lightgbm

    library, rng = lightgbm(), np.random.default_rng(2)
    x = np.where(rng.random((400, 5)) < 0.1, np.nan, rng.normal(size=(400, 5)))
    x[:, 4] = rng.integers(0, 4, 400)
    y = (np.nan_to_num(x[:, 0]) + (x[:, 4] == 2) + rng.normal(size=400) > 0).astype(int)
    settings = {"objective": "binary", "num_leaves": 7, "num_threads": 1, "verbose": -1, "min_data_per_group": 5}
    member = BoosterMember(library.train(settings, library.Dataset(x, y, categorical_feature=[4], params={"verbose": -1}), 30).model_to_string())
    margins, contributions = member.margins(x), member.contributions(x)
    with ThreadPoolExecutor(4) as threads:
        one_by_one = list(threads.map(lambda row: (member.margins(row[None]), member.contributions(row[None])), x))
    assert np.array_equal(np.concatenate([margin for margin, _ in one_by_one]), margins)
    assert np.array_equal(np.vstack([phi for _, phi in one_by_one]), contributions)
    with pytest.raises(ValueError, match="must have 5 features"):
        member.margins(x[:1, :4])
