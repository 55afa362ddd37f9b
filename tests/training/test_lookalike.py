"""Lookalike: kin are found, nobody is found for random seeds, reasons add up, and nothing of the held-out part is used before it is read."""

import json
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from features.errors import ContractError
from features.feature import Aggregate, Feature
from features.tasks import Eligibility, Seeds, Task, WindowSpec
from training.lookalike import Pool, choose, train_space
from training.saved_model import Column
from training.space import RANKERS, Params, load_space, make_space

TASK = Task(
    "lookalike", "lookalike", Eligibility(active_days=56), WindowSpec(horizon_days=28), seeds=Seeds(event_kind="gift"),
    rules=("visits_count_28d", "spend_sum_28d"))
NAMES = ("visits_count_28d", "spend_sum_28d", "breadth_28d", "noise_1", "noise_2", "gifts_count_ever")
FEATURES = (
    *(Feature(name, "behaviour", Aggregate("events"), "n", name, name) for name in NAMES[:5]),
    Feature("gifts_count_ever", "touchpoints", Aggregate("events", where=(("kind", "gift"),)), "n", "gifts", "礼品"),
    Feature("city", "profile", Aggregate("events"), "category", "city", "城市", is_category=True),
)
COLUMNS = tuple(
    Column(f.name, f.family, f.unit, f.label_en, f.label_zh, f.is_category, levels=("A", "B") if f.is_category else ())
    for f in FEATURES if f.name != "gifts_count_ever")


def population(n=2500, seed=3):
    """Kin (12 %): many visits but little spend, broad taste, city B. Six in ten kin are seeds; the column `gifts_count_ever` gives them away."""
    rng = np.random.default_rng(seed)
    kin = rng.random(n) < 0.12
    is_seed = kin & (rng.random(n) < 0.6)
    frame = pd.DataFrame({
        "customer_id": [f"c{i:05}" for i in range(n)], "as_of": [datetime(2026, 1, 1) + timedelta(days=14 * int(m)) for m in rng.integers(0, 8, n)],
        "is_seed": is_seed.astype("int8"), "visits_count_28d": rng.poisson(np.where(kin, 9, 5)), "spend_sum_28d": rng.gamma(2, np.where(kin, 12, 22)),
        "breadth_28d": rng.poisson(np.where(kin, 8, 5)), "noise_1": rng.normal(size=n), "noise_2": np.where(rng.random(n) < 0.3, np.nan, rng.random(n)),
        "gifts_count_ever": is_seed.astype(int), "city": np.where(rng.random(n) < np.where(kin, 0.7, 0.3), "B", "A")})
    return frame, kin


@pytest.fixture(scope="module")
def frame():
    return population()[0]


class Shop:
    name, fingerprint, licence, currency, zone = "shop", "f", "none", "CNY", "Asia/Shanghai"
    is_simulated = False


@pytest.fixture(scope="module")
def trained(frame):
    return train_space(Shop, TASK, frame, FEATURES)


@pytest.fixture(scope="module")
def made(frame):
    space = make_space("shop.lookalike", {"windows": {"horizon_days": 28}}, COLUMNS, _x(frame), Params())
    return space, _x(frame), frame["is_seed"].to_numpy(bool)


def _x(frame):
    return np.column_stack([*(frame[name].to_numpy(float) for name in NAMES[:5]), (frame["city"] == "B").astype(float)])


def test_kin_are_found_and_random_seeds_find_nobody(trained):
    record = trained.record
    assert record["lift_interval"][0] > 2
    assert record["grade"] == "better than the rule"
    assert record["random_seed_interval"][0] <= 1 <= record["random_seed_interval"][1]
    assert record["recall_at_10"] == pytest.approx(record["lift_at_10"] / 10, abs=1e-4)
    assert record["split"] == "later"
    assert max(record["train_as_of"]) < min(record["test_as_of"])


def test_what_defines_the_seeds_is_left_out_and_the_figure_with_it_is_shown(trained):
    assert trained.record["excluded"] == {"gifts_count_ever": "defines the seeds"}
    assert "gifts_count_ever" not in {column.name for column in trained.model.columns}
    assert trained.record["with_excluded"]["lift_at_10"] > trained.record["with_excluded"]["without"]


def test_a_near_copy_is_left_out_too(frame):
    shadow = Feature("shadow", "behaviour", Aggregate("events"), "n", "shadow", "shadow")
    copied = frame.assign(shadow=frame["gifts_count_ever"] * 3.0 + 1)
    assert train_space(Shop, TASK, copied, (*FEATURES, shadow)).record["excluded"]["shadow"] == "orders customers as gifts_count_ever does"


def test_the_choice_does_not_look_at_the_held_out_part(made):
    space, x, is_seed = made
    held_out = np.arange(len(x)) % 3 == 0
    changed = np.where(held_out[:, None], 7.0, x)
    assert choose(Pool(x, is_seed, held_out), space.columns) == choose(Pool(changed, np.where(held_out, False, is_seed), held_out), space.columns)


@pytest.mark.parametrize("ranker", RANKERS)
def test_likeness_is_the_share_of_seeds_that_are_less_alike(ranker, made):
    space, x, is_seed = made
    likeness = space.fit(x, is_seed, Params(ranker=ranker))
    fresh = population(4000, seed=8)[0]
    told, scores = space.likeness(likeness, _x(fresh)), space.scores(likeness, _x(fresh))
    assert told.min() >= 0
    assert told.max() <= 1
    assert (np.diff(told[np.argsort(scores)]) >= 0).all()
    # Among seeds that it never met it is spread evenly, whatever the ranker.
    seeds = told[fresh["is_seed"] == 1]
    assert np.mean(seeds) == pytest.approx(0.5, abs=0.08)
    assert np.mean(seeds < 0.2) == pytest.approx(0.2, abs=0.08)
    assert np.mean(told[fresh["is_seed"] == 0]) < 0.3


@pytest.mark.parametrize("ranker", ["classifier", "similarity"])
def test_contributions_add_up_to_the_score(ranker, made):
    space, x, is_seed = made
    likeness = space.fit(x, is_seed, Params(ranker=ranker, n_groups=2))
    assert np.allclose(space.contributions(likeness, x).sum(axis=1), space.scores(likeness, x), atol=1e-9)


def test_reasons_name_what_kin_share(made):
    space, x, is_seed = made
    likeness = space.fit(x, is_seed, Params())
    kin = space.contributions(likeness, x)[is_seed].mean(axis=0)
    names = [space.columns[j].name for j in np.argsort(-kin)]
    assert set(names[:4]) == {"visits_count_28d", "spend_sum_28d", "breadth_28d", "city"}


def test_a_row_alone_scores_as_in_company(made):
    space, x, is_seed = made
    likeness = space.fit(x, is_seed, Params())
    assert np.allclose([space.scores(likeness, x[[i]])[0] for i in range(20)], space.scores(likeness, x[:20]))


def test_the_curve_falls_from_the_most_alike_to_everybody(made):
    space, x, is_seed = made
    curve = space.fit(x, is_seed).curve
    lifts, likeness = ([point[key] for point in curve] for key in ("expected_lift", "similarity"))
    assert likeness == sorted(likeness, reverse=True)
    assert lifts[-1] == pytest.approx(1.0)
    assert lifts[0] > 2


def test_a_space_is_saved_as_text_and_loads_as_it_was(trained, tmp_path, frame):
    trained.model.save(tmp_path)
    again = load_space(tmp_path)
    x = again.encode(frame)
    assert np.array_equal(again.scores(again.example, x), trained.model.scores(trained.model.example, x))
    assert again.card == json.loads(json.dumps(trained.model.card))
    assert {path.suffix for path in tmp_path.iterdir()} == {".json"}
    assert not any(customer in path.read_text() for path in tmp_path.iterdir() for customer in frame["customer_id"][:50])


@pytest.mark.parametrize("spoil", [
    lambda f: (f / "space.json").write_text((f / "space.json").read_text().replace("0.", "1.", 1)), lambda f: (f / "more.py").write_text("1"),
    lambda f: (f / "manifest.json").unlink()])
def test_a_damaged_space_is_refused(spoil, trained, tmp_path):
    trained.model.save(tmp_path)
    spoil(tmp_path)
    with pytest.raises(ContractError, match="train and register again"):
        load_space(tmp_path)


def test_too_few_seeds_are_refused(frame):
    few = frame.assign(is_seed=np.where(np.arange(len(frame)) < 30, 1, 0))
    with pytest.raises(ContractError, match="TOO_FEW_SEEDS"):
        train_space(Shop, TASK, few, FEATURES)


def test_mixed_seeds_keep_their_groups():
    """Two kinds of seeds at opposite ends: one average would be nobody; two groups find both."""
    rng = np.random.default_rng(1)
    kin, side = rng.random(3000) < 0.1, np.where(rng.random(3000) < 0.5, 2.0, -2.0)
    x = rng.normal(size=(3000, 6)) + np.where(kin, side, 0.0)[:, None]
    x = np.sign(x) * np.expm1(np.abs(x))
    is_seed = kin & (rng.random(3000) < 0.6)
    space = make_space("s", {}, tuple(Column(f"x{j}", "behaviour", "n", "x", "x") for j in range(6)), x, Params(n_components=6))
    found = {}
    for k in (1, 2):
        likeness = space.fit(x, is_seed, Params("similarity", n_groups=k, n_components=6))
        found[k] = kin[np.argsort(-space.scores(likeness, x))[:300]].mean()
    assert found[2] > found[1] + 0.1
