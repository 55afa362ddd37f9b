"""Tasks and windows are values that cannot be wrong silently."""

import json
import re
from dataclasses import asdict

import pytest

from features import complete_journey
from features.catalogue import CATALOGUE, expand, of_kinds
from features.errors import UsageError
from features.sources import open_dataset
from features.tasks import Campaign, Eligibility, Task, WindowSpec


@pytest.mark.parametrize(
    "wrong",
    [
        {"horizon_days": 0},
        {"horizon_days": 28, "slide_days": 0},
        {"horizon_days": 28, "row_cap": 0},
        {"horizon_days": 28, "lookbacks_days": (0, 28)},
        {"horizon_days": 28, "gap_days": -1},
        {"horizon_days": 28, "ingestion_lag_days": -1},
    ],
)
def test_windows_of_no_days_are_refused(wrong):
    with pytest.raises(UsageError, match="windows need positive days .*, found WindowSpec.*; correct the task's windows"):
        WindowSpec(**wrong)


@pytest.mark.parametrize("lookbacks", [(56, 28), (28, 28)])
def test_lookbacks_that_do_not_rise_are_refused(lookbacks):
    with pytest.raises(UsageError, match="lookbacks must rise, found .*; write them from short to long"):
        WindowSpec(horizon_days=28, lookbacks_days=lookbacks)


def test_a_task_comes_back_from_json_with_its_campaign_and_one_saved_before_there_were_any_without():
    task = Task("churn", "churn", Eligibility(56), WindowSpec(28), campaign=Campaign(90, 5, 1, 0.2))
    said = json.loads(json.dumps(asdict(task)))
    assert Task.from_json(said) == task
    del said["campaign"]
    assert Task.from_json(said).campaign is None


def test_a_gap_delays_the_label_and_a_lag_its_maturity():
    windows = WindowSpec(horizon_days=28, gap_days=7, ingestion_lag_days=2)
    assert (windows.purge_days, windows.mature_after_days) == (35, 37)


def test_a_task_says_its_question_in_plain_words():
    churn = Task("churn", "churn", Eligibility(active_days=56), WindowSpec(horizon_days=28)).question()
    assert re.fullmatch("Who will have no purchase in the next 28 days, among customers with a purchase in the 56 days before.*[?]", churn)
    task = Task("c", "conversion", Eligibility(30, "visit", "campaign_received"), WindowSpec(horizon_days=7), target_kind="coupon_redemption")
    asked = task.question()
    assert re.fullmatch("Who will have a coupon redemption in the next 7 days, .* a visit in the 30 days before .*campaign received.*[?]", asked)


def test_a_folder_that_declares_no_task_has_churn_by_four_weeks_of_silence(folder_of):
    dataset = open_dataset(str(folder_of([{"customer_id": "ann", "event_at": "2026-03-01"}], declared="")))
    assert [(task.name, task.kind, task.target_kind, task.windows.horizon_days, task.eligibility.active_days) for task in dataset.tasks] == [
        ("churn", "churn", "purchase", 28, 56)
    ]


def test_a_folder_declares_its_tasks(folder_of):
    declared = """
name = "corner-shop"
licence = "ours"
[tasks.churn]
horizon_days = 14
gap_days = 2
slide_days = 7
active_days = 30
row_cap = 3
lookbacks_days = [7, 30]
[tasks.conversion-visit]
target_kind = "visit"
received_kind = "campaign_received"
lookbacks_days = [7, 90]
"""
    dataset = open_dataset(str(folder_of([{"customer_id": "ann", "event_at": "2026-03-01"}], declared=declared)))
    churn, visit = dataset.tasks
    assert churn.windows == WindowSpec(horizon_days=14, gap_days=2, slide_days=7, row_cap=3, lookbacks_days=(7, 30))
    assert (churn.kind, churn.eligibility) == ("churn", Eligibility(active_days=30))
    assert (visit.name, visit.kind, visit.target_kind, visit.eligibility.received_kind) == (
        "conversion-visit",
        "conversion",
        "visit",
        "campaign_received",
    )
    assert dataset.lookbacks_days() == (7, 30, 90), "features are built for the lookbacks of all tasks"
    assert (dataset.name, dataset.licence) == ("corner-shop", "ours")
    built = {feature.name for feature in expand((*CATALOGUE, *of_kinds(["visit"])), dataset.lookbacks_days(), "CNY")}
    for task in dataset.tasks:
        assert {"days_since_last_purchase", "purchases_count_7d", "spend_sum_7d_cny"} <= set(task.rules) <= built


def test_the_grocers_tasks_ask_churn_conversion_and_lookalike():
    assert [(task.name, task.kind, task.target_kind) for task in complete_journey.TASKS] == [
        ("churn", "churn", "purchase"),
        ("conversion", "conversion", "coupon_redemption"),
        ("lookalike", "lookalike", "purchase"),
    ]
