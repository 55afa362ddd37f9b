"""F42: whoever is withheld is in no answer, no audience (test_alike.py) and no file, at once; pseudonyms."""

import stat
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from features.errors import ContractError, UsageError
from serving import withheld
from serving.api import State
from serving.batch import named, scores
from serving.scoring import load_base, read_info
from serving.withheld import FILE, KEY_FILE, Pseudonyms, Withheld, withhold
from training.saved_model import SavedModel


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    monkeypatch.setattr(withheld, "_SECONDS_BETWEEN_LOOKS", 0.0)
    monkeypatch.delenv("LIKENESS_PSEUDONYM_KEY", raising=False)


@pytest.fixture
def watched(base, tmp_path):
    """The base, with a list of its own."""
    return replace(base, withheld=Withheld(tmp_path))


@pytest.mark.parametrize("is_straight", [True, False])
def test_f42_whoever_is_withheld_is_not_scored_by_any_way_and_others_are(watched, client_of, tmp_path, monkeypatch, is_straight):
    if not is_straight:
        monkeypatch.setattr("serving.decoding.Decoder.read", lambda *_: None)
    client, first, second = client_of(State(watched)), *watched.tasks["churn"].ids[:2]
    customers = [{"customer_id": second}, {"customer_id": first}, {"customer_id": first, "features": {"spend_sum_28d_usd": 41.5}},
                 {"customer_id": "new", "features": {"spend_sum_28d_usd": 41.5}}]
    asked = {"tasks": ["churn"], "customers": customers}
    before = client.post("/v1/explain", json=asked).json()["results"]
    assert [result["found"] for result in before] == [True] * 4
    assert withhold(tmp_path, [first, "somebody else"]) == 2
    seen, plain = [], SavedModel.log_odds
    monkeypatch.setattr(SavedModel, "log_odds", lambda model, x: seen.append(len(x)) or plain(model, x))
    for path in ("score", "explain"):
        after = client.post(f"/v1/{path}", json=asked).json()["results"]
        assert [result["found"] for result in after] == [True, False, False, True]
        assert after[1]["why"] == "this customer must not be scored" and after[1]["probability"] is None
        assert all(before[i].items() >= after[i].items() for i in (0, 3))
    # Of two who came with features one was worked out.
    assert seen == [1, 1]
    (tmp_path / FILE).unlink()
    assert client.post("/v1/explain", json=asked).json()["results"] == before


def test_f42_a_base_is_read_without_the_withheld(run, base, write_base, frame, tmp_path, models):
    from serving.champions import Champion

    write_base(tmp_path, frame)
    first = base.tasks["churn"].ids[0]
    withhold(tmp_path, [first])
    loaded = load_base(tmp_path, read_info(tmp_path), {"churn": Champion(models["churn"], "1")}).tasks["churn"]
    assert first not in loaded.ids and len(loaded.ids) == len(base.tasks["churn"].ids) - 1
    table, whole = scores(loaded), scores(base.tasks["churn"])
    merged = table.merge(whole, on="customer_id", suffixes=("", "_before"))
    assert first not in set(table["customer_id"]) and (merged["probability"] == merged["probability_before"]).all()


def test_the_list_holds_no_ids_and_needs_the_key_it_was_written_with(tmp_path, monkeypatch, watched, client_of):
    withhold(tmp_path, ["zhang.wei@example.com"])
    withhold(tmp_path, ["zhang.wei@example.com", "1010"])
    text = (tmp_path / FILE).read_text()
    assert "zhang" not in text and len(text.split()) == 3
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    with pytest.raises(UsageError, match="at least one customer"):
        withhold(tmp_path, [])
    with pytest.raises(UsageError, match="--run must name"):
        withhold(tmp_path / "none", ["1"])
    # Under another key nobody could be told from the withheld, so nobody is scored.
    monkeypatch.setenv("LIKENESS_PSEUDONYM_KEY", "another")
    with pytest.raises(ContractError, match="was written with the key"):
        withhold(tmp_path, ["1"])
    response = client_of(State(watched)).post("/v1/score", json={"customers": [{"customer_id": "1010"}]})
    assert response.status_code == 503 and response.headers["retry-after"] and "1010" not in response.text
    (tmp_path / FILE).write_text("")
    assert client_of(State(watched)).post("/v1/score", json={"customers": [], "extra": 1}).status_code == 422
    assert client_of(State(watched)).post("/v1/score", json={"customers": [{"customer_id": "1010", "features": {"income_band": "75K+"}}]}).status_code == 503


def test_pseudonyms_are_equal_for_equal_ids_and_of_one_key(tmp_path, monkeypatch):
    table = pd.DataFrame({"customer_id": ["1", "2", "1", "客户"], "probability": np.arange(4.0)})
    told = named(table, tmp_path)
    assert told["customer_id"].nunique() == 3 and told["customer_id"][0] == told["customer_id"][2] and (told["customer_id"].str.fullmatch("[0-9a-f]{32}")).all()
    assert named(table, tmp_path).equals(told) and (told["probability"] == table["probability"]).all()
    monkeypatch.setenv("LIKENESS_PSEUDONYM_KEY", "k" * 32)
    other = named(table, tmp_path)
    assert set(other["customer_id"]).isdisjoint(told["customer_id"]) and set(other["pseudonym_key"]).isdisjoint(told["pseudonym_key"])
    monkeypatch.delenv("LIKENESS_PSEUDONYM_KEY")
    (tmp_path / KEY_FILE).write_text("short")
    with pytest.raises(ContractError, match=r"pseudonym\.key must hold the key"):
        Pseudonyms(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]
