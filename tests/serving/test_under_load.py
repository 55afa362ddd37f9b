"""A server under load from two clients through promotions, a bad candidate, a killed worker, slow clients and its own end (F10, F13, F14, F17)."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from serving.serve import HOST
from training.saved_model import SavedModel

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture
def own(run, tmp_path, models, register):
    """A run folder with two versions of churn; version 1 is champion. Give it and what each version says of a row of nothing but spend."""
    own = shutil.copytree(run, tmp_path / "out", ignore=shutil.ignore_patterns("artifacts", "bentoml"))
    second = SavedModel(**{**models["churn"].__dict__, "slope": 0.5})
    assert register(own, second, tmp_path / "scratch") == "2"
    spends = np.arange(1.0, 200.0)
    rows = np.full((len(spends), 6), np.nan)
    rows[:, 2] = spends
    return own, {version: dict(zip(spends.tolist(), model.probabilities(rows).round(6).tolist(), strict=True)) for version, model in (("1", models["churn"]), ("2", second))}


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


@pytest.fixture
def server(own, port, tmp_path):
    log = tmp_path / "log.txt"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving", "serve", "--run", str(own[0]), "--port", str(port), "--without-keys"], cwd=ROOT, stdout=out, stderr=out,
            env=os.environ | {"LIKENESS_WATCH_SECONDS": "0.5"}, start_new_session=True)
    try:
        until(lambda: ready(port), 90)
        yield process
        written = log.read_text()
        assert "Traceback" not in written, written[-3000:]
    finally:
        process.terminate()
        try:
            process.wait(timeout=40)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come in time"
        time.sleep(0.1)


def ready(port):
    with suppress(OSError), closing(http.client.HTTPConnection(HOST, port, timeout=5)) as connection:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        return response.read() is not None and response.status == 200
    return False


def workers(process):
    """The living ones."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.Error):
            if any("worker" in word and "service" in word for word in child.cmdline()):
                found.append(child)
    return found


class Client(threading.Thread):
    """Asks one customer after the other on one connection; keeps (time, status or None, spend, version, probability)."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.history, self.stopped = port, [], threading.Event()

    def run(self):
        connection, i = http.client.HTTPConnection(HOST, self.port, timeout=20), 0
        while not self.stopped.is_set():
            i = i % 199 + 1
            body = json.dumps({"tasks": ["churn"], "customers": [{"customer_id": "a", "features": {"spend_sum_28d_usd": i}}]})
            try:
                connection.request("POST", "/v1/score", body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                result = json.loads(response.read())["results"][0]
                self.history.append((time.monotonic(), response.status, float(i), result["version"], result["probability"]))
            except (OSError, http.client.HTTPException):
                self.history.append((time.monotonic(), None, float(i), None, None))
                connection.close()
            time.sleep(0.002)
        connection.close()


def test_f10_f13_f14_f17_no_request_is_lost_but_those_of_a_killed_worker_and_each_answer_is_of_the_version_it_names(own, server, port, registry, tmp_path):
    run, oracle = own
    assert len(workers(server)) == 2
    clients = [Client(port) for _ in range(2)]
    for client in clients:
        client.start()
    try:
        with registry(run) as (_, mlflow):
            # F10: five promotions; all workers follow each within seconds.
            for version in ("2", "1", "2", "1", "2"):
                mlflow.set_registered_model_alias("demo.churn", "champion", version)
                begun = time.monotonic()
                until(lambda begun=begun, version=version: all(
                    (seen := [entry[3] for entry in client.history if entry[0] > begun][-20:]) and set(seen) == {version} and len(seen) == 20 for client in clients), 40)
            # A bad candidate: nothing behind it.
            mlflow.create_model_version("demo.churn", (tmp_path / "nowhere").as_uri())
            mlflow.set_registered_model_alias("demo.churn", "champion", "3")
            begun = time.monotonic()
            until(lambda: b'likeness_swaps_total{outcome="refused",task="churn"}' in said(port, "/metrics"), 30)
        calm = [entry for client in clients for entry in client.history]
        assert all(status == 200 for _, status, *_ in calm)
        assert {version for *_, version, _ in calm} == {"1", "2"} and {entry[3] for entry in calm if entry[0] > begun} == {"2"}
        # F17: fifty clients that never finish; the others are served.
        cut: list[bytes] = []
        slow = [socket.create_connection((HOST, port)) for _ in range(50)]
        for one in slow:
            one.sendall(b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
        begun = time.monotonic()
        until(lambda: all(sum(entry[0] > begun for entry in client.history) > 50 for client in clients), 20)
        # F13: a worker is killed.
        workers(server)[0].kill()
        killed = time.monotonic()
        until(lambda: len(workers(server)) == 2 and time.monotonic() > killed + 1, 30)
        for one in slow:
            one.settimeout(20)
            with one, suppress(ConnectionResetError):
                cut.append(one.recv(100))
        assert all(raw == b"" or raw.startswith(b"HTTP/1.1 408") for raw in cut), "cut by the limit, or with the killed worker"
    finally:
        for client in clients:
            client.stopped.set()
        for client in clients:
            client.join(30)
    history = [entry for client in clients for entry in client.history]
    lost = [entry for entry in history if entry[1] != 200]
    # Each client has one request in flight at a time, and asks again on a connection that the other worker took.
    assert len(lost) <= 2 and all(killed - 1 <= entry[0] <= killed + 10 for entry in lost), lost
    assert all(probability == oracle[version][spend] for _, status, spend, version, probability in history if status == 200)
    # F14: told to end, the server answers what it has, and takes nothing new.
    answered = []
    asked = json.dumps({"customers": [{"customer_id": "a", "features": {"spend_sum_28d_usd": i % 199}} for i in range(3_000)], "top": 100})
    last = threading.Thread(target=lambda: answered.append(said(port, "/v1/explain", asked)))
    last.start()
    time.sleep(0.5)
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=30) == 0
    last.join(10)
    assert len(json.loads(answered[0]).get("results", ())) == 6_000, answered[0][:500]
    assert not ready(port)


def said(port, path, body=None):
    with closing(http.client.HTTPConnection(HOST, port, timeout=30)) as connection:
        connection.request("POST" if body else "GET", path, body, {"Content-Type": "application/json"})
        return connection.getresponse().read()
