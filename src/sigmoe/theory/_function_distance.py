"""The distance between two regression functions, ||f_G - f_H|| in L2 of the inputs."""

from __future__ import annotations

from torch import Tensor

from sigmoe._base.errors import invalid
from sigmoe.moe import MixingMeasure, Sampler
from sigmoe.theory._points import integration_points


def function_distance(
    fitted: MixingMeasure,
    target: MixingMeasure,
    n_points: int = 2**14,
    sampler: Sampler | None = None,
    seed: int = 0,
) -> Tensor:
    """Return the L2(mu) distance between two regression functions.

    Parameters
    ----------
    fitted, target : MixingMeasure
        Of one input dimension and one number of responses; gates, scores, experts and numbers of
        atoms may differ. Batch axes broadcast.
    n_points : int
        Quasi-random points, rounded up to a power of two.
    sampler : callable, optional
        (rng, n) to (n, d) inputs of another distribution mu; by default U[-1, 1]^d.
    seed : int
        Scrambles the points.

    Returns
    -------
    Tensor of shape (*batch), float64
        (E |f_G(X) - f_H(X)|^2)^(1/2), the squares summed over the columns of the response.

    Raises
    ------
    InputError
        If the input dimensions or the numbers of responses differ.

    Examples
    --------
    >>> from sigmoe.moe import Architecture, MixingMeasure
    >>> line = Architecture(score="linear", expert="linear", dim=1)
    >>> G = MixingMeasure(line, None, [[0.0]], [0.0], [[2.0, 0.0]])  # f(x) = x
    >>> H = MixingMeasure(line, None, [[0.0]], [0.0], [[0.0, 0.0]])  # f(x) = 0
    >>> round(float(function_distance(G, H)) ** 2, 6)
    0.333333
    """
    for field in ("dim", "n_outputs"):
        ours, theirs = getattr(fitted.architecture, field), getattr(target.architecture, field)
        if ours != theirs:
            raise invalid(
                "fitted",
                f"of the target's {field} {theirs}",
                ours,
                "Compare functions of one kind.",
            )
    X = integration_points(target.architecture.dim, n_points, seed, sampler)
    return root_mean_square(fitted, target, X)


def root_mean_square(fitted: MixingMeasure, target: MixingMeasure, X: Tensor) -> Tensor:
    """Return the root of the mean over rows of X of the squared difference, shape (*batch)."""
    difference = fitted.predict(X) - target.predict(X)
    if target.architecture.n_outputs is not None:
        difference = difference.norm(dim=-1)
    return difference.square().mean(dim=-1).sqrt()
