"""The door of tags: what it prints and writes, the run before, the dataset's own file, and how it refuses."""

import json
from datetime import datetime, timedelta

import pandas as pd
import pytest

OWN = """default = false
[tags.buyer]
label_en = "buyer"
label_zh = "买家"
layer = "behaviour"
rule = "purchases_count_7d > 0 orders"
valid_days = 7
owner = "us"
[tags.much]
label_en = "much"
label_zh = "高额"
layer = "basic"
rule = "spend_sum_365d_{currency} > 25 {currency}"
valid_days = 7
owner = "us"
"""
END = datetime(2026, 3, 1)


@pytest.fixture
def shop(folder_of):
    rows = [{"customer_id": f"c{i:02}", "event_at": (END - timedelta(days=day, hours=1)).isoformat(), "amount": 10}
            for i in range(50) for day in ((1, 20, 40) if i < 20 else (20, 40))]
    return folder_of(rows, zone="UTC", declared='observed_until = "2026-03-01T00:00:00Z"\n')


def test_tags_are_printed_and_written_and_the_run_before_is_compared(features_door, shop, tmp_path):
    (shop / "tags.toml").write_text(OWN, encoding="utf-8")
    code, out, err = features_door("tags", shop, "--as-of", "2026-02-20", "--out", tmp_path)
    assert (code, "error" in err) == (0, False)
    assert "买家" in out
    assert not (tmp_path / "changes.parquet").exists()
    (shop / "tags.toml").write_text(OWN.replace("25 {currency}", "15 {currency}"), encoding="utf-8")
    code, out, _ = features_door("tags", shop, "--out", tmp_path)
    assert code == 0
    changed = pd.read_parquet(tmp_path / "changes.parquet").set_index("tag")
    assert changed.loc["buyer", ["n_before", "n_now", "n_gained", "n_lost"]].tolist() == [0, 20, 20, 0]
    assert "much: the rule is another than in the run before (spend_sum_365d_cny > 25 CNY)" in out
    said = pd.read_parquet(tmp_path / "tags.parquet")
    assert said.columns.tolist() == ["customer_id", "as_of", "tag", "layer", "value", "valid_until"]
    assert said.groupby("tag").size().to_dict() == {"buyer": 20, "much": 50}
    assert not said.duplicated(["customer_id", "as_of", "tag"]).any()
    told = json.loads((tmp_path / "tags.json").read_text(encoding="utf-8"))
    assert (told["file"], told["rules"]["much"], told["n_customers"]) == ("tags.toml", "spend_sum_365d_cny > 15 CNY", {"2026-03-01T00:00:00": 50})


def test_several_moments_tell_what_changed_between_them(features_door, shop, tmp_path):
    code, out, _ = features_door("tags", shop, "--as-of", "2026-02-20", "2026-03-01", "--out", tmp_path)
    assert (code, "What changed" in out) == (0, True)
    covered = pd.read_parquet(tmp_path / "coverage.parquet")
    assert covered["as_of"].nunique() == 2
    assert "active: not available" not in out
    assert "churn_high: not available, it needs band of churn (--scores)" in out
    assert "browsed_not_bought: not available, it needs events of kind product_view / " in out


@pytest.mark.parametrize(("words", "says"), [
    (["--tags", "nowhere.toml"], "TAG_FILE: the file of tags must be there, found none at nowhere.toml"),
    (["--as-of", "2027-01-01"], "--as-of must not be after the end of the data"),
    (["--as-of", "2025-01-01"], "NOBODY_KNOWN: tags need customers known before 2025-01-01 00:00:00 UTC, found none"),
    (["--scores", "nowhere.csv"], "must be a .parquet or .csv file that can be read")])
def test_what_cannot_be_done_is_refused_in_a_line(features_door, shop, words, says):
    code, _, err = features_door("tags", shop, *words)
    assert (code, says in err, "Traceback" in err) == (2, True, False), err


@pytest.mark.parametrize(("rule", "code_said", "says"), [
    ("purchases_cuont_7d > 0 orders", "TAG_NAME", "needs names that exist, found 'purchases_cuont_7d', which is no feature and no score; did you mean purchases_count_7d?"),
    ("much", "TAG_CYCLE", "needs a rule that does not come back to itself, found the cycle buyer -> much -> buyer; cut it"),
    ("purchases_count_7d > 0", "TAG_UNIT", "needs a unit for the threshold of purchases_count_7d, found 0 without; write 0 purchases")], ids=["typo", "cycle", "no unit"])
def test_a_rule_that_cannot_be_evaluated_is_refused_by_its_line(features_door, shop, tmp_path, rule, code_said, says):
    path = tmp_path / "own.toml"
    path.write_text(OWN.replace("purchases_count_7d > 0 orders", rule).replace("spend_sum_365d_{currency} > 25 {currency}", "buyer"), encoding="utf-8")
    code, _, err = features_door("tags", shop, "--tags", path)
    assert code == 2
    assert f"error: {code_said}: own.toml line 6, tag buyer, {says}" in " ".join(err.split())


def test_a_moment_of_all_rows_stands_in_the_title_and_what_was_set_aside_is_said(features_door, folder_of):
    rows = [{"customer_id": f"c{i:02}", "event_at": "2026-02-20T10:00:00", "amount": 10} for i in range(20)]
    odd = folder_of([*rows, {"customer_id": "", "event_at": "2026-02-20T10:00:00", "amount": 10}], zone="UTC", declared='observed_until = "2026-03-01T00:00:00Z"\n')
    code, out, err = features_door("tags", odd)
    assert (code, "Tags: who holds them, 2026-03-01 00:00 UTC" in out) == (0, True), err
    assert err.count("quarantine: ") == 1 and "found 1 that break it" in err


def test_a_folder_that_holds_something_else_is_refused(features_door, shop, tmp_path):
    features_door("tags", shop, "--out", tmp_path)
    (tmp_path / "tags.json").write_text("[]", encoding="utf-8")
    code, _, err = features_door("tags", shop, "--out", tmp_path)
    assert (code, "must be what a run before wrote" in err) == (2, True)


@pytest.mark.slow
def test_the_default_set_describes_the_grocer(features_door, tmp_path):
    code, _, _ = features_door("tags", "complete-journey", "--out", tmp_path)
    covered = pd.read_parquet(tmp_path / "coverage.parquet").set_index("tag")
    assert code == 0
    assert {"vip", "loyal", "leaving", "price_sensitive", "overdue", "preferred_hour", "active"} <= set(covered.index)
    assert "browsed_not_bought" not in covered.index
    assert covered.loc[["vip", "loyal", "price_sensitive"], "share"].between(.01, .9).all()
