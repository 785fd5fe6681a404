"""A table of estimates with standard errors and confidence limits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sigmoe._base.constraints import Interval

#: What a confidence level may be.
LEVEL = Interval("number", 0.0, 1.0, closed="neither")
LEVEL_REMEDY = "Pass 0.95 for 95 % intervals."


@dataclass(frozen=True, eq=False)
class ParameterIntervals:
    """Confidence intervals of the entries of A, b, c and eta.

    Attributes
    ----------
    names : tuple of str
        Such as "A[0,0,1]", "b[1,0]", "c[1]", "eta[0,2]": block, atom, entry.
    estimate, standard_error, lower, upper : Tensor of shape (k,), float64
        One number for each name.
    level : float
        Nominal coverage of each interval on its own.
    """

    names: tuple[str, ...]
    estimate: Tensor
    standard_error: Tensor
    lower: Tensor
    upper: Tensor
    level: float

    def covers(self, values: Tensor) -> Tensor:
        """Return whether each interval holds the value of shape (k,), bool."""
        return (self.lower <= values) & (values <= self.upper)

    def __getitem__(self, name: str) -> tuple[float, float]:
        """Return the interval of one entry."""
        position = self.names.index(name)
        return float(self.lower[position]), float(self.upper[position])

    def __str__(self) -> str:
        head = f"{'entry':>14}{'estimate':>12}{'std. error':>12}{'lower':>12}{'upper':>12}"
        numbers = torch.stack([self.estimate, self.standard_error, self.lower, self.upper], 1)
        lines = [head]
        for name, row in zip(self.names, numbers.tolist(), strict=True):
            lines.append(f"{name:>14}" + "".join(f"{value:>12.4g}" for value in row))
        return "\n".join(lines)
