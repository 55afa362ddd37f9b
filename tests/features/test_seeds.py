"""Seeds: who is one, and that each customer stands at a moment before what made it one."""

from datetime import datetime, timedelta

import pytest

from features.errors import ContractError, UsageError
from features.feature import Aggregate, Feature
from features.seeds import event_seeds, excluded_columns, read_ids, seed_moments
from features.tasks import Eligibility, Seeds, Task, WindowSpec

TASK = Task(
    "lookalike", "lookalike", Eligibility(active_days=28), WindowSpec(horizon_days=28, lookbacks_days=(28,)),
    seeds=Seeds(event_kind="gift", from_date="2026-03-01", until_date="2026-05-01"))


def shop(*gifts, n=120):
    """Customers 0..n who buy every week from January to June; (customer, day) had a gift."""
    days = [datetime(2026, 1, 1, 12) + timedelta(days=7 * week) for week in range(26)]
    rows = [{"customer_id": f"c{i}", "event_at": str(day)} for i in range(n) for day in days]
    return [*rows, *({"customer_id": f"c{i}", "event_at": day, "kind": "gift"} for i, day in gifts)]


@pytest.fixture(scope="module")
def rows(given):
    many = [(i, f"2026-03-{10 + i % 18} 10:00:00") for i in range(60)]
    dataset = given(shop(*many, (60, "2026-02-10 10:00:00"), (61, "2026-05-20 10:00:00"), (0, "2026-03-29 10:00:00")))
    return dataset, {row["customer_id"]: row for row in event_seeds(dataset, TASK).to_pyarrow().to_pylist()}


def test_each_customer_stands_once_and_seeds_just_before_their_first_event(rows):
    _, found = rows
    for i in range(60):
        row = found[f"c{i}"]
        at = datetime(2026, 3, 10 + i % 18, 2)  # 10:00 in Shanghai
        assert row["is_seed"] == 1
        assert row["as_of"] <= at < row["as_of"] + timedelta(days=14)


def test_a_seed_of_before_is_nobody_and_a_seed_of_after_is_one_of_the_others(rows):
    _, found = rows
    assert "c60" not in found
    assert found["c61"]["is_seed"] == 0
    assert len(found) == 119


def test_the_others_stand_at_the_seeds_moments_in_their_proportions(rows):
    _, found = rows
    moments = {is_seed: [row["as_of"] for row in found.values() if row["is_seed"] == is_seed] for is_seed in (0, 1)}
    assert set(moments[0]) <= set(moments[1])
    for moment in set(moments[1]):
        share = moments[1].count(moment) / len(moments[1])
        assert moments[0].count(moment) / len(moments[0]) == pytest.approx(share, abs=0.2)


def test_what_happens_after_the_dates_changes_nothing(rows, given):
    dataset, found = rows
    later = dataset.tables["events"].filter(lambda t: t.event_at < datetime(2026, 4, 30, 16))
    tables = {**dataset.tables, "events": later}
    again = event_seeds(type(dataset)(**{**dataset.__dict__, "tables": tables}), TASK).to_pyarrow().to_pylist()
    assert {row["customer_id"]: row for row in again} == found


def test_moments_are_local_midnights_with_history(rows):
    moments = seed_moments(rows[0], TASK)
    assert all(moment.hour == 16 for moment in moments)  # midnight in Shanghai
    assert moments[0] >= datetime(2026, 2, 28, 16)
    assert moments[-1] < datetime(2026, 4, 30, 16)
    assert len(moments) == 5


def test_too_few_seeds_and_all_seeds_are_refused(given):
    with pytest.raises(ContractError, match="TOO_FEW_SEEDS.*at least 50 seeds.*found 3 among"):
        event_seeds(given(shop(*[(i, "2026-03-20 10:00:00") for i in range(3)])), TASK)
    with pytest.raises(ContractError, match="ALL_SEEDS.*found 0 of 60"):
        event_seeds(given(shop(*[(i, "2026-03-20 10:00:00") for i in range(60)], n=60)), TASK)


def test_what_defines_the_seeds_is_excluded_and_what_marketers_did_too():
    def feature(name, where=(), column="", is_treatment=False):
        return Feature(name, "behaviour", Aggregate("events", "sum" if column else "count", column, where), "n", name, name, is_treatment=is_treatment)

    features = (feature("gifts", where=(("kind", "gift"),)), feature("sent", where=(("kind", "mail"),), is_treatment=True), feature("visits", where=(("kind", "visit"),)))
    assert excluded_columns(features, TASK) == {"gifts": "defines the seeds", "sent": "done by marketers"}
    value = Task("l", "lookalike", TASK.eligibility, TASK.windows, seeds=Seeds(column="spend_90d"))
    money = (feature("spend_90d", column="amount_minor"), feature("basket_value", column="amount_minor"), feature("visits"))
    assert set(excluded_columns(money, value)) == {"spend_90d", "basket_value"}


@pytest.mark.parametrize("text", ["customer_id\n1\n2\n", "1\n2\n", "\ufeffname;customer_id\nx;1\ny;2\n", "customer_id\tn\n1\t3\n1\t4\n2\t1\n", "1\n\n2\n2\n"])
def test_a_seed_file_is_read(text, tmp_path):
    path = tmp_path / "seeds.csv"
    path.write_text(text, encoding="utf-8")
    assert read_ids(path) == ["1", "2"]


def test_ids_that_stand_there_again_are_said(tmp_path):
    path, said = tmp_path / "seeds.csv", []
    path.write_text("customer_id\n7\n8\n7\n7\n")
    assert read_ids(path, said.append) == ["7", "8"]
    assert said == ["note: 2 of the 4 ids in seeds.csv stand there again; each counts once"]
    path.write_text("7\n8\n")
    read_ids(path, said.append)
    assert len(said) == 1


@pytest.mark.parametrize(("content", "word"), [(None, "found none at"), (b"", "found nothing"), (b"a,b\n1,2\n", "column customer_id"), ("客户".encode("gb18030"), "UTF-8")])
def test_a_bad_seed_file_is_refused(content, word, tmp_path):
    path = tmp_path / "seeds.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=word):
        read_ids(path)
