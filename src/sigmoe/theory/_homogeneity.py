"""How an expert's phi scales: what decides which parameters trade against one another."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sigmoe.moe import Architecture
from sigmoe.moe._experts import get_expert


@dataclass(frozen=True)
class Scaling:
    """The scaling of phi, found by evaluating it.

    Attributes
    ----------
    positive : bool
        phi(s z) = s phi(z) for s >= 0, as for ReLU and linear experts.
    odd : bool
        phi(-z) = -phi(z).
    zero : bool
        phi(0) = 0, so that alpha = 0, beta = 0 is the zero function.
    rectified : bool
        phi vanishes for all z <= 0.
    scaled : bool
        The expert has a scale lambda: E = lambda phi.
    """

    positive: bool
    odd: bool
    zero: bool
    rectified: bool
    scaled: bool

    @property
    def linear(self) -> bool:
        """Return whether phi is linear: positively homogeneous and odd."""
        return self.positive and self.odd

    @property
    def scalable(self) -> bool:
        """Return whether s E is an expert of the same kind for every s >= 0."""
        return self.positive or self.scaled

    @property
    def reversible(self) -> bool:
        """Return whether -E is an expert of the same kind."""
        return self.odd or self.scaled


def scaling_of(architecture: Architecture) -> Scaling:
    """Return how the architecture's expert scales.

    Examples
    --------
    >>> from sigmoe.moe import Architecture
    >>> scaling_of(Architecture(expert="relu")).positive
    True
    >>> scaling_of(Architecture(expert="gelu")).positive
    False
    """
    expert = get_expert(architecture.expert)
    z = torch.linspace(-4.0, 4.0, 33, dtype=torch.float64)
    value = expert.value(z)

    def equal(left: torch.Tensor, right: torch.Tensor) -> bool:
        return bool(torch.allclose(left, right, rtol=1e-12, atol=1e-14))

    return Scaling(
        positive=all(equal(expert.value(s * z), s * value) for s in (0.25, 0.7, 3.0)),
        odd=equal(expert.value(-z), -value),
        zero=float(value[16]) == 0.0,
        rectified=bool((value[:17] == 0).all()),
        scaled=expert.scaled,
    )
