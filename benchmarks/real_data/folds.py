"""The rows that every model is fitted to, judged on, and calibrated on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Fold:
    """One split of a table: row numbers for training and test, and the repeat it belongs to."""

    repeat: int
    number: int
    train: Rows
    test: Rows


def repeated_folds(groups: Rows, n_folds: int, n_repeats: int, seed: int = 0) -> list[Fold]:
    """Return repeated K-fold splits that keep groups whole.

    Within a repeat each row is tested once; repeats shuffle the groups anew.
    """
    names = np.unique(groups)
    if not 2 <= n_folds <= len(names):
        raise ValueError(f"n_folds must be between 2 and {len(names)} groups, not {n_folds}")
    rng = np.random.default_rng(seed)
    folds = []
    for repeat in range(n_repeats):
        for number, tested in enumerate(np.array_split(rng.permutation(names), n_folds)):
            inside = np.isin(groups, tested)
            train, test = np.flatnonzero(~inside), np.flatnonzero(inside)
            folds.append(Fold(repeat, number, train, test))
    return folds


def proper_and_calibration(
    train: Rows, groups: Rows, share: float = 0.25, seed: int = 0
) -> tuple[Rows, Rows]:
    """Split training rows into those to fit and those to calibrate on, groups whole."""
    names = np.random.default_rng(seed).permutation(np.unique(groups[train]))
    held = names[: max(1, round(share * len(names)))]
    inside = np.isin(groups[train], held)
    return train[~inside], train[inside]
