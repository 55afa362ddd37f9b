"""Profiles, what-if, the data dictionary, reports; the client; and the whole document under schemathesis."""

import re
import threading
import warnings
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from serving.api import State, create_app
from serving.client import Client, ProblemError
from serving.scoring import Base, TaskBase
from serving.shapes import FeaturesResponse, ProfileResponse, ReportsResponse, WhatIfResponse
from training.saved_model import SavedModel

ACTIONABLE = ("discount_share_28d", "income_band")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    run = tmp_path_factory.mktemp("pages")
    (run / "reports").mkdir()
    (run / "reports" / "index.en.html").write_text("<!doctype html><p>read me</p>")
    (run / "secret.txt").write_text("not for you")
    return run


@pytest.fixture(scope="module")
def base(base):
    """The shared base, with two features that can be acted on."""
    def acted(model):
        return SavedModel(**{**model.__dict__, "columns": tuple(replace(column, is_actionable=column.name in ACTIONABLE) for column in model.columns)})

    tasks = {name: TaskBase(name, acted(task.model), task.version, task.ids, task.x, task.known, task.as_of) for name, task in base.tasks.items()}
    return Base(base.info, tasks, base.spaces)


@pytest.fixture(scope="module")
def state(base, pages):
    return State(base, run=pages)


@pytest.fixture(scope="module")
def client(state, client_of):
    return client_of(state)


def test_a_profile_says_what_is_known_in_words_and_every_score(client, base, frame):
    row = frame[frame["eligible_conversion"]].iloc[0]
    response = client.post("/v1/profile", json={"customer_id": row["customer_id"], "language": "zh"})
    said = ProfileResponse.model_validate(response.json())
    told = {feature.feature: feature for family in said.families for feature in family.features}
    assert said.found and told["purchases_count_28d"].value == row["purchases_count_28d"] and told["spend_sum_28d_usd"].text.endswith("美元")
    assert told["purchases_count_28d"].label == "近 28 天购买次数"
    explained = client.post("/v1/explain", json={"customers": [{"customer_id": row["customer_id"]}], "language": "zh", "top": 3}).json()["results"]
    assert response.json()["scores"] == explained and len(explained) == 2 and all("is_firm" in reason for score in explained for reason in score["reasons"])


def test_a_profile_shows_nothing_sensitive_and_nothing_of_a_stranger(client, base):
    text = client.post("/v1/profile", json={"customer_id": base.tasks["churn"].ids[0]}).text
    assert "age" not in text.replace("average", "") and "65+" not in text
    nobody = client.post("/v1/profile", json={"customer_id": "nobody"}).json()
    assert nobody["found"] is False and nobody["families"] == [] and [score["found"] for score in nobody["scores"]] == [False, False]


def test_what_if_is_the_models_own_answer_for_the_changed_row_and_says_that_it_is_not_causal(client, base):
    task = base.tasks["churn"]
    features = {"purchases_count_28d": 3.0, "discount_share_28d": 0.1, "income_band": "75K+"}
    asked = {"task": "churn", "customer": {"customer_id": "a", "features": features}, "changes": {"discount_share_28d": 0.2, "income_band": "50-74K"}}
    said = client.post("/v1/whatif", json=asked)
    told = WhatIfResponse.model_validate(said.json())
    for result, given in ((told.before, features), (told.after, features | {"discount_share_28d": 0.2, "income_band": "50-74K"})):
        row, _ = task.encode(given)
        assert result.probability == round(float(task.model.probabilities(row[np.newaxis])[0]), 6)
    assert told.is_causal is False and "no promise" in told.note
    assert [(change.feature, change.before, change.after) for change in told.changes] == [("discount_share_28d", 0.1, 0.2), ("income_band", "75K+", "50-74K")]
    by_id = client.post("/v1/whatif", json={"task": "churn", "customer": {"customer_id": task.ids[0]}, "changes": {"discount_share_28d": 0.2}}).json()
    assert by_id["before"]["probability"] == client.post("/v1/score", json={"tasks": ["churn"], "customers": [{"customer_id": task.ids[0]}]}).json()["results"][0]["probability"]
    nobody = client.post("/v1/whatif", json={"task": "churn", "customer": {"customer_id": "nobody"}, "changes": {"discount_share_28d": 0.2}}).json()
    assert nobody["before"]["found"] is False and nobody["after"] is None


@pytest.mark.parametrize(("changes", "says"), [
    ({"purchases_count_28d": 3}, "of features that can be acted on, here discount_share_28d, income_band"), ({"age_band": "65+"}, "can be acted on"),
    ({"made_up": 1}, "can be acted on"),
    ({"discount_share_28d": 0.99}, r"discount_share_28d must be between 0\.\d+ and 0\.\d+"), ({"discount_share_28d": "0.2"}, "must be between"),
    ({"income_band": "never seen"}, "must be one of the values"), ({"income_band": 1}, "must be one of the values"), ({}, "too few entries")])
def test_what_if_keeps_to_what_can_be_acted_on_within_what_was_observed(client, changes, says):
    response = client.post("/v1/whatif", json={"task": "churn", "customer": {"customer_id": "a", "features": {}}, "changes": changes})
    assert response.status_code == 422
    assert re.search(says, response.json()["detail"]), response.json()["detail"]


def test_reasons_stand_beside_the_band_and_say_what_can_be_acted_on(client, base):
    results = client.post("/v1/explain", json={"customers": [{"customer_id": base.tasks["churn"].ids[0]}], "top": 100}).json()["results"]
    for result in results:
        averages = base.tasks[result["task"]].model.reference["averages"]
        for reason in result["reasons"]:
            if reason["feature"] in averages:
                assert reason["band_average"] == averages[reason["feature"]][result["band"]] and reason["is_actionable"] is (reason["feature"] in ACTIONABLE)
            else:
                assert reason["band_average"] is None and reason["is_actionable"] is False


def test_the_dictionary_names_each_feature_once_with_its_tasks(client):
    said = FeaturesResponse.model_validate(client.get("/v1/features").json())
    assert [entry.name for entry in said.features][:2] == ["purchases_count_28d", "days_since_last_purchase"] and len(said.features) == 6
    assert said.features[0].tasks == ["churn", "conversion"] and said.features[5].is_sensitive


def test_reports_are_read_by_the_names_that_are_listed(client):
    assert ReportsResponse.model_validate(client.get("/v1/reports").json()).reports == ["index.en.html"]
    page = client.get("/v1/reports/index.en.html")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html") and "read me" in page.text


@pytest.mark.parametrize("name", ["../secret.txt", "..%2fsecret.txt", "%2e%2e%2fsecret.txt", "index", "*.html", "", "index.en.html%00", "%2Fetc%2Fpasswd"])
def test_f44_no_path_is_made_of_a_hostile_name(client, name):
    response = client.get(f"/v1/reports/{name}")
    assert response.status_code == 404 and "not for you" not in response.text


@pytest.fixture(scope="module")
def address(client):
    """The endpoints on a socket of their own, for a client that is no test's."""
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            said = client.request(self.command, self.path, content=body, headers=dict(self.headers.items()))
            self.send_response(said.status_code)
            for name in ("content-type", "retry-after"):
                if name in said.headers:
                    self.send_header(name, said.headers[name])
            self.end_headers()
            self.wfile.write(said.content)

        do_GET = do_POST

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_the_client_asks_everything_and_raises_the_servers_words(address, client, base, monkeypatch):
    ours, first = Client(address), base.tasks["churn"].ids[0]
    given = {"customer_id": "a", "features": {"spend_sum_28d_usd": 41.5}}
    assert [result.model_dump(exclude_defaults=True) for result in ours.score([first, given], ["churn"]).results] == client.post(
        "/v1/score", json={"tasks": ["churn"], "customers": [{"customer_id": first}, given]}).json()["results"]
    assert ours.explain([first], language="zh", top=2).results[0].reasons[-1].label == "其余因素合计"
    assert ours.profile(first).found and len(ours.features().features) == 6 and len(ours.models().models) == 2 and ours.reports().reports == ["index.en.html"]
    assert ours.what_if("churn", first, {"discount_share_28d": 0.2}).after.found
    with pytest.raises(ProblemError, match="422: tasks must be among churn, conversion") as caught:
        ours.score([first], ["nothing"])
    assert caught.value.status == 422 and caught.value.request_id
    with pytest.raises(ProblemError, match="no lookalike task served"):
        ours.audience(["1"], reach=5)


def test_the_client_comes_again_when_it_is_told(address, state, monkeypatch):
    waited = []
    monkeypatch.setattr("serving.client.time.sleep", waited.append)
    monkeypatch.setattr(state, "base", None)
    with pytest.raises(ProblemError, match="not loaded yet"):
        Client(address, tries=3).models()
    assert waited == [5.0, 5.0]


def test_nothing_in_the_document_ends_in_a_server_error_or_an_answer_that_it_does_not_name(state):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import schemathesis
        from hypothesis import HealthCheck, Phase, given, settings
        from schemathesis.checks import not_a_server_error
        from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance
        from starlette.applications import Starlette
        from starlette.routing import Mount

        app = Starlette(routes=[Mount("/v1", create_app(state))])
        schema = schemathesis.openapi.from_asgi("/v1/openapi.json", app)
        asked = set()
        for result in schema.get_all_operations():
            operation = result.ok()

            @settings(max_examples=25, deadline=None, database=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy())
            def ask(case):
                response = case.call()
                case.validate_response(response, checks=[not_a_server_error, status_code_conformance, response_schema_conformance])

            ask()
            asked.add(operation.path)
        assert asked == set(schema.raw_schema["paths"]) and len(asked) == 9
