"""What a local modulus is: a curve, its exponent, and the worst direction, block by block."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, isfinite, isinf, isnan, nan
from typing import Literal

from sigmoe._base.constraints import Interval, check
from sigmoe.moe import MixingMeasure
from sigmoe.theory._fisher import FisherPrediction
from sigmoe.theory.modulus._exponent import local_slopes
from sigmoe.theory.modulus._model import Vector

Specified = Literal["over", "exact"]

#: The power law is there from the largest t after which local slopes stay this near the exponent.
_WINDOW = 0.1


@dataclass(frozen=True, eq=False)
class BlockModulus:
    """The smallest distance of functions with one coordinate of a block held at distance t.

    Attributes
    ----------
    block : {"weight", "A", "b", "eta", "scale"}
        "weight" is the sum of sigma(c) (softmax: exp(c)) over the atoms of a cell; "scale" the
        direction that multiplies a homogeneous expert, "eta" the others.
    specified : {"over", "exact"}
        Whether the block is of the atom with several fitted atoms, or of those with one.
    t : array of shape (T,)
        Decreasing.
    distance : array of shape (T,)
        ||f_G - f_G*||, the smallest over coordinates of the block, signs and minimisers found.
    error : array of shape (T,)
        Relative change of the distance under a finer quadrature.
    floor : float
        Distances below this are rounding.
    exponent : float
        k in distance ~ t^k, the median of the last four local slopes above the floor; infinity
        where the distance is zero to rounding: then no rate exists; nan where the curve has too
        few points above the floor.
    low, high : float
        The interval of these slopes and of what they reach if they move on as far again: how far
        the power law has set in, not a confidence interval.
    direction : str
        The worst direction found: weights of the fitted atoms, and deviations as powers of t.
    worst : MixingMeasure
        The measures that have these distances, a batch of T.
    standard_error : float or None
        In a regular model, s of the Fisher information's error s (noise variance / n)^(1/2), the
        root mean square of the block as a whole: s^2 is the trace of the block's part of the
        inverse information.
    worst_standard_error : float or None
        The same for the block's worst coordinate. The curve tends to t over this number.
    """

    block: str
    specified: Specified
    t: Vector
    distance: Vector
    error: Vector
    floor: float
    exponent: float
    low: float
    high: float
    direction: str
    worst: MixingMeasure = field(repr=False)
    standard_error: float | None = None
    worst_standard_error: float | None = None

    @property
    def rate(self) -> float:
        """Return r of the worst-case rate n^-r, 1 / (2 k); 0 for no rate, nan if unresolved.

        It is at most 1/2: functions move in first order at least, and slopes below 1 are those of
        a curve that has not settled.
        """
        if isnan(self.exponent):
            return nan
        return 0.0 if isinf(self.exponent) else 0.5 / max(self.exponent, 1.0)

    def asymptotic_from(self, noise_variance: float) -> float:
        """Return the sample size from which the power law holds; infinity if it was not seen.

        A sample of n tells functions apart at distance (noise variance / n)^(1/2); the size is the
        one at which that distance enters the part of the curve whose local slopes stay within
        0.1 k of the exponent.
        """
        positive = Interval("number", 0.0, closed="neither")
        check("noise_variance", noise_variance, positive, "Pass the variance of the noise.")
        if not isfinite(self.exponent):
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
        Over-specified ones first.
    fisher : FisherPrediction or None
        For N = N*, for noise variance 1: whether the model is regular, and if not, why.
    """

    n_experts: int
    over_specified: int | None
    half_width: float
    blocks: tuple[BlockModulus, ...]
    fisher: FisherPrediction | None = None

    def __getitem__(self, key: str | tuple[str, Specified]) -> BlockModulus:
        """Return one block's modulus: ``found["b"]``, ``found["b", "exact"]``.

        A name alone stands for the over-specified atom's, if there is one. KeyError for a block
        that the model does not have.
        """
        for found in self.blocks:
            if key in (found.block, (found.block, found.specified)):
                return found
        raise KeyError(key)

    @property
    def exponent(self) -> float:
        """Return the largest exponent, of the worst block; unresolved blocks are left out."""
        known = [block.exponent for block in self.blocks if not isnan(block.exponent)]
        return max(known, default=nan)

    @property
    def summary(self) -> str:
        """Return one line for each block."""
        return "\n".join(_line(block) for block in self.blocks)


def _line(block: BlockModulus) -> str:
    name = f"{block.block} ({block.specified})"
    if isnan(block.exponent):
        return f"{name}: not resolved, the curve falls below rounding at once; {block.direction}"
    if isinf(block.exponent):
        return f"{name}: no rate, the function does not change; {block.direction}"
    fisher = ""
    if block.standard_error is not None:
        fisher = f", Fisher error {block.standard_error:.3g} (nu/n)^1/2"
    return (
        f"{name}: k = {block.exponent:.2f} [{block.low:.2f}, {block.high:.2f}], "
        f"rate n^-{block.rate:.3f}{fisher}; {block.direction}"
    )
