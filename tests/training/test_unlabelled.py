"""Seeds and unlabelled customers: learners, the share of hidden positives, how a list of seeds was chosen, and who is in its audience."""

import numpy as np
import pandas as pd
import pytest

from features.feature import Aggregate, Feature
from training import metrics, priors, pu, seed_check
from training.saved_model import Column
from training.seed_check import checked, selection
from training.skew import skews
from training.space import MOST_COMPONENTS, RANKERS, Params, make_space


def planted(apart, n=6000, share=0.2, labelled=0.5, seed=0):
    """A share of customers is alike, `apart` standard deviations from the rest in four of eight columns; half of them, by lot, are seeds."""
    rng = np.random.default_rng(seed)
    alike = rng.random(n) < share
    z = rng.normal(size=(n, 8)) + np.where(alike, apart, 0.0)[:, None] * np.array([1, 1, 1, 1, 0, 0, 0, 0])
    return z, alike, alike & (rng.random(n) < labelled)


def columns(n, **more):
    return tuple(Column(f"x{j}", "behaviour", "n", "x", "x", **more) for j in range(n))


@pytest.mark.parametrize("learner", [pu.bagging, pu.elkan_noto, pu.spies])
def test_hidden_positives_are_found(learner):
    z, alike, is_seed = planted(1.2)
    scores = z @ learner(z, is_seed, 0.03)
    area = metrics.auc(alike[~is_seed].astype(float), scores[~is_seed], np.ones((1, (~is_seed).sum())))[0]
    # The best that anybody could do: four columns of 1.2 each, d' = 2.4.
    assert area == pytest.approx(0.955, abs=0.015)


def test_learners_are_not_the_plain_one():
    z, _, is_seed = planted(1.2)
    plain = pu.plain(z, is_seed, 0.03)
    for learner in (pu.bagging, pu.elkan_noto, pu.spies):
        assert np.abs(learner(z, is_seed, 0.03) - plain).max() > 0.05


def test_hardly_any_hidden_positive_is_relied_on_to_be_none():
    z, alike, is_seed = planted(1.2)
    negatives = pu.reliable(z, is_seed, 0.03)
    assert not (negatives & is_seed).any()
    assert alike[negatives].mean() < 0.3 * alike[~is_seed].mean()
    assert negatives.sum() > 0.5 * (~alike).sum()


def evaluate(apart):
    z, alike, is_seed = planted(apart, n=8_000)
    fit, ask = np.arange(len(z)) % 2 == 0, np.arange(len(z)) % 2 == 1
    scores = z[ask] @ pu.plain(z[fit], is_seed[fit], 0.03)
    margins = z[fit] @ pu.plain(z[ask], is_seed[ask], 0.03)
    w = metrics.resamples(np.arange(ask.sum()).astype(str).astype(object), 50)
    truth = float(metrics.auc(alike[ask].astype(float), scores, w)[0])
    return priors.evaluated(is_seed[ask].astype(float), scores, w, margins, is_seed[fit]), truth, alike[~is_seed].mean()


def test_the_area_is_corrected_where_both_estimates_agree():
    said, truth, share = evaluate(2.5)
    assert said["priors_agree"]
    assert said["prior"] == pytest.approx(share, abs=0.02)
    assert said["auc_corrected"] == pytest.approx(truth, abs=0.012)
    assert said["auc_pu"] < truth - 0.03


def test_the_area_is_not_corrected_where_they_do_not():
    said, _, share = evaluate(0.6)
    assert not said["priors_agree"]
    assert said["auc_corrected"] is None
    assert said["priors"]["elkan_noto"]["value"] > share + 0.1


@pytest.mark.parametrize("ranker", RANKERS)
def test_a_new_list_is_ranked_from_the_layout_as_from_the_features(ranker):
    z, _, is_seed = planted(1.2, n=3000)
    space = make_space("s", {}, columns(8), z, Params(ranker, n_components=3, n_groups=2))
    fitted, scores = space.expand(space.lay_out(z), is_seed)
    assert space.components.shape[1] == min(MOST_COMPONENTS, 16)
    assert fitted.centres.shape[1] == 3
    assert np.allclose(space.scores(fitted, z), scores, atol=1e-4)
    assert fitted.curve[0]["expected_lift"] > 3


def test_the_others_who_are_not_sampled_count_in_the_curve(monkeypatch):
    z, _, is_seed = planted(1.2, n=3000)
    space = make_space("s", {}, columns(8), z, Params("classifier"))
    whole = space.expand(space.lay_out(z), is_seed)[0].curve
    monkeypatch.setattr("training.space.EXPANDED_CAP", 700)
    few = space.expand(space.lay_out(z), is_seed)[0].curve
    at_tenth = [next(point["expected_lift"] for point in curve if point["share"] == 0.1) for curve in (whole, few)]
    assert at_tenth[1] == pytest.approx(at_tenth[0], rel=0.12)


def people(chosen_by_channel):
    """Kin by taste; those who came by the app become seeds more often, or not."""
    z, alike, _ = planted(1.5, n=4000, seed=3)
    rng = np.random.default_rng(5)
    app = (rng.random(len(z)) < 0.4).astype(float)
    chance = np.where(app == 1, 0.8, 0.1) if chosen_by_channel else 0.4
    x = np.column_stack([z, app, rng.random(len(z))])
    told = (*columns(8), Column("channel", "profile", "category", "c", "c", is_category=True, levels=("store", "app")), Column("income", "profile", "n", "i", "i"))
    return x, alike & (rng.random(len(z)) < chance), told


def test_seeds_chosen_by_channel_are_no_draw_by_lot():
    said = selection(*people(True))
    assert said["verdict"] == "doubtful"
    assert [one["name"] for one in said["columns"]] == ["channel"]
    assert said["auc"] > 0.7


def test_a_draw_by_lot_gives_no_sign_against_it():
    assert selection(*people(False))["verdict"] == "no sign against it"


def test_without_columns_of_selection_nothing_is_said():
    z, _, is_seed = planted(1.0, n=500)
    assert selection(z, is_seed, columns(8))["verdict"] == "cannot be looked at"


def check(x, is_seed, days=None):
    as_ofs = np.datetime64("2026-06-01") - np.zeros(len(x), int) if days is None else np.datetime64("2026-06-01") - days
    return checked(x, is_seed, as_ofs.astype("datetime64[us]"), columns(x.shape[1]), 28, days is not None)


def test_a_sound_list_has_no_finding():
    z, _, is_seed = planted(1.0, n=2000)
    said = check(z, is_seed)
    assert said["findings"] == []
    assert [one["name"] for one in said["shift"][:4]] != ["x4", "x5", "x6", "x7"]
    assert said["age_days"] is None


def test_what_is_wrong_with_a_list_is_found():
    z, _, is_seed = planted(1.0, n=2000)
    days = np.where(is_seed, 300, 0)
    assert check(z, is_seed, days)["findings"] == ["OLD_SEEDS"]
    same = z.copy()
    same[np.flatnonzero(is_seed)[:60]] = same[is_seed][0]
    assert "COPIED_SEEDS" in check(same, is_seed)["findings"]
    assert check(same, is_seed)["copies"] == 59
    side = np.where(np.arange(len(z)) % 2 == 0, 6.0, -6.0)
    mixed = check(np.where(is_seed[:, None], side[:, None] + z, z), is_seed)
    assert "MIXED_SEEDS" in mixed["findings"]
    assert len(mixed["kinds"]) == 2
    by_lot = np.random.default_rng(1).random(len(z)) < 0.2
    assert check(z, by_lot)["findings"] == ["LIKE_EVERYBODY"]


FEATURES = (
    Feature("sex", "profile", Aggregate("events"), "category", "sex", "性别", is_category=True, is_sensitive=True),
    Feature("region", "profile", Aggregate("events"), "category", "region", "地区", is_category=True),
    Feature("skirts", "interest", Aggregate("events"), "n", "skirts", "裙"), Feature("noise", "interest", Aggregate("events"), "n", "noise", "noise"))


def audience(n=2000):
    rng = np.random.default_rng(2)
    is_woman = rng.random(n) < 0.5
    frame = pd.DataFrame({
        "sex": np.where(is_woman, "f", "m"), "skirts": rng.poisson(np.where(is_woman, 6, 1)).astype(float), "noise": rng.random(n),
        "region": np.select([np.arange(n) < 4, np.arange(n) < 40], ["islet", "isle"], "land")})
    is_seed = is_woman & (rng.random(n) < 0.1)
    learned = tuple(Column(name, "interest", "n", name, name) for name in ("skirts", "noise"))
    return skews(frame, FEATURES, is_seed, frame["skirts"].to_numpy() + 0.01 * rng.random(n), learned)


def test_an_uneven_audience_is_said_by_attribute_and_by_what_stands_in_for_it():
    said = {one["attribute"]: one for one in audience()}
    assert (said["sex"]["why"], said["region"]["why"], said["skirts"]["why"]) == ("sensitive", "profile", "sex")
    assert "noise" not in said
    women = next(row for row in said["sex"]["groups"] if row["group"] == "f")
    # Everybody in the first twentieth is a woman; that no man is there must not be told, or it could be counted out.
    assert women["everybody"] == pytest.approx(0.5, abs=0.05)
    assert women["audience"]["5"] is None
    assert said["skirts"]["uneven"]


def test_no_cell_under_ten_is_told_nor_one_alone():
    for one in audience():
        for key in ("5", "10", "20"):
            told = [row["audience"][key] for row in one["groups"]]
            assert sum(value is None for value in told) != 1
    region = {row["group"]: row for row in next(one for one in audience() if one["attribute"] == "region")["groups"]}
    assert region["islet"]["everybody"] is None
    assert region["isle"]["everybody"] is None
    assert region["land"]["everybody"] is not None


def test_the_nearest_are_as_alike_as_the_seeds():
    z, _, is_seed = planted(1.0, n=3000)
    scores = z[:, :4].sum(axis=1)
    pairs = seed_check._nearest(scores, is_seed)
    assert len(set(pairs[:, 1])) == len(pairs)
    assert is_seed[pairs[:, 0]].all() and not is_seed[pairs[:, 1]].any()
    assert np.median(np.abs(scores[pairs[:, 0]] - scores[pairs[:, 1]])) < 0.1
