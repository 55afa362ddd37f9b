"""The saved space: how customers are laid out so that likeness to any seeds can be told. JSON only; audiences are fitted on it in moments.

A space holds the preparation (what the population's columns look like), a representation (whitened principal components) and which
ranker told held-out seeds best. A `Likeness` is one set of seeds in a space: it ranks customers, and gives likeness, never a probability.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from features.errors import ContractError
from features.files import write_json
from training.members import Matrix, signed_log
from training.saved_model import (
    Column,
    as_json_rows,
    columns_from,
    encoded,
    from_json_rows,
    golden_rows,
    require_as_written,
    require_equal,
    schema_hash,
    write_manifest,
)

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
SPACE_FILE = "space.json"
Ranker = Literal["classifier", "similarity", "ensemble"]
RANKERS: tuple[Ranker, ...] = ("classifier", "similarity", "ensemble")
# More of the population than this teaches a linear classifier nothing new, and audiences must be told in moments.
POPULATION_CAP = 20_000
SMALLEST_GROUP = 10
SEED = 20260101
_LEVELS = np.linspace(0.005, 0.995, 199)


@dataclass(frozen=True)
class Params:
    """What was chosen on held-out seeds: the ridge of the classifier, the dimensions and seed groups of the similarity, and the ranker."""

    ranker: Ranker = "ensemble"
    C: float = 0.03
    n_components: int = 12
    n_groups: int = 1


@dataclass(frozen=True)
class Likeness:
    """One set of seeds in a space; nothing in it is a single person's.

    Shape: `weights` (q,) of the classifier; `centres` (groups, d), unit vectors of the seeds' groups; `population` the quantiles of each ranker's
    score in the population; `seeds` the quantiles of the place in the population of seeds that were left out when it was fitted;
    `curve` holds reach (a share of the population), the least likeness within it, and the expected lift there, by the same left-out seeds.
    """

    ranker: Ranker
    weights: Matrix
    centres: Matrix
    population: dict[str, Matrix]
    seeds: Matrix
    curve: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Space:
    """Preparation and representation of a population. Shape: `means`, `spreads` (p,), `centre` (q,), `components` (q, d), q places of prepared columns."""

    name: str
    task: dict[str, Any]
    columns: tuple[Column, ...]
    means: Matrix
    spreads: Matrix
    centre: Matrix
    components: Matrix
    params: Params
    example: Likeness | None = None
    reference: dict[str, Any] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)

    def schema_hash(self) -> str:
        """A hash of the inputs: names, order, categories."""
        return schema_hash(self.columns)

    def encode(self, frame: "pd.DataFrame") -> Matrix:
        """Rows of features -> matrix (n, p). Raises: ContractError naming the columns that are missing."""
        return encoded(frame, self.columns, self.name)

    def z(self, x: Matrix) -> Matrix:
        """Shape: (n, p) -> (n, q). The prepared places, from the average customer's."""
        return prepared(x, self.columns, self.means, self.spreads) - self.centre

    def sources(self) -> NDArray[np.int64]:
        """Shape: (q,). The column that each prepared place comes from."""
        return np.array([j for j, c in enumerate(self.columns) for _ in range(len(c.levels) if c.is_category else 2)], dtype=np.int64)

    def fit(self, x: Matrix, is_seed: NDArray[np.bool_], params: Params | None = None) -> Likeness:
        """Seeds against the rest of a population. Shape: x (n, p), is_seed (n,). The seeds' own scores come from three folds without them."""
        params, z = params or self.params, self.z(x)
        folds = np.random.default_rng(SEED).permutation(len(x)) % 3
        left_out = np.full(len(x), np.nan)
        for i in range(3):
            part = folds != i
            fitted = _fitted(z[part], is_seed[part], self.components, params)
            # As places in the population, since a fit on fewer seeds has a smaller spread.
            left_out[~part] = _place(fitted.population[params.ranker], _scores(fitted, z[~part], self.components))
        likeness = _fitted(z, is_seed, self.components, params)
        seeds = np.quantile(left_out[is_seed], _LEVELS)
        return Likeness(**{**likeness.__dict__, "seeds": seeds, "curve": _curve(left_out, is_seed, seeds)})

    def scores(self, likeness: Likeness, x: Matrix) -> Matrix:
        """Shape: (n, p) -> (n,). What the chosen ranker ranks by."""
        return _scores(likeness, self.z(x), self.components)

    def likeness(self, likeness: Likeness, x: Matrix) -> Matrix:
        """Shape: (n, p) -> (n,). The share of the seeds themselves that are less like the seeds, from 0 to 1."""
        return np.clip(_place(likeness.seeds, _place(likeness.population[likeness.ranker], self.scores(likeness, x))), 0.0, 1.0)

    def contributions(self, likeness: Likeness, x: Matrix) -> Matrix:
        """Shape: (n, p) -> (n, p). What each column adds to being like the seeds, in the ranker's own units, from an average customer's 0.

        Both rankers add up over columns: the classifier's margin, and the cosine with the nearest group of seeds. For the ensemble each
        is divided by its spread in the population, and halved.
        """
        z = self.z(x)
        parts = {"classifier": z * likeness.weights, "similarity": _cosine_parts(z, self.components, likeness.centres)}
        shares = {name: 0.5 / _spread(likeness.population[name]) if likeness.ranker == "ensemble" else float(name == likeness.ranker) for name in parts}
        total = np.zeros((len(x), len(self.columns)))
        np.add.at(total.T, self.sources(), sum(shares[name] * part for name, part in parts.items()).T)  # type: ignore[union-attr]
        return total

    def save(self, folder: Path) -> None:
        """Write the space, golden rows with their expected likeness to the example, and a SHA-256 manifest."""
        if self.example is None:
            raise ValueError("a space is saved with the seeds of its task, found none")
        write_json(folder / SPACE_FILE, {
            "format": FORMAT, "name": self.name, "task": self.task, "columns": [asdict(c) for c in self.columns], "schema_hash": self.schema_hash(),
            "means": self.means.tolist(), "spreads": self.spreads.tolist(), "centre": self.centre.tolist(), "components": self.components.tolist(), "params": asdict(self.params),
            "example": {
                "ranker": self.example.ranker, "weights": self.example.weights.tolist(), "centres": self.example.centres.tolist(),
                "population": {name: q.tolist() for name, q in self.example.population.items()}, "seeds": self.example.seeds.tolist(),
                "curve": self.example.curve},
            "reference": self.reference, "card": self.card})
        golden = golden_rows(self.columns, self.reference.get("quantiles", {}))
        write_json(folder / "golden.json", {"rows": as_json_rows(golden), "expected": self.scores(self.example, golden).tolist()})
        write_manifest(folder)


def load_space(folder: Path) -> Space:
    """Load a saved space, verified as a saved model is. Raises: ContractError for anything that is not as it was written."""
    require_as_written(folder)
    try:
        said = json.loads((folder / SPACE_FILE).read_text(encoding="utf-8"))
        if said["format"] != FORMAT:
            raise ContractError(f"this version reads saved spaces of format {FORMAT}, found {said['format']}; train again")
        example = said["example"]
        space = Space(
            said["name"], said["task"], columns_from(said["columns"]), np.array(said["means"]), np.array(said["spreads"]), np.array(said["centre"]),
            np.array(said["components"]), Params(**said["params"]),
            Likeness(
                example["ranker"], np.array(example["weights"]), np.array(example["centres"]),
                {name: np.array(q) for name, q in example["population"].items()}, np.array(example["seeds"]), example["curve"]),
            said["reference"], said["card"])
        golden = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
        if space.schema_hash() != said["schema_hash"]:
            raise ContractError("the saved space's schema hash must fit its columns, found another; train and register again")
        require_equal(space.scores(example_of(space), from_json_rows(golden["rows"])), golden["expected"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ContractError(f"a saved space must be readable as it was written, found {type(error).__name__} in {folder.name}; train and register again") from None
    return space


def example_of(space: Space) -> Likeness:
    """The seeds that the space was trained with. Raises: ContractError where it has none."""
    if space.example is None:
        raise ContractError(f"{space.name} needs the seeds it was trained with, found none; train and register again")
    return space.example


def make_space(name: str, task: dict[str, Any], columns: tuple[Column, ...], x: Matrix, params: Params) -> Space:
    """Learn preparation and representation from a population. Shape: x (n, p)."""
    from sklearn.decomposition import PCA

    logs = np.where([c.is_category for c in columns], np.nan, signed_log(x))
    known = ~np.isnan(logs)
    n_known = np.maximum(known.sum(axis=0), 1)
    means = np.where(known, logs, 0.0).sum(axis=0) / n_known
    spreads = np.sqrt(np.where(known, (logs - means) ** 2, 0.0).sum(axis=0) / n_known)
    spreads[spreads < 1e-12] = 1.0
    z = prepared(x, columns, means, spreads)
    n_components = max(1, min(params.n_components, z.shape[1], len(z) - 1))
    pca = PCA(n_components, svd_solver="covariance_eigh").fit(z)
    # Whitened: each direction counts alike, however many columns say the same.
    components = pca.components_.T / np.sqrt(np.maximum(pca.explained_variance_, 1e-9))
    return Space(name, task, columns, means, spreads, z.mean(axis=0), components, params)


def prepared(x: Matrix, columns: tuple[Column, ...], means: Matrix, spreads: Matrix) -> Matrix:
    """Shape: (n, p) -> (n, q): numbers as standardised signed logs beside an "unknown" mark, categories one-hot."""
    blocks = []
    for j, column in enumerate(columns):
        if column.is_category:
            blocks.append((x[:, [j]] == np.arange(len(column.levels))).astype(np.float64))
        else:
            unknown = np.isnan(x[:, j])
            blocks.append(np.column_stack([np.where(unknown, 0.0, (signed_log(x[:, j]) - means[j]) / spreads[j]), unknown]))
    return np.hstack(blocks)


def _fitted(z: Matrix, is_seed: NDArray[np.bool_], components: Matrix, params: Params) -> Likeness:
    """Fit both rankers, seeds against (a sample of) the rest."""
    from sklearn.cluster import KMeans
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    others = np.flatnonzero(~is_seed)
    if len(others) > POPULATION_CAP:
        others = np.sort(np.random.default_rng(SEED).choice(others, POPULATION_CAP, replace=False))
    rows = np.r_[np.flatnonzero(is_seed), others]
    n_groups = max(1, min(params.n_groups, int(is_seed.sum()) // SMALLEST_GROUP))
    with threadpool_limits(1, "blas"):
        classifier = LogisticRegression(C=params.C, solver="newton-cholesky", tol=1e-8, max_iter=200).fit(z[rows], is_seed[rows])
        groups = KMeans(n_groups, n_init=4, random_state=SEED).fit(z[is_seed] @ components)
    centres = groups.cluster_centers_ / np.maximum(np.linalg.norm(groups.cluster_centers_, axis=1, keepdims=True), 1e-12)
    weights = classifier.coef_[0]
    margins, cosines = z[others] @ weights, _cosines(z[others], components, centres).max(axis=1)
    population = {"classifier": np.quantile(margins, _LEVELS), "similarity": np.quantile(cosines, _LEVELS)}
    ensemble = 0.5 * (_place(population["classifier"], margins) + _place(population["similarity"], cosines))
    return Likeness(params.ranker, weights, centres, {**population, "ensemble": np.quantile(ensemble, _LEVELS)}, np.array([]))


def _scores(likeness: Likeness, z: Matrix, components: Matrix) -> Matrix:
    if likeness.ranker == "classifier":
        return z @ likeness.weights
    similarity: Matrix = _cosines(z, components, likeness.centres).max(axis=1)
    if likeness.ranker == "similarity":
        return similarity
    return 0.5 * (_place(likeness.population["classifier"], z @ likeness.weights) + _place(likeness.population["similarity"], similarity))


def _cosines(z: Matrix, components: Matrix, centres: Matrix) -> Matrix:
    at = z @ components
    cosines: Matrix = at @ centres.T / np.maximum(np.linalg.norm(at, axis=1, keepdims=True), 1e-12)
    return cosines


def _cosine_parts(z: Matrix, components: Matrix, centres: Matrix) -> Matrix:
    """Shape: (n, q). The cosine with the nearest centre, split over the prepared places; rows add up to it."""
    nearest = _cosines(z, components, centres).argmax(axis=1)
    lengths = np.maximum(np.linalg.norm(z @ components, axis=1, keepdims=True), 1e-12)
    parts: Matrix = z * (components @ centres.T).T[nearest] / lengths
    return parts


def _place(quantiles: Matrix, scores: Matrix) -> Matrix:
    """The share of a reference below each score; beyond its ends the line goes on, so that no two ranks fall together."""
    inside = np.interp(scores, quantiles, _LEVELS)
    spread = _spread(quantiles)
    return inside + np.where(scores > quantiles[-1], (scores - quantiles[-1]) / spread, 0.0) * 0.01 + np.where(
        scores < quantiles[0], (scores - quantiles[0]) / spread, 0.0) * 0.01


def _spread(quantiles: Matrix) -> float:
    return max(float(quantiles[-20] - quantiles[19]), 1e-9)


def _curve(scores: Matrix, is_seed: NDArray[np.bool_], seeds: Matrix) -> list[dict[str, float]]:
    """Reach against likeness and lift, over left-out scores: at each reach the least likeness, and seeds found against chance."""
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(is_seed[order])
    curve = []
    for share in (0.01, 0.02, 0.05, 0.10, 0.15, 0.20, 0.30, 0.40, 0.50, 0.70, 1.0):
        k = max(1, round(share * len(scores)))
        if found[k - 1] < SMALLEST_GROUP and share < 1:
            continue
        similarity = float(np.clip(_place(seeds, scores[order[k - 1:k]]), 0, 1)[0])
        curve.append({"share": share, "similarity": round(similarity, 4), "expected_lift": round(float(found[k - 1] / found[-1] / share), 3)})
    return curve


class _Pyfunc:
    """What `mlflow.pyfunc.load_model` gives: `predict` returns likeness to the seeds that the space was trained with."""

    def __init__(self, space: Space) -> None:
        self.space = space

    def predict(self, frame: "pd.DataFrame", params: dict[str, Any] | None = None) -> Matrix:
        """Shape: a frame with the space's features -> (n,) likeness."""
        return self.space.likeness(example_of(self.space), self.space.encode(frame))


def _load_pyfunc(data_path: str) -> _Pyfunc:
    """MLflow's loader_module hook."""
    return _Pyfunc(load_space(Path(data_path)))
