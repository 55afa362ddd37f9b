"""How many of the customers who are no seeds are like the seeds, and what a ranking is worth once they are counted.

Two estimates, because each is wrong in its own way: Elkan and Noto (2008), "Learning classifiers from only positive and unlabeled data"; Garg, Wu, Smola, Balakrishnan and
Lipton (2021), "Mixture proportion estimation and PU learning: a modern approach" (the best bin). Both assume that seeds are drawn by lot among those like them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training import metrics
from training.calibrate import calibrated, fit_platt
from training.recipes import SEED

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]
# The two estimates agree when they differ by no more than this share of the larger, or by no more than two in a hundred customers.
TOLERANCE, TOLERANCE_SHARE = 0.25, 0.02
N_RESAMPLES = 40


def evaluated(y: Matrix, scores: Matrix, w: Matrix, margins: Matrix, is_seed: Mask) -> dict[str, Any]:
    """The AUC of held-out seeds against everybody else, and what it would be against true negatives, where two estimates of the share of hidden positives agree.

    Among the others a share pi is like the seeds, who cannot be told from them: AUC = (AUC_PU - pi / 2) / (1 - pi). Estimates come from `margins` of training customers who
    were left out when they were fitted. Shape: y, scores (m,), w (b, m), margins, is_seed (n,).
    """
    areas = metrics.auc(y, scores, w)
    found = {"elkan_noto": prior_by_mean(margins, is_seed), "best_bin": prior_by_best_bin(margins, is_seed)}
    spread = _spread(margins, is_seed)
    low, high = sorted(found.values())
    is_agreed = high < 1 and high - low <= max(TOLERANCE_SHARE, TOLERANCE * high)
    prior = (low + high) / 2
    said: dict[str, Any] = {
        "auc_pu": round(float(areas[0]), 5), "auc_pu_interval": metrics.interval(areas),
        "priors": {name: {"value": round(value, 4), "interval": spread[name]} for name, value in found.items()},
        "tolerance": {"share_of_the_larger": TOLERANCE, "at_least": TOLERANCE_SHARE}, "priors_agree": is_agreed, "auc_corrected": None, "auc_corrected_interval": None}
    if is_agreed:
        corrected = np.minimum((areas - prior / 2) / (1 - prior), 1.0)
        said |= {"prior": round(prior, 4), "auc_corrected": round(float(corrected[0]), 5), "auc_corrected_interval": metrics.interval(corrected)}
    return said


def prior_by_mean(margins: Matrix, is_seed: Mask) -> float:
    """The share of the unlabelled who are like the seeds, by Elkan and Noto's c: the mean chance of being a seed, over seeds. Too high where the two overlap."""
    g = calibrated(margins, *fit_platt(margins, is_seed.astype(np.float64)))
    n_alike = is_seed.sum() / max(float(g[is_seed].mean()), 1e-9)
    return float(np.clip((n_alike - is_seed.sum()) / (~is_seed).sum(), 0.0, 1.0))


def prior_by_best_bin(margins: Matrix, is_seed: Mask) -> float:
    """The same by the purest top: the least ratio of the unlabelled's to the seeds' share above a margin, its sampling error counted in when the margin is chosen."""
    cuts = np.sort(margins[is_seed])[::-1]
    seeds = np.arange(1, len(cuts) + 1) / len(cuts)
    others = 1 - np.searchsorted(np.sort(margins[~is_seed]), cuts, side="left") / (~is_seed).sum()
    slack = sum(np.sqrt(np.log(4 / 0.1) / (2 * n)) for n in (is_seed.sum(), (~is_seed).sum()))
    best = int(np.argmin((others + 1.01 * slack) / seeds))
    return float(min(others[best] / seeds[best], 1.0))


def _spread(margins: Matrix, is_seed: Mask) -> dict[str, list[float]]:
    """Intervals of both estimates over customers drawn again."""
    rng = np.random.default_rng(SEED)
    found: dict[str, list[float]] = {"elkan_noto": [], "best_bin": []}
    for _ in range(N_RESAMPLES):
        rows = rng.integers(0, len(margins), len(margins))
        if 0 < is_seed[rows].sum() < len(rows):
            found["elkan_noto"].append(prior_by_mean(margins[rows], is_seed[rows]))
            found["best_bin"].append(prior_by_best_bin(margins[rows], is_seed[rows]))
    return {name: [round(float(end), 4) for end in np.percentile(values, [2.5, 97.5])] for name, values in found.items()}
