"""Who the shop's people are: hidden type, level and taste; what is known of them; when they came."""

from dataclasses import dataclass

import numpy as np

from features.shop.world import CHANNELS, LETTERS_EVERY, LEVELS, SHOPPERS, Array, Calendar, World, shares

AGE_SHARES, CITY_SHARES, CHANNEL_SHARES = shares("ages"), shares("cities"), shares("channels")
_SOURCES_BY_CHANNEL = np.array([[.1, .05, .2, .6, .05], [.55, .25, .1, .02, .08], [.25, .35, .15, .05, .2], [.1, .15, .4, .1, .25]])
# Of those who buy in the app or a mini-program by iOS and Android; web is at a PC.
_ANDROID = .55
_FEMALE = np.array([.66, .55, .6, .5, .62, .72])


@dataclass(frozen=True)
class People:
    """Shape of every array: (person,). The first three are hidden; the rest the shop can know."""

    kind: Array
    level: Array
    has_taste: Array  # has taken to the focal category
    home: Array  # the channel they mostly use
    device: Array
    age: Array
    city: Array
    is_female: Array
    source: Array
    day: Array  # of registration; negative for who was there before the beginning
    may_contact: Array
    may_profile: Array
    letters: Array  # index into LETTERS_EVERY: newsletters are dealt out by lot
    weekday: Array  # of their habit
    state: Array  # at the first week

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def is_slow(self) -> Array:
        """Meets the slow payment page: the app on an Android telephone."""
        return np.asarray((self.home == CHANNELS.index("app")) & (self.device == 3))


def pick(chances: Array, rows: Array, u: Array) -> Array:
    """One draw for each of `rows` of a table of probabilities, from uniform numbers."""
    edges = np.cumsum(chances, axis=1)[:, :-1]
    return np.asarray((u[:, None] > edges[rows]).sum(axis=1))


def people(n: int, world: World, days: Calendar, rng: np.random.Generator) -> People:
    """Draw n people."""
    u = rng.random((16, n))
    kind = np.searchsorted(np.cumsum([s.share for s in SHOPPERS])[:-1], u[0])
    home = pick(CHANNEL_SHARES, kind, u[1])
    device = np.select([home == 0, home == 1], [np.where(u[2] < .5, 0, np.where(u[2] < .78, 3, 2)), 1], np.where(u[2] < _ANDROID, 3, 2))
    may_contact = u[3] < .86
    letters = np.where(may_contact, 1 + np.floor(u[4] * (len(LETTERS_EVERY) - 1)).astype(int), 0)
    is_base = u[5] < world.base_share
    day = np.where(is_base, -1 - np.floor(u[6] * 500).astype(int), np.searchsorted(np.cumsum(_arrivals(days)), u[6]))
    base_state = np.searchsorted(np.cumsum(world.base_states)[:-1], u[7])
    return People(
        kind, np.floor(u[8] * len(LEVELS)).astype(int), u[9] < np.array([s.focal for s in SHOPPERS])[kind], home, device,
        pick(AGE_SHARES, kind, u[10]), pick(CITY_SHARES, kind, u[11]), u[12] < _FEMALE[kind],
        pick(_SOURCES_BY_CHANNEL, home, u[13]), day, may_contact, u[14] < .97, letters, np.floor(u[15] * 7).astype(int), np.where(is_base, base_state, 1))


def _arrivals(days: Calendar) -> Array:
    """The share of newcomers on each day: slow growth, more on promotion days and weekends."""
    d = np.arange(7 * days.weeks)
    weight = np.exp(.004 * d / 7) * (1 + 1.2 * days.is_promotion) * (1 + .15 * (d % 7 >= 5))
    return np.asarray(weight / weight.sum())


def prior(someone: People) -> Array:
    """P(type | what the shop knows of a person from the first day). Shape: (person, type)."""
    table = np.array([s.share for s in SHOPPERS]) * AGE_SHARES.T[someone.age] * CITY_SHARES.T[someone.city] * CHANNEL_SHARES.T[someone.home]
    table = table * np.where(someone.is_female[:, None], _FEMALE, 1 - _FEMALE)
    return np.asarray(table / table.sum(axis=1, keepdims=True))

