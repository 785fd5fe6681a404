"""Points at which population integrals over the inputs are taken."""

from __future__ import annotations

import inspect

import numpy as np
import torch
from scipy.stats import qmc
from torch import Tensor

from sigmoe._base.arrays import as_inputs
from sigmoe._base.constraints import Interval, check
from sigmoe._base.errors import invalid
from sigmoe._base.seeds import generator
from sigmoe.moe import Sampler

#: Points of an integral, at most; more would fill the memory.
MOST_POINTS = 10**7


def integration_points(
    dim: int,
    n_points: int,
    seed: int | np.random.SeedSequence,
    sampler: Sampler | None = None,
) -> Tensor:
    """Return points whose mean approximates the expectation over the inputs.

    Parameters
    ----------
    dim : int
        Input dimension d.
    n_points : int
        At least this many points.
    seed : int or SeedSequence
        Scrambles the points, or seeds the sampler.
    sampler : callable, optional
        (rng, n) to (n, d) inputs, used as it is. By default the inputs are U[-1, 1]^d and the
        points are a scrambled Sobol sequence, whose length is the next power of two.

    Returns
    -------
    Tensor of shape (n, d), float64

    Raises
    ------
    InputError
        For a number of points out of range, or a sampler that is none or returns another shape.
    """
    most = "Ask for at least one point; a million is more than enough."
    check("n_points", n_points, Interval("integer", 1, MOST_POINTS), most)
    rng = generator(seed, purpose="integration")
    if sampler is not None:
        return _sampled(sampler, rng, int(n_points), dim)
    exponent = max(0, int(n_points - 1).bit_length())
    unit = qmc.Sobol(dim, scramble=True, rng=rng).random_base2(exponent)
    return torch.from_numpy(np.ascontiguousarray(2.0 * unit - 1.0))


def _sampled(sampler: Sampler, rng: np.random.Generator, n: int, dim: int) -> Tensor:
    """Return the inputs of a user's sampler, checked."""
    if not _takes_two(sampler):
        remedy = "For example lambda rng, n: rng.normal(size=(n, 2))."
        raise invalid("sampler", "a function of (rng, n) that returns inputs", sampler, remedy)
    X = as_inputs(sampler(rng, n), dim, name="sampler(rng, n)")
    if len(X) != n:
        raise invalid("sampler(rng, n)", f"an array with {n} rows", len(X), "Return n rows.")
    return X


def _takes_two(function: Sampler) -> bool:
    """Return whether it is a function that takes two arguments, as far as it says."""
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        return False
    except ValueError:
        # Some functions that are built in do not say what they take.
        return True
    return True
