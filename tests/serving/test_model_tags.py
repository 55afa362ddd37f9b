"""From scores that were handed out to tags of models: what `serving score` writes is what `features tags --scores` reads."""

import sys

import pandas as pd
import pytest

from features.__main__ import main
from serving import batch


@pytest.fixture
def tagged(base, frame, folder_of, tmp_path, monkeypatch):
    """The tags that customers hold by the scores of two champions; and those scores, by task."""
    files = {task: tmp_path / f"{task}.parquet" for task in ("churn", "conversion")}
    for task, path in files.items():
        batch.write_table(batch.with_reasons(base.tasks[task]), path)
    bought = [{"customer_id": customer, "event_at": "2017-12-15"} for customer in frame["customer_id"]]
    folder = folder_of(bought, zone="America/New_York", declared='observed_until = "2018-01-01T05:00:00Z"\n')
    monkeypatch.setattr(sys, "argv", ["features", "tags", str(folder), "--scores", *map(str, files.values()), "--out", str(tmp_path / "tags")])
    main()
    return pd.read_parquet(tmp_path / "tags" / "tags.parquet"), {task: pd.read_parquet(path) for task, path in files.items()}


def test_the_bands_of_the_champions_are_tags_of_the_model_layer(tagged):
    told, scores = tagged
    assert set(told.loc[told["layer"] == "model", "tag"]) == {"churn_high", "churn_low", "conversion_high"}
    for tag in ("churn_high", "churn_low", "conversion_high"):
        task, band = tag.split("_")
        holders = set(told.loc[told["tag"] == tag, "customer_id"])
        assert len(holders) > 10
        assert holders == set(scores[task].loc[scores[task]["band"] == band, "customer_id"])
