"""Champions: the registered models that a run folder serves, found in the registry and loaded verified."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.errors import ContractError, UsageError
from features.tasks import Task

if TYPE_CHECKING:
    from training.saved_model import SavedModel
    from training.space import Space

ALIAS = "champion"
# What can run when it is loaded. A saved model is text and JSON, so none of it has any business there.
_RUNS = {"code", "python_model"}
_RUNS_BY_ENDING = {".pkl", ".pickle", ".cloudpickle", ".joblib", ".skops", ".py", ".pyc", ".so"}


@dataclass(frozen=True)
class Champion:
    """A verified model (or space) and the version that the registry knows it by."""

    model: "SavedModel | Space"
    version: str


def champions(run: Path, data: str, tasks: Iterable[str]) -> dict[str, Champion]:
    """Load the champion of each task that has one, in the order of `tasks`.

    Raises: UsageError where there is no run; ContractError where no task has a champion, or one's artefact is not as it was written.
    """
    tasks = list(tasks)
    client, uri = _registry(run)
    found = {task: champion for task in tasks if (champion := _champion(client, uri, run, f"{data}.{task}")) is not None}
    if not found:
        raise ContractError(
            f"serving needs a registered model with the alias {ALIAS}, found none for {data} ({', '.join(tasks)}) in {run}; "
            f"train and promote one first: make run DATA={data} OUT={run}")
    return found


def versions_of(run: Path, data: str, versions: Mapping[str, str]) -> dict[str, Champion]:
    """Load given versions of some tasks, champions or not. Raises: UsageError, ContractError as `champions`."""
    client, uri = _registry(run)
    return {task: Champion(_version(client, uri, f"{data}.{task}", version), version) for task, version in versions.items()}


def champion_versions(run: Path, data: str, tasks: Iterable[str]) -> dict[str, str]:
    """The version that each task's champion has now; nothing is loaded. Raises: UsageError, ContractError where the registry does not answer."""
    client, _ = _registry(run)
    return {task: version for task in tasks if (version := _champion_version(client, run, f"{data}.{task}")) is not None}


@dataclass(frozen=True)
class Source:
    """Where a version's artefact lies on this machine, and what to call it."""

    folder: Path
    told: str


def source_of(run: Path, name: str, version: str) -> Source:
    """Bring a version's artefact here, unread. Raises: ContractError where it is gone."""
    client, uri = _registry(run)
    return _source(client, uri, name, version)


def _registry(run: Path) -> tuple[Any, str]:
    """A client of the registry, and its address. MLflow is imported here and nowhere else: it is slow, and no request needs it."""
    named = os.environ.get("MLFLOW_TRACKING_URI")
    if not named and not (run / "mlflow.db").is_file():
        raise UsageError(f"--run must name a run folder with mlflow.db, found none in {run}; make one first: make run OUT={run}")
    uri = named or f"sqlite:///{run.resolve() / 'mlflow.db'}"
    # No usage reports, and an answer within seconds when a server is away.
    for name, value in (("DISABLE_TELEMETRY", "true"), ("ENABLE_ARTIFACTS_PROGRESS_BAR", "false"), ("HTTP_REQUEST_TIMEOUT", "5"), ("HTTP_REQUEST_MAX_RETRIES", "1")):
        os.environ.setdefault(f"MLFLOW_{name}", value)
    import logging

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return MlflowClient(uri, uri), uri
    except (MlflowException, SQLAlchemyError) as error:
        raise _unanswered(run, error) from None


def _unanswered(run: Path, error: Exception) -> ContractError:
    what = getattr(error, "error_code", "") or type(error).__name__
    return ContractError(f"the registry of {run} must answer, found {what}; see that it is whole and reachable")


def _champion(client: Any, uri: str, run: Path, name: str) -> Champion | None:
    version = _champion_version(client, run, name)
    return None if version is None else Champion(_version(client, uri, name, version), version)


def _champion_version(client: Any, run: Path, name: str) -> str | None:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return str(client.get_model_version_by_alias(name, ALIAS).version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise _unanswered(run, error) from None
    except SQLAlchemyError as error:
        raise _unanswered(run, error) from None


def recorded_task(run: Path, name: str, version: str) -> Task:
    """The task that a registered version was trained for. Raises: ContractError where the version or its artefact is gone."""
    client, uri = _registry(run)
    return Task.from_json(_version(client, uri, name, version).task)


def _source(client: Any, uri: str, name: str, version: str) -> Source:
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        source = client.get_model_version_download_uri(name, version)
        return Source(Path(download_artifacts(artifact_uri=source, tracking_uri=uri)), f"{name} version {version}")
    except (MlflowException, OSError) as error:
        raise ContractError(f"{name} version {version} needs its artefact, found none ({type(error).__name__}); train and register again") from None


def _version(client: Any, uri: str, name: str, version: str) -> "SavedModel | Space":
    source = _source(client, uri, name, version)
    model = load_artefact(source.folder, source.told)
    if model.name != name:
        raise ContractError(f"{name} version {version} must hold the model {name}, found {model.name}; register it under its own name")
    return model


def load_artefact(artefact: Path, name: str) -> "SavedModel | Space":
    """Load the saved model or space inside what MLflow stored; nothing of MLflow's own loading is used, since that may run code.

    Raises: ContractError for anything in it that could run, before anything is read, and for whatever `training.saved_model.load` refuses.
    """
    inside = [path.relative_to(artefact) for path in sorted(artefact.rglob("*"))]
    runs = [str(path) for path in inside if path.suffix in _RUNS_BY_ENDING or _RUNS & set(path.parts)]
    if runs:
        raise ContractError(f"{name} must be text and JSON only, found {runs[0]}, which could run; train and register it with python -m training")
    manifests = sorted(artefact.glob("data/**/manifest.json"))
    if len(manifests) != 1:
        raise ContractError(f"{name} needs one saved model in its artefact, found {len(manifests)}; train and register again")
    from training.saved_model import load
    from training.space import SPACE_FILE, load_space

    folder = manifests[0].parent
    try:
        return load_space(folder) if (folder / SPACE_FILE).exists() else load(folder)
    except ContractError as error:
        raise ContractError(f"{name}: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ContractError(f"{name} must be readable as it was written, found {type(error).__name__}; train and register again") from None
