"""Touchpoints: how far towards a purchase, what marketers sent and what came of it, service, satisfaction. Only here are marketers' events read."""

import numpy as np

from features.feature import EVER, LONGEST, NOW, Feature, Formula, days, over, ratio

_VISITS, _ABANDONED, _BASKETS = over("visits"), over("visits", ("is_abandoned", "1")), over("purchases")
_CONTACTS, _RECEIVED = over("treatments"), over("treatments", ("kind", "campaign_received"))
_REDEEMED = over("events", ("kind", "coupon_redemption"))
_OPENS, _SERVICE, _RATING, _NPS = (over("acts", ("role", role)) for role in ("open", "service", "rating", "nps"))
_CARTS, _FAILED, _REFERRAL = (over("acts", ("role", role)) for role in ("cart", "payment_failed", "referral"))
_V_LONG, _CARTED = _VISITS(window=LONGEST), _VISITS("sum", "is_carted", LONGEST)
_MILLIONTHS = 1e6

FUNNEL: tuple[Feature, ...] = (
    Feature("funnel_stage_max_{d}d", "touchpoints", _VISITS("max", "stage"), "stage",
            "furthest stage in the last {d} days (1 came, 2 looked, 3 cart, 4 checkout, 5 bought)", "近{d}天到达的最远阶段（1访问 2浏览 3加购 4结算 5购买）"),
    Feature("funnel_stage_last", "touchpoints", _VISITS("last", "stage", EVER), "stage", "furthest stage of the last session", "最近一次会话到达的阶段"),
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
COUPONS: tuple[Feature, ...] = (
    Feature("redemptions_count_{d}d", "touchpoints", _REDEEMED(), "redemptions", "coupons redeemed in the last {d} days", "近{d}天核销优惠券数", 0, is_actionable=True),
    Feature("redemptions_count_ever", "touchpoints", _REDEEMED(window=EVER), "redemptions", "coupons ever redeemed", "累计核销优惠券数", 0, is_actionable=True),
    Feature("days_since_last_redemption", "touchpoints", Formula(days, (_REDEEMED("min", "age", EVER),)), "days", "days since the last coupon redeemed", "距上次核销天数"),
    Feature("redemptions_per_purchase_ever", "touchpoints", Formula(ratio, (_REDEEMED(window=EVER), _BASKETS(window=EVER))), "ratio",
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
    Feature("referrals_count_ever", "touchpoints", _REFERRAL(window=EVER), "events", "friends ever invited", "累计邀请好友次数", 0),
)
SERVICE: tuple[Feature, ...] = (
    Feature("service_contacts_count_{d}d", "touchpoints", _SERVICE(), "contacts", "contacts with service in the last {d} days", "近{d}天客服联系次数", 0, is_actionable=True),
    Feature("days_since_last_service_contact", "touchpoints", Formula(days, (_SERVICE("min", "age", EVER),)), "days",
            "days since the last contact with service", "距上次联系客服天数"),
    Feature("service_contacts_per_purchase_ever", "touchpoints", Formula(ratio, (_SERVICE(window=EVER), _BASKETS(window=EVER))), "ratio",
            "contacts with service for each purchase", "每次购买的客服联系次数"),
    Feature("rating_mean_ever", "touchpoints", Formula(
        lambda s, n: ratio(s, n) / _MILLIONTHS, (_RATING("sum", "value", EVER), _RATING("count", "value", EVER))), "points", "average rating", "平均评分", is_actionable=True),
    Feature("rating_last", "touchpoints", Formula(lambda v: v / _MILLIONTHS, (_RATING("last", "value", EVER),)), "points",
            "last rating given", "最近一次评分", is_actionable=True),
    Feature("rating_min_{d}d", "touchpoints", Formula(lambda v: v / _MILLIONTHS, (_RATING("min", "value", LONGEST),)), "points",
            "worst rating in the last {d} days", "近{d}天最低评分"),
    Feature("nps_last", "touchpoints", Formula(lambda v: v / _MILLIONTHS, (_NPS("last", "value", EVER),)), "points",
            "last willingness to recommend (0 to 10)", "最近一次推荐意愿（0-10）",
            is_actionable=True),
    Feature("days_since_last_nps", "touchpoints", Formula(days, (_NPS("min", "age", EVER),)), "days",
            "days since last asked whether they recommend us", "距上次推荐意愿调查天数"),
)
FEATURES = (*FUNNEL, *COUPONS, *PRESSURE, *RESPONSE, *SERVICE)
