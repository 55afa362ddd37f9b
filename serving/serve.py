"""Start the server: check everything here, then become BentoML."""

import os
import shutil
import socket
import sys
from pathlib import Path

from features.errors import UsageError
from serving.keys import read_keys

HOST, WORKERS = "127.0.0.1", 2
_LOOPBACK = ("127.0.0.1", "localhost")
_GRACE_SECONDS = 20


def serve(run: Path, port: int, workers: int = WORKERS, host: str = HOST, without_keys: bool = False) -> None:
    """Serve the champions of a run; does not return.

    Raises: UsageError, ContractError before anything is started, since BentoML would start failing workers again for ever.
    """
    _require_guarded(run, host, without_keys)
    _require_free(host, port)
    if not 1 <= workers <= 64:
        raise UsageError(f"--workers must be between 1 and 64, found {workers}; one for each processor is usual")
    from serving.scoring import open_base

    base = open_base(run)
    told = ", ".join(f"{base.info.data}.{task} version {version}" for task, version in base.versions().items())
    print(f"serving {told} at http://{host}:{port}/v1 (GET /v1/openapi.json tells how; Ctrl+C ends it)", flush=True)
    if without_keys:
        print("WITHOUT KEYS: whoever can reach this machine's loopback may ask everything; for development only (make serve KEYS=yes asks for keys)", flush=True)
    root = Path(__file__).resolve().parents[1]
    variables = environment(run, port, workers, without_keys)
    # Counts start anew with the server; its workers add up theirs here.
    counted = Path(variables["PROMETHEUS_MULTIPROC_DIR"])
    shutil.rmtree(counted, ignore_errors=True)
    counted.mkdir(parents=True)
    os.execve(sys.executable, command(root, port, host), os.environ | variables)


def command(root: Path, port: int, host: str = HOST) -> list[str]:
    """The command that serves."""
    return [
        sys.executable, "-m", "bentoml", "serve", "serving.service:LikenessService", "--working-dir", str(root), "--host", host, "--port", str(port),
        "--timeout-graceful-shutdown", str(_GRACE_SECONDS)]


def environment(run: Path, port: int, workers: int = WORKERS, without_keys: bool = False) -> dict[str, str]:
    """What the server is told by its environment: the run; nothing is reported anywhere, nothing is written outside the run."""
    home = run.resolve() / "bentoml" / str(port)
    return {
        "LIKENESS_RUN": str(run.resolve()), "LIKENESS_WORKERS": str(workers), "PROMETHEUS_MULTIPROC_DIR": str(home / "metrics"),
        "LIKENESS_IS_CHECKED": "1", "LIKENESS_WITHOUT_KEYS": "1" if without_keys else "0", "BENTOML_DO_NOT_TRACK": "true", "BENTOML_HOME": str(home),
        "MLFLOW_DISABLE_TELEMETRY": "true"}


def _require_guarded(run: Path, host: str, without_keys: bool) -> None:
    if "LIKENESS_API_KEY_SHA256" in os.environ:
        raise UsageError("keys stand in the run folder now, found LIKENESS_API_KEY_SHA256; take it away and make one: python -m serving keys add NAME --scope score")
    if without_keys and host not in _LOOPBACK:
        raise UsageError(f"--without-keys must stay on the loopback, found --host {host}; make keys (python -m serving keys add NAME --scope score), or leave --host out")
    if not without_keys and run.is_dir() and not any(key.revoked_at is None for key in read_keys(run)):
        raise UsageError(
            f"a server needs keys, found none that opens in {run}; make one: python -m serving keys add NAME --scope score --run {run}; "
            "or say that this is for development on this machine only: --without-keys")


def _require_free(host: str, port: int) -> None:
    if not 1 <= port <= 65535:
        raise UsageError(f"--port must be between 1 and 65535, found {port}; 3000 is usual")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UsageError(f"--port must be free, found {port} of {host} taken ({error.strerror}); choose another: make serve PORT={port + 1}") from None
