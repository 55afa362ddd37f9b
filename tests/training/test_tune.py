"""Tuning: stopped anywhere, it goes on and ends with the same result; one bad trial does not end it."""

import math
import random
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

from features.errors import UsageError
from training import tune
from training.tune import make_storage, tuned

FIRST = [{"x": 0.9}]


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


def test_several_beginnings_come_in_their_order_also_after_a_stop(tmp_path):
    first = [{"x": 0.9}, {"x": -1.0}, {"x": 1.5}]
    tried = []

    def dies(params):
        tried.append(params["x"])
        if len(tried) == 2:
            raise KeyboardInterrupt
        return square(params)

    with pytest.raises(KeyboardInterrupt):
        tuned(storage(tmp_path), "s", 5, first, suggest, dies, quiet)
    _, history = tuned(storage(tmp_path), "s", 5, first, suggest, dies, quiet)
    assert [one["x"] for one in history][:3] == [0.9, -1.0, 1.5]
    assert len({one["x"] for one in history}) == 5


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

def test_a_study_of_another_objective_under_the_name_is_refused(tmp_path):
    optuna.create_study(storage=storage(tmp_path), study_name="s", direction="maximize")
    with pytest.raises(UsageError, match="OTHER_OBJECTIVE: the study s .*maximize"):
        tuned(storage(tmp_path), "s", 2, FIRST, suggest, square, quiet)


WORKER = """
import sys, time
from training.tune import tuned
def loss(params):
    time.sleep(0.01)
    return (params["x"] - 0.3) ** 2
print("ready", flush=True)
sys.stdin.readline()
tuned(sys.argv[1], "s", int(sys.argv[2]), [{"x": 0.9}], lambda trial: {"x": trial.suggest_float("x", -2.0, 2.0)}, loss, lambda n, value: print(n, flush=True))
"""


def workers(n, address, trials):
    """Processes that begin together, however long each took to start."""
    started = [
        subprocess.Popen([sys.executable, "-c", WORKER, address, str(trials)], cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(n)]
    assert [process.stdout.readline() for process in started] == ["ready\n"] * n
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    return started


def states(address):
    found = [trial.state.name for trial in optuna.load_study(study_name="s", storage=address).trials]
    return {state: found.count(state) for state in set(found)}


def test_two_processes_end_a_study_together_with_just_so_many_trials(tmp_path):
    address = make_storage(tmp_path / "a.db")
    both = workers(2, address, 30)
    said = [process.communicate(timeout=120)[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert states(address)["COMPLETE"] == 30
    assert "RUNNING" not in states(address)
    assert min(map(len, said)) > 0, "both took part"


def test_a_trial_of_a_process_that_died_is_begun_anew_and_one_of_a_living_process_is_left(tmp_path):
    study = optuna.create_study(storage=storage(tmp_path), study_name="s")
    alive, dead, elsewhere = study.ask(), study.ask(), study.ask()
    alive.set_user_attr("worker", tune._worker())
    dead.set_user_attr("worker", f"{tune._worker()}0")
    elsewhere.set_user_attr("worker", "another-machine 17 4")
    assert [tune._is_at_work(trial, is_file=False) for trial in study.get_trials()] == [True, False, True]
    assert [tune._is_at_work(trial, is_file=True) for trial in study.get_trials()] == [True, False, False], "a file is of this machine alone"
    _, history = tuned(storage(tmp_path), "s", 6, FIRST, suggest, lambda params: ends(study, alive) or square(params), quiet)
    assert len(history) == 6
    assert states(storage(tmp_path)) == {"COMPLETE": 6, "FAIL": 2}


def ends(study, trial):
    """The other process ends its trial while this one works on its own."""
    study.tell(trial, 0.5, skip_if_finished=True)


@pytest.mark.slow
def test_200_trials_killed_five_times_end_with_just_200_complete(tmp_path):
    address, lot = make_storage(tmp_path / "a.db"), random.Random(4)
    kept = 0
    for _ in range(5):
        (process,) = workers(1, address, 200)
        for _ in range(lot.randint(5, 30)):
            process.stdout.readline()
        time.sleep(lot.random() * 0.05)
        process.kill()
        process.communicate()
        done = states(address).get("COMPLETE", 0)
        assert kept < done < 200, "no complete trial is lost, and each run adds some"
        kept = done
    (process,) = workers(1, address, 200)
    assert len(process.communicate(timeout=300)[0].split()) == 200 - kept
    assert process.returncode == 0
    found = states(address)
    assert found["COMPLETE"] == 200
    assert found.get("RUNNING", 0) == 0
    assert found.get("FAIL", 0) <= 5
