"""Behaviour: how often, how lately, in which rhythm, at which hours and by which channels."""

from features.feature import EVER, LONGEST, Aggregate, Feature, Formula, days, known, over, ratio, surely, unevenness

_BASKETS, _COMEBACKS, _VISITS = over("purchases"), over("purchases", ("is_comeback", "1")), over("visits")
_N, _N_LONG, _GAPS = _BASKETS(), _BASKETS(window=LONGEST), _BASKETS("sum", "gap", LONGEST)
_LAST = _BASKETS("min", "age", EVER)
# A gap belongs to the later of its two baskets, so n baskets in the window carry up to n gaps; the very first basket has none.
_N_GAPS, _MEDIAN = _BASKETS("count", "gap", LONGEST), _BASKETS("median", "gap", LONGEST)
_V_LONG, _V_LAST, _V_MEDIAN = _VISITS(window=LONGEST), _VISITS("min", "age", EVER), _VISITS("median", "gap", LONGEST)
_WEEKS = Aggregate("events", "weeks", where=(("kind", "purchase"),))

PURCHASES: tuple[Feature, ...] = (
    Feature("days_since_last_purchase", "behaviour", Formula(days, (_LAST,)), "days", "days since the last purchase", "距上次购买天数"),
    Feature("purchases_count_{d}d", "behaviour", _N, "purchases", "purchases in the last {d} days", "近{d}天购买次数", 0),
    Feature("purchases_count_ever", "behaviour", _BASKETS(window=EVER), "purchases", "purchases ever seen", "累计购买次数", 0),
    Feature("purchases_decayed", "behaviour", _BASKETS("decayed", window=EVER), "purchases", "purchases ever, the recent ones weighing more", "购买次数（越近权重越大）", 0),
    Feature("active_weeks_count_{d}d", "behaviour", _WEEKS, "weeks", "weeks with a purchase in the last {d} days", "近{d}天有购买的周数", 0),
    Feature("purchase_days_nunique_{d}d", "behaviour", _BASKETS("distinct", window=LONGEST, by="day"), "days",
            "days with a purchase in the last {d} days", "近{d}天有购买的天数", 0),
)
RHYTHM: tuple[Feature, ...] = (
    Feature("purchase_gap_mean_{d}d_days", "behaviour", Formula(lambda s, n: ratio(days(s), n), (_GAPS, _N_GAPS)), "days",
            "average days between purchases, last {d} days", "近{d}天平均购买间隔（天）"),
    Feature("purchase_gap_median_{d}d_days", "behaviour", Formula(days, (_MEDIAN,)), "days", "usual days between purchases, last {d} days", "近{d}天常见购买间隔（天）"),
    Feature("purchase_gap_max_{d}d_days", "behaviour", Formula(days, (_BASKETS("max", "gap", LONGEST),)), "days",
            "longest pause between purchases, last {d} days", "近{d}天最长购买间隔（天）"),
    Feature("purchase_gap_min_{d}d_days", "behaviour", Formula(days, (_BASKETS("min", "gap", LONGEST),)), "days",
            "shortest pause between purchases, last {d} days", "近{d}天最短购买间隔（天）"),
    Feature("purchase_gap_last_days", "behaviour", Formula(days, (_BASKETS("last", "gap", EVER),)), "days", "days between the last two purchases", "最近两次购买间隔（天）"),
    Feature("purchase_gap_cv_{d}d", "behaviour", Formula(
        unevenness, (_GAPS, _BASKETS("sum", "gap_squared", LONGEST), _N_GAPS)), "ratio", "irregularity of purchase times, last {d} days", "近{d}天购买节奏不规律度"),
    Feature("overdue_ratio_{d}d", "behaviour", Formula(lambda last, s, n: ratio(last, ratio(s, n)), (_LAST, _GAPS, _N_GAPS)), "ratio",
            "silence against the customer's own rhythm", "沉默时长与自身购买节奏之比"),
    Feature("overdue_median_ratio_{d}d", "behaviour", Formula(ratio, (_LAST, _MEDIAN)), "ratio",
            "silence against the customer's usual pause", "沉默时长与自身常见间隔之比"),
    Feature("gap_last_ratio_{d}d", "behaviour", Formula(ratio, (_BASKETS("last", "gap", EVER), _MEDIAN)), "ratio",
            "the last pause between purchases against the usual one", "最近一次购买间隔与常见间隔之比"),
    Feature("purchase_gap_first_days", "behaviour", Formula(days, (_BASKETS("first", "gap", EVER),)), "days",
            "days from the first purchase to the second", "首次到第二次购买的间隔（天）"),
    Feature("overdue_share_{d}d", "behaviour", Formula(ratio, (_BASKETS("shorter", "gap", LONGEST), _N_GAPS)), "share",
            "share of the own pauses that were shorter than the present silence, last {d} days", "短于当前沉默时长的购买间隔占比（近{d}天）"),
    Feature("comebacks_count_ever", "behaviour", _BASKETS("sum", "is_comeback", EVER), "purchases",
            "purchases after a long silence (four weeks, and four of the pauses before)", "久未购买（四周且四个以往间隔）后的回归次数", 0),
    Feature("days_since_comeback", "behaviour", Formula(days, (_COMEBACKS("min", "age", EVER),)), "days", "days since they last came back after a long silence", "距上次回归天数"),
)
HOURS: tuple[Feature, ...] = (
    Feature("weekend_share_{d}d", "behaviour", Formula(ratio, (_BASKETS("sum", "is_weekend", LONGEST), _N_LONG)), "share",
            "share of purchases at weekends, last {d} days", "近{d}天周末购买占比"),
    Feature("evening_share_{d}d", "behaviour", Formula(ratio, (_BASKETS("sum", "is_evening", LONGEST), _N_LONG)), "share",
            "share of purchases after 18:00, last {d} days", "近{d}天18点后购买占比"),
    Feature("morning_share_{d}d", "behaviour", Formula(ratio, (_BASKETS("sum", "is_morning", LONGEST), _N_LONG)), "share",
            "share of purchases before noon, last {d} days", "近{d}天上午购买占比"),
    Feature("purchase_hour_favourite_{d}d", "behaviour", Formula(known, (_BASKETS("favourite", window=LONGEST, by="hour"),)), "hour",
            "hour of the day with most purchases, last {d} days", "近{d}天最常购买的钟点"),
    Feature("purchase_hour_surely_{d}d", "behaviour", Formula(surely, (_BASKETS("largest", window=LONGEST, by="hour"), _N_LONG)), "share",
            "share of purchases in the favourite hour, at least, last {d} days", "近{d}天最常钟点的购买占比（保守）"),
    Feature("purchase_hour_entropy_{d}d", "behaviour", _BASKETS("entropy", window=LONGEST, by="hour"), "nats",
            "variety of hours of purchase, last {d} days", "近{d}天购买钟点分散度"),
    Feature("purchase_weekday_favourite_{d}d", "behaviour", Formula(known, (_BASKETS("favourite", window=LONGEST, by="weekday"),)), "weekday",
            "weekday with most purchases (0 is Monday), last {d} days", "近{d}天最常购买的星期（0为周一）"),
    Feature("purchase_weekday_surely_{d}d", "behaviour", Formula(surely, (_BASKETS("largest", window=LONGEST, by="weekday"), _N_LONG)), "share",
            "share of purchases on the favourite weekday, at least, last {d} days", "近{d}天最常星期的购买占比（保守）"),
    Feature("purchase_weekday_entropy_{d}d", "behaviour", _BASKETS("entropy", window=LONGEST, by="weekday"), "nats",
            "variety of weekdays of purchase, last {d} days", "近{d}天购买星期分散度"),
)
CHANNELS: tuple[Feature, ...] = (
    Feature("channels_nunique_{d}d", "behaviour", _BASKETS("distinct", window=LONGEST, by="channel"), "channels", "channels bought by, last {d} days", "近{d}天购买渠道数", 0),
    Feature("channel_favourite_{d}d", "behaviour", _BASKETS("favourite", window=LONGEST, by="channel"), "category",
            "channel of most purchases, last {d} days", "近{d}天最常购买渠道", is_category=True, texts="channel"),
    Feature("channel_surely_{d}d", "behaviour", Formula(surely, (
        _BASKETS("largest", window=LONGEST, by="channel"), _BASKETS("total", window=LONGEST, by="channel"))), "share",
            "share of purchases by the favourite channel, at least, last {d} days", "近{d}天最常渠道的购买占比（保守）"),
    Feature("channel_entropy_{d}d", "behaviour", _BASKETS("entropy", window=LONGEST, by="channel"), "nats",
            "variety of channels of purchase, last {d} days", "近{d}天购买渠道分散度"),
    Feature("channel_first", "behaviour", _BASKETS("oldest", "channel", EVER), "category", "channel of the first purchase", "首次购买渠道", is_category=True, texts="channel"),
    Feature("channel_last", "behaviour", _BASKETS("newest", "channel", EVER), "category", "channel of the last purchase", "最近购买渠道", is_category=True, texts="channel"),
    Feature("channel_switch_share_{d}d", "behaviour", Formula(ratio, (_BASKETS("sum", "is_switch", LONGEST), _BASKETS("count", "is_switch", LONGEST))), "share",
            "share of purchases by another channel than the one before, last {d} days", "近{d}天换渠道购买占比"),
)
VISITS: tuple[Feature, ...] = (
    Feature("days_since_last_session", "behaviour", Formula(days, (_V_LAST,)), "days", "days since the last session", "距上次会话天数"),
    Feature("sessions_count_{d}d", "behaviour", _VISITS(), "sessions", "sessions in the last {d} days", "近{d}天会话次数", 0),
    Feature("sessions_count_ever", "behaviour", _VISITS(window=EVER), "sessions", "sessions ever seen", "累计会话次数", 0),
    Feature("sessions_decayed", "behaviour", _VISITS("decayed", window=EVER), "sessions", "sessions ever, the recent ones weighing more", "会话次数（越近权重越大）", 0),
    Feature("session_days_nunique_{d}d", "behaviour", _VISITS("distinct", by="day"), "days", "days with a session in the last {d} days", "近{d}天有会话的天数", 0),
    Feature("session_gap_median_{d}d_days", "behaviour", Formula(days, (_V_MEDIAN,)), "days", "usual days between sessions, last {d} days", "近{d}天常见会话间隔（天）"),
    Feature("session_overdue_ratio_{d}d", "behaviour", Formula(ratio, (_V_LAST, _V_MEDIAN)), "ratio",
            "time since the last session against the usual pause", "距上次会话与常见间隔之比"),
    Feature("session_events_mean_{d}d", "behaviour", Formula(ratio, (_VISITS("sum", "n_events", LONGEST), _V_LONG)), "events",
            "average steps in a session, last {d} days", "近{d}天平均会话深度"),
    Feature("session_looks_mean_{d}d", "behaviour", Formula(ratio, (_VISITS("sum", "n_looks", LONGEST), _V_LONG)), "looks",
            "average looks at goods in a session, last {d} days", "近{d}天平均每次会话浏览商品次数"),
    Feature("session_searches_mean_{d}d", "behaviour", Formula(ratio, (_VISITS("sum", "n_searches", LONGEST), _V_LONG)), "searches",
            "average searches in a session, last {d} days", "近{d}天平均每次会话搜索次数"),
    Feature("session_seconds_mean_{d}d", "behaviour", Formula(ratio, (_VISITS("sum", "seconds", LONGEST), _V_LONG)), "seconds",
            "average seconds of a session, last {d} days", "近{d}天平均会话时长（秒）"),
    Feature("bounce_share_{d}d", "behaviour", Formula(ratio, (_VISITS("sum", "is_bounce", LONGEST), _V_LONG)), "share",
            "share of sessions of a single step that was no purchase, last {d} days", "近{d}天单步会话占比"),
    Feature("session_channel_favourite_{d}d", "behaviour", _VISITS("favourite", window=LONGEST, by="channel"), "category",
            "channel of most sessions, last {d} days", "近{d}天最常访问渠道", is_category=True, texts="channel"),
    Feature("session_channel_surely_{d}d", "behaviour", Formula(surely, (
        _VISITS("largest", window=LONGEST, by="channel"), _VISITS("total", window=LONGEST, by="channel"))), "share",
            "share of sessions by the favourite channel, at least, last {d} days", "近{d}天最常渠道的会话占比（保守）"),
    Feature("session_channel_entropy_{d}d", "behaviour", _VISITS("entropy", window=LONGEST, by="channel"), "nats",
            "variety of channels of sessions, last {d} days", "近{d}天访问渠道分散度"),
    Feature("session_channel_last", "behaviour", _VISITS("newest", "channel", EVER), "category", "channel of the last session", "最近访问渠道", is_category=True, texts="channel"),
    Feature("session_channel_switch_share_{d}d", "behaviour", Formula(ratio, (_VISITS("sum", "is_switch", LONGEST), _VISITS("count", "is_switch", LONGEST))), "share",
            "share of sessions by another channel than the one before, last {d} days", "近{d}天换渠道会话占比"),
    Feature("session_hour_favourite_{d}d", "behaviour", Formula(known, (_VISITS("favourite", window=LONGEST, by="hour"),)), "hour",
            "hour of the day with most sessions, last {d} days", "近{d}天最常访问的钟点"),
    Feature("session_hour_surely_{d}d", "behaviour", Formula(surely, (_VISITS("largest", window=LONGEST, by="hour"), _V_LONG)), "share",
            "share of sessions in the favourite hour, at least, last {d} days", "近{d}天最常钟点的会话占比（保守）"),
    Feature("session_weekday_favourite_{d}d", "behaviour", Formula(known, (_VISITS("favourite", window=LONGEST, by="weekday"),)), "weekday",
            "weekday with most sessions (0 is Monday), last {d} days", "近{d}天最常访问的星期（0为周一）"),
    Feature("session_weekday_surely_{d}d", "behaviour", Formula(surely, (_VISITS("largest", window=LONGEST, by="weekday"), _V_LONG)), "share",
            "share of sessions on the favourite weekday, at least, last {d} days", "近{d}天最常星期的会话占比（保守）"),
)
FEATURES = (*PURCHASES, *RHYTHM, *HOURS, *CHANNELS, *VISITS)
