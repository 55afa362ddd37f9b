"""Tuning: stopped anywhere, it goes on and ends with the same result; one bad trial does not end it."""

import math

import optuna
import pytest

from training.tune import tuned

FIRST = {"x": 0.9}


def suggest(trial):
    return {"x": trial.suggest_float("x", -2.0, 2.0)}


def square(params):
    return (params["x"] - 0.3) ** 2


def quiet(n, loss):
    pass


def storage(tmp_path, name="a.db"):
    return f"sqlite:///{tmp_path / name}"


def test_the_first_trial_is_the_sound_beginning_and_the_best_is_given(tmp_path):
    best, history = tuned(storage(tmp_path), "s", 15, FIRST, suggest, square, quiet)
    assert history[0]["x"] == 0.9
    assert len(history) == 15
    assert square(best) == min(one["loss"] for one in history)
    assert abs(best["x"] - 0.3) < 0.3


def test_a_study_that_was_stopped_ends_like_one_that_was_not(tmp_path):
    whole = tuned(storage(tmp_path, "whole.db"), "s", 12, FIRST, suggest, square, quiet)
    calls = 0

    def dies(params):
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        return square(params)

    with pytest.raises(KeyboardInterrupt):
        tuned(storage(tmp_path), "s", 12, FIRST, suggest, dies, quiet)
    done = []
    again = tuned(storage(tmp_path), "s", 12, FIRST, suggest, lambda p: done.append(p) or square(p), quiet)
    assert len(done) == 7
    assert [one["x"] for one in again[1]] == [one["x"] for one in whole[1]]
    assert again[0] == whole[0]
    states = [trial.state.name for trial in optuna.load_study(study_name="s", storage=storage(tmp_path)).trials]
    assert (states.count("COMPLETE"), states.count("RUNNING"), states.count("FAIL")) == (12, 0, 1)


def test_a_finished_study_is_not_run_again(tmp_path):
    first = tuned(storage(tmp_path), "s", 5, FIRST, suggest, square, quiet)

    def never(params):
        raise AssertionError("ran again")

    assert tuned(storage(tmp_path), "s", 5, FIRST, suggest, never, quiet) == first


def test_bad_trials_fail_and_the_study_goes_on(tmp_path):
    calls = 0

    def sometimes(params):
        nonlocal calls
        calls += 1
        if calls % 3 == 0:
            raise ValueError("bad luck")
        return math.nan if calls % 5 == 0 else square(params)

    _, history = tuned(storage(tmp_path), "s", 8, FIRST, suggest, sometimes, quiet)
    assert len(history) == 8


def test_a_loss_that_never_works_is_a_bug_with_its_cause(tmp_path):
    def broken(params):
        raise KeyError("no such column")

    with pytest.raises(RuntimeError, match="none of") as caught:
        tuned(storage(tmp_path), "s", 3, FIRST, suggest, broken, quiet)
    assert isinstance(caught.value.__cause__, KeyError)
