"""Which shoulder exercise a smartwatch's wearer is doing, from two seconds of motion.

Data: the ``watch`` set inside the package seglearn (BSD-3-Clause): 140 recordings at 50 Hz, three axes of
acceleration and three of rotation, 10 people × 7 exercises × both arms (Burns et al. 2018, *Shoulder physiotherapy
exercise recognition: machine learning the inertial signals from a smartwatch*, Physiological Measurement 39).
People 8–10 are the test split: windows drawn at random would score 0.97 by recognising the person.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinymlops.workloads.base import Workload
from tinymlops.workloads.packaged import packaged_file
from tinymlops.workloads.values import FitPlan, Samples, Split

WINDOW = 100
"""Samples a window: 2 s at 50 Hz."""
STRIDE = 50
VALIDATION_SUBJECTS = (7,)
TEST_SUBJECTS = (8, 9, 10)
SCALE = np.array([1.0, 1.0, 1.0, 2.5, 2.5, 2.5], np.float32)
"""Divides each channel (g and rad/s), a constant of the sensors and not of the data."""

_FILE = "seglearn/data/watch_dataset.npy"
_SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"


def rotate_sensor(inputs: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Each window as a watch worn a little differently would have seen it.

    Rotates both sensors by the same random axis and up to 30° (Rodrigues' formula), scales by up to
    15 % and adds a little noise. Shapes (n, WINDOW, 1, 6) in and out.
    """
    count = len(inputs)
    axis = rng.normal(size=(count, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    angle = rng.uniform(-np.pi / 6, np.pi / 6, (count, 1, 1))
    cross = np.cross(np.eye(3)[None], axis[:, None])
    rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    motion = inputs[:, :, 0]
    turned = np.concatenate([motion[..., :3] @ rotation, motion[..., 3:] @ rotation], axis=-1)
    turned *= rng.uniform(0.85, 1.15, (count, 1, 1))
    turned += rng.normal(0.0, 0.03, turned.shape)
    return turned[:, :, None].astype(np.float32)


class Activity(Workload):
    """Seven shoulder exercises, split by person."""

    name = "activity"
    title = "Shoulder exercises from a smartwatch's motion sensors"
    labels = (
        "pendulum",
        "abduction",
        "forward elevation",
        "internal rotation",
        "external rotation",
        "trapezius",
        "row",
    )
    fit = FitPlan(
        epochs=36,
        patience=12,
        fine_tune_epochs=8,
        label_smoothing=0.1,
        augment=rotate_sensor,
    )
    credit = "Motion data: seglearn `watch` (David Burns, BSD-3-Clause)"

    def split(self, seed: int) -> Split:
        """People 8–10 test, person 7 validates, 1–6 train; the seed has no say in it."""
        del seed
        recordings = np.load(packaged_file("seglearn", _FILE, _SHA256), allow_pickle=True).item()
        parts: dict[str, list[tuple[NDArray[np.float32], int, int]]] = {"train": [], "validation": [], "test": []}
        for motion, label, subject in zip(recordings["X"], recordings["y"], recordings["subject"], strict=True):
            part = "test" if subject in TEST_SUBJECTS else "validation" if subject in VALIDATION_SUBJECTS else "train"
            scaled = motion.astype(np.float32) / SCALE
            parts[part] += [
                (scaled[start : start + WINDOW, None], int(label), int(subject))
                for start in range(0, len(motion) - WINDOW + 1, STRIDE)
            ]
        return Split(**{part: _samples(rows) for part, rows in parts.items()})

    def network(self) -> Any:
        """Depthwise-separable convolutions over time, about 12,000 weights."""
        from tinymlops.workloads import layers

        inputs = layers.Input((WINDOW, 1, 6))
        hidden = layers.convolution(inputs, 32, (11, 1), stride=2)
        for width, stride in ((32, 2), (64, 2), (64, 1)):
            hidden = layers.separable_convolution(hidden, width, (11, 1), stride=stride)
        return layers.classifier(inputs, hidden, classes=len(self.labels), dropout=0.4)

    def reference_features(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean, deviation, extremes and mean absolute step of each channel: 30 features."""
        motion = inputs[:, :, 0]
        steps = np.abs(np.diff(motion, axis=1)).mean(axis=1)
        return np.concatenate([motion.mean(1), motion.std(1), motion.min(1), motion.max(1), steps], axis=1)


def _samples(rows: list[tuple[NDArray[np.float32], int, int]]) -> Samples:
    windows, labels, subjects = zip(*rows, strict=True)
    return Samples(np.stack(windows), np.array(labels, np.int64), np.array(subjects, np.int64))
