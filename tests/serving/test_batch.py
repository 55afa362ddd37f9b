"""The batch door: the same numbers as the endpoints, files that are safe to open, a log that only grows."""

import json
import subprocess
import sys
import time
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from features.errors import ContractError, UsageError, run_door
from serving import batch
from serving.__main__ import main
from serving.champions import Champion
from serving.scoring import load_base, read_info
from training.members import LinearMember
from training.saved_model import Column, SavedModel


@pytest.fixture
def own(frame, write_base, models, tmp_path):
    """A run folder of one's own with a base, and the base opened without a registry."""
    write_base(tmp_path / "out", frame)
    served = {task: Champion(model, "1") for task, model in models.items()}
    return tmp_path / "out", load_base(tmp_path / "out", read_info(tmp_path / "out"), served)


def test_the_base_is_scored_as_the_endpoints_score_it(own, client):
    run, base = own
    for task, table in batch.log_all(base, run).items():
        asked = [{"customer_id": customer} for customer in table["customer_id"]]
        served = client.post("/v1/score", json={"tasks": [task], "customers": asked}).json()["results"]
        assert table.to_dict("records") == [{name: result[name] for name in table.columns} for result in served]
        assert table["probability"].is_monotonic_decreasing and len(table) == len(base.tasks[task].ids)


def test_reasons_are_those_that_explain_gives(own, client):
    table = batch.with_reasons(own[1].tasks["churn"])
    asked = [{"customer_id": customer} for customer in table["customer_id"]]
    said = client.post("/v1/explain", json={"tasks": ["churn"], "customers": asked, "top": 3}).json()["results"]
    for row, result in zip(table[["reason_1", "reason_2", "reason_3"]].to_numpy(), said, strict=True):
        assert [cell for cell in row if cell] == [r["sentence"] for r in result["reasons"] if r["feature"] not in ("other", "not_shown")]


def test_a_log_is_written_once_and_never_changed(own, frame, write_base, models):
    run, base = own
    first = batch.append_log(base.tasks["churn"], run)
    assert first == run / "scores" / "demo.churn.v1.2018-01-01.parquet"
    said = pq.read_table(first).to_pandas()
    assert list(said.columns) == ["customer_id", "task", "model", "version", "as_of", "probability", "band"]
    assert set(said["as_of"]) == {datetime(2018, 1, 1, 5)} and set(said["task"]) == {"churn"} and len(said) == 240
    before = (first.stat().st_mtime_ns, first.read_bytes())
    assert batch.append_log(base.tasks["churn"], run) == first
    write_base(run, frame.head(100))
    other = load_base(run, read_info(run), {"churn": Champion(models["churn"], "1")})
    second = batch.append_log(other.tasks["churn"], run)
    assert second.name == "demo.churn.v1.2018-01-01.2.parquet" and pq.read_table(second).num_rows == 80
    assert batch.append_log(other.tasks["churn"], run) == second and batch.append_log(base.tasks["churn"], run) == first
    assert (first.stat().st_mtime_ns, first.read_bytes()) == before
    assert sorted(path.name for path in (run / "scores").iterdir()) == [first.name.replace(".parquet", ".2.parquet"), first.name]


def test_score_base_serves_the_champions_of_a_run(run, frame):
    tables = batch.score_base(run)
    assert {task: len(table) for task, table in tables.items()} == {task: int(frame[f"eligible_{task}"].sum()) for task in ("churn", "conversion")}
    assert {path.name for path in (run / "scores").iterdir()} == {"demo.churn.v1.2018-01-01.parquet", "demo.conversion.v1.2018-01-01.parquet"}


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "＝1+1", "＋1", "－1", "＠x"])
def test_f39_a_text_that_a_spreadsheet_would_run_is_shown_instead(own, frame, write_base, models, tmp_path, cell):
    frame = frame.iloc[10:]
    write_base(own[0], frame.assign(customer_id=[cell, *frame["customer_id"][1:]]))
    base = load_base(own[0], read_info(own[0]), {"churn": Champion(models["churn"], "1")})
    table = batch.with_reasons(base.tasks["churn"])
    batch.write_table(table, tmp_path / "scores.csv")
    read = pd.read_csv(tmp_path / "scores.csv", dtype=str, keep_default_na=False, lineterminator="\n")
    assert f"'{cell}" in set(read["customer_id"]) and cell not in set(read["customer_id"])
    assert list(read["probability"].astype(float)) == list(table["probability"])
    batch.write_table(table, tmp_path / "scores.parquet")
    assert pd.read_parquet(tmp_path / "scores.parquet").equals(table) and cell in set(table["customer_id"])


# --- from raw tables: a small shop with a champion on features that it has

EVENTS = [{"customer_id": f"c{i}", "event_at": f"2026-0{1 + i % 3}-{day:02d} 10:00:00", "amount": 10 + i} for i in range(30) for day in (3, 9,
    20 + i % 9)]


@pytest.fixture(scope="module")
def shop(folder_of, register, tmp_path_factory):
    """A data folder, and a run folder with a champion for its churn task."""
    data, run = folder_of(EVENTS), tmp_path_factory.mktemp("shop") / "out"
    run.mkdir()
    name = f"{data.name}.churn"
    columns = tuple(Column(n, "behaviour", "purchases", f"purchases in {n}", n) for n in ("purchases_count_28d", "purchases_count_56d"))
    member = LinearMember(0.0, np.array([-0.5, -0.2]), np.zeros(2), np.array([0.4, 0.6]), {})
    model = SavedModel(name, {"kind": "churn"}, columns, (member,), (1.0,), 1.0, 0.0, (0.3, 0.4),
        {"quantiles": {n.name: [0.0, 1.0, 3.0] for n in columns}})
    register(run, model, run.parent / "scratch")
    return data, run, model


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_score_goes_from_raw_tables_to_a_file_and_a_new_base(shop, tmp_path, ending):
    data, run, model = shop
    path = tmp_path / f"scores.{ending}"
    table = batch.score("churn", str(data), path, run)
    read = pd.read_csv(path, dtype={"version": str}, keep_default_na=False) if ending == "csv" else pd.read_parquet(path)
    pd.testing.assert_frame_equal(read, table, check_dtype=False)
    assert list(table.columns) == ["customer_id", "score", "probability", "percentile", "band", "as_of", "model", "version", "reason_1", "reason_2",
        "reason_3"]
    base = pd.read_parquet(run / "features" / "base.parquet").set_index("customer_id")
    assert set(table["customer_id"]) == set(base.index[base["eligible_churn"]]) and 0 < len(table) < 30
    expected = model.probabilities(model.encode(base.loc[table["customer_id"]]))
    np.testing.assert_allclose(table["probability"], expected, atol=5.1e-7)
    assert json.loads((run / "features" / "base.json").read_text())["as_of"] == table["as_of"].iloc[0]
    assert len(list((run / "scores").glob("*.parquet"))) == 1


@pytest.mark.parametrize(("task", "data", "out", "run", "error", "says"), [
    ("churn", None, "x.xlsx", None, UsageError, r"--out must end in \.parquet or \.csv"),
    ("churn", None, "x.csv", "nowhere", UsageError, "--run must name a run folder"),
    ("churn", "nothing", "x.csv", None, UsageError, "DATA must be one of"), ("sales", None, "x.csv", None, UsageError, "TASK must be one of churn"),
    ("churn", None, "x.csv", "empty", UsageError, r"mlflow\.db, found none"),
])
def test_what_cannot_be_scored_is_refused_in_one_line_and_nothing_is_written(shop, tmp_path, task, data, out, run, error, says):
    (tmp_path / "empty").mkdir()
    with pytest.raises(error, match=says):
        batch.score(task, data or str(shop[0]), tmp_path / out, tmp_path / run if run else shop[1])
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_data_that_lack_a_feature_of_the_model_are_refused_before_the_base_is_touched(shop, folder_of, register, models, tmp_path):
    data = folder_of(EVENTS)
    model = SavedModel(**{**models["churn"].__dict__, "name": f"{data.name}.churn"})
    (tmp_path / "out").mkdir()
    register(tmp_path / "out", model, tmp_path)
    with pytest.raises(ContractError, match=r"churn version 1 needs features that .* lacks: spend_sum_28d_usd.*; bring those data"):
        batch.score("churn", str(data), tmp_path / "x.csv", tmp_path / "out")
    assert not (tmp_path / "out" / "features").exists()


# --- the door

@pytest.fixture
def door(monkeypatch, capsys):
    """A function: arguments -> (exit code, standard output, standard error)."""

    def called(*arguments):
        monkeypatch.setattr(sys, "argv", ["serving", *map(str, arguments)])
        code = 0
        try:
            run_door(main)
        except SystemExit as error:
            code = error.code
        return code, *capsys.readouterr()

    return called


def test_the_door_scores(door, shop, tmp_path):
    code, out, _ = door("score", "churn", "--data", shop[0], "--out", tmp_path / "x.csv", "--run", shop[1])
    assert code == 0 and "customers scored as of 2026-" in out and str(tmp_path / "x.csv") in out


def test_the_door_says_in_one_line_what_is_wrong(door, tmp_path):
    code, out, err = door("score", "churn", "--data", "nothing", "--out", tmp_path / "x.csv", "--run", tmp_path)
    assert code == 2 and out == "" and err.startswith("error: DATA must be one of") and err.count("\n") == 1


def test_publish_scores_reports_and_says_what_to_type_next(door, run, monkeypatch):
    import types

    asked = []
    monkeypatch.setitem(sys.modules, "serving.report", types.SimpleNamespace(write_reports=lambda *given: asked.append(given) or []))
    code, out, _ = door("publish", "--run", run)
    assert code == 0 and asked == [(run, run / "reports", ("en", "zh"))]
    assert f"make serve OUT={run}" in out and "curl -s http://127.0.0.1:3000/v1/explain" in out and "-d '{\"customers\": [{\"customer_id\": " in out
    assert "churn: 240 customers scored" in out
    assert door("report", "--out", "x", "--lang", "zh", "--run", run)[0] == 0 and str(asked[1]) == str((run, type(run)("x"), ["zh"]))


@pytest.mark.parametrize("command", [[], ["score"], ["serve"], ["report"], ["publish"]])
def test_help_answers_at_once_with_an_example(command):
    begin = time.perf_counter()
    said = subprocess.run([sys.executable, "-m", "serving", *command, "--help"], capture_output=True, text=True, check=True)
    assert time.perf_counter() - begin < 1 and (not command or "example: python -m serving" in said.stdout)
