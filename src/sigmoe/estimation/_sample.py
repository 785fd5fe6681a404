"""A checked sample: inputs, responses and weights, with the few statistics that fits need."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sigmoe._base.arrays import ArrayLike, as_inputs, as_responses, as_weights
from sigmoe.estimation.engine._intercept import FreeIntercept
from sigmoe.estimation.engine._least_squares import LeastSquares
from sigmoe.estimation.engine._levenberg_marquardt import Problem
from sigmoe.estimation.engine._penalty import Ridge
from sigmoe.estimation.engine._rows import Rows, total_square, total_weight
from sigmoe.moe import Architecture, MixingMeasure


@dataclass(frozen=True)
class Sample:
    """Rows that count: all tensors are float64, finite and on one device.

    Attributes
    ----------
    X : Tensor of shape (n, d)
    y : Tensor of shape (n,) or (n, m)
    weight : Tensor of shape (n,), or None
        Positive; None if all rows count alike.
    intercept : bool
        Whether an intercept is fitted beside a mixture: whatever constant suits it best.
    """

    X: Tensor
    y: Tensor
    weight: Tensor | None = None
    intercept: bool = False

    @classmethod
    def checked(
        cls,
        X: ArrayLike,
        y: ArrayLike,
        architecture: Architecture,
        sample_weight: ArrayLike | None = None,
    ) -> Sample:
        """Return the sample without the rows of weight zero, or raise InputError."""
        inputs = as_inputs(X, architecture.dim)
        responses = as_responses(y, len(inputs), architecture.n_outputs).to(inputs.device)
        if sample_weight is None:
            return cls(inputs, responses)
        weight = as_weights(sample_weight, len(inputs)).to(inputs.device)
        return cls(inputs, responses, weight).rows(weight > 0)

    def __len__(self) -> int:
        return len(self.X)

    @property
    def device(self) -> torch.device:
        """Return where the sample lies."""
        return self.X.device

    @property
    def n_intercepts(self) -> int:
        """Return how many intercepts are fitted beside a mixture: one for each column, or none."""
        return self.y[:1].numel() if self.intercept else 0

    @property
    def reach(self) -> float:
        """Return the largest absolute input."""
        return float(self.X.abs().max())

    @property
    def response_scale(self) -> float:
        """Return the root mean square of the responses."""
        columns = self.y.reshape(len(self), -1).T.contiguous()
        return math.sqrt(total_square(columns, self.weight) / self.total_weight)

    @property
    def total_weight(self) -> float:
        """Return how many rows the sample counts for."""
        return total_weight(self.weight, len(self))

    def mean(self, values: Tensor) -> Tensor:
        """Return the weighted mean over rows of values of shape (n, k), shape (k,)."""
        if self.weight is None:
            return values.mean(0)
        return (self.weight @ values) / self.weight.sum()

    def rows(self, index: Tensor) -> Sample:
        """Return some rows, by position or by a mask."""
        weight = None if self.weight is None else self.weight[index]
        return replace(self, X=self.X[index], y=self.y[index], weight=weight)

    def to(self, device: torch.device | str) -> Sample:
        """Return the sample on another device."""
        weight = None if self.weight is None else self.weight.to(device)
        return replace(self, X=self.X.to(device), y=self.y.to(device), weight=weight)

    def best_intercept(self, measure: MixingMeasure) -> Tensor:
        """Return the constant, () or (m,), that suits a measure best; 0 if none is fitted."""
        if not self.intercept:
            return self.y.new_zeros(self.y.shape[1:])
        missing = (self.y - measure.to(self.device).predict(self.X)).reshape(len(self), -1)
        return self.mean(missing).view(self.y.shape[1:])

    def problem(self, architecture: Architecture, n_experts: int, ridge: float = 0.0) -> Problem:
        """Return the least squares problem of this sample, with a ridge penalty if asked."""
        bare = self.least_squares(architecture, n_experts)
        problem = FreeIntercept(bare) if self.intercept else bare
        return Ridge(problem, ridge) if ridge else problem

    def least_squares(self, architecture: Architecture, n_experts: int) -> LeastSquares:
        """Return the least squares problem of a mixture on its own, without an intercept."""
        return LeastSquares(Rows.of(self.X, self.y, self.weight), architecture, n_experts)
