"""From counts to events: sessions, funnels, baskets, what follows a purchase, messages; and what all this tells of the hidden type."""

from dataclasses import dataclass

import numpy as np

from features.shop.goods import Goods
from features.shop.log import KIND, WAYS, Log
from features.shop.observer import Marks
from features.shop.people import People, pick
from features.shop.weeks import TREATED, Weeks
from features.shop.world import CATEGORIES, CHANNELS, FOCAL, HOURS, SHOPPERS, WEEK, Array, Calendar, World, lines_chances, shares

DAY, HOUR = 86400, 3600
STORE, WEB, APP, MINI = range(4)
_CATEGORIES, _TIERS, _LINES = shares("categories"), shares("tiers"), lines_chances()
_PROMOTED, _REFERRAL = np.array([s.promoted for s in SHOPPERS]), np.array([s.referral for s in SHOPPERS])
_LOG_CATEGORIES, _LOG_TIERS, _LOG_LINES = (np.log(table.T).astype(np.float32) for table in (_CATEGORIES, _TIERS, _LINES))
AWAY = .2  # the share of purchases outside the home channel
REDEEMED = .6  # of the purchases with a coupon at hand
BOUNCES = .55


@dataclass(frozen=True)
class Baskets:
    """Shape of every array: (basket,), by person and week."""

    person: Array
    week: Array
    second: Array
    channel: Array
    is_unanswered: Array
    first_line: dict[str, Array]


def visits(folk: People, lives: Weeks, stock: Goods, world: World, days: Calendar, rng: np.random.Generator) -> tuple[Log, Marks, Baskets]:
    """All events of these people, and what the ideal observer reads in them."""
    n = len(folk)
    log = Log()
    kinds = np.zeros((n * days.weeks, len(SHOPPERS)), np.float32)
    focal_bought, focal_seen = np.zeros(n * days.weeks, np.int16), np.zeros(n * days.weeks, np.int16)
    baskets = _buy(folk, lives, stock, world, days, rng, log, kinds, focal_bought)
    _browse(folk, lives, stock, world, days, rng, log, kinds, focal_seen)
    _fail(folk, lives, stock, days, rng, log)
    _after(baskets, rng, log)
    _messages(folk, lives, world, days, rng, log)
    _arrive(folk, rng, log)
    shape = (n, days.weeks)
    return log, Marks(kinds.reshape(*shape, -1), focal_bought.reshape(shape), focal_seen.reshape(shape)), baskets


def _each(counts: Array) -> tuple[Array, Array]:
    """Person and week of every one of the counted things, in order."""
    person, week = np.nonzero(counts)
    times = counts[person, week]
    return np.repeat(person, times), np.repeat(week, times)


def _place_in_group(person: Array, week: Array) -> Array:
    """0, 1, 2 ... within each person and week."""
    starts = np.flatnonzero(np.r_[True, (person[1:] != person[:-1]) | (week[1:] != week[:-1])])[:len(person)]
    return np.arange(len(person)) - np.repeat(starts, np.diff(np.r_[starts, len(person)]))


def _moment(week: Array, weights: Array, is_screen: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Day in the week by its weights and hour by the channel's profile -> second, day of the observation. A session begun before midnight ends before it."""
    edges = np.cumsum(weights, axis=1)
    day = 7 * week + (rng.random(len(week))[:, None] * edges[:, -1:] >= edges).sum(axis=1).clip(0, 6)
    u, v = rng.random((2, len(week)))
    hour = np.where(is_screen, np.searchsorted(np.cumsum(HOURS[1])[:-1], u), np.searchsorted(np.cumsum(HOURS[0])[:-1], u))
    return (day * DAY + hour * HOUR + v * HOUR * np.where(hour == 23, .5, 1.0)).astype(np.int64), day


def _here(folk: People, person: Array, week: Array) -> Array:
    """Which days of a week come after registration. Shape: (row, 7)."""
    return np.asarray(7 * week[:, None] + np.arange(7) >= folk.day[person][:, None])


def _device(folk: People, person: Array, channel: Array) -> Array:
    """What a session runs on: a PC on the web, else the person's telephone (an Android for who has none)."""
    telephone = np.where(folk.device[person] >= 2, folk.device[person], 3)
    return np.select([channel == STORE, channel == WEB], [0, 1], telephone)


def _add(kinds: Array, cell: Array, told: Array) -> None:
    """Add log-likelihoods (row, type) to the cells of person and week."""
    for k in range(kinds.shape[1]):
        kinds[:, k] += np.bincount(cell, told[:, k], len(kinds))


def _buy(
    folk: People, lives: Weeks, stock: Goods, world: World, days: Calendar, rng: np.random.Generator, log: Log, kinds: Array, focal_bought: Array) -> Baskets:
    person, week = _each(lives.bought)
    n, kind, cell = len(person), folk.kind[person], person * days.weeks + week
    away = rng.random(n) < AWAY
    channel = np.where(away, np.searchsorted([.4, .6, .8], rng.random(n)), folk.home[person])
    habit = _here(folk, person, week) * (1 + (np.arange(7) == folk.weekday[person][:, None]))
    by_type = days.buying.reshape(days.weeks, 7, -1)[week]
    second, day = _moment(week, habit * np.take_along_axis(by_type, kind[:, None, None], 2)[:, :, 0], channel != STORE, rng)
    chances = by_type * habit[:, :, None]
    told = np.log(by_type[np.arange(n), day % 7] / chances.sum(axis=1)).astype(np.float32)

    lines = pick(_LINES, kind, rng.random(n)) + 1
    told += _LOG_LINES[lines - 1]
    is_focal = rng.random(n) < np.array(world.focal_bought)[folk.has_taste[person].astype(int)]
    focal_bought += np.bincount(cell, is_focal, len(focal_bought)).astype(np.int16)
    is_invited = rng.random(n) < _REFERRAL[kind]
    told += np.where(is_invited[:, None], np.log(_REFERRAL), np.log(1 - _REFERRAL))

    of = np.repeat(np.arange(n), lines)
    starts = np.cumsum(lines) - lines
    is_first = np.zeros(len(of), bool)
    is_first[starts] = True
    line_kind, is_focal_line = kind[of], is_first & is_focal[of]
    other = pick(_CATEGORIES, line_kind, rng.random(len(of))) + 1
    tier = pick(_TIERS, line_kind, rng.random(len(of)))
    item = stock.number(np.where(is_focal_line, FOCAL, other), tier, rng.random(len(of)))
    chance = _PROMOTED[:, None] * np.array([1.0, 1.4])
    is_offer_day = days.is_promotion[day].astype(int)[of]
    is_promoted = rng.random(len(of)) < chance[line_kind, is_offer_day]
    offers = np.log(np.stack([1 - chance, chance])).transpose(0, 2, 1).astype(np.float32)  # (promoted or not, day, type)
    by_line = np.where(is_focal_line[:, None], np.float32(0), _LOG_CATEGORIES[other - 1]) + _LOG_TIERS[tier] + offers[is_promoted.astype(int), is_offer_day]
    if n:
        told += np.add.reduceat(by_line, starts)
    _add(kinds, cell, told)

    quantity = 1 + np.minimum(rng.geometric(.8, len(of)) - 1, 9)
    full = stock.price[item] * quantity
    off = np.where(is_promoted, np.array([.1, .15, .2, .3])[rng.integers(0, 4, len(of))], 0.0)
    treated = lives.coupon[person, week] == TREATED
    is_broken = folk.home[person] == CHANNELS.index(world.broken_channel)
    tries = treated & (rng.random(n) < REDEEMED)
    is_redeemed = tries & ~is_broken
    discount = np.round(full * np.where(is_redeemed[of], 1 - (1 - off) * .9, off)).astype(np.int64)

    session, device, coupon = log.new_sessions(n), _device(folk, person, channel), _campaign(week, "coupon", world)
    is_screen = channel != STORE
    shown = np.minimum(lines, 3)
    paid = second + np.where(is_screen, 60 * (shown + 2) + 240, 600)
    place = np.arange(len(of)) - starts[of]
    log.add("purchase", person[of], paid[of], way=channel[of], device=device[of], session=session[of], item=item, quantity=quantity, amount=full - discount,
            discount=discount, promoted=is_promoted, campaign=np.where(is_redeemed, coupon, -1)[of])
    some = np.flatnonzero(~is_screen)
    log.add("store_visit", person[some], second[some], way=STORE, session=session[some])
    some = np.flatnonzero(is_screen)
    common = {"way": channel[some], "device": device[some], "session": session[some]}
    _entrance(log, person[some], second[some], rng, **common)
    seen = np.flatnonzero((place < 3) & is_screen[of])
    log.add("product_view", person[of][seen], second[of][seen] + 40 + 60 * place[seen], way=channel[of][seen], device=device[of][seen], session=session[of][seen], item=item[seen])
    log.add("cart_add", person[some], paid[some] - 200, item=item[starts[some]], **common)
    log.add("checkout", person[some], paid[some] - 120, **common)
    log.add("payment", person[some], paid[some] - 2, value=_wait(folk, person[some], channel[some], rng), **common)
    for name, is_it in (("coupon_redemption", is_redeemed), ("coupon_failed", tries & is_broken)):
        some = np.flatnonzero(is_it)
        log.add(name, person[some], paid[some] - 1, way=channel[some], device=device[some], session=session[some], campaign=coupon[some])
    some = np.flatnonzero(is_invited)
    log.add("invitation", person[some], paid[some] + 300, way=folk.home[person[some]], device=_device(folk, person[some], folk.home[person[some]]))
    first_line = {"session": session, "device": device, "item": item[starts], "quantity": quantity[starts], "amount": (full - discount)[starts]}
    return Baskets(person, week, paid, channel, _place_in_group(person, week) < lives.unanswered[person, week], first_line)


def _entrance(log: Log, person: Array, second: Array, rng: np.random.Generator, *, way: Array, device: Array, session: Array, **more: Array) -> None:
    """How a session begins: an advertisement, a search, or straight; then the landing page (a mini-program opens instead)."""
    u = rng.random(len(person))
    kind = np.select([u < .15, u < .45], [KIND["ad_click"], KIND["search"]], -1)
    some = np.flatnonzero((kind >= 0) & (way != MINI))
    log.add(kind[some], person[some], second[some], way=way[some], device=device[some], session=session[some], **{name: column[some] for name, column in more.items()})
    log.add(np.where(way == MINI, KIND["mini_program_open"], KIND["landing_view"]), person, second + 5, way=way, device=device, session=session, **more)


def _wait(folk: People, person: Array, channel: Array, rng: np.random.Generator) -> Array:
    """Seconds until the payment page answered: long in the app on Android."""
    return np.asarray(np.exp(rng.normal(0, .5, len(person))) * np.where(folk.is_slow[person] & (channel == APP), 11.0, 2.0))


def _browse(folk: People, lives: Weeks, stock: Goods, world: World, days: Calendar, rng: np.random.Generator, log: Log, kinds: Array, focal_seen: Array) -> None:
    """Visits that end without a purchase: looks at products, and, in some, a cart that is left."""
    parts = [_each(lives.shallow), _each(lives.deep)]
    person, week = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    is_deep = np.arange(len(person)) >= len(parts[0][0])
    n, kind, cell = len(person), folk.kind[person], person * days.weeks + week
    home = folk.home[person]
    channel = np.where(home == STORE, np.where(rng.random(n) < .6, MINI, WEB), home)
    second, _ = _moment(week, _here(folk, person, week) * days.browsing.reshape(-1, 7)[week], np.ones(n, bool), rng)
    is_focal = rng.random(n) < np.array(world.focal_seen)[folk.has_taste[person].astype(int)]
    focal_seen += np.bincount(cell, is_focal, len(focal_seen)).astype(np.int16)
    # More than half of the others see the first page and no more.
    is_bounce = ~is_deep & ~is_focal & (rng.random(n) < BOUNCES)
    looks = np.where(is_bounce, 0, 1 + np.minimum(rng.poisson(.5, n), 7))
    of = np.repeat(np.arange(n), looks)
    starts = np.cumsum(looks) - looks
    place = np.arange(len(of)) - starts[of]
    other, tier = pick(_CATEGORIES, kind[of], rng.random(len(of))) + 1, pick(_TIERS, kind[of], rng.random(len(of)))
    is_focal_look = (place == 0) & is_focal[of]
    item = stock.number(np.where(is_focal_look, FOCAL, other), tier, rng.random(len(of)))
    _add(kinds, cell[of], np.where(is_focal_look[:, None], np.float32(0), _LOG_CATEGORIES[other - 1]) + _LOG_TIERS[tier])
    session, device = log.new_sessions(n), _device(folk, person, channel)
    common = {"way": channel, "device": device, "session": session, "is_anonymous": ~is_deep & (rng.random(n) < .3)}
    _entrance(log, person, second, rng, **common)
    log.add("product_view", person[of], second[of] + 40 + 60 * place, item=item, **{name: column[of] for name, column in common.items()})
    some, at = np.flatnonzero(is_deep), second + 60 * (looks + 1)
    log.add("cart_add", person[some], at[some], item=item[starts[some]], **{name: column[some] for name, column in common.items()})
    some = np.flatnonzero(is_deep & (rng.random(n) < .4))
    log.add("checkout", person[some], at[some] + 50, **{name: column[some] for name, column in common.items()})


def _fail(folk: People, lives: Weeks, stock: Goods, days: Calendar, rng: np.random.Generator, log: Log) -> None:
    """Payments that do not go through, in the person's own channel."""
    person, week = _each(lives.failed)
    n, channel = len(person), folk.home[person]
    weights = _here(folk, person, week) * days.browsing.reshape(-1, 7)[week]
    second, _ = _moment(week, weights, np.ones(n, bool), rng)
    common = {"way": channel, "device": _device(folk, person, channel), "session": log.new_sessions(n)}
    item = stock.number(pick(_CATEGORIES, folk.kind[person], rng.random(n)) + 1, rng.integers(0, 3, n), rng.random(n))
    _entrance(log, person, second, rng, **common)
    log.add("product_view", person, second + 40, item=item, **common)
    log.add("cart_add", person, second + 90, item=item, **common)
    log.add("checkout", person, second + 150, **common)
    log.add("payment_failed", person, second + 240, value=_wait(folk, person, channel, rng) * 2.5, **common)


def _after(baskets: Baskets, rng: np.random.Generator, log: Log) -> None:
    """What follows a purchase: reviews, NPS, returns and refunds, contacts with the service."""
    n = len(baskets.person)
    u = rng.random((6, n))
    upset = baskets.is_unanswered

    def add(kind: str, is_it: Array, second: Array, **columns: Array) -> None:
        some = np.flatnonzero(is_it)
        log.add(kind, baskets.person[some], second[some].astype(np.int64), **{name: np.broadcast_to(column, n)[some] for name, column in columns.items()})

    way = baskets.channel
    stars = np.where(upset, 1 + (u[1] > .7), 5 - np.floor(-np.log(u[1]) * .7).clip(0, 3))
    add("review", u[0] < .06, baskets.second + DAY * (1 + 9 * u[2]), way=way, value=stars)
    score = np.where(upset, np.floor(6 * u[2]), 10 - np.floor(-np.log(u[2]) * 1.6).clip(0, 9))
    add("nps", u[0] > .97, baskets.second + DAY * (1 + 3 * u[3]), way=np.full(n, WAYS.index("email")), value=score)
    # One line goes back and, days later, is paid back.
    is_return, back = u[4] < np.where(way == STORE, .015, .05), baskets.second + DAY * (2 + 8 * u[5])
    add("return", is_return, back, way=way, **baskets.first_line)
    add("refund", is_return, back + DAY * (1 + 3 * u[3]), way=way, **baskets.first_line)
    # A complaint that is not answered: the customer asks again before the week is over.
    week_end = (baskets.week + 1) * WEEK - 1
    asked = baskets.second + (week_end - baskets.second) * .5 * u[1]
    again = asked + (week_end - asked) * u[2]
    phone = np.full(n, WAYS.index("phone"))
    add("service_contact", upset, asked, way=phone)
    add("service_contact", upset, again, way=phone, value=1 + (u[3] > .6))
    add("service_contact", ~upset & (u[5] < .03), baskets.second + DAY * (.1 + 5 * u[1]), way=phone, value=3 + np.floor(3 * u[3]))


def _campaign(week: Array, name: str, world: World) -> Array:
    """The number of the campaign of a week: newsletters 3w, coupons 3w + 1, win-back messages 3w + 2."""
    return np.asarray(3 * week + ("newsletter", "coupon", "winback").index(name))


def _messages(folk: People, lives: Weeks, world: World, days: Calendar, rng: np.random.Generator, log: Log) -> None:
    """What marketers sent, and what was opened."""
    by_push = folk.home >= APP
    push, email, sms = (WAYS.index(name) for name in ("push", "email", "sms"))
    person, week = np.nonzero(lives.is_sent)
    at = week * WEEK + DAY + 10 * HOUR + rng.integers(0, 1800, len(person))
    way, campaign = np.where(by_push[person], push, email), _campaign(week, "newsletter", world)
    log.add("campaign_received", person, at, way=way, campaign=campaign)
    some = np.flatnonzero(lives.is_opened[person, week])
    log.add(np.where(by_push[person[some]], KIND["push_open"], KIND["email_open"]), person[some], at[some] + (2 * DAY * rng.random(len(some)) ** 2).astype(np.int64) + 30,
            way=way[some], campaign=campaign[some])
    for name, arm, hour in (("coupon", lives.coupon, 8), ("winback", lives.winback, 9)):
        person, week = np.nonzero(arm == TREATED)
        way = np.full(len(person), sms) if name == "winback" else np.where(by_push[person], push, sms)
        log.add("campaign_received", person, week * WEEK + hour * HOUR + rng.integers(0, 900, len(person)), way=way, campaign=_campaign(week, name, world))


def _arrive(folk: People, rng: np.random.Generator, log: Log) -> None:
    """Registration, a little before the first thing done that day; and, for some newcomers, looks around before it, still unknown."""
    n = len(folk)
    first = np.full(n, np.iinfo(np.int64).max)
    for block in log.blocks:
        np.minimum.at(first, block["person"], block["second"])
    usual = folk.day * DAY + (9 + 12 * rng.random(n)) * HOUR
    at = np.maximum(np.minimum(usual, first - 30 - 300 * rng.random(n)), folk.day * DAY).astype(np.int64)
    new = np.flatnonzero(folk.day >= 0)
    device = _device(folk, new, folk.home[new])
    log.add("registration", new, at[new], way=folk.home[new], device=device)
    looks = np.where((folk.home[new] != STORE) & (folk.day[new] > 14), rng.poisson(.8, len(new)), 0)
    of = np.repeat(np.arange(len(new)), looks)
    person = new[of]
    before = (at[person] - 600 - 13 * DAY * rng.random(len(of)) ** 2).astype(np.int64)
    common = {"way": folk.home[person], "device": device[of], "session": log.new_sessions(len(of)), "is_anonymous": np.ones(len(of), bool)}
    _entrance(log, person, before, rng, **common)
    log.add("product_view", person, before + 45, item=rng.integers(0, len(CATEGORIES) * 48, len(of)), **common)
