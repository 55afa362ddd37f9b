"""A tiny shop that serves: 300 customers, a booster for churn, a linear model for conversion, both with a sensitive category."""

import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from features.one_customer import write_portrait
from features.snapshots import features_of
from serving.api import State, create_app
from serving.scoring import open_base
from training.members import BoosterMember, LinearMember, lightgbm
from training.saved_model import Column, SavedModel
from training.space import Space

with warnings.catch_warnings():
    # It asks for the next major version of httpx, which the lock does not have.
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

# Warnings of others about others: MLflow's of SQLAlchemy, shap's of matplotlib and of its own past.
_OF_OTHERS = ("ignore:The ``noload`` loader", "ignore:The set_:PendingDeprecationWarning", "ignore:LightGBM binary classifier with TreeExplainer")
AS_OF = "2018-01-01T05:00:00Z"
COLUMNS = (
    Column("purchases_count_28d", "behaviour", "purchases", "purchases in the last 28 days", "近28天购买次数"),
    Column("days_since_last_purchase", "behaviour", "days", "days since the last purchase", "距上次购买天数"),
    Column("spend_sum_28d_usd", "consumption", "USD", "spend in the last 28 days", "近28天消费金额"),
    Column("discount_share_28d", "consumption", "share", "share of list price saved by discounts", "折扣占比"),
    Column("income_band", "profile", "category", "income band", "收入段", is_category=True, levels=("35-49K", "50-74K", "75K+")),
    Column("age_band", "profile", "category", "age band", "年龄段", is_category=True, is_sensitive=True, levels=("19-24", "25-34", "65+")),
)
# Ids that must come back as they went in: right to left, an emoji, quotes, a formula.
ODD_IDS = ("عميل", "😀\u202e", 'o\'b"rien', "=1+1", "Ünïcode 客户", "../x")


def customers(n: int = 300) -> pd.DataFrame:
    """Grain: customer. Counts, money and shares, with gaps; every fifth customer is asked about by no task."""
    rng = np.random.default_rng(3)
    count = rng.poisson(4, n).astype(float)
    days = np.where(rng.random(n) < 0.1, np.nan, np.round(rng.exponential(15, n), 3))
    frame = pd.DataFrame({
        "customer_id": [*ODD_IDS, *(str(1000 + i) for i in range(n - len(ODD_IDS)))], "purchases_count_28d": count.astype(int),
        "days_since_last_purchase": days,
        "spend_sum_28d_usd": np.round(count * rng.gamma(2, 20, n), 2), "discount_share_28d": np.where(count == 0, np.nan, rng.random(n) / 2),
        "income_band": rng.choice(["35-49K", "50-74K", "75K+", "never seen", None], n), "age_band": rng.choice(["19-24", "25-34", "65+", None], n)})
    is_asked = np.arange(n) % 5 != 4
    return frame.assign(eligible_churn=is_asked, eligible_conversion=is_asked & (count > 0))


def task(kind: str, target_kind: str = "purchase") -> dict:
    return {"name": kind, "kind": kind, "target_kind": target_kind, "windows": {"horizon_days": 28, "slide_days": 14, "gap_days": 0},
        "eligibility": {"active_days": 56, "active_kind": "purchase", "received_kind": None}}


def reference(frame: pd.DataFrame) -> dict:
    """Averages and quantiles as training writes them."""
    averages, quantiles = {}, {}
    for column in COLUMNS:
        known = frame[column.name].dropna()
        if column.is_category:
            averages[column.name] = dict.fromkeys(("all", "low", "medium", "high"), str(known[known.isin(column.levels)].mode()[0]))
        else:
            averages[column.name] = dict.fromkeys(("all", "low", "medium", "high"), float(known.mean()))
            quantiles[column.name] = [float(q) for q in known.quantile(np.linspace(0.05, 0.95, 11))]
    return {"rows": len(frame), "averages": averages, "quantiles": quantiles}


def booster_model(frame: pd.DataFrame) -> SavedModel:
    library, rng = lightgbm(), np.random.default_rng(5)
    blank = SavedModel("demo.churn", task("churn"), COLUMNS, (), (), 0.9, -0.2, (0.3, 0.6), reference(frame))
    x = blank.encode(frame)
    margin = np.nan_to_num(x[:, 1], nan=30) / 12 - 0.4 * x[:, 0] + (x[:, 4] == 1) + 0.8 * (x[:, 5] == 2)
    y = (rng.random(len(x)) < 1 / (1 + np.exp(-margin))).astype(int)
    names = [f"f{i}" for i in range(len(COLUMNS))]
    settings = {"objective": "binary", "num_leaves": 7, "min_data_in_leaf": 10, "learning_rate": 0.1, "num_threads": 1, "seed": 1, "verbose": -1,
        "cat_smooth": 1,
                "min_data_per_group": 5}
    data = library.Dataset(x, y, feature_name=names, categorical_feature=["f4", "f5"], params={"verbose": -1})
    booster = library.train(settings, data, 40)
    return SavedModel(**{**blank.__dict__, "members": (BoosterMember(booster.model_to_string()),), "weights": (1.0,)})


def linear_model(frame: pd.DataFrame) -> SavedModel:
    member = LinearMember(
        -0.3, np.array([0.8, -0.5, 0.1, 0.4, 0.0, 0.0]), np.array([0.0, -1.0, 0.0, 0.1, 0.05, 0.2]), np.array([1.2, -1.1, 0.4, 0.1, 0.02, 0.03]),
        {4: np.array([0.3, -0.2, 0.1]), 5: np.array([0.5, -0.4, 0.6])})
    return SavedModel(
        "demo.conversion", task("conversion", "coupon_redemption"), COLUMNS, (member,), (1.0,), 1.1, 0.05, (0.4, 0.7), reference(frame))


def _write_base(run: Path, frame: pd.DataFrame, tasks: tuple[str, ...] = ("churn", "conversion")) -> None:
    (run / "features").mkdir(parents=True, exist_ok=True)
    frame.to_parquet(run / "features" / "base.parquet", index=False)
    said = {"data": "demo", "fingerprint": "f0", "as_of": AS_OF, "currency": "USD", "tasks": list(tasks)}
    (run / "features" / "base.json").write_text(json.dumps(said), encoding="utf-8")


@contextmanager
def _registry(run: Path) -> Iterator[tuple]:
    """MLflow and a client, both at the run's registry. MLflow writes the address to the environment too: it is taken back."""
    uri = f"sqlite:///{run / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        # Even importing it warns, of its own type hints.
        warnings.simplefilter("ignore")
        import mlflow.pyfunc

        patch.setenv("MLFLOW_TRACKING_URI", uri)
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        yield mlflow, mlflow.MlflowClient(uri, uri)


def _register(run: Path, model: SavedModel | Space, scratch: Path) -> str:
    """Log and register a saved model as training does, with the alias champion; give the version."""
    folder = scratch / model.name / "likeness"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model.save(folder)
    with _registry(run) as (mlflow, client):
        known = client.get_experiment_by_name("demo")
        experiment = known.experiment_id if known else client.create_experiment("demo", (run / "artifacts").as_uri())
        with mlflow.start_run(experiment_id=experiment):
            logged = mlflow.pyfunc.log_model(name="model", loader_module=type(model).__module__, data_path=str(folder), pip_requirements=["numpy"])
            version = str(mlflow.register_model(logged.model_uri, model.name).version)
        client.set_registered_model_alias(model.name, "champion", version)
        return version


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            for one in _OF_OTHERS:
                item.add_marker(pytest.mark.filterwarnings(one))


@pytest.fixture(scope="session")
def frame():
    return customers()


@pytest.fixture(scope="session")
def models(frame):
    return {"churn": booster_model(frame), "conversion": linear_model(frame)}


@pytest.fixture(scope="session")
def run(tmp_path_factory, frame, models, held):
    """A run folder with a registry of two champions, a base and the form of its events. Do not change it: `write_base` into one of your own."""
    folder = tmp_path_factory.mktemp("serving") / "out"
    _write_base(folder, frame)
    dataset, _ = held([{"customer_id": "x", "event_at": "2017-12-01", "amount": 1, "discount": 1, "channel": "store"}], zone="UTC", currency="USD")
    write_portrait(dataset, features_of(dataset)[0], folder / "features" / "one_customer.json")
    for model in models.values():
        _register(folder, model, folder.parent / "scratch")
    return folder


@pytest.fixture(scope="session")
def base(run):
    return open_base(run)


@pytest.fixture(scope="session")
def client(base):
    """The endpoints mounted at /v1, without a server; an exception that would reach the server fails the test."""
    return _client(State(base))


@pytest.fixture(scope="session")
def client_of():
    """A function: state -> a client of its endpoints."""
    return _client


def _client(state: State) -> TestClient:
    return TestClient(Starlette(routes=[Mount("/v1", create_app(state))]))


@pytest.fixture(scope="session")
def saved(models, tmp_path_factory):
    """A function: task -> a fresh copy of its saved model's folder inside an artefact."""
    kept = tmp_path_factory.mktemp("saved")

    def copy(name: str, artefact: Path) -> Path:
        if not (kept / name).exists():
            (kept / name).mkdir()
            models[name].save(kept / name)
        shutil.copytree(kept / name, artefact / "data" / "likeness")
        return artefact / "data" / "likeness"

    return copy


@pytest.fixture(scope="session")
def write_base():
    """A function: run folder, frame, tasks -> its base."""
    return _write_base


@pytest.fixture(scope="session")
def register():
    """A function: run folder, model, scratch folder -> the version, registered as champion."""
    return _register


@pytest.fixture(scope="session")
def registry():
    """A function: run folder -> MLflow and a client at its registry, while it is open."""
    return _registry
