"""What came of scores handed out before is shown at each retrain, by the version that handed them out; and stops no training where an old version is gone."""

from dataclasses import asdict, replace
from datetime import datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from features.errors import ContractError
from features.tasks import Eligibility, Task, WindowSpec
from training.run import Given, _matured

TASK = Task("churn", "churn", Eligibility(active_days=56), WindowSpec(horizon_days=28, lookbacks_days=(28, 56)))
AS_OF = datetime(2026, 4, 30, 16)
N = 300


@pytest.fixture(scope="module")
def dataset(given):
    """Two in three come again in May."""
    events = [{"customer_id": f"c{i}", "event_at": "2026-04-10 10:00:00"} for i in range(N)]
    events += [{"customer_id": f"c{i}", "event_at": "2026-05-10 10:00:00"} for i in range(N) if i % 3]
    return replace(given(events, declared='observed_until = "2026-06-10"\n'), name="shop")


@pytest.fixture
def given_run(tmp_path):
    """Version 1 was right, version 2 said a tenth of everybody; a third score is not due, and another task's is no business of this one."""
    (tmp_path / "scores").mkdir()
    right = np.where(np.arange(N) % 3 == 0, 0.9, 0.05)
    for number, (version, p, as_of, model) in enumerate((
        ("1", right, AS_OF, "shop.churn"), ("2", np.full(N, 0.1), AS_OF, "shop.churn"), ("2", right, AS_OF + timedelta(days=30), "shop.churn"), ("7", right, AS_OF, "shop.other"))):
        pd.DataFrame({
            "customer_id": [f"c{i}" for i in range(N)], "task": model.split(".")[1], "model": model, "version": version, "as_of": pd.Series([as_of] * N).astype("datetime64[us]"),
            "probability": p, "band": np.where(p > 0.5, "high", "low")}).to_parquet(tmp_path / "scores" / f"{number}.parquet")
    return Given("shop", tmp_path)


class Registry:
    """As much as is asked of it."""

    def version_of(self, name, alias):
        return "2"

    def model(self, name, version):
        return SimpleNamespace(task=asdict(TASK))


def test_each_version_is_held_against_what_came(dataset, given_run):
    said = []
    told = _matured(SimpleNamespace(say=said.append), Registry(), dataset, given_run, "churn")
    assert [(one["version"], one["is_champion"]) for one in told] == [("1", False), ("2", True)]
    assert told[0]["all"]["actual"] == told[1]["all"]["actual"] == N // 3
    assert told[0]["auc"] == 1.0 and told[1]["auc"] == 0.5 and told[1]["all"]["expected"] == 30
    assert "version 2 (champion) as of 2026-04-30: expected 30 of 300 (10.0 %), came 100 (28.2 to 38.9 %), AUC 0.500" in said[1] and "(champion)" not in said[0]


def test_nothing_handed_out_is_nothing_said(dataset, tmp_path):
    assert _matured(SimpleNamespace(say=pytest.fail), Registry(), dataset, Given("shop", tmp_path), "churn") == []


def test_an_old_version_that_is_gone_stops_no_training(dataset, given_run):
    class Gone(Registry):
        def model(self, name, version):
            raise ContractError("shop.churn version 1 needs its artefact, found none")

    said = []
    assert _matured(SimpleNamespace(say=said.append), Gone(), dataset, given_run, "churn") == []
    assert "cannot be judged: shop.churn version 1 needs its artefact" in said[0]
