"""Segments of literal customers by the door: who is where, cohorts by hand, what is not available; and the shop's hidden types."""

import json
from datetime import datetime, timedelta
from functools import partial

import numpy as np
import pandas as pd
import pytest

from features.contracts import hold
from features.segments.clusters import Clusters
from features.segments.cohorts import cohorts
from features.segments.tables import segments
from features.sources import open_dataset

END = datetime(2026, 6, 1)
DECLARED = 'observed_until = "2026-06-01T00:00:00Z"\n'


@pytest.fixture
def door(features_door):
    return partial(features_door, "segments")


@pytest.fixture(scope="module")
def shop(folder_of):
    rng = np.random.default_rng(0)
    rows = []
    for i in range(240):
        cheap = i % 2
        for k in range(6 + i % 5):
            rows.append({"customer_id": f"c{i:03}", "event_at": (END - timedelta(days=float(rng.uniform(1, 300)))).isoformat(timespec="seconds"), "event_id": f"e{i}-{k}",
            "session_id": f"s{i}-{k}",
                         "amount": round(float(rng.gamma(9, [50, 5][cheap]) / 9), 2), "discount": cheap * 2, "quantity": 1, "channel": "web", "item_id": "i", "category": "c"})
    rows += [{"customer_id": f"n{i:02}", "event_at": "2026-05-20", "event_id": f"n{i}", "kind": "visit"} for i in range(15)]
    return folder_of(rows, zone="UTC", declared=DECLARED)


def test_segments_are_printed_and_written_and_names_are_kept(door, shop, tmp_path):
    code, out, err = door(shop, "--as-of", "2026-04-01", "2026-06-01", "--out", tmp_path)
    assert (code, "error" in err) == (0, False)
    for said in ("重要价值客户", "贡献前80%收入", "cluster A: Compared with everybody else", "聚类 A：与其他客户相比", "bring 80 % of the revenue"):
        assert said in out, said
    members = pd.read_parquet(tmp_path / "members.parquet").set_index("customer_id")
    assert len(members) == 255
    assert members["value"].value_counts().sum() == 255
    assert (members.loc[[f"n{i:02}" for i in range(15)], ["rfm", "value", "cluster"]] == ["none", "none", "unknown"]).all(axis=None)
    clustered = members.loc[[f"c{i:03}" for i in range(240)], "cluster"]
    assert pd.crosstab(clustered, [i % 2 for i in range(240)]).min(axis=1).sum() < 12
    moved = pd.read_parquet(tmp_path / "migration.parquet")
    assert set(moved["scheme"]) == {"rfm", "value", "lifecycle", "cluster"}
    assert moved["n"].dropna().ge(10).all()
    code, _, _ = door(shop, "--out", tmp_path, "--seed", 5)
    again = pd.read_parquet(tmp_path / "members.parquet").set_index("customer_id")
    assert (code, (again["cluster"] == members["cluster"]).mean() > .9) == (0, True)
    told = json.loads((tmp_path / "segments.json").read_text(encoding="utf-8"))
    assert told["n_customers"] == 255


def test_cohorts_by_hand(given):
    rows = []
    for i in range(20):
        days = [("2026-01-10", 10), *([("2026-02-10", 30)] if i < 12 else []), *([("2026-03-05", 10)] if i < 10 else [])]
        rows += [{"customer_id": f"c{i}", "event_at": day, "amount": amount, "event_id": f"{i}-{day}"} for day, amount in days]
    rows += [{"customer_id": f"l{i}", "event_at": "2026-02-20", "amount": 5, "event_id": f"l{i}"} for i in range(9)]
    dataset = given(rows, zone="UTC", declared='observed_until = "2026-04-20T00:00:00Z"\n')
    found = cohorts(dataset, datetime(2026, 4, 15)).set_index("since")
    assert found["cohort"].unique().tolist() == ["2026-01"]
    assert found["n"].unique().tolist() == [20]
    assert found["is_first"].all()
    assert found["retained_share"].to_dict()[0] == 1
    assert np.isnan(found["retained_share"][1])  # 12 of 20: fewer than 10 did not
    assert found["retained_share"][2] == .5
    assert found.index.tolist() == [0, 1, 2]
    assert (found["basket_value"][0], found["basket_value"][1]) == (10, 30)


def test_a_later_event_changes_nothing(given):
    rows = [{"customer_id": f"c{i}", "event_at": f"2026-0{1 + i % 3}-10", "amount": 10, "event_id": f"e{i}"} for i in range(60)]
    later = [{"customer_id": f"c{i}", "event_at": "2026-05-10", "amount": 99, "event_id": f"x{i}"} for i in range(60)]
    one, other = (given(part, zone="UTC", declared=DECLARED) for part in (rows, rows + later))
    at = datetime(2026, 4, 15)
    pd.testing.assert_frame_equal(cohorts(one, at), cohorts(other, at))
    pd.testing.assert_frame_equal(segments(one, [at]).members, segments(other, [at]).members)


def test_what_the_data_do_not_tell_is_not_invented(door, folder_of):
    folder = folder_of([{"customer_id": f"c{i}", "event_at": "2026-05-20", "kind": "visit"} for i in range(30)], zone="UTC", declared=DECLARED)
    code, out, _ = door(folder)
    assert code == 0
    for name in ("rfm", "value", "cluster"):
        assert f"{name}: not available." in out, out


def test_without_amounts_no_money_is_told(door, folder_of, tmp_path):
    folder = folder_of([{"customer_id": f"c{i}", "event_at": f"2026-0{3 + i % 2}-20"} for i in range(40)], zone="UTC", declared=DECLARED)
    assert door(folder, "--out", tmp_path)[0] == 0
    assert pd.read_parquet(tmp_path / "segments.parquet")["spend_mean"].isna().all()
    found = pd.read_parquet(tmp_path / "cohorts.parquet")
    assert len(found) > 2 and found["basket_value"].isna().all() and found["retained_share"].notna().any()


def test_customers_of_one_event_are_grouped_and_belong_to_no_cluster(door, folder_of, tmp_path):
    rows = [{"customer_id": f"c{i:02}", "event_at": f"2026-0{1 + i % 4}-10", "amount": 10 + i % 3} for i in range(60)]
    code, out, _ = door(folder_of(rows, zone="UTC", declared=DECLARED), "--as-of", "2026-03-01", "2026-06-01", "--out", tmp_path)
    members = pd.read_parquet(tmp_path / "members.parquet")
    assert (code, len(members), members["rfm"].notna().all()) == (0, 60, True)
    assert "clusters need 60 customers with 6 baskets in the year, found 0" in " ".join(out.split())
    moved = pd.read_parquet(tmp_path / "migration.parquet")
    assert moved.query("scheme == 'value' and before == 'newcomer'")["n"].sum() == 30


def test_a_cluster_that_hardly_anybody_surely_belongs_to_is_none_and_hides_no_other(shop, monkeypatch):
    def assigned(clusters, portraits, baskets):
        return np.where(np.arange(len(portraits)) < 9, "B", np.where(np.arange(len(portraits)) < 40, "C", "A")).astype(object)

    monkeypatch.setattr(Clusters, "assign", assigned)
    found = segments(hold(open_dataset(str(shop)))[0], [END])
    assert found.members["cluster"].value_counts().to_dict() == {"A": 215, "C": 31, "unknown": 9}
    told = found.tables["segments"].query("scheme == 'cluster'").set_index("segment")["n"]
    assert set(told.index) == {"A", "C", "unknown"}


@pytest.mark.parametrize(("words", "says"), [
    (["--as-of", "2026-01-01", "2026-02-01", "2026-03-01"], "--as-of takes one moment, or two for who moved, found 3"),
    (["--as-of", "2020-01-01"], "found none; choose a later --as-of"),
    (["--as-of", "2030-01-01"], "must not be after the end of the data")])
def test_what_cannot_be_done_is_refused_in_a_line(door, shop, words, says):
    code, _, err = door(shop, *words)
    assert (code, says in " ".join(err.split()), "Traceback" in err) == (2, True, False), err


def test_a_folder_that_holds_something_else_is_refused(door, shop, tmp_path):
    (tmp_path / "segments.json").write_text('{"clusters": 3}', encoding="utf-8")
    code, _, err = door(shop, "--out", tmp_path)
    assert (code, "must be what a run before wrote" in err) == (2, True)
