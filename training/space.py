"""The saved space: how customers are laid out so that likeness to any seeds can be told. JSON only; audiences are fitted on it in moments.

A space holds the preparation (what the population's columns look like), a representation (whitened principal components) and which
ranker told held-out seeds best. A `Likeness` is one set of seeds in a space: it ranks customers, and gives likeness, never a probability.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from features.errors import ContractError
from features.files import write_json
from training import pu
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
Ranker = Literal["classifier", "similarity", "ensemble", "bagging", "elkan_noto", "spies"]
RANKERS: tuple[Ranker, ...] = ("classifier", "similarity", "ensemble", "bagging", "elkan_noto", "spies")
# How the weights of a linear ranker are found; the ensemble's are the plain classifier's.
LEARNERS = {"bagging": pu.bagging, "elkan_noto": pu.elkan_noto, "spies": pu.spies}
# More of the population than this teaches a linear classifier nothing new, and audiences must be told in moments.
POPULATION_CAP, EXPANDED_CAP = 20_000, 10_000
SMALLEST_GROUP = 10
# Directions of the population that are kept: a new list of seeds is learned from these alone, in moments.
MOST_COMPONENTS = 48
# Customers laid out and scored at a time: what is worked on stays small.
LAID_OUT = 50_000
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
    score in the population (all linear rankers under "classifier"); `seeds` the quantiles of the place in the population of seeds that were left out when it was fitted;
    `curve` holds reach (a share of the population), the least likeness within it, and the expected lift there, by the same left-out seeds.
    """

    ranker: Ranker
    weights: Matrix
    centres: Matrix
    population: dict[str, Matrix]
    seeds: Matrix
    curve: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Layout:
    """Customers along the components of a space, in 32 bits, and how long they are along those that similarity looks at. Shape: (n, components), (n,)."""

    at: NDArray[np.float32]
    lengths: NDArray[np.float32]

    def scores(self, fitted: Likeness) -> Matrix:
        """What the ranker ranks by; its weights are of the components. Shape: (n,)."""
        weights, centres = fitted.weights.astype(np.float32), fitted.centres.astype(np.float32)
        # All in one product: one pass over the layout.
        each = np.zeros((self.at.shape[1], 1 + len(centres)), dtype=np.float32)
        each[:, 0], each[:centres.shape[1], 1:] = weights, centres.T
        told = (self.at @ each).astype(np.float64)
        return combined(fitted, told[:, 0], told[:, 1:].max(axis=1) / self.lengths)


@dataclass(frozen=True)
class Space:
    """Preparation and representation of a population. Shape: `means`, `spreads` (p,), `centre` (q,), `components` (q, d), q places of prepared columns.

    The components are the whitened principal ones, the largest first; similarity looks at as many of them as the centres of its seeds have.
    """

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
        few, params = sampled(is_seed), params or self.params
        return learned(self.z(x[few]), is_seed[few], self.components[:, :params.n_components], params, _weight(is_seed))

    def ranked(self, z: Matrix, is_seed: NDArray[np.bool_], asked: Matrix, params: Params) -> Matrix:
        """Learn from some rows of `z`, with no places and no curve, and score others. Shape: (n, q), (n,), (m, q) -> (m,)."""
        components = self.components[:, :params.n_components]
        few = sampled(is_seed)
        return _scores(_fitted(z[few], is_seed[few], components, params), asked, components)

    def scores(self, likeness: Likeness, x: Matrix) -> Matrix:
        """Shape: (n, p) -> (n,). What the chosen ranker ranks by."""
        return _scores(likeness, self.z(x), self.components)

    def lay_out(self, x: Matrix) -> "Layout":
        """Where customers stand along the components: made once, after which any list of seeds is learned and everybody ranked in moments. Shape: x (n, p)."""
        at = np.empty((len(x), self.components.shape[1]), dtype=np.float32)
        for begin in range(0, len(x), LAID_OUT):
            rows = slice(begin, begin + LAID_OUT)
            at[rows] = self.z(x[rows]) @ self.components
        return Layout(at, np.maximum(np.linalg.norm(at[:, :self.params.n_components], axis=1), 1e-12))

    def expand(self, layout: "Layout", is_seed: NDArray[np.bool_]) -> tuple[Likeness, Matrix]:
        """Seeds of a new list against everybody who is laid out, with the parameters as they are: nothing is tuned. Shape: is_seed (n,) -> scores (n,).

        The linear part learns from the components alone, so what it says of a customer is the same from the layout and from the features.
        """
        few = sampled(is_seed, EXPANDED_CAP)
        within = np.eye(self.components.shape[1])[:, :self.params.n_components]
        fitted = learned(layout.at[few].astype(np.float64), is_seed[few], within, self.params, _weight(is_seed, EXPANDED_CAP))
        return replace(fitted, weights=self.components @ fitted.weights), layout.scores(fitted)

    def likeness(self, likeness: Likeness, x: Matrix) -> Matrix:
        """Shape: (n, p) -> (n,). The share of the seeds themselves that are less like the seeds, from 0 to 1."""
        return likeness_of(likeness, self.scores(likeness, x))

    def contributions(self, likeness: Likeness, x: Matrix) -> Matrix:
        """Shape: (n, p) -> (n, p). What each column adds to being like the seeds, in the ranker's own units, from an average customer's 0.

        Both rankers add up over columns: the classifier's margin, and the cosine with the nearest group of seeds. For the ensemble each
        is divided by its spread in the population, and halved.
        """
        z = self.z(x)
        parts = {"classifier": z * likeness.weights, "similarity": _cosine_parts(z, self.components, likeness.centres)}
        shares = {name: 0.5 / _spread(likeness.population[name]) if likeness.ranker == "ensemble" else float(name == _part(likeness.ranker)) for name in parts}
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
    n_components = max(1, min(max(params.n_components, MOST_COMPONENTS), z.shape[1], len(z) - 1))
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


def sampled(is_seed: NDArray[np.bool_], most: int = POPULATION_CAP) -> NDArray[np.int64]:
    """The rows that teach: all seeds, and of the others at most so many by lot."""
    others = np.flatnonzero(~is_seed)
    if len(others) > most:
        others = np.random.default_rng(SEED).choice(others, most, replace=False)
    return np.sort(np.r_[np.flatnonzero(is_seed), others])


def _weight(is_seed: NDArray[np.bool_], most: int = POPULATION_CAP) -> float:
    """How many of the others each of those sampled stands for."""
    n = int((~is_seed).sum())
    return n / min(n, most)


def learned(z: Matrix, is_seed: NDArray[np.bool_], components: Matrix, params: Params, weight: float) -> Likeness:
    """A ranker of some seeds, its places of seeds that were left out of three fits, and its curve. Shape: z (n, q), components (q, d)."""
    folds = np.random.default_rng(SEED).permutation(len(z)) % 3
    left_out = np.full(len(z), np.nan)
    for i in range(3):
        part = folds != i
        fitted = _fitted(z[part], is_seed[part], components, params)
        # As places in the population, since a fit on fewer seeds has a smaller spread.
        left_out[~part] = _place(fitted.population[_part(params.ranker)], _scores(fitted, z[~part], components))
    likeness = _fitted(z, is_seed, components, params)
    seeds = np.quantile(left_out[is_seed], _LEVELS)
    return replace(likeness, seeds=seeds, curve=_curve(left_out, is_seed, seeds, weight))


def _part(ranker: str) -> str:
    """What a ranker's scores are: of a linear one the margin."""
    return ranker if ranker in ("similarity", "ensemble") else "classifier"


def likeness_of(likeness: Likeness, scores: Matrix) -> Matrix:
    """The share of the seeds that have lower scores. Shape: (n,)."""
    return np.clip(_place(likeness.seeds, _place(likeness.population[_part(likeness.ranker)], scores)), 0.0, 1.0)


def _fitted(z: Matrix, is_seed: NDArray[np.bool_], components: Matrix, params: Params) -> Likeness:
    """Fit the linear part and the groups of seeds."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    n_groups = max(1, min(params.n_groups, int(is_seed.sum()) // SMALLEST_GROUP))
    # One thread, of BLAS and OpenMP alike: on a busy machine two wait for each other.
    with threadpool_limits(1):
        weights = LEARNERS.get(params.ranker, pu.plain)(z, is_seed, params.C)
        groups = KMeans(n_groups, n_init=4, random_state=SEED).fit(z[is_seed] @ components)
    centres = groups.cluster_centers_ / np.maximum(np.linalg.norm(groups.cluster_centers_, axis=1, keepdims=True), 1e-12)
    margins, cosines = z[~is_seed] @ weights, _cosines(z[~is_seed], components, centres).max(axis=1)
    population = {"classifier": np.quantile(margins, _LEVELS), "similarity": np.quantile(cosines, _LEVELS)}
    ensemble = 0.5 * (_place(population["classifier"], margins) + _place(population["similarity"], cosines))
    return Likeness(params.ranker, weights, centres, {**population, "ensemble": np.quantile(ensemble, _LEVELS)}, np.array([]))


def _scores(likeness: Likeness, z: Matrix, components: Matrix) -> Matrix:
    if _part(likeness.ranker) == "classifier":
        return z @ likeness.weights
    return combined(likeness, z @ likeness.weights, _cosines(z, components, likeness.centres).max(axis=1))


def combined(likeness: Likeness, margins: Matrix, similarity: Matrix) -> Matrix:
    """What the ranker ranks by, from its two parts. Shape: (n,)."""
    if likeness.ranker == "similarity":
        return similarity
    if likeness.ranker == "ensemble":
        return 0.5 * (_place(likeness.population["classifier"], margins) + _place(likeness.population["similarity"], similarity))
    return margins


def _cosines(z: Matrix, components: Matrix, centres: Matrix) -> Matrix:
    at = z @ components[:, :centres.shape[1]]
    cosines: Matrix = at @ centres.T / np.maximum(np.linalg.norm(at, axis=1, keepdims=True), 1e-12)
    return cosines


def _cosine_parts(z: Matrix, components: Matrix, centres: Matrix) -> Matrix:
    """Shape: (n, q). The cosine with the nearest centre, split over the prepared places; rows add up to it."""
    nearest = _cosines(z, components, centres).argmax(axis=1)
    components = components[:, :centres.shape[1]]
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


def _curve(scores: Matrix, is_seed: NDArray[np.bool_], seeds: Matrix, weight: float) -> list[dict[str, float]]:
    """Reach against likeness and lift, over left-out scores: at each reach the least likeness, and seeds found against chance. `weight` is of each who is no seed."""
    order = np.argsort(-scores, kind="stable")
    found, reached = np.cumsum(is_seed[order]), np.cumsum(np.where(is_seed[order], 1.0, weight))
    curve = []
    for share in (0.01, 0.02, 0.05, 0.10, 0.15, 0.20, 0.30, 0.40, 0.50, 0.70, 1.0):
        k = int(np.searchsorted(reached, share * reached[-1] * (1 - 1e-12)))
        if found[k] < SMALLEST_GROUP and share < 1:
            continue
        similarity = float(np.clip(_place(seeds, scores[order[k:k + 1]]), 0, 1)[0])
        curve.append({"share": share, "similarity": round(similarity, 4), "expected_lift": round(float(found[k] / found[-1] / share), 3)})
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
