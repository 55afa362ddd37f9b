"""MLflow: what was run is tracked, what may be served is registered, and two names point at it: champion and challenger."""

import json
import logging
import os
import sqlite3
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stderr
from functools import wraps
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from features.errors import ContractError, GateFailed, UsageError
from features.files import write_json, written_whole
from training import changes
from training.lookalike import TrainedSpace
from training.saved_model import SavedModel, load
from training.space import SPACE_FILE, Space, load_space
from training.train import Trained

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CHALLENGER = "champion", "challenger"
_RECORD = "record.json"
_FIGURES = ("auc", "average_precision", "log_loss", "brier", "ece", "calibration_slope", "lift_at_5", "lift_at_10", "lift_at_20", "base_rate")


# How long another process may hold the store of a run folder before it is said.
WAIT_SECONDS = 5.0
# How MLflow tells that its store does not answer, in words: it has one kind of error for all of it.
_LOCKED, _FULL, _GONE = ("database is locked",), ("database or disk is full", "No space left", "File too large", "disk I/O"), (
    "failed with exception", "unable to open database", "no such table", "not a database", "disk image is malformed", "readonly database", "connection refused")
_NOT_FOUND = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
Given = ParamSpec("Given")
Got = TypeVar("Got")


def answered(ask: "Callable[Concatenate[Registry, Given], Got]") -> "Callable[Concatenate[Registry, Given], Got]":
    """A question to the registry that is refused with a code where its store is locked, full or gone; what does not answer must not pass for one without models."""
    @wraps(ask)
    def asked(self: "Registry", /, *args: Given.args, **kwargs: Given.kwargs) -> Got:
        from mlflow.exceptions import MlflowException

        self.require_store()
        try:
            return ask(self, *args, **kwargs)
        except MlflowException as error:
            said = str(error).casefold()
            for code, words in (("REGISTRY_LOCKED", _LOCKED), ("REGISTRY_FULL", _FULL), ("REGISTRY_GONE", _GONE)):
                if any(word.casefold() in said for word in words):
                    raise self.refused(code) from None
            raise

    return asked


class Registry:
    """The tracking store and registry of one run folder: SQLite there, or the server that MLFLOW_TRACKING_URI names."""

    def __init__(self, run: Path) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        # A server that is away is said within half a minute, not after minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        import mlflow

        # It would print the trace of an error that is told below in a line.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)

        self.run = run.resolve()
        self.run.mkdir(parents=True, exist_ok=True)
        given = os.environ.get("MLFLOW_TRACKING_URI")
        self.uri = given or f"sqlite:///{self.run / 'mlflow.db'}"
        self.store = None if given else self.run / "mlflow.db"
        if self.store:
            if not self.store.exists() and (self.run / changes.FILE).exists():
                raise self.refused("REGISTRY_GONE")
            _make_store(self.store)
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
        if not given:
            # MLflow writes the variable itself; left there, it would send the next run folder of this process to this one's store.
            os.environ.pop("MLFLOW_TRACKING_URI", None)
        self.client: MlflowClient = mlflow.MlflowClient(self.uri, self.uri)

    def require_store(self) -> None:
        """Raises: ContractError where the store of a run folder is not there, or another process holds it for long. A server is asked by the question itself."""
        if self.store is None:
            return
        if not self.store.exists():
            raise self.refused("REGISTRY_GONE")
        try:
            with closing(sqlite3.connect(self.store, timeout=WAIT_SECONDS, isolation_level=None)) as store:
                store.execute("BEGIN IMMEDIATE")
                store.execute("ROLLBACK")
        except sqlite3.DatabaseError as error:
            raise self.refused("REGISTRY_LOCKED" if "locked" in str(error) else "REGISTRY_GONE") from None

    def refused(self, code: str) -> ContractError:
        """The refusal, for the store by name or the server without what its address may hold of names and passwords."""
        place = self.store or self.uri.partition("://")[0] + "://" + self.uri.partition("://")[2].rpartition("@")[2]
        if code == "REGISTRY_LOCKED":
            told = "must answer, found it locked by another process; wait for it or end it, then do this again"
        elif code == "REGISTRY_FULL":
            told = "must have room to write, found none; make room, then do this again"
        else:
            told = "must be there and answer, found that it does not; start its server, or put the file back from a copy (to begin anew, take another run folder)"
        return ContractError(f"{code}: the registry {place} {told}: nothing was registered or promoted")

    @answered
    def register(self, trained: Trained | TrainedSpace, data: str, key: str = "") -> str:
        """Track one trained task and register its model as challenger; give the version.

        `key` names all that the model depends on: `kept` finds the version by it. The version appears in the registry in one step with its
        key, so a process that dies here leaves a whole version or none.
        """
        import mlflow

        name, record, model = trained.model.name, trained.record, trained.model
        experiment = self.client.get_experiment_by_name(data)
        experiment_id = experiment.experiment_id if experiment else self.client.create_experiment(data, (self.run / "artifacts").as_uri())
        self._set_aside_unfinished(experiment_id)
        with mlflow.start_run(experiment_id=experiment_id, run_name=name) as run, tempfile.TemporaryDirectory() as scratch, _quiet():
            mlflow.log_params({"winner": record["winner"], "n_features": len(model.columns), **_flat(record["params"])})
            mlflow.set_tags({
                "task": name, "fingerprint": model.card["fingerprint"], "windows": json.dumps(model.task["windows"]), "packages": json.dumps(model.card["packages"]),
                "schema_hash": model.schema_hash(), "grade": record["grade"], "test_as_of": json.dumps(record["test_as_of"])})
            _log_figures(trained)
            for file, said in (("trials.json", trained.history), ("card.json", model.card), (_RECORD, record)):
                write_json(Path(scratch) / file, said)
                mlflow.log_artifact(str(Path(scratch) / file))
            folder = Path(scratch) / "likeness"
            model.save(folder)
            # MLflow would like an example row; a real one would be a customer's, and golden.json holds made-up ones.
            logged = mlflow.pyfunc.log_model(
                name="model", loader_module=type(model).__module__, data_path=str(folder), signature=_signature(model),
                pip_requirements=[f"{package}=={model.card['packages'][package]}" for package in ("lightgbm", "numpy", "pandas")])
            version = mlflow.register_model(logged.model_uri, name, tags={"run_id": run.info.run_id, "grade": record["grade"], "key": key}).version
        self.client.set_registered_model_alias(name, CHALLENGER, version)
        return str(version)

    @answered
    def kept(self, name: str, key: str) -> tuple[str, dict[str, Any]] | None:
        """The version that was registered for this key, challenger again, with its record; None where there is none that is whole."""
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        for version in reversed(self.versions(name)):
            if version.tags.get("key") == key:
                try:
                    self.model(name, str(version.version))
                    record = json.loads(Path(download_artifacts(run_id=version.run_id, artifact_path=_RECORD, tracking_uri=self.uri)).read_text(encoding="utf-8"))
                except (ContractError, MlflowException, OSError, ValueError):
                    continue
                self.client.set_registered_model_alias(name, CHALLENGER, str(version.version))
                return str(version.version), record
        return None

    def _set_aside_unfinished(self, experiment_id: str) -> None:
        """End what a process that died has left: a run with a version is done, one without goes."""
        for run in self.client.search_runs([experiment_id]):
            if run.info.status == "RUNNING":
                has_version = bool(self.client.search_model_versions(f"run_id = '{run.info.run_id}'"))
                self.client.set_terminated(run.info.run_id, "FINISHED" if has_version else "KILLED")
                if not has_version:
                    self.client.delete_run(run.info.run_id)

    @answered
    def version_of(self, name: str, alias: str) -> str | None:
        """The version that an alias of a model points at, or None."""
        from mlflow.exceptions import MlflowException

        try:
            return str(self.client.get_model_version_by_alias(name, alias).version)
        except MlflowException as error:
            # Not every refusal says that there is none: a store that is locked or gone says nothing.
            if error.error_code not in _NOT_FOUND:
                raise
            return None

    @answered
    def versions(self, name: str) -> list["ModelVersion"]:
        """All versions of a model, oldest first."""
        found = self.client.search_model_versions(f"name = '{name}'") if name.replace(".", "").replace("-", "").replace("_", "").isalnum() else []
        return sorted(found, key=lambda version: int(version.version))

    @answered
    def model(self, name: str, version: str) -> SavedModel | Space:
        """Load a version's saved model or space, verified; nothing of MLflow's own loading is used, since that may run code.

        Raises: ContractError where the version has no artefact, or one that is not as it was written.
        """
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        try:
            source = self.client.get_model_version_download_uri(name, version)
            folder = Path(download_artifacts(artifact_uri=source, tracking_uri=self.uri))
        except (MlflowException, OSError) as error:
            raise ContractError(f"{name} version {version} needs its artefact, found none ({type(error).__name__}); train and register again") from None
        manifests = list(folder.glob("data/**/manifest.json"))
        if len(manifests) != 1:
            raise ContractError(f"{name} version {version} needs one saved model in its artefact, found {len(manifests)}; train and register again")
        folder = manifests[0].parent
        return load_space(folder) if (folder / SPACE_FILE).exists() else load(folder)

    @answered
    def promote(self, name: str, version: str, standing: str | None) -> None:
        """Point the champion alias at a version if it still points at `standing`, which the version was judged against; the alias moves in one step.

        Raises: GateFailed where another champion came meanwhile. MLflow has no condition of its own on an alias: in a run folder the lock closes the
        moment between look and move, at a server it stays open.
        """
        found = self.version_of(name, CHAMPION)
        if found != standing:
            raise GateFailed(f"{name} must have the champion that version {version} was judged against ({standing}), found {found}; judge again")
        self.client.set_registered_model_alias(name, CHAMPION, version)
        self.client.set_model_version_tag(name, version, "gate", "passed")

    def require(self, name: str, alias: str) -> str:
        """The version behind an alias. Raises: UsageError where there is none."""
        version = self.version_of(name, alias)
        if version is None:
            raise UsageError(f"{name} needs a version called {alias} in {self.run.name}, found none; train it first: python -m training train {name.split('.')[-1]}")
        return version


def _make_store(path: Path) -> None:
    """Make the database aside and rename it: one that is half made could never be opened again."""
    if path.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with written_whole(path) as aside:
        store = SqlAlchemyStore(f"sqlite:///{aside}", (path.parent / "artifacts").as_uri())
        store.engine.dispose()


def _log_figures(trained: "Trained | TrainedSpace") -> None:
    """Metrics that compare versions, and curves as stepped metrics, so that runs can be laid over each other."""
    import mlflow

    record = trained.record
    mlflow.log_metrics({figure: record[figure] for figure in _FIGURES if record.get(figure) is not None})
    mlflow.log_metrics({f"gain_over_rule_{figure}": value for figure, value in record["gain_over_rule"].items() if figure != "interval"})
    for peer in ("rule", "logistic"):
        mlflow.log_metrics({f"{peer}_{figure}": record[peer][figure] for figure in _FIGURES if figure in record.get(peer, {})})
    for point in record.get("gains", ()):
        mlflow.log_metric("gains_percent_of_hits", 100 * point["hits"], step=round(100 * point["reached"]))
    for point in record.get("curve", ()):
        mlflow.log_metric("recall_percent_of_seeds", 100 * point["recall"], step=round(100 * point["reach"]))
    for i, point in enumerate(record.get("calibration", ())):
        mlflow.log_metrics({"calibration_predicted": point["predicted"], "calibration_observed": point["observed"]}, step=i + 1)
    for kind, history in trained.history.items():
        for i, one in enumerate(history):
            mlflow.log_metric(f"trial_loss_{kind}", one["loss"], step=i)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without MLflow's own chatter, which would tear the progress apart; what it raises still comes through."""
    with warnings.catch_warnings(), redirect_stderr(StringIO()):
        warnings.filterwarnings("ignore", message=".*input example.*")
        yield


def _flat(params: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in params.items():
        flat |= _flat(value, f"{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _signature(model: SavedModel | Space) -> Any:
    """Inputs by name and type, a probability out; no example rows, which would be customers'."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    inputs = [ColSpec(DataType.string if c.is_category else DataType.double, c.name, required=True) for c in model.columns]
    return ModelSignature(Schema(inputs), Schema([ColSpec(DataType.double, "probability")]))
