"""Points at which population integrals over the inputs are taken."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import qmc
from torch import Tensor

from sigmoe._base.arrays import as_inputs
from sigmoe._base.constraints import Interval, check
from sigmoe._base.seeds import generator
from sigmoe.moe import Sampler


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
    """
    check("n_points", n_points, Interval("integer", 1), "Ask for at least one point.")
    rng = generator(seed, purpose="integration")
    if sampler is not None:
        return as_inputs(sampler(rng, int(n_points)), dim, name="sampler's inputs")
    exponent = max(0, int(n_points - 1).bit_length())
    unit = qmc.Sobol(dim, scramble=True, rng=rng).random_base2(exponent)
    return torch.from_numpy(np.ascontiguousarray(2.0 * unit - 1.0))
