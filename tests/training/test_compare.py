"""Two versions on the same rows: what was planted is told, chance is called chance, harm to a group is refused, and a change of champion is written down."""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from made_up import COLUMNS, TASK, made_up

from features.errors import ContractError, UsageError
from training import changes, gate, metrics
from training.calibrate import calibrated
from training.compare import compared, group_differences, replayed
from training.compare_page import page_of, show
from training.recipes import Recipe
from training.saved_model import SavedModel

LOGISTIC = Recipe("logistic", {"C": 0.1})
NOISE = Recipe("rule", {"column": "noise_ratio", "sign": 1})


@pytest.fixture(scope="module")
def frame():
    rows = made_up(200, 5)
    table = pd.DataFrame(rows.x, columns=[c.name for c in COLUMNS])
    table["city"] = [None if np.isnan(v) else "ABC"[int(v)] for v in rows.x[:, 4]]
    return table.assign(customer_id=rows.customers, as_of=rows.as_ofs, label=rows.y)


def version(recipe, columns=COLUMNS, name="shop.churn"):
    fitted = recipe.fit(made_up(60), COLUMNS)
    return SavedModel(name, asdict(TASK), columns, fitted.members, fitted.weights, 1.0, 0.0, (0.1, 0.2), card={"recipe": asdict(recipe), "fingerprint": "f"})


@pytest.fixture(scope="module")
def sides(frame):
    return replayed("1", version(NOISE), TASK, frame), replayed("2", version(LOGISTIC), TASK, frame)


def test_what_is_better_is_told_with_intervals_for_whom_and_what_differs(sides):
    said = compared(*sides)
    assert said["answer"]["is_it_better"] == "yes"
    assert said["differences"]["log_loss"]["interval"][1] < 0 < said["differences"]["auc"]["interval"][0]
    assert said["differences"]["auc"]["value"] == pytest.approx(said["new"]["auc"] - said["old"]["auc"], abs=2e-5)
    assert "better for" in said["answer"]["for_whom"]
    assert said["differs"]["parameters"] == {"C": [None, 0.1], "column": ["noise_ratio", None], "kind": ["rule", "logistic"], "sign": [1, None]}
    assert compared(*sides[::-1])["answer"]["is_it_better"] == "no, it is worse"


def test_the_same_recipe_twice_is_no_difference_and_called_chance(sides):
    said = compared(sides[1], replace(sides[1], version="3"))
    assert all(pair == {"value": 0.0, "interval": [0.0, 0.0]} for pair in said["differences"].values())
    assert said["answer"]["is_it_better"] == "not shown"
    assert "no group stands out" in said["answer"]["for_whom"]
    assert said["differs"]["parameters"] == {}


def test_features_that_only_one_version_has_are_named(frame, sides):
    fewer = replayed("3", version(LOGISTIC, COLUMNS[:3] + COLUMNS[4:]), TASK, frame)
    assert compared(sides[1], fewer)["differs"]["features_only_old"] == ["noise_ratio"]
    with pytest.raises(ContractError, match="version 1 needs each of its features.*noise_ratio"):
        replayed("1", version(LOGISTIC), TASK, frame.drop(columns="noise_ratio"))


def test_a_group_that_is_harmed_stands_out_and_others_do_not(sides):
    old = sides[1]
    test = old.rows.at(old.folds.test)
    harmed = test.x[:, 4] == 2
    p = np.where(harmed, np.random.default_rng(0).permutation(old.test.test_p), old.test.test_p)
    new = replace(old, test=replace(old.test, test_p=p))
    groups = group_differences(old, new, metrics.resamples(test.customers))
    assert groups[0]["group"] == "city: C"
    assert groups[0]["says"] == "worse"
    assert {row["says"] for row in groups if row["group"] in ("city: A", "city: B")} == {"not shown"}


def test_groups_that_are_looked_at_by_the_dozen_do_not_stand_out_by_chance(sides):
    """Noise of one size for everybody, ten tries: the groups together stand out in 5 %, not in each group's 5 %."""
    old = sides[1]
    test, w = old.rows.at(old.folds.test), metrics.resamples(old.rows.at(old.folds.test).customers)
    stood_out = 0
    for seed in range(10):
        margins = old.test.test_margins + np.random.default_rng(seed).normal(0, 0.05, len(test.y))
        new = replace(old, test=replace(old.test, test_p=calibrated(margins, old.test.model.slope, old.test.model.intercept)))
        stood_out += {row["says"] for row in group_differences(old, new, w)} != {"not shown"}
    assert stood_out <= 2


def test_the_page_needs_nothing_else_and_escapes_every_text(frame, sides):
    bad = "<script>alert(1)</script>"
    said = compared(sides[0], replace(sides[1], model=version(LOGISTIC, name=f"shop.{bad}")))
    said["groups"][0]["group"] = bad
    page = page_of(said)
    assert bad not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<polyline") == 4


def test_the_screen_says_the_answer(sides, capsys):
    from rich.console import Console

    show(Console(width=160), compared(*sides))
    said = capsys.readouterr().out
    assert "better? yes" in said
    assert "kind rule -> logistic" in said


class Book:
    """As much of a registry as the gate looks at."""

    def __init__(self, champion, broken=()):
        self.champion, self.broken = champion, broken

    def require(self, name, alias):
        return self.champion

    def model(self, name, version):
        if version in self.broken:
            raise ContractError("changed")

    def promote(self, name, version, standing):
        assert standing == self.champion
        self.champion = version


@pytest.fixture
def run(tmp_path):
    for before, after in ((None, "1"), ("1", "2"), ("2", "5")):
        changes.write_line(tmp_path, "shop.churn", "promote", before, after, "on the same folds")
    changes.write_line(tmp_path, "shop.conversion", "promote", "7", "9", "of another task")
    return tmp_path


def test_rollback_goes_back_one_champion_each_time_and_is_written_down(run):
    book = Book("5")
    assert [gate.roll_back(book, run, "shop.churn").version for _ in range(2)] == ["2", "1"]
    with pytest.raises(UsageError, match="none before version 1"):
        gate.roll_back(book, run, "shop.churn")
    assert [(line["action"], line["to"]) for line in changes.lines_of(run, "shop.churn")][-2:] == [("rollback", "2"), ("rollback", "1")]


def test_rollback_to_what_is_not_whole_leaves_the_champion(run):
    book = Book("5", broken=("2",))
    with pytest.raises(ContractError):
        gate.roll_back(book, run, "shop.churn")
    assert book.champion == "5"
    assert len(changes.lines_of(run, "shop.churn")) == 3


def test_a_line_that_was_cut_off_spoils_no_other(run):
    with open(run / changes.FILE, "a", encoding="utf-8") as file:
        file.write('{"at": "2026-01-01T00:00')
    changes.write_line(run, "shop.churn", "promote", "5", "6", "on the same folds")
    assert [line["to"] for line in changes.lines_of(run, "shop.churn")] == ["1", "2", "5", "6"]
    assert changes.champion_before(run, "shop.churn", "6") == "5"
