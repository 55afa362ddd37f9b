"""The ideal observer: what anybody could at best know of a customer at a moment, given everything that the shop could see before it.

Hidden are type k, level l and taste g, which stay, and the state s, which moves: a hidden Markov model with 6 x 5 x 2 x 5 values, so Bayes' rule is a sum.
Forward: belief(k, l, s) x P(what was seen in the week | k, l, s), shocks and steps, week by week. The taste needs no chain: given the type it shows
only in what is bought and looked at. Backward: P(no purchase within the horizon | k, l, s, context), summed over everything that may happen in between,
campaigns by lot included. No model can rank or predict better than the observer, but by chance: it is the ceiling.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from features.shop.people import People, prior
from features.shop.weeks import TREATED, Weeks, coupon_asked, coupon_effects, exposures, exposures_by_type, fail_rates, last_coupon, last_purchase, winback_asked
from features.shop.world import GONE, LEVELS, SHOPPERS, Array, Calendar, World, calendar

HORIZON_WEEKS = 4
_RATES = np.array([s.purchases for s in SHOPPERS])
_LOOKS = np.array([s.browses for s in SHOPPERS])
_FOCAL = np.array([s.focal for s in SHOPPERS])


@dataclass(frozen=True)
class Marks:
    """What else the events told, by person and week: log-likelihood of each type, purchases with the focal category, visits with a look at it."""

    kinds: Array  # (person, week, type)
    focal_bought: Array  # (person, week)
    focal_seen: Array  # (person, week)


@dataclass(frozen=True)
class Known:
    """What can be known at the beginning of a week. Shape of every array: (person,), for `who`."""

    week: int
    who: Array
    p_churn: Array  # no purchase within four weeks
    p_conversion: Array  # a purchase of the focal category within four weeks
    p_gone: Array
    # The same probabilities for one who sees the hidden type, level, taste and state too.
    p_churn_hidden: Array
    p_conversion_hidden: Array


@dataclass(frozen=True)
class Futures:
    """P(no purchase), P(no purchase of the focal category) within the horizon. Shapes: (context, type, level, state), and taste first for the second."""

    silent: Array
    no_focal: Array


def contexts(folk: People, lives: Weeks, world: World, week: int) -> Array:
    """Which of the 72 futures a person has: how payments fail, what a coupon would do, newsletters, whether a win-back message may come. Shape: (person,)."""
    fails = np.select([folk.is_slow, folk.home == 0], [2, 0], 1)
    coupon = np.zeros(len(folk), int)
    inside = [v for v in range(week, week + HORIZON_WEEKS) if world.is_coupon_week(v)]
    if inside:
        is_asked = coupon_asked(folk, inside[0]) & (coupon_effects(folk, world).max(axis=1) > 0)
        coupon = np.where(is_asked, np.where(last_coupon(lives, world, week), 2, 1), 0)
    sent = next(v for v in range(week, week + HORIZON_WEEKS) if world.is_winback_week(v))
    winback = winback_asked(folk, sent, last_purchase(lives, week), lives.bought[:, :week].sum(axis=1))
    return np.asarray(((fails * 3 + coupon) * 4 + folk.letters) * 2 + winback)


@lru_cache(maxsize=512)
def futures(world: World, weeks: int, week: int, forced: int | None = None) -> Futures:
    """Sum over all that may happen in the four weeks from `week` on.

    `forced` is the arm of a win-back message (for its effect) instead of the lot.
    """
    days = calendar(weeks)
    fails, coupon, letters, winback = (x.reshape(-1, 1, 1, 1) for x in np.unravel_index(np.arange(72), (3, 3, 4, 2)))
    phi = np.array([0.0, world.fail_else, world.fail_slow])[fails]
    fresh = np.array([0.0, 1.0, world.fatigue])[coupon] * np.array([s.coupon for s in SHOPPERS]).reshape(1, -1, 1, 1)
    step = np.stack([World.shock(x) for x in world.pressure_of()])[letters[:, 0, 0, 0]][:, None] @ world.transitions()  # (context, type, state, state)
    wake = world.waking(np.array([s.winback for s in SHOPPERS]))
    sent = (world.winback_treated if forced is None else float(forced == TREATED)) * winback
    slow, hurt = World.shock(world.slow_payment), World.shock(world.unanswered)
    taste = np.array(world.focal_bought).reshape(2, 1, 1, 1, 1)
    silent = np.ones((72, len(SHOPPERS), len(LEVELS), 5))
    still, again = np.ones((2, *silent.shape)), np.ones((2, *silent.shape))  # no purchase yet, some purchase since; none of the focal category
    for v in range(week + HORIZON_WEEKS - 1, week - 1, -1):
        buying = days.buying[7 * v:7 * v + 7].sum(axis=0) if v < days.weeks else _ordinary_week(days)
        mean = (_RATES * buying).reshape(-1, 1, 1) * LEVELS.reshape(-1, 1) * np.array(world.purchases)
        p_fail = 1 - np.exp(-mean * phi)

        def ended(value: Array) -> Array:
            return np.asarray(np.einsum("ckst,...cklt->...ckls", step, value))

        def mixed(value: Array, p_fail: Array = p_fail) -> Array:
            return np.asarray((1 - p_fail) * value + p_fail * np.einsum("st,...t->...s", slow, value))

        silent_end, still_end, again_end = ended(silent), ended(still), ended(again)
        silent, still, again = np.zeros_like(silent), np.zeros_like(still), np.zeros_like(again)
        arms = ((.5, 0.0), (.5, 1.0)) if world.is_coupon_week(v) else ((1.0, 0.0),)
        for share, is_treated in arms:
            x = mean * (1 + is_treated * fresh)
            none, y = np.exp(-x), x * (1 - taste)
            silent += share * none * mixed(silent_end)
            plain = np.exp(-x * taste) * np.exp(-y * world.complaints) * (1 - np.exp(-y * (1 - world.complaints)))
            upset = np.exp(-x * taste) * (1 - np.exp(-y * world.complaints))
            bought = plain * again_end + upset * np.einsum("st,...t->...s", hurt, again_end)
            still += share * (none * mixed(still_end) + bought)
            again += share * (none * mixed(again_end) + bought)
        if world.is_winback_week(v):
            silent = (1 - sent) * silent + sent * np.einsum("kst,cklt->ckls", wake, silent)
            still = (1 - sent) * still + sent * np.einsum("kst,gcklt->gckls", wake, still)
    return Futures(silent, still)


def _ordinary_week(days: Calendar) -> Array:
    """Beyond the observation nobody knows of seasons: the mean week."""
    return np.asarray(days.buying.sum(axis=0) / days.weeks)


def observe(folk: People, lives: Weeks, marks: Marks, world: World, days: Calendar, moments: Sequence[int]) -> Iterator[Known]:
    """What the ideal observer knows at the beginning of each of these weeks, of everybody registered before."""
    belief = _first_belief(folk, world)
    likelihood = _Likelihood(folk, lives, marks, world, days)
    for week in range(max(moments) + 1):
        if week in moments:
            yield _read(belief, folk, lives, marks, world, days, week)
        if week < days.weeks:
            belief = _advance(belief, likelihood, folk, lives, world, week)


def _first_belief(folk: People, world: World) -> Array:
    states = np.where((folk.day < 0)[:, None], np.array(world.base_states), np.eye(5)[1])
    return np.asarray(prior(folk)[:, :, None, None] / len(LEVELS) * np.ones((1, 1, len(LEVELS), 1)) * states[:, None, None, :], np.float32)


class _Likelihood:
    """log P(what was seen in a week | type, level, state), up to what is the same for all of them."""

    def __init__(self, folk: People, lives: Weeks, marks: Marks, world: World, days: Calendar) -> None:
        self.lives, self.marks = lives, marks
        seen = exposures(folk, days)
        self.here, self.browsing = seen.is_here, seen.browsing.astype(np.float32)
        self.buying = exposures_by_type(folk, days)
        self.effects, self.phi, self.fatigue = coupon_effects(folk, world), fail_rates(folk, world)[:, None], world.fatigue
        self.rate = (_RATES[:, None] * LEVELS).astype(np.float32)
        self.looks = (_LOOKS[:, None] * LEVELS).astype(np.float32)
        a, b, c, o = (np.maximum(np.array(x), 1e-30) for x in (world.purchases, world.browses, world.deep, world.opens))
        self.a, self.b = a.astype(np.float32), b.astype(np.float32)
        self.by_state = np.log(np.stack([a, b * (1 - c), b * c, o, 1 - o])).astype(np.float32)

    def of(self, week: int, who: Array) -> Array:
        """Shape: (person, type, level, state)."""
        lives = self.lives
        bought, failed, shallow, deep = (x[who, week].astype(np.float32) for x in (lives.bought, lives.failed, lives.shallow, lives.deep))
        sent, opened = lives.is_sent[who, week], lives.is_opened[who, week]
        more = 1 + (lives.coupon[who, week] == TREATED)[:, None] * self.effects[who] * np.where(lives.is_fatigued[who, week], self.fatigue, 1.0)[:, None]
        states = np.stack([bought + failed, shallow, deep, opened, sent & ~opened], axis=1).astype(np.float32) @ self.by_state
        buying = self.buying[who, week]
        kinds = self.marks.kinds[who, week] + (bought + failed)[:, None] * np.log(np.maximum(buying, 1e-9)) + bought[:, None] * np.log(more)
        levels = (bought + failed)[:, None, None] * np.log(self.rate) + (shallow + deep)[:, None, None] * np.log(self.looks) + kinds[:, :, None]
        mean = (buying * (more + self.phi[who]))[:, :, None] * self.rate
        visits = self.browsing[who, week][:, None, None] * self.looks
        log = levels[..., None] + states[:, None, None, :] - mean[..., None] * self.a - visits[..., None] * self.b
        return np.asarray(log, np.float32)


def _advance(belief: Array, likelihood: _Likelihood, folk: People, lives: Weeks, world: World, week: int) -> Array:
    """One week: win-back message, Bayes' rule, shocks, step."""
    if world.is_winback_week(week):
        woken = np.flatnonzero(lives.winback[:, week] == TREATED)
        belief[woken] = np.einsum("pkls,kst->pklt", belief[woken], world.waking(np.array([s.winback for s in SHOPPERS])), optimize=True)
    who = np.flatnonzero(likelihood.here[:, week])
    log = likelihood.of(week, who)
    log -= log.max(axis=(1, 2, 3), keepdims=True)
    now = belief[who] * np.exp(log)
    now /= now.sum(axis=(1, 2, 3), keepdims=True)
    for strength, is_hit in ((world.slow_payment, (lives.failed[who, week] > 0) & (lives.bought[who, week] == 0)), (world.unanswered, lives.unanswered[who, week] > 0)):
        now[is_hit] = now[is_hit] @ World.shock(strength).astype(np.float32)
    steps = world.transitions()
    for letters, pressure in enumerate(world.pressure_of()):
        mine = np.flatnonzero(folk.letters[who] == letters)
        both = (World.shock(pressure) @ steps).astype(np.float32)
        now[mine] = np.matmul(now[mine], both)
    belief[who] = now
    return belief


def _read(belief: Array, folk: People, lives: Weeks, marks: Marks, world: World, days: Calendar, week: int) -> Known:
    """Belief x futures, summed."""
    who = np.flatnonzero(folk.day < 7 * week)
    tastes = _tastes(lives, marks, world, who, week)  # log-likelihood of (not taken, taken) to the focal category
    both = np.exp(tastes - tastes.max(axis=1, keepdims=True))
    weight = np.stack([(1 - _FOCAL) * both[:, :1], _FOCAL * both[:, 1:]])  # (taste, person, type)
    joint = belief[who].astype(float) * weight.sum(axis=0)[:, :, None, None]
    joint /= joint.sum(axis=(1, 2, 3), keepdims=True)
    taken = weight / weight.sum(axis=0)
    future, context = futures(world, days.weeks, week), contexts(folk, lives, world, week)[who]
    no_focal = sum(np.einsum("pkls,pk,pkls->p", joint, taken[g], future.no_focal[g][context], optimize=True) for g in (0, 1))
    hidden = (context, folk.kind[who], folk.level[who], lives.state[who, week])
    return Known(
        week, who, np.einsum("pkls,pkls->p", joint, future.silent[context]), np.asarray(1 - no_focal), joint[..., GONE].sum(axis=(1, 2)),
        future.silent[hidden], 1 - future.no_focal[(folk.has_taste[who].astype(int), *hidden)])


def _tastes(lives: Weeks, marks: Marks, world: World, who: Array, week: int) -> Array:
    bought, with_focal = lives.bought[who, :week].sum(axis=1), marks.focal_bought[who, :week].sum(axis=1)
    visits, with_look = (lives.shallow + lives.deep)[who, :week].sum(axis=1), marks.focal_seen[who, :week].sum(axis=1)
    columns = []
    for g in (0, 1):
        q, r = world.focal_bought[g], world.focal_seen[g]
        columns.append(with_focal * np.log(q) + (bought - with_focal) * np.log(1 - q) + with_look * np.log(r) + (visits - with_look) * np.log(1 - r))
    return np.stack(columns, axis=1)
