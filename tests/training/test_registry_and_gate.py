"""Registry and gate: what is registered is whole, and a worse challenger never replaces the champion."""

import json
import threading
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import COLUMNS, TASK, made_up

from features.errors import ContractError, GateFailed, UsageError
from features.feature import Aggregate, Feature
from features.lock import locked
from training import changes, gate
from training.__main__ import main
from training.registry import CHALLENGER, CHAMPION, Registry
from training.saved_model import load
from training.train import train

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]
NAME = "shop.churn"


class Shop:
    """As much of a dataset as training looks at."""

    name, fingerprint, licence, currency, zone = "shop", "f" * 64, "none", "USD", "UTC"
    is_simulated = False
    observed_from = datetime(2024, 11, 1)


def table(n_customers=160, seed=5):
    rows = made_up(n_customers, seed)
    frame = pd.DataFrame(rows.x, columns=[c.name for c in COLUMNS])
    frame["city"] = [None if np.isnan(v) else "ABC"[int(v)] for v in rows.x[:, 4]]
    return frame.assign(customer_id=rows.customers, as_of=rows.as_ofs, label=rows.y.astype("int8"))


FEATURES = [Feature(c.name, c.family, Aggregate("events"), c.unit, c.label_en, c.label_zh, is_category=c.is_category,
                    is_undated=c.is_undated, is_treatment=c.is_treatment) for c in COLUMNS]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    from training.folds import split
    frame = table()
    as_ofs = sorted({stamp.to_pydatetime() for stamp in frame["as_of"]})
    run = tmp_path_factory.mktemp("run")
    (run / "features").mkdir()
    frame.to_parquet(run / "features" / f"{NAME}.parquet")
    return train(Shop, TASK, frame, FEATURES, split(as_ofs, TASK), run=run, trials=2), run


@pytest.fixture(scope="module")
def registry(trained):
    registry = Registry(trained[1])
    registry.register(trained[0], "shop")
    return registry


def test_the_record_holds_what_run_json_promises(trained):
    record = trained[0].record
    for name in ("kind", "rows", "positives", "base_rate", "train_as_of", "test_as_of", "auc", "auc_interval", "average_precision", "log_loss", "brier", "ece",
                 "lift_at_10", "rule", "logistic", "gain_over_rule", "winner", "grade", "quality", "by_group"):
        assert name in record
    assert record["auc_interval"][0] < record["auc"] < record["auc_interval"][1]
    assert record["winner"] in ("lightgbm", "logistic", "blend", "rule")
    assert record["gain_over_rule"]["auc"] == pytest.approx(record["auc"] - record["rule"]["auc"], abs=1e-4)


def test_how_far_reasons_hold_is_recorded_and_the_saved_model_knows_which_are_firm(trained, tmp_path):
    held = trained[0].record["stability"]["features"]
    assert held["overlap"]["value"] > held["of_another_customer"]["overlap"]["value"] > 0 and held["sign_agreement_firm"]["value"] > 0.9
    trained[0].model.save(tmp_path / "m")
    model = load(tmp_path / "m")
    phi = model.contributions(model.encode(table(40, seed=8)))[:, :-1]
    firm = dict(zip([column.name for column in COLUMNS], model.is_firm(phi).mean(axis=0), strict=True))
    assert firm["visits_count_28d"] > 0.7 > 0.5 > firm["noise_ratio"]


def test_the_saved_model_answers_like_the_trained_one(trained, tmp_path):
    model = trained[0].model
    model.save(tmp_path / "m")
    again = load(tmp_path / "m")
    frame = table(40, seed=8)
    x = again.encode(frame)
    assert (again.probabilities(x) == model.probabilities(x)).all()
    assert np.abs(again.contributions(x).sum(axis=1) - again.log_odds(x)).max() < 1e-9
    assert again.schema_hash() == model.schema_hash()


def test_the_saved_model_holds_no_customer(trained, tmp_path):
    trained[0].model.save(tmp_path / "m")
    text = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "m").iterdir())
    assert '"c17"' not in text
    assert "customer_id" not in text


def test_a_challenger_is_registered_verified_and_served_by_mlflow(registry, trained):
    import mlflow

    version = registry.require(NAME, CHALLENGER)
    frame = table(30, seed=2)
    model = registry.model(NAME, version)
    ours = model.probabilities(model.encode(frame))
    theirs = mlflow.pyfunc.load_model(f"models:/{NAME}/{version}").predict(frame[[c.name for c in model.columns]])
    assert np.abs(ours - theirs).max() == 0


def test_tracking_holds_parameters_metrics_curves_and_fingerprint(registry):
    run = registry.client.get_run(registry.versions(NAME)[0].run_id)
    assert run.data.tags["fingerprint"] == Shop.fingerprint
    assert "windows" in run.data.tags
    assert {"auc", "log_loss", "rule_auc"} <= set(run.data.metrics)
    assert len(registry.client.get_metric_history(run.info.run_id, "gains_percent_of_hits")) == 21
    assert len(registry.client.get_metric_history(run.info.run_id, "trial_loss_lightgbm")) == 2


def test_the_gate_promotes_then_refuses_a_worse_recipe(registry, trained):
    run = trained[1]
    first = gate.promote(registry, run, NAME)
    assert registry.version_of(NAME, CHAMPION) == first.version
    worse = trained[0].model
    card = {**worse.card, "recipe": {"kind": "rule", "params": {"column": "noise_ratio", "sign": 1}}}
    from training.train import Trained
    registry.register(Trained(type(worse)(**{**worse.__dict__, "card": card}), trained[0].record, trained[0].history), "shop")
    with pytest.raises(GateFailed, match="log loss no higher than the champion's.*the champion stays"):
        gate.promote(registry, run, NAME)
    assert registry.version_of(NAME, CHAMPION) == first.version
    registry.register(trained[0], "shop")
    assert gate.promote(registry, run, NAME).version == "3"
    assert [(line["action"], line["from"], line["to"]) for line in changes.lines_of(run, NAME)] == [
        ("passed", None, "1"), ("promote", None, "1"), ("refuse", "1", "2"), ("passed", "1", "3"), ("promote", "1", "3")]
    with pytest.raises(GateFailed, match=r"judged against \(1\), found 3; judge again"):
        registry.promote(NAME, "2", "1")
    assert gate.roll_back(registry, run, NAME).version == registry.version_of(NAME, CHAMPION) == "1"
    with pytest.raises(UsageError, match="earlier champion"):
        gate.roll_back(registry, run, NAME)


def test_the_door_compares_two_versions_and_goes_back(registry, trained, monkeypatch, capsys):
    run = trained[1]
    (run / "run.json").write_text('{"data": "shop"}')
    monkeypatch.setenv("COLUMNS", "200")

    def door(*words):
        monkeypatch.setattr("sys.argv", ["training", *words, "--run", str(run)])
        main()
        return capsys.readouterr().out

    said = door("compare", "churn", "--versions", "2", "1", "--out", str(run / "compare.html"))
    assert "champion" in said
    assert "better? yes" in said
    assert "what differs" in said
    assert "version 1 better than 2" in (run / "compare.html").read_text()
    door("compare", "churn", "--out", str(run / "compare.json"))
    assert json.loads((run / "compare.json").read_text())["new"]["version"] == "3"
    with pytest.raises(UsageError, match="--versions must name versions"):
        door("compare", "churn", "--versions", "1", "9")
    with pytest.raises(UsageError, match="needs two versions"):
        door("compare", "churn", "--versions", "1", "1")
    assert "version 3 is champion" in door("promote", "churn")
    assert "version 1 is champion again" in door("rollback", "churn")


def test_f12_of_two_promotions_at_once_one_wins_and_the_change_is_written_once(registry, trained):
    run, ready, said = trained[1], threading.Barrier(2), []
    before = changes.lines_of(run, NAME)
    assert registry.version_of(NAME, CHAMPION) == "1"

    def ask():
        ready.wait(20)
        try:
            with locked(run):
                said.append(gate.promote(Registry(run), run, NAME).says)
        except (UsageError, GateFailed) as error:
            said.append(str(error))

    both = [threading.Thread(target=ask) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(60)
    assert registry.version_of(NAME, CHAMPION) == "3" and sum("on the same folds" in one for one in said) == 1, said
    assert sum("only one run may work" in one or "it is the champion already" in one for one in said) == 1, said
    new = changes.lines_of(run, NAME)[len(before):]
    assert [(line["action"], line["from"], line["to"]) for line in new] == [("passed", "1", "3"), ("promote", "1", "3")]


def test_what_an_artefact_asks_to_be_installed_is_what_the_lock_installs(registry):
    from mlflow.artifacts import download_artifacts
    from packaging.requirements import Requirement

    asked = download_artifacts(artifact_uri=registry.client.get_model_version_download_uri(NAME, "1"), tracking_uri=registry.uri)
    wanted = [Requirement(line) for line in (Path(asked) / "requirements.txt").read_text().split()]
    lines = [line.rstrip(" \\") for line in (Path(__file__).parents[2] / "requirements.lock").read_text().splitlines() if "==" in line and not line.startswith(" ")]
    locked_pins = {pin.name: str(pin.specifier) for pin in map(Requirement, lines) if pin.marker is None or pin.marker.evaluate()}
    assert {one.name: str(one.specifier) for one in wanted} == {one.name: locked_pins[one.name] for one in wanted}
    assert {"lightgbm", "numpy", "pandas"} <= {one.name for one in wanted}


def test_a_model_that_ranks_worse_than_the_rule_is_refused(trained):
    model = trained[0].model
    bad = type(model)(**{**model.__dict__, "card": {**model.card, "auc": model.card["rule"]["auc"] - 0.006}})
    with pytest.raises(GateFailed, match="serve the rule"):
        gate.fit_to_serve(bad)


def test_a_model_whose_probabilities_mislead_is_refused(trained):
    model = trained[0].model
    with pytest.raises(GateFailed, match="probabilities mislead"):
        gate.fit_to_serve(type(model)(**{**model.__dict__, "card": {**model.card, "log_loss": 0.9}}))


def test_a_version_without_artefact_is_refused(registry, tmp_path):
    registry.client.create_registered_model("shop.ghost")
    registry.client.create_model_version("shop.ghost", source=str(tmp_path / "nothing"))
    registry.client.set_registered_model_alias("shop.ghost", CHALLENGER, "1")
    with pytest.raises(ContractError, match="artefact"):
        gate.promote(registry, tmp_path, "shop.ghost")
    with pytest.raises(UsageError, match="train it first"):
        registry.require("shop.nobody", CHALLENGER)


@pytest.mark.parametrize(("labels", "code"), [(0, "NO_POSITIVE"), (1, "ONE_CLASS")])
def test_one_class_labels_are_refused_before_tuning(labels, code, tmp_path):
    from training.folds import split
    frame = table(60).assign(label=np.int8(labels))
    as_ofs = sorted({stamp.to_pydatetime() for stamp in frame["as_of"]})
    with pytest.raises(ContractError, match=code):
        train(Shop, TASK, frame, FEATURES, split(as_ofs, TASK), run=tmp_path, trials=2)
    assert not list(tmp_path.iterdir())


def test_the_task_survives_its_way_through_json(trained):
    assert trained[0].model.task == asdict(TASK)
    assert datetime.fromisoformat(trained[0].record["test_as_of"][0]).tzinfo is not None
