"""Consumption: value, baskets, discounts, prices, returns, and recency, frequency and value on fixed scales."""

import numpy as np

from features.feature import EVER, LONGEST, SHORTEST, Feature, Formula, days, over, ratio, unevenness

_BASKETS, _GOODS, _RETURNS = over("purchases"), over("goods"), over("acts", ("role", "return"))
_N, _N_LONG, _SPEND, _SPEND_LONG = _BASKETS(), _BASKETS(window=LONGEST), _BASKETS("sum", "amount_minor"), _BASKETS("sum", "amount_minor", LONGEST)
_LINES = _BASKETS("sum", "n_lines", LONGEST)
_ONE_GAP = _BASKETS("max", "age", EVER)

VALUE: tuple[Feature, ...] = (
    Feature("spend_sum_{d}d_{currency}", "consumption", _SPEND, "{currency}", "spend in the last {d} days", "近{d}天消费金额", 0),
    Feature("spend_sum_ever_{currency}", "consumption", _BASKETS("sum", "amount_minor", EVER), "{currency}", "spend ever seen", "累计消费金额", 0),
    Feature("spend_per_day_ever_{currency}", "consumption", Formula(
        lambda spend, age: ratio(spend, np.maximum(days(age), 1)), (_BASKETS("sum", "amount_minor", EVER), _ONE_GAP)), "{currency}",
            "spend per day since the first purchase", "自首购起日均消费"),
    Feature("net_spend_sum_{d}d_{currency}", "consumption", Formula(
        lambda spend, back: spend - back, (_SPEND_LONG, _RETURNS("sum", "amount_minor", LONGEST))), "{currency}", "spend less returns, last {d} days", "近{d}天净消费金额", 0),
)
BASKETS: tuple[Feature, ...] = (
    Feature("basket_value_mean_{d}d_{currency}", "consumption", Formula(ratio, (_SPEND, _N)), "{currency}",
            "average basket value, last {d} days", "近{d}天客单价", is_actionable=True),
    Feature("basket_value_median_{d}d_{currency}", "consumption", _BASKETS("median", "amount_minor", LONGEST), "{currency}",
            "usual basket value, last {d} days", "近{d}天常见单笔金额"),
    Feature("basket_value_max_{d}d_{currency}", "consumption", _BASKETS("max", "amount_minor", LONGEST), "{currency}",
            "largest basket, last {d} days", "近{d}天最高单笔金额"),
    Feature("basket_value_last_{currency}", "consumption", _BASKETS("last", "amount_minor", EVER), "{currency}", "value of the last basket", "最近一单金额"),
    Feature("basket_value_cv_{d}d", "consumption", Formula(
        unevenness, (_SPEND_LONG, _BASKETS("sum", "amount_squared", LONGEST), _BASKETS("count", "amount_minor", LONGEST))), "ratio",
            "unevenness of basket values, last {d} days", "近{d}天单笔金额波动"),
    Feature("basket_lines_mean_{d}d", "consumption", Formula(ratio, (_LINES, _N_LONG)), "lines",
            "average lines in a basket, last {d} days", "近{d}天平均每单商品行数", is_actionable=True),
    Feature("basket_lines_max_{d}d", "consumption", _BASKETS("max", "n_lines", LONGEST), "lines", "most lines in a basket, last {d} days", "近{d}天单笔最多商品行数"),
    Feature("basket_units_mean_{d}d", "consumption", Formula(ratio, (_BASKETS("sum", "n_units", LONGEST), _N_LONG)), "units",
            "average pieces in a basket, last {d} days", "近{d}天平均每单件数", is_actionable=True),
)
PRICES: tuple[Feature, ...] = (
    Feature("unit_price_median_{d}d_{currency}", "consumption", _GOODS("median", "unit_minor", LONGEST), "{currency}",
            "usual price of a piece, last {d} days", "近{d}天常见单件价格"),
    Feature("unit_price_max_{d}d_{currency}", "consumption", _GOODS("max", "unit_minor", LONGEST), "{currency}", "dearest piece, last {d} days", "近{d}天最贵单件价格"),
    Feature("unit_price_last_{currency}", "consumption", _GOODS("last", "unit_minor", EVER), "{currency}", "price of the last piece bought", "最近购买的单件价格"),
    Feature("discount_share_{d}d", "consumption", Formula(
        lambda off, paid: ratio(off, off + paid), (_BASKETS("sum", "discount_minor"), _SPEND)), "share",
            "share of list price saved by discounts, last {d} days", "近{d}天折扣占比", is_actionable=True),
    Feature("discount_share_ever", "consumption", Formula(
        lambda off, paid: ratio(off, off + paid), (_BASKETS("sum", "discount_minor", EVER), _BASKETS("sum", "amount_minor", EVER))), "share",
            "share of list price ever saved by discounts", "累计折扣占比"),
    Feature("discounted_baskets_share_{d}d", "consumption", Formula(ratio, (_BASKETS("sum", "is_discounted", LONGEST), _N_LONG)), "share",
            "share of baskets with a discount, last {d} days", "近{d}天有折扣订单占比", is_actionable=True),
    Feature("discount_max_{d}d_{currency}", "consumption", _BASKETS("max", "discount_minor", LONGEST), "{currency}",
            "largest discount on a basket, last {d} days", "近{d}天最大单笔优惠"),
    Feature("promoted_share_{d}d", "consumption", Formula(ratio, (_BASKETS("sum", "n_promoted", LONGEST), _LINES)), "share",
            "share of lines bought while advertised in store or mailer, last {d} days", "近{d}天促销商品占比", is_actionable=True),
)
RETURNS: tuple[Feature, ...] = (
    Feature("returns_count_{d}d", "consumption", _RETURNS(window=LONGEST), "events", "returned lines in the last {d} days", "近{d}天退货行数", 0),
    Feature("returned_share_{d}d", "consumption", Formula(ratio, (_RETURNS("sum", "amount_minor", LONGEST), _SPEND_LONG)), "share",
            "value returned against value bought, last {d} days", "近{d}天退货金额占比"),
    Feature("returned_share_ever", "consumption", Formula(ratio, (_RETURNS("sum", "amount_minor", EVER), _BASKETS("sum", "amount_minor", EVER))), "share",
            "value ever returned against value ever bought", "累计退货金额占比"),
    Feature("days_since_last_return", "consumption", Formula(days, (_RETURNS("min", "age", EVER),)), "days", "days since something was returned", "距上次退货天数"),
)
# Fixed scales, so that a score means the same for everybody and at any time; the grid against the others is a segment, not a feature.
RFM: tuple[Feature, ...] = (
    Feature("recency_score_{d}d", "consumption", Formula(
        lambda n, recent, last: np.where(n > 0, np.where(recent > 0, 5, np.clip(5 - np.floor(np.nan_to_num(days(last)) / 28), 1, 4)), np.nan),
        (_N_LONG, _BASKETS(window=SHORTEST), _BASKETS("min", "age", EVER))), "score", "recency score, 5 is the latest, last {d} days", "近度得分（5为最近，近{d}天）"),
    Feature("frequency_score_{d}d", "consumption", Formula(
        lambda n: np.where(n > 0, np.clip(1 + np.floor(np.log2(np.maximum(n, 1))), 1, 5), np.nan), (_N_LONG,)), "score",
            "frequency score: 1, 2, 4, 8, 16 purchases and more, last {d} days", "频度得分（1、2、4、8、16次以上，近{d}天）"),
)
FEATURES = (*VALUE, *BASKETS, *PRICES, *RETURNS, *RFM)
