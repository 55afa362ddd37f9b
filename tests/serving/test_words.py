"""Both languages say the same, each in its own form."""

import re
import tomllib

import pytest

from serving import words as module
from serving.words import LANGUAGES, Voice, words_of

HAN = "\u4e00-\u9fff"
FILES = ("{}", "outcomes.{}", "base.{}")


def flat(value, place=""):
    if isinstance(value, dict):
        return {key: text for name, inner in value.items() for key, text in flat(inner, f"{place}.{name}").items()}
    if isinstance(value, list):
        return {key: text for i, inner in enumerate(value) for key, text in flat(inner, f"{place}[{i}]").items()}
    return {place: value}


def said(name):
    return flat(tomllib.loads((module._FOLDER / f"{name}.toml").read_text(encoding="utf-8")))


@pytest.mark.parametrize("file", FILES)
def test_both_languages_have_the_same_words_with_the_same_places_to_fill(file):
    en, zh = (said(file.format(language)) for language in LANGUAGES)
    assert en.keys() == zh.keys()
    # What only one language needs: an amount's currency by name or by code, a churned customer named or not.
    own = {"currency", "code", "did", "goal"}
    for key in en:
        places = [set(re.findall(r"\{(\w+)", text[key])) - own for text in (en, zh)]
        assert places[0] == places[1], key


@pytest.mark.parametrize("file", FILES)
def test_chinese_is_set_with_its_own_punctuation_and_apart_from_digits(file):
    for key, text in said(file.format("zh")).items():
        assert not re.search(f"[{HAN}][,;:!?()]|[,;:!?()][{HAN}]", text), key
        assert not re.search(f"[{HAN}][0-9A-Za-z]|[0-9A-Za-z%][{HAN}]", text), key
        assert re.search(f"[{HAN}]", text) or not re.search("[A-Za-z]{4}", re.sub(r"\{.*?\}", "", text)) or text == "LightGBM", key


@pytest.mark.parametrize(("key", "zh"), [
    ("lift", "提升度"), ("gains_y", "累计增益"), ("use_conversion", "增量效果"), ("line_rule", "规则"), ("alike_seeds", "种子人群"),
    ("goal_churn", "流失"), ("actions", "复购"), ("actions", "沉睡")])
def test_the_glossary_is_kept(key, zh):
    assert zh in str(words_of("zh")[key])


def task(kind="conversion", target="purchase", category="", received=None, **more):
    return {"kind": kind, "target_kind": target, "target_category": category, "windows": {"horizon_days": 28},
            "eligibility": {"active_days": 56, "active_kind": "purchase", "received_kind": received}, **more}


@pytest.mark.parametrize(("asked", "en", "zh"), [
    (task("churn"), "Who will have no purchase in the next 28 days, among customers with at least one purchase in the 56 days before?",
     "过去 56 天内有购买的客户中，谁在未来 28 天内不再有购买？"),
    (task(category="SEA <b>"), "Who will have at least one purchase in “SEA <b>” in the next 28 days, among customers with at least one purchase in the 56 days before?",
     "过去 56 天内有购买的客户中，谁会在未来 28 天内有“SEA <b>”品类的购买？"),
    (task(target="app_visit", received="campaign_received"),
     "Who will have at least one app visit in the next 28 days, among customers with at least one purchase in the 56 days before, and at least one campaign at any time?",
     "过去 56 天内有购买且收到过营销活动的客户中，谁会在未来 28 天内有app visit？"),
    (task("lookalike", seeds={"event_kind": "coupon_redemption", "from_date": "2017-01-01", "until_date": "2017-07-01"}),
     "Who is like the customers with a first coupon redemption from 2017-01-01 to 2017-06-30, among customers with at least one purchase in the 56 days before?",
     "过去 56 天内有购买的客户中，谁与 2017 年 1 月 1 日至 2017 年 6 月 30 日期间首次优惠券核销的客户相似？"),
    (task("lookalike", seeds={"column": "spend", "top_share": 0.1}),
     "Who is like the first 10% by “money spent”, among customers with at least one purchase in the 56 days before?",
     "过去 56 天内有购买的客户中，谁与按“money spent”排名前 10% 的客户相似？"),
])
def test_a_task_is_asked_in_plain_sentences(asked, en, zh):
    assert Voice("en").question(asked, {"spend": "money spent"}) == en
    assert Voice("zh").question(asked, {"spend": "money spent"}) == zh


@pytest.mark.parametrize(("asked", "en", "zh"), [
    (task("churn"), "leave", "流失"), (task(), "buy", "购买"), (task(category="FISH"), "buy in “FISH”", "购买“FISH”品类"),
    (task(target="offer_completed"), "have at least one completed offer", "发生“优惠完成”"), (task(target="x_y"), "have at least one x y", "发生“x y”")])
def test_a_goal_is_named_for_any_task(asked, en, zh):
    assert (Voice("en").goal(asked), Voice("zh").goal(asked)) == (en, zh)


def test_days_are_those_of_the_customers():
    assert Voice("en", "America/New_York").day("2018-01-01T05:00:00Z") == "2018-01-01"
    assert Voice("en", "America/New_York").day("2018-01-01T04:59:00Z") == "2017-12-31"
    assert Voice("zh", "Asia/Shanghai").day("2017-12-31T16:00:00Z") == "2018 年 1 月 1 日"
    assert Voice("zh").days(["2018-01-01T00:00:00Z"] * 5).endswith("（共 5 次）")


def test_chinese_labels_stand_apart_from_digits():
    assert Voice("zh").named({"en": "x", "zh": "近28天App购买"}) == "近 28 天 App 购买"
    assert Voice("en").named({"en": "x28天", "zh": ""}) == "x28天"
