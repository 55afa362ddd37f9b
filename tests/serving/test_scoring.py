"""Scores from the base and from features: the same numbers by every way, and where each customer stands."""

import numpy as np
import pandas as pd
import pytest

from features.errors import ContractError, UsageError
from serving.champions import Champion
from serving.scoring import load_base, open_base, read_info
from training.saved_model import sigmoid


def features_of(frame, i):
    """A row of the frame as a caller would send it."""
    row = frame.drop(columns=["customer_id", *(c for c in frame.columns if c.startswith("eligible_"))]).iloc[i]
    return {name: None if pd.isna(value) else value if isinstance(value, str) else float(value) for name, value in row.items()}


@pytest.mark.parametrize("task", ["churn", "conversion"])
def test_f34_by_id_and_by_features_agree_with_the_model_on_every_customer(base, frame, models, task):
    served, model = base.tasks[task], models[task]
    expected = model.probabilities(model.encode(frame))
    by_id = served.ask([(customer, None) for customer in frame["customer_id"]])
    by_features = served.ask([("x", features_of(frame, i)) for i in range(len(frame))])
    asked = frame[f"eligible_{task}"].to_numpy()
    assert (by_id.found == asked).all() and by_features.found.all() and asked.sum() == len(served.ids)
    np.testing.assert_allclose(sigmoid(by_features.log_odds), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(sigmoid(by_id.log_odds[asked]), expected[asked], rtol=0, atol=1e-12)


def test_the_served_score_is_what_mlflow_predicts(base, frame, run, registry):
    for task, served in base.tasks.items():
        with registry(run) as (mlflow, _):
            predicted = mlflow.pyfunc.load_model(f"models:/demo.{task}@champion").predict(frame)
        asked = [(customer, None) for customer in frame["customer_id"]]
        for result, probability in zip(served.results([customer for customer, _ in asked], served.ask(asked)), predicted, strict=True):
            assert not result["found"] or result["probability"] == pytest.approx(probability, abs=5.1e-7)


def test_percentile_is_the_share_of_the_base_with_at_most_this_probability(base, frame):
    served = base.tasks["churn"]
    asked = [(customer, None) for customer in served.ids]
    results = served.results([customer for customer, _ in asked], served.ask(asked))
    probabilities = sigmoid(served.log_odds)
    for result, p in zip(results, probabilities, strict=True):
        assert result["percentile"] == pytest.approx(100 * np.mean(probabilities <= p), abs=0.0501)
        assert result["score"] == round(result["percentile"])
        assert result["band"] == ("low" if p < 0.3 else "medium" if p < 0.6 else "high")
    assert max(result["percentile"] for result in results) == 100.0
    low = served.results(["x"], served.ask([("x", {"days_since_last_purchase": 0.0, "purchases_count_28d": 99.0})]))[0]
    assert low["found"] and low["percentile"] < 50


def test_who_is_not_found_and_why(base, frame):
    served = base.tasks["churn"]
    not_asked = frame.loc[~frame["eligible_churn"], "customer_id"].iloc[0]
    answers = served.ask([(not_asked, None), ("nobody", None), (not_asked, {})])
    first, second, third = served.results([not_asked, "nobody", not_asked], answers)
    assert first["why"] == "this customer is known, but churn asks about customers with a purchase in the 56 days before 2018-01-01T05:00:00Z only"
    assert second["why"] == "this customer is not in the base of 2018-01-01T05:00:00Z"
    for result in (first, second):
        assert result["found"] is False and result["as_of"] == served.as_of and result["version"] == "1"
        assert [result[name] for name in ("score", "probability", "percentile", "band")] == [None] * 4
    assert third["found"] is True and "why" not in third
    assert served.results(["nobody"], served.ask([("nobody", None)]), "zh")[0]["why"].startswith("基准日")


def test_f23_an_unknown_category_counts_as_not_known(base):
    served = base.tasks["churn"]
    answers = served.ask([("a", {"income_band": "never seen"}), ("b", {"income_band": None}), ("c", {})])
    assert len(set(answers.log_odds)) == 1 and answers.n_unknown_categories == 1


def test_only_features_of_the_asked_models_in_their_types_are_taken(base):
    tasks = list(base.tasks.values())
    base.require_features([("a", {"income_band": "75K+", "spend_sum_28d_usd": -3.0, "age_band": None}), ("b", None), ("c", {})], tasks)
    for features, says in (
        ({"made_up": 1.0}, "must name features of the models"), ({"income_band": 1.0}, "income_band must be text or null"),
        ({"spend_sum_28d_usd": "41.5"}, "spend_sum_28d_usd must be a number or null"),
        ({"purchases_count_28d": -1.0}, "count and must not be negative"),
    ):
        with pytest.raises(UsageError, match=rf"^customers\[1\]\.features.*{says}"):
            base.require_features([("a", None), ("b", features)], tasks)


def test_tasks_are_those_served_each_once(base):
    assert [task.task for task in base.require_tasks(None)] == ["churn", "conversion"]
    assert [task.task for task in base.require_tasks(["conversion", "churn", "conversion"])] == ["conversion", "churn"]
    with pytest.raises(UsageError, match="tasks must be among churn, conversion; found one that is not"):
        base.require_tasks(["churn", "../x"])


@pytest.fixture
def own(run, write_base, frame, tmp_path, models):
    """A function: changed frame -> the loaded base, with a run folder of its own."""

    def load(changed, served=("churn",)):
        write_base(tmp_path, changed)
        return load_base(tmp_path, read_info(tmp_path), {task: Champion(models[task], "7") for task in served})

    return load


@pytest.mark.parametrize(("change", "says"), [
    (lambda f: f.drop(columns="customer_id"), "needs the columns customer_id"),
    (lambda f: f.drop(columns="eligible_churn"), "needs the columns eligible_churn"),
    (lambda f: pd.concat([f, f.head(2)]), "each customer once, found 2 repeated"),
    (lambda f: f.drop(columns="age_band"), "needs the features age_band"),
    (lambda f: f.assign(eligible_churn=False), "needs customers to rank"), (lambda f: f.assign(spend_sum_28d_usd="much"), "must be numbers or text"),
])
def test_a_base_that_does_not_fit_is_refused(own, frame, change, says):
    with pytest.raises(ContractError, match=says):
        own(change(frame))


def test_a_base_may_hold_more_columns_and_customers_in_any_order(own, frame, base):
    shuffled = own(frame.sample(frac=1, random_state=1).assign(more=1))
    one = shuffled.tasks["churn"]
    asked = [(customer, None) for customer in frame["customer_id"]]
    expected = base.tasks["churn"].results([customer for customer, _ in asked], base.tasks["churn"].ask(asked))
    assert one.results([customer for customer, _ in asked], one.ask(asked)) == [{**result, "version": "7"} for result in expected]


def test_a_damaged_base_is_refused(run, own, frame, tmp_path):
    own(frame)
    table, said = tmp_path / "features" / "base.parquet", tmp_path / "features" / "base.json"
    table.write_bytes(table.read_bytes()[:500])
    with pytest.raises(ContractError, match=r"base\.parquet must be readable"):
        load_base(tmp_path, read_info(tmp_path), {})
    table.unlink()
    with pytest.raises(ContractError, match=r"needs features/base\.parquet, found none"):
        load_base(tmp_path, read_info(tmp_path), {})
    said.write_text('{"data": "demo"}')
    with pytest.raises(ContractError, match=r"base\.json must be readable, found KeyError"):
        open_base(tmp_path)
    said.unlink()
    with pytest.raises(ContractError, match=r"needs features/base\.json, found none"):
        open_base(tmp_path)
    with pytest.raises(UsageError, match="--run must name a run folder"):
        open_base(tmp_path / "nowhere")
