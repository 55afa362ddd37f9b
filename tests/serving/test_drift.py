"""Drift: nothing moves where nothing moved, and what moved is named."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from features.stability import LARGE, SHIFTED, stability_index
from serving.drift import input_drift, score_drift
from serving.metrics import served
from serving.scoring import TaskBase
from training.reference import averages_of
from training.saved_model import SavedModel


@pytest.fixture
def made(models):
    """Two functions: a base of n made-up customers; a task that learned from another 4,000 of the same kind."""
    def people(seed, n=4000):
        rng = np.random.default_rng(seed)
        x = np.column_stack([rng.poisson(4, n), rng.exponential(15, n), rng.gamma(2, 20, n), rng.random(n), rng.integers(0, 3, n), rng.integers(0, 3, n)]).astype(float)
        x[rng.random(n) < 0.1, 1] = np.nan
        return x

    reference = averages_of(models["churn"].columns, people(1), {"all": np.ones(4000, dtype=bool)})
    model = SavedModel(**{**models["conversion"].__dict__, "reference": reference})
    return people, lambda x: TaskBase("conversion", model, "1", [str(i) for i in range(len(x))], x, frozenset(), "2018-01-01T00:00:00Z")


def test_others_of_the_same_kind_have_not_moved(made):
    people, task_of = made
    found = input_drift(task_of(people(2)))
    assert len(found) == 6 and max(found.values()) < SHIFTED


@pytest.mark.parametrize(("j", "change"), [
    (2, lambda v: v + v.std()), (0, lambda v: v + 3), (3, lambda v: v * 0.5), (1, lambda v: np.where(np.arange(len(v)) % 2, np.nan, v)), (4, lambda v: np.zeros_like(v)),
    (5, lambda v: np.full_like(v, np.nan))])
def test_f35_what_moved_is_named_and_nothing_else(made, j, change):
    people, task_of = made
    x = people(2)
    x[:, j] = change(x[:, j])
    found = input_drift(task_of(x))
    name = task_of(x).model.columns[j].name
    assert next(iter(found)) == name and found[name] > LARGE and all(index < SHIFTED for other, index in found.items() if other != name)


def test_f35_scores_that_moved_are_told_and_others_are_not(made):
    people, task_of = made
    of = task_of(people(1))
    model = SavedModel(**{**of.model.__dict__, "reference": of.model.reference | {"scores": np.quantile(of.ordered, np.linspace(0.05, 0.95, 11)).tolist()}})

    def found(x):
        return score_drift(TaskBase("conversion", model, "1", [str(i) for i in range(len(x))], x, frozenset(), "2018-01-01T00:00:00Z"))

    x = people(2)
    assert found(x) < SHIFTED / 2
    x[:, 0] += 20
    assert found(x) > LARGE
    assert score_drift(of) is None


def test_the_index_is_siddiqis():
    # Two classes, 50:50 against 60:40: (.1)(ln 1.2) + (-.1)(ln .8).
    assert stability_index(np.array([0.5, 0.5]), np.array([0.6, 0.4]), 1000) == pytest.approx(0.1 * np.log(1.2) - 0.1 * np.log(0.8))
    assert stability_index(np.array([0.5, 0.5]), np.array([1.0, 0.0]), 1000) < 5


def test_what_training_kept_nothing_of_is_left_out(base):
    assert input_drift(base.tasks["churn"]) == {}


def test_the_door_writes_it_down(run, tmp_path):
    out = tmp_path / "drift.json"
    done = subprocess.run([sys.executable, "-m", "serving", "drift", "--run", str(run), "--out", str(out)], cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True)
    assert done.returncode == 0 and json.loads(out.read_text())["data"] == "demo"


def test_scores_are_counted_by_tenth_of_the_base(client, base):
    from prometheus_client import REGISTRY

    def counts():
        return np.array([REGISTRY.get_sample_value("likeness_scores_total", {"task": "churn", "version": "1", "tenth": str(i)}) or 0 for i in range(10)])

    before = counts()
    client.post("/v1/score", json={"tasks": ["churn"], "customers": [{"customer_id": customer} for customer in [*base.tasks["churn"].ids, "nobody"]]})
    told = counts() - before
    assert told.sum() == 240 and told.max() <= 60


def test_ages_and_drift_are_metrics_of_the_models_served(base):
    from prometheus_client import REGISTRY

    def with_card(task):
        model = SavedModel(**{**task.model.__dict__, "card": {"refit_as_of": ["2017-12-01T00:00:00Z", "2017-12-08T00:00:00Z"]}})
        model.reference["scores"] = np.quantile(task.ordered, np.linspace(0.05, 0.95, 11)).tolist()
        return TaskBase(task.task, model, "7", task.ids, task.x, task.known, task.as_of)

    served(None, replace(base, tasks={"churn": with_card(base.tasks["churn"])}))
    learned = REGISTRY.get_sample_value("likeness_model_learned_until_timestamp_seconds", {"task": "churn", "version": "7"})
    assert learned == datetime(2017, 12, 8, tzinfo=UTC).timestamp()
    assert REGISTRY.get_sample_value("likeness_base_as_of_timestamp_seconds") == datetime(2018, 1, 1, 5, tzinfo=UTC).timestamp()
    assert REGISTRY.get_sample_value("likeness_score_drift", {"task": "churn"}) < 0.01
