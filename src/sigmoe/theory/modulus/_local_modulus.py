"""The local modulus of a truth, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sigmoe._base.constraints import Choice, Interval, check
from sigmoe._base.errors import invalid
from sigmoe._base.seeds import Seed
from sigmoe.moe import MixingMeasure
from sigmoe.theory._inputs import require_present, require_single
from sigmoe.theory._quadrature import box_quadrature, kinks_of
from sigmoe.theory.modulus._direction import describe
from sigmoe.theory.modulus._exponent import count_above, exponent_of
from sigmoe.theory.modulus._mixture import Limits, MixtureModel
from sigmoe.theory.modulus._model import LocalModel, Vector
from sigmoe.theory.modulus._regular import fisher_on_box, local_covariance
from sigmoe.theory.modulus._result import BlockModulus, LocalModulus, Specified
from sigmoe.theory.modulus._solve import distance
from sigmoe.theory.modulus._trace import Traces, follow_all

_BLOCKS = ("weight", "A", "b", "eta", "scale")
#: Of the reach of a coordinate, the largest t.
_LARGEST = 0.5
_PER_DECADE = 6
_MOST_EXPERTS = 100
#: Log odds of the weights that can be told from 0 and 1, and have squares.
_ODDS = -230.0, 25.0
#: Half widths of boxes in which a function can be told from a constant, or from a step.
_WIDTHS = 1e-3, 1e3
_MOST_DECADES, _MOST_STARTS = 12.0, 10_000
#: Rounding of distances, in sizes of the functions: float64's, with room for sums.
_FLOOR = 1e-14


class Case(NamedTuple):
    """A block of which coordinates are held, and whether they are of over-specified atoms."""

    block: str
    specified: Specified
    coordinates: list[int]


def local_modulus(
    truth: MixingMeasure,
    n_experts: int,
    *,
    over_specified: int | None = None,
    blocks: Sequence[str] | None = None,
    half_width: float = 3.0,
    decades: float = 3.0,
    n_starts: int = 8,
    seed: Seed = 0,
) -> LocalModulus:
    """Return the local modulus of a truth: the rate at which each block can be learned at worst.

    For a block of parameters and t > 0 it is the smallest ||f_G - f_G*|| over measures G near the
    truth with one coordinate of the block held at distance t. If it falls like t^k, the minimax
    rate of that block is no faster than n^(-1/(2k)).

    Parameters
    ----------
    truth : MixingMeasure
        A single measure with N* atoms.
    n_experts : int
        N >= N*. The extra atoms are near one true atom. With sigmoid gates that atom's gate must be
        constant, A = 0 and b = 0: others are not a sum of gates, and no measure near the truth with
        weights above a floor has its function.
    over_specified : int, optional
        Which one; by default the last.
    blocks : sequence of str, optional
        Which of "weight", "A", "b", "eta" and "scale"; by default all that the model has. A
        minimum for one block is a start for the others, so that fewer may find less.
    half_width : float
        Inputs are uniform on [-half_width, half_width]^d. Narrow boxes give curves that reach the
        power law late or never.
    decades : float
        How far t is followed down.
    n_starts : int
        Random starts at the largest t, for each coordinate and sign; smaller t go on from there.
    seed : int or SeedSequence

    Returns
    -------
    LocalModulus

    Raises
    ------
    InputError
        For a batch of truths, N < N*, an over-specified sigmoid gate that depends on the input, an
        atom or block that does not exist, numbers out of range, or a softmax truth with a single
        atom, whose gate is constant.

    Notes
    -----
    "Near" is a box: entries of A, b and eta within 1 of the truth's (eta: within half the
    expert's size), each atom with at least a fifth of its even share of its cell's weight w*, and
    the cell's weight within min(w*, 1 - w*) / 4 of w*. Without these limits the minimiser leaves
    for the far representations of the truth's function. With softmax gates one atom of another
    cell is pinned, which takes out the common translation.

    Minima are found by continuation from several starts, so that the curve is an upper bound of
    the modulus, and the exponent that of the directions found. With N = N* and a regular model the
    Fisher information is set beside the curves: they tend to t over the standard error of the
    worst coordinate. Distances are taken by quadrature (d <=
    2) or quasi-Monte Carlo and compared with a finer rule.

    Examples
    --------
    >>> from sigmoe.moe import Architecture, MixingMeasure
    >>> line = Architecture(score="partial", expert="linear", dim=1)
    >>> truth = MixingMeasure(line, [[[0.0]]], None, [-1.0], [[0.8, 0.4]])
    >>> local_modulus(truth, 2, decades=1.0, n_starts=2)["scale"].exponent
    inf
    """
    cell = _checked(truth, n_experts, over_specified)
    check("half_width", half_width, Interval("number", *_WIDTHS), "Try 3.")
    reach = "Follow t down by at least one decade; below 1e-12 all is rounding."
    check("decades", decades, Interval("number", 1.0, _MOST_DECADES), reach)
    check("n_starts", n_starts, Interval("integer", 1, _MOST_STARTS), "Use at least one start.")
    check("n_experts", n_experts, Interval("integer", 1, _MOST_EXPERTS), "Fit fewer experts.")
    _check_weights(truth)
    if n_experts > truth.n_experts:
        _check_shared(truth, cell)
    sizes = [1 + (n_experts - truth.n_experts) * (j == cell) for j in range(truth.n_experts)]
    require_present(truth, box_quadrature(truth.architecture.dim, half_width).nodes)
    model, finer = (_model(truth, sizes, half_width, level, cell) for level in (1, 2))
    cases = _chosen(_cases(model, sizes), blocks)
    ladder = np.geomspace(1.0, 10.0**-decades, round(_PER_DECADE * decades) + 1)
    tops = [_LARGEST * min(model.upper[k] for k in case.coordinates) for case in cases]
    held = [k for case in cases for k in case.coordinates]
    ts = [top * ladder for case, top in zip(cases, tops, strict=True) for _ in case.coordinates]
    traces = follow_all(model, held, ts, n_starts=n_starts, seed=seed)
    curves = tuple(
        _block(case, traces, top * ladder, model, finer, cell)
        for case, top in zip(cases, tops, strict=True)
    )
    if max(sizes) > 1:
        return LocalModulus(n_experts, cell, half_width, curves)
    fisher = fisher_on_box(truth, half_width, seed)
    if fisher.regular:
        covariance = local_covariance(fisher, model)
        curves = tuple(map(partial(_with_fisher, covariance=covariance), curves, cases))
    return LocalModulus(n_experts, None, half_width, curves, fisher)


def _checked(truth: MixingMeasure, n_experts: int, over_specified: int | None) -> int:
    """Return the true atom that the extra atoms are near."""
    require_single("truth", truth)
    least = Interval("integer", truth.n_experts)
    check("n_experts", n_experts, least, "Fit at least as many experts as the truth has.")
    if truth.architecture.n_invisible > 0 and truth.n_experts == 1:
        remedy = "A single softmax gate is constant; use a truth of two atoms or more."
        raise invalid("truth", "of at least two atoms for softmax gates", 1, remedy)
    last = truth.n_experts - 1
    if over_specified is None:
        return last
    check("over_specified", over_specified, Interval("integer", 0, last), "Name a true atom.")
    return int(over_specified)


def _check_weights(truth: MixingMeasure) -> None:
    """Refuse weights that are 0 or 1 to rounding: nothing can move there."""
    c = truth.c
    if truth.architecture.n_invisible > 0:
        # Of each weight e^c_j / sum e^c_i, the log odds.
        total = torch.stack([torch.logsumexp(_others(c, j), 0) for j in range(len(c))])
        c = c - total
    for atom, value in enumerate(c.tolist()):
        if not _ODDS[0] <= value <= _ODDS[1]:
            rule = f"of weights with log odds from {_ODDS[0]:g} to {_ODDS[1]:g}"
            remedy = "Move c: gates that are closed or open to rounding cannot be followed."
            raise invalid("truth", rule, f"{value:.4g} at atom {atom}", remedy)


def _others(c: Tensor, j: int) -> Tensor:
    return torch.cat([c[:j], c[j + 1 :]])


def _check_shared(truth: MixingMeasure, cell: int) -> None:
    """Refuse a sigmoid gate that cannot be the sum of several: one that depends on the input."""
    if truth.architecture.n_invisible > 0:
        return
    size = max(float(part[cell].abs().max()) for part in (truth.A, truth.b))
    if size > 0.0:
        rule = f"with A = 0 and b = 0 at atom {cell}, whose sigmoid gate several atoms share"
        remedy = "Name another atom with over_specified, or fit N* atoms."
        raise invalid("truth", rule, f"entries up to {size:.3g}", remedy)


def _model(
    truth: MixingMeasure, sizes: Sequence[int], half_width: float, level: int, cell: int
) -> MixtureModel:
    dim = truth.architecture.dim
    rule = box_quadrature(dim, half_width, kinks=kinks_of(truth), level=level)
    pinned = None
    if truth.architecture.n_invisible > 0:
        other = 1 if cell == 0 else 0
        pinned = sum(sizes[:other])
    return MixtureModel(truth, sizes, rule, Limits(), pinned)


def _cases(model: MixtureModel, sizes: Sequence[int]) -> list[Case]:
    """Return the coordinates of each block to hold.

    Of an over-specified cell those of its first atom, as all are alike.
    """
    first = np.cumsum([0, *sizes[:-1]])
    found: dict[tuple[Specified, str], list[int]] = {}
    for k, c in enumerate(model.coordinates):
        if c.block in _BLOCKS and c.atom in (-1, first[c.cell]):
            specified: Specified = "over" if sizes[c.cell] > 1 else "exact"
            found.setdefault((specified, c.block), []).append(k)
    order: tuple[Specified, Specified] = ("over", "exact")
    keys = [(specified, block) for specified in order for block in _BLOCKS]
    return [Case(key[1], key[0], found[key]) for key in keys if key in found]


def _are_listed(names: object) -> bool:
    """Return whether names are a sequence of at least one; a text is not one of its letters."""
    return isinstance(names, Sequence) and not isinstance(names, str) and len(names) > 0


def _chosen(cases: list[Case], blocks: Sequence[str] | None) -> list[Case]:
    if blocks is None:
        return cases
    if not _are_listed(blocks):
        remedy = "Write for example ('eta',), or leave it out for all."
        raise invalid("blocks", "a sequence of one name or more", blocks, remedy)
    known = Choice(tuple(dict.fromkeys(case.block for case in cases)))
    for block in blocks:
        check("blocks", block, known, "Name blocks that the model has.")
    return [case for case in cases if case.block in blocks]


def _block(
    case: Case, traces: Traces, t: Vector, model: MixtureModel, finer: LocalModel, cell: int
) -> BlockModulus:
    """Return the lower envelope of a block's traces, with its exponent."""
    mine = np.isin(traces.held, case.coordinates)
    lowest, steps = traces.distance[mine].argmin(0), np.arange(len(t))
    distances = traces.distance[mine][lowest, steps]
    points = traces.points[mine][lowest, steps]
    floor = _FLOOR * model.size
    error = np.abs(distance(finer, points) - distances) / np.maximum(distances, floor)
    exponent = exponent_of(t, distances, floor)
    at = max(count_above(distances, floor) - 1, 0)
    return BlockModulus(
        block=case.block,
        specified=case.specified,
        t=t,
        distance=distances,
        error=error,
        floor=floor,
        exponent=exponent.value,
        low=exponent.low,
        high=exponent.high,
        # Along one trace: minimisers of opposite sign are equally low, and have no common power.
        direction=describe(model, t, traces.points[mine][lowest[at]], cell, at),
        worst=model.measure(points),
    )


def _with_fisher(block: BlockModulus, case: Case, *, covariance: Vector) -> BlockModulus:
    variances = covariance.diagonal()[case.coordinates]
    return replace(
        block,
        standard_error=float(np.sqrt(variances.sum())),
        worst_standard_error=float(np.sqrt(variances.max())),
    )
