"""Interest: which categories, brands and goods, how many, how new, how often again."""

from features.feature import EVER, LONGEST, SHORTEST, Feature, Formula, days, over, ratio, surely

_GOODS, _NEW_CATEGORIES, _REBOUGHT, _LOOKS = over("goods"), over("goods", ("is_new_category", "1")), over("goods", ("is_new_item", "0")), over("acts", ("role", "look"))
_LINES = _GOODS(window=LONGEST)

CATEGORIES: tuple[Feature, ...] = (
    Feature("categories_nunique_{d}d", "interest", _GOODS("distinct", by="category"), "categories", "categories bought in the last {d} days", "近{d}天购买品类数", 0,
            is_actionable=True),
    Feature("categories_nunique_ever", "interest", _GOODS("distinct", window=EVER, by="category"), "categories", "categories ever bought", "累计购买品类数", 0),
    Feature("new_categories_count_{d}d", "interest", _GOODS("sum", "is_new_category", SHORTEST), "categories",
            "categories bought for the first time in the last {d} days", "近{d}天首次购买的品类数", 0, is_actionable=True),
    Feature("top_category_share_{d}d", "interest", Formula(
        ratio, (_GOODS("largest", "amount_minor", LONGEST, "category"), _GOODS("total", "amount_minor", LONGEST, "category"))), "share",
            "share of spend in the favourite category, last {d} days", "近{d}天最爱品类消费占比"),
    Feature("top_category_{d}d", "interest", _GOODS("favourite", window=LONGEST, by="category"), "category", "category bought most, last {d} days", "近{d}天购买最多的品类",
            is_category=True, texts="category"),
    Feature("top_category_surely_{d}d", "interest", Formula(surely, (_GOODS("largest", window=LONGEST, by="category"), _GOODS("total", window=LONGEST, by="category"))),
            "share", "share of lines in the favourite category, at least, last {d} days", "近{d}天最爱品类商品行占比（保守）"),
    Feature("category_entropy_{d}d", "interest", _GOODS("entropy", "amount_minor", LONGEST, "category"), "nats",
            "variety of spend over categories, last {d} days", "近{d}天品类多样性"),
    # A purchase weighs half as much for each thirty days of age: what they like now, not what they once liked.
    Feature("affinity_category_{d}d", "interest", _GOODS("decayed_favourite", "amount_minor", LONGEST, "category"), "category",
            "category of most spend, the recent weighing more, last {d} days", "近{d}天偏好品类（越近权重越大）", is_category=True, texts="category"),
    Feature("affinity_category_share_{d}d", "interest", Formula(ratio, (
        _GOODS("decayed_largest", "amount_minor", LONGEST, "category"), _GOODS("decayed", "amount_minor", LONGEST, "category"))), "share",
            "share of spend in that category, the recent weighing more, last {d} days", "近{d}天偏好品类消费占比（越近权重越大）"),
    Feature("categories_trend_{d}d", "interest", Formula(ratio, (_GOODS("distinct", window=SHORTEST, by="category"), _GOODS("distinct", window=LONGEST, by="category"))), "share",
            "categories bought recently (shortest window) as a share of those of the last {d} days", "近期购买品类数占近{d}天比重"),
    Feature("days_since_new_category", "interest", Formula(days, (_NEW_CATEGORIES("min", "age", EVER),)), "days",
            "days since a category was bought for the first time", "距上次尝试新品类天数"),
    Feature("last_category", "interest", _GOODS("newest", "category", EVER), "category", "category bought last", "最近购买的品类", is_category=True, texts="category"),
)
BRANDS: tuple[Feature, ...] = (
    Feature("brands_nunique_{d}d", "interest", _GOODS("distinct", window=LONGEST, by="brand"), "brands", "brands bought in the last {d} days", "近{d}天购买品牌数", 0),
    Feature("new_brands_count_{d}d", "interest", _GOODS("sum", "is_new_brand", SHORTEST), "brands",
            "brands bought for the first time in the last {d} days", "近{d}天首次购买的品牌数", 0),
    Feature("top_brand_share_{d}d", "interest", Formula(
        ratio, (_GOODS("largest", "amount_minor", LONGEST, "brand"), _GOODS("total", "amount_minor", LONGEST, "brand"))), "share",
            "share of spend on the favourite brand, last {d} days", "近{d}天最爱品牌消费占比"),
    Feature("affinity_brand_{d}d", "interest", _GOODS("decayed_favourite", "amount_minor", LONGEST, "brand"), "category",
            "brand of most spend, the recent weighing more, last {d} days", "近{d}天偏好品牌（越近权重越大）", is_category=True, texts="brand"),
    Feature("affinity_brand_share_{d}d", "interest", Formula(ratio, (
        _GOODS("decayed_largest", "amount_minor", LONGEST, "brand"), _GOODS("decayed", "amount_minor", LONGEST, "brand"))), "share",
            "share of spend on that brand, the recent weighing more, last {d} days", "近{d}天偏好品牌消费占比（越近权重越大）"),
    Feature("brand_repeat_share_{d}d", "interest", Formula(
        lambda new, n: 1 - ratio(new, n), (_GOODS("sum", "is_new_brand", LONGEST), _GOODS("count", "is_new_brand", LONGEST))), "share",
            "share of lines of brands bought before, last {d} days", "近{d}天购买过的品牌商品行占比"),
    Feature("brand_entropy_{d}d", "interest", _GOODS("entropy", "amount_minor", LONGEST, "brand"), "nats", "variety of spend over brands, last {d} days", "近{d}天品牌多样性"),
)
ITEMS: tuple[Feature, ...] = (
    Feature("items_nunique_{d}d", "interest", _GOODS("distinct", window=LONGEST, by="item_id"), "items",
            "different goods bought in the last {d} days", "近{d}天购买商品种数", 0),
    Feature("new_items_count_{d}d", "interest", _GOODS("sum", "is_new_item"), "items", "goods bought for the first time in the last {d} days", "近{d}天首次购买的商品数", 0),
    Feature("repurchase_share_{d}d", "interest", Formula(
        lambda new, n: 1 - ratio(new, n), (_GOODS("sum", "is_new_item", LONGEST), _GOODS("count", "is_new_item", LONGEST))), "share",
            "share of lines of goods bought before, last {d} days", "近{d}天复购商品行占比"),
    Feature("rebought_items_nunique_{d}d", "interest", _REBOUGHT("distinct", window=LONGEST, by="item_id"), "items",
            "different goods bought again in the last {d} days", "近{d}天复购商品种数", 0),
    Feature("item_gap_median_{d}d_days", "interest", Formula(days, (_GOODS("median", "item_gap", LONGEST),)), "days",
            "usual days until the same good is bought again, last {d} days", "近{d}天同一商品常见复购间隔（天）"),
    Feature("top_item_share_{d}d", "interest", Formula(ratio, (_GOODS("largest", window=LONGEST, by="item_id"), _GOODS("total", window=LONGEST, by="item_id"))), "share",
            "share of lines of the favourite good, last {d} days", "近{d}天最爱商品行占比"),
    Feature("lines_decayed", "interest", _GOODS("decayed", window=EVER), "lines", "lines ever bought, the recent ones weighing more", "购买商品行数（越近权重越大）", 0),
    Feature("lines_count_{d}d", "interest", _LINES, "lines", "lines bought in the last {d} days", "近{d}天购买商品行数", 0),
)
LOOKS: tuple[Feature, ...] = (
    Feature("looked_categories_nunique_{d}d", "interest", _LOOKS("distinct", window=LONGEST, by="category"), "categories",
            "categories looked at in the last {d} days", "近{d}天浏览品类数", 0),
    Feature("looked_items_nunique_{d}d", "interest", _LOOKS("distinct", window=LONGEST, by="item_id"), "items",
            "different goods looked at in the last {d} days", "近{d}天浏览商品种数", 0),
    Feature("looked_category_{d}d", "interest", _LOOKS("favourite", window=LONGEST, by="category"), "category", "category looked at most, last {d} days", "近{d}天浏览最多的品类",
            is_category=True, texts="category"),
    Feature("looked_category_surely_{d}d", "interest", Formula(surely, (
        _LOOKS("largest", window=LONGEST, by="category"), _LOOKS("total", window=LONGEST, by="category"))), "share",
            "share of looks in the category looked at most, at least, last {d} days", "近{d}天浏览最多品类的占比（保守）"),
    Feature("looked_category_last", "interest", _LOOKS("newest", "category", EVER), "category", "category looked at last", "最近浏览的品类", is_category=True, texts="category"),
)
FEATURES = (*CATEGORIES, *BRANDS, *ITEMS, *LOOKS)
