"""The model's inputs: attributes by their type, what is sensitive or excluded stays out, and what a model learned from them it can read again."""

from datetime import datetime

import numpy as np
import pytest

from features.errors import ContractError
from features.snapshots import features_of, snapshots
from training.backtest import best_rule
from training.recipes import FIRST_LIGHTGBM, Recipe
from training.saved_model import SavedModel, load
from training.tables import columns_of, rows_of

AS_OF = datetime(2026, 3, 31, 16)
N = 240


@pytest.fixture(scope="module")
def told(given):
    """Features and a frame of customers whose label follows from their income alone."""
    people = [
        {"customer_id": f"c{i:03}", "valid_from": "2026-01-01", "income": str(1000 * (i * 37 % N) + i % 7) if i % 5 else None, "is_member": ("yes", "no", None)[i % 3],
         "born_on": f"{1950 + i % 50}-0{1 + i % 9}-11", "city": ("Lhasa", "Wuhan", "")[i % 3], "age_band": ("young", "old")[i % 2], "note": f"says {i}"} for i in range(N)]
    dataset = given([{"customer_id": "c000", "event_at": "2026-03-01"}], customers=people, declared='sensitive = ["age_band"]\n')
    features, absent = features_of(dataset)
    assert absent["note"].startswith("values that repeat")
    frame = snapshots(dataset, [AS_OF], features).to_pyarrow().to_pandas()
    return features, frame.assign(label=(frame["income"].fillna(0) > 120_000).astype(int))


def test_attributes_are_inputs_of_their_type(told):
    features, frame = told
    columns = columns_of(features, frame, ())
    profile = {column.name: (column.unit, column.levels) for column in columns if column.family == "profile"}
    assert profile == {"income": ("number", ()), "is_member": ("yes or no", ()), "days_since_born_on": ("days", ()), "city": ("category", ("Lhasa", "Wuhan"))}
    x = rows_of(frame, columns).x
    by_name = {column.name: x[:, j] for j, column in enumerate(columns)}
    assert np.array_equal(by_name["income"], frame["income"], equal_nan=True) and np.isnan(by_name["income"]).sum() == N / 5
    assert set(by_name["is_member"][~np.isnan(by_name["is_member"])]) == {0.0, 1.0} and by_name["days_since_born_on"].min() > 365 * 26


def test_sensitive_stays_out_unless_allowed_and_excluded_stays_out(told):
    features, frame = told
    names = [column.name for column in columns_of(features, frame, ("age_band",), {"income", "city"})]
    assert "age_band" in names and not {"income", "city"} & set(names)


@pytest.mark.parametrize("kind", ["lightgbm", "logistic"])
def test_a_model_learns_from_a_number_and_reads_it_again(told, tmp_path, kind):
    features, frame = told
    columns = columns_of(features, frame, ())
    rows = rows_of(frame, columns)
    fitted = Recipe(kind, FIRST_LIGHTGBM | {"min_data_in_leaf": 20, "feature_fraction": 1.0} if kind == "lightgbm" else {"C": 1.0}).fit(rows, columns)
    model = SavedModel("made.up", {}, columns, fitted.members, fitted.weights, 1.0, 0.0, (0.3, 0.6))
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert np.allclose(again.probabilities(again.encode(frame)), model.probabilities(rows.x))
    ranks = np.argsort(np.argsort(fitted.margins(rows.x)))
    assert ranks[rows.y == 1].mean() > ranks[rows.y == 0].mean() + N / 3
    phi = np.abs(again.contributions(rows.x)[:, :-1]).mean(axis=0)
    assert columns[int(np.argmax(phi))].name == "income"


def test_a_run_that_excludes_every_rule_is_refused(rows, folds):
    from made_up import COLUMNS, TASK

    other = tuple(column for column in COLUMNS if column.name not in TASK.rules)
    with pytest.raises(ContractError, match="churn needs a rule to be judged against, found none of visits_count_28d, days_since_last_visit among the features"):
        best_rule(rows, folds, TASK, other)
