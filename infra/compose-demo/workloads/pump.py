"""The demo's own workload: the state of a pump, told from six numbers of its vibration. Made up, and quick to learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinymlops.workloads import FitPlan, Samples, Split, Workload

CENTRES = np.array([[0.2, 0.9, 0.1, 0.4, 0.6, 0.3], [0.7, 0.5, 0.6, 0.2, 0.4, 0.8], [0.5, 0.2, 0.8, 0.9, 0.1, 0.5]])
"""What each state looks like on average."""
REMOUNTED = np.array([0.6, -0.5, 0.0, 0.4, 0.0, -0.2])
"""What a new mount of the sensor adds to every reading, whatever the state: the drift of the demo."""
NOISE = 0.16


def readings(
    rows: int, rng: np.random.Generator, *, remounted: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Numbers of the vibration, shape (rows, 6), and the true states, shape (rows,)."""
    states = rng.integers(0, len(CENTRES), rows)
    values = CENTRES[states] + rng.normal(0, NOISE, (rows, CENTRES.shape[1])) + (REMOUNTED if remounted else 0.0)
    return values.astype(np.float32), states.astype(np.int64)


class Pump(Workload):
    """Healthy, worn or dry, from six numbers."""

    name = "pump"
    title = "State of a pump from its vibration"
    labels = ("healthy", "worn", "dry")
    fit = FitPlan(epochs=20, fine_tune_epochs=2)

    def split(self, seed: int) -> Split:
        """Three thousand readings of a hundred pumps, thirty each."""
        rng = np.random.default_rng(seed)
        inputs, states = readings(3000, rng)
        pumps = np.arange(3000) // 30
        parts = (pumps < 60, (pumps >= 60) & (pumps < 80), pumps >= 80)
        return Split(*(Samples(inputs[rows], states[rows], pumps[rows]) for rows in parts))

    def network(self) -> Any:
        """One hidden layer."""
        import tf_keras as keras

        return keras.Sequential(
            [
                keras.layers.Input((CENTRES.shape[1],)),
                keras.layers.Dense(24, activation="relu"),
                keras.layers.Dense(len(self.labels), activation="softmax"),
            ]
        )
