"""Truths and samples as in Appendix E of the paper."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sigmoe._base.arrays import as_inputs
from sigmoe._base.constraints import Choice, Interval, check
from sigmoe._base.errors import invalid
from sigmoe._base.seeds import generator
from sigmoe.moe._architecture import Architecture
from sigmoe.moe._measure import MixingMeasure
from sigmoe.moe._scores import SCORES

#: Draws n inputs of shape (n, d) with the generator it is given.
Sampler = Callable[[np.random.Generator, int], NDArray[np.float64]]


def draw_truth(
    architecture: Architecture,
    n_experts: int,
    regime: str = "dense",
    seed: int | np.random.SeedSequence = 0,
    n_sparse: int = 2,
) -> MixingMeasure:
    """Draw a true mixing measure as in Appendix E.

    Parameters
    ----------
    architecture : Architecture
        Gate, score, expert and dimension d.
    n_experts : int
        Number of true atoms N*.
    regime : {"dense", "sparse"}
        Dense: every entry of A, b, c and eta is N(0, 1/d). Sparse: the last ``n_sparse`` atoms
        have A = b = c = 0.
    seed : int or SeedSequence
        The same seed gives the same truth.
    n_sparse : int
        Number of atoms with zero gates in the sparse regime, between 1 and N*.

    Returns
    -------
    MixingMeasure
        With A symmetrised: only (A + A')/2 is visible.

    Raises
    ------
    InputError
        For an unknown regime or numbers out of range.

    Examples
    --------
    >>> from sigmoe.moe import Architecture, draw_truth
    >>> truth = draw_truth(Architecture(dim=2, expert="linear"), 3, regime="sparse", seed=1)
    >>> truth.c[-2:]
    tensor([0., 0.], dtype=torch.float64)
    """
    check("n_experts", n_experts, Interval("integer", 1), "Ask for at least one expert.")
    check("regime", regime, Choice(("dense", "sparse")), "Choose one of the two regimes.")
    rng = generator(seed, role="truth")
    d, q = architecture.dim, architecture.n_expert_parameters
    columns = () if architecture.n_outputs is None else (architecture.n_outputs,)

    def normal(*shape: int) -> Tensor:
        return torch.from_numpy(rng.normal(0.0, d**-0.5, size=shape))

    # Every block is drawn whatever the score, so that scores share the blocks they have.
    A, b = normal(n_experts, d, d), normal(n_experts, d)
    c, eta = normal(n_experts), normal(n_experts, *columns, q)
    if regime == "sparse":
        rule = Interval("integer", 1, n_experts)
        check("n_sparse", n_sparse, rule, "Ask for no more sparse atoms than atoms.")
        for block in (A, b, c):
            block[-n_sparse:] = 0.0
    score = SCORES.get(architecture.score)
    return MixingMeasure(
        architecture, A if score.has_quadratic else None, b if score.has_linear else None, c, eta
    )


def uniform_sampler(dim: int) -> Sampler:
    """Return the sampler X ~ U[-1, 1]^d of eq. (81).

    Examples
    --------
    >>> import numpy as np
    >>> uniform_sampler(3)(np.random.default_rng(0), 5).shape
    (5, 3)
    """

    def sample(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        return rng.uniform(-1.0, 1.0, size=(n, dim))

    return sample


def draw_sample(
    measure: MixingMeasure,
    n: int,
    noise_variance: float = 0.01,
    seed: int | np.random.SeedSequence = 0,
    sampler: Sampler | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw n samples from Y = f_G(X) + eps, eqs. (4), (81), (82).

    Parameters
    ----------
    measure : MixingMeasure
        The true mixing measure, one of them (no batch).
    n : int
        Number of samples, >= 1.
    noise_variance : float
        Variance nu >= 0 of the Gaussian noise, independent between response columns.
    seed : int or SeedSequence
        Inputs and noise come from separate streams of this seed, so the inputs do not depend on
        ``noise_variance``.
    sampler : callable, optional
        ``sampler(rng, n)`` returns inputs of shape (n, d); default X ~ U[-1, 1]^d.

    Returns
    -------
    X : Tensor of shape (n, d)
    y : Tensor of shape (n,), or (n, m) with ``n_outputs=m``

    Raises
    ------
    InputError
        For numbers out of range, a batch of measures, or a sampler that returns another shape.

    Examples
    --------
    >>> from sigmoe.moe import Architecture, draw_sample, draw_truth
    >>> X, y = draw_sample(draw_truth(Architecture(dim=3), 2), n=100, seed=4)
    >>> X.shape, y.shape
    (torch.Size([100, 3]), torch.Size([100]))
    """
    check("n", n, Interval("integer", 1), "Ask for at least one sample.")
    check("noise_variance", noise_variance, Interval("number", 0.0), "Use 0 for no noise.")
    if measure.batch_shape:
        raise invalid("measure", "a single measure", repr(measure), "Take one with measure[k].")
    dim = measure.architecture.dim
    if isinstance(seed, np.random.SeedSequence):
        inputs_rng, noise_rng = (np.random.default_rng(child) for child in _children(seed))
    else:
        inputs_rng, noise_rng = generator(seed, role="inputs"), generator(seed, role="noise")
    X = as_inputs((sampler or uniform_sampler(dim))(inputs_rng, n), dim, name="sampler(rng, n)")
    if len(X) != n:
        raise invalid("sampler(rng, n)", f"an array with {n} rows", len(X), "Return n rows.")
    clean = measure.predict(X)
    noise = noise_rng.normal(0.0, noise_variance**0.5, size=tuple(clean.shape))
    return X, clean + torch.from_numpy(noise)


def _children(seed: np.random.SeedSequence) -> list[np.random.SeedSequence]:
    # spawn() would count up inside the caller's object, and a second call would differ.
    return [np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, k)) for k in range(2)]
