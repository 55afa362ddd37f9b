"""Outcomes: expected against actual agrees with a count by hand, a planted effect is found, small groups stay hidden."""

from dataclasses import asdict, replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from features.contracts import hold
from features.errors import ContractError, UsageError
from features.matured import wilson
from features.sources import open_dataset
from features.tasks import Eligibility, Task, WindowSpec
from serving.outcomes import difference, outcomes, table_rows, write_outcomes
from training.members import LinearMember
from training.saved_model import Column, SavedModel

TASK = Task("churn", "churn", Eligibility(active_days=56), WindowSpec(horizon_days=28, lookbacks_days=(28, 56)))
AS_OF = datetime(2026, 4, 30, 16)  # midnight of 1 May in Shanghai
N = 2400


def stays(i):
    """Who buys again in May: by risk a fifth, half or nine tenths; of the risky whom we contact, three tenths more."""
    rng = np.random.default_rng(i)
    risk = (0.8, 0.5, 0.1)[i % 3]
    return rng.random() > risk - (0.3 if i % 3 == 0 and i % 6 == 0 else 0.0)


@pytest.fixture(scope="module")
def dataset(given):
    events = [{"customer_id": f"c{i}", "event_at": "2026-04-10 10:00:00"} for i in range(N)]
    events += [{"customer_id": f"c{i}", "event_at": "2026-05-10 10:00:00"} for i in range(N) if stays(i)]
    return replace(given(events, declared='observed_until = "2026-06-10"\n'), name="shop")


@pytest.fixture(scope="module")
def run(tmp_path_factory, register):
    """A run that scored everybody at AS_OF and handed the risky out, every other one contacted."""
    folder = tmp_path_factory.mktemp("outcomes") / "out"
    (folder / "features").mkdir(parents=True)
    column = Column("purchases_count_28d", "behaviour", "purchases", "purchases", "购买")
    member = LinearMember(0.0, np.array([-1.0]), np.array([0.0]), np.array([0.0]), {})
    register(folder, SavedModel("shop.churn", asdict(TASK), (column,), (member,), (1.0,), 1.0, 0.0, (0.3, 0.7)), folder.parent / "scratch")
    p, band = np.array([0.8, 0.5, 0.1]), np.array(["high", "medium", "low"])
    ids, kind = [f"c{i}" for i in range(N)], np.arange(N) % 3
    log = pd.DataFrame({"customer_id": ids, "task": "churn", "model": "shop.churn", "version": "1", "as_of": AS_OF, "probability": p[kind], "band": band[kind]})
    (folder / "scores").mkdir()
    log.to_parquet(folder / "scores" / "one.parquet")
    log.assign(as_of=AS_OF + timedelta(days=30)).to_parquet(folder / "scores" / "two.parquet")
    risky = [i for i in range(N) if i % 3 == 0]
    (folder / "treatments").mkdir()
    pd.DataFrame({
        "audience_id": "a1", "name": "spring", "task": "churn", "model": "shop.churn", "version": "1", "as_of": AS_OF, "expires_at": AS_OF + timedelta(days=28),
        "customer_id": [f"c{i}" for i in risky], "arm": ["contacted" if i % 6 == 0 else "holdout" for i in risky], "rule": "band high", "holdout_share": 0.5, "seed": 1,
    }).to_parquet(folder / "treatments" / "a1.parquet")
    return folder


@pytest.fixture(scope="module")
def told(dataset, run):
    return outcomes(dataset, run)


def test_actual_is_what_a_count_by_hand_gives(told):
    (one,) = told.scores
    by_band = {row["band"]: row for row in one["bands"]}
    for kind, band in enumerate(("high", "medium", "low")):
        left = [not stays(i) for i in range(N) if i % 3 == kind]
        assert by_band[band]["actual"] == sum(left)
        assert by_band[band]["customers"] == len(left)
        assert by_band[band]["interval"][0] < sum(left) / len(left) < by_band[band]["interval"][1]
    assert one["all"]["actual"] == sum(not stays(i) for i in range(N))
    assert by_band["low"]["expected"] == pytest.approx(80)
    assert one["auc"] > 0.7
    assert one["lift_of_high"] > 1.3


def test_the_planted_effect_is_found(told):
    (audience,) = told.audiences
    assert audience["interval"][0] < -0.3 < audience["interval"][1]
    assert audience["says"] == "helped"
    assert audience["customers"] == pytest.approx(audience["difference"] * 400, abs=0.1)


def test_what_is_not_due_is_dated(told):
    (due,) = told.due
    assert (due["as_of"], due["due_on"], due["customers"]) == ("2026-05-30T16:00:00Z", "2026-06-27T16:00:00Z", N)


def test_groups_under_ten_are_hidden_and_cannot_be_subtracted(dataset, run, tmp_path):
    import shutil

    shutil.copytree(run, tmp_path / "out")
    log = pd.read_parquet(run / "scores" / "one.parquet")
    few = log[(log["band"] != "low") | log["customer_id"].isin([f"c{i}" for i in range(2, 60, 3)])]
    few.to_parquet(tmp_path / "out" / "scores" / "one.parquet")
    (one,) = outcomes(dataset, tmp_path / "out").scores
    hidden = {row["band"]: row["actual"] for row in (*one["bands"], {"band": "all", **one["all"]})}
    assert hidden["low"] is None
    assert hidden["all"] is None
    assert hidden["high"] is not None
    assert one["auc"] is not None


def test_the_page_says_every_number_in_both_languages(told, tmp_path):
    for language, word in (("en", "The contact helped"), ("zh", "触达有效")):
        write_outcomes(told, tmp_path / f"o.{language}.html", language)
        text = (tmp_path / f"o.{language}.html").read_text(encoding="utf-8")
        assert f"{told.scores[0]['all']['actual']:,}" in text
        assert f"{100 * told.audiences[0]['difference']:+.1f}" in text
        assert word in text
        assert "<script" not in text
        assert 'c0"' not in text
    write_outcomes(told, tmp_path / "o.json")
    with pytest.raises(UsageError, match="html or .json"):
        write_outcomes(told, tmp_path / "o.xlsx")
    assert len(table_rows(told)) == 4


def test_what_cannot_be_held_is_refused(dataset, run, tmp_path):
    with pytest.raises(UsageError, match="found none in"):
        outcomes(dataset, tmp_path)
    with pytest.raises(UsageError, match="one of churn; found 'lottery'"):
        outcomes(dataset, run, "lottery")
    with pytest.raises(ContractError, match=r"must be of other, found those of shop\.churn"):
        outcomes(replace(dataset, name="other"), run)


def test_intervals_from_the_literature():
    """Wilson 1927 for 81 of 263, and Newcombe 1998 (table II, 56/70 against 48/80, method 10)."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert difference((56, 48), (70, 80)) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_the_grocers_scores_of_october_are_held_against_november(tmp_path, register):
    dataset, _ = hold(open_dataset("complete-journey"))
    as_of, events = datetime(2017, 10, 23, 4), dataset.tables["events"]
    bought = events.filter(events.kind == "purchase").select("customer_id", "event_at").to_pyarrow().to_pandas()
    active = set(bought.loc[(bought.event_at < as_of) & (bought.event_at >= as_of - timedelta(days=56)), "customer_id"])
    again = set(bought.loc[(bought.event_at >= as_of) & (bought.event_at < as_of + timedelta(days=28)), "customer_id"])
    run = tmp_path / "out"
    (run / "scores").mkdir(parents=True)
    column = Column("purchases_count_28d", "behaviour", "purchases", "purchases", "购买")
    member = LinearMember(0.0, np.array([-1.0]), np.array([0.0]), np.array([0.0]), {})
    register(run, SavedModel("complete-journey.churn", asdict(dataset.tasks[0]), (column,), (member,), (1.0,), 1.0, 0.0, (0.3, 0.7)), tmp_path / "scratch")
    pd.DataFrame({
        "customer_id": sorted(active), "task": "churn", "model": "complete-journey.churn", "version": "1", "as_of": as_of, "probability": 0.13,
        "band": "low"}).to_parquet(run / "scores" / "x.parquet")
    (one,) = outcomes(dataset, run).scores
    assert one["all"]["customers"] == len(active)
    assert one["all"]["actual"] == len(active - again)
