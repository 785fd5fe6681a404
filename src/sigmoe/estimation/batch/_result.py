"""What a batch of fits returns: every field with the starts' batch shape."""

from __future__ import annotations

from dataclasses import dataclass
from types import EllipsisType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sigmoe._base.errors import invalid
from sigmoe.estimation._result import CONVERGED
from sigmoe.moe import MixingMeasure

Index = int | slice | EllipsisType | tuple[int | slice | EllipsisType, ...]


@dataclass(frozen=True)
class BatchFit:
    """Many least squares fits.

    Indexing, as in ``fit[3]`` or ``fit[:, 0]``, picks fits by their batch axes.

    Attributes
    ----------
    measure : MixingMeasure
        The estimates, of batch shape (*batch); finite and inside the bounds, on the CPU.
    objective : Tensor of shape (*batch)
        Mean squared residuals, summed over the columns of the response. NaN or infinite where
        the start has no finite objective.
    minimised : Tensor of shape (*batch)
        The objectives plus the ridge penalties; what fits are compared by.
    status : array of str of shape (*batch)
        How each fit ended: "gradient", "decrease" or "step" (converged), "iterations" or
        "stalled"; see ``FitResult``.
    n_iterations : Tensor of shape (*batch), int64
        Levenberg-Marquardt iterations.
    gradient_norm : Tensor of shape (*batch)
        Largest cosine between the residual and a column of the Jacobian that is free to move.
    seconds : float
        Wall-clock time of all fits together.
    """

    measure: MixingMeasure
    objective: Tensor
    minimised: Tensor
    status: NDArray[np.str_]
    n_iterations: Tensor
    gradient_norm: Tensor
    seconds: float

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Return the batch axes."""
        return tuple(self.objective.shape)

    @property
    def converged(self) -> NDArray[np.bool_]:
        """Return which fits ended by one of the convergence tests, shape (*batch)."""
        return np.isin(self.status, CONVERGED)

    def __getitem__(self, index: Index) -> BatchFit:
        return self._at(torch.arange(self.objective.numel()).view(self.batch_shape)[index])

    def best(self) -> BatchFit:
        """Return the best fit along the last batch axis; the earliest of equal ones.

        With batch shape (replications, starts) this is the best start of each replication.

        Raises
        ------
        InputError
            If there is no batch axis left.
        """
        if not self.batch_shape:
            raise invalid("fit", "a batch of fits", "a single fit", "It is its own best.")
        value = torch.where(self.minimised.isfinite(), self.minimised, torch.inf)
        position = torch.arange(value.numel()).view(self.batch_shape)
        winner = value.argmin(-1, keepdim=True)
        return self._at(position.gather(-1, winner).squeeze(-1))

    def _at(self, position: Tensor) -> BatchFit:
        """Return the fits at flat positions, in the shape of these."""
        theta = self.measure.coordinates
        theta = theta.reshape(-1, *theta.shape[-2:])[position]

        def pick(values: Any) -> Any:
            return values.reshape(-1)[position]

        return BatchFit(
            MixingMeasure.from_coordinates(self.measure.architecture, theta),
            pick(self.objective),
            pick(self.minimised),
            np.asarray(self.status.reshape(-1)[position.numpy()]),
            pick(self.n_iterations),
            pick(self.gradient_norm),
            self.seconds,
        )

    def __repr__(self) -> str:
        return (
            f"BatchFit(batch_shape={self.batch_shape}, converged={int(self.converged.sum())} of "
            f"{self.objective.numel()}, seconds={self.seconds:.2f})"
        )
