"""The saved model: text and JSON only. Save, load verified, score, contributions. Serving knows nothing else of training."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from features.errors import ContractError
from features.files import folder_whole, sha256, write_json, written_whole
from training.members import BoosterMember, LinearMember, Matrix, Member

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
BANDS = ("low", "medium", "high")


@dataclass(frozen=True)
class Column:
    """One input of the model, as the feature catalogue declared it; `levels` are the categories seen in training."""

    name: str
    family: str
    unit: str
    label_en: str
    label_zh: str
    is_category: bool = False
    is_actionable: bool = False
    is_sensitive: bool = False
    is_treatment: bool = False
    is_undated: bool = False
    levels: tuple[str, ...] = ()


@dataclass(frozen=True)
class SavedModel:
    """A calibrated model and all that is needed to serve, explain and doubt it.

    `members` are averaged by `weights` into a margin m; the served probability is 1 / (1 + exp(-(slope m + intercept))), so that
    contributions to m times slope explain the very number that is served.
    `card` is JSON: what it was trained on and how good it was; `reference` describes the training rows (band averages, quantiles).
    """

    name: str
    task: dict[str, Any]
    columns: tuple[Column, ...]
    members: tuple[Member, ...]
    weights: tuple[float, ...]
    slope: float
    intercept: float
    band_cuts: tuple[float, float]
    reference: dict[str, Any] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)

    def schema_hash(self) -> str:
        """A hash of the inputs: names, order, categories. Two models with the same hash take the same rows."""
        return schema_hash(self.columns)

    def encode(self, frame: "pd.DataFrame") -> Matrix:
        """Rows of features -> matrix (n, p). A category not seen in training counts as unknown.

        Raises: ContractError naming the columns that are missing; others are left out.
        """
        return encoded(frame, self.columns, self.name)

    def margins(self, x: Matrix) -> Matrix:
        """Shape: (n, p) -> (n,). Log-odds before calibration."""
        return _sum([w * member.margins(x) for w, member in zip(self.weights, self.members, strict=True)])

    def log_odds(self, x: Matrix) -> Matrix:
        """Shape: (n, p) -> (n,). Log-odds of the served probability."""
        return self.slope * self.margins(x) + self.intercept

    def probabilities(self, x: Matrix) -> Matrix:
        """Shape: (n, p) -> (n,). The served probability."""
        return sigmoid(self.log_odds(x))

    def contributions(self, x: Matrix) -> Matrix:
        """Shape: (n, p) -> (n, p + 1). Contributions to the served log-odds, base in the last column; rows add up to `log_odds`."""
        phi: Matrix = self.slope * _sum([w * member.contributions(x) for w, member in zip(self.weights, self.members, strict=True)])
        phi[:, -1] += self.intercept
        return phi

    def is_firm(self, phi: Matrix) -> NDArray[np.bool_] | None:
        """Which contributions keep their sign in nine of ten refits on other customers, by the bounds found in training; None where none were sought.

        Shape: contributions (n, p) of features, without the base -> (n, p).
        """
        bounds = self.reference.get("firm_from")
        return None if bounds is None else is_large(phi, [bounds["features"].get(column.name) for column in self.columns])

    def by_family(self, phi: Matrix) -> tuple[list[str], Matrix, NDArray[np.bool_] | None]:
        """Contributions summed with their signs within each family, without what is sensitive; and which sums are firm, as in `is_firm`.

        Shape: (n, p) -> names (f,), sums (n, f), (n, f).
        """
        names = list(dict.fromkeys(column.family for column in self.columns if not column.is_sensitive))
        within = np.array([[column.family == name and not column.is_sensitive for name in names] for column in self.columns], dtype=np.float64)
        sums: Matrix = phi @ within.reshape(len(self.columns), len(names))
        bounds = self.reference.get("firm_from")
        return names, sums, None if bounds is None else is_large(sums, [bounds["families"].get(name) for name in names])

    def bands(self, probabilities: Matrix) -> list[str]:
        """Low, medium or high, by the cuts frozen in training."""
        low, high = self.band_cuts
        return [BANDS[(p >= low) + (p >= high)] for p in probabilities.tolist()]

    def save(self, folder: Path) -> None:
        """Write the model, golden rows with their expected scores, and a SHA-256 manifest of both; whole, in place of a model that stood there."""
        files = {f"member{i}.{'txt' if isinstance(m, BoosterMember) else 'json'}": m for i, m in enumerate(self.members)}
        golden = golden_rows(self.columns, self.reference.get("quantiles", {}))
        with folder_whole(folder) as aside_folder:
            for name, member in files.items():
                with written_whole(aside_folder / name) as aside:
                    aside.write_text(member.to_text(), encoding="utf-8")
            write_json(aside_folder / "model.json", {
                "format": FORMAT, "name": self.name, "task": self.task, "columns": [asdict(c) for c in self.columns], "schema_hash": self.schema_hash(),
                "members": list(files), "weights": self.weights, "calibrator": {"slope": self.slope, "intercept": self.intercept},
                "band_cuts": self.band_cuts, "reference": self.reference, "card": self.card})
            write_json(aside_folder / "golden.json", {"rows": as_json_rows(golden), "expected": self.probabilities(golden).tolist()})
            write_manifest(aside_folder)


def load(folder: Path) -> SavedModel:
    """Load a saved model, verified. Raises: ContractError for anything that is not as it was written."""
    try:
        return _load(folder)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ContractError(f"a saved model must be readable as it was written, found {type(error).__name__} in {folder.name}; train and register again") from None


def _load(folder: Path) -> SavedModel:
    """Load a model after verifying it: only files of the manifest, each with its hash, and golden rows that score as they did.

    Nothing in the folder is run; LightGBM's parser sees the text only after its hash is right.
    Raises: ContractError for anything missing, added, changed, or of another format.
    """
    require_as_written(folder)
    said = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if said["format"] != FORMAT:
        raise ContractError(f"this version reads saved models of format {FORMAT}, found {said['format']}; train again")
    texts = [(name, (folder / name).read_text(encoding="utf-8")) for name in said["members"]]
    model = SavedModel(
        said["name"], said["task"], columns_from(said["columns"]),
        tuple(BoosterMember(text) if name.endswith(".txt") else LinearMember.from_text(text) for name, text in texts),
        tuple(said["weights"]), said["calibrator"]["slope"], said["calibrator"]["intercept"], tuple(said["band_cuts"]), said["reference"], said["card"])
    if model.schema_hash() != said["schema_hash"]:
        raise ContractError("the saved model's schema hash must fit its columns, found another; train and register again")
    golden = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
    require_equal(model.probabilities(from_json_rows(golden["rows"])), golden["expected"])
    return model


def write_manifest(folder: Path) -> None:
    """Write the SHA-256 of every file of a folder into its `manifest.json`."""
    write_json(folder / "manifest.json", {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.name != "manifest.json"})


def require_as_written(folder: Path) -> None:
    """Raises: ContractError unless the folder holds just the files of its manifest, each with its hash."""
    manifest_path = folder / "manifest.json"
    if not manifest_path.exists():
        raise ContractError(f"a saved model needs manifest.json, found none in {folder.name}; train and register again")
    manifest: dict[str, str] = json.loads(manifest_path.read_text(encoding="utf-8"))
    present = {path.name for path in folder.iterdir()} - {"manifest.json"}
    if present != set(manifest):
        raise ContractError(f"the saved model must hold just the files of its manifest, found {sorted(present ^ set(manifest))} to differ; train and register again")
    changed = [name for name, digest in manifest.items() if sha256(folder / name) != digest]
    if changed:
        raise ContractError(f"the saved model's files must be as they were written, found {', '.join(changed)} changed; train and register again")


def require_equal(scores: Matrix, expected: list[float]) -> None:
    """Raises: ContractError where golden rows do not score as they did when the model was saved."""
    off = float(np.max(np.abs(scores - np.array(expected))))
    if not off <= 1e-9:
        raise ContractError(f"golden rows must score as they did when saved, found a difference of {off:.2g}; check the library versions and train again")


def schema_hash(columns: tuple[Column, ...]) -> str:
    """A hash of names, order and categories."""
    said = json.dumps([[c.name, c.is_category, list(c.levels)] for c in columns], ensure_ascii=False)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def columns_from(said: list[dict[str, Any]]) -> tuple[Column, ...]:
    """Columns as JSON -> columns."""
    return tuple(Column(**{**c, "levels": tuple(c["levels"])}) for c in said)


def golden_rows(columns: tuple[Column, ...], quantiles: dict[str, list[float]], n: int = 20) -> Matrix:
    """Made-up customers: every column drawn by itself from its quantiles, so that no row is a person's."""
    rng = np.random.default_rng(7)
    drawn = []
    for column in columns:
        choices = np.arange(len(column.levels), dtype=np.float64) if column.is_category else np.array(quantiles.get(column.name, [0.0, 1.0]), dtype=np.float64)
        drawn.append(rng.choice(np.append(choices, np.nan), n))
    return np.column_stack(drawn)


def as_json_rows(x: Matrix) -> list[list[float | None]]:
    """A matrix for JSON, which has no NaN."""
    return [[None if np.isnan(value) else float(value) for value in row] for row in x]


def from_json_rows(rows: list[list[float | None]]) -> Matrix:
    """The inverse of `as_json_rows`."""
    return np.array([[np.nan if value is None else value for value in row] for row in rows], dtype=np.float64)


def encoded(frame: "pd.DataFrame", columns: tuple[Column, ...], name: str) -> Matrix:
    """Rows of features -> matrix (n, p). A category not seen in training counts as unknown.

    Raises: ContractError naming the columns that are missing; others are left out.
    """
    missing = [c.name for c in columns if c.name not in frame.columns]
    if missing:
        raise ContractError(f"{name} needs the features {', '.join(missing[:5])} ({len(missing)} in all), found none; build them again")
    # Column by column into one matrix: a large table is not held twice.
    x = np.empty((len(frame), len(columns)))
    for j, column in enumerate(columns):
        x[:, j] = codes(frame[column.name], column.levels) if column.is_category else frame[column.name].to_numpy(np.float64, na_value=np.nan)
    return x


def codes(values: "pd.Series", levels: tuple[str, ...]) -> Matrix:
    """Categories -> their place in `levels`; NaN for what is missing or was never seen."""
    place = {level: float(i) for i, level in enumerate(levels)}
    return np.array([place.get(value, np.nan) if isinstance(value, str) else np.nan for value in values], dtype=np.float64)


def is_large(phi: Matrix, bounds: Sequence[float | None]) -> NDArray[np.bool_]:
    """Which amounts reach the bound of their column; None is never reached. Shape: (n, q), (q,) -> (n, q)."""
    large: NDArray[np.bool_] = np.abs(phi) >= np.array([np.inf if bound is None else bound for bound in bounds], dtype=np.float64)
    return large


def sigmoid(log_odds: Matrix) -> Matrix:
    """Log-odds -> probability, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * log_odds))


def _sum(parts: list[Matrix]) -> Matrix:
    total: Matrix = parts[0] if len(parts) == 1 else np.sum(parts, axis=0)
    return total


class _Pyfunc:
    """What `mlflow.pyfunc.load_model` gives: `predict` returns probabilities, not labels."""

    def __init__(self, model: SavedModel) -> None:
        self.model = model

    def predict(self, frame: "pd.DataFrame", params: dict[str, Any] | None = None) -> Matrix:
        """Shape: a frame with the model's features -> (n,) probabilities."""
        return self.model.probabilities(self.model.encode(frame))


def _load_pyfunc(data_path: str) -> _Pyfunc:
    """MLflow's loader_module hook."""
    return _Pyfunc(load(Path(data_path)))
