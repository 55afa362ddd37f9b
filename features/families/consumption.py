"""Consumption: value, baskets, discounts, prices, returns, and recency, frequency and value on fixed scales."""

import numpy as np

from features.feature import EACH, EVER, LONGEST, SHORTEST, Feature, Formula, Numbers, days, over, ratio, unevenness

_BASKETS, _GOODS, _RETURNS = over("purchases"), over("goods"), over("acts", ("role", "return"))
_REDUCED, _FULL_PRICE = (over("purchases", ("is_discounted", value)) for value in ("1", "0"))
_N, _N_LONG, _N_SHORT = _BASKETS(), _BASKETS(window=LONGEST), _BASKETS(window=SHORTEST)
_SPEND, _SPEND_LONG = _BASKETS("sum", "amount_minor"), _BASKETS("sum", "amount_minor", LONGEST)
_LINES, _SPEND_EVER, _LAST_VALUE = _BASKETS("sum", "n_lines", LONGEST), _BASKETS("sum", "amount_minor", EVER), _BASKETS("last", "amount_minor", EVER)
_OFF, _OFF_LONG, _OFF_SHORT = (_BASKETS("sum", "discount_minor", window) for window in (EACH, LONGEST, SHORTEST))
_FIRST, _LAST = _BASKETS("max", "age", EVER), _BASKETS("min", "age", EVER)
# Where the second money score and the further ones begin, in minor units: 40 dollars or 4,000 yen, each four times the one before.
_MONEY_STEPS = 4000 * 4 ** np.arange(4)


def _saved(off: Numbers, paid: Numbers) -> Numbers:
    """The share of the list price that discounts saved."""
    return ratio(off, off + paid)


def _recency_score(n: Numbers, recent: Numbers, last: Numbers) -> Numbers:
    return np.where(n > 0, np.where(recent > 0, 5, np.clip(5 - np.floor(np.nan_to_num(days(last)) / 28), 1, 4)), np.nan)


def _frequency_score(n: Numbers) -> Numbers:
    return np.where(n > 0, np.clip(1 + np.floor(np.log2(np.maximum(n, 1))), 1, 5), np.nan)


def _money_score(n: Numbers, spend: Numbers) -> Numbers:
    return np.where(n > 0, 1 + np.searchsorted(_MONEY_STEPS, spend, side="right"), np.nan)


VALUE: tuple[Feature, ...] = (
    Feature("spend_sum_{d}d_{currency}", "consumption", _SPEND, "{currency}", "spend in the last {d} days", "近{d}天消费金额", 0),
    Feature("spend_sum_ever_{currency}", "consumption", _SPEND_EVER, "{currency}", "spend ever seen", "累计消费金额", 0),
    Feature("spend_per_day_ever_{currency}", "consumption", Formula(
        lambda spend, age: ratio(spend, np.maximum(days(age), 1)), (_SPEND_EVER, _FIRST)), "{currency}",
            "spend per day since the first purchase", "自首购起日均消费"),
    Feature("net_spend_sum_{d}d_{currency}", "consumption", Formula(
        lambda spend, back: spend - back, (_SPEND_LONG, _RETURNS("sum", "amount_minor", LONGEST))), "{currency}", "spend less returns, last {d} days", "近{d}天净消费金额", 0),
    Feature("net_spend_sum_ever_{currency}", "consumption", Formula(
        lambda spend, back: spend - back, (_SPEND_EVER, _RETURNS("sum", "amount_minor", EVER))), "{currency}", "spend less returns, ever", "累计净消费金额", 0),
    Feature("spend_decayed_{currency}", "consumption", _BASKETS("decayed", "amount_minor", EVER), "{currency}",
            "spend ever, the recent weighing more", "消费金额（越近权重越大）", 0),
)
BASKETS: tuple[Feature, ...] = (
    Feature("basket_value_mean_{d}d_{currency}", "consumption", Formula(ratio, (_SPEND, _N)), "{currency}",
            "average basket value, last {d} days", "近{d}天客单价", is_actionable=True),
    Feature("basket_value_median_{d}d_{currency}", "consumption", _BASKETS("median", "amount_minor", LONGEST), "{currency}",
            "usual basket value, last {d} days", "近{d}天常见单笔金额"),
    Feature("basket_value_max_{d}d_{currency}", "consumption", _BASKETS("max", "amount_minor", LONGEST), "{currency}",
            "largest basket, last {d} days", "近{d}天最高单笔金额"),
    Feature("basket_value_last_{currency}", "consumption", _LAST_VALUE, "{currency}", "value of the last basket", "最近一单金额"),
    Feature("basket_value_last_ratio_{d}d", "consumption", Formula(ratio, (_LAST_VALUE, _BASKETS("median", "amount_minor", LONGEST))), "ratio",
            "value of the last basket against the usual one, last {d} days", "最近一单与近{d}天常见单笔金额之比"),
    Feature("top_basket_share_{d}d", "consumption", Formula(ratio, (_BASKETS("max", "amount_minor", LONGEST), _SPEND_LONG)), "share",
            "share of spend in the largest basket, last {d} days", "近{d}天最大一单占消费比重"),
    Feature("basket_value_cv_{d}d", "consumption", Formula(
        unevenness, (_SPEND_LONG, _BASKETS("sum", "amount_squared", LONGEST), _BASKETS("count", "amount_minor", LONGEST))), "ratio",
            "unevenness of basket values, last {d} days", "近{d}天单笔金额波动"),
    Feature("basket_lines_mean_{d}d", "consumption", Formula(ratio, (_LINES, _N_LONG)), "lines",
            "average lines in a basket, last {d} days", "近{d}天平均每单商品行数", is_actionable=True),
    Feature("basket_lines_max_{d}d", "consumption", _BASKETS("max", "n_lines", LONGEST), "lines", "most lines in a basket, last {d} days", "近{d}天单笔最多商品行数"),
    Feature("basket_units_mean_{d}d", "consumption", Formula(ratio, (_BASKETS("sum", "n_units", LONGEST), _N_LONG)), "units",
            "average pieces in a basket, last {d} days", "近{d}天平均每单件数", is_actionable=True),
    Feature("basket_categories_mean_{d}d", "consumption", Formula(ratio, (_GOODS("sum", "is_new_in_basket", LONGEST), _GOODS("sum", "is_basket", LONGEST))), "categories",
            "average categories in a basket, last {d} days", "近{d}天平均每单品类数", is_actionable=True),
    Feature("single_line_share_{d}d", "consumption", Formula(ratio, (_BASKETS("sum", "is_single", LONGEST), _N_LONG)), "share",
            "share of baskets of a single line, last {d} days", "近{d}天单品订单占比", is_actionable=True),
)
PRICES: tuple[Feature, ...] = (
    Feature("unit_price_median_{d}d_{currency}", "consumption", _GOODS("median", "unit_minor", LONGEST), "{currency}",
            "usual price of a piece, last {d} days", "近{d}天常见单件价格"),
    Feature("unit_price_max_{d}d_{currency}", "consumption", _GOODS("max", "unit_minor", LONGEST), "{currency}", "dearest piece, last {d} days", "近{d}天最贵单件价格"),
    Feature("unit_price_last_{currency}", "consumption", _GOODS("last", "unit_minor", EVER), "{currency}", "price of the last piece bought", "最近购买的单件价格"),
    Feature("unit_price_last_ratio_{d}d", "consumption", Formula(ratio, (_GOODS("last", "unit_minor", EVER), _GOODS("median", "unit_minor", LONGEST))), "ratio",
            "price of the last piece against the usual one, last {d} days", "最近单件价格与近{d}天常见单件价格之比"),
    Feature("discount_share_{d}d", "consumption", Formula(_saved, (_OFF, _SPEND)), "share",
            "share of list price saved by discounts, last {d} days", "近{d}天折扣占比", is_actionable=True),
    Feature("discount_share_ever", "consumption", Formula(_saved, (_BASKETS("sum", "discount_minor", EVER), _SPEND_EVER)), "share",
            "share of list price ever saved by discounts", "累计折扣占比"),
    Feature("discount_depth_{d}d", "consumption", Formula(_saved, (_REDUCED("sum", "discount_minor", LONGEST), _REDUCED("sum", "amount_minor", LONGEST))), "share",
            "share of list price saved on baskets with a discount, last {d} days", "近{d}天有折扣订单的折扣力度", is_actionable=True),
    Feature("discount_trend_{d}d", "consumption", Formula(
        lambda off, paid, off_long, paid_long: ratio(_saved(off, paid), _saved(off_long, paid_long)),
        (_OFF_SHORT, _BASKETS("sum", "amount_minor", SHORTEST), _OFF_LONG, _SPEND_LONG)), "ratio",
            "recent share saved by discounts (shortest window) against the last {d} days", "近期折扣占比与近{d}天之比"),
    Feature("days_since_full_price", "consumption", Formula(days, (_FULL_PRICE("min", "age", EVER),)), "days",
            "days since the last purchase without a discount", "距上次无折扣购买天数"),
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
    Feature("returned_share_ever", "consumption", Formula(ratio, (_RETURNS("sum", "amount_minor", EVER), _SPEND_EVER)), "share",
            "value ever returned against value ever bought", "累计退货金额占比"),
    Feature("returns_per_purchase_ever", "consumption", Formula(ratio, (_RETURNS(window=EVER), _BASKETS(window=EVER))), "ratio",
            "returned lines for each purchase", "每次购买的退货行数"),
    Feature("days_since_last_return", "consumption", Formula(days, (_RETURNS("min", "age", EVER),)), "days", "days since something was returned", "距上次退货天数"),
)
# Fixed scales, so that a score means the same for everybody and at any time; the grid against the others is a segment, not a feature.
RFM: tuple[Feature, ...] = (
    Feature("recency_score_{d}d", "consumption", Formula(_recency_score, (_N_LONG, _N_SHORT, _LAST)), "score",
            "recency score, 5 is the latest, last {d} days", "近度得分（5为最近，近{d}天）"),
    Feature("frequency_score_{d}d", "consumption", Formula(_frequency_score, (_N_LONG,)), "score",
            "frequency score: 1, 2, 4, 8, 16 purchases and more, last {d} days", "频度得分（1、2、4、8、16次以上，近{d}天）"),
    Feature("money_score_{d}d", "consumption", Formula(_money_score, (_N_LONG, _SPEND_LONG)), "score",
            "money score: 5 is the most, each step four times the one before, last {d} days", "额度得分（5为最高，每级为上一级的四倍，近{d}天）"),
    Feature("rfm_score_{d}d", "consumption", Formula(
        lambda n, recent, last, spend: _recency_score(n, recent, last) + _frequency_score(n) + _money_score(n, spend), (_N_LONG, _N_SHORT, _LAST, _SPEND_LONG)), "score",
            "recency, frequency and money scores together (3 to 15), last {d} days", "RFM总分（3至15，近{d}天）"),
)
FEATURES = (*VALUE, *BASKETS, *PRICES, *RETURNS, *RFM)
