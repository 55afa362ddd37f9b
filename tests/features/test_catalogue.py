"""Promises that every entry of the catalogue keeps, whatever is added to it."""

import re
from typing import get_args

import pytest

from features import complete_journey, online_retail
from features.catalogue import CATALOGUE, expand, profile
from features.feature import Family
from features.snapshots import features_of, snapshots
from features.sources import open_dataset
from features.streams import STREAMS

GROCER = expand((*profile(complete_journey.ATTRIBUTES, True), *CATALOGUE), complete_journey.LOOKBACKS, complete_journey.CURRENCY)
NEEDS = sorted({need for feature in CATALOGUE for need in feature.needs})
one_of_each = pytest.mark.parametrize("feature", GROCER, ids=lambda feature: feature.name)


@one_of_each
def test_a_name_is_thing_statistic_window_and_unit(feature):
    assert re.fullmatch(r"[a-z]+(_[a-z0-9]+)*", feature.name)
    windows = {int(aggregate.window) for aggregate in feature.aggregates()} - {0}
    spelled = [int(d) for d in re.findall(r"_(\d+)d(?=_|$)", feature.name)]
    assert len(spelled) <= 1 and set(spelled) <= windows and bool(spelled) == bool(windows), "the name tells the one window it is about"
    if feature.unit == "USD":
        assert feature.name.endswith("_usd")
    if "ever" in feature.name.split("_"):
        assert feature.name.endswith("_ever") and not windows


@one_of_each
def test_it_is_labelled_in_both_languages_and_has_unit_and_family(feature):
    assert re.search(r"[\u4e00-\u9fff]", feature.label_zh) and not re.search(r"[\u4e00-\u9fff]", feature.label_en)
    assert feature.label_en.strip() == feature.label_en and len(feature.label_en) > 3
    assert not any("{" in text for text in (feature.name, feature.label_en, feature.label_zh, feature.unit)), "templates are written out"
    assert feature.unit and feature.family in get_args(Family)


@one_of_each
def test_what_no_data_means_follows_from_what_it_is(feature):
    is_counted = feature.family != "profile" and bool(re.search(r"_(count|sum|nunique)(_|$)", feature.name))
    assert feature.no_data == (0 if is_counted else None)


# What a number is made of, beside the customer, time and kind that every event has.
NEEDED_BY_MEASURE = {
    "amount_minor": "amount_minor",
    "discount_minor": "discount_minor",
    "n_promoted": "is_promoted",
    "spend": "amount_minor",
    "spend_log_spend": "amount_minor",
    "is_open": "table:campaigns",
    "days_left": "table:campaigns",
}
NEEDED_BY_STREAM = {"categories": "category", "new_categories": "category", "brands": "brand"}


@one_of_each
def test_it_names_all_that_it_needs(feature):
    needed = {f"kind:{kind}" for aggregate in feature.aggregates() for _, kind in aggregate.where}
    needed |= {NEEDED_BY_MEASURE[aggregate.column] for aggregate in feature.aggregates() if aggregate.column in NEEDED_BY_MEASURE}
    needed |= {NEEDED_BY_STREAM[aggregate.stream] for aggregate in feature.aggregates() if aggregate.stream in NEEDED_BY_STREAM}
    assert set(feature.needs) == needed


@one_of_each
def test_windows_are_lookbacks_of_the_dataset_and_streams_exist(feature):
    assert {aggregate.window for aggregate in feature.aggregates()} <= {0, *complete_journey.LOOKBACKS}
    assert {aggregate.stream for aggregate in feature.aggregates()} <= set(STREAMS)


@one_of_each
def test_what_marketers_did_is_flagged_and_stays_in_its_family(feature):
    sees_treatments = any(aggregate.stream == "treatments" for aggregate in feature.aggregates())
    assert feature.is_treatment == sees_treatments and (not sees_treatments or feature.family == "touchpoints")


def test_names_and_labels_are_unique():
    for texts in ([f.name for f in GROCER], [f.name for f in CATALOGUE]):
        assert sorted(texts) == sorted(set(texts))
    for language in ("label_en", "label_zh"):
        texts = [getattr(feature, language) for feature in GROCER]
        assert sorted(texts) == sorted(set(texts)), f"two features read the same in {language}"


def test_the_grocer_has_features_of_every_family():
    assert len(GROCER) >= 40 and {feature.family for feature in GROCER} == set(get_args(Family))


def test_sensitive_attributes_of_the_grocer_are_flagged():
    assert {feature.name for feature in GROCER if feature.is_sensitive} == {"age_band", "marital_status", "household_composition", "kids_count"}
    assert all(feature.is_undated and feature.is_category for feature in GROCER if feature.family == "profile")


@pytest.mark.parametrize("built_in", [complete_journey, online_retail], ids=lambda module: module.__name__)
def test_a_tasks_rules_are_features_of_its_dataset(built_in):
    for task in built_in.TASKS:
        currency = "USD" if built_in is complete_journey else "GBP"
        assert task.rules and set(task.rules) <= {feature.name for feature in expand(CATALOGUE, task.windows.lookbacks_days, currency)}


@pytest.mark.parametrize("template", CATALOGUE, ids=lambda feature: feature.name)
def test_one_written_out_for_each_lookback_or_once(template):
    written = expand((template,), (14, 28, 56), "CNY")
    windows = [sorted({int(a.window) for a in feature.aggregates()} - {0}) for feature in written]
    if len(written) == 3:
        assert windows == [[14], [28], [56]]
    else:
        assert len(written) == 1 and windows[0] in ([], [14], [56], [14, 56])


def everything():
    """Rows in which every need is met."""
    full = {
        "customer_id": "ann",
        "event_at": "2026-03-01 10:00:00",
        "initiator": "customer",
        "amount": 5,
        "discount": 1,
        "is_promoted": "true",
        "category": "tea",
        "brand": "b",
        "campaign_id": "c1",
    }
    events = [{**full, "kind": kind} for kind in ("purchase", "return", "coupon_redemption")] + [
        {**full, "kind": "campaign_received", "initiator": "marketer"}
    ]
    return events, {"campaigns": [{"campaign_id": "c1", "start_at": "2026-01-01", "end_at": "2026-04-01"}]}


def without(need):
    """The same rows with one need unmet: a column is there but empty, a kind does not occur, a table is missing."""
    events, tables = everything()
    column = {"amount_minor": "amount", "discount_minor": "discount"}.get(need, need)
    if need.startswith("kind:"):
        return [event for event in events if event["kind"] != need[5:]], tables
    if need.startswith("table:"):
        return events, {}
    assert column in events[0]
    return [{**event, column: None} for event in events], tables


@pytest.mark.parametrize("need", NEEDS)
def test_a_feature_that_needs_what_the_data_lack_is_absent_and_says_so(folder_of, need):
    events, tables = without(need)
    dataset = open_dataset(str(folder_of(events, **tables)))
    present, absent = features_of(dataset)
    lacking = {feature.name for feature in expand(CATALOGUE, dataset.lookbacks_days(), "CNY") if need in feature.needs}
    assert set(absent) == lacking and lacking and set(absent.values()) == {need}
    assert not lacking & {feature.name for feature in present}


def test_with_everything_given_nothing_is_absent(folder_of):
    events, tables = everything()
    present, absent = features_of(open_dataset(str(folder_of(events, **tables))))
    assert not absent and {feature.name for feature in present} == {feature.name for feature in expand(CATALOGUE, (28, 56), "CNY")}


def test_bare_events_make_a_table_without_columns_of_zeros(given):
    dataset = given([{"customer_id": "ann", "event_at": "2026-03-01 10:00:00"}])
    present, absent = features_of(dataset)
    columns = snapshots(dataset, [dataset.observed_until.replace(microsecond=0)], present).columns
    assert list(columns) == ["customer_id", "as_of", *(feature.name for feature in present)]
    assert all(not feature.needs for feature in present) and not set(columns) & set(absent)
    assert "purchases_count_28d" in columns and "spend_sum_28d_cny" in absent and "campaigns_received_count_28d" in absent
