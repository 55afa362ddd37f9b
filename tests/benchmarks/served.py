"""What the benchmarks of the server share: a run folder that serves a made-up booster, servers on it, and requests."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
N_FEATURES, N_TREES, N_CUSTOMERS = 60, 300, 2000


def make_run(folder: Path) -> list[str]:
    """A run folder that serves one booster of 60 features and 300 trees, and what the peers need; give the names of the features."""
    import pandas as pd

    from training.members import BoosterMember, lightgbm
    from training.saved_model import Column, SavedModel

    rng = np.random.default_rng(1)
    names = [f"spend_sum_{i + 1}d_usd" for i in range(N_FEATURES)]
    x = np.round(rng.gamma(1.5, 40, (20_000, N_FEATURES)), 2)
    y = rng.random(len(x)) < 1 / (1 + np.exp(-(x[:, 0] - x[:, 1] + x[:, 2] * (x[:, 3] > 40)) / 40))
    library = lightgbm()
    settings = {"objective": "binary", "num_leaves": 15, "min_data_in_leaf": 40, "learning_rate": 0.05, "num_threads": 1, "seed": 1, "verbose": -1}
    text = library.train(settings, library.Dataset(x, y.astype(int)), N_TREES).model_to_string()
    task = {"name": "churn", "kind": "churn", "target_kind": "purchase", "windows": {"horizon_days": 28},
            "eligibility": {"active_days": 56, "active_kind": "purchase", "received_kind": None}}
    columns = tuple(Column(name, "consumption", "USD", name, name) for name in names)
    reference = {"rows": len(x), "averages": {name: {"all": float(x[:, i].mean())} for i, name in enumerate(names)},
                 "quantiles": {name: [float(q) for q in np.quantile(x[:, i], np.linspace(0.05, 0.95, 11))] for i, name in enumerate(names)}}
    model = SavedModel("bench.churn", task, columns, (BoosterMember(text),), (1.0,), 1.0, 0.0, (0.3, 0.6), reference)
    (folder / "features").mkdir(parents=True)
    frame = pd.DataFrame(x[:N_CUSTOMERS], columns=names).assign(customer_id=[str(i) for i in range(N_CUSTOMERS)], eligible_churn=True)
    frame.to_parquet(folder / "features" / "base.parquet", index=False)
    said = {"data": "bench", "fingerprint": "f0", "as_of": "2026-01-01T00:00:00Z", "currency": "USD", "tasks": ["churn"]}
    (folder / "features" / "base.json").write_text(json.dumps(said), encoding="utf-8")
    form = {"zone": "UTC", "currency": "USD", "lookbacks_days": list(range(1, N_FEATURES + 1)), "tasks": [], "features": names, "marketer_kinds": [], "campaign_ends": {},
            "goods": {}, "words": {"kinds": [], "kinds_with_category": [], "channels": [], "categories": []}}
    (folder / "features" / "one_customer.json").write_text(json.dumps(form), encoding="utf-8")
    model.save(folder / "saved")
    (folder / "booster.txt").write_text(text, encoding="utf-8")
    (folder / "names.json").write_text(json.dumps(names), encoding="utf-8")
    register(folder, "bench.churn")
    return names


def register(run: Path, name: str, saved: Path | None = None) -> str:
    """Log and register a saved model (run/saved) as training does, as champion; give its version."""
    with registry(run) as (mlflow, client):
        known = client.get_experiment_by_name("bench")
        experiment = known.experiment_id if known else client.create_experiment("bench", (run / "artifacts").as_uri())
        with mlflow.start_run(experiment_id=experiment):
            logged = mlflow.pyfunc.log_model(name="model", loader_module="training.saved_model", data_path=str(saved or run / "saved"), pip_requirements=["numpy"])
        version = str(mlflow.register_model(logged.model_uri, name).version)
        client.set_registered_model_alias(name, "champion", version)
        return version


@contextmanager
def registry(run: Path) -> Iterator[tuple[Any, Any]]:
    """MLflow and a client at the registry of a run. MLflow writes the address to the environment too: it is taken back."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.pyfunc

        uri = f"sqlite:///{run / 'mlflow.db'}"
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        try:
            yield mlflow, mlflow.MlflowClient(uri, uri)
        finally:
            os.environ.pop("MLFLOW_TRACKING_URI", None)


@dataclass(frozen=True)
class Server:
    """A server that runs: where, as which process, and what it writes."""

    port: int
    process: "subprocess.Popen[bytes]"
    log: Path


@contextmanager
def server(words: list[str], ready: str, run: Path, variables: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server on a free port (PORT among the words) while it is needed, ended with all that it started."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    env = os.environ | {"LIKENESS_PEER": str(run), "BENTOML_HOME": str(run / "bentoml"), "BENTOML_DO_NOT_TRACK": "true", "OMP_NUM_THREADS": "1"} | dict(variables or {})
    log = run / f"server-{port}.txt"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *(word.replace("PORT", str(port)) for word in words)], cwd=ROOT, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{ready}", timeout=5):
                    break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise RuntimeError(log.read_text(encoding="utf-8")[-3000:]) from None
                time.sleep(0.2)
        yield Server(port, process, log)
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def bodies(names: list[str], n: int, more: dict[str, Any] | None = None) -> list[str]:
    """Ten different requests of `n` customers by all features."""
    rng = np.random.default_rng(2)
    asked = [[{"customer_id": f"c{i}", "features": dict(zip(names, np.round(rng.gamma(1.5, 40, len(names)), 2).tolist(), strict=True))} for i in range(n)] for _ in range(10)]
    return [json.dumps({"customers": customers, **(more or {})}) for customers in asked]


def histories(n: int) -> list[str]:
    """Ten different requests of one customer by `n` raw events."""
    rng = np.random.default_rng(3)
    return [json.dumps({"customers": [{"customer_id": "c", "events": [{
        "event_id": f"e{i}", "event_at": f"2025-12-{day:02d}T{hour:02d}:00:00Z", "kind": "purchase", "session_id": f"s{i // 3}", "channel": "web", "amount": amount}
        for i, (day, hour, amount) in enumerate(zip(rng.integers(1, 31, n).tolist(), rng.integers(0, 24, n).tolist(), rng.gamma(1.5, 40, n).round(2).tolist(), strict=True))]}]})
        for _ in range(10)]
