"""Logistic regression by Newton's method: what comparisons of answers say once something else is held constant.

The models that are built on it: `bradley_terry.py` (players, and features of their answers) and `length_control.py`.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_STEPS: Final = 100
_TOLERANCE: Final = 1e-9


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + e^−x), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)), dtype=np.float64)


def fit_logistic(design: Array, targets: Array, weights: Array, ridge: Array) -> Array:
    """Return the coefficients, shape (k,), that best explain `targets` by sigmoid(design @ coefficients).

    `design` has shape (n, k), `targets` shape (n,) with values in [0, 1] (a draw is 0.5), `weights` shape (n,) with values ≥ 0.
    `ridge`, shape (k,), is the penalty on half the square of each coefficient: above 0, it keeps a coefficient finite that the
    data would drive to infinity, and makes one that the data says nothing about 0.
    """
    coefficients = np.zeros(design.shape[1])
    objective = _objective(design, targets, weights, ridge, coefficients)
    for _ in range(_STEPS):
        expected = sigmoid(design @ coefficients)
        gradient = design.T @ (weights * (targets - expected)) - ridge * coefficients
        curvature = (design * (weights * expected * (1 - expected))[:, None]).T @ design + np.diag(ridge)
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        scale, better = 1.0, objective
        while scale > 1e-6:  # a full step may overshoot far from the optimum
            better = _objective(design, targets, weights, ridge, coefficients + scale * step)
            if better <= objective:
                break
            scale /= 2
        coefficients = coefficients + scale * step
        objective = min(objective, better)
        if np.max(np.abs(scale * step), initial=0.0) < _TOLERANCE:
            break
    return coefficients


def _objective(design: Array, targets: Array, weights: Array, ridge: Array, coefficients: Array) -> float:
    scores = design @ coefficients
    loss = np.logaddexp(0, scores) - targets * scores
    return float(weights @ loss + 0.5 * ridge @ coefficients**2)
