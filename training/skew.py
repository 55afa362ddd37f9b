"""Who is in an audience: sensitive attributes and what stands in for them, among the seeds, everybody, and the audience at each reach.

Leaving sensitive columns out of a lookalike does not make its audiences even (Sapiezynski et al. 2019, "Algorithms that don't see color"), so the skew is counted and
said. No cell under ten persons is told, nor one that could be worked out from the others.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from features.feature import Feature
from training.saved_model import Column
from training.space import SMALLEST_GROUP

if TYPE_CHECKING:
    import pandas as pd

Matrix = NDArray[np.float64]
REACHES = (0.05, 0.10, 0.20)
# Beyond these an audience is called uneven: four fifths, as in the guidelines of the EEOC (1978), and its inverse; and only where chance does not give as much.
UNEVEN, BEYOND_CHANCE = (0.8, 1.25), 3.0
MOST_GROUPS = 8
# A column stands in for a sensitive attribute from this share of its ranks' variance on.
PROXY_SHARE, MOST_PROXIES = 0.10, 5


def skews(frame: "pd.DataFrame", features: Sequence[Feature], is_seed: NDArray[np.bool_], scores: Matrix, columns: Sequence[Column]) -> list[dict[str, Any]]:
    """One entry for each attribute: its groups with their shares of seeds, everybody and the audience by reach, and the audience's skew against everybody.

    `why` is "sensitive", "profile", or the sensitive attribute that a learned column tells. A share of None is not told. Shape: is_seed, scores (n,).
    """
    order = np.flatnonzero(~is_seed)[np.argsort(-scores[~is_seed], kind="stable")]
    audiences = {reach: order[:max(1, round(reach * len(order)))] for reach in REACHES}
    groups = {feature.name: grouped(frame, feature) for feature in features if feature.name in frame.columns and (feature.is_sensitive or feature.family == "profile")}
    sensitive = {feature.name for feature in features if feature.is_sensitive}
    learned = {column.name for column in columns}
    why = {name: "sensitive" if name in sensitive else "profile" for name in groups}
    for feature in features:
        if feature.name in learned and feature.name not in groups and not feature.is_category and (told := _told(frame, feature, groups, sensitive)):
            why[feature.name] = told
    stronger = sorted((name for name in why if name not in groups), key=lambda name: -float(why[name].partition(" ")[0]))[:MOST_PROXIES]
    by_name = {feature.name: feature for feature in features}
    groups |= {name: grouped(frame, by_name[name]) for name in stronger}
    return [_one(name, why[name].partition(" ")[2] or why[name], labels, is_seed, audiences) for name, labels in groups.items() if len(set(labels)) > 1]


def grouped(frame: "pd.DataFrame", feature: Feature) -> NDArray[np.object_]:
    """An attribute as groups of customers: levels of a category, the commonest by name; thirds of a number. Shape: (n,)."""
    values = frame[feature.name]
    if feature.is_category or values.dtype.kind not in "iufb" or values.nunique() <= MOST_GROUPS:
        text = values.map(lambda value: f"{value:g}" if isinstance(value, float) else str(value), na_action="ignore").astype(object)
        common = text.value_counts().index[:MOST_GROUPS]
        return np.where(values.isna(), "unknown", np.where(text.isin(common), text, "other")).astype(object)
    numbers = values.to_numpy(np.float64, na_value=np.nan)
    low, high = np.nanquantile(numbers, [1 / 3, 2 / 3]) if np.isfinite(numbers).any() else (0.0, 0.0)
    return np.select([np.isnan(numbers), numbers <= low, numbers <= high], ["unknown", "low", "middle"], "high").astype(object)


def _told(frame: "pd.DataFrame", feature: Feature, groups: dict[str, NDArray[np.object_]], sensitive: set[str]) -> str:
    """The sensitive attribute that a column's ranks tell best, with how well, if well enough (correlation ratio)."""
    from scipy.stats import rankdata

    values = frame[feature.name].to_numpy(np.float64, na_value=np.nan)
    known = np.isfinite(values)
    best = (PROXY_SHARE, "")
    for name in sorted(sensitive & groups.keys()):
        inside = known & (groups[name] != "unknown")
        if inside.sum() < 10 * SMALLEST_GROUP or np.ptp(values[inside]) == 0:
            continue
        ranks, (_, label) = rankdata(values[inside]), np.unique(groups[name][inside].astype(str), return_inverse=True)
        sizes = np.bincount(label)
        means = np.bincount(label, ranks) / sizes
        best = max(best, (float((sizes * (means - ranks.mean()) ** 2).sum() / ((ranks - ranks.mean()) ** 2).sum()), name))
    return f"{best[0]:.3f} {best[1]}" if best[1] else ""


def _one(name: str, why: str, labels: NDArray[np.object_], is_seed: NDArray[np.bool_], audiences: dict[float, NDArray[np.int64]]) -> dict[str, Any]:
    levels = sorted(set(labels))
    everybody = np.array([(labels == level).sum() for level in levels])
    seeds = _hidden(np.array([(labels[is_seed] == level).sum() for level in levels]))
    told = _hidden(everybody)
    n_seeds = int(is_seed.sum())
    rows: list[dict[str, Any]] = [
        {"group": str(level), "seeds": _share(seeds[i], n_seeds), "everybody": _share(told[i], len(labels)), "audience": {}, "skew": {}} for i, level in enumerate(levels)]
    uneven = []
    for reach, rows_in in audiences.items():
        counts = _hidden(np.array([(labels[rows_in] == level).sum() for level in levels]))
        for i, row in enumerate(rows):
            key, share = f"{round(100 * reach)}", everybody[i] / len(labels)
            is_told = counts[i] is not None and told[i] is not None
            ratio = (counts[i] or 0) / len(rows_in) / share if is_told else None
            row["audience"][key] = _share(counts[i], len(rows_in))
            row["skew"][key] = None if ratio is None else round(ratio, 2)
            # The standard deviation of a ratio where the audience is drawn by lot.
            chance = np.sqrt((1 - share) / (share * len(rows_in))) if share else np.inf
            if ratio is not None and not UNEVEN[0] <= ratio <= UNEVEN[1] and abs(ratio - 1) > BEYOND_CHANCE * chance:
                uneven.append({"group": row["group"], "reach": reach, "skew": round(ratio, 2)})
    return {"attribute": name, "why": why, "groups": rows, "uneven": sorted(uneven, key=lambda one: (one["group"] == "unknown", -abs(np.log(max(one["skew"], 0.01)))))[:3]}


def _hidden(counts: NDArray[np.int64]) -> list[int | None]:
    """Counts as they may be told: none under ten, and never a single one left out, which the total would give away."""
    said: list[int | None] = [int(count) if count >= SMALLEST_GROUP else None for count in counts]
    if sum(value is None for value in said) == 1 and len(said) > 1:
        said[min((i for i, value in enumerate(said) if value is not None), key=lambda i: counts[i])] = None
    return said


def _share(count: int | None, of: int) -> float | None:
    return None if count is None else round(count / of, 3)
