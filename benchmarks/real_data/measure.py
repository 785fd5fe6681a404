"""One model on one fold: error, time, intervals; what goes wrong is a result too."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from benchmarks.real_data.datasets import Array, Table
from benchmarks.real_data.folds import Fold, proper_and_calibration
from benchmarks.real_data.models import Model, chosen_experts, inside
from sklearn.exceptions import ConvergenceWarning

from sigmoe.estimation import conformal_radius

LEVEL = 0.9
OK, FAILED, ABSENT = "ok", "failed", "not installed"


@dataclass(frozen=True)
class Interval:
    """Conformal intervals on the test rows of a fold: how many are covered, and their width."""

    ended: str
    covered: int = 0
    rows: int = 0
    width: float = float("nan")
    detail: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a model on a fold.

    Attributes
    ----------
    ended : {"ok", "failed", "not installed"}
    detail : str
        The error, where it failed.
    converged : bool
        False if the fit itself warned that it did not.
    mse, baseline : float
        Mean squared errors on the test rows, of the model and of the mean of the training rows.
    interval : Interval, optional
        None on folds where no intervals are asked for.
    """

    table: str
    model: str
    repeat: int
    fold: int
    n_train: int
    n_test: int
    ended: str
    detail: str = ""
    converged: bool = True
    seconds: float = float("nan")
    mse: float = float("nan")
    baseline: float = float("nan")
    n_experts: int | None = None
    interval: Interval | None = None


def run_table(
    table: Table, models: Iterable[Model], folds: Iterable[Fold], interval_repeats: int
) -> Iterator[Outcome]:
    """Yield the outcome of every model on every fold, missing ones included."""
    for model in models:
        there = model.installed()
        for fold in folds:
            asked = fold.repeat < interval_repeats
            yield run_fold(table, model, fold, asked) if there else absent(table, model, fold)


def absent(table: Table, model: Model, fold: Fold) -> Outcome:
    """Return the outcome of a model that is not installed."""
    return _outcome(table, model, fold, ABSENT)


def run_fold(table: Table, model: Model, fold: Fold, intervals: bool) -> Outcome:
    """Return the outcome of one model on one fold; whatever it raises makes it ``failed``."""
    X, y = table.X, table.y
    seed = 1000 * fold.repeat + fold.number
    try:
        fitted, seconds, converged = timed_fit(model, X[fold.train], y[fold.train], seed)
        residuals = y[fold.test] - predicted(fitted, X[fold.test])
    except Exception as error:
        return replace(_outcome(table, model, fold, FAILED), detail=words(error))
    return replace(
        _outcome(table, model, fold, OK),
        converged=converged,
        seconds=seconds,
        mse=mean_square(residuals),
        baseline=mean_square(y[fold.test] - y[fold.train].mean()),
        n_experts=chosen_experts(fitted),
        interval=calibrated(table, model, fold, seed) if intervals else None,
    )


def calibrated(table: Table, model: Model, fold: Fold, seed: int) -> Interval:
    """Fit to a part of the training rows, calibrate on the rest, and test."""
    X, y = table.X, table.y
    proper, calibration = proper_and_calibration(fold.train, table.groups, seed=seed)
    try:
        fitted, _, _ = timed_fit(model, X[proper], y[proper], seed)
        radius = float(conformal_radius(y[calibration] - predicted(fitted, X[calibration]), LEVEL))
        residuals = y[fold.test] - predicted(fitted, X[fold.test])
    except Exception as error:
        return Interval(FAILED, detail=words(error))
    covered = int((np.abs(residuals) <= radius).sum())
    return Interval(OK, covered, len(fold.test), 2.0 * radius)


def timed_fit(model: Model, X: Array, y: Array, seed: int) -> tuple[Any, float, bool]:
    """Return a fitted estimator, its seconds, and whether it said that it converged."""
    estimator = model.make(seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        began = time.perf_counter()
        estimator.fit(X, y)
        seconds = time.perf_counter() - began
    # R's own time leaves out the start of R and the reading of the rows.
    seconds = float(getattr(inside(estimator), "seconds_", seconds))
    # The searches inside may try fits that do not converge; those warn as well and count.
    converged = not any(issubclass(w.category, ConvergenceWarning) for w in caught)
    return estimator, seconds, converged


def predicted(fitted: Any, X: Array) -> Array:
    """Return finite predictions of shape (n,), or raise."""
    values = np.asarray(fitted.predict(X), dtype=np.float64).ravel()
    if not np.isfinite(values).all():
        raise ValueError("predictions are not finite")
    return values


def mean_square(residuals: Array) -> float:
    """Return the mean of the squares."""
    return float(np.mean(residuals**2))


def words(error: Exception) -> str:
    """Return an error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]


def _outcome(table: Table, model: Model, fold: Fold, ended: str) -> Outcome:
    return Outcome(
        table.name,
        model.name,
        fold.repeat,
        fold.number,
        len(fold.train),
        len(fold.test),
        ended,
    )
