"""How many samples a pass takes at a time, and which samples the matrix of a step is taken from.

Chunks are as long as fits into the caches: shorter ones pay for more calls, longer ones for memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from torch import Tensor

from sigmoe.estimation.engine._layout import Layout
from sigmoe.moe._monomials import count_monomials

#: Samples in a chunk of a pass with J'J: enough for full speed of the matrix products ...
CHUNK = 2048
#: ... or more, while a chunk has no more numbers than this.
_SMALL_NUMBERS = 2**17
#: Most numbers in a chunk's monomials (16 MiB); large dimensions get shorter chunks.
_MOST_NUMBERS = 2**21
#: A GPU wants larger matrix products (256 MiB).
_MOST_NUMBERS_GPU = 2**25
#: Numbers in a chunk of a pass without J'J, and its fewest and most samples.
LIGHT_NUMBERS = 600_000
_LIGHT_LEAST, _LIGHT_MOST = 1024, 32_768

#: Samples in a chunk of a compiled pass with J'J, which cuts it into tiles and pieces itself.
_NATIVE = 16_384

#: Steps of a fit take their J'J from this share of the rows at most ...
CURVATURE_SHARE = 0.25
#: ... and from so few that it needs this many times the products of a gradient, of which the same
#: iteration takes about a dozen ...
_GRADIENTS = 9
#: ... but from so many residuals a parameter and in all: small samples are quick, and fits of them
#: that are the same up to rounding (weights in place of repeated rows) should take the same path.
CURVATURE_ROWS, CURVATURE_LEAST = 16, 8192
#: ... and beyond that from no more residuals a parameter than this, which give the matrix to a few
#: percent in every direction, and from no more rows than this, which stay in memory.
_CURVATURE_ENOUGH, _CURVATURE_MOST = 1000, 2**18
#: ... and at least so many rows, however many columns a response has.
_FEWEST_ROWS = 2048


@dataclass(frozen=True)
class ChunkLengths:
    """Samples at a time in passes with and without J'J."""

    matrix: int
    light: int

    @classmethod
    def of(
        cls, n: int, design: Layout, device: torch.device, native: bool, longest: int | None
    ) -> ChunkLengths:
        """Return the lengths for n samples.

        Parameters
        ----------
        n : int
        design : Layout
        device : torch.device
        native : bool
            Whether the passes are compiled ones, which need no memory for a chunk.
        longest : int, optional
            Limit on both lengths.
        """
        architecture = design.architecture
        powers = count_monomials(architecture.dim, design.moment_degree)
        # Beside the monomials a light pass has gates, ridge functions, their slopes and products.
        work = design.forward_rows + 4 * design.n_experts * architecture.n_columns
        if device.type != "cpu":
            most = longest or max(CHUNK, _MOST_NUMBERS_GPU // powers)
            return cls(_equal(n, most), _equal(n, max(most, _MOST_NUMBERS_GPU // work)))
        matrix = max(64, min(max(CHUNK, _SMALL_NUMBERS // powers), _MOST_NUMBERS // powers))
        light = min(max(LIGHT_NUMBERS // work, _LIGHT_LEAST), _LIGHT_MOST)
        matrix = _NATIVE if native else matrix
        return cls(_equal(n, longest or matrix), _equal(n, longest or light))


def _equal(n: int, longest: int) -> int:
    """Return a chunk length that leaves no short last chunk, which would waste speed."""
    return ceil(n / ceil(n / longest))


def curvature_rows(n: int, design: Layout) -> Tensor | None:
    """Return which of n rows steps take their J'J from, ascending; None for all of them."""
    wanted = _curvature_count(n, design)
    if wanted == n:
        return None
    chosen = np.random.default_rng(0).choice(n, wanted, replace=False, shuffle=False)
    return torch.from_numpy(np.sort(chosen))


def refinements(most: int, n: int, design: Layout) -> int:
    """Return how many cheap steps to take with one J'J of n rows: all, or what they are worth.

    Each costs a gradient, so that in large samples, whose J'J comes from a part of the rows, they
    are worth it where even that costs many gradients: the smaller the model, the fewer. Small
    samples are quick, and their hard fits need the steps to converge.
    """
    rows = _curvature_count(n, design)
    if rows == n:
        return most
    gradients = rows * design.n_moments / (n * _gradient_products(design))
    return min(most, max(0, round(1.5 * (gradients - 1.0))))


def _gradient_products(design: Layout) -> int:
    """Return how many multiplications a row costs in the matrix products of a gradient."""
    architecture = design.architecture
    return (
        2
        * design.n_experts
        * (design.forward_rows + architecture.n_columns * (architecture.dim + 1))
    )


def _curvature_count(n: int, design: Layout) -> int:
    """Return how many of n rows steps take their J'J from.

    A row counts for as many residuals as the response has columns. Memory is limited at any n: the
    rows may lie elsewhere (module ``blocks._streamed``).
    """
    architecture = design.architecture
    columns = architecture.n_columns
    parameters = architecture.n_parameters(design.n_experts)
    residuals = max(CURVATURE_ROWS * parameters, CURVATURE_LEAST)
    needed = max(ceil(residuals / columns), min(residuals, _FEWEST_ROWS))
    share = min(CURVATURE_SHARE, _GRADIENTS * _gradient_products(design) / design.n_moments)
    enough = min(ceil(_CURVATURE_ENOUGH * parameters / columns), _CURVATURE_MOST)
    wanted = max(needed, min(int(share * n), enough))
    return n if n <= 2 * wanted else wanted
