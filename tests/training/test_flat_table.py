"""`training table` at the door: from a file to table.json, a model and predictions; leaks said, copies kept together, time respected."""

import json
import sys

import numpy as np
import pandas as pd
import pytest

from training.__main__ import main
from training.leaks import suspects
from training.nested import Wishes, inner_splits, learn, outer_splits
from training.saved_model import load
from training.table import Asked, prepare
from training.tune import make_storage


def people(n=600, seed=3, **more):
    """Rows with a known law: log-odds of leaving are -1 - tenure / 20 + 2 in plan B, and one column of nothing."""
    rng = np.random.default_rng(seed)
    tenure, plan = rng.integers(0, 60, n), rng.choice(["A", "B", "C, new"], n)
    log_odds = 0.5 - tenure / 20 + 2 * (plan == "B")
    left = rng.random(n) < 1 / (1 + np.exp(-log_odds))
    return pd.DataFrame({
        "person": [f"p{i}" for i in range(n)], "tenure": np.where(rng.random(n) < 0.1, "?", tenure.astype(str)), "plan": plan, "noise": rng.normal(size=n).round(3),
        "since": [f"2025-{i % 12 + 1:02d}-{i % 28 + 1:02d}" for i in range(n)], "left": np.where(left, "Yes", "No")}).assign(**more)


def door(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["training", "table", *map(str, words)])
    main()


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """One run with a file to score that has other columns, unseen categories and blanks."""
    folder = tmp_path_factory.mktemp("table")
    people().to_csv(folder / "a.csv", index=False)
    later = people(40, seed=9, colour="red").drop(columns="left")
    later.loc[0, "plan"], later.loc[1, "plan"], later.loc[2, "tenure"], later.loc[3, "person"] = "Z", None, "many", "=1+1"
    later[later.columns[::-1]].to_csv(folder / "b.csv", index=False, sep=";")
    with pytest.MonkeyPatch.context() as patch:
        door(patch, folder / "a.csv", "--label", "left", "--id", "person", "--out", folder / "out", "--trials", 2, "--score", folder / "b.csv", "--predictions", folder / "p.csv")
    return folder, json.loads((folder / "out" / "table.json").read_text()), later


def test_the_record_holds_every_figure(done):
    _, record, _ = done
    assert (record["rows"], record["label"], record["positive"]) == (600, "left", "yes")
    assert record["positives"] == int((people()["left"] == "Yes").sum())
    assert record["columns"] == {"noise": "number", "plan": "category", "since": "date", "tenure": "number"}
    assert record["auc_interval"][0] < record["auc"] < record["auc_interval"][1]
    assert 0.7 < record["auc"] < 0.9
    assert record["auc"] > record["rule"]["auc"]
    assert record["grade"] == "better than the rule"
    assert set(record["inner_log_loss"]) == {"logistic", "lightgbm", "blend"}
    for kind in ("logistic", "lightgbm", "blend"):
        assert {"auc", "log_loss", "brier", "ece", "lift_at_10"} <= set(record[kind])
    assert record["suspected_leaks"] == {}


def test_predictions_come_in_the_order_of_their_file(done):
    folder, _, later = done
    said = pd.read_csv(folder / "p.csv")
    assert list(said) == ["person", "probability"]
    assert said["person"].tolist() == [*later["person"][:3], "'=1+1", *later["person"][4:]]
    assert said["probability"].between(0, 1).all()
    in_b = said["probability"][(later["plan"] == "B").to_numpy()].mean()
    assert in_b > said["probability"][(later["plan"] == "A").to_numpy()].mean() + 0.2


def test_what_differs_between_the_files_is_said(done):
    notes = " ".join(done[1]["notes"])
    assert "ignored: colour" in notes
    assert "tenure: 1 values of b.csv are no number" in notes


def test_the_saved_model_is_read_back_and_holds_nobody(done):
    folder, record, _ = done
    model = load(folder / "out" / "model")
    assert model.card["auc"] == record["auc"]
    assert model.task["label"] == {"column": "left", "positive": "yes", "negative": "no"}
    assert "p17" not in " ".join(path.read_text() for path in (folder / "out").rglob("*.json"))


def test_rows_and_columns_in_another_order_give_the_same(done, tmp_path, monkeypatch):
    folder, record, later = done
    shuffled = people().sample(frac=1, random_state=1)
    shuffled[shuffled.columns[::-1]].to_parquet(tmp_path / "a.parquet", index=False)
    door(monkeypatch, tmp_path / "a.parquet", "--label", "left", "--id", "person", "--out", tmp_path / "out", "--trials", 2,
         "--score", folder / "b.csv", "--predictions", tmp_path / "p.parquet")
    again = json.loads((tmp_path / "out" / "table.json").read_text())
    assert again["auc"] == record["auc"]
    said = pd.read_parquet(tmp_path / "p.parquet")
    assert said["person"].tolist() == later["person"].tolist()
    assert (said["probability"].to_numpy() == pd.read_csv(folder / "p.csv")["probability"].to_numpy()).all()


def prepared(tmp_path, frame, **asked):
    frame.to_csv(tmp_path / "t.csv", index=False)
    return prepare(Asked(tmp_path / "t.csv", "left", **asked))


def rows_of(table):
    return table.encode(np.ones(len(table.y), dtype=bool))


def test_copies_and_rows_of_one_id_are_never_parted(tmp_path):
    frame = people()
    frame["person"] = [f"p{i // 3}" for i in range(600)]
    table = prepared(tmp_path, pd.concat([frame, frame.iloc[:50].assign(person=None, left="No")]), id="person")
    assert table.copies == 100
    rows, _ = rows_of(table)
    content = pd.util.hash_pandas_object(table.inputs, index=False).to_numpy()
    for fit, held in [*outer_splits(rows, False), *inner_splits(rows, False)]:
        assert not set(rows.customers[fit]) & set(rows.customers[held])
        assert not set(content[fit]) & set(content[held])
    # Copies tie the ids of which they are copies: 600 rows of 200 ids, and nobody else.
    assert len(set(rows.customers)) == 200


def test_a_common_combination_is_no_copy(tmp_path):
    frame = people()[["plan", "left"]]
    table = prepared(tmp_path, frame)
    assert table.copies == 0
    assert len(set(table.groups)) == 600


def test_every_row_is_judged_once_and_labels_are_even(tmp_path):
    rows, _ = rows_of(prepared(tmp_path, people(1200)))
    splits = outer_splits(rows, False)
    assert (np.sum([held for _, held in splits], axis=0) == 1).all()
    rates = [rows.y[held].mean() for _, held in splits]
    assert max(rates) - min(rates) < 0.01


def test_time_is_never_turned_round(tmp_path):
    table = prepared(tmp_path, people(), time="since")
    rows, columns = rows_of(table)
    assert "since" not in [column.name for column in columns]
    (outer,) = outer_splits(rows, True)
    fitted = rows.where(outer[0])
    for these, (fit, held) in [(rows, outer), *((fitted, split) for split in inner_splits(fitted, True))]:
        assert these.as_ofs[fit].max() < these.as_ofs[held].min()
    assert rows.y[outer[1]].size == pytest.approx(150, abs=30)
    assert np.sum([held for _, held in inner_splits(fitted, True)], axis=0).max() == 1


def test_a_run_by_time_ends_well(tmp_path, monkeypatch):
    people().to_csv(tmp_path / "a.csv", index=False)
    door(monkeypatch, tmp_path / "a.csv", "--label", "left", "--id", "person", "--time", "since", "--out", tmp_path / "out", "--trials", 1)
    record = json.loads((tmp_path / "out" / "table.json").read_text())
    assert record["judged_by"] == {"kind": "time", "by": "since", "splits": 1}
    assert record["judged_rows"] < 200


def test_leaks_are_suspected(tmp_path):
    rng = np.random.default_rng(1)
    frame = people()
    left = (frame["left"] == "Yes").to_numpy()
    frame = frame.assign(
        refund=np.where(left & (rng.random(600) < 0.3), 5, 0), closed_on=np.where(left, "2026-01-05", None), risk=np.where(left, 9, 1) + rng.normal(size=600),
        left_reason=rng.choice(["a", "b"], 600))
    rows, columns = rows_of(prepared(tmp_path, frame))
    found = suspects(rows, columns, "left")
    assert set(found) >= {"refund", "risk", "left_reason"}
    assert any(name.startswith("closed_on") for name in found)
    assert not set(found) & {"tenure", "plan", "noise", "person", "since"}
    assert "AUC" in found["risk"]
    assert "same label" in found["refund"]
    assert "name" in found["left_reason"]


def test_a_suspected_leak_is_said_aloud_and_may_be_left_out(tmp_path, monkeypatch, capsys):
    frame = people()
    frame["verdict"] = np.where(frame["left"] == "Yes", "out", "in")
    frame.to_csv(tmp_path / "a.csv", index=False)
    door(monkeypatch, tmp_path / "a.csv", "--label", "left", "--out", tmp_path / "out", "--trials", 1)
    said = capsys.readouterr()
    assert "suspected leak verdict" in said.err
    assert "do not believe" in said.out
    table = prepare(Asked(tmp_path / "a.csv", "left", drop=["verdict"]))
    assert table.dropped["verdict"] == "left out as asked"
    assert "verdict" not in table.inputs.columns


def test_shuffled_labels_teach_nothing(tmp_path, monkeypatch):
    frame = people(1500)
    frame["left"] = frame["left"].sample(frac=1, random_state=2).to_numpy()
    frame.to_csv(tmp_path / "a.csv", index=False)
    door(monkeypatch, tmp_path / "a.csv", "--label", "left", "--out", tmp_path / "out", "--trials", 1)
    record = json.loads((tmp_path / "out" / "table.json").read_text())
    assert abs(record["auc"] - 0.5) < 0.06
    assert record["grade"] == "no better than the rule"


def test_under_500_rows_a_warning(tmp_path):
    assert "only 300 rows" in prepared(tmp_path, people(300)).warnings[0]


def test_rows_without_a_label_are_left_out_and_counted(tmp_path):
    frame = people()
    frame.loc[:9, "left"] = None
    table = prepared(tmp_path, frame)
    assert len(table.y) == 590
    assert "10 rows without a label" in table.warnings[0]


BAD = {
    "no such label": (people(), ["--label", "lfet"], "--label must name a column"),
    "no such id": (people(), ["--id", "who"], "--id must name a column"),
    "three values": (people(left=["a", "b", "c"] * 200), [], "needs just two values, found 3"),
    "one value": (people(left="Yes"), [], "found 1"),
    "few positives": (people(left=["yes"] * 5 + ["no"] * 595), [], "TOO_FEW_LABELS.*found 5"),
    "a time that is none": (people(since="soon"), ["--time", "since"], "--time needs a date"),
    "a time without day and month": (people(since=["01/02/2026", "03/04/2026"] * 300), ["--time", "since"], "told apart"),
    "labels of one time": (
        people(since=["2026-01-01"] * 440 + ["2026-02-01"] * 160, left=["yes", "no"] * 220 + ["no"] * 160), ["--time", "since"], "TOO_FEW_LABELS.*latest quarter"),
    "all of one time": (people(since="2026-01-01"), ["--time", "since"], "TOO_FEW_LABELS.*before"),
    "nothing to learn from": (people()[["person", "left"]], [], "at least one column"),
    "label as id": (people(), ["--id", "left"], "different columns"),
    "no trials": (people(), ["--trials", "0"], "TRIALS"),
    "score without predictions": (people(), ["--score", "b.csv"], "go together"),
    "predictions of no kind": (people(), ["--score", "b.csv", "--predictions", "p.txt"], "must end in"),
    "no time": (people(), ["--seconds", "0"], "--seconds must be more"),
    "a category that rises": (people(), ["--increasing", "plan"], r"--increasing and --decreasing.*plan \(category\)"),
    "rises and falls": (people(), ["--increasing", "tenure", "--decreasing", "tenure"], "different columns"),
    "columns missing": (people(), ["--score", "few.csv", "--predictions", "p.csv"], "MISSING_COLUMN.*plan"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message_before_anything_is_written(case, tmp_path, monkeypatch):
    from features.errors import LikenessError

    frame, words, message = BAD[case]
    monkeypatch.chdir(tmp_path)
    frame.to_csv("a.csv", index=False)
    people()[["person", "tenure", "noise", "since"]].to_csv("few.csv", index=False)
    with pytest.raises(LikenessError, match=message):
        door(monkeypatch, "a.csv", *([] if "--label" in words else ["--label", "left"]), *words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "few.csv"]


def learned(tmp_path, wishes, frame=None):
    table = prepared(tmp_path, people(1500) if frame is None else frame)
    rows, columns = table.encode(np.ones(len(table.y), dtype=bool))
    trials = []
    made = learn(rows, columns, False, wishes, make_storage(tmp_path / "optuna.db"), "t", lambda: trials.append(1))
    return made, rows, [column.name for column in columns], len(trials)


@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_declared_to_rise_never_falls(tmp_path, sign):
    made, rows, names, _ = learned(tmp_path, Wishes(2, monotone={"noise": sign}))
    x = np.repeat(rows.x[:50], 40, axis=0)
    x[:, names.index("noise")] = np.tile(np.linspace(-3, 3, 40), 50)
    steps = np.diff(made.probabilities(made.winner, x).reshape(50, 40), axis=1) * sign
    assert steps.min() >= -1e-12
    assert made.params["lightgbm"]["monotone"] == {"noise": sign}


def test_a_declaration_against_the_data_leaves_the_linear_part_out(tmp_path):
    """The longer a customer, the less likely to leave; declared to rise, a logistic regression would fall all the same."""
    (tmp_path / "free").mkdir()
    free, _, names, _ = learned(tmp_path / "free", Wishes(1))
    member = free.fitted["logistic"].members[0]
    against = -int(np.sign(member.weights[names.index("tenure")]))
    assert learned(tmp_path, Wishes(1, monotone={"tenure": against}))[0].winner == "lightgbm"


def test_no_trial_begins_after_the_time(tmp_path):
    assert learned(tmp_path, Wishes(30, seconds=1e-6))[3] == 2


@pytest.mark.slow
def test_telco_churn_is_judged_honestly(need, tmp_path, monkeypatch):
    folder = need("../shared/data/telco_churn", "put the IBM Telco table there")
    door(monkeypatch, next(folder.glob("*.csv.zst")), "--label", "Churn", "--id", "customerID", "--out", tmp_path / "out")
    record = json.loads((tmp_path / "out" / "table.json").read_text())
    low, high = record["auc_interval"]
    assert low < 0.855
    assert high > 0.84
    assert 0.84 < record["auc"] < 0.87
    assert record["suspected_leaks"] == {}
    assert record["ece"] < 0.02
    assert record["columns"]["TotalCharges"] == "number"
