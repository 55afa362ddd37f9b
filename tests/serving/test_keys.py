"""Keys: who may ask what, how often; made, listed and ended while the server runs (F44)."""

import json
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from features.errors import ContractError, UsageError
from serving import keys
from serving.api import State
from serving.keys import FILE, Keys, add, read_keys, revoke
from serving.logs import JsonLines
from serving.serve import serve

ASKED = {"tasks": ["churn"], "customers": [{"customer_id": "1010"}]}


@pytest.fixture
def eager(monkeypatch):
    """Every request looks at the file."""
    monkeypatch.setattr(keys, "_SECONDS_BETWEEN_LOOKS", 0.0)


@pytest.fixture
def guarded(client_of, base, tmp_path, eager):
    return client_of(State(base, keys=Keys(tmp_path), run=tmp_path))


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


@pytest.mark.parametrize("headers", [
    {}, {"Authorization": "Bearer"}, {"Authorization": "Bearer "}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic %s"}, {"Authorization": "%s"},
    {"Authorization": b"Bearer \xff\xfe"}, {"Authorization": "Bearer %s "}, {"Authorization": "Bearer " + "x" * 5000}])
def test_f44_no_key_or_a_wrong_one_is_401_at_every_door(guarded, tmp_path, headers):
    _, secret = add(tmp_path, "shop", ["admin"])
    headers = {name: value.replace("%s", secret) if isinstance(value, str) else value for name, value in headers.items()}
    for method, path in (("POST", "score"), ("POST", "explain"), ("POST", "audience"), ("GET", "models"), ("GET", "openapi.json"), ("GET", "nothing")):
        response = guarded.request(method, f"/v1/{path}", headers=headers, json=ASKED if method == "POST" else None)
        assert response.status_code == 401 and response.headers["www-authenticate"] == "Bearer" and secret not in response.text
        assert response.headers["content-type"] == "application/problem+json" and response.json()["request_id"] == response.headers["x-request-id"]


@pytest.mark.parametrize(("scope", "opens"), [
    ("score", {"score", "explain", "models"}), ("audience", {"audience"}), ("profile", {"profile"}), ("admin", {"score", "explain", "models", "audience", "profile"})])
def test_f44_a_key_opens_the_doors_of_its_scopes_only(guarded, tmp_path, scope, opens):
    _, secret = add(tmp_path, "shop", [scope])
    for method, path in (("POST", "score"), ("POST", "explain"), ("POST", "audience"), ("POST", "profile"), ("GET", "models")):
        status = guarded.request(method, f"/v1/{path}", headers=bearer(secret), json=ASKED if method == "POST" else None).status_code
        assert (status == 403) is (path not in opens), path
    assert guarded.get("/v1/openapi.json", headers=bearer(secret)).status_code == 200


def test_keys_are_made_and_ended_while_the_server_runs(guarded, tmp_path):
    assert guarded.get("/v1/models").status_code == 401
    first, old = add(tmp_path, "shop", ["score"])
    assert guarded.get("/v1/models", headers=bearer(old)).status_code == 200
    _, new = add(tmp_path, "shop", ["score"])
    assert [guarded.get("/v1/models", headers=bearer(secret)).status_code for secret in (old, new)] == [200, 200]
    revoke(tmp_path, first.id)
    assert [guarded.get("/v1/models", headers=bearer(secret)).status_code for secret in (old, new)] == [401, 200]
    (tmp_path / FILE).write_text("[{")
    assert [guarded.get("/v1/models", headers=bearer(secret)).status_code for secret in (old, new)] == [401, 200]
    (tmp_path / FILE).unlink()
    assert guarded.get("/v1/models", headers=bearer(new)).status_code == 401


def test_only_hashes_are_kept_and_only_the_owner_may_read_them(tmp_path):
    key, secret = add(tmp_path, "shop", ["score", "score", "audience"], 5)
    text = (tmp_path / FILE).read_text()
    assert secret not in text and secret.split("_", 2)[2] not in text and key.sha256 in text and len(secret) > 50
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert read_keys(tmp_path) == [key] and key.scopes == ("score", "audience")
    for bad, says in ((lambda: add(tmp_path, "x", []), "--scope must be of score"), (lambda: add(tmp_path, "x", ["all"]), "found all"),
                      (lambda: add(tmp_path, "x", ["score"], 0), "--per-second"), (lambda: revoke(tmp_path, "zz"), f"one of {key.id}; found 'zz'"),
                      (lambda: add(tmp_path / "none", "x", ["score"]), "--run must name")):
        with pytest.raises(UsageError, match=says):
            bad()
    (tmp_path / FILE).write_text('[{"id": 1}]')
    with pytest.raises(ContractError, match=r"keys\.json must be readable"):
        read_keys(tmp_path)


def test_a_key_that_asks_too_often_is_told_when_to_come_again(guarded, tmp_path, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    (_, slow), (_, free) = add(tmp_path, "slow", ["score"], 2), add(tmp_path, "free", ["score"])
    assert [guarded.get("/v1/models", headers=bearer(slow)).status_code for _ in range(3)] == [200, 200, 429]
    said = guarded.post("/v1/score", json=ASKED, headers=bearer(slow))
    assert said.status_code == 429 and said.headers["retry-after"] == "1" and said.headers["content-type"] == "application/problem+json"
    assert guarded.get("/v1/models", headers=bearer(free)).status_code == 200
    now += 0.5
    assert [guarded.get("/v1/models", headers=bearer(slow)).status_code for _ in range(2)] == [200, 429]
    now += 60
    assert [guarded.get("/v1/models", headers=bearer(slow)).status_code for _ in range(3)] == [200, 200, 429]


def test_workers_share_what_a_key_may_ask(tmp_path, eager):
    _, secret = add(tmp_path, "shop", ["score"], 4)
    half = Keys(tmp_path, share=0.5)
    for _ in range(2):
        half.require(f"Bearer {secret}", "/score")
    with pytest.raises(Exception, match="asks more often"):
        half.require(f"Bearer {secret}", "/score")


def test_a_log_line_names_the_key_by_its_id(guarded, tmp_path, caplog):
    key, secret = add(tmp_path, "zhang.wei@example.com", ["score"])
    with caplog.at_level("INFO", logger="likeness"):
        guarded.post("/v1/score", json=ASKED, headers=bearer(secret))
    [record] = caplog.records
    line = JsonLines().format(record)
    assert json.loads(line)["key"] == key.id and secret not in line and "zhang.wei" not in line


@pytest.mark.parametrize(("with_key", "words", "says"), [
    (False, {}, "a server needs keys, found none that opens.*keys add.*--without-keys"), (False, {"host": "0.0.0.0"}, "a server needs keys"),
    (False, {"host": "0.0.0.0", "without_keys": True}, "--without-keys must stay on the loopback, found --host 0.0.0.0"),
    (True, {"host": "0.0.0.0", "without_keys": True}, "must stay on the loopback")])
def test_a_server_is_not_open_by_mistake(tmp_path, with_key, words, says):
    if with_key:
        add(tmp_path, "shop", ["score"])
    with pytest.raises(UsageError, match=says):
        serve(tmp_path, 3000, **words)


def test_an_ended_key_or_the_old_variable_is_no_key(tmp_path, monkeypatch):
    revoke(tmp_path, add(tmp_path, "shop", ["score"])[0].id)
    with pytest.raises(UsageError, match="found none that opens"):
        serve(tmp_path, 3000)
    monkeypatch.setenv("LIKENESS_API_KEY_SHA256", "0" * 64)
    with pytest.raises(UsageError, match="keys stand in the run folder now"):
        serve(tmp_path, 3000, without_keys=True)


def test_make_serve_is_open_on_the_loopback_only_and_says_so():
    root = Path(__file__).resolve().parents[2]
    plain, asked = (subprocess.run(["make", "-n", "serve", *more], cwd=root, capture_output=True, text=True).stdout for more in ([], ["KEYS=yes"]))
    assert "--without-keys" in plain and "--without-keys" not in asked and "--host" not in plain


def test_the_door_makes_lists_and_ends_keys(tmp_path):
    def door(*words):
        return subprocess.run([sys.executable, "-m", "serving", "keys", *words, "--run", str(tmp_path)], cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True)

    secret = door("add", "shop", "--scope", "score", "--scope", "audience", "--per-second", "20").stdout.split()[0]
    key, = read_keys(tmp_path)
    assert Keys(tmp_path).require(f"Bearer {secret}", "/audience") == key
    assert door("list").stdout.startswith(f"{key.id}  shop: score, audience, 20 a second, made ")
    assert door("revoke", key.id).returncode == 0 and ", ended " in door("list").stdout and secret not in door("list").stdout
    assert door("revoke", key.id).returncode == 2
    assert [json.loads(line)["what"] for line in (tmp_path / "audit.jsonl").read_text().splitlines()] == ["key made", "key ended"]
