"""The local modulus of a truth, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np

from sigmoe._base.constraints import Choice, Interval, check
from sigmoe._base.errors import invalid
from sigmoe._base.seeds import Seed
from sigmoe.moe import MixingMeasure
from sigmoe.theory._quadrature import box_quadrature, kinks_of
from sigmoe.theory.modulus._mixture import Limits, MixtureModel
from sigmoe.theory.modulus._model import LocalModel, Vector
from sigmoe.theory.modulus._result import BlockModulus, LocalModulus, local_slopes
from sigmoe.theory.modulus._solve import distance
from sigmoe.theory.modulus._trace import Trace, follow_all

_BLOCKS = ("weight", "A", "b", "eta", "scale")
#: Of the reach of a coordinate, the largest t.
_LARGEST = 0.5
_PER_DECADE = 6
#: Steps that an exponent is taken from.
_STEPS = 4
#: Deviations below this share of the largest one are not written in a direction.
_WRITTEN = 1e-3
#: Powers of t beyond this are no powers.
_STEEPEST = 10.0
#: The distance below which float64 sees rounding, beside functions of size 1.
_FLOOR = 1e-13


def local_modulus(
    truth: MixingMeasure,
    n_experts: int,
    *,
    over_specified: int | None = None,
    blocks: Sequence[str] | None = None,
    half_width: float = 3.0,
    decades: float = 2.0,
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
        N >= N*. The extra atoms are near one true atom.
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
        For a batch of truths, N < N*, an atom or block that does not exist, numbers out of range,
        or a softmax truth with a single atom, whose gate is constant.

    Notes
    -----
    "Near" is a box: entries of A, b and eta within 1 of the truth's (eta: within half the
    expert's size), each atom with at least a tenth of its cell's weight, and the cell's weight
    within a quarter of the truth's. Without these limits the minimiser leaves for the far
    representations of the truth's function. With softmax gates one atom of another cell is
    pinned, which takes out the common translation.

    Minima are found by continuation from several starts, so that the curve is an upper bound of
    the modulus, and the exponent of the directions found. Distances are taken by quadrature (d <=
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
    check("half_width", half_width, Interval("number", 0.0, closed="neither"), "Try 3.")
    check("decades", decades, Interval("number", 1.0), "Follow t down by at least one decade.")
    check("n_starts", n_starts, Interval("integer", 1), "Use at least one start.")
    sizes = [1 + (n_experts - truth.n_experts) * (j == cell) for j in range(truth.n_experts)]
    model, finer = (_model(truth, sizes, half_width, level, cell) for level in (1, 2))
    cases = _chosen(_held(model, cell, sizes), blocks)
    held = [k for _, coordinates in cases for k in coordinates]
    count = round(_PER_DECADE * decades) + 1
    ladder = np.geomspace(1.0, 10.0**-decades, count)
    tops = {block: _LARGEST * min(model.upper[k] for k in found) for block, found in cases}
    ts = [tops[block] * ladder for block, found in cases for _ in found]
    traces = follow_all(model, held, ts, n_starts=n_starts, floor=_FLOOR, seed=seed)
    curves = []
    for block, found in cases:
        mine = [trace for trace in traces if trace.held in found]
        curves.append(_block(block, mine, tops[block] * ladder, model, finer))
    return LocalModulus(n_experts, cell if max(sizes) > 1 else None, half_width, tuple(curves))


def _checked(truth: MixingMeasure, n_experts: int, over_specified: int | None) -> int:
    """Return the true atom that the extra atoms are near."""
    if truth.batch_shape:
        raise invalid("truth", "a single measure", repr(truth), "Take one with truth[k].")
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


def _held(model: MixtureModel, cell: int, sizes: Sequence[int]) -> list[tuple[str, list[int]]]:
    """Return the coordinates of each block to hold: of the cell's first atom, as all are alike."""
    atom = sum(sizes[:cell])
    found = []
    for block in _BLOCKS:
        coordinates = [
            k
            for k, c in enumerate(model.coordinates)
            if c.block == block and c.cell == cell and c.atom in (-1, atom)
        ]
        if coordinates:
            found.append((block, coordinates))
    return found


def _chosen(
    cases: list[tuple[str, list[int]]], blocks: Sequence[str] | None
) -> list[tuple[str, list[int]]]:
    if blocks is None:
        return cases
    known = Choice(tuple(block for block, _ in cases))
    for block in blocks:
        check("blocks", block, known, "Name blocks that the model has.")
    return [case for case in cases if case[0] in blocks]


def _block(
    block: str, traces: Sequence[Trace], ts: Vector, model: MixtureModel, finer: LocalModel
) -> BlockModulus:
    """Return the lower envelope of a block's traces, with its exponent."""
    # A trace that ended early has reached the floor, and stays there for smaller t.
    count = min(len(trace.t) for trace in traces)
    best = [traces[int(np.argmin([trace.distance[k] for trace in traces]))] for k in range(count)]
    distances = np.array([trace.distance[k] for k, trace in enumerate(best)])
    points = np.array([trace.points[k] for k, trace in enumerate(best)])
    fine = np.array([distance(finer, x) for x in points])
    error = np.abs(fine - distances) / np.maximum(distances, _FLOOR)
    t = ts[:count]
    slopes = local_slopes(t, distances, _FLOOR)
    if len(slopes) < _STEPS:
        return BlockModulus(
            block, t, distances, error, _FLOOR, inf, inf, inf, _direction(model, t, points, 0)
        )
    last = slopes[-_STEPS:]
    exponent = float(last.mean())
    text = _direction(model, t, points, len(slopes))
    return BlockModulus(
        block, t, distances, error, _FLOOR, exponent, float(last.min()), float(last.max()), text
    )


def _direction(model: MixtureModel, t: Vector, points: Vector, at: int) -> str:
    """Return the deviations at one t, each with the power of t by which it came there."""
    x = points[at]
    largest = float(np.abs(np.where(model.local, x, 0.0)).max())
    parts = []
    for k in np.flatnonzero(model.local & (np.abs(x) > _WRITTEN * largest)):
        power = 1.0
        if at > 0 and points[at - 1][k] * x[k] > 0:
            power = float(np.log(x[k] / points[at - 1][k]) / np.log(t[at] / t[at - 1]))
        if 0.0 <= power <= _STEEPEST:
            parts.append(f"{model.names[k]} = {x[k] / t[at] ** power:+.2g} t^{power:.1f}")
        else:
            # It changed from one minimiser to the next, and has no power.
            parts.append(f"{model.names[k]} = {x[k]:+.2g}")
    return ", ".join(parts)
