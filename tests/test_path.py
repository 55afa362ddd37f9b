"""The whole path on real data: raw tables to served, explained, honest models."""

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
RETAIL = ROOT.parent / "shared" / "data" / "online_retail"
TRIALS = "4"
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def door(*words):
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=1500, env={**os.environ, "COLUMNS": "200"})
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def whole_path(data, run):
    door("training", "run", "--data", str(data), "--trials", TRIALS, "--run", str(run))
    said = door("serving", "publish", "--run", str(run)).stdout
    return json.loads((run / "run.json").read_text(encoding="utf-8")), said, run


@pytest.fixture(scope="module")
def grocer(tmp_path_factory):
    return whole_path("complete-journey", tmp_path_factory.mktemp("grocer"))


@pytest.fixture(scope="module")
def retail(tmp_path_factory, need):
    need(RETAIL, "the data sets stand beside the project under ../shared/data")
    return whole_path(RETAIL, tmp_path_factory.mktemp("retail"))


@pytest.mark.parametrize("name", ["grocer", "retail"])
def test_run_json_keeps_its_promise(name, request):
    summary, _, run = request.getfixturevalue(name)
    assert {"data", "fingerprint", "seconds", "quarantine", "tasks", "reports", "packages"} <= set(summary)
    for task in summary["tasks"].values():
        assert {"kind", "rows", "positives", "base_rate", "train_as_of", "test_as_of", "auc", "auc_interval", "average_precision", "log_loss", "brier", "ece", "lift_at_10",
                "rule", "logistic", "gain_over_rule", "winner", "model", "version", "grade", "gate"} <= set(task)
        assert len(task["test_as_of"]) >= 2
        assert task["gate"] == "passed"
        assert re.fullmatch(r"[\d-]{10}T[\d:]{8}Z", task["test_as_of"][0])
    assert all((run / report).exists() for report in summary["reports"])
    assert (run / "mlflow.db").exists()
    assert (run / "optuna.db").exists()


def test_the_grocers_churn_model_is_worth_serving(grocer):
    churn = grocer[0]["tasks"]["churn"]
    assert churn["auc"] >= 0.85
    assert churn["gain_over_rule"]["auc"] >= 0.015
    assert churn["gain_over_rule"]["interval"][0] > 0
    for rule in churn["rules_on_test"].values():
        assert rule["gain_over_it"]["value"] >= 0.015
        assert rule["gain_over_it"]["interval"][0] > 0
    assert churn["log_loss"] <= churn["logistic"]["log_loss"]


def test_the_grocers_conversion_model_beats_the_best_rule(grocer):
    conversion = grocer[0]["tasks"]["conversion"]
    assert all(rule["gain_over_it"]["value"] > 0 for rule in conversion["rules_on_test"].values())
    # Not worse than the logistic baseline by more than chance would give: the interval of the difference reaches below 0.
    assert conversion["gain_over_logistic"]["log_loss"]["interval"][0] <= 0


@pytest.mark.parametrize("task", ["churn", "conversion"])
def test_the_grocers_probabilities_can_be_believed(task, grocer):
    said = grocer[0]["tasks"][task]
    assert 0.8 <= said["calibration_slope"] <= 1.25
    assert said["mean_predicted"] == pytest.approx(said["mean_observed"], rel=0.10)


def test_dirty_transactions_alone_go_the_same_way(retail):
    summary = retail[0]
    assert summary["quarantine"]["NO_CUSTOMER"] == 135_080
    assert "conversion" in summary["not_applicable"]
    churn = summary["tasks"]["churn"]
    assert churn["auc"] >= max(rule["auc"] for rule in churn["rules_on_test"].values()) - 0.005
    if churn["gain_over_rule"]["interval"][0] <= 0:
        assert churn["grade"] == "no better than the rule"
    assert not any(name.startswith(("category", "categories", "campaign")) for name in pd.read_parquet(retail[2] / "features" / "base.parquet").columns)


def test_batch_served_and_mlflow_scores_are_one(grocer, tmp_path):
    import mlflow
    from fastapi.testclient import TestClient

    from serving.api import State, create_app
    from serving.scoring import open_base

    run = grocer[2]
    out = tmp_path / "scores.parquet"
    door("serving", "score", "churn", "--data", "complete-journey", "--out", str(out), "--run", str(run))
    batch = pd.read_parquet(out).head(50)
    customers = [{"customer_id": customer} for customer in batch["customer_id"]]
    client = TestClient(create_app(State(base=open_base(run))))
    served = client.post("/explain", json={"tasks": ["churn"], "customers": customers, "top": 3}).json()["results"]
    assert [result["probability"] for result in served] == batch["probability"].round(6).tolist()
    for result in served:
        total = result["base_log_odds"] + sum(reason["contribution"] for reason in result["reasons"])
        assert total == pytest.approx(result["log_odds"], abs=1e-9)
        assert 1 / (1 + np.exp(-result["log_odds"])) == pytest.approx(result["probability"], abs=1e-6)
    base = pd.read_parquet(run / "features" / "base.parquet").set_index("customer_id").loc[batch["customer_id"]]
    mlflow.set_registry_uri(f"sqlite:///{run / 'mlflow.db'}")
    theirs = mlflow.pyfunc.load_model("models:/complete-journey.churn@champion")
    columns = theirs.metadata.get_input_schema().input_names()
    frame = base[columns].astype({c: "float64" for c in columns if base[c].dtype.kind in "iu"})
    assert np.round(theirs.predict(frame), 6).tolist() == batch["probability"].round(6).tolist()


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.tags = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.found += [value for name, value in attrs if name in ("src", "href")]


@pytest.mark.parametrize("name", ["grocer", "retail"])
def test_reports_open_offline_and_link_to_each_other(name, request):
    summary, _, run = request.getfixturevalue(name)
    assert summary["reports"]
    for report in summary["reports"]:
        text = (run / report).read_text(encoding="utf-8")
        links = Links()
        links.feed(text)
        assert "script" not in links.tags
        assert "default-src 'none'" in text
        for link in links.found:
            assert (run / "reports" / link).exists(), link


@pytest.mark.parametrize("width", [1000, 420])
def test_a_report_shows_in_a_browser(width, grocer, tmp_path, need):
    from PIL import Image

    browser = need(shutil.which("chromium") or "/usr/bin/chromium", "install Debian's package chromium: apt-get install chromium fonts-noto-cjk")
    for report in grocer[0]["reports"]:
        picture = tmp_path / "page.png"
        subprocess.run(
            [str(browser), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars", f"--user-data-dir={tmp_path / 'profile'}",
             f"--window-size={width},1600", f"--screenshot={picture}", (grocer[2] / report).resolve().as_uri()], check=True, capture_output=True, timeout=120)
        with Image.open(picture) as image:
            shades = image.convert("L").getcolors()
        # Ink on paper: mostly white, and text and charts in many shades.
        assert len(shades) > 60
        assert max(n for n, _ in shades) < 0.99 * 1600 * max(width, 420)


def test_the_numbers_in_a_report_are_the_runs(grocer):
    summary, _, run = grocer
    churn = summary["tasks"]["churn"]
    text = (run / "reports" / "churn.en.html").read_text(encoding="utf-8")
    for number in (f"{churn['auc']:.3f}", f"{churn['rule']['auc']:.3f}", f"{churn['gain_over_rule']['auc']:+.3f}", f"{churn['test_rows']:,}",
                   f"{100 * churn['mean_predicted']:.1f}%", f"{100 * churn['ece']:.1f}%", churn["test_as_of"][0][:10]):
        assert number in text


def test_no_customer_stands_in_reports_tracking_or_artefacts(grocer):
    run = grocer[2]
    for path in (*(run / "reports").rglob("*.html"), *(run / "artifacts").rglob("*.json")):
        assert "customer_id" not in path.read_text(encoding="utf-8")


def test_the_end_of_the_path_says_what_to_look_at_and_what_to_type_next(grocer):
    said = grocer[1]
    assert "index.en.html" in said
    assert "make serve" in said


def test_compare_and_a_second_challenger_that_waits(grocer):
    run = str(grocer[2])
    door("training", "train", "conversion", "--data", "complete-journey", "--trials", "1", "--run", run)
    table = door("training", "compare", "conversion", "--run", run).stdout
    assert "champion" in table
    assert "challenger" in table
