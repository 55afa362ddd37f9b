"""The straight way: it takes no request that the typed requests refuse, and answers the same."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving import api
from serving.decoding import Decoder
from serving.logs import JsonLines
from serving.scoring import TaskBase
from training.saved_model import SavedModel

JSON = {"Content-Type": "application/json"}
NAMES = ["purchases_count_28d", "days_since_last_purchase", "spend_sum_28d_usd", "income_band", "age_band", "made_up", "Spend_sum_28d_usd"]
odd = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 10**20), st.floats(), st.text(max_size=3), st.sampled_from(["75K+", "never seen", "a:b", 'a":"b', "\0", "x" * 1001]),
    st.just([]), st.just({}))
customers = st.lists(st.fixed_dictionaries(
    {"customer_id": st.one_of(st.sampled_from(["1010", "1013", "nobody", "", "x" * 128, "x" * 129, "a\0", 'q"uo:te']), odd)},
    optional={
        "features": st.one_of(st.dictionaries(st.sampled_from(NAMES), st.one_of(st.floats(0, 100), st.sampled_from(["75K+", "never seen"]), odd), max_size=4), odd), "extra": odd}),
    max_size=4)
requests = st.fixed_dictionaries({"customers": st.one_of(customers, odd)}, optional={
    "tasks": st.one_of(st.lists(st.sampled_from(["churn", "conversion", "nothing"]), max_size=3), odd), "language": st.one_of(st.sampled_from(["en", "zh", "fr"]), odd),
    "top": st.one_of(st.integers(0, 101), odd), "more": odd})


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests, st.sampled_from(["/v1/score", "/v1/explain"]), st.integers(0, 3))
def test_the_straight_way_takes_nothing_that_the_typed_requests_refuse_and_answers_the_same(client, base, said, path, repeat):
    raw = json.dumps(said)
    if repeat == 0:
        # A name that is repeated, somewhere.
        raw = raw.replace('"customer_id"', '"customer_id": "z", "customer_id"', 1)
    read = base.decoder.read(raw.encode(), path == "/v1/explain")
    with pytest.MonkeyPatch.context() as patch:
        straight = client.post(path, content=raw, headers=JSON)
        patch.setattr(Decoder, "read", lambda *_: None)
        typed = client.post(path, content=raw, headers=JSON)
    assert straight.status_code == typed.status_code
    if read is not None:
        assert typed.status_code == 200
    if typed.status_code == 200:
        assert straight.json()["results"] == typed.json()["results"]


@pytest.mark.parametrize("raw", [
    '{"customers": []}', '{"customers": [{"customer_id": "a:b\\": c"}]}', ' {"customers" : [ {"customer_id":"1010", "features" : {"spend_sum_28d_usd" :1}} ] } ',
    '{"customers": [{"customer_id": "é\\u00e9", "features": {"income_band": "a\\\\\\":", "spend_sum_28d_usd": null}}], "tasks": ["churn", "churn"]}'])
def test_what_is_as_it_should_be_goes_straight(base, raw):
    assert base.decoder.read(raw.encode(), False) is not None


@pytest.mark.parametrize("raw", [
    '{"customers": [], "customers": []}', '{"customers": [{"customer_id": "a", "customer_id": "b"}]}', '{"customers": [], "tasks": ["churn"], "tasks": ["churn"]}',
    '{"customers": [{"customer_id": "a:", "features": {"spend_sum_28d_usd": 1, "spend_sum_28d_usd": 2}}]}'])
def test_f21_a_repeated_name_does_not(base, raw):
    assert base.decoder.read(raw.encode(), False) is None


def test_a_feature_of_another_task_only_is_refused_and_each_model_gets_its_own_columns_and_codes(models, frame):
    def turned(name, order):
        columns = tuple(models[name].columns[i] for i in order)
        other = SavedModel(**{**models["conversion"].__dict__, "name": f"demo.{name}", "columns": columns})
        levels = {place: levels for place, j in enumerate(order) if (levels := models["conversion"].members[0].levels.get(j)) is not None}
        member = models["conversion"].members[0]
        return SavedModel(**{**other.__dict__, "members": (type(member)(
            member.intercept, member.weights[order], member.at_missing[order], member.means[order], levels),)})

    few = {"one": turned("conversion", [4, 0, 2]), "two": turned("churn", [2, 3, 5])}
    tasks = {name: TaskBase(name, model, "1", ["1"], np.zeros((1, 3)), frozenset({"1"}), "2018-01-01T00:00:00Z") for name, model in few.items()}
    decoder = Decoder(tasks)
    body = b'{"tasks": ["one"], "customers": [{"customer_id": "a", "features": {"age_band": "65+"}}]}'
    assert decoder.read(body, False) is None and decoder.read(body.replace(b"one", b"two"), False) is not None
    features = {"age_band": "65+", "income_band": "50-74K", "spend_sum_28d_usd": 3.5, "purchases_count_28d": 2.0}
    question = decoder.read(json.dumps({"customers": [{"customer_id": "a", "features": features}, {"customer_id": "1"}]}).encode(), False)
    for name, task in tasks.items():
        row, n_unknown = decoder.rows(question, task)
        assert n_unknown == 0 and np.array_equal(row[0], task.encode(features)[0], equal_nan=True), name


def test_a_name_that_json_would_escape_goes_the_typed_way(models):
    column = models["churn"].columns[2]
    odd_name = SavedModel(**{**models["conversion"].__dict__, "columns": (*models["conversion"].columns[:-1], type(column)(**{**column.__dict__, "name": 'sp"end'}))})
    task = TaskBase("one", odd_name, "1", ["1"], np.zeros((1, 6)), frozenset({"1"}), "2018-01-01T00:00:00Z")
    assert Decoder({"one": task}).read(b'{"customers": []}', False) is None
    assert Decoder({}).read(b'{"customers": []}', False) is None


def test_what_goes_straight_is_counted_and_logged_like_the_rest(client, caplog, monkeypatch):
    monkeypatch.setattr(api, "_typed", lambda *_: pytest.fail("it went the other way"))
    with caplog.at_level("INFO", logger="likeness"):
        response = client.post("/v1/score", json={"customers": [{"customer_id": "1010"}]}, headers={"X-Request-ID": "mine"})
    assert response.status_code == 200 and response.headers["x-request-id"] == response.json()["request_id"] == "mine"
    [record] = caplog.records
    line = json.loads(JsonLines().format(record))
    assert line["message"] == "POST /score 200" and line["rows"] == 1 and line["versions"] == {"churn": "1", "conversion": "1"} and line["request_id"] == "mine"
