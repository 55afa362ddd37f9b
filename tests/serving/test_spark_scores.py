"""Scores that Spark's workers made, as this process writes them: some rows at a time, the file and the log of one process. (The numbers: tests/features/test_spark.py.)"""

from contextlib import nullcontext
from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pytest

from features.errors import UsageError
from serving import batch, spark_scores
from serving.batch import append_log, with_reasons, write_table
from serving.champions import Champion
from serving.withheld import Pseudonyms


@pytest.fixture
def scored(base, models, tmp_path, monkeypatch):
    """As if Spark had scored the base of churn; give what one process would hand out, and a run folder."""
    task, run = base.tasks["churn"], tmp_path / "out"
    run.mkdir()
    table = with_reasons(task)

    def some_at_a_time(frame):
        whole = pa.Table.from_pandas(frame.reset_index(drop=True), preserve_index=False)
        return pa.RecordBatchReader.from_batches(whole.schema, whole.to_batches(max_chunksize=70))

    fake = SimpleNamespace(
        n=len(table), same={"as_of": task.as_of, "model": task.model.name, "version": task.version}, told=lambda: some_at_a_time(table),
        logged=lambda: some_at_a_time(table.sort_values("customer_id")[["customer_id", "probability", "band"]]))
    dataset = SimpleNamespace(tasks=(SimpleNamespace(name="churn"), SimpleNamespace(name="alike")))
    monkeypatch.setattr(batch, "opened", lambda *_: (dataset, {"churn": Champion(models["churn"], "1"), "alike": Champion(object.__new__(_space()), "1")}))
    monkeypatch.setattr("features.doors.engines.moved", lambda dataset, engine, steps: nullcontext(dataset))
    monkeypatch.setattr(spark_scores, "score_on_spark", lambda *_: fake)
    return task, table, run


def _space():
    from training.space import Space

    return Space


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_the_file_is_that_of_one_process(scored, tmp_path, ending):
    task, table, run = scored
    counts, as_of = spark_scores.score_file("churn", "data", tmp_path / f"found{ending}", run)
    write_table(table, tmp_path / f"told{ending}")
    read = pd.read_parquet if ending == ".parquet" else pd.read_csv
    pd.testing.assert_frame_equal(read(tmp_path / f"found{ending}"), read(tmp_path / f"told{ending}"), check_exact=True)
    assert as_of == task.as_of and counts == table["band"].value_counts().to_dict()
    assert ending == ".parquet" or (tmp_path / f"found{ending}").read_text() == (tmp_path / f"told{ending}").read_text()


def test_the_log_is_that_of_one_process_and_nothing_logged_is_changed(scored, tmp_path):
    task, _, run = scored
    first = append_log(task, run)
    before = first.read_bytes()
    spark_scores.score_file("churn", "data", tmp_path / "found.parquet", run)
    added, = set((run / "scores").iterdir()) - {first}
    pd.testing.assert_frame_equal(pd.read_parquet(added), pd.read_parquet(first), check_exact=True)
    assert first.read_bytes() == before


def test_pseudonyms_take_the_place_of_ids(scored, tmp_path):
    _, table, run = scored
    spark_scores.score_file("churn", "data", tmp_path / "found.parquet", run, pseudonyms=True)
    names = Pseudonyms(run)
    found = pd.read_parquet(tmp_path / "found.parquet")
    assert found["customer_id"].tolist() == [names.of(customer) for customer in table["customer_id"]] and set(found["pseudonym_key"]) == {names.key_id}


def test_a_task_that_ranks_by_likeness_is_refused(scored, tmp_path):
    with pytest.raises(UsageError, match="--engine spark scores tasks with probabilities, found alike"):
        spark_scores.score_file("alike", "data", tmp_path / "found.parquet", scored[2])
    assert not (tmp_path / "found.parquet").exists()
