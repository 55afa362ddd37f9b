"""The mechanism of a life in weeks: rates, steps, arms, and planted drivers that do what is said and nothing else."""

import dataclasses

import numpy as np
import pytest

from features.errors import UsageError
from features.shop.people import People, people
from features.shop.weeks import CONTROL, TREATED, Weeks, draw_counts, exposures, exposures_by_type, live
from features.shop.world import ACTIVE, COOLING, DORMANT, GONE, KEEN, SHOPPERS, World, calendar, lines_chances, shares, weeks_of

WEEKS = 52


def lives_of(world: World, n: int = 1500, seed: int = 3, weeks: int = WEEKS) -> tuple[People, Weeks]:
    rng, days = np.random.default_rng(seed), calendar(weeks)
    folk = people(n, world, days, rng)
    return folk, live(folk, world, days, rng)


@pytest.mark.parametrize("mean", [.03, .8, 4.0])
def test_counts_are_poisson(mean):
    n = draw_counts(np.random.default_rng(1).random(200_000), np.full(200_000, mean))
    assert n.mean() == pytest.approx(mean, rel=.02)
    assert n.var() == pytest.approx(mean, rel=.03)


def test_a_larger_mean_never_gives_a_smaller_count():
    u = np.random.default_rng(2).random(5000)
    assert (draw_counts(u, np.full(5000, 1.3)) >= draw_counts(u, np.full(5000, .6))).all()


def test_probabilities_add_up():
    world = World()
    for table in (world.transitions(), world.waking([.1, .3]), World.shock(.4), lines_chances(), *(shares(name) for name in ("categories", "tiers", "channels", "ages", "cities"))):
        np.testing.assert_allclose(np.asarray(table).sum(axis=-1), 1)
    assert sum(s.share for s in SHOPPERS) == pytest.approx(1)


def test_a_month_and_its_weeks():
    assert [weeks_of(months) for months in (9, 12, 24)] == [39, 52, 104]
    assert calendar(52).is_promotion.sum() == 18 + 11 + 4 + 4


def test_nobody_does_anything_before_registration_and_the_first_week_counts_from_that_day():
    folk, lives = lives_of(World())
    before = np.arange(WEEKS) < (folk.day // 7)[:, None]
    for counts in (lives.bought, lives.failed, lives.shallow, lives.deep):
        assert not counts[before].any()
    days = calendar(WEEKS)
    new = np.flatnonzero((folk.day > 0) & (folk.day % 7 == 5))[0]
    week = folk.day[new] // 7
    weekend = days.buying.reshape(WEEKS, 7, -1)[week, 5:, folk.kind[new]].sum()
    assert exposures(folk, days).buying[new, week] == pytest.approx(weekend)
    by_type = exposures_by_type(folk, days)
    np.testing.assert_allclose(by_type[np.arange(len(folk)), :, folk.kind], exposures(folk, days).buying, rtol=1e-5)


def test_who_is_gone_stays_gone_and_does_nothing():
    _, lives = lives_of(World())
    gone = lives.state[:, :-1] == GONE
    assert not lives.bought[gone].any() and not lives.shallow[gone].any() and not lives.deep[gone].any()
    assert (lives.state[:, 1:][gone] == GONE).all()


def test_the_steps_are_those_of_the_table():
    world = dataclasses.replace(World(), slow_payment=0.0, unanswered=0.0, pressure=0.0, winback_treated=0.0)
    folk, lives = lives_of(world, 6000)
    here = np.arange(WEEKS) > (folk.day // 7)[:, None]
    for state, to in ((ACTIVE, KEEN), (COOLING, ACTIVE), (COOLING, GONE), (DORMANT, ACTIVE)):
        at = here & (lives.state[:, :-1] == state) & (folk.kind == 0)[:, None]
        found = (lives.state[:, 1:][at] == to).mean()
        wanted = world.transitions()[0, state, to]
        assert abs(found - wanted) < 4 * np.sqrt(wanted / at.sum()), (state, to, found, wanted)


# What a driver's week looks like, and how much sooner the customers cool after it.
HITS = {
    "slow_payment": lambda folk, lives: (lives.failed > 0) & (lives.bought == 0),
    "unanswered": lambda folk, lives: lives.unanswered > 0,
    "pressure": lambda folk, lives: np.repeat((folk.letters == 3)[:, None], WEEKS, axis=1) & (lives.failed == 0) & (lives.unanswered == 0)}


def cooled(folk: People, lives: Weeks, name: str) -> tuple[float, float, int]:
    """Share of keen and active customers in a worse state a week later: after the driver's week, and after a plain one."""
    engaged = (lives.state[:, :-1] <= ACTIVE) & (np.arange(WEEKS) > (folk.day // 7)[:, None])
    worse = lives.state[:, 1:] > ACTIVE
    hit = HITS[name](folk, lives)
    plain = (lives.failed == 0) & (lives.unanswered == 0) & (folk.letters < 2)[:, None]
    return float(worse[engaged & hit].mean()), float(worse[engaged & plain].mean()), int((engaged & hit).sum())


@pytest.mark.parametrize("name", list(HITS))
def test_a_driver_does_its_harm_and_without_it_there_is_none(name):
    world = World()
    after, plain, n = cooled(*lives_of(world, 8000), name)
    strength = getattr(world, name)
    # Of the shocked some are back within the same week's step.
    back = world.transitions()[0, COOLING, :COOLING].sum()
    assert after == pytest.approx(plain * (1 - strength) + (1 - back) * strength, abs=max(.006, 4 * np.sqrt(strength * (1 - strength) / n)))
    after, plain, n = cooled(*lives_of(world.without(name), 8000), name)
    assert after == pytest.approx(plain, abs=max(.006, 4 * np.sqrt(plain / n)))


@pytest.mark.parametrize("name", list(HITS))
def test_only_who_met_a_driver_lives_otherwise_without_it(name):
    folk, lives = lives_of(World())
    _, other = lives_of(World().without(name))
    hit = HITS[name](folk, lives) & (np.arange(WEEKS) >= (folk.day // 7)[:, None]) if name != "pressure" else np.repeat((folk.letters >= 2)[:, None], WEEKS, axis=1)
    never = ~hit.any(axis=1)
    assert never.sum() > 100
    for field in dataclasses.fields(Weeks):
        assert (getattr(lives, field.name)[never] == getattr(other, field.name)[never]).all(), field.name
    assert (lives.state != other.state).any()


def test_a_driver_that_there_is_not():
    with pytest.raises(UsageError, match="slow_payment, unanswered, pressure, found 'weather'"):
        World().without("weather")


def test_a_coupon_is_drawn_by_lot_and_does_nothing_where_it_is_broken():
    folk, lives = lives_of(World(), 8000, weeks=40)
    week = 39
    arm, bought = lives.coupon[:, week], lives.bought[:, week]
    asked = arm > 0
    assert set(np.unique(arm[asked])) == {CONTROL, TREATED}
    assert abs((arm[asked] == TREATED).mean() - .5) < 4 * np.sqrt(.25 / asked.sum())
    assert not arm[~folk.may_contact].any()
    broken = folk.home == 3
    hunters = folk.kind == 2

    def gain(who):
        return bought[who & (arm == TREATED)].mean() / bought[who & (arm == CONTROL)].mean() - 1
    assert gain(hunters & ~broken) > .3
    assert abs(gain(hunters & broken)) < .3


def test_a_win_back_message_goes_to_the_silent_with_a_holdout():
    folk, lives = lives_of(World(), 4000)
    person, week = np.nonzero(lives.winback)
    for i in range(0, len(person), 97):
        before = np.flatnonzero(lives.bought[person[i], :week[i]])
        assert lives.bought[person[i], :week[i]].sum() >= 2
        assert 4 <= week[i] - before[-1] <= 26
        assert folk.may_contact[person[i]]
    treated = lives.winback[person, week] == TREATED
    assert abs(treated.mean() - .85) < .03


def test_intervals_of_a_known_effect_cover_it():
    """100 small worlds: the difference of shares between the arms of one coupon, with its 95 % interval, against the true mean effect on those asked."""
    from features.shop.weeks import coupon_effects

    world, week, covered = World(), 21, 0
    assert world.is_coupon_week(week) and not world.is_winback_week(week)
    days = calendar(24)
    for seed in range(100):
        folk, lives = lives_of(world, 1000, 1000 + seed, 24)
        asked = np.flatnonzero(lives.coupon[:, week])
        treated = lives.coupon[asked, week] == TREATED
        bought = (lives.bought[asked, week] > 0).astype(float)
        rate = np.array([s.purchases for s in SHOPPERS])[folk.kind[asked]] * np.array([.3, .6, .9, 1.3, 2.2])[folk.level[asked]]
        plain = rate * np.array(world.purchases)[lives.state[asked, week]] * exposures(folk, days).buying[asked, week]
        effect = coupon_effects(folk, world)[asked, folk.kind[asked]] * np.where(lives.is_fatigued[asked, week], world.fatigue, 1.0)
        truth = (np.exp(-plain) - np.exp(-plain * (1 + effect))).mean()
        a, b = bought[treated], bought[~treated]
        estimate, error = a.mean() - b.mean(), np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
        covered += abs(estimate - truth) < 1.96 * error
    assert 90 <= covered <= 99, covered

