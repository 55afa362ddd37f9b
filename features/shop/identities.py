"""By which identifier the shop saw each event, what it learned later to belong together, and the true person beside each identifier."""

from dataclasses import dataclass

import numpy as np

from features.shop.log import WAYS
from features.shop.people import People
from features.shop.world import CHANNELS, Array

DAY = 86400
# What an identifier is; a cookie lives for a season, so a person has several.
SLOTS = ("customer", "second_customer", "card", "device", "openid", "phone_hash", "second_phone_hash", "email_hash", "cookie")
_PREFIXES = dict(zip(SLOTS, ("C", "C", "K", "dv_", "o_", "ph_", "ph_", "em_", "ck_"), strict=True))
_NAMES = {"second_customer": "customer", "second_phone_hash": "phone_hash"}
PER_PERSON = 64
COOKIE_DAYS = 120


@dataclass(frozen=True)
class Identities:
    """Shape: (person,) unless said. Days are of the observation; a day that never comes is far away."""

    card_day: Array  # until then, what the person buys in the store is known by a card alone
    switch_day: Array  # from then on the person uses a second account
    phone_day: Array  # a new telephone number
    shares_with: Array  # whose device they use at times; themselves otherwise


NEVER = 10**7


def identities(folk: People, last_day: int, rng: np.random.Generator) -> Identities:
    """Draw who is known how."""
    n = len(folk)
    u = rng.random((7, n))
    start = np.maximum(folk.day, 0)
    has_card = (folk.home == CHANNELS.index("store")) & (u[0] < .25)
    some_day = start + 1 + (u[1] * np.maximum(last_day - start, 1)).astype(int)
    neighbour = np.where(np.arange(n) % 2 == 0, np.minimum(np.arange(n) + 1, n - 1), np.arange(n) - 1)
    return Identities(
        np.where(has_card, start + (-np.log(u[2]) * 60).astype(int), -NEVER), np.where(u[3] < .015, some_day, NEVER),
        np.where(u[4] < .08, some_day, NEVER), np.where(u[5] < .04, neighbour, np.arange(n)))


def seen_as(known: Identities, events: dict[str, Array], rng: np.random.Generator) -> tuple[Array, Array]:
    """The identifier that an event bears, and that of the device or browser it came from (-1 for none), as person x 64 + slot.

    Signed in, it is the customer's number, or a card in the store before the card was linked; not signed in, it is the device's.
    """
    person, day = events["person"].astype(np.int64), events["second"] // DAY
    way = events["way"]
    is_screen = (way == WAYS.index("web")) | (way == WAYS.index("app")) | (way == WAYS.index("mini_program"))
    owner = np.where((known.shares_with[person] != person) & (events["session"] % 3 == 0), known.shares_with[person], person)
    cookie = SLOTS.index("cookie") + (day + 400) // COOKIE_DAYS % 50
    slot = np.select([way == WAYS.index("app"), way == WAYS.index("mini_program")], [SLOTS.index("device"), SLOTS.index("openid")], cookie)
    source = np.where(is_screen, owner * PER_PERSON + slot, -1)
    account = person * PER_PERSON + np.where(day >= known.switch_day[person], SLOTS.index("second_customer"), SLOTS.index("customer"))
    is_card = (way == WAYS.index("store")) & (day < known.card_day[person])
    who = np.where(is_card, person * PER_PERSON + SLOTS.index("card"), account)
    return np.where(events["is_anonymous"], source, who), source


def linked(known: Identities, folk: People, who: Array, source: Array, second: Array) -> tuple[Array, Array, Array]:
    """Pairs of identifiers seen to belong together, and when: device with account by the first sign-in of each week, card, telephone and e-mail with account once."""
    is_signed = (source >= 0) & (who % PER_PERSON <= SLOTS.index("second_customer"))
    left_signed, right_signed, at_signed = source[is_signed], who[is_signed], second[is_signed].astype(np.int64)
    seen = np.stack([left_signed, right_signed, at_signed // (7 * DAY)])
    _, first = np.unique(seen, axis=1, return_index=True)  # events are in the order of time
    left, right, at = [left_signed[first]], [right_signed[first]], [at_signed[first]]
    everyone, start = np.arange(len(folk)), folk.day.astype(np.int64) * DAY
    never = np.full(len(folk), NEVER)

    def link(slot: str, to: str, from_day: Array, until_day: Array = never) -> None:
        some = np.flatnonzero((from_day > -NEVER) & (from_day < NEVER) & (from_day < until_day))
        left.append(everyone[some] * PER_PERSON + SLOTS.index(slot))
        right.append(everyone[some] * PER_PERSON + SLOTS.index(to))
        at.append(np.maximum(from_day[some].astype(np.int64) * DAY + 12 * 3600, start[some]))

    link("card", "customer", known.card_day, known.switch_day)
    link("phone_hash", "customer", folk.day)
    link("email_hash", "customer", folk.day)
    link("second_phone_hash", "customer", known.phone_day, known.switch_day)
    link("email_hash", "second_customer", known.switch_day)
    return np.concatenate(left), np.concatenate(right), np.concatenate(at)


def names_of(codes: Array, first_person: int, seed: int) -> list[str]:
    """Write identifiers out: customers and cards are numbered, the rest look like hashes."""
    words = []
    for code in codes.tolist():
        person, slot = divmod(code, PER_PERSON)
        name = SLOTS[min(slot, len(SLOTS) - 1)]
        number = first_person + person
        if name in ("customer", "second_customer", "card"):
            words.append(f"{_PREFIXES[name]}{number + 50_000_000 * (name == 'second_customer'):08d}")
        else:
            words.append(f"{_PREFIXES[name]}{_mixed(number * PER_PERSON + slot + seed * 2 ** 40):016x}")
    return words


def slot_names(codes: Array) -> list[str]:
    """What each identifier is: customer, card, device ..."""
    return [_NAMES.get(name, name) for name in (SLOTS[min(slot, len(SLOTS) - 1)] for slot in (codes % PER_PERSON).tolist())]


def _mixed(x: int) -> int:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014): different numbers stay different."""
    mask = 2 ** 64 - 1
    x = (x + 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)
