"""Transitions, step matrix, paths, and two segments compared."""

from collections import Counter
from itertools import pairwise

import ibis
import numpy as np
import pandas as pd
import pytest

from features.journeys import paths
from features.journeys.sessions import attribute_at, sessions_of, with_segment
from features.journeys.stages import kinds_in, standard
from tests.features.journeys.conftest import KINDS, UNTIL, rows_of, session, walk_of


@pytest.fixture(scope="module")
def many():
    """A hundred random sessions of thirty people."""
    rng = np.random.default_rng(0)
    return [(f"p{rng.integers(30):02d}", "".join(rng.choice(list("vpckb"), rng.integers(1, 9))), day / 4) for day in range(100)]


@pytest.fixture(scope="module")
def found(counted, many):
    return counted(*(session(who, letters, day) for who, letters, day in many))


def test_transitions_and_their_people_are_those_of_the_sessions_written_out(found, many):
    counts, people, leaving = Counter(), {}, Counter()
    for who, letters, _ in many:
        for pair in pairwise([paths.START, *(KINDS[letter] for letter in letters), paths.END]):
            counts[pair] += 1
            leaving[pair[0]] += 1
            people.setdefault(pair, set()).add(who)
    told = paths.transitions(found, walk_of(found)).set_index(["from", "to"])
    assert {pair: int(n) for pair, n in told["n"].items()} == {pair: n for pair, n in counts.items() if len(people[pair]) >= 10}
    for pair, row in told.iterrows():
        assert row["n_people"] == len(people[pair])
        assert row["share"] == pytest.approx(counts[pair] / leaving[pair[0]])
        assert row["share_low"] < row["share"] < row["share_high"]


def test_a_step_may_be_called_by_its_stage(found):
    by_stage = paths.transitions(found, walk_of(found), "stage")
    assert set(by_stage["from"]) <= {paths.START, *found.ladder.stages}
    both = paths.transitions(found, walk_of(found), "both")
    assert "cart: cart_add" in set(both["from"])


def test_the_step_matrix_sums_to_one_at_each_place(found, many):
    told = paths.step_matrix(found, walk_of(found), len(many), steps=10)
    assert told.groupby("place")["share"].sum().to_numpy() == pytest.approx(1)
    second = [(KINDS[letters[1]] if len(letters) > 1 else paths.END, who) for who, letters, _ in many]
    people = {step: {who for one, who in second if one == step} for step, _ in second}
    expected = Counter(step if len(people[step]) >= 10 or step == paths.END else "(rare)" for step, _ in second)
    assert told[told["place"] == 2].set_index("step")["n"].to_dict() == dict(expected)
    assert told[told["place"] == 10]["step"].tolist() == [paths.END]


def test_what_few_people_do_goes_together_in_the_step_matrix(counted):
    found = counted(*(session(f"a{i}", "v") for i in range(20)), *(session(f"b{i}", "b") for i in range(3)), session("c", "p"))
    told = paths.step_matrix(found, walk_of(found), 24, steps=1).set_index("step")["n"]
    assert told.to_dict() == {"visit": 20, "(rare)": 4}


def test_the_most_frequent_paths_count_a_repeated_step_once(counted):
    found = counted(*(session(f"a{i}", "vpppb") for i in range(12)), *(session(f"b{i}", "vpb") for i in range(3)), *(session(f"c{i}", "v") for i in range(30)),
                    *(session(f"d{i}", "pv") for i in range(5)))
    told, n_cut = paths.frequent_paths(found, walk_of(found))
    assert told[["path", "n_sessions", "n_people", "converted"]].to_numpy().tolist() == [["visit", 30, 30, 0], ["visit > product_view > purchase", 15, 15, 1]]
    assert told["share"].tolist() == [.6, .3]
    assert n_cut == 0


def test_a_session_of_ten_thousand_steps_is_cut_and_said(counted):
    """Everything stays proportional to what is kept: a path's letters, not the square of its steps."""
    long = session("z", "vp" * 5000, name="long")
    found = counted(long, *(session(f"a{i}", "vp" * 20) for i in range(12)), session("b", "vb"))
    told, n_cut = paths.frequent_paths(found, walk_of(found))
    assert n_cut == 13
    assert told["path"].tolist() == [" > ".join(["visit", "product_view"] * 15) + " > ..."]
    assert told["n_sessions"].tolist() == [13]


@pytest.fixture(scope="module")
def two(given):
    """Two segments that look at products equally often, but one of them buys three times as often."""
    rng = np.random.default_rng(1)
    sessions = [event for value, chance in (("A", .6), ("B", .2)) for i in range(150) for day in range(rng.integers(1, 4)) for event in session(
        f"{value}{i:03d}", "v" + ("p" if rng.random() < .5 else "") + ("b" if rng.random() < chance else ""), day)]
    people = [{"customer_id": f"{value}{i:03d}", "part": value} for value in "AB" for i in range(150)]
    dataset = given(rows_of(sessions), declared='observed_until = "2026-03-01T00:00:00Z"\n', zone="UTC", customers=people)
    found = sessions_of(dataset, standard(kinds_in(dataset)[0])[0], UNTIL)
    return found, with_segment(found.walk(found.sessions), attribute_at(dataset, "part", UNTIL))


def test_the_transitions_that_differ_most_come_first_and_many_tests_are_allowed_for(two):
    found, walk = two
    told = paths.different_transitions(paths.transitions(found, walk, "kind", True), "A", "B")
    assert set(told.iloc[0][["from", "to"]]) <= {"product_view", "purchase", "visit", "(end)"}
    assert (told["q"] >= told["p"] - 1e-12).all()
    first = told.set_index(["from", "to"]).loc[("product_view", "purchase")]
    assert first["difference"] > .25
    assert first["difference_low"] > 0
    assert first["q"] < .001


def test_where_nothing_differs_few_transitions_seem_to(given):
    rng, wrong, tests = np.random.default_rng(2), 0, 0
    people = [{"customer_id": f"{value}{i:03d}", "part": value} for value in "AB" for i in range(80)]
    sessions = [event for one in people for day in range(rng.integers(1, 6)) for event in session(one["customer_id"], "".join(rng.choice(list("vpcko"), 4)), day)]
    dataset = given(rows_of(sessions, session("x", "vb")), declared='observed_until = "2026-03-01T00:00:00Z"\n', zone="UTC", customers=[*people, {"customer_id": "x", "part": "C"}])
    found = sessions_of(dataset, standard(kinds_in(dataset)[0])[0], UNTIL)
    walk = found.walk(found.sessions).cache()
    for seed in range(6):
        shuffled = dict(zip((one["customer_id"] for one in people), np.random.default_rng(seed).permutation([one["part"] for one in people]), strict=True))
        part = ibis.memtable(pd.DataFrame({"customer_id": list(shuffled), "segment": list(shuffled.values())}))
        told = paths.different_transitions(paths.transitions(found, with_segment(walk, part), "kind", True), "A", "B")
        wrong += int((told["q"] < .05).any())
        tests += len(told)
    assert wrong <= 1
    assert tests > 100


def test_the_order_of_rows_is_of_no_account(given, many):
    tables = []
    rows = rows_of(*(session(who, letters, day) for who, letters, day in many))
    for order in (rows, rows[::-1]):
        dataset = given(order, declared='observed_until = "2026-03-01T00:00:00Z"\n', zone="UTC")
        found = sessions_of(dataset, standard(kinds_in(dataset)[0])[0], UNTIL)
        tables.append((paths.transitions(found, walk_of(found)), paths.step_matrix(found, walk_of(found), len(many)), paths.frequent_paths(found, walk_of(found))[0]))
    for one, other in zip(*tables, strict=True):
        pd.testing.assert_frame_equal(one, other)
