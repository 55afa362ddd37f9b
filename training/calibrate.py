"""Calibration on the raw margin (Platt 1999): logit p = a m + b with a > 0, so that contributions to m explain p exactly."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def fit_platt(margins: Array, y: Array) -> tuple[float, float]:
    """Maximum likelihood for (a, b), with a = exp(t) kept positive. Shape: (n,), (n,)."""
    from scipy.optimize import minimize

    spread = float(margins.std()) or 1.0
    centre = float(margins.mean())
    z = (margins - centre) / spread

    def loss(parameters: Array) -> tuple[float, Array]:
        a, b = np.exp(parameters[0]), parameters[1]
        log_odds = a * z + b
        residual = 0.5 * (1 + np.tanh(0.5 * log_odds)) - y
        value = float(np.mean(np.logaddexp(0, log_odds) - y * log_odds))
        return value, np.array([np.mean(residual * z) * a, np.mean(residual)])

    rate = np.clip(y.mean(), 1e-6, 1 - 1e-6)
    # A margin that ranks no better than chance drives a to 0; the bound keeps it a ranking.
    found = minimize(loss, np.array([0.0, np.log(rate / (1 - rate))]), jac=True, method="L-BFGS-B", bounds=[(-7, 7), (-30, 30)])
    slope = float(np.exp(found.x[0])) / spread
    return slope, float(found.x[1]) - slope * centre


def calibrated(margins: Array, slope: float, intercept: float) -> Array:
    """Margins -> probabilities."""
    result: Array = 0.5 * (1 + np.tanh(0.5 * (slope * margins + intercept)))
    return result


def fitted_log_loss(margins: Array, y: Array) -> float:
    """Log loss after calibration on the same rows: what a margin is worth once its level and spread are set right.

    Tuning uses it because the base rate moves between blocks, and two parameters on thousands of rows cannot overfit much.
    """
    p = np.clip(calibrated(margins, *fit_platt(margins, y)), 1e-12, 1 - 1e-12)
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))
