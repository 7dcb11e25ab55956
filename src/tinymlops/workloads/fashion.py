"""Which of ten articles of clothing a 28 × 28 grey picture shows.

Data: Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747; Expat licence, © Zalando SE) from a folder of IDX
files, by default the one of Debian's package dataset-fashion-mnist. ``FASHION_MNIST`` names another folder.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinymlops.errors import SetupError, WorkloadError
from tinymlops.workloads.base import Workload
from tinymlops.workloads.packaged import verified_file
from tinymlops.workloads.values import FitPlan, Samples, Split

FOLDER = "/usr/share/datasets/fashion-mnist"
_HINT = "install Debian's dataset-fashion-mnist, or set FASHION_MNIST to a folder with the four .gz files"
_DIGESTS = {
    "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}
_VALIDATION_ROWS = 5_000


def read_idx(content: bytes) -> NDArray[np.uint8]:
    """An array from an IDX file of unsigned bytes (LeCun's format: magic, dimensions, data).

    Raises:
        WorkloadError: The magic, the type or the length is wrong.
    """
    if len(content) < 4 or content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * content[3]:
        raise WorkloadError("the data is no IDX file of bytes", _HINT)
    shape = np.frombuffer(content, ">u4", count=content[3], offset=4).astype(int)
    data = np.frombuffer(content, np.uint8, offset=4 + 4 * content[3])
    if data.size != int(np.prod(shape)):
        raise WorkloadError(f"the IDX file holds {data.size} bytes of the {int(np.prod(shape))} it announces", _HINT)
    return data.reshape(shape)


class Fashion(Workload):
    """Ten articles of clothing; the data's own test set."""

    name = "fashion"
    title = "Articles of clothing in small grey pictures"
    labels = (
        "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
    )  # fmt: skip
    fit = FitPlan(epochs=5, patience=3, batch_size=128, fine_tune_epochs=1)
    credit = "Pictures: Fashion-MNIST (© Zalando SE, Expat licence)"

    def split(self, seed: int) -> Split:
        """The 10,000 test pictures as published; 5,000 of the others, drawn by the seed, validate."""
        order = np.random.default_rng(seed).permutation(60_000)
        train, held_out = np.sort(order[_VALIDATION_ROWS:]), np.sort(order[:_VALIDATION_ROWS])
        pictures, labels = _read("train")
        return Split(
            train=_samples(pictures[train], labels[train], train),
            validation=_samples(pictures[held_out], labels[held_out], held_out),
            test=_samples(*_read("t10k"), 60_000 + np.arange(10_000)),
        )

    def network(self) -> Any:
        """Depthwise-separable convolutions, about 9,000 weights."""
        from tinymlops.workloads import layers

        inputs = layers.Input((28, 28, 1))
        hidden = layers.convolution(inputs, 16, (3, 3), stride=2)
        hidden = layers.separable_convolution(hidden, 32, (3, 3))
        hidden = layers.separable_convolution(hidden, 64, (3, 3), stride=2)
        hidden = layers.separable_convolution(hidden, 64, (3, 3))
        return layers.classifier(inputs, hidden, classes=len(self.labels))


def data_folder() -> Path:
    """Where the four files are.

    Raises:
        SetupError: One of them is missing.
    """
    folder = Path(os.environ.get("FASHION_MNIST", FOLDER))
    missing = [name for name in _DIGESTS if not (folder / name).is_file()]
    if missing:
        raise SetupError(f"there is no {missing[0]} in {folder}", _HINT)
    return folder


def _read(part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    folder = data_folder()
    names = (f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz")
    pictures, labels = (
        read_idx(gzip.decompress(verified_file(folder / name, _DIGESTS[name], _HINT).read_bytes())) for name in names
    )
    return pictures, labels


def _samples(pictures: NDArray[np.uint8], labels: NDArray[np.uint8], rows: NDArray[np.int64]) -> Samples:
    return Samples(pictures[..., None].astype(np.float32) / np.float32(255), labels.astype(np.int64), rows)
