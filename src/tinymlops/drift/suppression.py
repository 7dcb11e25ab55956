"""Which cells may be shown, so that nothing of fewer than k devices can be worked out from those that are.

A cell is a set of devices whose sums are published: the fleet, a region, a tag. Hiding those below k is not enough: the
fleet less all regions but one is that one. Every sum that can be worked out of the shown ones is a combination of
their indicator vectors; none may rest on fewer than k devices (a linear audit: Chin and Ozsoyoglu 1982, "Auditing and
inference control in statistical databases", IEEE TSE 8).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

_MOST_TRIED = 20_000
"""Combinations looked at in one step; where there are more, cells are hidden without knowing that they must be."""
_TINY = 1e-9

Matrix = NDArray[np.float64]


def suppress(cells: Mapping[str, AbstractSet[Hashable]], k: int) -> frozenset[str]:
    """Names of the cells that may be shown together.

    Cells below k go first; then, for as long as some combination of the others rests on fewer than k devices, the
    smallest cell of that combination goes. Equal cells stand or fall together.

    Args:
        cells: Devices of each cell, by name.
        k: Devices that anything published must rest on.
    """
    shown = {name: frozenset(devices) for name, devices in cells.items() if len(devices) >= k}
    while (culprits := _revealing(shown, k)) is not None:
        smallest = min(len(shown[name]) for name in culprits)
        gone = {shown[name] for name in culprits if len(shown[name]) == smallest}
        shown = {name: devices for name, devices in shown.items() if devices not in gone}
    return frozenset(shown)


def _revealing(shown: Mapping[str, frozenset[Hashable]], k: int) -> list[str] | None:
    """Cells of a combination that rests on fewer than k devices, or None if there is none."""
    distinct: dict[frozenset[Hashable], str] = {}
    for name, devices in shown.items():
        distinct.setdefault(devices, name)
    names = list(distinct.values())
    if not names:
        return None
    members, sizes = _atoms(list(distinct))
    for weights in _narrow(members, sizes, k):
        return [name for name, weight in zip(names, weights, strict=True) if abs(weight) > _TINY]
    return None


def _atoms(cells: list[frozenset[Hashable]]) -> tuple[Matrix, Matrix]:
    """Devices that are in the same cells, thrown together: membership, shape (cells, atoms), and sizes (atoms,)."""
    counted: dict[tuple[bool, ...], int] = {}
    for device in frozenset().union(*cells):
        key = tuple(device in cell for cell in cells)
        counted[key] = counted.get(key, 0) + 1
    return np.array(list(counted), np.float64).T, np.array(list(counted.values()), np.float64)


def _narrow(members: Matrix, sizes: Matrix, k: int) -> Iterator[Matrix]:
    """Weights of cells whose combination is not 0, yet rests on fewer than k devices.

    Such a combination is 0 on every atom of k devices or more: what is left is a space of few dimensions d. Its
    narrowest members are those that are 0 on d - 1 independent atoms more, so it is enough to look at these.
    """
    hidden = sizes < k
    weights = _left_null(members[:, ~hidden])
    left, strengths, _ = np.linalg.svd(weights @ members[:, hidden], full_matrices=False)
    weights = left[:, strengths > _TINY].T @ weights
    basis = weights @ members[:, hidden]
    if not len(basis):
        return
    directions, held = _directions(basis, sizes[hidden])
    if math.comb(len(directions), len(basis) - 1) > _MOST_TRIED:
        yield np.abs(weights).sum(axis=0)
        return
    for chosen in combinations(directions, len(basis) - 1):
        mixes = _left_null(np.array(chosen).reshape(-1, len(basis)).T)
        if len(mixes) == 1 and held[np.abs(directions @ mixes[0]) > _TINY].sum() < k:
            yield mixes[0] @ weights


def _left_null(matrix: Matrix) -> Matrix:
    """Rows w with w @ matrix = 0, orthonormal, shape (dimensions, rows of ``matrix``)."""
    if not matrix.size:
        return np.eye(len(matrix))
    left, strengths, _ = np.linalg.svd(matrix)
    null: Matrix = left[:, int(np.sum(strengths > _TINY)) :].T
    return null


def _directions(basis: Matrix, sizes: Matrix) -> tuple[Matrix, Matrix]:
    """Atoms that are 0 in the same combinations, thrown together: shape (directions, d), and their sizes."""
    columns = basis.T
    lengths = np.linalg.norm(columns, axis=1)
    columns, sizes = columns[lengths > _TINY] / lengths[lengths > _TINY, None], sizes[lengths > _TINY]
    first = np.argmax(np.abs(columns) > 1e-6, axis=1)
    columns = columns * np.sign(columns[np.arange(len(columns)), first])[:, None]
    _, kept, into = np.unique(columns.round(6), axis=0, return_index=True, return_inverse=True)
    return columns[kept], np.bincount(into.ravel(), weights=sizes).astype(np.float64)
