"""Metrics with intervals that resample customers, because a customer's snapshots stand or fall together."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
N_RESAMPLES = 500
# Slope, intercept and ECE cost more than a sum.
N_CALIBRATION_RESAMPLES = 200
SEED = 11
# Weights that are worked on at a time: what stays near the processor is quicker, and beside a large table there is no room for more.
_SLAB = 4_000_000


def _slabs(w: Array) -> Iterator[Array]:
    """Resamples, some at a time. Shape: (b, n) -> (some of b, n)."""
    step = max(1, _SLAB // max(w.shape[1], 1))
    return (w[begin:begin + step] for begin in range(0, len(w), step))


def _of_order(y: Array, score: Array, w: Array, metrics: dict[str, Callable[[Array, Array], Array]]) -> dict[str, Array]:
    """Metrics of what each distinct score holds, highest first: weighted positives and negatives. Shape of w: (b, n), of each result (b,)."""
    # Sorted once for all.
    order = np.argsort(-score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) != 0])
    y, found = y[order], []
    for slab in _slabs(w):
        slab = slab[:, order]
        held = np.add.reduceat(slab * y, starts, axis=1), np.add.reduceat(slab * (1 - y), starts, axis=1)
        found.append([metric(*held) for metric in metrics.values()])
    return dict(zip(metrics, map(np.concatenate, zip(*found, strict=True)), strict=True))


def _one_of_order(metric: Callable[[Array, Array], Array], y: Array, score: Array, w: Array) -> Array:
    return _of_order(y, score, w, {"one": metric})["one"]


def auc(y: Array, score: Array, w: Array) -> Array:
    """Area under the ROC curve, ties counting half. Shape: y, score (n,), w (b, n) -> (b,)."""
    return _one_of_order(_area, y, score, w)


def _area(positive: Array, negative: Array) -> Array:
    below = negative.sum(axis=1, keepdims=True) - np.cumsum(negative, axis=1)
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    area: Array = (positive * (below + negative / 2)).sum(axis=1) / np.maximum(pairs, 1e-300)
    return area


def average_precision(y: Array, score: Array, w: Array) -> Array:
    """Sum of precision times the step in recall, over distinct scores (as scikit-learn's)."""
    return _one_of_order(_precision, y, score, w)


def _precision(positive: Array, negative: Array) -> Array:
    hits = np.cumsum(positive, axis=1)
    seen = hits + np.cumsum(negative, axis=1)
    result: Array = (positive * hits / np.maximum(seen, 1e-300)).sum(axis=1) / np.maximum(hits[:, -1], 1e-300)
    return result


def lift_at(share: float) -> Callable[[Array, Array, Array], Array]:
    """Rate among the top `share` against the rate of all; a tie at the edge is taken in part."""
    return partial(_one_of_order, partial(_lift, share))


def _lift(share: float, positive: Array, negative: Array) -> Array:
    size = positive + negative
    wanted = share * size.sum(axis=1, keepdims=True)
    taken = np.clip(wanted - (np.cumsum(size, axis=1) - size), 0, size)
    hits = (positive * taken / np.maximum(size, 1e-300)).sum(axis=1)
    result: Array = hits / np.maximum(share * positive.sum(axis=1), 1e-300)
    return result


def log_loss(y: Array, p: Array, w: Array) -> Array:
    """Mean negative log-likelihood, in nats."""
    p = np.clip(p, 1e-12, 1 - 1e-12)
    loss: Array = (w @ -(y * np.log(p) + (1 - y) * np.log(1 - p))) / w.sum(axis=1)
    return loss


def brier(y: Array, p: Array, w: Array) -> Array:
    """Mean squared error of the probability (Brier 1950)."""
    error: Array = (w @ (y - p) ** 2) / w.sum(axis=1)
    return error


# Those that need the order of the scores alone, of what each distinct score holds, and those that need the probabilities.
OF_ORDER: dict[str, Callable[[Array, Array], Array]] = {
    "auc": _area, "average_precision": _precision, "lift_at_5": partial(_lift, 0.05), "lift_at_10": partial(_lift, 0.10), "lift_at_20": partial(_lift, 0.20)}
OF_PROBABILITIES: dict[str, Callable[[Array, Array, Array], Array]] = {"log_loss": log_loss, "brier": brier}


def resamples(customers: NDArray[np.object_], n: int = N_RESAMPLES) -> Array:
    """Bootstrap weights: every customer drawn with replacement, all of its rows together. Shape: (n + 1, rows); row 0 is the data itself."""
    names, place = np.unique(customers.astype(str), return_inverse=True)
    drawn = np.random.default_rng(SEED).multinomial(len(names), np.full(len(names), 1 / len(names)), size=n)
    return np.vstack([np.ones(len(names)), drawn])[:, place].astype(np.float64)


def interval(values: Array) -> list[float]:
    """The central 95 % of resampled values (row 0, the data itself, left out)."""
    low, high = np.percentile(values[1:], [2.5, 97.5])
    return [round(float(low), 4), round(float(high), 4)]


def measure(y: Array, p: Array, w: Array) -> dict[str, Any]:
    """All metrics of probabilities with their intervals, and how far they can be believed. Shape: y, p (n,), w (b, n)."""
    result: dict[str, Any] = {}
    found = _of_order(y, p, w, OF_ORDER) | {name: metric(y, p, w) for name, metric in OF_PROBABILITIES.items()}
    for name, values in found.items():
        result[name] = round(float(values[0]), 5)
        result[f"{name}_interval"] = interval(values)
    return result | believability(y, p, w)


def gain(y: Array, ours: Array, theirs: Array, w: Array, metric: Callable[[Array, Array, Array], Array] = auc) -> dict[str, Any]:
    """The paired difference of a metric on the same resamples."""
    values = metric(y, ours, w) - metric(y, theirs, w)
    return {"value": round(float(values[0]), 5), "interval": interval(values)}


def believability(y: Array, p: Array, w: Array) -> dict[str, Any]:
    """Calibration: mean predicted and observed, slope and intercept of y on logit p, and equal-count ECE, with intervals, beside what chance gives.

    `ece_by_chance` is the mean and 95th percentile of the ECE of outcomes drawn from p itself: a perfect model would show that. An ECE is never
    below 0 and rises with noise, which resampling adds, so its interval lies high: believe the comparison with chance. Shape: y, p (n,), w (b, n).
    """
    w = w[: 1 + N_CALIBRATION_RESAMPLES]
    slopes, intercepts = calibration_lines(y, p, w)
    errors = calibration_errors(y, p, w)
    rng = np.random.default_rng(SEED)
    by_chance = [expected_calibration_error((rng.random(len(p)) < p).astype(np.float64), p) for _ in range(200)]
    return {
        "mean_predicted": round(float(p.mean()), 5), "mean_observed": round(float(y.mean()), 5),
        "calibration_slope": round(float(slopes[0]), 4), "calibration_slope_interval": interval(slopes),
        "calibration_intercept": round(float(intercepts[0]), 4), "calibration_intercept_interval": interval(intercepts),
        "ece": round(expected_calibration_error(y, p), 5), "ece_interval": interval(errors),
        "ece_by_chance": {"mean": round(float(np.mean(by_chance)), 5), "percentile_95": round(float(np.percentile(by_chance, 95)), 5)},
    }


def calibration_lines(y: Array, p: Array, w: Array) -> tuple[Array, Array]:
    """Slope and intercept of y on logit p by maximum likelihood (Cox 1958), for all resamples at once by Newton steps. Shape: y, p (n,), w (b, n) -> (b,), (b,).

    A ridge of a thousandth of a row keeps the steps finite where one label alone was drawn.
    """
    p = np.clip(p, 1e-12, 1 - 1e-12)
    z = np.log(p / (1 - p))
    # Resamples lie near the data themselves, and begin there.
    begin = _line(y, z, w[:1], 1.0, 0.0)
    lines = [begin, *(_line(y, z, slab, float(begin[0][0]), float(begin[1][0])) for slab in _slabs(w[1:]))]
    return np.concatenate([slope for slope, _ in lines]), np.concatenate([intercept for _, intercept in lines])


def _line(y: Array, z: Array, w: Array, from_slope: float, from_intercept: float) -> tuple[Array, Array]:
    """The same from a beginning. Shape: y, z (n,), w (b, n) -> (b,), (b,)."""
    slope, intercept = np.full(len(w), from_slope), np.full(len(w), from_intercept)
    for _ in range(25):
        fitted = 0.5 * (1 + np.tanh(0.5 * (slope[:, None] * z + intercept[:, None])))
        residual, weight = w * (y - fitted), w * fitted * (1 - fitted)
        g_slope, g_intercept = residual @ z - 1e-3 * (slope - 1), residual.sum(axis=1) - 1e-3 * intercept
        h_ss, h_si, h_ii = weight @ z**2 + 1e-3, weight @ z, weight.sum(axis=1) + 1e-3
        determinant = h_ss * h_ii - h_si**2
        step_slope, step_intercept = (h_ii * g_slope - h_si * g_intercept) / determinant, (h_ss * g_intercept - h_si * g_slope) / determinant
        # A step that leaps is cut short, or a far beginning would overshoot.
        slope, intercept = slope + np.clip(step_slope, -1, 1), intercept + np.clip(step_intercept, -2, 2)
        if max(np.abs(step_slope).max(), np.abs(step_intercept).max()) < 1e-8:
            break
    return slope, intercept


def calibration_errors(y: Array, p: Array, w: Array, n_bins: int = 10) -> Array:
    """The expected calibration error of each resample, in bins of equal weight. Shape: y, p (n,), w (b, n) -> (b,)."""
    order = np.argsort(p, kind="stable")
    y, p = y[order], p[order]

    def of(w: Array) -> Array:
        total = w.sum(axis=1, keepdims=True)
        place = np.minimum(((np.cumsum(w, axis=1) - w / 2) / np.maximum(total, 1e-300) * n_bins).astype(np.int64), n_bins - 1)
        off = np.bincount((place + n_bins * np.arange(len(w))[:, None]).ravel(), (w * (p - y)).ravel(), n_bins * len(w)).reshape(len(w), n_bins)
        errors: Array = np.abs(off).sum(axis=1) / np.maximum(total[:, 0], 1e-300)
        return errors

    return np.concatenate([of(slab[:, order]) for slab in _slabs(w)])


def calibration_table(y: Array, p: Array, n_bins: int = 10) -> list[dict[str, Any]]:
    """Equal-count bins by predicted probability, lowest first: rows, mean predicted, share observed."""
    return [
        {"rows": len(part), "predicted": round(float(p[part].mean()), 5), "observed": round(float(y[part].mean()), 5)}
        for part in np.array_split(np.argsort(p, kind="stable"), n_bins) if len(part)]


def expected_calibration_error(y: Array, p: Array, n_bins: int = 10) -> float:
    """Mean distance between predicted and observed over equal-count bins, weighted by rows."""
    parts = np.array_split(np.argsort(p, kind="stable"), n_bins)
    return float(sum(abs(float(p[part].sum() - y[part].sum())) for part in parts) / len(p))


def gains_curve(y: Array, score: Array) -> list[dict[str, float]]:
    """Cumulative gains: share of all hits among the top 0, 5, ... 100 %."""
    w = np.ones((1, len(y)))
    return [{"reached": share / 100, "hits": round(float(lift_at(share / 100)(y, score, w)[0]) * share / 100, 5) if share else 0.0} for share in range(0, 101, 5)]


# Lift quality from which a word applies; below the first it is poor.
QUALITY_BOUNDS = {"excellent": 0.6, "good": 0.4, "fair": 0.2}


def quality(area: float, gain_interval: list[float]) -> dict[str, Any]:
    """A word for the ranking, from lift quality; at most "fair" while the gain over the rule may be none.

    Lift quality is the area between the gains curve and chance, as a share of what perfect knowledge would have: 2 AUC - 1.
    Source: Piatetsky-Shapiro and Steingold 2000; bounds as in Braze's prediction quality.
    """
    value = 2 * area - 1
    word = next((word for word, bound in QUALITY_BOUNDS.items() if value >= bound), "poor")
    is_capped = gain_interval[0] <= 0 and word in ("excellent", "good")
    return {"word": "fair" if is_capped else word, "lift_quality": round(value, 5), "is_capped": is_capped, "bounds": QUALITY_BOUNDS}
