"""The server itself, as a process: it refuses at once what it cannot serve, answers, and ends when told to."""

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from pathlib import Path

import pytest

from features.errors import ContractError, UsageError
from serving import logs
from serving.serve import HOST, command, environment, serve

ROOT = Path(__file__).resolve().parents[2]
CANARY = "zhang.wei+13800138000@example.com"


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


@pytest.fixture
def executed(monkeypatch):
    """What `serve` would have become: (program, arguments, environment)."""
    became = []
    monkeypatch.setattr(os, "execve", lambda *given: became.append(given))
    return became


def test_serve_becomes_bentoml_with_a_home_inside_the_run(run, port, executed, capsys):
    serve(run, port, without_keys=True)
    (program, arguments, told), = executed
    assert program == sys.executable and arguments == command(ROOT, port)
    assert told["LIKENESS_RUN"] == str(run) and told["BENTOML_DO_NOT_TRACK"] == "true"
    assert Path(told["BENTOML_HOME"]).is_relative_to(run) and set(environment(run, port)) < set(told)
    said = capsys.readouterr().out
    assert f"serving demo.churn version 1, demo.conversion version 1 at http://127.0.0.1:{port}/v1" in said and "WITHOUT KEYS" in said
    assert told["LIKENESS_WITHOUT_KEYS"] == "1" and environment(run, port)["LIKENESS_WITHOUT_KEYS"] == "0"


def test_a_taken_port_is_refused_before_anything_is_loaded(run, port, executed):
    with socket.socket() as taken:
        taken.bind((HOST, port))
        taken.listen()
        with pytest.raises(UsageError, match=f"--port must be free, found {port} of {HOST} taken.*PORT={port + 1}"):
            serve(run, port, without_keys=True)
    assert executed == []


@pytest.mark.parametrize("workers", [0, 65])
def test_there_must_be_workers(run, port, executed, workers):
    with pytest.raises(UsageError, match="--workers must be between 1 and 64"):
        serve(run, port, workers, without_keys=True)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_must_be_one(run, executed, port):
    with pytest.raises(UsageError, match="between 1 and 65535"):
        serve(run, port, without_keys=True)


@pytest.mark.parametrize(("change", "error", "says"), [
    (lambda out: shutil.rmtree(out), UsageError, "must name a run folder"),
    (lambda out: (out / "mlflow.db").unlink(), UsageError, r"mlflow\.db, found none"),
    (lambda out: (out / "mlflow.db").write_bytes(b"no database at all" * 100), ContractError, "the registry of .* must answer"),
    (lambda out: (out / "features" / "base.parquet").unlink(), ContractError, r"base\.parquet, found none"),
    (lambda out: (out / "features" / "base.json").write_text("{}"), ContractError, r"base\.json must be readable"),
    (lambda out: (out / "features" / "base.json").write_text(
        (out / "features" / "base.json").read_text().replace('"demo"', '"elsewhere"')), ContractError, "alias champion, found none for elsewhere"),
])
def test_f7_what_cannot_be_served_is_refused_and_nothing_is_started(run, port, tmp_path, executed, change, error, says):
    own = tmp_path / "out"
    shutil.copytree(run, own, ignore=shutil.ignore_patterns("bentoml", "artifacts"))
    change(own)
    with pytest.raises(error, match=says):
        serve(own, port, without_keys=True)
    assert executed == []


def _get(port, path, said=None, headers=None):
    """(status, headers, body) of one request."""
    data = json.dumps(said).encode() if said is not None else None
    request = urllib.request.Request(f"http://{HOST}:{port}{path}", data, {"Content-Type": "application/json", **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


@pytest.fixture(scope="module")
def server(run, tmp_path_factory):
    """A server of the run, started as a person would: (process, port, log file)."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    log, home = tmp_path_factory.mktemp("served") / "log.txt", tmp_path_factory.mktemp("home")
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving", "serve", "--run", str(run), "--port", str(port), "--without-keys"], cwd=ROOT, stdout=out, stderr=out,
            env=os.environ | {"HOME": str(home)})
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if _get(port, "/readyz")[0] == 200:
                break
        except OSError:
            time.sleep(0.2)
    else:
        process.terminate()
        pytest.fail(f"no server in time: {log.read_text()[-2000:]}")
    yield process, port, log, home
    # Not SIGKILL: the workers would go on without their parent.
    process.terminate()
    process.wait(timeout=30)


@pytest.mark.slow
def test_a_served_run_answers_and_ends_when_told(server, base, client):
    process, port, log, home = server
    assert _get(port, "/livez")[0] == 200 and _get(port, "/readyz")[0] == 200
    asked = {"customers": [{"customer_id": customer} for customer in base.tasks["churn"].ids[:20]] + [{"customer_id": "a",
        "features": {"spend_sum_28d_usd": 41.5}}]}
    for path in ("/v1/score", "/v1/explain"):
        status, headers, raw = _get(port, path, asked, {"X-Request-ID": "mine"})
        assert status == 200 and headers["X-Request-ID"] == "mine"
        assert json.loads(raw)["results"] == client.post(path, json=asked).json()["results"]
    assert json.loads(_get(port, "/v1/openapi.json")[2])["info"]["title"] == "Likeness"
    for path, status in (("/v1/none", 404), (f"/v1/{CANARY}", 404), ("/v1/models/x", 404)):
        got, headers, raw = _get(port, path)
        assert got == status and headers["Content-Type"] == "application/problem+json" and CANARY.encode() not in raw
    got, headers, raw = _get(port, "/v1/score", {"customers": [{"customer_id": CANARY, CANARY: CANARY}]})
    assert got == 422 and headers["Content-Type"] == "application/problem+json" and CANARY.encode() not in raw
    assert _get(port, "/v1/score")[0] == 405

    metrics = _get(port, "/metrics")[2].decode()
    assert 'likeness_rows_total{task="churn",version="1"}' in metrics and 'route="/score",status="200"' in metrics
    written = log.read_text()
    lines = [json.loads(line) for line in written.splitlines() if line.startswith("{")]
    scored = next(line for line in lines if line["message"] == "POST /score 200")
    assert scored["request_id"] == "mine" and scored["rows"] == 21 and scored["versions"] == {"churn": "1", "conversion": "1"} and scored["ms"] > 0
    assert scored["level"] == "info" and scored["key"] == "none" and set(scored) == {
        "at", "level", "message", "method", "route", "status", "ms", "request_id", "key", "rows", "versions"}
    assert any(line["message"] == "GET unknown 404" for line in lines) and "Traceback" not in written
    assert CANARY not in metrics and CANARY not in written
    assert list(home.iterdir()) == []

    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=15) == 0
    with pytest.raises(OSError):
        _get(port, "/livez")


@pytest.fixture
def kept_log(monkeypatch):
    """The server's log, as it was again afterwards."""
    log = logging.getLogger(logs.NAME)
    for name in ("handlers", "propagate", "level"):
        monkeypatch.setattr(log, name, getattr(log, name))
    return log


@pytest.mark.parametrize(("switch", "told"), [("yes", ["GET /models 200", "broken"]), ("no", ["broken"])])
def test_requests_may_be_left_out_of_the_log(kept_log, monkeypatch, capsys, switch, told):
    monkeypatch.setenv(logs.SWITCH, switch)
    logs.configure()
    logs.request(kept_log, "GET", "/models", 200, 0.0012, {"request_id": "mine"})
    kept_log.error("broken")
    assert [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()] == told


@pytest.fixture
def service(monkeypatch, tmp_path, kept_log):
    """The service's module, with nothing loaded before or after."""
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "true")
    monkeypatch.setenv("LIKENESS_WATCH_SECONDS", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from serving import service
    monkeypatch.setattr(service._state, "base", None)
    return service


def test_a_worker_is_ready_once_it_has_loaded(service, run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(service, "_run", tmp_path / "nowhere")
    assert not service.LikenessService.inner().__is_ready__()
    line = json.loads(capsys.readouterr().err.splitlines()[0])
    assert line["level"] == "error" and line["message"].startswith("the models cannot be loaded: --run must name")
    monkeypatch.setattr(service, "_run", run)
    assert service.LikenessService.inner().__is_ready__()


@pytest.mark.slow
def test_f7_bentoml_itself_also_ends_at_once_without_models(tmp_path, port):
    began = time.monotonic()
    ended = subprocess.run(
        command(ROOT, port), cwd=ROOT, timeout=60, capture_output=True, text=True,
        env=os.environ | environment(tmp_path / "nowhere", port) | {"LIKENESS_IS_CHECKED": "", "BENTOML_HOME": str(tmp_path / "home")})
    assert ended.returncode == 2 and "error: --run must name a run folder" in ended.stderr and "Traceback" not in ended.stderr
    assert time.monotonic() - began < 30


@pytest.mark.slow
@pytest.mark.parametrize("is_taken", [True, False])
def test_f7_the_door_exits_with_2_and_one_line(run, port, is_taken, tmp_path):
    with socket.socket() as taken:
        taken.bind((HOST, port))
        if is_taken:
            taken.listen()
        ended = subprocess.run(
            [sys.executable, "-m", "serving", "serve", "--run", str(run if is_taken else tmp_path / "none"), "--port", str(port), "--without-keys"], cwd=ROOT,
            timeout=60,
            capture_output=True, text=True)
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and ended.stderr.startswith("error: --")
