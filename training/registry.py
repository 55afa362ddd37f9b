"""MLflow: what was run is tracked, what may be served is registered, and two names point at it: champion and challenger."""

import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.errors import ContractError, UsageError
from features.files import write_json
from training.saved_model import SavedModel, load
from training.train import Trained

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CHALLENGER = "champion", "challenger"
_FIGURES = ("auc", "average_precision", "log_loss", "brier", "ece", "calibration_slope", "lift_at_5", "lift_at_10", "lift_at_20", "base_rate")


class Registry:
    """The tracking store and registry of one run folder: SQLite there, or the server that MLFLOW_TRACKING_URI names."""

    def __init__(self, run: Path) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
        import mlflow

        self.run = run.resolve()
        self.run.mkdir(parents=True, exist_ok=True)
        given = os.environ.get("MLFLOW_TRACKING_URI")
        self.uri = given or f"sqlite:///{self.run / 'mlflow.db'}"
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
        if not given:
            # MLflow writes the variable itself; left there, it would send the next run folder of this process to this one's store.
            os.environ.pop("MLFLOW_TRACKING_URI", None)
        self.client: MlflowClient = mlflow.MlflowClient(self.uri, self.uri)

    def register(self, trained: Trained, data: str) -> str:
        """Track one trained task and register its model as challenger; give the version."""
        import mlflow

        name, record, model = trained.model.name, trained.record, trained.model
        experiment = self.client.get_experiment_by_name(data)
        experiment_id = experiment.experiment_id if experiment else self.client.create_experiment(data, (self.run / "artifacts").as_uri())
        with mlflow.start_run(experiment_id=experiment_id, run_name=name) as run, tempfile.TemporaryDirectory() as scratch, _quiet():
            mlflow.log_params({"winner": record["winner"], "n_features": len(model.columns), **_flat(model.card["recipe"]["params"])})
            mlflow.set_tags({
                "task": name, "fingerprint": model.card["fingerprint"], "windows": json.dumps(model.task["windows"]), "packages": json.dumps(model.card["packages"]),
                "schema_hash": model.schema_hash(), "grade": record["grade"], "test_as_of": json.dumps(record["test_as_of"])})
            mlflow.log_metrics({figure: record[figure] for figure in _FIGURES})
            mlflow.log_metrics({"rule_auc": record["rule"]["auc"], "logistic_auc": record["logistic"]["auc"], "gain_over_rule": record["gain_over_rule"]["auc"]})
            # Curves as stepped metrics, so that runs can be laid over each other.
            for point in record["gains"]:
                mlflow.log_metric("gains_percent_of_hits", 100 * point["hits"], step=round(100 * point["reached"]))
            for i, point in enumerate(record["calibration"]):
                mlflow.log_metrics({"calibration_predicted": point["predicted"], "calibration_observed": point["observed"]}, step=i + 1)
            for kind, history in trained.history.items():
                for i, one in enumerate(history):
                    mlflow.log_metric(f"trial_loss_{kind}", one["loss"], step=i)
            write_json(Path(scratch) / "trials.json", trained.history)
            write_json(Path(scratch) / "card.json", model.card)
            mlflow.log_artifact(str(Path(scratch) / "trials.json"))
            mlflow.log_artifact(str(Path(scratch) / "card.json"))
            folder = Path(scratch) / "likeness"
            model.save(folder)
            # MLflow would like an example row; a real one would be a customer's, and golden.json holds made-up ones.
            logged = mlflow.pyfunc.log_model(
                name="model", loader_module="training.saved_model", data_path=str(folder), signature=_signature(model),
                pip_requirements=[f"{package}=={model.card['packages'][package]}" for package in ("lightgbm", "numpy", "pandas")])
            version = mlflow.register_model(logged.model_uri, name, tags={"run_id": run.info.run_id, "grade": record["grade"]}).version
        self.client.set_registered_model_alias(name, CHALLENGER, version)
        return str(version)

    def version_of(self, name: str, alias: str) -> str | None:
        """The version that an alias of a model points at, or None."""
        from mlflow.exceptions import MlflowException

        try:
            return str(self.client.get_model_version_by_alias(name, alias).version)
        except MlflowException:
            return None

    def versions(self, name: str) -> list["ModelVersion"]:
        """All versions of a model, oldest first."""
        found = self.client.search_model_versions(f"name = '{name}'") if name.replace(".", "").replace("-", "").replace("_", "").isalnum() else []
        return sorted(found, key=lambda version: int(version.version))

    def model(self, name: str, version: str) -> SavedModel:
        """Load a version's saved model, verified; nothing of MLflow's own loading is used, since that may run code.

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
        return load(manifests[0].parent)

    def promote(self, name: str, version: str) -> None:
        """Point the champion alias at a version; the alias moves in one step."""
        self.client.set_registered_model_alias(name, CHAMPION, version)
        self.client.set_model_version_tag(name, version, "gate", "passed")

    def require(self, name: str, alias: str) -> str:
        """The version behind an alias. Raises: UsageError where there is none."""
        version = self.version_of(name, alias)
        if version is None:
            raise UsageError(f"{name} needs a version called {alias} in {self.run.name}, found none; train it first: python -m training train {name.split('.')[-1]}")
        return version


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


def _signature(model: SavedModel) -> Any:
    """Inputs by name and type, a probability out; no example rows, which would be customers'."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    inputs = [ColSpec(DataType.string if c.is_category else DataType.double, c.name, required=True) for c in model.columns]
    return ModelSignature(Schema(inputs), Schema([ColSpec(DataType.double, "probability")]))
