"""The base that serving scores: everybody at the last complete midnight, and who is asked about."""

import json
from datetime import datetime

import pyarrow.parquet as pq

from features.base import scoring_moment, write_base


def test_the_base_holds_everybody_known_and_who_each_task_asks_about(given, tmp_path):
    rows = [
        {"customer_id": "active", "event_at": "2026-03-20 10:00:00"},
        {"customer_id": "silent", "event_at": "2026-01-02 10:00:00"},
        {"customer_id": "silent", "event_at": "2026-03-31 17:00:00"},
        {"customer_id": "today", "event_at": "2026-03-31 18:00:00"},
    ]
    dataset = given(rows)
    assert scoring_moment(dataset) == datetime(2026, 3, 30, 16), "the last midnight in Shanghai before the last event"
    write_base(dataset, tmp_path)
    table = pq.read_table(tmp_path / "features" / "base.parquet")
    assert [(row["customer_id"], row["eligible_churn"], row["purchases_count_56d"]) for row in table.to_pylist()] == [
        ("active", True, 1),
        ("silent", False, 0),
    ]
    about = json.loads((tmp_path / "features" / "base.json").read_text())
    assert about == {"data": dataset.name, "fingerprint": dataset.fingerprint, "as_of": "2026-03-30T16:00:00Z", "currency": "CNY", "tasks": ["churn"]}
