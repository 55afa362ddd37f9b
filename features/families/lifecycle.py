"""Lifecycle: how long known, which stage and since when, up or down, what is expected next, and the season a year ago."""

import numpy as np

from features.feature import EVER, LONGEST, SHORTEST, Aggregate, Feature, Formula, Numbers, days, known, over, ratio, surely
from features.streams import GONE, SHORTEST_PAUSE_DAYS, USUAL_DAYS

_BASKETS, _COMEBACKS, _VISITS = over("purchases"), over("purchases", ("is_comeback", "1")), over("visits")
_N_LONG, _N_SHORT, _LAST, _FIRST = _BASKETS(window=LONGEST), _BASKETS(window=SHORTEST), _BASKETS("min", "age", EVER), _BASKETS("max", "age", EVER)
_GAPS, _N_GAPS = _BASKETS("sum", "gap", LONGEST), _BASKETS("count", "gap", LONGEST)
_SPEND_SHORT, _SPEND_LONG = _BASKETS("sum", "amount_minor", SHORTEST), _BASKETS("sum", "amount_minor", LONGEST)
# Stages by silence against the usual pause, and for how long a customer is new.
LATE, NEW_DAYS = 1.5, 56
STAGES = (("prospect", "潜在"), ("new", "新客"), ("active", "活跃"), ("slipping", "流失预警"), ("dormant", "沉睡"))


def _usual(gap: Numbers) -> Numbers:
    return np.where(np.isnan(gap), USUAL_DAYS * 86400.0, np.maximum(gap, SHORTEST_PAUSE_DAYS * 86400.0))


def _stage(n: Numbers, first: Numbers, last: Numbers, gap: Numbers) -> Numbers:
    silence = last / _usual(gap)
    return np.select([n == 0, silence > GONE, silence > LATE, first <= NEW_DAYS * 86400], [0, 4, 3, 1], 2)


def _stage_age(n: Numbers, first: Numbers, last: Numbers, gap: Numbers, back: Numbers) -> Numbers:
    """Days since the stage began, if the usual pause was then what it is now. Who came back after a long silence is active since then."""
    stage, usual = _stage(n, first, last, gap), _usual(gap)
    active = np.fmin(np.where(first > NEW_DAYS * 86400, first - NEW_DAYS * 86400, first), back)
    return days(np.select([stage == 0, stage == 4, stage == 3, stage == 1], [np.nan, last - GONE * usual, last - LATE * usual, first], active))


_STAGE = (_BASKETS(window=EVER), _FIRST, _LAST, _BASKETS("median", "gap", EVER))

TENURE: tuple[Feature, ...] = (
    Feature("days_since_first_event", "lifecycle", Formula(days, (Aggregate("events", "max", "age", window=EVER),)), "days", "days since first seen", "首次出现距今天数"),
    Feature("days_since_first_purchase", "lifecycle", Formula(days, (_FIRST,)), "days", "days since the first purchase", "首次购买距今天数"),
    Feature("first_purchase_age_{d}d_days", "lifecycle", Formula(days, (_BASKETS("max", "age", LONGEST),)), "days",
            "days since the first purchase within the last {d} days", "近{d}天内首次购买距今天数"),
    Feature("lifecycle_stage", "lifecycle", Formula(_stage, _STAGE), "category",
            "stage by silence against the own rhythm", "生命周期阶段（按自身节奏）", "prospect", is_category=True, texts=STAGES),
    Feature("lifecycle_stage_days", "lifecycle", Formula(_stage_age, (*_STAGE, _COMEBACKS("min", "age", EVER))), "days", "days in the present stage", "处于当前阶段的天数"),
)
TREND: tuple[Feature, ...] = (
    Feature("purchases_trend_{d}d", "lifecycle", Formula(ratio, (_N_SHORT, _N_LONG)), "share",
            "recent purchases (shortest window) as a share of the last {d} days", "近期购买次数占近{d}天比重"),
    Feature("spend_trend_{d}d", "lifecycle", Formula(ratio, (_SPEND_SHORT, _SPEND_LONG)), "share",
            "recent spend (shortest window) as a share of the last {d} days", "近期消费占近{d}天比重"),
    Feature("basket_value_trend_{d}d", "lifecycle", Formula(
        lambda recent, n, spend, m: ratio(ratio(recent, n), ratio(spend, m)), (_SPEND_SHORT, _N_SHORT, _SPEND_LONG, _N_LONG)), "ratio",
            "recent basket value against the last {d} days", "近期客单价与近{d}天之比"),
    Feature("purchases_acceleration_{d}d", "lifecycle", Formula(
        lambda last, middle, gaps, n: ratio(last - ratio(gaps, n), middle), (_BASKETS("last", "gap", EVER), _BASKETS("median", "gap", LONGEST), _GAPS, _N_GAPS)), "ratio",
            "how much the last pause is longer than the average one, in usual pauses, last {d} days", "最近间隔比平均间隔的延长程度（近{d}天）"),
    Feature("sessions_trend_{d}d", "lifecycle", Formula(ratio, (_VISITS(window=SHORTEST), _VISITS(window=LONGEST))), "share",
            "recent sessions (shortest window) as a share of the last {d} days", "近期会话占近{d}天比重"),
)
NEXT: tuple[Feature, ...] = (
    Feature("days_until_expected_purchase_{d}d", "lifecycle", Formula(lambda s, n, last: ratio(days(s), n) - days(last), (_GAPS, _N_GAPS, _LAST)), "days",
            "days until the next purchase by the customer's own rhythm", "按自身节奏距下次购买天数"),
    Feature("days_until_usual_purchase_{d}d", "lifecycle", Formula(lambda gap, last: days(gap) - days(last), (_BASKETS("median", "gap", LONGEST), _LAST)), "days",
            "days until the next purchase by the usual pause", "按常见间隔距下次购买天数"),
    # The eight weeks that began a year ago, of which as_of is the middle; only where somebody was seen so long ago.
    Feature("purchases_season_share_ever", "lifecycle", Formula(
        lambda wide, narrow, n, first: np.where(first > 365 * 86400, ratio(wide - narrow, n), np.nan),
        (_BASKETS(window=393), _BASKETS(window=337), _BASKETS(window=EVER), _FIRST)), "share",
            "share of all purchases that fell into this season of last year", "去年同期购买占全部购买比重"),
    # Thirteen weeks against the same thirteen weeks a year ago.
    Feature("purchases_year_ratio", "lifecycle", Formula(
        lambda n, wide, narrow, first: np.where(first > 365 * 86400, ratio(n, wide - narrow), np.nan),
        (_BASKETS(window=91), _BASKETS(window=456), _BASKETS(window=365), _FIRST)), "ratio",
            "purchases of the last 91 days against the same days a year ago", "近91天购买次数与去年同期之比"),
    Feature("purchase_month_favourite", "lifecycle", Formula(
        lambda month, first: np.where(first > 365 * 86400, known(month), np.nan), (_BASKETS("favourite", window=EVER, by="month"), _FIRST)), "month",
            "month of most purchases, of those known for a year", "最常购买的月份（一年以上客户）"),
    Feature("purchase_month_surely", "lifecycle", Formula(
        lambda hits, n, first: np.where(first > 365 * 86400, surely(hits, n), np.nan), (_BASKETS("largest", window=EVER, by="month"), _BASKETS(window=EVER), _FIRST)), "share",
            "share of purchases in that month, at least, of those known for a year", "最常月份的购买占比（保守，一年以上客户）"),
)
FEATURES = (*TENURE, *TREND, *NEXT)
