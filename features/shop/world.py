"""The numbers of the generating process: types of shoppers, hidden states, seasons, drivers, campaigns. docs/decisions/0013 says it in formulas."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from features.errors import UsageError

Array = np.ndarray[Any, Any]

ZONE, CURRENCY, OFFSET_HOURS = "Asia/Shanghai", "CNY", 8
BEGIN = datetime(2024, 1, 1)  # a Monday, local; China has no summer time
WEEK = 7 * 86400

STATES = ("keen", "active", "cooling", "dormant", "gone")
KEEN, ACTIVE, COOLING, DORMANT, GONE = range(5)
CHANNELS = ("store", "web", "app", "mini_program")
DEVICES = ("none", "pc", "ios", "android")
AGES = ("18-24", "25-34", "35-44", "45-54", "55+")
CITY_TIERS = ("tier 1", "new tier 1", "tier 2", "tier 3 and below")
# Four cities of each tier.
CITIES = ("北京", "上海", "广州", "深圳", "成都", "杭州", "武汉", "西安", "厦门", "昆明", "福州", "无锡", "洛阳", "赣州", "绵阳", "保定")
SOURCES = ("search", "ads", "friends", "store", "social")
CATEGORIES = (
    "skin care", "make-up", "snacks", "drinks", "fresh food", "household", "mother and baby", "clothing", "shoes and bags", "electronics", "books and toys", "gifts")
FOCAL = 0  # the category that the conversion task asks about
TIERS = ("value", "middle", "premium")


@dataclass(frozen=True)
class Shopper:
    """One hidden type. Rates are per week for an active customer of level 1."""

    name: str
    share: float
    purchases: float
    browses: float
    lines: float  # the median number of lines in a basket
    promotion: float  # extra purchases on promotion days
    payday: float
    holiday: float
    coupon: float  # the effect of a fresh coupon: purchases x (1 + coupon)
    winback: float  # the chance that a win-back message wakes a cooling customer
    cooling: float  # how easily it cools, against the others
    focal: float  # the share that has taken to the focal category
    referral: float  # invitations per purchase
    promoted: float  # the share of lines bought on offer, on an ordinary day
    categories: tuple[float, ...]  # of the other eleven
    tiers: tuple[float, ...]
    channels: tuple[float, ...]
    ages: tuple[float, ...]
    cities: tuple[float, ...]


SHOPPERS = (
    Shopper("household stocker", .22, .70, .50, 3.2, .10, .05, .5, .10, .05, .7, .08, .002, .25,
            (1, 4, 4, 7, 6, 3, 1, .5, .5, 1, .5), (.5, .4, .1), (.70, .08, .10, .12), (.03, .15, .30, .30, .22), (.2, .25, .3, .25)),
    Shopper("payday shopper", .20, .40, 1.2, 1.7, .30, 1.2, .4, .25, .10, 1.0, .12, .005, .30,
            (3, 3, 3, 2, 2, 1, 4, 3, 2, 1, .5), (.3, .5, .2), (.25, .15, .35, .25), (.25, .45, .2, .07, .03), (.3, .3, .25, .15)),
    Shopper("bargain hunter", .18, .32, 1.9, 2.0, 1.5, .1, .3, .80, .20, 1.3, .06, .004, .60,
            (2, 4, 3, 3, 5, 2, 3, 1, 1, 1, .5), (.75, .22, .03), (.20, .15, .30, .35), (.2, .3, .2, .18, .12), (.12, .2, .28, .4)),
    Shopper("gift buyer", .12, .15, .80, 1.4, .3, .1, 2.5, .15, .08, 1.1, .15, .01, .20,
            (2, 1, 1, .3, .5, 2, 2, 3, 3, 3, 6), (.1, .45, .45), (.35, .30, .25, .10), (.1, .25, .3, .22, .13), (.35, .3, .2, .15)),
    Shopper("phone browser", .20, .26, 2.6, 1.3, .5, .3, .3, .40, .15, 1.2, .20, .012, .35,
            (4, 4, 2, .5, 1, .5, 5, 3, 2, 2, .5), (.45, .45, .1), (.05, .05, .45, .45), (.45, .38, .12, .04, .01), (.2, .25, .25, .3)),
    Shopper("connoisseur", .08, .30, 1.4, 1.4, .05, .1, .6, .02, .05, .6, .85, .15, .10,
            (4, 1, 2, 2, 1, 1, 2, 2, 1, 1, 2), (.05, .25, .7), (.30, .15, .40, .15), (.08, .35, .32, .18, .07), (.5, .28, .15, .07)),
)
KIN = 5  # the group that lookalike seeds come from
LEVELS = np.array([.3, .6, .9, 1.3, 2.2])
MAX_LINES = 60


# What the fields of the same name say is planted: a learner has to find it.
DRIVERS = ("slow_payment", "unanswered", "pressure")


@dataclass(frozen=True)
class World:
    """What may be changed of the process. A driver whose strength is 0 does nothing."""

    # In each hidden state: purchases and browsing against an active customer's, the share of visits that fill a cart, and of messages opened.
    purchases: tuple[float, ...] = (2.4, 1.0, .35, .03, 0.0)
    browses: tuple[float, ...] = (2.8, 1.0, .6, .15, 0.0)
    deep: tuple[float, ...] = (.25, .08, .05, .03, .03)
    opens: tuple[float, ...] = (.40, .28, .14, .05, .005)
    # From one week to the next; the second row's cooling is multiplied by the type's.
    steps: tuple[tuple[float, ...], ...] = (
        (.50, .50, .0, .0, .0), (.07, .90, .03, .0, .0), (.01, .14, .74, .07, .04), (.0, .025, .0, .945, .03), (.0, .0, .0, .0, 1.0))
    # Who was a customer before the beginning, and in which state the beginning finds them.
    base_share: float = .40
    base_states: tuple[float, ...] = (.06, .56, .18, .14, .06)
    # Drivers. A shock takes keen and active customers to cooling, cooling ones half to dormant and half to gone.
    slow_payment: float = .55  # shock after a week with a failed payment and no purchase
    unanswered: float = .50  # shock after a week with a complaint that nobody answered
    pressure: float = .012  # weekly shock of customers with four messages a month
    fail_slow: float = .45  # failed payments per purchase in the app on an Android telephone
    fail_else: float = .03
    complaints: float = .025  # unanswered complaints per purchase
    # The focal category: share of baskets with it, of visits with a look at it, by whether the customer has taken to it.
    focal_bought: tuple[float, float] = (.025, .45)
    focal_seen: tuple[float, float] = (.03, .30)
    # Campaigns.
    coupon_every: int = 6
    winback_every: int = 4
    fatigue: float = .5  # the effect of a coupon after one in the campaign before
    broken_channel: str = "mini_program"  # where coupons fail
    winback_treated: float = .85
    coupon_cost: int = 60  # minor units a message and coupon
    winback_cost: int = 8

    def without(self, driver: str) -> "World":
        """The same world without one planted driver. Raises: UsageError for one that there is not."""
        if driver not in DRIVERS:
            raise UsageError(f"a driver must be one of {', '.join(DRIVERS)}, found {driver!r}; correct the name")
        change: dict[str, Any] = {driver: 0.0}
        return replace(self, **change)

    def transitions(self) -> Array:
        """Weekly steps by type. Shape: (type, state, next state)."""
        table = np.tile(np.array(self.steps), (len(SHOPPERS), 1, 1))
        for k, shopper in enumerate(SHOPPERS):
            cooling = self.steps[ACTIVE][COOLING] * shopper.cooling
            table[k, ACTIVE, COOLING] = cooling
            table[k, ACTIVE, ACTIVE] = 1 - cooling - self.steps[ACTIVE][KEEN]
        return table

    def waking(self, chance: Array | float) -> Array:
        """What a win-back message does. Shape: chance's + (state, state)."""
        chance = np.asarray(chance, float)
        table = np.zeros((*chance.shape, 5, 5))
        table[..., range(5), range(5)] = 1
        for state, share in ((COOLING, 1.0), (DORMANT, .5)):
            table[..., state, ACTIVE] = chance * share
            table[..., state, state] = 1 - chance * share
        return table

    @staticmethod
    def shock(chance: float) -> Array:
        """Shape: (state, state)."""
        table = np.eye(5)
        for state in (KEEN, ACTIVE):
            table[state, state], table[state, COOLING] = 1 - chance, chance
        table[COOLING, COOLING], table[COOLING, DORMANT], table[COOLING, GONE] = 1 - chance, chance / 2, chance / 2
        return table

    def pressure_of(self) -> tuple[float, ...]:
        """Weekly shock by newsletters: none, one, two, four a month."""
        return (0.0, 0.0, self.pressure / 4, self.pressure)

    def is_coupon_week(self, week: int) -> bool:
        """A coupon is drawn by lot in this week."""
        return week % self.coupon_every == 3

    def is_winback_week(self, week: int) -> bool:
        """Silent customers get a message in this week; never in a coupon's."""
        return week % self.winback_every == 2


# A newsletter goes out in every week, every second, or every fourth.
LETTERS_EVERY = (0, 4, 2, 1)
# Monday to Sunday; the sums of a store and of screens.
_WEEKDAYS = np.array([.96, .92, .91, .93, .98, 1.13, 1.17])
_STORE_HOURS = np.array([0, 0, 0, 0, 0, 0, 1, 2, 3.2, 4.2, 5.5, 6.6, 6.9, 6.6, 6.8, 7.4, 8.8, 10, 9.6, 8.4, 6.6, 4.5, 0, 0])
_SCREEN_HOURS = np.array([2.4, 1.2, .6, .4, .3, .5, 1.2, 2.4, 3.6, 4.6, 5.4, 5.6, 6.4, 5.8, 4.8, 4.6, 4.6, 4.8, 5.2, 6.2, 7.6, 8.6, 8.2, 4.8])
HOURS = np.stack([_STORE_HOURS / _STORE_HOURS.sum(), _SCREEN_HOURS / _SCREEN_HOURS.sum()])
# (from, until) of month and day, both included.
_PROMOTIONS = (((6, 1), (6, 18)), ((11, 1), (11, 11)), ((12, 9), (12, 12)), ((3, 5), (3, 8)))
# The weeks before the Spring Festival of each year, Labour Day, National Day, Mid-Autumn.
_HOLIDAYS = tuple((datetime(*a), datetime(*b)) for a, b in (
    ((2024, 1, 27), (2024, 2, 9)), ((2025, 1, 15), (2025, 1, 28)), ((2026, 2, 3), (2026, 2, 16)), ((2027, 1, 24), (2027, 2, 6)), ((2028, 1, 13), (2028, 1, 26)),
    ((2024, 9, 10), (2024, 9, 17)), ((2025, 9, 28), (2025, 10, 6)), ((2026, 9, 18), (2026, 9, 25)), ((2027, 9, 8), (2027, 9, 15))))


@dataclass(frozen=True)
class Calendar:
    """The days of the observation: what each is, and how much each type buys and browses on it."""

    weeks: int
    is_promotion: Array  # (day,)
    buying: Array  # (day, type): an ordinary week sums to about 1
    browsing: Array  # (day,)


def calendar(weeks: int) -> Calendar:
    """The seasons: weekday, payday (25th to 28th), promotions, the days before holidays."""
    dates = [BEGIN + timedelta(days=d) for d in range(7 * weeks)]
    promotion = np.array([any(a <= (date.month, date.day) <= b for a, b in _PROMOTIONS) for date in dates])
    holiday = np.array([any(a <= date <= b for a, b in _HOLIDAYS) or (date.month, date.day) in ((4, 30), (9, 30)) for date in dates])
    payday = np.array([25 <= date.day <= 28 for date in dates])
    weekday = np.tile(_WEEKDAYS / _WEEKDAYS.sum(), weeks)
    buying = np.stack([weekday * (1 + s.promotion * promotion + s.payday * payday + s.holiday * holiday) for s in SHOPPERS], axis=1)
    return Calendar(weeks, promotion, buying, weekday * (1 + .6 * promotion + .2 * holiday))


def weeks_of(months: int) -> int:
    """Whole weeks in so many months."""
    return round(months * 365.25 / 12 / 7)


def lines_chances() -> Array:
    """P(number of lines | type): a lognormal rounded up, cut at 60. Shape: (type, lines); column 0 is one line."""
    from math import erf, log, sqrt

    def below(x: float, median: float) -> float:
        return (1 + erf(log(x / median) / 1.25 / sqrt(2))) / 2

    table = np.array([[below(n, s.lines) - (below(n - 1, s.lines) if n > 1 else 0) for n in range(1, MAX_LINES + 1)] for s in SHOPPERS])
    return np.asarray(table / table.sum(axis=1, keepdims=True))


def shares(name: str) -> Array:
    """A trait of the types as probabilities. Shape: (type, value)."""
    table = np.array([getattr(s, name) for s in SHOPPERS], float)
    return np.asarray(table / table.sum(axis=1, keepdims=True))
