"""Reasons: amounts that add up to the served number, sensitive features unnamed, sentences that a person can read."""

import numpy as np
import pytest

from serving.reasons import effect, explain, reasons, target, top_sentences
from serving.words import Voice
from training.saved_model import sigmoid


@pytest.fixture(params=["churn", "conversion"])
def told(request, base):
    """A task, everybody's answers, and their explanations with three features named."""
    task = base.tasks[request.param]
    answers = task.ask([(customer, None) for customer in task.ids])
    return task, answers, explain(task.model, answers, "en", 3)


def test_base_and_contributions_add_up_to_the_served_log_odds(told):
    task, answers, said = told
    for result, log_odds in zip(said, task.log_odds, strict=True):
        assert result["log_odds"] == log_odds
        assert result["base_log_odds"] + sum(reason["contribution"] for reason in result["reasons"]) == pytest.approx(log_odds, rel=0, abs=1e-9)
    results = task.results(task.ids, answers)
    assert [round(float(sigmoid(np.array(r["log_odds"]))), 6) for r in said] == [r["probability"] for r in results]


def test_contributions_of_the_booster_are_those_of_the_shap_package(base):
    import shap

    task = base.tasks["churn"]
    explainer = shap.TreeExplainer(task.model.members[0]._booster, feature_perturbation="tree_path_dependent")
    expected = np.asarray(explainer.shap_values(task.x)) * task.model.slope
    said = explain(task.model, task.ask([(customer, None) for customer in task.ids]), "en", 100)
    place = {column.name: i for i, column in enumerate(task.model.columns)}
    for result, row in zip(said, expected, strict=True):
        named = {reason["feature"]: reason["contribution"] for reason in result["reasons"]}
        assert named.pop("not_shown") == pytest.approx(row[place["age_band"]], abs=1e-9)
        assert named.pop("other") == 0
        for feature, contribution in named.items():
            assert contribution == pytest.approx(row[place[feature]], abs=1e-9)
        assert len(named) == np.count_nonzero(np.abs(np.delete(row, place["age_band"])) > 1e-12)
    assert said[0]["base_log_odds"] == pytest.approx(float(np.ravel(explainer.expected_value)[0]) * task.model.slope + task.model.intercept, abs=1e-9)


def test_the_strongest_come_first_then_what_is_not_shown_then_the_rest(told):
    task, answers, said = told
    for result, x in zip(said, answers.x, strict=True):
        names = [reason["feature"] for reason in result["reasons"]]
        assert names[-2:] == ["not_shown", "other"] and len(names) <= 5
        amounts = [abs(reason["contribution"]) for reason in result["reasons"][:-2]]
        assert amounts == sorted(amounts, reverse=True) and 0 not in amounts
        phi = task.model.contributions(x[None, :])[0]
        left = [abs(phi[task.column_of[c.name]]) for c in task.model.columns if c.name not in names and not c.is_sensitive]
        assert max(left, default=0) <= min(amounts)


def test_a_sensitive_feature_is_never_named_valued_or_averaged(told):
    for result in told[2]:
        assert "age" not in str(result).replace("average", "") and "年龄" not in str(result)
        hidden = next(reason for reason in result["reasons"] if reason["feature"] == "not_shown")
        assert hidden["value"] is None and hidden["average"] is None


def test_what_adds_nothing_is_no_reason(models):
    said = reasons(models["churn"], np.zeros(6), np.array([0.0, -0.2, 0.0, 0.1, 0.0, 0.3]), 0.0, "en", 5)
    assert [(reason["feature"], reason["contribution"]) for reason in said] == [
        ("days_since_last_purchase", -0.2), ("discount_share_28d", 0.1), ("not_shown", 0.3), ("other", 0.0)]


def test_values_and_averages_are_the_customers_and_everybodys(base, frame):
    task = base.tasks["churn"]
    customer = task.ids[10]
    row = frame.set_index("customer_id").loc[customer]
    by_name = {reason["feature"]: reason for reason in explain(task.model, task.ask([(customer, None)]), "en", 100)[0]["reasons"]}
    assert by_name["purchases_count_28d"]["value"] == row["purchases_count_28d"]
    assert by_name["purchases_count_28d"]["average"] == task.model.reference["averages"]["purchases_count_28d"]["all"]
    unknown = task.ask([("x", {"income_band": "never seen"})])
    values = {reason["feature"]: reason["value"] for reason in explain(task.model, unknown, "en", 100)[0]["reasons"]}
    assert set(values.values()) == {None}


def test_nobody_found_has_no_reasons(base):
    task = base.tasks["churn"]
    said = explain(task.model, task.ask([("nobody", None), (task.ids[0], None)]))
    assert said[0] == {"base_log_odds": None, "log_odds": None, "reasons": [], "families": []} and said[1]["reasons"]
    assert explain(task.model, task.ask([])) == [] and explain(task.model, task.ask([("nobody", None)]))[0]["reasons"] == []


@pytest.mark.parametrize(("value", "unit", "en", "zh"), [
    (1234.5, "USD", "1,234.50 USD", "1,234.50 美元"), (1234.5, "JPY", "1,234 JPY", "1,234 日元"), (0.314, "share", "31%", "31%"),
    (0.031, "share", "3.1%", "3.1%"),
    (0.0, "share", "0%", "0%"), (1.0, "days", "1 day", "1 天"), (12.34, "days", "12 days", "12 天"), (2.04, "days", "2 days", "2 天"),
    (2.5, "days", "2.5 days", "2.5 天"),
    (-0.04, "days", "0 days", "0 天"), (2.0, "purchases", "2", "2"), (12345.0, "lines", "12,345", "12,345"), (0.126, "ratio", "0.13", "0.13"),
    (None, "USD", "not known", "未知"), ("75K+", "category", "75K+", "75K+"),
])
def test_values_are_written_as_a_person_would(value, unit, en, zh):
    assert tuple(Voice(language).shown(value, unit) for language in ("en", "zh")) == (en, zh)


def test_averages_of_counts_have_one_decimal():
    assert Voice("en").shown(6.14, "purchases", is_average=True) == "6.1"


def test_directions_speak_of_what_the_task_predicts(models):
    churn, conversion = models["churn"], models["conversion"]
    assert [effect(churn, amount) for amount in (0.1, -0.1, 0.0)] == [
        "raises the risk of leaving", "lowers the risk of leaving", "does not change the risk of leaving"]
    assert effect(conversion, 0.1) == "raises the chance to redeem a coupon" and effect(conversion, -1, "zh") == "降低核销优惠券的可能性"
    conversion = type(conversion)(**{**conversion.__dict__, "task": {"kind": "conversion", "target_kind": "purchase"}})
    assert target(conversion) == "the chance to buy" and target(conversion, "zh") == "购买的可能性"
    other = type(conversion)(**{**conversion.__dict__, "task": {"kind": "conversion", "target_kind": "app_visit"}})
    assert target(other) == "the chance to have at least one app visit"


def test_sentences_read_whole_in_both_languages(base):
    task = base.tasks["conversion"]
    answers = task.ask([("x", {"purchases_count_28d": 2.0})])
    said = {language: {r["feature"]: r["sentence"] for r in explain(task.model, answers, language, 100)[0]["reasons"]} for language in ("en", "zh")}
    average = Voice("en").shown(task.model.reference["averages"]["purchases_count_28d"]["all"], "purchases", is_average=True)
    assert said["en"]["purchases_count_28d"] == f"purchases in the last 28 days: 2, average {average}: lowers the chance to redeem a coupon"
    assert said["zh"]["purchases_count_28d"] == f"近 28 天购买次数：2，平均 {average}，降低核销优惠券的可能性"
    assert said["en"]["days_since_last_purchase"].startswith("days since the last purchase: not known, average")
    assert said["en"]["income_band"].startswith("income band: not known, most often ")
    assert said["en"]["other"] == "everything else together: does not change the chance to redeem a coupon"
    assert said["en"]["not_shown"] == "what is not shown, together: raises the chance to redeem a coupon"
    assert set(said["en"]) == set(said["zh"])


def test_top_sentences_name_single_features_only(base):
    task = base.tasks["churn"]
    said = top_sentences(task.model, task.x[:20], 3)
    assert len(said) == 20 and all(1 <= len(row) <= 3 for row in said)
    assert not any("together" in sentence or "age band" in sentence for row in said for sentence in row)


@pytest.mark.parametrize(("language", "certain", "doubtful"), [
    ("en", ": raises the risk of leaving", ": may raise the risk of leaving (not firm)"), ("zh", "，提高流失风险", "，可能提高流失风险（不稳固）")])
def test_a_reason_that_is_not_firm_is_marked_and_worded_with_care(base, language, certain, doubtful):
    task = base.tasks["churn"]
    bounds = {"features": {"purchases_count_28d": 0.0}, "families": {"behaviour": 0.5}}
    model = type(task.model)(**{**task.model.__dict__, "reference": {**task.model.reference, "firm_from": bounds}})
    answers = task.ask([(customer, None) for customer in task.ids])
    said, unmarked = explain(model, answers, language, 10), explain(task.model, answers, language, 10)
    sentences = {True: "", False: ""}
    for result, plain in zip(said, unmarked, strict=True):
        for reason, other in zip(result["reasons"], plain["reasons"], strict=True):
            named = reason["feature"] not in ("other", "not_shown")
            assert reason["is_firm"] is (reason["feature"] == "purchases_count_28d" if named else None) and other["is_firm"] is None
            assert reason["contribution"] == other["contribution"]
            if named and reason["contribution"] > 0:
                sentences[reason["is_firm"]] += reason["sentence"] + "\n"
        sums = {row["family"]: row for row in result["families"]}
        assert set(sums) == {"behaviour", "consumption", "profile"}
        hidden = sum(reason["contribution"] for reason in result["reasons"] if reason["feature"] == "not_shown")
        assert result["base_log_odds"] + hidden + sum(row["contribution"] for row in sums.values()) == pytest.approx(result["log_odds"], abs=1e-9)
        assert sums["behaviour"]["is_firm"] is (abs(sums["behaviour"]["contribution"]) >= 0.5) and sums["profile"]["is_firm"] is False
        assert {row["is_firm"] for row in plain["families"]} == {None}
    assert certain in sentences[True] and doubtful not in sentences[True]
    assert doubtful in sentences[False] and certain not in sentences[False]
    batch = "\n".join(sentence for row in top_sentences(model, task.x, 3, language) for sentence in row)
    assert certain in batch and doubtful in batch
