"""Clusters: as many as there are, the same again, under the same names; and of whom too little is known."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from features.segments.clusters import FEWEST_BASKETS, MANY_BASKETS, NONE, Clusters, fit, tree, with_names_of, with_noise

COLUMNS = ["a", "b", "c"]


def crowd(sizes=(300, 200, 150, 100), seed=0, spread=.25):
    rng = np.random.default_rng(seed)
    middles = np.array([[1, 9, 4], [9, 1, 4], [9, 9, 25], [1, 1, 16], [25, 4, 1]], float)
    kind = np.repeat(range(len(sizes)), sizes)
    return pd.DataFrame((np.sqrt(middles[kind]) + rng.normal(0, spread, (len(kind), 3))) ** 2, columns=COLUMNS), kind


@pytest.fixture(scope="module")
def fitted():
    people, kind = crowd()
    return people, kind, fit(people, COLUMNS)


def test_planted_groups_are_found_and_so_is_their_number(fitted):
    people, kind, found = fitted
    assert found.stability[4] > .95
    assert len(found.names) == 4
    assert adjusted_rand_score(kind, found.place(people)) > .95


def test_the_largest_comes_first_and_is_called_a(fitted):
    people, kind, found = fitted
    assert found.names == ("A", "B", "C", "D")
    assert list(found.weights) == sorted(found.weights, reverse=True)
    assert (found.assign(people, np.full(len(people), MANY_BASKETS))[kind == 0] == "A").mean() > .95


def test_names_are_kept_between_refits_on_resamples(fitted):
    people, _, found = fitted
    everybody = np.full(len(people), MANY_BASKETS)
    for seed in range(3):
        again = with_names_of(fit(people.sample(len(people), replace=True, random_state=seed), COLUMNS, seed + 1, number=4), found)
        assert (again.assign(people, everybody) == found.assign(people, everybody)).mean() > .9


def test_a_new_group_gets_a_name_that_nobody_had():
    people, _ = crowd()
    more, kind = crowd((300, 200, 150, 100, 250), seed=1)
    before = fit(people, COLUMNS, number=4)
    now = with_names_of(fit(more, COLUMNS, number=5), before)
    assert set(now.names) == {"A", "B", "C", "D", "E"}
    assert (now.assign(more, np.full(len(more), MANY_BASKETS))[kind == 4] == "E").mean() > .9


def test_of_whom_too_little_is_known_belongs_to_none(fitted):
    people, kind, found = fitted
    given = found.assign(people, np.where(np.arange(len(people)) % 2, np.nan, MANY_BASKETS))
    assert (given[1::2] == NONE).all()
    assert (given[::2] != NONE).mean() > .98
    assert (found.assign(people, np.zeros(len(people))) == NONE).all()
    # Half way between two clusters nobody can be sure.
    between = pd.DataFrame([((np.sqrt(people[kind == 0].mean()) + np.sqrt(people[kind == 3].mean())) / 2) ** 2])
    assert found.assign(between, np.array([MANY_BASKETS])).tolist() == [NONE]


def test_few_baskets_blur_habits_and_who_is_blurred_is_told_only_where_it_is_sure():
    people, kind = crowd((900, 600, 500, 400), seed=3)
    baskets = np.random.default_rng(4).integers(1, 30, len(people))
    seen = (np.sqrt(people) + np.random.default_rng(5).normal(0, 2 / np.sqrt(baskets)[:, None], people.shape)).clip(0) ** 2
    plain = fit(seen[baskets >= FEWEST_BASKETS], COLUMNS, number=4)
    found = with_noise(plain, seen, baskets)
    assert (found.noise[0] > found.noise[3]).all() and (found.noise >= 0).all()
    few = baskets <= 2
    told, rash = (one.assign(seen[few], baskets[few]) for one in (found, plain))
    is_told, is_rash = told != NONE, rash != NONE
    assert .05 < is_told.mean() < is_rash.mean()
    assert adjusted_rand_score(kind[few][is_told], told[is_told]) > adjusted_rand_score(kind[few][is_rash], rash[is_rash]) + .1
    again = Clusters.from_json(json.loads(json.dumps(found.as_json())))
    assert (again.assign(seen, baskets) == found.assign(seen, baskets)).all()
    older = {key: value for key, value in found.as_json().items() if key != "noise"}
    assert (Clusters.from_json(older).assign(seen, baskets) == plain.assign(seen, baskets)).all()


def test_the_same_people_are_clustered_the_same(fitted):
    people = fitted[0]
    assert fit(people, COLUMNS, number=4).as_json()["means"] == fit(people, COLUMNS, number=4).as_json()["means"]


def test_clusters_survive_json(fitted):
    people, _, found = fitted
    again = Clusters.from_json(json.loads(json.dumps(found.as_json())))
    assert (again.place(people) == found.place(people)).all()
    assert (again.names, again.stability) == (found.names, found.stability)


def test_unknown_values_and_a_column_without_spread_do_no_harm():
    people, _ = crowd()
    people.loc[::3, "b"] = np.nan
    found = fit(people.assign(flat=2.0), [*COLUMNS, "flat"], number=4)
    assert np.isfinite(found.means).all()


def test_noise_is_one_cloud_whose_parts_no_refit_agrees_on():
    rng = np.random.default_rng(0)
    found = fit(pd.DataFrame(rng.normal(10, 1, (400, 3)), columns=COLUMNS), COLUMNS)
    assert max(found.stability.values()) < .9


def test_the_tree_joins_the_nearest_first(fitted):
    found = tree(fitted[2])
    assert found[found["groups"] == 1]["group"].unique().tolist() == ["A+B+C+D"]
    assert found[found["groups"] == 4]["group"].tolist() == ["A", "B", "C", "D"]
    assert found[found["groups"] == 3]["group"].str.len().max() == 3
