"""Learning from seeds and unlabelled customers: three learners beside the plain one.

All learners are linear, so that what they say adds up over columns. Sources: bagging, Mordelet and Vert (2014), "A bagging SVM to learn from positive and unlabeled examples";
weights, Elkan and Noto (2008), "Learning classifiers from only positive and unlabeled data", section 3.2; spies, Liu, Lee, Yu and Li (2002), "Partially supervised
classification of text documents".
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]
SEED = 20260101
N_BAGS = 25
SPY_SHARE, SPIES_LOST = 0.15, 0.05


def plain(z: Matrix, is_seed: Mask, strength: float, weights: Matrix | None = None) -> Matrix:
    """Ridge logistic regression, seeds against the rest, as if all of the rest were unlike them. Shape: (n, q), (n,) -> (q,)."""
    return np.asarray(_regression(z, is_seed, strength, weights).coef_[0], dtype=np.float64)


def bagging(z: Matrix, is_seed: Mask, strength: float) -> Matrix:
    """The mean of fits against small draws of the rest, as many as there are seeds: a hidden positive is in few of them."""
    seeds, others = np.flatnonzero(is_seed), np.flatnonzero(~is_seed)
    rng = np.random.default_rng(SEED)
    draws = [np.r_[seeds, rng.choice(others, min(len(seeds), len(others)), replace=False)] for _ in range(N_BAGS)]
    return np.asarray(np.mean([plain(z[rows], is_seed[rows], strength) for rows in draws], axis=0), dtype=np.float64)


def elkan_noto(z: Matrix, is_seed: Mask, strength: float) -> Matrix:
    """Each unlabelled customer enters twice, as a positive with the probability of being one, and as a negative with the rest of it.

    That probability is (1 - c) / c * g / (1 - g), with g the chance of being a seed and c its mean over seeds that were left out.
    """
    g = _left_out(z, is_seed, strength)
    c = float(g[is_seed].mean())
    hidden = np.clip((1 - c) / c * g / np.maximum(1 - g, 1e-9), 0, 1)[~is_seed]
    rest = z[~is_seed]
    y = np.r_[np.ones(is_seed.sum() + len(rest), dtype=bool), np.zeros(len(rest), dtype=bool)]
    return plain(np.vstack([z[is_seed], rest, rest]), y, strength, np.r_[np.ones(is_seed.sum()), hidden, 1 - hidden])


def spies(z: Matrix, is_seed: Mask, strength: float) -> Matrix:
    """Seeds against those of the rest who can be relied on to be unlike them; against all of the rest where too few can."""
    is_negative = reliable(z, is_seed, strength)
    rows = np.flatnonzero(is_seed | is_negative) if is_negative.sum() >= is_seed.sum() / 2 else np.arange(len(z))
    return plain(z[rows], is_seed[rows], strength)


def reliable(z: Matrix, is_seed: Mask, strength: float) -> Mask:
    """Some seeds are hidden among the rest as spies; whoever of the rest is ranked below nearly all of them is unlike the seeds. Shape: (n,)."""
    seeds = np.flatnonzero(is_seed)
    hidden = np.random.default_rng(SEED).choice(seeds, max(1, round(SPY_SHARE * len(seeds))), replace=False)
    known = is_seed.copy()
    known[hidden] = False
    scores = z @ plain(z, known, strength)
    return np.asarray(~is_seed & (scores < np.quantile(scores[hidden], SPIES_LOST)))


def _left_out(z: Matrix, is_seed: Mask, strength: float) -> Matrix:
    """The chance of being a seed, of customers left out when it was fitted. Shape: (n,)."""
    fold, g = np.random.default_rng(SEED).permutation(len(z)) % 3, np.empty(len(z))
    for i in range(3):
        g[fold == i] = _regression(z[fold != i], is_seed[fold != i], strength).predict_proba(z[fold == i])[:, 1]
    return g


def _regression(z: Matrix, y: Mask, strength: float, weights: Matrix | None = None) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-8, max_iter=200).fit(z, y, weights)
