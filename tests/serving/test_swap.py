"""New champions while the server runs: exchanged between two requests, or refused without a change. Under load: test_under_load.py."""

import gc
import json
import shutil
import weakref
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from features.errors import ContractError
from features.files import sha256
from serving import swap
from serving.api import State
from serving.champions import Source, source_of
from serving.scoring import open_base
from serving.swap import Watcher, begin, prove
from training.saved_model import SavedModel

ASKED = {"tasks": ["churn", "conversion"], "customers": [{"customer_id": "a", "features": {"spend_sum_28d_usd": 41.5}}]}


def counted(task, outcome):
    from prometheus_client import REGISTRY

    return REGISTRY.get_sample_value("likeness_swaps_total", {"task": task, "outcome": outcome}) or 0


@pytest.fixture
def own(run, tmp_path):
    """A run folder of one's own, with version 1 of both; the artefacts stay with the shared one, since MLflow stores whole addresses."""
    return shutil.copytree(run, tmp_path / "out", ignore=shutil.ignore_patterns("artifacts", "bentoml"))


@pytest.fixture
def quick(monkeypatch):
    """The proof in this process: a process of its own takes seconds, and one test is enough for it."""
    monkeypatch.setattr(swap, "prove", lambda source: swap._loads(source.folder, source.told))


@pytest.fixture
def watched(own, quick, client_of):
    """(watcher, state, client, run)"""
    state = State(open_base(own))
    return Watcher(own, state, 5), state, client_of(state), own


def versions(client):
    return {result["task"]: (result["version"], result["probability"]) for result in client.post("/v1/score", json=ASKED).json()["results"]}


def other(model, slope):
    return SavedModel(**{**model.__dict__, "slope": slope})


def test_a_new_champion_is_served_after_one_look_and_the_other_task_stays(watched, models, register, tmp_path):
    watcher, state, client, run = watched
    before, first, exchanged = versions(client), state.base, counted("churn", "exchanged")
    assert not watcher.look() and state.base is first
    assert register(run, other(models["churn"], 0.5), tmp_path / "scratch") == "2"
    assert versions(client) == before
    assert watcher.look() and not watcher.look()
    after = versions(client)
    assert after["conversion"] == before["conversion"] and after["churn"][0] == "2" and after["churn"][1] != before["churn"][1]
    expected = other(models["churn"], 0.5).probabilities(np.array([[np.nan, np.nan, 41.5, np.nan, np.nan, np.nan]]))[0]
    assert after["churn"][1] == round(float(expected), 6) and counted("churn", "exchanged") == exchanged + 1
    # What was asked before the exchange is answered by what it was asked of.
    assert first.versions() == {"churn": "1", "conversion": "1"} and state.base.versions() == {"churn": "2", "conversion": "1"}
    # The other task was not scored again.
    assert state.base.tasks["conversion"] is first.tasks["conversion"]


def test_what_was_exchanged_is_given_back(watched, models, register, tmp_path):
    watcher, state, _, run = watched
    old = weakref.ref(state.base.tasks["churn"])
    register(run, other(models["churn"], 0.5), tmp_path / "scratch")
    assert watcher.look()
    gc.collect()
    assert old() is None


def _without_income(models):
    """A model that asks for a feature which the base does not have."""
    columns = tuple(replace(column, name="made_up_28d") if column.name == "income_band" else column for column in models["conversion"].columns)
    return SavedModel(**{**models["conversion"].__dict__, "columns": columns})


def test_f8_f9_a_bad_candidate_changes_nothing_is_counted_and_hinders_no_other(watched, models, register, registry, tmp_path):
    watcher, state, client, run = watched
    before, refused = versions(client), counted("conversion", "refused")
    register(run, _without_income(models), tmp_path / "scratch")
    first = state.base
    assert not watcher.look() and state.base is first and versions(client) == before and counted("conversion", "refused") == refused + 1
    # A champion of the other task comes through all the same.
    register(run, other(models["churn"], 0.5), tmp_path / "scratch")
    assert watcher.look() and versions(client)["churn"][0] == "2" and versions(client)["conversion"] == before["conversion"]
    with registry(run) as (_, client_of_registry):
        client_of_registry.set_registered_model_alias("demo.conversion", "champion", "1")
    assert not watcher.look() and state.base.versions() == {"churn": "2", "conversion": "1"}


@pytest.mark.parametrize("damage", [
    lambda folder: (folder / "member0.txt").write_text((folder / "member0.txt").read_text()[:2000]), lambda folder: (folder / "code.py").write_text("1"),
    lambda folder: (folder / "manifest.json").unlink(), lambda folder: shutil.rmtree(folder)])
def test_f8_f43_a_damaged_artefact_is_not_exchanged(watched, models, register, tmp_path, damage):
    watcher, state, client, run = watched
    before, first = versions(client), state.base
    version = register(run, other(models["churn"], 0.5), tmp_path / "scratch")
    folder, = source_of(run, "demo.churn", version).folder.glob("data/likeness")
    damage(folder)
    assert not watcher.look() and state.base is first and versions(client) == before


def test_a_candidate_that_failed_is_tried_again_less_and_less_often(watched, models, register, tmp_path, monkeypatch):
    watcher, _, _, run = watched
    register(run, _without_income(models), tmp_path / "scratch")
    looks, tried = [], []
    monkeypatch.setattr(swap, "prove", lambda source: tried.append(len(looks)) or swap._loads(source.folder, source.told))
    for _ in range(15):
        looks.append(watcher.look())
    assert tried == [0, 2, 6, 14]


def test_f8_a_text_that_ends_the_process_ends_another_one(saved, tmp_path):
    member = (folder := saved("churn", tmp_path)) / "member0.txt"
    prove(Source(tmp_path, "m"))
    member.write_text(member.read_text().replace("left_child=1", "left_child=999999", 1))
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"member0.txt": sha256(member)}))
    with pytest.raises(ContractError, match="m must load in a process of its own, found"):
        prove(Source(tmp_path, "m"))


def test_f11_with_the_registry_away_the_last_good_is_served_and_a_gauge_says_so(watched, models, register, tmp_path):
    from prometheus_client import REGISTRY

    watcher, _, client, run = watched
    before = versions(client)
    (run / "mlflow.db").rename(run / "away.db")
    assert not watcher.look() and versions(client) == before
    assert REGISTRY.get_sample_value("likeness_registry_unanswered_seconds") > 0 and not (run / "mlflow.db").exists()
    (run / "away.db").rename(run / "mlflow.db")
    register(run, other(models["churn"], 0.5), tmp_path / "scratch")
    assert watcher.look() and versions(client)["churn"][0] == "2" and REGISTRY.get_sample_value("likeness_registry_unanswered_seconds") == 0


def test_customers_scored_anew_are_served_and_a_base_that_does_not_fit_is_not(watched, write_base, frame):
    watcher, state, client, run = watched
    new = pd.concat([frame, frame.tail(1).assign(customer_id="newcomer", eligible_churn=True)], ignore_index=True)
    asked = {"tasks": ["churn"], "customers": [{"customer_id": "newcomer"}]}
    assert not client.post("/v1/score", json=asked).json()["results"][0]["found"]
    write_base(run, new)
    assert watcher.look() and client.post("/v1/score", json=asked).json()["results"][0]["found"] and not watcher.look()
    good, refused = state.base, counted("base", "refused")
    write_base(run, new.drop(columns="income_band"))
    assert not watcher.look() and not watcher.look() and state.base is good and counted("base", "refused") == refused + 1


def test_f8_f13_a_worker_that_begins_while_a_bad_champion_stands_serves_what_was_served_last(own, models, register, tmp_path, monkeypatch):
    (counted_in := tmp_path / "counted").mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(counted_in))
    good = begin(own)
    register(own, _without_income(models), tmp_path / "scratch")
    again = begin(own)
    assert again.versions() == good.versions() == {"churn": "1", "conversion": "1"}
    # Where nothing was served before, there is nothing to go on with.
    shutil.rmtree(counted_in)
    with pytest.raises(ContractError):
        begin(own)


def test_a_worker_that_could_not_load_is_ready_once_it_can(own, quick):
    away = own.rename(own.with_name("away"))
    state = State()
    watcher = Watcher(own, state, 5)
    assert not watcher.look() and state.base is None
    away.rename(own)
    assert watcher.look() and state.base.versions() == {"churn": "1", "conversion": "1"}
