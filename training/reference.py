"""What a saved model remembers of its rows: band cuts, band averages, quantiles, drivers. Nothing of a single person."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.members import Matrix
from training.metrics import Array
from training.saved_model import BANDS, Column, SavedModel
from training.tables import Rows

SMALLEST_GROUP = 10
HIGH_SHARE, MEDIUM_SHARE = 0.10, 0.20
# Deciles without the extremes, which would be single persons.
_LEVELS = np.linspace(0.05, 0.95, 11)


def band_cuts(p: Array) -> tuple[float, float]:
    """Probability cuts so that, out of time, one in ten was high and the next two in ten were medium; frozen from then on."""
    low, high = np.quantile(p, [1 - HIGH_SHARE - MEDIUM_SHARE, 1 - HIGH_SHARE])
    return float(low), float(high)


def bands_on(cuts: tuple[float, float], p: Array, y: Array) -> list[dict[str, Any]]:
    """Each band on the test block, highest first: rows, expected and actual hits; actual is left out where either side is under ten."""
    place = np.searchsorted(cuts, p, side="right")
    table = []
    for i in (2, 1, 0):
        inside = place == i
        n, hits = int(inside.sum()), int(y[inside].sum())
        is_shown = min(hits, n - hits) >= SMALLEST_GROUP
        table.append({"band": BANDS[i], "rows": n, "expected": round(float(p[inside].sum()), 1), "actual": hits if is_shown else None})
    return table


def reference_of(model: SavedModel, rows: Rows) -> dict[str, Any]:
    """What a model remembers of the latest snapshots: everybody and each band, and how its probabilities lay there."""
    p = model.probabilities(rows.x)
    bands = np.array(model.bands(p))
    averages = averages_of(model.columns, rows.x, {"all": np.ones(len(bands), dtype=bool), **{band: bands == band for band in BANDS}})
    return {**averages, "scores": [float(q) for q in np.quantile(p, _LEVELS)]}


def averages_of(columns: tuple[Column, ...], x: Matrix, groups: dict[str, NDArray[np.bool_]]) -> dict[str, Any]:
    """Averages of each group, and deciles and shares of everybody (for drift and golden rows). Shape: x (n, p), each group (n,)."""
    averages, quantiles, shares = {}, {}, {}
    for j, column in enumerate(columns):
        averages[column.name] = {name: _average(x[mask, j], column) for name, mask in groups.items()}
        known = x[~np.isnan(x[:, j]), j]
        shares[column.name] = {"unknown": round(1 - len(known) / max(len(x), 1), 5)}
        if column.is_category:
            counts = np.bincount(known.astype(int), minlength=len(column.levels))
            shares[column.name] |= {level: round(float(n) / max(len(x), 1), 5) for level, n in zip(column.levels, counts, strict=True) if n >= SMALLEST_GROUP}
        elif len(known) >= SMALLEST_GROUP:
            quantiles[column.name] = [float(q) for q in np.quantile(known, _LEVELS)]
    return {"rows": len(x), "averages": averages, "quantiles": quantiles, "shares": shares}


def _average(values: Array, column: Column) -> float | str | None:
    known = values[~np.isnan(values)]
    if len(known) < SMALLEST_GROUP:
        return None
    if column.is_category:
        return column.levels[int(np.bincount(known.astype(int)).argmax())]
    return float(known.mean())


def drivers(model: SavedModel, rows: Rows) -> dict[str, Any]:
    """What moves the served score: mean absolute contribution by family and feature, and the shape of the strongest; nothing that does not move it.

    A family's contributions are summed with their signs inside each row before the absolute value is taken, so that features that
    say the same do not count twice (Lundberg's advice for grouped SHAP values).
    """
    phi = model.contributions(rows.x)[:, :-1]
    firm = model.is_firm(phi)
    families = sorted({column.family for column in model.columns})
    by_family = [
        {"family": family, "strength": round(float(np.abs(phi[:, [c.family == family for c in model.columns]].sum(axis=1)).mean()), 5)} for family in families]
    order = np.argsort(-np.abs(phi).mean(axis=0))
    shown = [j for j in order if not model.columns[j].is_sensitive and np.any(phi[:, j] != 0)][:12]
    features = [
        {"feature": model.columns[j].name, "strength": round(float(np.abs(phi[:, j]).mean()), 5), "direction": _direction(rows.x[:, j], phi[:, j]),
         "firm_share": None if firm is None else round(float(firm[:, j].mean()), 4),
         "shape": [] if model.columns[j].is_category else _shape(rows.x[:, j], phi[:, j])} for j in shown]
    moving = [row for row in by_family if float(str(row["strength"])) > 0]
    return {"families": sorted(moving, key=lambda row: -float(str(row["strength"]))), "features": features}


def _direction(values: Matrix, phi: Array) -> str:
    """Whether more of it raises or lowers the score, by rank correlation; mixed where it does neither clearly."""
    known = ~np.isnan(values)
    if known.sum() < SMALLEST_GROUP or np.ptp(values[known]) == 0 or np.ptp(phi[known]) == 0:
        return "mixed"
    ranks = [np.argsort(np.argsort(v[known])) for v in (values, phi)]
    correlation = float(np.corrcoef(ranks[0], ranks[1])[0, 1])
    return "raises" if correlation > 0.3 else "lowers" if correlation < -0.3 else "mixed"


def _shape(values: Matrix, phi: Array) -> list[dict[str, float]]:
    """Mean value and mean contribution in up to eight bins cut at quantiles, lowest values first; equal values share a bin."""
    known = ~np.isnan(values)
    values, phi = values[known], phi[known]
    if len(values) < SMALLEST_GROUP:
        return []
    place = np.searchsorted(np.unique(np.quantile(values, np.linspace(0, 1, 9)[1:-1])), values, side="left")
    bins = [place == i for i in np.unique(place)]
    return [
        {"value": round(float(values[part].mean()), 4), "contribution": round(float(phi[part].mean()), 5), "rows": int(part.sum())}
        for part in bins if part.sum() >= SMALLEST_GROUP]
