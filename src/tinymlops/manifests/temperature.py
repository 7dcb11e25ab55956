"""Honest confidences: one scalar that divides the logits.

Guo et al. 2017, *On Calibration of Modern Neural Networks*, ICML, section 4.2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

_LEAST, _MOST = 0.05, 20.0
_SMALLEST = 1e-7
"""A quantized probability can be exactly 0, and its logarithm must not be."""


def fit_temperature(probabilities: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    """The temperature with the least negative log-likelihood on rows that the network was not fitted to.

    Args:
        probabilities: Outputs of the network, shape (n, classes).
        targets: Class numbers, shape (n,).
    """
    logits = np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        chosen = scaled[np.arange(len(targets)), targets]
        return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - chosen))

    found = minimize_scalar(loss, bounds=(np.log(_LEAST), np.log(_MOST)), method="bounded")
    return round(float(np.exp(found.x)), 4)


def tempered(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """Probabilities whose logits are divided by ``temperature``, as a device does it; shapes (n, classes)."""
    sharpened = np.power(np.maximum(probabilities.astype(np.float64), _SMALLEST), 1.0 / temperature)
    normal: NDArray[np.float64] = sharpened / sharpened.sum(axis=1, keepdims=True)
    return normal
