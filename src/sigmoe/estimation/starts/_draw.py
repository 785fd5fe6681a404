"""Where a fit begins: near a known truth, or at random without knowing it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sigmoe._base.arrays import ArrayLike
from sigmoe._base.constraints import Interval, check
from sigmoe._base.errors import invalid
from sigmoe._base.seeds import Seed, generator
from sigmoe.estimation._bounds import Bounds, coordinate_limits, resolve_bounds
from sigmoe.estimation._sample import Sample
from sigmoe.moe import Architecture, MixingMeasure
from sigmoe.moe._experts import get_expert
from sigmoe.moe._gates import get_gate
from sigmoe.moe._scores import SCORES


def near_truth_start(
    truth: MixingMeasure, n_experts: int, *, scale: float, seed: Seed
) -> MixingMeasure:
    """Return a start near the truth in which every Voronoi cell holds a fitted atom.

    The first N* atoms are the true ones; each further atom copies a true atom drawn at random, as
    the published experiments do. Where m atoms share a true atom, its weight is split: exp(c) for
    softmax gates, so that their sum is preserved, and sigmoid(c) for sigmoid gates, so that their
    sum, which the Voronoi losses compare, is the truth's. Then Gaussian noise is added.

    Parameters
    ----------
    truth : MixingMeasure
        N* atoms.
    n_experts : int
        N >= N*.
    scale : float
        Standard deviation >= 0 of the noise on each entry of (symmetric) A, b, c and eta.
    seed : int or SeedSequence
        Decides the map of the extra atoms and the noise.

    Returns
    -------
    MixingMeasure

    Raises
    ------
    InputError
        If N < N*, for a batch of truths or a negative scale.

    Examples
    --------
    >>> from sigmoe.moe import Architecture, draw_truth
    >>> truth = draw_truth(Architecture(dim=2), 3, seed=0)
    >>> near_truth_start(truth, 3, scale=0.0, seed=0) == truth
    True
    """
    if truth.batch_shape:
        raise invalid("truth", "a single measure", repr(truth), "Take one with truth[k].")
    check(
        "n_experts",
        n_experts,
        Interval("integer", truth.n_experts),
        "Every true atom needs a fitted one; fit at least as many experts as the truth has.",
    )
    check("scale", scale, Interval("number", 0.0), "Use 0 for a start at the truth.")
    rng = generator(seed, role="near-truth-start")
    extra = rng.integers(truth.n_experts, size=n_experts - truth.n_experts)
    cells = torch.tensor([*range(truth.n_experts), *extra.tolist()])
    count = torch.bincount(cells, minlength=truth.n_experts)[cells]
    c = _split_weights(truth.architecture.gate, truth.c[cells], count)
    blocks = [truth.A[cells], truth.b[cells], c, truth.eta[cells]]
    A, b, c, eta = (
        block + scale * torch.from_numpy(rng.standard_normal(tuple(block.shape)))
        for block in blocks
    )
    # The same deviation on and off the diagonal of the symmetric matrix.
    A = torch.triu(A) + torch.triu(A, 1).mT
    return _measure(truth.architecture, A, b, c, eta)


def projected(measure: MixingMeasure, bounds: Bounds) -> MixingMeasure:
    """Return the measure with every coordinate at the nearest value within the bounds."""
    theta = measure.coordinates
    lower, upper = coordinate_limits(bounds, measure.architecture, measure.n_experts)
    inside = torch.minimum(torch.maximum(theta.flatten(), lower), upper)
    return MixingMeasure.from_coordinates(measure.architecture, inside.view_as(theta))


def _split_weights(gate: str, c: Tensor, count: Tensor) -> Tensor:
    """Return constants whose weights are c's divided by the number of atoms that share them."""
    if get_gate(gate).invariant:
        return c - count.to(c.dtype).log()
    if bool((count == 1).all()):
        return c
    return torch.where(count == 1, c, torch.logit(torch.sigmoid(c) / count))


def _measure(
    architecture: Architecture, A: Tensor, b: Tensor, c: Tensor, eta: Tensor
) -> MixingMeasure:
    score = SCORES.get(architecture.score)
    return MixingMeasure(
        architecture, A if score.has_quadratic else None, b if score.has_linear else None, c, eta
    )


def random_start(
    X: ArrayLike,
    y: ArrayLike,
    architecture: Architecture,
    n_experts: int,
    *,
    seed: Seed,
    bounds: Bounds | str | None = "default",
    sample_weight: ArrayLike | None = None,
) -> MixingMeasure:
    """Return a start that knows nothing but the scale of the data.

    In standardised inputs z, scores are z'Az + b'z + c and experts phi(alpha'z + beta) with
    independent Gaussian entries: each term of a score has variance about 1, each expert the size
    of the responses. The draw is then written in the original inputs and projected on the bounds.

    Parameters
    ----------
    X : array_like of shape (n, d)
    y : array_like of shape (n,) or (n, m)
    architecture : Architecture
    n_experts : int
    seed : int or SeedSequence
    bounds : Bounds, "default" or None
    sample_weight : array_like of shape (n,), optional

    Returns
    -------
    MixingMeasure

    Examples
    --------
    >>> from sigmoe.moe import Architecture
    >>> random_start([[0.0], [1.0]], [0.0, 1.0], Architecture(dim=1), 2, seed=0).n_experts
    2
    """
    check("n_experts", n_experts, Interval("integer", 1), "Ask for at least one expert.")
    sample = Sample.checked(X, y, architecture, sample_weight)
    box = resolve_bounds(bounds, sample)
    return draw_start(sample, architecture, n_experts, box, generator(seed, role="random"))


def draw_start(
    sample: Sample,
    architecture: Architecture,
    n_experts: int,
    bounds: Bounds,
    rng: np.random.Generator,
) -> MixingMeasure:
    """Return a random start for a checked sample."""
    centre = sample.mean(sample.X)
    spread = sample.mean((sample.X - centre).square()).sqrt().cpu()
    spread = torch.where(spread > 0, spread, 1.0)
    size = sample.mean(sample.y.reshape(len(sample), -1).square()).sqrt().cpu()
    size = torch.where(size > 0, size, 1.0)
    A, b, c, eta = _draw_standardised(architecture, n_experts, size, rng)
    A, b, c, eta = _in_inputs(A, b, c, eta, centre.cpu(), spread, architecture)
    return projected(_measure(architecture, A, b, c, eta), bounds)


def _draw_standardised(
    architecture: Architecture, n_experts: int, size: Tensor, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return A, b, c and eta for standardised inputs; eta has shape (N, m, q)."""
    d, q, columns = architecture.dim, architecture.n_expert_parameters, architecture.n_columns
    score = SCORES.get(architecture.score)

    def normal(*shape: int, scale: float) -> Tensor:
        return scale * torch.from_numpy(rng.standard_normal(shape))

    A = normal(n_experts, d, d, scale=1 / d) * score.has_quadratic
    b = normal(n_experts, d, scale=d**-0.5) * score.has_linear
    c = normal(n_experts, scale=0.5)
    eta = normal(n_experts, columns, q, scale=d**-0.5)
    if get_expert(architecture.expert).scaled:
        eta[..., -1] *= d**0.5 * size
    else:
        eta *= size.unsqueeze(-1)
    return (A + A.mT) / 2, b, c, eta


def _in_inputs(
    A: Tensor,
    b: Tensor,
    c: Tensor,
    eta: Tensor,
    centre: Tensor,
    spread: Tensor,
    architecture: Architecture,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the parameters in x of a draw in z = (x - centre) / spread."""
    d = architecture.dim
    A = A / spread / spread.unsqueeze(-1)
    b = b / spread
    pull = (A @ centre.unsqueeze(-1)).squeeze(-1)
    c = c - b @ centre + pull @ centre
    # A partial score has no linear part to take up the shift; it keeps its centre at 0.
    b = (b - 2 * pull) * SCORES.get(architecture.score).has_linear
    eta = eta.clone()
    eta[..., :d] /= spread
    eta[..., d] -= eta[..., :d] @ centre
    return A, b, c, eta.squeeze(1) if architecture.n_outputs is None else eta
