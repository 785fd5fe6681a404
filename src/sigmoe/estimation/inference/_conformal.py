"""Split conformal intervals: predictive coverage without a model of the noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil

import torch
from torch import Tensor

from sigmoe._base.arrays import ArrayLike, as_float64, as_inputs, as_responses, require_finite
from sigmoe._base.constraints import check
from sigmoe._base.errors import invalid
from sigmoe.estimation.inference._table import LEVEL, LEVEL_REMEDY
from sigmoe.moe import MixingMeasure

#: Inputs (n, d) to the size of the errors there: positive, of the shape of the predictions.
Scale = Callable[[Tensor], ArrayLike]


@dataclass(frozen=True, eq=False)
class ConformalIntervals:
    """Predictive intervals, row by row.

    Attributes
    ----------
    lower, upper : Tensor of shape (n,) or (n, m), float64
    level : float
        Least probability with which a new response lies in its interval, for each column of the
        response on its own.
    """

    lower: Tensor
    upper: Tensor
    level: float

    def covers(self, y: ArrayLike) -> Tensor:
        """Return whether each response, of the shape of ``lower``, lies in its interval."""
        values = as_float64(y, "y")
        return (self.lower <= values) & (values <= self.upper)


@dataclass(frozen=True, eq=False)
class SplitConformal:
    """A fitted measure with a calibrated radius; made by ``split_conformal``.

    Attributes
    ----------
    measure : MixingMeasure
    radius : Tensor of shape (m,), float64
        Half the width of the intervals of each column of the response, in units of the scale.
    level : float
    n_calibration : int
    scale : callable, optional
    """

    measure: MixingMeasure
    radius: Tensor
    level: float
    n_calibration: int
    scale: Scale | None = field(default=None, repr=False)

    def intervals(self, X: ArrayLike) -> ConformalIntervals:
        """Return the predictive intervals at inputs of shape (n, d)."""
        rows = as_inputs(X, self.measure.architecture.dim)
        centre = self.measure.predict(rows)
        columns = centre.reshape(len(rows), -1)
        half = (self.radius.to(centre.device) * _sizes(self.scale, rows, columns)).view_as(centre)
        return ConformalIntervals(centre - half, centre + half, self.level)


def conformal_radius(residuals: ArrayLike, level: float) -> Tensor:
    """Return the smallest calibrated absolute residual that covers at the level.

    It is the k-th smallest of the n absolute residuals with k = ceil((n + 1) level). If these and
    a new one are exchangeable, the new one is at most that with probability k / (n + 1) (if there
    are no ties), which is at least ``level`` and below level + 1 / (n + 1).

    Parameters
    ----------
    residuals : array_like of shape (n,) or (n, m)
        Of rows that had no part in the fit.
    level : float
        Between 0 and 1.

    Returns
    -------
    Tensor of shape () or (m,), float64

    Raises
    ------
    InputError
        If n is too small for the level, or the residuals are not finite.

    References
    ----------
    Lei, J. et al. (2018), Distribution-free predictive inference for regression, JASA 113.

    Examples
    --------
    >>> conformal_radius([0.3, -0.1, 0.2, -0.4], 0.8)
    tensor(0.4000, dtype=torch.float64)
    """
    check("level", level, LEVEL, LEVEL_REMEDY)
    sizes = require_finite(as_float64(residuals, "residuals"), "residuals").abs()
    if sizes.ndim not in (1, 2) or len(sizes) == 0:
        found = f"shape {tuple(sizes.shape)}"
        raise invalid("residuals", "of shape (n,) or (n, m)", found, "Give one for each row.")
    rank = _rank(len(sizes), level)
    if rank > len(sizes):
        raise invalid(
            "the number of calibration rows",
            f">= {least_calibration_size(level)} for level {level:g}",
            len(sizes),
            "Set more rows aside for calibration, or lower the level.",
        )
    return sizes.sort(0).values[rank - 1]


def _rank(n: int, level: float) -> int:
    # As a decimal fraction: 100 * 0.55 is above 55 in floats, and the ceiling would be one off.
    return ceil((n + 1) * Fraction(repr(float(level))))


def least_calibration_size(level: float) -> int:
    """Return the least number of calibration rows for which a level can be reached.

    Examples
    --------
    >>> least_calibration_size(0.9), least_calibration_size(0.95)
    (9, 19)
    """
    check("level", level, LEVEL, LEVEL_REMEDY)
    exact = Fraction(repr(float(level)))
    return ceil(exact / (1 - exact))


def split_conformal(
    measure: MixingMeasure,
    X: ArrayLike,
    y: ArrayLike,
    level: float = 0.9,
    *,
    scale: Scale | None = None,
) -> SplitConformal:
    """Calibrate predictive intervals on rows that had no part in the fit.

    If the calibration rows and a new one are exchangeable, the new response lies in its interval
    with probability at least ``level``, whatever the noise and however wrong the model. This is
    an average over inputs, and over calibration samples: it need not hold at each x. With m
    columns it holds for each column on its own.

    Parameters
    ----------
    measure : MixingMeasure
        A single measure, fitted to other rows.
    X : array_like of shape (n, d)
    y : array_like of shape (n,) or (n, m)
    level : float
        Between 0 and 1; n has to be at least ``level / (1 - level)``.
    scale : callable, optional
        The size of the errors at inputs, up to a factor, learnt from other rows: takes X of shape
        (n, d) and returns positive numbers of the shape of the predictions. Intervals are then
        wide where it is large. By default all have one width.

    Returns
    -------
    SplitConformal

    Raises
    ------
    InputError
        For bad data, a level out of range, too few rows (the message names the least number), or
        a scale that is not positive.

    Examples
    --------
    >>> from sigmoe.moe import Architecture, draw_sample, draw_truth
    >>> truth = draw_truth(Architecture(dim=2), 2, seed=0)
    >>> X, y = draw_sample(truth, 99, noise_variance=1.0, seed=0)
    >>> bands = split_conformal(truth, X, y, level=0.9).intervals([[0.0, 0.0]])
    >>> bool((bands.upper - bands.lower > 2.0).all())
    True
    """
    if measure.batch_shape:
        found = f"a batch {measure.batch_shape}"
        raise invalid("measure", "a single measure", found, "Take one with measure[k].")
    architecture = measure.architecture
    rows = as_inputs(X, architecture.dim)
    responses = as_responses(y, len(rows), architecture.n_outputs).to(rows.device)
    residual = (responses - measure.predict(rows).to(rows.device)).reshape(len(rows), -1)
    radius = conformal_radius(residual / _sizes(scale, rows, residual), level)
    return SplitConformal(measure, radius, float(level), len(rows), scale)


def _sizes(scale: Scale | None, X: Tensor, like: Tensor) -> Tensor:
    """Return the checked scale at the rows in the shape (n, m) of ``like``; ones without one."""
    if scale is None:
        return torch.ones_like(like)
    sizes = as_float64(scale(X), "scale(X)").to(like.device)
    if sizes.numel() != like.numel() or len(sizes) != len(like):
        found = f"shape {tuple(sizes.shape)}"
        raise invalid("scale(X)", "of the shape of the predictions", found, "One number each.")
    if not bool((torch.isfinite(sizes) & (sizes > 0)).all()):
        remedy = "Bound the scale away from zero."
        raise invalid("scale(X)", "finite and above 0", float(sizes.min()), remedy)
    return sizes.view_as(like)
