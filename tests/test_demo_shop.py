"""The models against a truth that is known: near the ceiling, nothing where there is nothing, and every page says that the shop is simulated."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.shop.simulate import simulate
from features.sources import open_dataset
from tests.benchmarks.ceiling import ceiling, known_at
from tests.benchmarks.lookalike import oracle

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    return simulate(tmp_path_factory.mktemp("demo") / "shop", 2500, 12, 1)


@pytest.fixture(scope="module")
def path(shop, whole_path, tmp_path_factory) -> tuple[dict[str, Any], Path]:
    summary, _, run = whole_path(shop, tmp_path_factory.mktemp("run"), trials=3)
    return summary, run


@pytest.mark.parametrize("name", ["churn", "conversion"])
def test_a_model_comes_near_the_ceiling_and_not_above_it(path, shop, name):
    found = path[0]["tasks"][name]
    best, (low, high) = ceiling(known_at(shop, name, found["test_as_of"]), name)
    assert .74 < best < .89
    # Two and a half thousand customers teach less than a hundred thousand: what is missing to the ceiling is bounded here, and measured by a benchmark.
    assert best - .06 < found["auc"] < high, (best, low, high, found["auc"])


def test_shuffled_labels_teach_nothing(path, shop, tmp_path):
    from features.snapshots import features_of
    from training.folds import split
    from training.train import train

    _, run = path
    dataset = open_dataset(str(shop))
    task = next(task for task in dataset.tasks if task.name == "churn")
    frame = pd.read_parquet(run / "features" / "demo-shop.churn.parquet")
    frame["label"] = np.random.default_rng(0).permutation(frame["label"].to_numpy())
    as_ofs = sorted(moment.to_pydatetime() for moment in frame["as_of"].unique())
    trained = train(dataset, task, frame, features_of(dataset)[0], split(as_ofs, task), run=tmp_path, trials=2)
    assert abs(trained.record["logistic"]["auc"] - .5) < .03
    assert abs(trained.record["lightgbm"]["auc"] - .5) < .03
    assert trained.record["gain_over_rule"]["interval"][0] <= 0


def test_the_kin_are_found_among_those_who_are_like_the_seeds(path, shop):
    """Invitations come mostly from one hidden group; who is ranked as like those who invited belongs to it more often."""
    summary, run = path
    lookalike = summary["tasks"]["lookalike"]
    assert lookalike["random_seed_lift"] == pytest.approx(1, abs=.5)
    people = pd.read_parquet(shop / "truth" / "people")
    truth = pd.read_parquet(shop / "truth" / "identifiers").merge(people[["person", "is_kin"]], on="person").set_index("identifier")["is_kin"]
    frame = pd.read_parquet(run / "features" / "demo-shop.lookalike.parquet")
    is_kin = frame["customer_id"].map(truth).to_numpy(bool)
    assert is_kin[frame["is_seed"] == 1].mean() > 3 * is_kin.mean()
    # The bars are those of the benchmark; of so few held-out seeds a share comes out lower by this much in one case of twenty.
    chance = 1.645 * .5 / lookalike["test_seeds"] ** .5
    best, tuned, at_once = oracle(shop, frame, lookalike["test_as_of"]), lookalike["recall_at_10"], lookalike["instant"]["recall_at_10"]
    assert tuned >= .8 * best - chance, (best, tuned)
    assert at_once >= .9 * tuned - chance, (tuned, at_once)
    assert lookalike["lift_at_10"] > 1.5


def test_every_page_says_that_the_shop_is_simulated(path):
    summary, run = path
    assert summary["is_simulated"] is True
    assert len(summary["reports"]) >= 8
    for report in summary["reports"]:
        text = (run / report).read_text(encoding="utf-8")
        assert "imulated" in text or "模拟数据" in text, report


def test_the_small_shop_is_there_by_its_name():
    dataset = open_dataset("demo-shop")
    assert dataset.name == "demo-shop" and dataset.is_simulated
    assert int(dataset.tables["events"].count().to_pyarrow().as_py()) > 300_000
