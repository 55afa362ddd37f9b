"""Spark: refused with a next step where it cannot run; the same numbers as DuckDB's where it does, by separate worker processes."""

import os
import sys
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from hypothesis import given as given_values
from hypothesis import settings
from hypothesis import strategies as st

from features import spark
from features.__main__ import main
from features.base import write_base
from features.contracts import hold
from features.engine import write_table
from features.errors import UsageError, run_door
from features.identity import persons
from features.journeys.sessions import attribute_at
from features.journeys.tables import Asked, journeys
from features.segments.tables import segments
from features.shop.simulate import simulate
from features.snapshots import _asked, features_of, snapshots
from features.sources import open_dataset
from features.tags.declared import DEFAULT, read_tags
from features.tags.evaluate import plan, statements, tagged
from features.tags.told import coverage, pairs
from serving.batch import with_reasons
from serving.champions import Champion
from serving.scoring import load_base, read_info
from serving.spark_scores import ranks_in, score_on_spark
from serving.withheld import Withheld, withhold
from training.members import BoosterMember, lightgbm
from training.reference import averages_of
from training.saved_model import Column, SavedModel

AS_OFS = [datetime(2024, 6, 1), datetime(2024, 8, 1)]


def java_that_says(folder: Path, version: str) -> str:
    """A JAVA_HOME whose java names its version and does nothing."""
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2026-01-01' >&2\n")
    java.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize("words", [("build", "no-such-data", "--as-of", "2026-01-01", "--out", "x.parquet"), ("tags", "no-such-data"), ("segments", "no-such-data"),
                                   ("journeys", "no-such-data")])
def test_without_java_the_doors_refuse_before_they_read(monkeypatch, capsys, tmp_path, words):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["features", *words, "--engine", "spark"])
    with pytest.raises(SystemExit) as stopped:
        run_door(main)
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: NO_JAVA: --engine spark needs Java 17 or 21, found none in JAVA_HOME") and "apt-get install openjdk-17-jre-headless" in said


def test_what_spark_lacks_is_named_with_the_next_step(monkeypatch, tmp_path):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="found no java on the PATH and no JAVA_HOME; .*openjdk-17"):
        spark.require_spark()
    monkeypatch.setenv("JAVA_HOME", java_that_says(tmp_path / "newer", "25.0.1"))
    with pytest.raises(UsageError, match="needs Java 17 or 21, found 25.0.1 in .*openjdk-17"):
        spark.require_spark()
    monkeypatch.setenv("JAVA_HOME", java_that_says(tmp_path / "right", "17.0.15"))
    spark.require_spark()
    monkeypatch.setattr(spark, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs the package pyspark, found none; install requirements-extra.lock"):
        spark.require_spark()


def test_the_master_is_that_of_the_environment_else_of_the_defaults(monkeypatch, tmp_path):
    for name in ("SPARK_MASTER", "SPARK_HOME", "SPARK_CONF_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert spark._master() == ""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "spark-defaults.conf").write_text("# spark.master local\nspark.master  spark://boss:7077\n")
    monkeypatch.setenv("SPARK_HOME", str(tmp_path))
    assert spark._master() == "spark://boss:7077"
    monkeypatch.setenv("SPARK_MASTER", "yarn")
    assert spark._master() == "yarn"


def test_a_part_in_any_order_has_the_features_of_the_whole(given):
    rows = [{"customer_id": who, "event_at": f"2026-02-{day:02d} 10:00:00", "amount": day, "channel": ("web", "app")[day % 2]}
            for who in ("ann", "bo", "cy") for day in (1, 5, 9, 20)]
    dataset = given([*rows, {**rows[3], "channel": "app"}], customers=[{"customer_id": "ann", "valid_from": "2026-01-01", "city": "x"}])
    features, as_ofs = features_of(dataset)[0], [datetime(2026, 2, 10), datetime(2026, 3, 1)]
    past, portray = _asked(dataset, as_ofs, features, None)
    cells, events = past.cells.to_pyarrow(), past.events.to_pyarrow()
    found = spark._portrayed(portray, cells.take(list(range(len(cells)))[::-1]), events.take(list(range(len(events)))[::-1]))
    assert found.sort_by([("customer_id", "ascending"), ("as_of", "ascending")]).equals(snapshots(dataset, as_ofs, features).to_pyarrow())
    # Of nobody, the columns have the same types.
    assert spark._portrayed(portray, cells.slice(0, 0), events.slice(0, 0)).schema.equals(found.schema)


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    """Eighty persons of a simulated shop, with all identifiers and links of theirs."""
    folder = simulate(tmp_path_factory.mktemp("simulated") / "shop", 1000, 9, 3)
    small = tmp_path_factory.mktemp("small")
    whose = pa.dataset.dataset(folder / "truth" / "identifiers").to_table(filter=pa.dataset.field("person") < 80)["identifier"]
    for name in ("events", "customers", "aliases"):
        pq.write_table(pa.dataset.dataset(folder / name).to_table(filter=pa.dataset.field("customer_id").isin(whose)), small / f"{name}.parquet")
    for name in ("items.parquet", "campaigns.parquet", "dataset.toml"):
        (small / name).write_bytes((folder / name).read_bytes())
    return small


@pytest.fixture(scope="module")
def both(shop, tmp_path_factory):
    """The same dataset on DuckDB and on Spark's own worker processes."""
    try:
        spark.require_spark()
    except UsageError as error:
        if os.environ.get("CI") == "1":
            raise
        pytest.skip(str(error))
    # Little data: what is compiled for it takes longer than what it does.
    conf = tmp_path_factory.mktemp("conf")
    options = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
    (conf / "spark-defaults.conf").write_text(
        f"spark.sql.codegen.wholeStage false\nspark.sql.codegen.factoryMode NO_CODEGEN\nspark.driver.extraJavaOptions {options}\nspark.executor.extraJavaOptions {options}\n")
    with pytest.MonkeyPatch.context() as set_by:
        set_by.setenv("SPARK_CONF_DIR", str(conf))
        for name in ("SPARK_MASTER", "SPARK_HOME"):
            set_by.delenv(name, raising=False)
        yield from _both(shop)


def _both(shop):
    on_duckdb, moving = hold(open_dataset(str(shop)))[0], hold(open_dataset(str(shop)))[0]
    with spark.on_spark(moving) as on_spark:
        yield on_duckdb, on_spark


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # pyspark's own
def test_features_of_workers_are_those_of_the_process(both, tmp_path):
    on_duckdb, on_spark = both
    # Separate processes, or nothing that must be sent to a worker would be missed.
    assert on_spark.engine._session.sparkContext.master.startswith("local-cluster[2,")
    joined = [persons(dataset, AS_OFS).order_by(["identifier", "as_of"]).to_pyarrow() for dataset in both]
    assert joined[0].to_pylist() == joined[1].to_pylist() and len(joined[0]) > 100
    features, absent = features_of(on_duckdb)
    assert (features, absent) == features_of(on_spark)
    for name, dataset in (("duckdb", on_duckdb), ("spark", on_spark)):
        write_table(snapshots(dataset, AS_OFS, features), tmp_path / f"{name}.parquet")
    told, found = pq.read_table(tmp_path / "duckdb.parquet"), pq.read_table(tmp_path / "spark.parquet")
    assert found.schema.equals(told.schema) and len(told) > 60
    assert [name for name in told.column_names if not found[name].equals(told[name])] == []


def assert_equal(told: pd.DataFrame, found: pd.DataFrame, order: list[str] | None = None) -> None:
    """Exactly the same but for the last digits of what is no whole number; rows in an order of their own where one is given."""
    told, found = (frame.sort_values(order, ignore_index=True) if order else frame for frame in (told, found))
    pd.testing.assert_frame_equal(told, found, check_dtype=False, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_journeys_counted_by_workers_are_those_of_the_process(both):
    asked = Asked(AS_OFS[-1], 90, compare=("app", "web"), orders=(1, 2), with_treatments=True)
    told, found = (journeys(dataset, asked, attribute_at(dataset, "signup_channel", asked.as_of)) for dataset in both)
    assert (found.notes, found.unavailable, list(found.tables)) == (told.notes, told.unavailable, list(told.tables))
    assert {"funnel", "times", "transitions", "step_matrix", "paths", "attribution", "compared_transitions"} <= {name for name, table in told.tables.items() if len(table)}
    for name, table in told.tables.items():
        assert_equal(table, found.tables[name])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_tags_held_by_workers_are_those_of_the_process(both):
    tables = []
    for dataset in both:
        planned = plan(dataset, read_tags(DEFAULT, dataset.currency), {})
        table = tagged(dataset, planned, AS_OFS[-1:])
        tables.append((statements(table, planned).to_pyarrow().to_pandas(), coverage(table, planned), pairs(table, planned, AS_OFS[-1])))
    (told, *summed), (found, *summed_found) = tables
    assert len(told) > 100
    assert_equal(told, found, ["customer_id", "tag"])
    for one, other in zip(summed, summed_found, strict=True):
        assert_equal(one, other)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_segments_of_workers_are_those_of_the_process(both):
    told, found = (segments(dataset, AS_OFS) for dataset in both)
    assert {"segments", "effects", "rfm_grid", "migration", "cohorts"} <= set(told.tables) and len(told.members) > 60
    assert (found.told, found.notes, found.unavailable, list(found.tables)) == (told.told, told.notes, told.unavailable, list(told.tables))
    assert_equal(told.members, found.members)
    for name, table in told.tables.items():
        assert_equal(table, found.tables[name])


def booster(frame: pd.DataFrame, task) -> SavedModel:
    """A model of some of these features that learned nothing in particular, with categories, averages and bands."""
    names = [name for name in frame.columns if name not in ("customer_id", "may_contact") and not name.startswith("eligible_")]
    kinds = {name: frame[name].dtype.kind in "iufb" for name in names[::8]}
    columns = tuple(Column(name, "behaviour", "", name, name, is_category=not is_number, levels=() if is_number else tuple(sorted(frame[name].dropna().unique())[:5]))
                    for name, is_number in kinds.items())
    blank = SavedModel("demo.churn", asdict(task), columns, (), (), 0.9, -0.2, (0.3, 0.6))
    x = blank.encode(frame)
    y = np.random.default_rng(1).random(len(x)) < 0.5
    library = lightgbm()
    how = {"objective": "binary", "num_leaves": 7, "min_data_in_leaf": 3, "min_data_in_bin": 1, "num_threads": 1, "seed": 1, "verbose": -1}
    member = BoosterMember(library.train(how, library.Dataset(x, y.astype(int), params={"verbose": -1}), 30).model_to_string())
    return replace(blank, members=(member,), weights=(1.0,), reference=averages_of(columns, x, {"all": np.ones(len(x), dtype=bool)}))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_scores_of_workers_are_those_of_the_process(both, tmp_path, monkeypatch):
    on_duckdb, on_spark = both
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    task = next(one for one in on_duckdb.tasks if one.kind == "churn")
    write_base(on_duckdb, tmp_path)
    frame = pd.read_parquet(tmp_path / "features" / "base.parquet")
    withhold(tmp_path, [frame.loc[frame[f"eligible_{task.name}"], "customer_id"].iloc[0]])
    model = booster(frame, task)
    base = load_base(tmp_path, read_info(tmp_path), {task.name: Champion(model, "3")})
    told = with_reasons(base.tasks[task.name])
    scored = score_on_spark(on_spark, task, model, "3", Withheld(tmp_path).now())
    assert list(here.iterdir()) == []  # the code that is sent stands in the session's own folder
    assert scored.n == len(told) > 20 and told["probability"].nunique() > 10 and (told["reason_3"] != "").any()
    pd.testing.assert_frame_equal(scored.told().read_all().to_pandas(), told, check_dtype=False, check_exact=True)
    logged = scored.logged().read_all().to_pandas()
    pd.testing.assert_frame_equal(logged, told.sort_values("customer_id", ignore_index=True)[list(logged)], check_dtype=False, check_exact=True)


@given_values(st.lists(st.sampled_from([round(i / 97, 3) for i in range(98)]), min_size=1, max_size=3000))
@settings(max_examples=50, deadline=None)
def test_ranks_by_steps_are_those_by_counting(values):
    probabilities = np.array(values)
    ordered = np.sort(probabilities)
    counted = (100.0 * ordered.searchsorted(probabilities, side="right") / len(ordered)).round(1)
    ranks = ranks_in(probabilities)
    assert (ranks.of(probabilities) == counted).all() and len(ranks.edges) <= 1001


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_door_typed_with_spark_writes_what_it_writes_with_duckdb(both, shop, features_door, monkeypatch, tmp_path):
    """The last of this file: its tables take the place of the others. The session is the same and goes on: to start another takes longer than all that is asked."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    monkeypatch.setattr(SparkSession, "stop", lambda session: None)
    monkeypatch.setattr(SparkContext, "addPyFile", lambda context, path: None)
    for engine in ("duckdb", "spark"):
        code, out, err = features_door("tags", shop, "--as-of", "2024-08-01", "--engine", engine, "--out", tmp_path / engine)
        assert (code, "written" in out) == (0, True), err
    assert {path.name for path in (tmp_path / "spark").iterdir()} == {path.name for path in (tmp_path / "duckdb").iterdir()} >= {"tags.parquet", "coverage.parquet"}
    for path in (tmp_path / "duckdb").glob("*.parquet"):
        told, found = (pd.read_parquet(tmp_path / engine / path.name) for engine in ("duckdb", "spark"))
        assert len(told) > 5
        assert_equal(told, found)
