"""What the tests of every room share: folders written from literal rows, and what must be there for the slow ones."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from features.contracts import hold
from features.dataset import Dataset, Finding
from features.snapshots import features_of, snapshots
from features.sources import open_dataset

ROOT = Path(__file__).parent.parent
CHURN = "[tasks.churn]\nhorizon_days = 28\nactive_days = 56\nlookbacks_days = [28, 56]\n"


def need(path: str | Path, how: str) -> Path:
    """Give back `path`; where it is missing, skip and say how to get it, but fail where CI=1: there nothing may be left out unseen."""
    path = Path(path)
    if not path.exists():
        reason = f"needs {path}, found none; {how}"
        if os.environ.get("CI") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture(name="need", scope="session")
def _need() -> Callable[..., Path]:
    return need


def _write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    rows = list(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, list(dict.fromkeys(column for row in rows for column in row)))
        out.writeheader()
        out.writerows(rows)


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that writes literal rows as a folder in the contract's form.

    An event may leave out its event_id (its place in the list) and its kind (purchase). `declared` goes below zone and currency in
    dataset.toml; there is no dataset.toml where zone is None.
    """
    numbers = count()

    def write(
        events: Iterable[dict[str, Any]] | None = None,
        *,
        zone: str | None = "Asia/Shanghai",
        currency: str = "CNY",
        declared: str = CHURN,
        **tables: Iterable[dict[str, Any]],
    ) -> Path:
        folder = tmp_path_factory.mktemp(f"data{next(numbers)}")
        if events is not None:
            _write_csv(folder / "events.csv", [{"event_id": f"e{i}", "kind": "purchase", **event} for i, event in enumerate(events)])
        for name, rows in tables.items():
            _write_csv(folder / f"{name}.csv", rows)
        if zone is not None:
            (folder / "dataset.toml").write_text(f'zone = "{zone}"\ncurrency = "{currency}"\n{declared}', encoding="utf-8")
        return folder

    return write


@pytest.fixture(scope="session")
def held(folder_of: Callable[..., Path]) -> Callable[..., tuple[Dataset, list[Finding]]]:
    """A function: literal rows -> the dataset held against the contract, and the findings."""
    return lambda *rows, **tables: hold(open_dataset(str(folder_of(*rows, **tables))))


@pytest.fixture(scope="session")
def given(held: Callable[..., tuple[Dataset, list[Finding]]]) -> Callable[..., Dataset]:
    """A function: literal rows without a fault (a doubt may be) -> the clean dataset."""

    def clean(*rows: Any, **tables: Any) -> Dataset:
        dataset, findings = held(*rows, **tables)
        assert {finding.level for finding in findings} <= {"warn"}, f"a test's rows broke the contract unawares: {findings}"
        return dataset

    return clean


@pytest.fixture(scope="session")
def values_of() -> Callable[..., dict[Any, dict[str, Any]]]:
    """A function: dataset and moments -> {(customer, as_of): {feature: value}}; with one moment the key is the customer."""

    def values(dataset: Dataset, *as_ofs: datetime) -> dict[Any, dict[str, Any]]:
        rows = snapshots(dataset, as_ofs, features_of(dataset)[0]).to_pyarrow().to_pylist()
        keys = [(row.pop("customer_id"), row.pop("as_of")) for row in rows]
        assert len(set(keys)) == len(keys), "one row for each customer and as_of"
        return {key[0] if len(as_ofs) == 1 else key: row for key, row in zip(keys, rows, strict=True)}

    return values


@pytest.fixture(scope="session")
def door() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """A function: the words after `python -m` -> the finished process, which must have ended well."""

    def called(*words: str) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=1500, env={**os.environ, "COLUMNS": "200"})
        assert done.returncode == 0, done.stderr[-3000:]
        return done

    return called


@pytest.fixture(scope="session")
def whole_path(door: Callable[..., "subprocess.CompletedProcess[str]"]) -> Callable[..., tuple[dict[str, Any], str, Path]]:
    """A function: data and a run folder -> run.json, what publish said, and the folder."""

    def path(data: str | Path, run: Path, trials: int = 4) -> tuple[dict[str, Any], str, Path]:
        door("training", "run", "--data", str(data), "--trials", str(trials), "--run", str(run))
        said = door("serving", "publish", "--run", str(run)).stdout
        return json.loads((run / "run.json").read_text(encoding="utf-8")), said, run

    return path


@pytest.fixture(scope="session")
def grocer(whole_path: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The whole path on the grocer. Nothing may change it but a new challenger."""
    return whole_path("complete-journey", tmp_path_factory.mktemp("grocer"))


@pytest.fixture(scope="session")
def retail(whole_path: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The whole path on dirty transactions alone."""
    folder = need(ROOT.parent / "shared" / "data" / "online_retail", "the data sets stand beside the project under ../shared/data")
    return whole_path(folder, tmp_path_factory.mktemp("retail"))
