"""A life in weeks: the hidden state's chain and the counts that come of it.

In each week of each customer, given the hidden type k, level l and state s:
purchases ~ Poisson(rate_k l a_s E_kw m), failed payments ~ Poisson(phi rate_k l a_s E_kw), visits without a purchase ~ Poisson(mu_k l b_s F_w), a share c_s of
them fills a cart; a newsletter is opened with chance o_s. m is what a coupon does. At the end of the week shocks, then the chain's step.
"""

from dataclasses import dataclass

import numpy as np

from features.shop.people import People
from features.shop.world import ACTIVE, CHANNELS, COOLING, DORMANT, GONE, KEEN, LETTERS_EVERY, LEVELS, SHOPPERS, Array, Calendar, World

# Arms of a campaign: not asked, left out by lot (control), treated.
NOT_ASKED, CONTROL, TREATED = 0, 1, 2


@dataclass(frozen=True)
class Weeks:
    """Counts by person and week. Shape of every array: (person, week), but `state` has one column more."""

    state: Array  # at the beginning of the week, before what a win-back message does
    bought: Array
    unanswered: Array  # of the purchases: a complaint that nobody answered
    failed: Array
    shallow: Array
    deep: Array
    is_sent: Array
    is_opened: Array
    coupon: Array  # arm
    is_fatigued: Array  # had a coupon in the campaign before
    winback: Array  # arm


@dataclass(frozen=True)
class Exposures:
    """How much of each week a person is a customer, weighted by the days' seasons. Shape: (person, week)."""

    buying: Array
    browsing: Array
    is_here: Array


def exposures(folk: People, days: Calendar) -> Exposures:
    """A week counts from the day of registration on."""
    shape = (len(folk), days.weeks, 7)
    here = np.asarray(np.arange(7 * days.weeks) >= folk.day[:, None]).reshape(shape)
    buying = np.einsum("pwd,pwd->pw", here, days.buying.T[folk.kind].reshape(shape))
    return Exposures(buying, np.einsum("pwd,wd->pw", here, days.browsing.reshape(days.weeks, 7)), np.asarray(here.any(axis=2)))


def exposures_by_type(folk: People, days: Calendar) -> Array:
    """The exposure to buying under each type. Shape: (person, week, type)."""
    weekly = days.buying.reshape(days.weeks, 7, -1).sum(axis=1)
    table = np.repeat(weekly[None].astype(np.float32), len(folk), axis=0)
    week = np.clip(folk.day, 0, None) // 7
    table *= (np.arange(days.weeks) >= week[:, None])[:, :, None]
    new = np.flatnonzero((folk.day > 0) & (folk.day < 7 * days.weeks))
    left = (np.arange(7) >= (folk.day[new] % 7)[:, None]).astype(float)
    table[new, week[new]] = np.einsum("nd,ndk->nk", left, days.buying.reshape(days.weeks, 7, -1)[week[new]])
    return table


def coupon_effects(folk: People, world: World) -> Array:
    """What a fresh coupon adds to a person's purchases under each type, as a share; nothing where coupons fail. Shape: (person, type)."""
    effects = np.array([s.coupon for s in SHOPPERS])
    return np.where((folk.home == CHANNELS.index(world.broken_channel))[:, None], 0.0, effects)


def fail_rates(folk: People, world: World) -> Array:
    """Failed payments for each purchase. Shape: (person,)."""
    return np.where(folk.is_slow, world.fail_slow, np.where(folk.home == 0, 0.0, world.fail_else))


def draw_counts(u: Array, mean: Array) -> Array:
    """Poisson numbers by inversion: the same u gives a count that only grows with the mean."""
    count, chance = np.zeros(u.shape, np.int16), np.exp(-mean)
    below = chance.copy()
    for n in range(1, 60):
        is_more = u > below
        if not is_more.any():
            break
        count += is_more
        chance = chance * mean / n
        below += chance
    return count


def live(folk: People, world: World, days: Calendar, rng: np.random.Generator) -> Weeks:
    """Let every person live through the weeks."""
    n, w = len(folk), days.weeks
    lives = Weeks(np.zeros((n, w + 1), np.int8), *(np.zeros((n, w), kind) for kind in (*[np.int16] * 5, bool, bool, np.int8, bool, np.int8)))
    lives.state[:, 0] = folk.state
    return live_on(folk, world, days, rng, lives, 0, w)


def live_on(folk: People, world: World, days: Calendar, rng: np.random.Generator, lives: Weeks, begin: int, end: int) -> Weeks:
    """Fill in the weeks from `begin` until `end` (excluded), from the state at the beginning and from what was before."""
    n, seen = len(folk), exposures(folk, days)
    rate = np.array([s.purchases for s in SHOPPERS])[folk.kind] * LEVELS[folk.level]
    looks = np.array([s.browses for s in SHOPPERS])[folk.kind] * LEVELS[folk.level]
    a, b, c, o = (np.array(x) for x in (world.purchases, world.browses, world.deep, world.opens))
    effect = coupon_effects(folk, world)[np.arange(n), folk.kind]
    wake = np.array([s.winback for s in SHOPPERS])[folk.kind]
    steps, pressure, fails = np.cumsum(world.transitions(), axis=2)[:, :, :-1], np.array(world.pressure_of())[folk.letters], fail_rates(folk, world)
    state, last_bought, total = lives.state[:, begin].astype(int), last_purchase(lives, begin), lives.bought[:, :begin].sum(axis=1)
    had_coupon = last_coupon(lives, world, begin)
    for week in range(begin, end):
        u = rng.random((14, n))
        here = seen.is_here[:, week]
        if world.is_winback_week(week):
            arm = np.where(winback_asked(folk, week, last_bought, total), np.where(u[0] < world.winback_treated, TREATED, CONTROL), NOT_ASKED)
            chance = wake * np.select([state == COOLING, state == DORMANT], [1.0, .5], 0.0)
            state = np.where((arm == TREATED) & (u[1] < chance), ACTIVE, state)
            lives.winback[:, week] = arm
        more = np.ones(n)
        if world.is_coupon_week(week):
            arm = np.where(coupon_asked(folk, week), np.where(u[2] < .5, TREATED, CONTROL), NOT_ASKED)
            more = 1 + (arm == TREATED) * effect * np.where(had_coupon, world.fatigue, 1.0)
            lives.coupon[:, week], lives.is_fatigued[:, week] = arm, had_coupon
            had_coupon = arm == TREATED
        mean = rate * a[state] * seen.buying[:, week]
        unanswered = draw_counts(u[3], mean * more * world.complaints)
        bought = unanswered + draw_counts(u[4], mean * more * (1 - world.complaints))
        failed = draw_counts(u[5], mean * fails)
        visits = looks * b[state] * seen.browsing[:, week]
        sent = here & (folk.day < 7 * week) & is_letter_week(folk, week)
        lives.bought[:, week], lives.unanswered[:, week], lives.failed[:, week] = bought, unanswered, failed
        lives.shallow[:, week], lives.deep[:, week] = draw_counts(u[6], visits * (1 - c[state])), draw_counts(u[7], visits * c[state])
        lives.is_sent[:, week], lives.is_opened[:, week] = sent, sent & (u[8] < o[state])
        last_bought, total = np.where(bought > 0, week, last_bought), total + bought
        for strength, is_hit, i in ((world.slow_payment, (failed > 0) & (bought == 0), 9), (world.unanswered, unanswered > 0, 10), (pressure, here, 11)):
            state = _shocked(state, is_hit & (u[i] < strength), u[12])
        moved = (u[13][:, None] > steps[folk.kind, state]).sum(axis=1)
        state = np.where(here, moved, state)
        lives.state[:, week + 1] = state
    return lives


def last_purchase(lives: Weeks, week: int) -> Array:
    """The week of the last purchase before a week, long ago for none. Shape: (person,)."""
    bought = lives.bought[:, :week] > 0
    return np.where(bought.any(axis=1), week - 1 - np.argmax(bought[:, ::-1], axis=1), -10**6) if week else np.full(len(lives.bought), -10**6)


def last_coupon(lives: Weeks, world: World, week: int) -> Array:
    """Who got the coupon of the last campaign before a week. Shape: (person,)."""
    last = max((v for v in range(week) if world.is_coupon_week(v)), default=None)
    return np.zeros(len(lives.coupon), bool) if last is None else np.asarray(lives.coupon[:, last] == TREATED)


def _shocked(state: Array, is_hit: Array, u: Array) -> Array:
    worse = np.select([(state == KEEN) | (state == ACTIVE), state == COOLING], [COOLING, np.where(u < .5, DORMANT, GONE)], state)
    return np.where(is_hit, worse, state)


def is_letter_week(folk: People, week: int) -> Array:
    """Whether a person's newsletter goes out in this week. Shape: (person,)."""
    every = np.array(LETTERS_EVERY)[folk.letters]
    return np.asarray((every > 0) & (week % np.maximum(every, 1) == 0))


def coupon_asked(folk: People, week: int) -> Array:
    """Who takes part in a coupon's draw: registered four weeks before, and may be written to. Shape: (person,)."""
    return np.asarray(folk.may_contact & (folk.day < 7 * (week - 3)))


def winback_asked(folk: People, week: int, last_bought: Array, total: Array) -> Array:
    """Whom a win-back campaign means: two purchases or more, the last in the 4th to 26th week before. Shape: (person,)."""
    silent = week - last_bought
    return np.asarray(folk.may_contact & (total >= 2) & (silent >= 4) & (silent <= 26))
