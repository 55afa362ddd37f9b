"""Touchpoints: how far towards a purchase, what marketers sent and what came of it, service, satisfaction. Only here are marketers' events read."""

import numpy as np

from features.feature import EVER, LONGEST, NOW, SHORTEST, Feature, Formula, Numbers, days, known, over, ratio, surely
from features.streams import JOURNEY_DAYS

_VISITS, _ABANDONED, _BASKETS = over("visits"), over("visits", ("is_abandoned", "1")), over("purchases")
_CONTACTS, _RECEIVED = over("treatments"), over("treatments", ("kind", "campaign_received"))
_REDEEMED = over("events", ("kind", "coupon_redemption"))
_LEFT, _JOURNEYS, _ANSWERS = over("visits", ("is_bought", "0")), over("journeys"), over("answers")
_OPENS, _SERVICE, _COMPLAINTS, _RATING, _NPS = (over("acts", ("role", role)) for role in ("open", "service", "complaint", "rating", "nps"))
_LOOKS, _CARTS, _CHECKOUTS, _FAILED, _REFERRAL = (over("acts", ("role", role)) for role in ("look", "cart", "checkout", "payment_failed", "referral"))
_V_LONG, _CARTED, _N_EVER = _VISITS(window=LONGEST), _VISITS("sum", "is_carted", LONGEST), _BASKETS(window=EVER)
_RATED, _N_RATED, _LAST_RATING = _RATING("sum", "value", EVER), _RATING("count", "value", EVER), _RATING("last", "value", EVER)
_LAST_NPS = _NPS("last", "value", EVER)
_MILLIONTHS = 1e6
STAGES = (("else", "其他"), ("came", "来访"), ("looked", "浏览"), ("cart", "加购"), ("checkout", "结算"), ("bought", "成交"))
NPS_GROUPS = (("detractor", "贬损者"), ("passive", "中立者"), ("promoter", "推荐者"))


def _going_on(number: Numbers, silence: Numbers) -> Numbers:
    """What the last step tells of its journey, 0 where that is over."""
    return np.where(silence <= JOURNEY_DAYS * 86400, np.nan_to_num(number), 0).astype(np.int64)

FUNNEL: tuple[Feature, ...] = (
    Feature("funnel_stage_max_{d}d", "touchpoints", _VISITS("max", "stage"), "stage",
            "furthest stage in the last {d} days (1 came, 2 looked, 3 cart, 4 checkout, 5 bought)", "近{d}天到达的最远阶段（1访问 2浏览 3加购 4结算 5购买）"),
    Feature("funnel_stage_last", "touchpoints", _VISITS("last", "stage", EVER), "stage", "furthest stage of the last session", "最近一次会话到达的阶段"),
    Feature("drop_off_stage_{d}d", "touchpoints", Formula(known, (_LEFT("favourite", window=LONGEST, by="stage"),)), "category",
            "furthest stage of most sessions without purchase, last {d} days", "近{d}天未成交会话最常止步的阶段", is_category=True, is_actionable=True, texts=STAGES),
    Feature("days_since_last_look", "touchpoints", Formula(days, (_LOOKS("min", "age", EVER),)), "days", "days since something was looked at", "距上次浏览商品天数"),
    Feature("days_since_last_checkout", "touchpoints", Formula(days, (_CHECKOUTS("min", "age", EVER),)), "days", "days since a checkout was begun", "距上次结算天数"),
    Feature("days_since_last_cart", "touchpoints", Formula(days, (_CARTS("min", "age", EVER),)), "days", "days since something was put into a cart", "距上次加购天数"),
    Feature("carts_abandoned_count_{d}d", "touchpoints", _ABANDONED(), "sessions", "sessions left with a cart, last {d} days", "近{d}天弃购次数", 0, is_actionable=True),
    Feature("days_since_abandoned_cart", "touchpoints", Formula(days, (_ABANDONED("min", "age", EVER),)), "days", "days since a cart was left", "距上次弃购天数"),
    Feature("cart_abandon_share_{d}d", "touchpoints", Formula(ratio, (_VISITS("sum", "is_abandoned", LONGEST), _CARTED)), "share",
            "share of sessions with a cart that ended without purchase, last {d} days", "近{d}天弃购率"),
    Feature("session_conversion_{d}d", "touchpoints", Formula(ratio, (_VISITS("sum", "is_bought", LONGEST), _V_LONG)), "share",
            "share of sessions with a purchase, last {d} days", "近{d}天会话成交率"),
    Feature("session_cart_share_{d}d", "touchpoints", Formula(ratio, (_CARTED, _V_LONG)), "share",
            "share of sessions that reached a cart, last {d} days", "近{d}天会话加购率"),
    Feature("sessions_per_purchase_{d}d", "touchpoints", Formula(ratio, (_V_LONG, _VISITS("sum", "is_bought", LONGEST))), "sessions",
            "sessions for each purchase, last {d} days", "近{d}天每次购买的会话数"),
    Feature("payments_failed_count_{d}d", "touchpoints", _FAILED(), "events", "failed payments in the last {d} days", "近{d}天支付失败次数", 0, is_actionable=True),
    Feature("days_since_failed_payment", "touchpoints", Formula(days, (_FAILED("min", "age", EVER),)), "days", "days since a payment failed", "距上次支付失败天数"),
)
PATHS: tuple[Feature, ...] = (
    Feature("entry_kind_{d}d", "touchpoints", _VISITS("favourite", window=LONGEST, by="kind"), "category",
            "what most sessions begin with, last {d} days", "近{d}天会话最常见的入口", is_category=True, texts="kind"),
    Feature("deep_entry_share_{d}d", "touchpoints", Formula(ratio, (_VISITS("sum", "is_deep", LONGEST), _V_LONG)), "share",
            "share of sessions that begin at a product or beyond, last {d} days", "近{d}天直达商品页的会话占比"),
    Feature("back_steps_share_{d}d", "touchpoints", Formula(ratio, (_VISITS("sum", "n_back", LONGEST), _VISITS("sum", "n_events", LONGEST))), "share",
            "share of steps back to an earlier stage, last {d} days", "近{d}天退回上一阶段的步骤占比"),
    Feature("steps_to_purchase_median_{d}d", "touchpoints", _JOURNEYS("median", "n_steps", LONGEST), "steps",
            "usual steps before a purchase, last {d} days", "近{d}天购买前常见步数"),
    Feature("days_to_purchase_median_{d}d_days", "touchpoints", Formula(days, (_JOURNEYS("median", "seconds", LONGEST),)), "days",
            "usual days from the first step to the purchase, last {d} days", "近{d}天从首次接触到购买的常见天数"),
    Feature("looks_to_purchase_mean_{d}d", "touchpoints", Formula(ratio, (_JOURNEYS("sum", "n_looks", LONGEST), _JOURNEYS("count", "n_looks", LONGEST))), "looks",
            "average looks at goods before a purchase, last {d} days", "近{d}天购买前平均浏览商品次数"),
    Feature("relooks_to_purchase_mean_{d}d", "touchpoints", Formula(ratio, (_JOURNEYS("sum", "n_relooks", LONGEST), _JOURNEYS("count", "n_relooks", LONGEST))), "looks",
            "average repeated looks at a good before a purchase, last {d} days", "近{d}天购买前平均重复浏览次数"),
    Feature("journey_steps_count", "touchpoints", Formula(_going_on, (_JOURNEYS("last", "n_open", EVER), _JOURNEYS("min", "age", EVER))), "steps",
            "steps since the last purchase, not broken by thirty days of silence", "当前购买旅程的步数", 0, is_actionable=True),
    Feature("journey_relooks_count", "touchpoints", Formula(_going_on, (_JOURNEYS("last", "n_relooks_open", EVER), _JOURNEYS("min", "age", EVER))), "looks",
            "repeated looks at a good since the last purchase, not broken by thirty days of silence", "当前购买旅程的重复浏览次数", 0, is_actionable=True),
    Feature("journey_age_days", "touchpoints", Formula(
        lambda begun, n, silence, now: np.where(_going_on(n, silence) > 0, days(now - begun), np.nan),
        (_JOURNEYS("last", "begun", EVER), _JOURNEYS("last", "n_open", EVER), _JOURNEYS("min", "age", EVER), NOW)), "days",
            "days since the first step of a journey that has not yet led to a purchase", "当前购买旅程已持续天数", is_actionable=True),
)
COUPONS: tuple[Feature, ...] = (
    Feature("redemptions_count_{d}d", "touchpoints", _REDEEMED(), "redemptions", "coupons redeemed in the last {d} days", "近{d}天核销优惠券数", 0, is_actionable=True),
    Feature("redemptions_count_ever", "touchpoints", _REDEEMED(window=EVER), "redemptions", "coupons ever redeemed", "累计核销优惠券数", 0, is_actionable=True),
    Feature("days_since_last_redemption", "touchpoints", Formula(days, (_REDEEMED("min", "age", EVER),)), "days", "days since the last coupon redeemed", "距上次核销天数"),
    Feature("redemptions_per_purchase_ever", "touchpoints", Formula(ratio, (_REDEEMED(window=EVER), _N_EVER)), "ratio",
            "coupons redeemed for each purchase", "每次购买核销优惠券数"),
)
PRESSURE: tuple[Feature, ...] = (
    Feature("contacts_count_{d}d", "touchpoints", _CONTACTS(), "contacts",
            "messages and offers of ours in the last {d} days", "近{d}天营销触达次数", 0, is_actionable=True, is_treatment=True),
    Feature("contacts_count_ever", "touchpoints", _CONTACTS(window=EVER), "contacts", "messages and offers of ours, ever", "累计营销触达次数", 0, is_treatment=True),
    Feature("days_since_last_contact", "touchpoints", Formula(days, (_CONTACTS("min", "age", EVER),)), "days",
            "days since we last wrote", "距上次营销触达天数", is_treatment=True),
    Feature("contacts_decayed", "touchpoints", _CONTACTS("decayed", window=EVER), "contacts",
            "messages and offers ever, the recent ones weighing more", "营销触达次数（越近权重越大）", 0,
            is_treatment=True),
    Feature("contacts_trend_{d}d", "touchpoints", Formula(ratio, (_CONTACTS(window=SHORTEST), _CONTACTS(window=LONGEST))), "share",
            "recent messages and offers (shortest window) as a share of the last {d} days", "近期营销触达占近{d}天比重", is_treatment=True),
    Feature("contact_channels_nunique_{d}d", "touchpoints", _CONTACTS("distinct", window=LONGEST, by="channel"), "channels", "channels that we wrote by, last {d} days",
            "近{d}天营销触达渠道数", 0, is_treatment=True),
    Feature("contacts_per_purchase_{d}d", "touchpoints", Formula(ratio, (_CONTACTS(window=LONGEST), _BASKETS(window=LONGEST))), "ratio",
            "messages and offers for each purchase, last {d} days", "近{d}天每次购买的触达次数", is_treatment=True),
    Feature("campaigns_received_count_{d}d", "touchpoints", _RECEIVED(), "campaigns", "campaigns received in the last {d} days", "近{d}天收到活动数", 0, is_treatment=True),
    Feature("campaigns_received_count_ever", "touchpoints", _RECEIVED(window=EVER), "campaigns", "campaigns ever received", "累计收到活动数", 0, is_treatment=True),
    Feature("days_since_last_campaign", "touchpoints", Formula(days, (_RECEIVED("min", "age", EVER),)), "days", "days since the last campaign received", "距上次收到活动天数",
            is_treatment=True),
    Feature("campaigns_open_count", "touchpoints", _RECEIVED("after", "campaign_end", EVER), "campaigns", "campaigns still running", "进行中的活动数", 0, is_treatment=True),
    Feature("campaign_days_left_max", "touchpoints", Formula(
        lambda end, now: np.where(end > now, days(end - now), np.nan), (_RECEIVED("max", "campaign_end", EVER), NOW)), "days",
            "days that the longest open campaign still lasts", "进行中活动的最长剩余天数", is_treatment=True),
    Feature("redemption_rate_ever", "touchpoints", Formula(ratio, (_REDEEMED(window=EVER), _RECEIVED(window=EVER))), "ratio",
            "coupons redeemed per campaign received", "每次活动核销优惠券数", is_treatment=True),
)
RESPONSE: tuple[Feature, ...] = (
    Feature("opens_count_{d}d", "touchpoints", _OPENS(), "events", "messages opened in the last {d} days", "近{d}天打开消息次数", 0),
    Feature("days_since_last_open", "touchpoints", Formula(days, (_OPENS("min", "age", EVER),)), "days", "days since a message was opened", "距上次打开消息天数"),
    Feature("open_rate_{d}d", "touchpoints", Formula(ratio, (_OPENS(window=LONGEST), _CONTACTS(window=LONGEST))), "ratio",
            "messages opened for each one sent, last {d} days", "近{d}天消息打开率", is_treatment=True),
    Feature("open_rate_ever", "touchpoints", Formula(ratio, (_OPENS(window=EVER), _CONTACTS(window=EVER))), "ratio",
            "messages opened for each one ever sent", "累计消息打开率",
            is_treatment=True),
    Feature("unanswered_contacts_count", "touchpoints", Formula(lambda n: np.nan_to_num(n).astype(np.int64), (_ANSWERS("last", "n_unanswered", EVER),)), "contacts",
            "messages and offers since one was last opened", "上次打开后未打开的触达次数", 0, is_actionable=True, is_treatment=True),
    Feature("open_delay_median_ever_days", "touchpoints", Formula(days, (_ANSWERS("median", "open_seconds", EVER),)), "days",
            "usual days until a message is opened", "打开消息的常见延迟（天）", is_treatment=True),
    Feature("open_channel_favourite_ever", "touchpoints", _OPENS("favourite", window=EVER, by="channel"), "category",
            "channel of most opened messages", "最常打开消息的渠道", is_category=True, is_actionable=True, texts="channel"),
    Feature("open_channel_surely_ever", "touchpoints", Formula(surely, (_OPENS("largest", window=EVER, by="channel"), _OPENS("total", window=EVER, by="channel"))), "share",
            "share of opened messages by that channel, at least", "该渠道打开消息占比（保守）"),
    Feature("open_hour_favourite_ever", "touchpoints", Formula(known, (_OPENS("favourite", window=EVER, by="hour"),)), "hour",
            "hour of the day at which most messages are opened", "最常打开消息的钟点", is_actionable=True),
    Feature("open_hour_surely_ever", "touchpoints", Formula(surely, (_OPENS("largest", window=EVER, by="hour"), _OPENS(window=EVER))), "share",
            "share of messages opened in that hour, at least", "该钟点打开消息占比（保守）"),
    Feature("answer_purchases_share_{d}d", "touchpoints", Formula(ratio, (_ANSWERS("sum", "is_soon", LONGEST), _ANSWERS("count", "is_soon", LONGEST))), "share",
            "share of purchases within a week of a message or offer, last {d} days", "近{d}天触达后一周内购买占比", is_treatment=True),
    Feature("referrals_count_ever", "touchpoints", _REFERRAL(window=EVER), "events", "friends ever invited", "累计邀请好友次数", 0),
)
SERVICE: tuple[Feature, ...] = (
    Feature("service_contacts_count_{d}d", "touchpoints", _SERVICE(), "contacts", "contacts with service in the last {d} days", "近{d}天客服联系次数", 0, is_actionable=True),
    Feature("days_since_last_service_contact", "touchpoints", Formula(days, (_SERVICE("min", "age", EVER),)), "days",
            "days since the last contact with service", "距上次联系客服天数"),
    Feature("service_contacts_per_purchase_ever", "touchpoints", Formula(ratio, (_SERVICE(window=EVER), _N_EVER)), "ratio",
            "contacts with service for each purchase", "每次购买的客服联系次数"),
    Feature("complaints_count_{d}d", "touchpoints", _COMPLAINTS(), "complaints", "complaints in the last {d} days", "近{d}天投诉次数", 0, is_actionable=True),
    Feature("days_since_last_complaint", "touchpoints", Formula(days, (_COMPLAINTS("min", "age", EVER),)), "days", "days since the last complaint", "距上次投诉天数"),
    Feature("complaints_per_purchase_ever", "touchpoints", Formula(ratio, (_COMPLAINTS(window=EVER), _N_EVER)), "ratio", "complaints for each purchase", "每次购买的投诉次数"),
    Feature("ratings_count_ever", "touchpoints", _RATING(window=EVER), "ratings", "ratings ever given", "累计评分次数", 0),
    Feature("rating_mean_ever", "touchpoints", Formula(lambda s, n: ratio(s, n) / _MILLIONTHS, (_RATED, _N_RATED)), "points", "average rating", "平均评分", is_actionable=True),
    Feature("rating_last", "touchpoints", Formula(lambda v: v / _MILLIONTHS, (_LAST_RATING,)), "points", "last rating given", "最近一次评分", is_actionable=True),
    Feature("rating_change", "touchpoints", Formula(lambda v, s, n: (v - ratio(s, n)) / _MILLIONTHS, (_LAST_RATING, _RATED, _N_RATED)), "points",
            "last rating against the average one", "最近一次评分与平均评分之差"),
    Feature("rating_min_{d}d", "touchpoints", Formula(lambda v: v / _MILLIONTHS, (_RATING("min", "value", LONGEST),)), "points",
            "worst rating in the last {d} days", "近{d}天最低评分"),
    Feature("nps_last", "touchpoints", Formula(lambda v: v / _MILLIONTHS, (_LAST_NPS,)), "points", "last willingness to recommend (0 to 10)", "最近一次推荐意愿（0-10）",
            is_actionable=True),
    Feature("nps_change", "touchpoints", Formula(lambda last, first: (last - first) / _MILLIONTHS, (_LAST_NPS, _NPS("first", "value", EVER))), "points",
            "last willingness to recommend against the first", "最近与首次推荐意愿之差"),
    # As the score's authors draw the line: up to 6, 7 and 8, 9 and 10. Source: Reichheld (2003).
    Feature("nps_group", "touchpoints", Formula(
        lambda v: np.where(np.isnan(v), np.nan, (v >= 7 * _MILLIONTHS).astype(np.float64) + (v >= 9 * _MILLIONTHS)), (_LAST_NPS,)), "category",
            "promoter, passive or detractor, by the last answer", "推荐者、中立者或贬损者（按最近回答）", is_category=True, is_actionable=True, texts=NPS_GROUPS),
    Feature("days_since_last_nps", "touchpoints", Formula(days, (_NPS("min", "age", EVER),)), "days",
            "days since they last said whether they recommend us", "距上次回答推荐意愿天数"),
)
FEATURES = (*FUNNEL, *PATHS, *COUPONS, *PRESSURE, *RESPONSE, *SERVICE)
