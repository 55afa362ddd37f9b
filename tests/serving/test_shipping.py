"""What is shipped: a bento that serves elsewhere, and our own image's recipe."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_image_installs_from_the_hashed_lock_and_its_user_owns_nothing():
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    said = [line for line in lines if not line.startswith("#")]
    assert any("--require-hashes" in line and "-r requirements.lock" in line for line in said)
    users = [line for line in said if line.startswith("USER")]
    assert users == ["USER 10001"] and said.index(users[0]) < said.index('ENTRYPOINT ["python", "-m", "serving", "serve"]')
    copied = {line.split()[1] for line in said if line.startswith("COPY")}
    assert copied == {"requirements.lock", "features", "training", "serving"}
    allowed = set(re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.M))
    assert allowed == copied and not any(word in line for line in said for word in ("--without-keys", "://") if "127.0.0.1" not in line)


@pytest.mark.slow
def test_a_bento_serves_the_same_from_elsewhere_and_asks_for_keys(run, client, base, tmp_path):
    from serving.keys import add, revoke

    env = os.environ | {"BENTOML_HOME": str(tmp_path / "bentos"), "BENTOML_DO_NOT_TRACK": "true", "LIKENESS_RUN": str(run), "LIKENESS_WORKERS": "1"}
    built = subprocess.run([sys.executable, "-m", "bentoml", "build", "--version", "1"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stderr[-2000:]
    source = tmp_path / "bentos" / "bentos" / "likeness" / "1" / "src"
    assert {path.name for path in source.iterdir()} >= {"features", "training", "serving"} and not list(source.rglob("*.db")) and not list(source.rglob("tests"))
    # So that it is the bento's code that answers, not this folder's.
    api = source / "serving" / "api.py"
    api.write_text(re.sub(r'^API_VERSION = .*$', 'API_VERSION = "of the bento"', api.read_text(encoding="utf-8"), flags=re.M), encoding="utf-8")
    key, secret = add(run, "bento", ["score"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path / "log.txt"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "bentoml", "serve", "likeness:1", "--port", str(port)], cwd=tmp_path, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        def ask(method, path, said=None, secret=secret):
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
                connection.request(method, path, json.dumps(said) if said else None, {"Content-Type": "application/json", "Authorization": f"Bearer {secret}"})
                answer = connection.getresponse()
                return answer.status, answer.read()

        deadline, is_ready = time.monotonic() + 90, False
        while not is_ready and time.monotonic() < deadline:
            with suppress(OSError):
                is_ready = ask("GET", "/readyz")[0] == 200
            time.sleep(0.2)
        assert is_ready, log.read_text()[-2000:]
        assert ask("GET", "/v1/models", secret="")[0] == 401
        assert json.loads(ask("GET", "/v1/openapi.json")[1])["info"]["version"] == "of the bento"
        asked = {"customers": [{"customer_id": customer} for customer in base.tasks["churn"].ids[:5]]}
        assert json.loads(ask("POST", "/v1/score", asked)[1])["results"] == client.post("/v1/score", json=asked).json()["results"]
    finally:
        revoke(run, key.id)
        process.terminate()
        try:
            process.wait(timeout=30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
