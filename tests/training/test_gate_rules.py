"""What the gate refuses beside a higher loss: probabilities that can be believed less, a group that loses, reasons that are an accident."""

from types import SimpleNamespace

import numpy as np
import pytest
from made_up import TASK, made_up

from features.errors import GateFailed
from training import gate, metrics
from training.compare import PAIRED

CARD = {"auc": 0.8, "rule": {"name": "recency", "auc": 0.75}, "test_positives": 100, "test_rows": 1000, "log_loss": 0.25}


def reasons(low, high, other=(0.45, 0.55)):
    told = {"sign_agreement": {"value": (low + high) / 2, "interval": [low, high]}}
    return {"stability": {"features": {**told, "of_another_customer": {"sign_agreement": {"value": sum(other) / 2, "interval": list(other)}}}}}


@pytest.mark.parametrize(("card", "refused"), [
    ({}, False), (reasons(0.9, 0.95), False), (reasons(0.54, 0.7), True), (reasons(0.56, 0.7), False), ({"stability": {"features": {"sign_agreement": None}}}, False)])
def test_reasons_that_refits_agree_with_no_more_than_with_anybodys_are_refused(card, refused):
    model = SimpleNamespace(name="shop.churn", card={**CARD, **card})
    if refused:
        with pytest.raises(GateFailed, match="its reasons are an accident"):
            gate.fit_to_serve(model)
    else:
        gate.fit_to_serve(model)


@pytest.mark.parametrize(("loss", "ece", "group", "says"), [
    (-0.01, [-0.02, 0.01], "not shown", None), (0.01, [-0.02, 0.01], "not shown", "log loss no higher"), (-0.01, [0.001, 0.02], "not shown", "believed no less"),
    (-0.01, [-0.02, 0.01], "worse", r"no group worse.*month 2026-01 \(\+0.1000")])
def test_one_refusal_for_each_rule(monkeypatch, tmp_path, loss, ece, group, says):
    said = {
        "answer": {"told": "figures"}, "differences": {"log_loss": {"value": loss, "interval": [-1, 1]}, "ece": {"value": sum(ece) / 2, "interval": ece}},
        "groups": [{"group": "month 2026-01", "difference": 0.1, "interval": [0.01, 0.2], "says": group}]}
    model = SimpleNamespace(name="shop.churn", task={"name": "churn"})
    monkeypatch.setattr(gate, "newest_rows", lambda run, name: None)
    monkeypatch.setattr(gate, "replayed", lambda *given: None)
    monkeypatch.setattr(gate, "compared", lambda old, new: said)
    monkeypatch.setattr(gate.Task, "from_json", staticmethod(lambda said: TASK))
    if says:
        with pytest.raises(GateFailed, match=f"{says}.*the champion stays"):
            gate._against(model, model, tmp_path, "2", "1")
    else:
        assert "against version 1" in gate._against(model, model, tmp_path, "2", "1")


def test_a_calibration_that_is_worse_is_shown_by_its_paired_interval_and_an_equal_one_is_not():
    rows = made_up(100)
    w = metrics.resamples(rows.customers)
    p = np.clip(0.8 * np.random.default_rng(1).random(len(rows.y)) + 0.1, 0, 1)
    y = (np.random.default_rng(2).random(len(p)) < p).astype(float)
    worse = metrics.gain(y, np.clip(p + 0.1, 0, 1), p, w, PAIRED["ece"])
    assert worse["interval"][0] > 0.03 and metrics.gain(y, p, p, w, PAIRED["ece"])["interval"] == [0.0, 0.0]
