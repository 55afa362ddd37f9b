"""The ideal observer against slow oracles: all paths written out, many lives lived, and its own calibration."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from features.shop.observer import Marks, contexts, futures, observe
from features.shop.people import People, people, prior
from features.shop.weeks import TREATED, Weeks, coupon_effects, exposures, exposures_by_type, fail_rates, live
from features.shop.world import LEVELS, SHOPPERS, World, calendar

WORLD = World()


def world_of(n: int, seed: int, weeks: int, world: World = WORLD) -> tuple[People, Weeks, Marks]:
    rng, days = np.random.default_rng(seed), calendar(weeks)
    folk = people(n, world, days, rng)
    lives = live(folk, world, days, rng)
    taste = folk.has_taste.astype(int)[:, None]
    visits = lives.shallow + lives.deep
    return folk, lives, Marks(
        np.zeros((n, weeks, len(SHOPPERS)), np.float32), rng.binomial(lives.bought, np.array(world.focal_bought)[taste]),
        rng.binomial(visits, np.array(world.focal_seen)[taste]))


def poisson(n: int, mean: float) -> float:
    return math.exp(-mean) * mean ** n / math.factorial(n)


def slow_p_gone(i: int, folk: People, lives: Weeks, marks: Marks, weeks: int) -> float:
    """P(gone) of one person by summing over every type, level, taste and path of states."""
    days = calendar(weeks)
    seen, by_type = exposures(folk, days), exposures_by_type(folk, days)
    here = [w for w in range(weeks) if seen.is_here[i, w]]
    steps, total, gone = WORLD.transitions(), 0.0, 0.0
    start = np.array(WORLD.base_states) if folk.day[i] < 0 else np.eye(5)[1]
    bought, visits = lives.bought[i].sum(), (lives.shallow + lives.deep)[i].sum()
    effects, fails, priors = coupon_effects(folk, WORLD)[i], fail_rates(folk, WORLD)[i], prior(folk)[i]
    fb, fs = marks.focal_bought[i].sum(), marks.focal_seen[i].sum()
    ends = {}
    for k, (j, w) in itertools.product(range(len(SHOPPERS)), enumerate(here)):
        ends[k, j] = World.shock(WORLD.pressure_of()[folk.letters[i]]) @ steps[k]
        if lives.unanswered[i, w] > 0:
            ends[k, j] = World.shock(WORLD.unanswered) @ ends[k, j]
        if lives.failed[i, w] > 0 and lives.bought[i, w] == 0:
            ends[k, j] = World.shock(WORLD.slow_payment) @ ends[k, j]
    for k, shopper in enumerate(SHOPPERS):
        tastes = sum(share * WORLD.focal_bought[g] ** fb * (1 - WORLD.focal_bought[g]) ** (bought - fb) * WORLD.focal_seen[g] ** fs * (1 - WORLD.focal_seen[g]) ** (visits - fs)
                     for g, share in ((0, 1 - shopper.focal), (1, shopper.focal)))
        for level in LEVELS:
            for path in itertools.product(range(5), repeat=len(here) + 1):
                p = priors[k] / len(LEVELS) * start[path[0]] * tastes
                for j, w in enumerate(here):
                    if p == 0:
                        break
                    s = path[j]
                    mean = shopper.purchases * level * WORLD.purchases[s] * by_type[i, w, k]
                    looks = shopper.browses * level * WORLD.browses[s] * seen.browsing[i, w]
                    more = 1 + (lives.coupon[i, w] == TREATED) * effects[k] * (WORLD.fatigue if lives.is_fatigued[i, w] else 1)
                    p *= poisson(lives.bought[i, w], mean * more) * poisson(lives.failed[i, w], mean * fails)
                    p *= poisson(lives.shallow[i, w], looks * (1 - WORLD.deep[s])) * poisson(lives.deep[i, w], looks * WORLD.deep[s])
                    if lives.is_sent[i, w]:
                        p *= WORLD.opens[s] if lives.is_opened[i, w] else 1 - WORLD.opens[s]
                    p *= ends[k, j][s, path[j + 1]]
                total += p
                gone += p * (path[-1] == 4)
    return gone / total


def test_forward_it_is_bayes_rule_written_out():
    weeks = 4
    folk, lives, marks = world_of(400, 5, weeks)
    known = next(observe(folk, lives, marks, WORLD, calendar(weeks), [weeks]))
    place = {int(i): j for j, i in enumerate(known.who)}
    # Somebody with a failed payment, an unanswered complaint, a coupon, much browsing, nothing at all, and a newcomer.
    some = [np.flatnonzero(mask)[0] for mask in (
        (lives.failed > 0).any(axis=1), (lives.unanswered > 0).any(axis=1), (lives.coupon == TREATED).any(axis=1), lives.deep.sum(axis=1) > 3,
        (lives.bought.sum(axis=1) + lives.shallow.sum(axis=1) == 0) & (folk.day < 0), (folk.day > 3) & (folk.day < 12))]
    for i in some:
        assert not (lives.winback[i] > 0).any()
        assert known.p_gone[place[int(i)]] == pytest.approx(slow_p_gone(int(i), folk, lives, marks, weeks), rel=2e-3), i


@pytest.mark.parametrize("week", [16, 18, 22])
def test_forward_and_backward_they_agree_with_many_lives(week):
    """Copies of a few people, every hidden thing fixed at a moment, live on: the share that buys nothing is what was computed."""
    weeks, copies = 40, 4000
    days = calendar(weeks)
    folk, lives, marks = world_of(300, 7, week + 4)
    known = next(observe(folk, lives, marks, WORLD, calendar(week + 4), [week]))
    place = {int(i): j for j, i in enumerate(known.who)}
    chosen = [int(np.flatnonzero((folk.kind == k) & (lives.state[:, week] < 3) & (folk.day < 0))[0]) for k in (0, 2, 4)]
    for i in chosen:
        rng = np.random.default_rng(i)
        many = People(**{field.name: np.repeat(getattr(folk, field.name)[[i]], copies) for field in dataclasses.fields(People)})
        past = {field.name: np.repeat(getattr(lives, field.name)[[i]], copies, axis=0) for field in dataclasses.fields(Weeks)}
        bought = go_on(many, past, week, days, rng)
        p, share = known.p_churn_hidden[place[i]], (bought == 0).mean()
        assert abs(p - share) < 4 * np.sqrt(p * (1 - p) / copies) + 1e-3, (i, p, share)


def go_on(folk: People, past: dict[str, np.ndarray], week: int, days, rng: np.random.Generator) -> np.ndarray:
    """Purchases in the four weeks from `week` on, lived by the same code that lives whole lives: it is given the state and the counts so far."""
    from features.shop.weeks import live_on

    return live_on(folk, WORLD, days, rng, Weeks(**past), week, week + 4).bought[:, week:week + 4].sum(axis=1)


@pytest.fixture(scope="module")
def judged() -> dict[str, np.ndarray]:
    """The observer's probabilities and what then happened, at several moments of one world."""
    weeks, found = 80, []
    folk, lives, marks = world_of(6000, 11, weeks)
    for known in observe(folk, lives, marks, WORLD, calendar(weeks), [44, 52, 60, 68, 76]):
        t = known.week
        active = lives.bought[known.who, t - 8:t].any(axis=1)
        found.append(np.stack([
            lives.bought[known.who, t:t + 4].sum(axis=1) == 0, known.p_churn, known.p_churn_hidden,
            marks.focal_bought[known.who, t:t + 4].sum(axis=1) > 0, known.p_conversion, known.p_conversion_hidden], axis=1)[active])
    return dict(zip(("churn", "p_churn", "p_churn_hidden", "conversion", "p_conversion", "p_conversion_hidden"), np.concatenate(found).T, strict=True))


@pytest.mark.parametrize("task", ["churn", "conversion"])
def test_its_probabilities_come_true(judged, task):
    for p in (judged[f"p_{task}"], judged[f"p_{task}_hidden"]):
        order = np.argsort(p)
        for part in np.array_split(order, 10):
            expected = p[part].mean()
            # Rows of one customer are not independent: five moments, so the error is at most sqrt(5) times as large.
            assert abs(judged[task][part].mean() - expected) < 3.5 * np.sqrt(5 * expected * (1 - expected) / len(part)), expected


@pytest.mark.parametrize("task", ["churn", "conversion"])
def test_the_ceiling_lies_where_a_model_has_something_to_find(judged, task):
    from sklearn.metrics import log_loss, roc_auc_score

    auc, hidden = (roc_auc_score(judged[task], judged[f"p_{task}{end}"]) for end in ("", "_hidden"))
    assert .75 < auc < .88
    assert auc < hidden
    assert log_loss(judged[task], judged[f"p_{task}_hidden"]) < log_loss(judged[task], judged[f"p_{task}"])


def test_a_model_of_counts_does_not_beat_it(judged):
    """Labels shuffled within equal probabilities carry nothing more: the observer's log loss is the entropy of its probabilities."""
    p = np.clip(judged["p_churn"], 1e-9, 1 - 1e-9)
    loss = -(judged["churn"] * np.log(p) + (1 - judged["churn"]) * np.log(1 - p)).mean()
    assert loss == pytest.approx(-(p * np.log(p) + (1 - p) * np.log(1 - p)).mean(), rel=.02)


def test_futures_by_context_go_the_way_they_should():
    silent = futures(WORLD, 104, 50).silent
    coupon = [((0 * 3 + c) * 4 + 1) * 2 for c in (0, 1, 2)]
    assert (silent[coupon[1]] <= silent[coupon[0]] + 1e-12).all()
    assert (silent[coupon[1]] <= silent[coupon[2]] + 1e-12).all()
    slow, fast = ((f * 3 + 0) * 4 + 1 for f in (2, 0))
    assert (silent[2 * slow] >= silent[2 * fast] - 1e-12).all()
    assert silent[:, :, :, 4].min() == 1


def test_the_arm_of_a_win_back_message_changes_only_those_who_may_get_one():
    held, sent = (futures(WORLD, 104, 50, arm).silent for arm in (1, TREATED))
    asked = np.arange(72) % 2 == 1
    assert (sent[asked][..., 2] < held[asked][..., 2]).all()
    np.testing.assert_array_equal(sent[~asked], held[~asked])


def test_contexts_are_what_the_shop_knows():
    folk, lives, _ = world_of(500, 9, 60)
    found = contexts(folk, lives, WORLD, 50)
    assert ((found // 24 == 2) == folk.is_slow).all()
    assert ((found // 2 % 4) == folk.letters).all()
    assert not (found[~folk.may_contact] % 2).any()
