"""Which features are built and learned from: words of dataset.toml and of the command line."""

import pytest

from features.choice import chosen
from features.errors import ContractError
from features.feature import AsOf, Feature
from features.snapshots import features_of

FEATURES = (
    Feature("age", "profile", AsOf("age"), "number", "age", "年龄", is_sensitive=True),
    Feature("city", "profile", AsOf("city"), "category", "city", "城市", is_category=True, is_undated=True),
    Feature("spend_sum_28d_cny", "consumption", AsOf("x"), "CNY", "spend", "消费"),
    Feature("spend_sum_56d_cny", "consumption", AsOf("x"), "CNY", "spend", "消费"),
    Feature("contacts_count_28d", "touchpoints", AsOf("x"), "contacts", "contacts", "触达", is_treatment=True, is_actionable=True),
)


@pytest.mark.parametrize(("include", "exclude", "left"), [
    ([], [], "age city spend_sum_28d_cny spend_sum_56d_cny contacts_count_28d"),
    (["spend_*"], [], "spend_sum_28d_cny spend_sum_56d_cny"),
    (["spend_*", "city"], ["*_56d_*"], "city spend_sum_28d_cny"),
    (["family:profile"], ["sensitive"], "city"),
    ([], ["family:consumption", "treatment", "undated"], "age"),
    (["actionable"], [], "contacts_count_28d"),
    (["category", "sensitive"], [], "age city")])
def test_words_mean_names_patterns_families_and_what_features_are(include, exclude, left):
    assert [feature.name for feature in chosen(FEATURES, include, exclude)] == left.split()


@pytest.mark.parametrize(("include", "exclude", "message"), [
    ([], ["spend_sum_28d"], "found 'spend_sum_28d', which means none; the nearest is spend_sum_28d_cny; correct it"),
    (["famliy:profile"], [], "the nearest is family:profile"), (["sensitiv"], [], "the nearest is sensitive"), ([], ["Spend_*"], "found 'Spend_\\*'"),
    (["family:interest"], [], "which means none"), (["age"], ["age"], "must leave some feature, found none of 5 left by include \\['age'\\], exclude \\['age'\\]")])
def test_a_word_that_means_nothing_is_refused_with_the_nearest(include, exclude, message):
    with pytest.raises(ContractError, match=message):
        chosen(FEATURES, include, exclude)


EVENTS = [{"customer_id": "c1", "event_at": "2026-03-01", "amount": 1}]


def names(dataset, *words):
    return {feature.name for feature in features_of(dataset, *words)[0]}


def test_the_dataset_chooses_first_and_the_caller_among_those(given):
    every = given(EVENTS, customers=[{"customer_id": "c1", "age": "30"}], declared='sensitive = ["age"]\n')
    some = given(EVENTS, customers=[{"customer_id": "c1", "age": "30"}], declared='sensitive = ["age"]\n[features]\nexclude = ["sensitive", "family:lifecycle", "spend_*"]\n')
    left_out = names(every) - names(some)
    assert "age" in left_out and {name for name in names(every) if name.startswith("spend_")} - {"spend_trend_56d"} < left_out and "lifecycle_stage" in left_out
    assert names(some, ["*_28d*"], ["purchases_*"]) == {name for name in names(some) if "_28d" in name and not name.startswith("purchases_")}
    # What the data lack may be named all the same.
    assert names(some, [], ["sessions_count_*"]) == names(some)
    with pytest.raises(ContractError, match="found 'age'"):
        names(some, [], ["age"])


def test_a_dataset_that_includes_nothing_known_is_refused(given):
    with pytest.raises(ContractError, match="found 'spent_\\*', which means none; the nearest is"):
        features_of(given(EVENTS, declared='[features]\ninclude = ["spent_*"]\n'))
