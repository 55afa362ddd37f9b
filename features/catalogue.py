"""The catalogue: every feature there is, in six families. A new feature is one entry."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from features.dataset import Attribute
from features.feature import EACH, EVER, LONGEST, NOW, SHORTEST, Aggregate, AsOf, Family, Feature, Formula, days, ratio
from features.tasks import Task, slug


def _baskets(statistic: str = "count", column: str = "", window: str = EACH) -> Aggregate:
    return Aggregate("purchases", statistic, column, window=window)


_N, _N_LONG, _GAPS = _baskets(), _baskets(window=LONGEST), Aggregate("purchases", "sum", "gap", window=LONGEST)
_LAST, _SPEND = _baskets("min", "age", EVER), _baskets("sum", "amount_minor")
# A gap belongs to the later of its two baskets, so n baskets in the window carry up to n gaps; the very first basket has none.
_N_GAPS = Aggregate("purchases", "count", "gap", window=LONGEST)
_REDEEMED, _RECEIVED = (("kind", "coupon_redemption"),), (("kind", "campaign_received"),)

BEHAVIOUR: tuple[Feature, ...] = (
    Feature("days_since_last_purchase", "behaviour", Formula(days, (_LAST,)), "days", "days since the last purchase", "距上次购买天数"),
    Feature("purchases_count_{d}d", "behaviour", _N, "purchases", "purchases in the last {d} days", "近{d}天购买次数", 0),
    Feature("purchases_count_ever", "behaviour", _baskets(window=EVER), "purchases", "purchases ever seen", "累计购买次数", 0),
    Feature("active_weeks_count_{d}d", "behaviour", Aggregate("events", "weeks", where=(("kind", "purchase"),)), "weeks", "weeks with a purchase in the last {d} days", "近{d}天有购买的周数", 0),
    Feature("purchase_gap_mean_{d}d_days", "behaviour", Formula(lambda s, n: ratio(days(s), n), (_GAPS, _N_GAPS)), "days",
            "average days between purchases, last {d} days", "近{d}天平均购买间隔（天）"),
    Feature("purchase_gap_max_{d}d_days", "behaviour", Formula(days, (_baskets("max", "gap", LONGEST),)), "days",
            "longest pause between purchases, last {d} days", "近{d}天最长购买间隔（天）"),
    Feature("purchase_gap_cv_{d}d", "behaviour", Formula(
        lambda s, q, n: ratio(np.sqrt(np.maximum(ratio(q, n) - ratio(s, n) ** 2, 0)), ratio(s, n)),
        (_GAPS, _baskets("sum", "gap_squared", LONGEST), _N_GAPS)), "ratio", "irregularity of purchase times, last {d} days", "近{d}天购买节奏不规律度"),
    Feature("overdue_ratio_{d}d", "behaviour", Formula(lambda last, s, n: ratio(last, ratio(s, n)), (_LAST, _GAPS, _N_GAPS)), "ratio",
            "silence against the customer's own rhythm", "沉默时长与自身购买节奏之比"),
    Feature("weekend_share_{d}d", "behaviour", Formula(ratio, (_baskets("sum", "is_weekend", LONGEST), _N_LONG)), "share",
            "share of purchases at weekends, last {d} days", "近{d}天周末购买占比"),
    Feature("evening_share_{d}d", "behaviour", Formula(ratio, (_baskets("sum", "is_evening", LONGEST), _N_LONG)), "share",
            "share of purchases after 18:00, last {d} days", "近{d}天18点后购买占比"),
)

CONSUMPTION: tuple[Feature, ...] = (
    Feature("spend_sum_{d}d_{currency}", "consumption", _SPEND, "{currency}", "spend in the last {d} days", "近{d}天消费金额", 0, needs=("amount_minor",)),
    Feature("basket_value_mean_{d}d_{currency}", "consumption", Formula(ratio, (_SPEND, _N)), "{currency}",
            "average basket value, last {d} days", "近{d}天客单价", is_actionable=True, needs=("amount_minor",)),
    Feature("basket_value_max_{d}d_{currency}", "consumption", _baskets("max", "amount_minor", LONGEST), "{currency}",
            "largest basket, last {d} days", "近{d}天最高单笔金额", needs=("amount_minor",)),
    Feature("basket_lines_mean_{d}d", "consumption", Formula(ratio, (_baskets("sum", "n_lines", LONGEST), _N_LONG)), "lines",
            "average lines in a basket, last {d} days", "近{d}天平均每单商品行数", is_actionable=True),
    Feature("discount_share_{d}d", "consumption", Formula(
        lambda off, paid: ratio(off, off + paid), (_baskets("sum", "discount_minor"), _SPEND)), "share",
            "share of list price saved by discounts, last {d} days", "近{d}天折扣占比", is_actionable=True, needs=("discount_minor", "amount_minor")),
    Feature("promoted_share_{d}d", "consumption", Formula(ratio, (_baskets("sum", "n_promoted", LONGEST), _baskets("sum", "n_lines", LONGEST))), "share",
            "share of lines bought while advertised in store or mailer, last {d} days", "近{d}天促销商品占比", is_actionable=True, needs=("is_promoted",)),
    Feature("returns_count_{d}d", "consumption", Aggregate("events", where=(("kind", "return"),), window=LONGEST), "events",
            "returned lines in the last {d} days", "近{d}天退货行数", 0, needs=("kind:return",)),
    Feature("returned_share_{d}d", "consumption", Formula(
        ratio, (Aggregate("events", "sum", "amount_minor", (("kind", "return"),), LONGEST), _baskets("sum", "amount_minor", LONGEST))), "share",
            "value returned against value bought, last {d} days", "近{d}天退货金额占比", needs=("kind:return", "amount_minor")),
)

INTEREST: tuple[Feature, ...] = (
    Feature("categories_nunique_{d}d", "interest", Aggregate("goods", "distinct", by="category"), "categories", "categories bought in the last {d} days", "近{d}天购买品类数", 0,
            is_actionable=True, needs=("category",)),
    Feature("new_categories_count_{d}d", "interest", Aggregate("goods", "sum", "is_new_category", window=SHORTEST), "categories",
            "categories bought for the first time in the last {d} days", "近{d}天首次购买的品类数", 0, is_actionable=True, needs=("category",)),
    Feature("top_category_share_{d}d", "interest", Formula(
        ratio, (Aggregate("goods", "largest", "amount_minor", window=LONGEST, by="category"), Aggregate("goods", "total", "amount_minor", window=LONGEST, by="category"))), "share",
            "share of spend in the favourite category, last {d} days", "近{d}天最爱品类消费占比", needs=("category", "amount_minor")),
    Feature("category_entropy_{d}d", "interest", Aggregate("goods", "entropy", "amount_minor", window=LONGEST, by="category"), "nats",
            "variety of spend over categories, last {d} days", "近{d}天品类多样性", needs=("category", "amount_minor")),
    Feature("brands_nunique_{d}d", "interest", Aggregate("goods", "distinct", window=LONGEST, by="brand"), "brands", "brands bought in the last {d} days", "近{d}天购买品牌数", 0,
            needs=("brand",)),
)

LIFECYCLE: tuple[Feature, ...] = (
    Feature("purchases_trend_{d}d", "lifecycle", Formula(
        ratio, (_baskets(window=SHORTEST), _N_LONG)), "share", "recent purchases (shortest window) as a share of the last {d} days", "近期购买次数占近{d}天比重"),
    Feature("spend_trend_{d}d", "lifecycle", Formula(
        ratio, (_baskets("sum", "amount_minor", SHORTEST), _baskets("sum", "amount_minor", LONGEST))), "share",
            "recent spend (shortest window) as a share of the last {d} days", "近期消费占近{d}天比重", needs=("amount_minor",)),
    Feature("days_until_expected_purchase_{d}d", "lifecycle", Formula(
        lambda s, n, last: ratio(days(s), n) - days(last), (_GAPS, _N_GAPS, _LAST)), "days",
            "days until the next purchase by the customer's own rhythm", "按自身节奏距下次购买天数"),
    Feature("first_purchase_age_{d}d_days", "lifecycle", Formula(days, (_baskets("max", "age", LONGEST),)), "days",
            "days since the first purchase within the last {d} days", "近{d}天内首次购买距今天数"),
)

TOUCHPOINTS: tuple[Feature, ...] = (
    Feature("redemptions_count_{d}d", "touchpoints", Aggregate("events", where=_REDEEMED), "redemptions", "coupons redeemed in the last {d} days", "近{d}天核销优惠券数", 0,
            is_actionable=True, needs=("kind:coupon_redemption",)),
    Feature("redemptions_count_ever", "touchpoints", Aggregate("events", where=_REDEEMED, window=EVER), "redemptions", "coupons ever redeemed", "累计核销优惠券数", 0,
            is_actionable=True, needs=("kind:coupon_redemption",)),
    Feature("days_since_last_redemption", "touchpoints", Formula(days, (Aggregate("events", "min", "age", _REDEEMED, EVER),)), "days",
            "days since the last coupon redeemed", "距上次核销天数", needs=("kind:coupon_redemption",)),
    Feature("campaigns_received_count_{d}d", "touchpoints", Aggregate("treatments", where=_RECEIVED), "campaigns",
            "campaigns received in the last {d} days", "近{d}天收到活动数", 0, is_treatment=True, needs=("kind:campaign_received",)),
    Feature("campaigns_received_count_ever", "touchpoints", Aggregate("treatments", where=_RECEIVED, window=EVER), "campaigns", "campaigns ever received", "累计收到活动数", 0,
            is_treatment=True, needs=("kind:campaign_received",)),
    Feature("days_since_last_campaign", "touchpoints", Formula(days, (Aggregate("treatments", "min", "age", _RECEIVED, EVER),)), "days",
            "days since the last campaign received", "距上次收到活动天数", is_treatment=True, needs=("kind:campaign_received",)),
    Feature("campaigns_open_count", "touchpoints", Aggregate("treatments", "after", "campaign_end", _RECEIVED, EVER), "campaigns", "campaigns still running", "进行中的活动数", 0,
            is_treatment=True, needs=("kind:campaign_received", "table:campaigns")),
    Feature("campaign_days_left_max", "touchpoints", Formula(
        lambda end, now: np.where(end > now, days(end - now), np.nan), (Aggregate("treatments", "max", "campaign_end", _RECEIVED, EVER), NOW)), "days",
            "days that the longest open campaign still lasts", "进行中活动的最长剩余天数", is_treatment=True, needs=("kind:campaign_received", "table:campaigns")),
    Feature("redemption_rate_ever", "touchpoints", Formula(
        ratio, (Aggregate("events", where=_REDEEMED, window=EVER), Aggregate("treatments", where=_RECEIVED, window=EVER))), "ratio",
            "coupons redeemed per campaign received", "每次活动核销优惠券数", is_treatment=True, needs=("kind:coupon_redemption", "kind:campaign_received")),
)

CATALOGUE = (*BEHAVIOUR, *CONSUMPTION, *INTEREST, *LIFECYCLE, *TOUCHPOINTS)


# Kinds of events that have features of their own above, or say nothing of a customer.
_TOLD = ("purchase", "return", "coupon_redemption", "fee")


def of_kinds(kinds: Sequence[str]) -> tuple[Feature, ...]:
    """How often and how lately customers did what else the data tell: visits, views, completed offers."""
    return tuple(feature for kind in kinds if kind not in _TOLD for feature in _counted(
        "events", (("kind", kind),), slug(kind), kind.replace("_", " "), kind, "behaviour"))


def of_targets(tasks: Sequence[Task], kinds: Sequence[str]) -> tuple[Feature, ...]:
    """The customer's own past of a category that a task asks about: of what is asked, and of the other kinds of events that tell a category, such as looks."""
    asked = {(kind, task.target_category): kind == task.target_kind for task in tasks if task.target_category for kind in (task.target_kind, *kinds)}
    return tuple(feature for (kind, category), is_target in asked.items() for feature in _counted(
        "events", (("kind", kind), ("category", category)), f"{slug(kind)}_in_{slug(category)}", f"{kind.replace('_', ' ')} in {category}",
        category if is_target else f"{category} {kind}", "interest"))


def _counted(stream: str, where: tuple[tuple[str, str], ...], column: str, what: str, what_zh: str, family: Family) -> tuple[Feature, ...]:
    en, zh = _plain(what), _plain(what_zh)
    last = Formula(days, (Aggregate(stream, "min", "age", where, EVER),))
    return (
        Feature(f"{column}_count_{{d}}d", family, Aggregate(stream, where=where), "events", f"{en} in the last {{d}} days, times", f"近{{d}}天“{zh}”次数", 0),
        Feature(f"{column}_count_ever", family, Aggregate(stream, where=where, window=EVER), "events", f"{en} ever, times", f"累计“{zh}”次数", 0),
        Feature(f"days_since_last_{column}", family, last, "days", f"days since the last {en}", f"距上次“{zh}”天数"))


def _plain(text: str) -> str:
    """A text from the data in a template: its braces are no places to fill."""
    return text.replace("{", "{{").replace("}", "}}")


def profile(attributes: tuple[Attribute, ...], are_undated: bool) -> tuple[Feature, ...]:
    """The profile family: one feature for each attribute that the dataset declares of its customers."""
    return tuple(
        Feature(_plain(a.name), "profile", AsOf(a.name), "category", _plain(a.label_en), _plain(a.label_zh), is_category=True, is_sensitive=a.is_sensitive, is_undated=are_undated)
        for a in attributes)


def expand(templates: tuple[Feature, ...], lookbacks_days: tuple[int, ...], currency: str) -> tuple[Feature, ...]:
    """Write a feature out for the dataset's lookbacks and currency; names are then complete and windows are days (0 for ever)."""
    words = {SHORTEST: lookbacks_days[0], LONGEST: lookbacks_days[-1], EVER: 0}

    def at(feature: Feature, d: int) -> Feature:
        def fixed(aggregate: Aggregate) -> Aggregate:
            return replace(aggregate, window=words.get(str(aggregate.window), d))

        expression = feature.expression
        if isinstance(expression, Aggregate):
            expression = fixed(expression)
        elif isinstance(expression, Formula):
            expression = replace(expression, inputs=tuple(fixed(one) for one in expression.inputs))
        code = currency.lower()
        name = feature.name.format(d=d, currency=code)
        return replace(feature, name=name, expression=expression, unit=feature.unit.format(currency=currency),
                       label_en=feature.label_en.format(d=d), label_zh=feature.label_zh.format(d=d))

    written: list[Feature] = []
    for feature in templates:
        windows = {aggregate.window for aggregate in feature.aggregates()}
        if EACH in windows:
            written += [at(feature, d) for d in lookbacks_days]
        else:
            written.append(at(feature, lookbacks_days[0] if windows == {SHORTEST} else lookbacks_days[-1]))
    return tuple(written)
