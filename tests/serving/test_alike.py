"""POST /v1/audience and the base of a space: who is like the seeds, how far, why; and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest

from features.errors import UsageError
from serving import withheld
from serving.alike import SpaceBase, trained_seeds
from serving.api import State
from serving.scoring import open_base
from serving.shapes import AudienceResponse
from serving.withheld import Withheld
from training.saved_model import Column
from training.space import Params, make_space

COLUMNS = (
    Column("visits_count_28d", "behaviour", "visits", "visits in the last 28 days", "近28天访问次数"),
    Column("spend_sum_28d_usd", "consumption", "USD", "spend in the last 28 days", "近28天消费金额"),
    Column("city", "profile", "category", "city", "城市", is_category=True, levels=("A", "B")),
    Column("age", "profile", "years", "age", "年龄", is_sensitive=True),
)
AS_OF = "2018-01-01T05:00:00Z"


def people(n=900):
    rng = np.random.default_rng(2)
    kin = rng.random(n) < 0.15
    return pd.DataFrame({
        "customer_id": [f"p{i}" for i in range(n)], "visits_count_28d": rng.poisson(np.where(kin, 9, 3)).astype(float),
        "spend_sum_28d_usd": rng.gamma(2, np.where(kin, 40, 15)), "city": np.where(rng.random(n) < np.where(kin, 0.8, 0.3), "B", "A"),
        "age": rng.normal(np.where(kin, 30, 50), 5), "kin": kin, "eligible_lookalike": np.arange(n) % 9 != 8})


@pytest.fixture(scope="module")
def space_of():
    frame = people()
    task = {"name": "lookalike", "kind": "lookalike", "windows": {"horizon_days": 28}, "eligibility": {"active_days": 56}}
    blank = make_space("demo.lookalike", task, COLUMNS, _encoded(frame), Params(n_components=4))
    averages = {c.name: {"all": "A" if c.is_category else 4.0, "seeds": "B" if c.is_category else 9.0} for c in COLUMNS}
    is_seed = (frame["kin"] & (np.arange(len(frame)) % 2 == 0)).to_numpy()
    return type(blank)(**{**blank.__dict__, "reference": {"averages": averages, "quantiles": {}}, "example": blank.fit(_encoded(frame), is_seed), "card": {"grade": "g"}})


def _encoded(frame):
    return np.column_stack([frame["visits_count_28d"], frame["spend_sum_28d_usd"], (frame["city"] == "B").astype(float), frame["age"]])


@pytest.fixture(scope="module")
def base(space_of):
    frame = people()
    seeds = frozenset(frame.loc[frame["kin"] & (frame.index % 2 == 0), "customer_id"])
    return SpaceBase("lookalike", space_of, "1", frame["customer_id"], _encoded(frame), AS_OF, seeds)


@pytest.fixture(scope="module")
def seeds():
    frame = people()
    return frame.loc[frame["kin"] & (frame.index % 2 == 0), "customer_id"].tolist()


@pytest.fixture(scope="module")
def run(tmp_path_factory, space_of, register, models, write_base, frame):
    """A run with a churn model and a space."""
    folder = tmp_path_factory.mktemp("alike") / "out"
    both = pd.concat([people(), frame], ignore_index=True)
    for name in ("eligible_lookalike", "eligible_churn"):
        both[name] = both[name].fillna(False).astype(bool)
    write_base(folder, both, ("churn", "lookalike"))
    for model in (models["churn"], space_of):
        register(folder, model, folder.parent / "scratch")
    table = people()[["customer_id"]].assign(is_seed=0)
    table.loc[:59, "is_seed"] = 1
    table.to_parquet(folder / "features" / "demo.lookalike.parquet")
    return folder


@pytest.fixture(scope="module")
def client(run, client_of):
    return client_of(State(open_base(run)))


def test_the_most_alike_come_first_and_kin_are_found(base, seeds):
    found = base.audience(seeds, reach=60)
    assert len(found.rows) == 60
    assert list(found.likeness) == sorted(found.likeness, reverse=True)
    assert people()["kin"].to_numpy()[found.rows].mean() > 0.6
    assert not {base.ids[row] for row in found.rows} & set(seeds)


def test_the_first_are_those_of_the_whole_order_and_equals_stand_by_id(space_of):
    frame = people()
    x = _encoded(frame)
    x[100:400] = x[100]
    base = SpaceBase("lookalike", space_of, "1", frame["customer_id"], x, AS_OF)
    seeds = frame["customer_id"][:60].tolist()
    everybody = [base.ids[row] for row in base.audience(seeds, reach=900).rows]
    assert len(everybody) == 840
    assert [customer for customer in everybody if customer in set(base.ids[100:400])] == sorted(base.ids[100:400])
    for reach in (1, 7, 333, 839):
        assert [base.ids[row] for row in base.audience(seeds, reach=reach).rows] == everybody[:reach]


def test_f42_an_audience_leaves_the_withheld_out_and_is_written_down(run, client_of, seeds, tmp_path, monkeypatch):
    monkeypatch.setattr(withheld, "_SECONDS_BETWEEN_LOOKS", 0.0)
    loaded, mine = open_base(run), Withheld(tmp_path)
    for space in loaded.spaces.values():
        space.withheld = mine
    client, asked = client_of(State(loaded, run=tmp_path)), {"seeds": seeds, "reach": 20}
    whole = client.post("/v1/audience", json=asked).json()
    first = whole["audience"][0]["customer_id"]
    withheld.withhold(tmp_path, [first])
    fewer = client.post("/v1/audience", json=asked).json()
    assert [member["customer_id"] for member in fewer["audience"][:19]] == [member["customer_id"] for member in whole["audience"][1:]]
    text = (tmp_path / "audit.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["request_id"] for line in lines] == [whole["request_id"], fewer["request_id"]] and first not in text
    assert lines[0] | {"what": "audience", "customers": 20, "by": "none", "audience_id": whole["audience_id"]} == lines[0]


def test_similarity_and_reach_tell_the_same_list(base, seeds):
    by_reach = base.audience(seeds, reach=40)
    by_similarity = base.audience(seeds, similarity=float(by_reach.likeness[-1]))
    assert list(by_similarity.rows[:40]) == list(by_reach.rows)
    assert (by_similarity.likeness >= by_reach.likeness[-1] - 1e-4).all()


def test_an_audience_keeps_its_id_and_any_order_of_seeds_is_the_same(base, seeds):
    one, other = base.audience(seeds, reach=10), base.audience([*seeds[::-1], seeds[0]], reach=30)
    assert one.audience_id == other.audience_id
    assert list(one.rows) == list(other.rows[:10])
    assert base.audience(seeds[1:], reach=10).audience_id != one.audience_id
    assert one.expires_at == "2018-01-29T05:00:00Z"


def test_the_seeds_of_training_are_the_default(base):
    found = base.audience(reach=20)
    assert found.n_seeds == len(base.seed_ids)
    assert not {base.ids[row] for row in found.rows} & base.seed_ids


def test_reasons_say_what_is_shared_and_hide_what_is_sensitive(base, seeds):
    for language, word in (("en", "seeds"), ("zh", "种子人群")):
        found = base.audience(seeds, reach=30)
        for member in base.members(found, 3, language):
            assert member["reasons"]
            assert all(reason["contribution"] > 0 and word in reason["sentence"] for reason in member["reasons"])
            assert "age" not in {reason["feature"] for reason in member["reasons"]}


@pytest.mark.parametrize(("asked", "word"), [
    ({"seeds": ["p1"], "reach": 5}, "at least 50 seeds"), ({"seeds": [f"q{i}" for i in range(80)], "reach": 5}, "80 of the 80 given are not in the base"),
    ({"seeds": [f"p{i}" for i in range(900)], "reach": 5}, "nobody to rank"), ({"seeds": ["p1"]}, "found none"), ({"seeds": ["p1"], "reach": 1, "similarity": 0.5}, "found both")])
def test_what_cannot_be_answered_is_refused(asked, word, base):
    with pytest.raises(UsageError, match=word):
        base.audience(**asked)


def test_the_endpoint_answers_in_the_promised_shape(client, seeds):
    known = [seed for seed in seeds if int(seed[1:]) % 9 != 8]
    response = client.post("/v1/audience", json={"seeds": [*seeds, "nobody"], "reach": 25, "top": 2, "language": "zh"})
    assert response.status_code == 200
    said = AudienceResponse.model_validate(response.json())
    assert (said.task, said.model, said.version, said.as_of) == ("lookalike", "demo.lookalike", "1", AS_OF)
    assert len(said.audience) == 25
    assert said.seeds_used == len(known)
    assert said.seeds_unknown == len(seeds) - len(known) + 1
    assert {"reach", "similarity", "expected_lift"} == set(response.json()["curve"][0])
    assert len(said.audience[0].reasons) == 2


@pytest.mark.parametrize(("body", "status", "word"), [
    ({"seeds": [], "reach": 3}, 422, "too few"), ({"seeds": ["p0"], "reach": 0}, 422, "reach is too small"), ({"seeds": ["p0"], "similarity": 1.5}, 422, "too large"),
    ({"seeds": ["p0"], "reach": 3}, 422, "at least 50 seeds"), ({"seeds": ["p0"], "reach": 3, "task": "churn"}, 422, "lookalike task"),
    ({"seeds": [1], "reach": 3}, 422, "text"), ({"seeds": ["p0"], "reach": 3, "more": 1}, 422, "not a field")])
def test_bad_requests_are_problems(body, status, word, client):
    response = client.post("/v1/audience", json=body)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert word in response.json()["detail"]


def test_a_space_is_listed_and_has_no_probabilities(client):
    assert {model["kind"] for model in client.get("/v1/models").json()["models"]} == {"churn", "lookalike"}
    refused = client.post("/v1/score", json={"tasks": ["lookalike"], "customers": [{"customer_id": "p1"}]})
    assert refused.status_code == 422
    assert "POST audience" in refused.json()["detail"]
    assert client.post("/v1/score", json={"customers": [{"customer_id": "1010"}]}).json()["results"][0]["task"] == "churn"


def test_the_seeds_of_a_run_are_read_from_its_table(run):
    assert len(trained_seeds(run, "demo", "lookalike")) == 60
    assert trained_seeds(run, "demo", "other") == frozenset()


def test_no_seed_stands_in_an_error(client, seeds):
    text = json.dumps(client.post("/v1/audience", json={"seeds": seeds[:20], "reach": 5}).json())
    assert not any(f'"{seed}"' in text for seed in seeds)


def test_seeds_of_training_who_are_no_longer_asked_about_still_teach(space_of, seeds):
    frame = people()
    left = frame[~frame["customer_id"].isin(seeds)]
    base = SpaceBase("lookalike", space_of, "1", left["customer_id"], _encoded(left), AS_OF, frozenset(seeds))
    found = base.audience(reach=40)
    assert found.n_seeds == 0 and len(found.rows) == 40
    assert left["kin"].to_numpy()[found.rows].mean() > 2 * left["kin"].mean()
    with pytest.raises(UsageError, match="at least 50 seeds"):
        base.audience(seeds=seeds, reach=40)
