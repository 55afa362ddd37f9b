"""Interest: which categories, brands and goods, how many, how new, how often again."""

from features.feature import EVER, LONGEST, SHORTEST, Feature, Formula, over, ratio, surely

_GOODS = over("goods")
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
    Feature("last_category", "interest", _GOODS("newest", "category", EVER), "category", "category bought last", "最近购买的品类", is_category=True, texts="category"),
)
BRANDS: tuple[Feature, ...] = (
    Feature("brands_nunique_{d}d", "interest", _GOODS("distinct", window=LONGEST, by="brand"), "brands", "brands bought in the last {d} days", "近{d}天购买品牌数", 0),
    Feature("new_brands_count_{d}d", "interest", _GOODS("sum", "is_new_brand", SHORTEST), "brands",
            "brands bought for the first time in the last {d} days", "近{d}天首次购买的品牌数", 0),
    Feature("top_brand_share_{d}d", "interest", Formula(
        ratio, (_GOODS("largest", "amount_minor", LONGEST, "brand"), _GOODS("total", "amount_minor", LONGEST, "brand"))), "share",
            "share of spend on the favourite brand, last {d} days", "近{d}天最爱品牌消费占比"),
    Feature("brand_entropy_{d}d", "interest", _GOODS("entropy", "amount_minor", LONGEST, "brand"), "nats", "variety of spend over brands, last {d} days", "近{d}天品牌多样性"),
)
ITEMS: tuple[Feature, ...] = (
    Feature("items_nunique_{d}d", "interest", _GOODS("distinct", window=LONGEST, by="item_id"), "items",
            "different goods bought in the last {d} days", "近{d}天购买商品种数", 0),
    Feature("new_items_count_{d}d", "interest", _GOODS("sum", "is_new_item"), "items", "goods bought for the first time in the last {d} days", "近{d}天首次购买的商品数", 0),
    Feature("repurchase_share_{d}d", "interest", Formula(
        lambda new, n: 1 - ratio(new, n), (_GOODS("sum", "is_new_item", LONGEST), _GOODS("count", "is_new_item", LONGEST))), "share",
            "share of lines of goods bought before, last {d} days", "近{d}天复购商品行占比"),
    Feature("top_item_share_{d}d", "interest", Formula(ratio, (_GOODS("largest", window=LONGEST, by="item_id"), _GOODS("total", window=LONGEST, by="item_id"))), "share",
            "share of lines of the favourite good, last {d} days", "近{d}天最爱商品行占比"),
    Feature("lines_decayed", "interest", _GOODS("decayed", window=EVER), "lines", "lines ever bought, the recent ones weighing more", "购买商品行数（越近权重越大）", 0),
    Feature("lines_count_{d}d", "interest", _LINES, "lines", "lines bought in the last {d} days", "近{d}天购买商品行数", 0),
)
FEATURES = (*CATEGORIES, *BRANDS, *ITEMS)
