"""The winner: the simplest candidate that is as good as the best, and a better one where that is shown."""

import numpy as np
import pytest
from made_up import TASK, made_up

from training.train import simplest_of_the_best


@pytest.fixture(scope="module")
def block():
    return made_up(400, seed=6).at([made_up(2).as_ofs[0].item()])


def margins(block, noise, seed=0):
    truth = -1 - block.x[:, 0] + block.x[:, 1] / 10
    return truth + noise * np.random.default_rng(seed).normal(size=len(truth))


def test_equal_candidates_give_the_simplest(block):
    same = margins(block, 0.0)
    winner, told = simplest_of_the_best(TASK.metric, dict.fromkeys(("lightgbm", "logistic", "blend", "rule"), same), block)
    assert winner == "rule"
    assert all(one["behind"] == 0 for one in told.values())


def test_a_hair_is_not_enough_for_the_more_complex(block):
    given = {"rule": margins(block, 5.0), "logistic": margins(block, 0.005, 1), "lightgbm": margins(block, 0.0), "blend": margins(block, 0.005, 2)}
    winner, told = simplest_of_the_best(TASK.metric, given, block)
    assert winner == "logistic"
    assert told["rule"]["interval"][0] > 0


def test_what_is_shown_to_be_better_wins(block):
    given = {"rule": margins(block, 5.0), "logistic": margins(block, 4.0, 1), "lightgbm": margins(block, 0.0), "blend": margins(block, 4.0, 2)}
    assert simplest_of_the_best(TASK.metric, given, block)[0] == "lightgbm"
