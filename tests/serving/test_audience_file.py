"""Audience files: the right customers, a holdout that is written down and stays, consents, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from features.errors import UsageError
from serving.audience import Asked, detectable, treatments, write_audience


@pytest.fixture
def own(run, frame, write_base, tmp_path):
    """A run folder of one's own with the shared registry; every tenth customer did not agree to marketing."""
    import shutil

    folder = tmp_path / "out"
    shutil.copytree(run, folder)
    write_base(folder, frame.assign(may_contact=np.arange(len(frame)) % 10 != 7))
    return folder


def asked(**more):
    return Asked(**{"task": "churn", "share": 0.5, **more})


def test_the_file_holds_who_to_contact_and_treatments_hold_everybody(own, tmp_path):
    handed = write_audience(own, asked(holdout=0.2, name="spring"), tmp_path / "a.csv")
    file, written = pd.read_csv(tmp_path / "a.csv", dtype={"customer_id": str}), treatments(own)
    assert len(file) == handed.n_contacted
    assert len(written) == handed.n_chosen == handed.n_contacted + handed.n_holdout
    assert handed.n_holdout == round(0.2 * handed.n_chosen)
    held_out = set(written.loc[written["arm"] == "holdout", "customer_id"])
    assert not held_out & set(file["customer_id"].str.removeprefix("'"))
    assert set(written["name"]) == {"spring"} and set(written["rule"]) == {"share 0.5"} and set(written["holdout_share"]) == {0.2} and set(written["seed"]) == {1}
    assert list(file.columns) == ["customer_id", "band", "percentile", "reason_1", "reason_2", "reason_3"]
    assert file["percentile"].is_monotonic_decreasing


def test_a_file_to_hand_on_has_pseudonyms_and_taking_it_is_written_down(own, tmp_path):
    handed = write_audience(own, asked(), tmp_path / "a.csv")
    assert write_audience(own, asked(pseudonyms=True), tmp_path / "b.csv") == handed
    plain, told = (pd.read_csv(tmp_path / name, dtype={"customer_id": str}) for name in ("a.csv", "b.csv"))
    assert told["customer_id"].str.fullmatch("[0-9a-f]{32}").all() and told["customer_id"].is_unique
    assert told.drop(columns=["customer_id", "pseudonym_key"]).equals(plain.drop(columns="customer_id"))
    lines = (own / "audit.jsonl").read_text().splitlines()
    assert len(lines) == 2 and f'"audience_id": "{handed.audience_id}"' in lines[0]


def test_who_did_not_agree_is_in_no_audience(own, frame, tmp_path):
    refused = set(frame.loc[np.arange(len(frame)) % 10 == 7, "customer_id"])
    handed = write_audience(own, asked(share=1.0), tmp_path / "a.csv")
    assert not refused & set(treatments(own)["customer_id"])
    assert handed.n_may_not == len(refused & set(frame.loc[frame["eligible_churn"], "customer_id"]))
    assert "did not agree" in " ".join(handed.sentences())


def test_asked_again_it_is_the_same_file_and_the_same_draw(own, tmp_path):
    first = write_audience(own, asked(), tmp_path / "a.csv")
    before = treatments(own)
    again = write_audience(own, asked(), tmp_path / "b.csv")
    assert first.audience_id == again.audience_id
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    pd.testing.assert_frame_equal(before, treatments(own))
    assert write_audience(own, asked(seed=2), tmp_path / "c.csv").audience_id != first.audience_id


def test_who_is_held_out_stays_held_out_of_the_next_audience(own, tmp_path):
    write_audience(own, asked(holdout=0.3), tmp_path / "a.csv")
    held_out = set(treatments(own).query("arm == 'holdout'")["customer_id"])
    wider = write_audience(own, asked(share=0.9, holdout=0.1, seed=5), tmp_path / "b.csv")
    contacted = set(pd.read_csv(tmp_path / "b.csv", dtype=str)["customer_id"].str.removeprefix("'"))
    assert not held_out & contacted
    assert wider.n_kept_back == len(held_out)
    assert write_audience(own, asked(task="conversion", holdout=0.1), tmp_path / "c.csv").n_kept_back == 0


def test_the_draw_is_by_lot(own, tmp_path):
    """Over many seeds everybody is held out about as often."""
    customers = None
    times: dict[str, int] = {}
    for seed in range(30):
        for path in (own / "treatments").glob("*"):
            path.unlink()
        write_audience(own, asked(holdout=0.5, seed=seed), tmp_path / "a.csv")
        table = treatments(own)
        customers = len(table)
        for customer in table.query("arm == 'holdout'")["customer_id"]:
            times[customer] = times.get(customer, 0) + 1
    counts = np.array(list(times.values()))
    assert len(counts) == customers
    assert counts.mean() == pytest.approx(15, abs=0.3)
    assert counts.std() == pytest.approx(np.sqrt(30 / 4), rel=0.35)


def test_a_spreadsheet_runs_nothing_and_shows_chinese(own, frame, tmp_path):
    write_audience(own, asked(share=1.0, holdout=0.0, language="zh"), tmp_path / "a.csv")
    raw = (tmp_path / "a.csv").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    text = raw.decode("utf-8-sig")
    assert "流失风险" in text
    assert "\n=1+1" not in text and "\n'=1+1" in text


@pytest.mark.parametrize(("more", "word"), [
    ({"band": "high"}, "just one"), ({"share": None}, "needs one of"), ({"share": None, "band": "top"}, "high, medium, low"), ({"holdout": 0.6}, "between 0 and 0.5"),
    ({"share": 1.5}, "between 0 and 1"), ({"share": None, "top": 0}, "1 or more"), ({"share": None, "top": 4}, "at least 10 customers, found 4"),
    ({"task": "lottery"}, "churn, conversion"), ({"share": None, "similarity": 0.5}, "belong to lookalike")])
def test_what_cannot_be_done_is_refused_and_nothing_is_written(more, word, own, tmp_path):
    with pytest.raises(UsageError, match=word):
        write_audience(own, asked(**more), tmp_path / "a.csv")
    assert not (tmp_path / "a.csv").exists()
    assert not (own / "treatments").exists()


def test_more_than_there_are_takes_all(own, tmp_path):
    assert write_audience(own, asked(share=None, top=10_000), tmp_path / "a.csv").n_chosen == len(treatments(own))


def test_what_a_holdout_can_show():
    """Fleiss: two groups of 1,000 at a rate of 10 % show a difference of 3.8 points."""
    assert detectable(0.1, 1000, 1000) == pytest.approx(0.0376, abs=0.0005)
