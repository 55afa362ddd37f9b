"""One partition of the shop: its people's lives as Arrow tables in the contract's form, and the truth beside them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.shop.goods import Goods
from features.shop.identities import PER_PERSON, SLOTS, Identities, identities, linked, names_of, seen_as, slot_names
from features.shop.log import KINDS, WAYS
from features.shop.observer import Known, contexts, futures, observe
from features.shop.people import People, people
from features.shop.visits import DAY, Baskets, visits
from features.shop.weeks import CONTROL, NOT_ASKED, TREATED, Weeks, coupon_effects, exposures, live
from features.shop.world import (
    AGES,
    BEGIN,
    CATEGORIES,
    CHANNELS,
    CITIES,
    CITY_TIERS,
    DEVICES,
    KIN,
    LEVELS,
    OFFSET_HOURS,
    SHOPPERS,
    SOURCES,
    STATES,
    TIERS,
    WEEK,
    Array,
    Calendar,
    World,
)

_BEGIN_UTC = int((BEGIN.replace(tzinfo=UTC) - timedelta(hours=OFFSET_HOURS)).timestamp())
_TIME = pa.timestamp("us", "UTC")
_SILVER, _GOLD = 10, 30


def moment_of(week: int) -> datetime:
    """The local midnight at which a week begins, naive UTC."""
    return BEGIN + timedelta(weeks=week) - timedelta(hours=OFFSET_HOURS)


def stamps(second: Array) -> pa.Array:
    """Seconds since the beginning, local -> instants."""
    return pa.array((second.astype(np.int64) + _BEGIN_UTC) * 1_000_000, pa.int64()).cast(_TIME)


def words(codes: Array, names: list[str]) -> pa.Array:
    """Codes as texts of a dictionary; -1 is none."""
    return pa.DictionaryArray.from_arrays(pa.array(np.asarray(codes, np.int32), mask=np.asarray(codes) < 0), pa.array(names, pa.string()))


def _numbers(values: Array, kind: pa.DataType, is_none: Array) -> pa.Array:
    return pa.array(values, kind, mask=is_none)


def partition(world: World, days: Calendar, stock: Goods, size: int, first_person: int, seed: int, moments: list[int]) -> dict[str, pa.Table]:
    """Simulate `size` people from number `first_person` on; the same numbers give the same tables.

    Gives the tables events, customers, aliases, treatments, and of the truth identifiers, people, moments, effects.
    """
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, first_person])))
    folk = people(size, world, days, rng)
    lives = live(folk, world, days, rng)
    log, marks, baskets = visits(folk, lives, stock, world, days, rng)
    events = log.together(days.weeks * WEEK)
    known = identities(folk, 7 * days.weeks, rng)
    who, source = seen_as(known, events, rng)
    left, right, at = linked(known, folk, who, source, events["second"])
    codes = np.unique(np.concatenate([who, left, right, np.arange(size) * PER_PERSON]))
    names = names_of(codes, first_person, seed)
    return {
        "events": _events(events, np.searchsorted(codes, who), names, stock, first_person, rng),
        "customers": _customers(folk, known, baskets, first_person, seed, days, rng),
        "aliases": pa.table({
            "alias": words(np.searchsorted(codes, left), names), "alias_kind": pa.array(slot_names(left)), "customer_id": words(np.searchsorted(codes, right), names),
            "linked_at": stamps(at)}).filter(pc.less(pa.array(at), days.weeks * WEEK)),
        "treatments": _treatments(lives, first_person, seed, known, world),
        "truth/identifiers": pa.table({"identifier": names, "kind": slot_names(codes), "person": pa.array(codes // PER_PERSON + first_person)}),
        "truth/events": _true_persons(events, who, first_person),
        "truth/people": _people(folk, first_person),
        "truth/moments": _moments(observe(folk, lives, marks, world, days, moments), folk, lives, known, world, first_person, seed),
        "truth/effects": _effects(folk, lives, world, days, first_person)}


def _events(events: dict[str, Array], who: Array, names: list[str], stock: Goods, first_person: int, rng: np.random.Generator) -> pa.Table:
    n, item = len(who), events["item"]
    goods = np.where(item >= 0, item, 0)
    no_item, no_money = item < 0, events["amount"] < 0
    is_store = events["way"] == WAYS.index("store")
    lag = np.where(is_store, rng.integers(60, 4800, n), rng.integers(1, 20, n))
    brands = [f"{CATEGORIES[i // 5]} brand {'ABCDE'[i % 5]}" for i in range(5 * len(CATEGORIES))]
    return pa.table({
        "event_id": _event_ids(first_person, n),
        "customer_id": words(who, names),
        "event_at": stamps(events["second"]), "ingested_at": stamps(events["second"] + lag),
        "kind": words(events["kind"], list(KINDS)),
        "initiator": words((events["kind"] == KINDS.index("campaign_received")).astype(int), ["customer", "marketer"]),
        "channel": words(events["way"], list(WAYS)),
        "device": words(np.where(events["device"] > 0, events["device"] - 1, -1), list(DEVICES[1:])),
        "session_id": pc.binary_join_element_wise(
            pa.scalar(f"s{first_person:08d}"), _numbers(events["session"], pa.int64(), events["session"] < 0).cast(pa.string()), "-"),
        "item_id": words(item, item_names()),
        "category": words(np.where(no_item, -1, stock.category[goods]), list(CATEGORIES)), "brand": words(np.where(no_item, -1, stock.brand[goods]), brands),
        "quantity": _numbers(events["quantity"].astype(np.int64), pa.int64(), events["quantity"] < 0),
        "amount": _numbers(events["amount"] / 100.0, pa.float64(), no_money),
        "discount": _numbers(events["discount"] / 100.0, pa.float64(), events["discount"] < 0),
        "is_promoted": pa.array(events["promoted"] == 1, pa.bool_(), mask=events["promoted"] < 0),
        "campaign_id": words(events["campaign"], campaign_names(int(events["campaign"].max(initial=0)) // 3 + 1)),
        "value": _numbers(np.round(events["value"].astype(float), 1), pa.float64(), np.isnan(events["value"]))})


def _event_ids(first_person: int, n: int) -> pa.Array:
    return pc.binary_join_element_wise(pa.scalar(f"{first_person:08d}"), pc.utf8_lpad(pa.array(np.arange(n)).cast(pa.string()), 8, "0"), "-")


def _true_persons(events: dict[str, Array], who: Array, first_person: int) -> pa.Table:
    """Grain: event that does not bear a customer's number. Who it really was."""
    unknown = np.flatnonzero(who % PER_PERSON > SLOTS.index("second_customer"))
    return pa.table({"event_id": _event_ids(first_person, len(who)).take(pa.array(unknown)), "person": events["person"][unknown].astype(np.int64) + first_person})


def item_names() -> list[str]:
    """Ids of the items, by number."""
    return [f"I{number:04d}" for number in range(len(CATEGORIES) * len(TIERS) * 16)]


def campaign_names(weeks: int) -> list[str]:
    """Ids of the campaigns: of each week a newsletter, a coupon, a win-back message."""
    return [f"{name}-{week:03d}" for week in range(weeks) for name in ("newsletter", "coupon", "winback")]


def _customers(folk: People, known: Identities, baskets: Baskets, first_person: int, seed: int, days: Calendar, rng: np.random.Generator) -> pa.Table:
    """Grain: customer x valid_from. Levels rise with the 10th and the 30th purchase; some move to another tier of city."""
    n, end = len(folk), days.weeks * WEEK
    order = np.lexsort((baskets.second, baskets.person))
    person, second = baskets.person[order], baskets.second[order]
    place = np.arange(len(person)) - np.searchsorted(person, person)
    silver, gold = np.full(n, end), np.full(n, end)
    for level, number in ((silver, _SILVER), (gold, _GOLD)):
        is_it = place == number - 1
        level[person[is_it]] = second[is_it]
    start = np.where(folk.day < 0, folk.day * DAY + 10 * 3600, folk.day * DAY).astype(np.int64)
    moves = np.where(rng.random(n) < .05, (np.maximum(start, 0) + rng.random(n) * (end - np.maximum(start, 0))).astype(np.int64), end)
    other = rng.integers(0, len(CITY_TIERS), n)
    switch = np.where(known.switch_day < 7 * days.weeks, known.switch_day * DAY, end)
    everyone = np.arange(n)
    rows = np.concatenate([everyone] * 5)
    at = np.concatenate([start, silver, gold, moves, switch])
    inside = np.flatnonzero(at < end)
    rows, at = rows[inside], at[inside]
    is_second = at >= switch[rows]
    codes = rows * PER_PERSON + is_second * SLOTS.index("second_customer")
    level = (at >= silver[rows]).astype(int) + (at >= gold[rows])
    city = np.where(at >= moves[rows], other[rows], folk.city[rows])
    table = pa.table({
        "customer_id": pa.array(names_of(codes, first_person, seed)), "valid_from": stamps(at),
        "consent_profiling": folk.may_profile[rows], "consent_marketing": folk.may_contact[rows],
        "gender": words(folk.is_female[rows].astype(int), ["male", "female"]), "age_band": words(folk.age[rows], list(AGES)),
        "city_tier": words(city, list(CITY_TIERS)), "city": words(4 * city + rows % 4, list(CITIES)),
        "acquisition_source": words(folk.source[rows], list(SOURCES)), "signup_channel": words(folk.home[rows], list(CHANNELS)),
        "member_level": words(level, ["basic", "silver", "gold"])})
    return table.take(pa.array(np.lexsort((at, codes))))


def _treatments(lives: Weeks, first_person: int, seed: int, known: Identities, world: World) -> pa.Table:
    """Grain: campaign x customer asked, with the arm that the lot gave. Newsletters are no experiment and are not here."""
    parts = []
    for name, arms, cost in (("coupon", lives.coupon, world.coupon_cost), ("winback", lives.winback, world.winback_cost)):
        person, week = np.nonzero(arms != NOT_ASKED)
        is_treated = arms[person, week] == TREATED
        codes = person * PER_PERSON + (7 * week >= known.switch_day[person]) * SLOTS.index("second_customer")
        unique, place = np.unique(codes, return_inverse=True)
        parts.append(pa.table({
            "campaign_id": words(3 * week + (1 if name == "coupon" else 2), campaign_names(arms.shape[1])), "customer_id": words(place, names_of(unique, first_person, seed)),
            "arm": words(is_treated.astype(int), ["control", "treated"]), "assigned_at": stamps(week * WEEK), "cost": np.where(is_treated, cost / 100.0, 0.0)}))
    return pa.concat_tables([part.cast(parts[0].schema) for part in (_plain(part) for part in parts)])


def _plain(table: pa.Table) -> pa.Table:
    return table.cast(pa.schema([(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in table.schema]))


def _people(folk: People, first_person: int) -> pa.Table:
    """Grain: person. What is hidden, and what they came with."""
    return pa.table({
        "person": np.arange(len(folk)) + first_person, "type": words(folk.kind, [s.name for s in SHOPPERS]), "level": folk.level.astype(np.int8),
        "rate_level": LEVELS[folk.level], "has_taste": folk.has_taste, "is_kin": folk.kind == KIN, "meets_slow_payment": folk.is_slow,
        "meets_broken_coupon": folk.home == CHANNELS.index("mini_program"), "letters": folk.letters.astype(np.int8), "home_channel": words(folk.home, list(CHANNELS)),
        "registered_at": stamps(folk.day * DAY)})


def _moments(knowns: Iterator[Known], folk: People, lives: Weeks, known: Identities, world: World, first_person: int, seed: int) -> pa.Table:
    """Grain: customer x as_of. The truth and the ideal observer's probabilities."""
    parts = []
    for one in knowns:
        who = one.who
        codes = who * PER_PERSON + (7 * one.week > known.switch_day[who]) * SLOTS.index("second_customer")
        state = lives.state[who, one.week]
        rate = np.array([s.purchases for s in SHOPPERS])[folk.kind[who]] * LEVELS[folk.level[who]] * np.array(world.purchases)[state]
        parts.append(pa.table({
            "customer_id": pa.array(names_of(codes, first_person, seed)), "person": who + first_person,
            "as_of": pa.array(np.full(len(who), moment_of(one.week), "datetime64[us]")).cast(_TIME), "state": words(state, list(STATES)).cast(pa.string()),
            **{name: pa.array(getattr(one, name).astype(np.float32)) for name in ("p_churn", "p_conversion", "p_gone", "p_churn_hidden", "p_conversion_hidden")},
            "purchases_per_week": rate.astype(np.float32)}))
    return pa.concat_tables(parts)


def _effects(folk: People, lives: Weeks, world: World, days: Calendar, first_person: int) -> pa.Table:
    """Grain: campaign x person asked. Both potential outcomes, given the hidden type and state at the campaign's beginning.

    A coupon: P(purchase) and expected purchases within its week. A win-back message: P(purchase) within four weeks.
    """
    parts = []
    buying = exposures(folk, days).buying
    rate = np.array([s.purchases for s in SHOPPERS])[folk.kind] * LEVELS[folk.level]
    effect = coupon_effects(folk, world)[np.arange(len(folk)), folk.kind]
    for week in range(days.weeks):
        for name, arms in (("coupon", lives.coupon), ("winback", lives.winback)):
            who = np.flatnonzero(arms[:, week] != NOT_ASKED)
            if not len(who):
                continue
            state = lives.state[who, week]
            if name == "coupon":
                plain = rate[who] * np.array(world.purchases)[state] * buying[who, week]
                fresh = plain * (1 + effect[who] * np.where(lives.is_fatigued[who, week], world.fatigue, 1.0))
                chances = {"p_if_control": 1 - np.exp(-plain), "p_if_treated": 1 - np.exp(-fresh), "purchases_if_control": plain, "purchases_if_treated": fresh}
            else:
                place = (contexts(folk, lives, world, week)[who], folk.kind[who], folk.level[who], state)
                both = [1 - futures(world, days.weeks, week, arm).silent[place] for arm in (CONTROL, TREATED)]
                chances = {"p_if_control": both[0], "p_if_treated": both[1], "purchases_if_control": np.full(len(who), np.nan), "purchases_if_treated": np.full(len(who), np.nan)}
            parts.append(pa.table({
                "campaign_id": pa.array([f"{name}-{week:03d}"] * len(who)), "person": who + first_person,
                **{column: pa.array(values.astype(np.float32), from_pandas=True) for column, values in chances.items()}}))
    return pa.concat_tables(parts) if parts else pa.table({})


def items(stock: Goods) -> pa.Table:
    """Grain: item."""
    n = len(stock.price)
    brands = [f"{CATEGORIES[brand // 5]} brand {'ABCDE'[brand % 5]}" for brand in stock.brand.tolist()]
    return pa.table({
        "item_id": item_names()[:n], "category": [CATEGORIES[category] for category in stock.category.tolist()], "brand": brands,
        "price_tier": [TIERS[tier] for tier in stock.tier.tolist()], "list_price": stock.price / 100.0})


def campaigns(weeks: int, world: World) -> pa.Table:
    """Grain: campaign. A newsletter goes out in every week; coupons are drawn by lot, win-back messages go to the silent."""
    names = ["newsletter"] * weeks + ["coupon"] * weeks + ["winback"] * weeks
    of = [*range(weeks)] * 3
    held = [i for i, (name, week) in enumerate(zip(names, of, strict=True)) if name == "newsletter" or (world.is_coupon_week if name == "coupon" else world.is_winback_week)(week)]
    week = np.array([of[i] for i in held])
    return pa.table({
        "campaign_id": [f"{names[i]}-{of[i]:03d}" for i in held], "kind": [names[i] for i in held], "start_at": stamps(week * WEEK), "end_at": stamps((week + 1) * WEEK)})
