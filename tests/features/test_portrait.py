"""One customer in words: every family, values as people write them, what is not known, and what is not shown."""

import re
from datetime import datetime

import pytest
import whole

from features.errors import UsageError
from features.feature import AsOf, Feature
from features.portrait import FAMILIES, portrait, shown, values_of
from features.snapshots import features_of

AS_OF = datetime(2026, 3, 31, 16)
PEOPLE = [
    {"customer_id": "filler", "valid_from": "2026-01-01", "city": "上海", "age": "30", "consent_profiling": "true", "erased_at": None},
    {"customer_id": "silent", "valid_from": "2026-01-01", "city": None, "age": None, "consent_profiling": "true", "erased_at": None},
    {"customer_id": "refused", "valid_from": "2026-01-01", "city": None, "age": None, "consent_profiling": "false", "erased_at": None},
    {"customer_id": "erased", "valid_from": "2026-01-01", "city": None, "age": None, "consent_profiling": "true", "erased_at": "2026-03-30"},
    {"customer_id": "later", "valid_from": "2026-04-02", "city": None, "age": None, "consent_profiling": "true", "erased_at": None},
]


@pytest.fixture(scope="module")
def shop(held):
    return held(whole.one_of_each(), campaigns=whole.CAMPAIGNS, customers=PEOPLE, declared='sensitive = ["age"]\nsimulated = true\n')[0]


def lines(shop, customer, language="en", shows_sensitive=False):
    features, _ = features_of(shop)
    return portrait(shop, customer, AS_OF, features, values_of(shop, customer, AS_OF, features), language, shows_sensitive)


def test_in_english(shop):
    text = "\n".join(lines(shop, "filler"))
    assert text.startswith("filler of ") and "as known at 2026-04-01 00:00 (Asia/Shanghai) (simulated: no real person)" in text
    assert re.findall(r"^\w.*$", text, re.M)[1:] == [names[0] for names in FAMILIES.values()]
    for line in ("city: 上海", "age: not shown", "days since the last purchase: 26.6 days", "purchases ever seen: 1 purchase", "spend ever seen: 1.00 CNY",
                 "share of purchases before noon, last 112 days: 100%", "hour of the day with most purchases, last 112 days: 10:00",
                 "weekday with most purchases (0 is Monday), last 112 days: Thursday", "category bought most, last 112 days: milk", "stage by silence against the own rhythm: new",
                 "promoter, passive or detractor, by the last answer: detractor"):
        assert f"\n  {line}\n" in f"{text}\n", line
    assert re.search("not known: .*usual days between purchases, last 112 days;", text)


def test_in_chinese(shop):
    text = "\n".join(lines(shop, "filler", "zh", shows_sensitive=True))
    assert re.findall(r"^[^ \n].*$", text, re.M)[1:] == [names[1] for names in FAMILIES.values()] and "模拟数据" in text
    for line in ("age：30", "距上次购买天数：26.6 天", "累计购买次数：1 次", "累计消费金额：1.00 CNY", "近112天最常购买的星期（0为周一）：周四", "生命周期阶段（按自身节奏）：新客",
                 "推荐者、中立者或贬损者（按最近回答）：贬损者"):
        assert f"\n  {line}\n" in f"{text}\n", line
    assert "\n  未知：" in text and "not known" not in text


def test_whoever_did_nothing_is_told_so(shop):
    text = "\n".join(lines(shop, "silent"))
    assert "\n  purchases ever seen: 0 purchases" in text and "not known: city\n" in text and "stage by silence against the own rhythm: prospect" in text


@pytest.mark.parametrize(("customer", "message"), [
    ("nobody", "CUSTOMER must be known before .*, and be neither erased nor refuse profiling, found 'nobody', who is not; known are such as filler, silent"),
    ("later", "must be known before"), ("refused", "found 'refused', who is not"), ("erased", "found 'erased', who is not")])
def test_whom_no_portrait_is_made_of(shop, customer, message):
    with pytest.raises(UsageError, match=message):
        lines(shop, customer)


@pytest.mark.parametrize(("value", "unit", "en", "zh"), [
    (0.1234, "share", "12.3%", "12.3%"), (1.0, "purchases", "1 purchase", "1 次"), (12345, "events", "12,345 events", "12,345 次"), (1, "categories", "1 category", "1 个"),
    (1.0, "searches", "1 search", "1 次"), (0.5, "days", "0.5 days", "0.5 天"), (9.0, "hour", "9:00", "9:00"), (6.0, "weekday", "Sunday", "周日"),
    (12.0, "month", "December", "12月"),
    (1, "yes or no", "yes", "是"), (0, "yes or no", "no", "否"), (-0.001, "ratio", "0", "0"), (1234.5, "EUR", "1,234.50 EUR", "1,234.50 EUR"), (3.14159, "nats", "3.14", "3.14"),
    ("Lhasa", "category", "Lhasa", "Lhasa")])
def test_values_are_written_as_people_write_them(value, unit, en, zh):
    feature = Feature("x", "profile", AsOf("x"), unit, "x", "x")
    assert (shown(value, feature, "en"), shown(value, feature, "zh")) == (en, zh)
