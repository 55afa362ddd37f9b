"""What is loaded, and what is refused before anything reads it."""

import json
import sys

import pytest

from features.errors import ContractError, UsageError
from features.files import sha256
from serving.champions import champions, load_artefact


def test_champions_are_found_by_alias_in_the_order_of_the_tasks(run):
    found = champions(run, "demo", ["conversion", "lookalike", "churn"])
    assert [(task, champion.model.name, champion.version) for task, champion in found.items()] == [
        ("conversion", "demo.conversion", "1"), ("churn", "demo.churn", "1")]


def test_a_run_without_a_champion_says_so_and_what_to_type(run):
    with pytest.raises(ContractError, match="alias champion, found none for other .*make run DATA=other"):
        champions(run, "other", ["churn"])


def test_a_folder_without_a_registry_is_refused_before_mlflow_makes_one(tmp_path):
    with pytest.raises(UsageError, match="mlflow.db, found none"):
        champions(tmp_path, "demo", ["churn"])
    assert list(tmp_path.iterdir()) == []


def test_a_model_registered_under_another_name_is_refused(run, registry):
    with registry(run) as (_, client):
        source = client.get_model_version_by_alias("demo.conversion", "champion").source
        client.create_registered_model("mixed.up")
        client.set_registered_model_alias("mixed.up", "champion", client.create_model_version("mixed.up", source).version)
    with pytest.raises(ContractError, match=r"must hold the model mixed\.up, found demo\.conversion"):
        champions(run, "mixed", ["up"])


def test_a_version_without_an_artefact_is_refused(run, registry, tmp_path):
    with registry(run) as (_, client):
        client.create_registered_model("hollow.churn")
        client.create_model_version("hollow.churn", (tmp_path / "nowhere").as_uri())
        client.set_registered_model_alias("hollow.churn", "champion", "1")
    with pytest.raises(ContractError, match=r"hollow\.churn version 1 needs"):
        champions(run, "hollow", ["churn"])


@pytest.mark.parametrize("name", [
    "code/lightgbm.py", "code/readme.txt", "python_model.pkl", "data/likeness/python_model/x", "data/model.PKL.pkl", "data/likeness/member0.skops",
    "calibrator.joblib"])
def test_f43_anything_that_could_run_is_refused_before_anything_is_read(saved, tmp_path, monkeypatch, name):
    saved("churn", tmp_path)
    hostile, marker = tmp_path / name, tmp_path.parent / f"{tmp_path.name}.ran"
    hostile.parent.mkdir(parents=True, exist_ok=True)
    hostile.write_text(f"open({str(marker)!r}, 'w')")
    monkeypatch.setattr("training.saved_model.load", lambda folder: pytest.fail("it was read"))
    with pytest.raises(ContractError, match="must be text and JSON only, found .*, which could run"):
        load_artefact(tmp_path, "m")
    assert not marker.exists() and str(tmp_path / "code") not in sys.path


def _cut(share):
    return lambda text: text[:int(len(text) * share)]


def _flip(text):
    """Change one digit inside the leaf values: the same length, another score."""
    at = text.index("leaf_value=") + 13
    while not text[at].isdigit():
        at += 1
    return text[:at] + str((int(text[at]) + 5) % 10) + text[at + 1:]


_MUTATIONS = {"empty": _cut(0), "20%": _cut(0.2), "50%": _cut(0.5), "99%": _cut(0.99), "digit": _flip,
              "child": lambda text: text.replace("left_child=1", "left_child=999999", 1)}


@pytest.mark.parametrize("mutate", _MUTATIONS.values(), ids=_MUTATIONS)
def test_f8_a_changed_booster_is_refused_before_lightgbm_parses_it(saved, tmp_path, monkeypatch, mutate):
    member = saved("churn", tmp_path) / "member0.txt"
    whole = member.read_text()
    member.write_text(mutate(whole))
    assert member.read_text() != whole
    monkeypatch.setattr("training.saved_model.BoosterMember", lambda text: pytest.fail("LightGBM saw it"))
    with pytest.raises(ContractError, match="as they were written, found member0.txt changed"):
        load_artefact(tmp_path, "m")


def test_f8_a_changed_score_is_found_by_the_golden_rows_even_if_the_manifest_agrees(saved, tmp_path):
    folder = saved("churn", tmp_path)
    member = folder / "member0.txt"
    text = member.read_text()
    start = text.index("leaf_value=") + len("leaf_value=")
    end = text.index("\n", start)
    shrunk = " ".join("0" * len(value) for value in text[start:end].split(" "))
    member.write_text(text[:start] + shrunk + text[end:])
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"member0.txt": sha256(member)}))
    with pytest.raises(ContractError, match="golden rows"):
        load_artefact(tmp_path, "m")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"model.json": 1}'])
def test_a_damaged_manifest_is_a_contract_error(saved, tmp_path, text):
    (saved("conversion", tmp_path) / "manifest.json").write_text(text)
    with pytest.raises(ContractError, match="^m"):
        load_artefact(tmp_path, "m")


@pytest.mark.parametrize("change", [
    lambda said: said["columns"].reverse(), lambda said: said["columns"].pop(), lambda said: said["columns"][0].update(name="renamed"),
    lambda said: said["columns"][4]["levels"].reverse(), lambda said: said.update(format=2), lambda said: said.pop("calibrator")])
def test_f9_another_schema_is_refused_even_if_the_manifest_agrees(saved, tmp_path, change):
    folder = saved("conversion", tmp_path)
    said = json.loads((folder / "model.json").read_text())
    change(said)
    (folder / "model.json").write_text(json.dumps(said))
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"model.json": sha256(folder / "model.json")}))
    with pytest.raises(ContractError, match="^m"):
        load_artefact(tmp_path, "m")


def test_an_artefact_needs_one_saved_model(saved, tmp_path):
    with pytest.raises(ContractError, match="one saved model in its artefact, found 0"):
        load_artefact(tmp_path, "m")
    folder = saved("churn", tmp_path)
    assert load_artefact(tmp_path, "m").name == "demo.churn"
    (tmp_path / "data" / "second").mkdir()
    (tmp_path / "data" / "second" / "manifest.json").write_text((folder / "manifest.json").read_text())
    with pytest.raises(ContractError, match="found 2"):
        load_artefact(tmp_path, "m")
