"""Promises that every entry of the catalogue keeps, whatever is added to it."""

import random
import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import get_args

import ibis
import pytest
import whole

from features import complete_journey, online_retail
from features.catalogue import CATALOGUE, expand, profile
from features.errors import ContractError
from features.feature import Family
from features.one_customer import Portrait
from features.snapshots import features_of, snapshots
from features.sources import open_dataset
from features.streams import BOUGHT, ROLES, STAGES, STREAMS, needs_of

GROCER = expand((*profile(complete_journey.ATTRIBUTES, True), *CATALOGUE), complete_journey.LOOKBACKS, complete_journey.CURRENCY)


def needs_of_feature(feature):
    return {need for aggregate in feature.aggregates() for need in needs_of(aggregate)}


NEEDS = sorted(set().union(*map(needs_of_feature, CATALOGUE)))
# Windows that are the calendar's, not the dataset's: a year ago.
CALENDAR = {int(aggregate.window) for feature in CATALOGUE for aggregate in feature.aggregates() if isinstance(aggregate.window, int)}
one_of_each = pytest.mark.parametrize("feature", GROCER, ids=lambda feature: feature.name)


@one_of_each
def test_a_name_is_thing_statistic_window_and_unit(feature):
    assert re.fullmatch(r"[a-z]+(_[a-z0-9]+)*", feature.name)
    windows = {int(aggregate.window) for aggregate in feature.aggregates()} - {0} - CALENDAR
    spelled = [int(d) for d in re.findall(r"_(\d+)d(?=_|$)", feature.name)]
    assert len(spelled) <= 1 and set(spelled) <= windows and bool(spelled) == bool(windows), "the name tells the one window it is about"
    if feature.unit == "USD":
        assert feature.name.endswith("_usd")
    if "ever" in feature.name.split("_"):
        assert re.search("_ever(_usd|_days)?$", feature.name) and not windows


@one_of_each
def test_it_is_labelled_in_both_languages_and_has_unit_and_family(feature):
    assert re.search(r"[\u4e00-\u9fff]", feature.label_zh) and not re.search(r"[\u4e00-\u9fff]", feature.label_en)
    assert feature.label_en.strip() == feature.label_en and len(feature.label_en) > 3
    assert not any("{" in text for text in (feature.name, feature.label_en, feature.label_zh, feature.unit)), "templates are written out"
    assert feature.unit and feature.family in get_args(Family)


@one_of_each
def test_what_no_data_means_follows_from_what_it_is(feature):
    is_counted = feature.family != "profile" and bool(re.search(r"_(count|sum|nunique|decayed)(_|$)", feature.name))
    assert feature.no_data == ("prospect" if feature.name == "lifecycle_stage" else 0 if is_counted else None)


def test_there_are_150_and_more():
    assert len(CATALOGUE) >= 150


# Independent of the declarations: what somebody who knows the features would say that they need.
NEEDED = {
    "purchases_count_28d": set(), "days_since_first_event": set(), "weekend_share_112d": set(), "lifecycle_stage": set(), "sessions_count_28d": {"browsing"},
    "spend_sum_28d_usd": {"amount_minor"}, "returned_share_112d": {"role:return", "amount_minor", "amount_minor of return"}, "rfm_score_112d": {"amount_minor"},
    "discount_share_28d": {"amount_minor", "discount_minor"}, "days_since_full_price": {"discount_minor"}, "promoted_share_112d": {"is_promoted"},
    "unit_price_median_112d_usd": {"amount_minor", "quantity"}, "channel_favourite_112d": {"channel"}, "session_channel_last": {"browsing", "channel"},
    "affinity_category_112d": {"category", "amount_minor"}, "brand_repeat_share_112d": {"brand"}, "item_gap_median_112d_days": {"item_id"},
    "looked_category_112d": {"role:look", "category of look"}, "rating_last": {"role:rating", "value of rating"}, "nps_group": {"role:nps", "value of nps"},
    "redemptions_count_28d": {"kind:coupon_redemption"}, "redemption_rate_ever": {"kind:coupon_redemption", "kind:campaign_received", "contacts"},
    "campaigns_open_count": {"kind:campaign_received", "contacts", "table:campaigns"}, "contacts_count_28d": {"contacts"},
    "contact_channels_nunique_112d": {"contacts", "channel of contacts"},
    "open_rate_112d": {"role:open", "contacts"},
    "unanswered_contacts_count": {"role:open", "contacts"}, "relooks_to_purchase_mean_112d": {"browsing", "item_id of look"}, "complaints_count_28d": {"role:complaint"}}


def test_it_needs_what_one_would_say_that_it_needs():
    found = {feature.name: needs_of_feature(feature) for feature in GROCER}
    assert {name: found[name] for name in NEEDED} == NEEDED


# A column of events, and what needs it.
COLUMNS = ("channel", "item_id", "category", "brand", "quantity", "amount", "discount", "is_promoted", "value")


@pytest.mark.parametrize("column", COLUMNS)
def test_what_does_not_need_a_column_has_the_same_value_without_it(column):
    """So nothing that needs it is forgotten: it would be a number made of nothing."""
    draw = random.Random(column)
    kinds = [*whole.KINDS, "campaign_received", *["purchase"] * 10, *["product_view"] * 5]
    events = [
        {"event_id": str(i), "event_at": datetime(2017, 3, 1) - timedelta(seconds=draw.randrange(10**7)), "kind": draw.choice(kinds),
         "session_id": draw.choice([None, f"s{i // 4}"]), "channel": draw.choice("abc"), "item_id": draw.choice("ij"), "category": draw.choice("klm"),
         "brand": draw.choice("no"), "quantity": draw.randrange(1, 4), "amount": draw.randrange(1, 99), "discount": draw.randrange(3),
         "is_promoted": draw.choice([True, False]), "value": draw.randrange(1, 9)} for i in range(150)]
    portrait = Portrait(tuple(feature for feature in GROCER if feature.family != "profile"), "UTC", "USD")
    full, without_it = (portrait.of(rows, datetime(2017, 3, 1)) for rows in (events, [{**event, column: None} for event in events]))
    inner = {"amount": "amount_minor", "discount": "discount_minor"}.get(column, column)
    changed = {name for name in full if full[name] != without_it[name]}
    needing = {feature.name for feature in portrait.features if any(need.split(" of ")[0] == inner for need in needs_of_feature(feature))}
    assert changed and changed <= needing


@one_of_each
def test_windows_are_lookbacks_of_the_dataset_and_streams_exist(feature):
    assert {aggregate.window for aggregate in feature.aggregates()} <= {0, *complete_journey.LOOKBACKS, *CALENDAR}
    assert {aggregate.stream for aggregate in feature.aggregates()} <= {"", *STREAMS}


@one_of_each
def test_what_marketers_did_is_flagged_and_stays_in_its_family(feature):
    sees_treatments = any(aggregate.stream in ("treatments", "answers") for aggregate in feature.aggregates())
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
    windows = [sorted({int(a.window) for a in feature.aggregates()} - {0} - CALENDAR) for feature in written]
    if len(written) == 3:
        assert windows == [[14], [28], [56]]
    else:
        assert len(written) == 1 and windows[0] in ([], [14], [56], [14, 56])


@pytest.fixture(scope="module")
def everything(folder_of):
    return open_dataset(str(folder_of(whole.one_of_each("ann"), campaigns=whole.CAMPAIGNS)))


def without(dataset, need):
    """The dataset with one need unmet: a column is there but empty, kinds do not occur, a table is missing."""
    events, tables = dataset.tables["events"], {**dataset.tables}
    what, _, role = need.partition(" of ")
    if need.startswith("table:"):
        del tables[need[6:]]
    elif need == "contacts":
        tables["events"] = events.filter(events.initiator == "customer")
    elif need == "browsing":
        tables["events"] = events.filter(~events.kind.isin([kind for kind, stage in STAGES.items() if stage < BOUGHT]))
    elif what.startswith(("kind:", "role:")):
        tables["events"] = events.filter(~events.kind.isin(ROLES[what[5:]] if what.startswith("role:") else [what[5:]]))
    else:
        is_told = events.initiator == "customer" if role == "contacts" else ~events.kind.isin(ROLES[role]) if role else ibis.literal(False)
        tables["events"] = events.mutate(**{what: ibis.ifelse(is_told, events[what], ibis.null(events[what].type()))})
    return replace(dataset, tables=tables)


@pytest.mark.parametrize("need", NEEDS)
def test_a_feature_that_needs_what_the_data_lack_is_absent_and_says_so(everything, need):
    dataset = without(everything, need)
    present, absent = features_of(dataset)
    lacking = {feature.name for feature in expand(CATALOGUE, dataset.lookbacks_days(), "CNY") if need in needs_of_feature(feature)}
    assert lacking and lacking <= set(absent) and all(need in absent[name].split(" and ") for name in lacking)
    assert not lacking & {feature.name for feature in present}
    # With the events of a role go what else is told by them; with a column of all events, that of a role's.
    follows = {other for other in NEEDS if need != other and (need.startswith(("role:", "kind:", "browsing", "contacts")) or other.startswith(need + " of "))}
    assert set(absent) - lacking <= {feature.name for feature in expand(CATALOGUE, (28, 56), "CNY") if needs_of_feature(feature) & follows}


def test_with_everything_given_nothing_is_absent(everything):
    present, absent = features_of(everything)
    assert not absent and {feature.name for feature in expand(CATALOGUE, (28, 56), "CNY")} <= {feature.name for feature in present}


def test_bare_events_make_a_table_without_columns_of_zeros(given):
    dataset = given([{"customer_id": "ann", "event_at": "2026-03-01 10:00:00"}])
    present, absent = features_of(dataset)
    columns = snapshots(dataset, [dataset.observed_until.replace(microsecond=0)], present).columns
    assert list(columns) == ["customer_id", "as_of", *(feature.name for feature in present)]
    assert all(not needs_of_feature(feature) for feature in present) and not set(columns) & set(absent)
    assert "purchases_count_28d" in columns and {"spend_sum_28d_cny", "campaigns_received_count_28d", "contacts_count_28d", "sessions_count_28d"} <= set(absent)


def test_a_kind_that_is_called_like_an_entry_does_not_take_its_place(given):
    """A complaint is a contact with service: what counts the kind service_contact alone must not stand for it."""
    events = [{"customer_id": "ann", "event_at": f"2026-03-0{day} 10:00:00", "kind": kind} for day, kind in ((1, "purchase"), (5, "service_contact"), (7, "complaint"))]
    dataset = given(events)
    features, _ = features_of(dataset)
    names = [feature.name for feature in features]
    assert len(set(names)) == len(names) and "service_contact_count_28d" in names
    row = snapshots(dataset, [datetime(2026, 3, 8, 2)], features).to_pyarrow().to_pylist()[0]
    assert row["days_since_last_service_contact"] == 1.0


@pytest.mark.parametrize("name", ["purchases_count_28d", "as_of", "label"])
def test_an_attribute_that_is_called_like_something_else_is_refused(given, name):
    dataset = given([{"customer_id": "ann", "event_at": "2026-03-01"}], customers=[{"customer_id": "ann", name: "x"}])
    with pytest.raises(ContractError, match=f"an attribute needs a name that nothing else has, found {name}; give it another"):
        features_of(dataset)
