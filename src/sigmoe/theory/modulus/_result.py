"""What a local modulus is: a curve, its exponent, and the worst direction, block by block."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isinf

import numpy as np

from sigmoe.theory.modulus._model import Vector

#: The power law is there from the largest t after which local slopes stay this near the exponent.
_WINDOW = 0.1


@dataclass(frozen=True, eq=False)
class BlockModulus:
    """The smallest distance of functions with one coordinate of a block held at distance t.

    Attributes
    ----------
    block : {"weight", "A", "b", "eta", "scale"}
        "weight" is the sum of sigma(c) (softmax: exp(c)) over the over-specified cell; "scale" the
        direction that multiplies a homogeneous expert, "eta" the others.
    t : array of shape (T,)
        Decreasing.
    distance : array of shape (T,)
        ||f_G - f_G*||, the smallest over coordinates of the block, signs and minimisers found.
    error : array of shape (T,)
        Relative change of the distance under a finer quadrature.
    floor : float
        Distances below this are rounding.
    exponent : float
        k in distance ~ t^k, from the last four steps above the floor; infinity where the distance
        is zero to rounding: then no rate exists.
    low, high : float
        Smallest and largest local slope of these steps: how far the power law has set in, not a
        confidence interval.
    direction : str
        The worst direction found: deviations of the coordinates as powers of t.
    """

    block: str
    t: Vector
    distance: Vector
    error: Vector
    floor: float
    exponent: float
    low: float
    high: float
    direction: str

    @property
    def rate(self) -> float:
        """Return r of the worst-case rate n^-r, 1 / (2 k); 0 for no rate."""
        return 0.0 if isinf(self.exponent) else 0.5 / self.exponent

    def asymptotic_from(self, noise_variance: float) -> float:
        """Return the sample size from which the power law holds; infinity if it was not seen.

        A sample of n tells functions apart at distance (noise variance / n)^(1/2); the size is the
        one at which that distance enters the part of the curve whose local slopes stay within
        0.1 k of the exponent.
        """
        if isinf(self.exponent):
            return inf
        slopes = local_slopes(self.t, self.distance, self.floor)
        near = abs(slopes - self.exponent) <= _WINDOW * self.exponent
        entered = len(near)
        while entered > 0 and near[entered - 1]:
            entered -= 1
        if entered == len(near):
            return inf
        return float(noise_variance / self.distance[entered] ** 2)


@dataclass(frozen=True)
class LocalModulus:
    """What ``local_modulus`` found.

    Attributes
    ----------
    n_experts : int
    over_specified : int or None
        The true atom with more than one fitted atom, if there is one.
    half_width : float
        The inputs are uniform on [-half_width, half_width]^d.
    blocks : tuple of BlockModulus
    """

    n_experts: int
    over_specified: int | None
    half_width: float
    blocks: tuple[BlockModulus, ...]

    def __getitem__(self, block: str) -> BlockModulus:
        """Return one block's modulus; KeyError for a block that the model does not have."""
        for found in self.blocks:
            if found.block == block:
                return found
        raise KeyError(block)

    @property
    def exponent(self) -> float:
        """Return the largest exponent: the worst block's."""
        return max(block.exponent for block in self.blocks)

    @property
    def summary(self) -> str:
        """Return one line for each block."""
        return "\n".join(_line(block) for block in self.blocks)


def local_slopes(t: Vector, distance: Vector, floor: float) -> Vector:
    """Return log-log slopes between neighbours whose distances are above the floor."""
    above = int(np.argmax(distance <= floor)) if bool((distance <= floor).any()) else len(t)
    slopes: Vector = np.diff(np.log(distance[:above])) / np.diff(np.log(t[:above]))
    return slopes


def _line(block: BlockModulus) -> str:
    if isinf(block.exponent):
        return f"{block.block}: no rate, the function does not change; {block.direction}"
    return (
        f"{block.block}: k = {block.exponent:.2f} [{block.low:.2f}, {block.high:.2f}], "
        f"rate n^-{block.rate:.3f}; {block.direction}"
    )
