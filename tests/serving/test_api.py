"""The endpoints: the promised shape, and a plain refusal for everything else."""

import asyncio
import json
import logging
import re
import time

import pytest

from serving import api, examples, shapes
from serving.api import State
from serving.door import MAX_BODY_BYTES
from serving.logs import JsonLines
from serving.shapes import MAX_CUSTOMERS, ExplainResponse, ModelsResponse, ScoreResponse

JSON = {"Content-Type": "application/json"}
CANARY = "zhang.wei+13800138000@example.com"


def body(**changes):
    return {"tasks": ["churn"], "customers": [{"customer_id": "1010"}], **changes}


def refused(response, status):
    """Hold a response against the one shape of an error; give its detail."""
    said = response.json()
    assert response.status_code == status, said
    assert response.headers["content-type"] == "application/problem+json"
    assert set(said) == {"type", "title", "status", "detail", "request_id"} and said["status"] == status
    assert said["request_id"] == response.headers["x-request-id"]
    return said["detail"]


# --- what is promised

def test_score_answers_by_id_and_by_features_for_all_tasks_in_order(client, frame):
    asked = frame.loc[frame["eligible_churn"] & frame["eligible_conversion"], "customer_id"].iloc[0]
    response = client.post("/v1/score", json={"customers": [{"customer_id": asked}, {"customer_id": "a", "features": {"spend_sum_28d_usd": 41.5}},
        {"customer_id": "nobody"}]})
    assert response.status_code == 200 and response.headers["content-type"] == "application/json"
    said = ScoreResponse.model_validate(response.json())
    assert [(r.customer_id, r.task, r.found) for r in said.results] == [
        (asked, "churn", True), (asked, "conversion", True), ("a", "churn", True), ("a", "conversion", True), ("nobody", "churn", False),
        ("nobody", "conversion", False)]
    first = response.json()["results"][0]
    assert set(first) == {"customer_id", "task", "found", "score", "probability", "percentile", "band", "as_of", "model", "version"}
    assert first["model"] == "demo.churn" and first["version"] == "1" and first["as_of"] == "2018-01-01T05:00:00Z"
    assert isinstance(first["score"], int) and said.request_id == response.headers["x-request-id"]


def test_explain_gives_the_score_and_its_reasons(client, base):
    customers = [{"customer_id": customer} for customer in base.tasks["churn"].ids[:50]]
    scored = client.post("/v1/score", json=body(customers=customers)).json()["results"]
    response = client.post("/v1/explain", json=body(customers=customers, language="zh", top=2))
    ExplainResponse.model_validate(response.json())
    for result, score in zip(response.json()["results"], scored, strict=True):
        assert score.items() <= result.items()
        assert result["base_log_odds"] + sum(r["contribution"] for r in result["reasons"]) == pytest.approx(result["log_odds"], rel=0, abs=1e-9)
        assert len(result["reasons"]) <= 4 and result["reasons"][-1]["label"] == "其余因素合计"
    english = client.post("/v1/explain", json=body(customers=[{"customer_id": "nobody"}, {"customer_id": "b", "features": {}}])).json()["results"]
    assert english[0]["reasons"] == [] and english[0]["log_odds"] is None and english[1]["reasons"][-1]["label"] == "everything else together"


def test_many_customers_are_answered_as_few_are(client, base, monkeypatch):
    customers = [{"customer_id": customer} for customer in base.tasks["churn"].ids[:100]]
    in_a_thread = client.post("/v1/explain", json={"customers": customers}).json()["results"]
    monkeypatch.setattr(api, "_ROWS_AT_ONCE", 10_000)
    assert client.post("/v1/explain", json={"customers": customers}).json()["results"] == in_a_thread


def test_models_lists_what_is_served_and_what_it_takes(client, models):
    response = client.get("/v1/models")
    said = ModelsResponse.model_validate(response.json())
    assert [(m.task, m.model, m.version, m.kind) for m in said.models] == [
        ("churn", "demo.churn", "1", "churn"), ("conversion", "demo.conversion", "1", "conversion")]
    assert said.models[0].customers == 240 and said.models[0].as_of == "2018-01-01T05:00:00Z"
    assert said.models[0].schema_hash == models["churn"].schema_hash()
    assert said.models[0].features[4].model_dump() == {"name": "income_band", "kind": "category", "unit": "category",
        "levels": ["35-49K", "50-74K", "75K+"]}


def test_the_document_describes_requests_answers_and_errors(client):
    said = client.get("/v1/openapi.json").json()
    assert said["info"]["title"] == "Likeness" and said["info"]["version"] == api.API_VERSION
    assert set(said["paths"]) == {
        "/score", "/explain", "/audience", "/models", "/profile", "/whatif", "/features", "/reports", "/reports/{name}"} and said["servers"] == [{"url": "/v1"}]
    schemas, post = said["components"]["schemas"], said["paths"]["/score"]["post"]
    assert {"Problem", "ScoreRequest", "Customer", "Result", "Reason"} <= set(schemas) and "HTTPValidationError" not in schemas
    for code in ("400", "413", "415", "422", "500"):
        assert list(post["responses"][code]["content"]) == ["application/problem+json"]
    for name, path in (("ScoreRequest", "/v1/score"), ("ExplainRequest", "/v1/explain")):
        for example in schemas[name]["examples"]:
            assert client.post(path, json=example).status_code == 200


def test_every_endpoint_has_an_example_of_its_request_and_of_its_answer(client, base):
    said = client.get("/v1/openapi.json").json()
    schemas, first = said["components"]["schemas"], base.tasks["churn"].ids[0]
    assert set(examples.ANSWERS) == set(said["paths"])

    def shape(value):
        """Names all the way down, of lists the first entry."""
        if isinstance(value, dict):
            return {name: shape(inner) for name, inner in value.items()}
        return [shape(value[0])] if isinstance(value, list) and value else "[]" if isinstance(value, list) else ""

    answers = {
        "/score": client.post("/v1/score", json=body(customers=[{"customer_id": first}])),
        "/explain": client.post("/v1/explain", json=body(customers=[{"customer_id": first}], top=1)),
        "/models": client.get("/v1/models"), "/features": client.get("/v1/features")}
    for route, path in said["paths"].items():
        for operation in path.values():
            ok = operation["responses"]["200"]["content"]
            [(kind, content)] = ok.items()
            assert content["example"] == examples.ANSWERS[route]
            if "requestBody" in operation:
                asked = schemas[operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]]
                for example in asked["examples"]:
                    getattr(shapes, asked["title"]).model_validate(example)
            if kind == "application/json":
                model = getattr(shapes, content["schema"]["$ref"].rpartition("/")[2])
                assert model.model_validate(content["example"]).model_dump(mode="json", exclude_defaults=True).keys() == content["example"].keys() - {"is_causal"}
            else:
                assert content["example"].startswith("<!doctype") and operation["parameters"][0]["example"]
            if route in answers:
                real, told = answers[route].json(), content["example"]
                key = "results" if "results" in real else next(name for name in real if name != "request_id")
                assert shape(real[key][0]).keys() == shape(told[key][0]).keys(), route
    reasons = examples.ANSWERS["/explain"]["results"][0]
    assert reasons["base_log_odds"] + sum(reason["contribution"] for reason in reasons["reasons"]) == pytest.approx(reasons["log_odds"])
    assert shapes.Problem.model_validate(said["paths"]["/score"]["post"]["responses"]["422"]["content"]["application/problem+json"]["example"])


# --- sizes (F22)

def test_f22_an_empty_batch_is_an_empty_answer(client):
    for path in ("/v1/score", "/v1/explain"):
        response = client.post(path, json=body(customers=[]))
        assert response.status_code == 200 and response.json()["results"] == []


def test_f22_repeated_customers_are_answered_each_time(client):
    results = client.post("/v1/score", json=body(customers=[{"customer_id": "1010"}, {"customer_id": "x"},
        {"customer_id": "1010"}])).json()["results"]
    assert [r["customer_id"] for r in results] == ["1010", "x", "1010"] and results[0] == results[2]


def test_f22_ten_thousand_are_taken_and_one_more_is_not(client):
    most = [{"customer_id": "a", "features": {"purchases_count_28d": i % 7}} for i in range(MAX_CUSTOMERS)]
    begin = time.perf_counter()
    response = client.post("/v1/score", json={"customers": most})
    assert time.perf_counter() - begin < 5
    assert response.status_code == 200 and len(response.json()["results"]) == 2 * MAX_CUSTOMERS
    assert refused(client.post("/v1/score", json=body(customers=[*most, most[0]])), 422) == "customers has too many entries"


# --- names (F24)

def test_f24_odd_names_come_back_as_they_went_in(client, frame):
    odd = [*frame["customer_id"].head(6), "a" * 128, "\u202etxt", "a\nb", " ", "<script>"]
    results = client.post("/v1/score", json=body(customers=[{"customer_id": name} for name in odd])).json()["results"]
    assert [r["customer_id"] for r in results] == odd and [r["found"] for r in results[:4]] == [True] * 4


@pytest.mark.parametrize("name", ['""', '"a\\u0000b"', '"' + "a" * 129 + '"', '"' + "a" * 10_000 + '"', '"\\ud800"', "1", "null", "true", "[]", "{}"])
def test_f24_what_is_no_name_is_refused(client, name):
    assert "customers[0].customer_id " in refused(client.post("/v1/score", content=f'{{"customers": [{{"customer_id": {name}}}]}}', headers=JSON),
        422)


# --- malformed bodies (F19), numbers (F20), fields (F21), names of models (F44)

_RAW = {
    "empty": (b"", 400), "blank": (b"  ", 400), "cut": (b'{"customers": [', 400), "word": (b"hello", 400), "null": (b"null", 422),
    "list": (b"[]", 422),
    "number": (b"1", 422), "text": (b'"a"', 422), "bad utf-8": (b'{"customers": [{"customer_id": "\xff\xfe"}]}', 400),
    "utf-16": ('{"customers": []}'.encode("utf-16"), 400), "byte order mark": (b'\xef\xbb\xbf{"customers": []}', 400),
    "deep": (b"[" * 100_000, 400), "deep and closed": (b'{"customers": ' + b"[" * 900 + b"]" * 900 + b"}", 422),
    "very deep and closed": (b'{"customers": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
    "deep objects": (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, 400),
    "huge integer": (b'{"customers": [{"customer_id": "a", "features": {"spend_sum_28d_usd": ' + b"9" * 5000 + b"}}]}", 400),
    "two values": (b'{"customers": []}{"customers": []}', 400), "trailing comma": (b'{"customers": [],}', 400),
    "comment": (b'{"customers": []} // no', 400),
    "repeated field": (b'{"customers": [], "customers": []}', 422),
    "repeated id": (b'{"customers": [{"customer_id": "a", "customer_id": "b"}]}', 422),
    "repeated feature": (b'{"customers": [{"customer_id": "a", "features": {"spend_sum_28d_usd": 1, "spend_sum_28d_usd": 2}}]}', 422),
    "no fields": (b"{}", 422), "null customers": (b'{"customers": null}', 422), "object for list": (b'{"customers": {}}', 422),
    "no events": (b'{"customers": [{"customer_id": "a", "events": null}]}', 422),
    "an event without kind": (b'{"customers": [{"customer_id": "a", "events": [{"event_id": "e", "event_at": "2018-01-01"}]}]}', 422),
}


@pytest.mark.parametrize(("raw", "status"), _RAW.values(), ids=_RAW)
@pytest.mark.parametrize("path", ["/v1/score", "/v1/explain"])
def test_f19_what_is_not_a_request_is_refused(client, path, raw, status):
    detail = refused(client.post(path, content=raw, headers=JSON), status)
    assert status != 400 or detail.startswith("the body must be JSON")


@pytest.mark.parametrize("value", [
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 400, "-1", '"1.5"', "true", "[1]", "{}"])
@pytest.mark.parametrize("path", ["/v1/score", "/v1/explain"])
def test_f20_numbers_are_finite_and_numbers(client, path, value):
    raw = f'{{"customers": [{{"customer_id": "a", "features": {{"purchases_count_28d": {value}}}}}]}}'
    assert "customers[0].features.purchases_count_28d" in refused(client.post(path, content=raw, headers=JSON), 422)


@pytest.mark.parametrize("value", ["null", "0", "0.0", "7", "1e308", "1E2"])
def test_f20_other_numbers_and_null_are_scored(client, value):
    raw = f'{{"tasks": ["churn"], "customers": [{{"customer_id": "a", "features": {{"purchases_count_28d": {value}}}}}]}}'
    result = client.post("/v1/score", content=raw, headers=JSON).json()["results"][0]
    assert result["found"] and 0 < result["probability"] < 1


@pytest.mark.parametrize(("path", "said", "detail"), [
    ("score", body(extra=1), "an unknown field is not a field of this request"),
    ("score", body(Customers=[]), "an unknown field"),
    ("score", {"Customers": []}, "customers is required"),
    ("score", body(customers=[{"customer_id": "a", "extra": 1}]), r"customers\[0\] an unknown field"),
    ("score", body(customers=[{}]), r"customers\[0\]\.customer_id is required"),
    ("score", body(customers=["a"]), r"customers\[0\] must be an object"),
    ("score", body(customers=[{"customer_id": "a", "features": None}]), r"customers\[0\]\.features must be an object"),
    ("score", body(customers=[{"customer_id": "a", "features": {"Spend_Sum_28d_USD": 1}}]), "must name features of the models"),
    ("score", body(customers=[{"customer_id": "a", "features": {"income_band": 1}}]), "income_band must be text or null"),
    ("score", body(customers=[{"customer_id": "a", "features": {"income_band": "a\0"}}]), r"income_band must not hold a NUL"),
    ("score", body(customers=[{"customer_id": "a", "features": {"x" * 10_000: 1}}]), r"customers\[0\]\.features is too long"),
    ("score", body(tasks=[]), "tasks has too few entries"), ("score", body(tasks=None), "tasks must be a list"),
    ("score", body(tasks="churn"), "tasks must be a list"),
    ("score", body(tasks=["churn", "nothing"]), "tasks must be among churn, conversion; found one that is not"),
    ("score", body(tasks=["../x"]), "tasks must be among churn, conversion"),
    ("score", body(tasks=["demo.churn"]), "tasks must be among churn, conversion"),
    ("score", body(language="en"), "language is not a field"), ("explain", body(language="fr"), "language must be one of"),
    ("explain", body(top=0), "top is too small"),
    ("explain", body(top=101), "top is too large"), ("explain", body(top="5"), "top must be a whole number"), ("explain", body(top=2.5), "top "),
    ("explain", body(top=True), "top must be a whole number"),
])
def test_f21_f44_only_the_named_fields_in_their_types_are_taken(client, path, said, detail):
    assert re.search(detail, refused(client.post(f"/v1/{path}", json=said), 422))


def test_many_errors_are_told_in_one_line(client):
    detail = refused(client.post("/v1/score", json=body(customers=[{}] * 10)), 422)
    assert detail == "customers[0].customer_id is required; customers[1].customer_id is required; customers[2].customer_id is required; and 7 more"


@pytest.mark.parametrize("headers", [
    {}, {"Content-Type": ""}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"},
    {"Content-Type": "application/json; charset=gbk"},
    {"Content-Type": "application/vnd.bentoml+pickle"}, {"Content-Type": "multipart/form-data; boundary=x"}, JSON | {"Content-Encoding": "gzip"}])
def test_f19_only_plain_json_is_taken(client, headers):
    refused(client.post("/v1/score", content=json.dumps(body()).encode(), headers=headers), 415)


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"'])
def test_json_may_say_its_charset(client, kind):
    assert client.post("/v1/score", content=json.dumps(body()), headers={"Content-Type": kind}).status_code == 200


def test_f18_a_body_over_the_limit_is_refused_before_it_is_held(client):
    sent = 0

    def parts():
        nonlocal sent
        while sent < 4 * MAX_BODY_BYTES:
            sent += 2**20
            yield b" " * 2**20

    refused(client.post("/v1/score", content=parts(), headers=JSON), 413)
    refused(client.post("/v1/score", content=b" " * (MAX_BODY_BYTES + 1), headers=JSON), 413)
    refused(client.post("/v1/score", content=b" " * MAX_BODY_BYTES, headers=JSON), 400)


def test_f18_a_body_that_says_it_is_too_large_is_not_read_at_all(base):
    sent = []

    async def receive():
        pytest.fail("it was read")

    async def send(message):
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"content-length", str(MAX_BODY_BYTES + 1).encode())]
    scope = {"type": "http", "method": "POST", "path": "/score", "root_path": "", "query_string": b"", "headers": headers}
    asyncio.run(api.create_app(State(base))(scope, receive, send))
    assert sent[0]["status"] == 413


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "score", 405), ("PUT", "explain", 405), ("POST", "models", 405), ("GET", "nothing", 404), ("POST", "score/", 404), ("GET", "", 404),
    ("GET", "../x", 404),
    ("GET", "models/..%2f..%2fetc%2fpasswd", 404), ("GET", "docs", 404)])
def test_f44_there_are_no_other_doors(client, method, path, status):
    response = client.request(method, f"/v1/{path}", headers=JSON)
    if path != "../x":
        refused(response, status)
        assert status != 405 or response.headers["allow"]
    assert response.status_code == status


# --- ids, keys, failures, personal data

@pytest.mark.parametrize(("given", "is_kept"), [("a", True), ("A-1._z", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ("a\tb", False),
    ("", False), (CANARY, False)])
def test_a_request_id_is_kept_if_it_is_one(client, given, is_kept):
    for response in (client.post("/v1/score", json=body(), headers={"X-Request-ID": given}), client.get("/v1/none", headers={"X-Request-ID": given})):
        assert (response.headers["x-request-id"] == given) is is_kept and response.json()["request_id"] == response.headers["x-request-id"]
        assert is_kept or re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", response.headers["x-request-id"])


def test_until_models_are_loaded_the_answer_is_not_yet(client_of):
    client = client_of(State())
    for response in (client.post("/v1/score", json=body()), client.get("/v1/models")):
        refused(response, 503)
        assert response.headers["retry-after"] == "5"
    assert client.get("/v1/openapi.json").status_code == 200


def test_an_unexpected_failure_is_a_500_without_its_text(client, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError(CANARY)

    monkeypatch.setattr(api, "_told", fail)
    with caplog.at_level(logging.DEBUG):
        for customers in ([{"customer_id": CANARY}], [{"customer_id": CANARY}] * 100):
            detail = refused(client.post("/v1/score", json=body(customers=customers)), 500)
            assert "RuntimeError" not in detail and CANARY not in detail
    assert "failed: RuntimeError at test_api.py" in caplog.text and CANARY not in caplog.text


_LEAKS = [
    b"%s", b'"%s', b'"%s"', b'{"%s": 1}', b'{"customers": "%s"}', b'{"customers": ["%s"]}', b'{"customers": [{"customer_id": ["%s"]}]}',
    b'{"customers": [{"customer_id": "a", "%s": 1}]}', b'{"customers": [{"customer_id": "%s\\u0000"}]}',
    b'{"customers": [{"customer_id": "%s", "x": "%s"}]}',
    b'{"customers": [{"customer_id": "a", "features": {"%s": 1}}]}', b'{"customers": [{"customer_id": "a", "features": {"%s": [1]}}]}',
    b'{"customers": [{"customer_id": "a", "features": {"%s": NaN}}]}',
    b'{"customers": [{"customer_id": "a", "features": {"spend_sum_28d_usd": "%s"}}]}',
    b'{"customers": [{"customer_id": "a", "features": {"income_band": "%s\\u0000"}}]}', b'{"customers": [{"customer_id": "a", "features": "%s"}]}',
    b'{"tasks": ["%s"], "customers": []}', b'{"tasks": "%s", "customers": []}', b'{"customers": [], "language": "%s"}',
    b'{"customers": [], "top": "%s"}',
    b'{"%s": 1, "%s": 2}',
]


@pytest.mark.parametrize("raw", _LEAKS)
@pytest.mark.parametrize("path", ["/v1/score", "/v1/explain", f"/v1/{CANARY}", f"/v1/score?email={CANARY}"])
def test_f40_what_a_caller_sends_is_in_no_error_and_no_log(client, caplog, path, raw):
    with caplog.at_level(logging.DEBUG, logger="likeness"), caplog.at_level(logging.DEBUG, logger="fastapi"):
        response = client.post(path, content=raw.replace(b"%s", CANARY.encode()), headers=JSON | {"X-Request-ID": CANARY, "User-Agent": CANARY})
    refused(response, 404 if path.endswith("/" + CANARY) else response.status_code)
    assert 400 <= response.status_code < 500
    ours = [JsonLines().format(record) for record in caplog.records if record.name != "httpx"]
    assert CANARY not in response.text and not any(CANARY in line for line in ours) and ours


def test_f23_f40_requests_rows_and_unknown_categories_are_counted_without_a_word_of_the_caller(client):
    from prometheus_client import REGISTRY, generate_latest

    def value(name, **labels):
        return REGISTRY.get_sample_value(name, labels) or 0

    churn = {"task": "churn", "version": "1"}
    before = [value(name, **churn) for name in ("likeness_requests_total", "likeness_rows_total", "likeness_unknown_categories_total")]
    client.post("/v1/score", json=body(customers=[{"customer_id": CANARY}, {"customer_id": "a", "features": {"income_band": CANARY}}]))
    after = [value(name, **churn) for name in ("likeness_requests_total", "likeness_rows_total", "likeness_unknown_categories_total")]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 2, 1]
    client.get(f"/v1/{CANARY}")
    assert CANARY not in generate_latest().decode() and value("likeness_request_seconds_count", route="/score", status="200") > 0
