"""Losses of measures, to the truth or to the nearest member of a set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sigmoe.moe import MixingMeasure
from sigmoe.theory import (
    VoronoiLoss,
    function_distance,
    nearest_representations,
    set_loss,
    voronoi_loss,
)
from sigmoe.theory._quadrature import Quadrature


@dataclass(frozen=True)
class Measured:
    """One loss of one measure.

    Attributes
    ----------
    value : float
    empty_cells : int or None
        None where the loss has no cells.
    member : str
        For a distance to a set, the member that was nearest.
    by_atom : tuple of float or None
        Contributions of the true atoms, where the loss has cells.
    """

    value: float
    empty_cells: int | None = None
    member: str = ""
    by_atom: tuple[float, ...] | None = None


def measure(
    target: str,
    losses: Sequence[str],
    measures: MixingMeasure,
    truth: MixingMeasure,
    approximations: MixingMeasure | None = None,
    rule: Quadrature | None = None,
) -> dict[str, list[Measured]]:
    """Return losses of a batch of measures.

    Parameters
    ----------
    target : {"truth", "representations", "best-approximation"}
        Where L3, L5, "expert" and "function" are taken from: the truth G*; the nearest known
        measure that reproduces its function; or the nearest of the best approximations. The other
        losses are defined between a fit and G*.
    losses : sequence of str
        Names of losses.
    measures : MixingMeasure
        A batch of shape (B,).
    truth : MixingMeasure
        G*.
    approximations : MixingMeasure or None
        A batch of best approximations, for that target.
    rule : Quadrature or None
        Of the distance of functions, where the inputs are not U[-1, 1]^d.

    Returns
    -------
    dict of str to list of B Measured
    """
    kind = "L5" if measures.architecture.score == "partial" else "L3"
    # Functions compare across gates, parameters do not.
    atoms = any(loss != "function" for loss in losses)
    nearest = _nearest(target, kind, measures, truth, approximations) if atoms else []
    found: dict[str, list[Measured]] = {}
    for loss in losses:
        if loss == "function":
            goals = truth if approximations is None else approximations
            found[loss] = _function_errors(measures, goals, rule)
        elif loss == "expert":
            found[loss] = [_measured(part, k, name, "eta") for part, k, name in nearest]
        elif loss == kind:
            found[loss] = [_measured(part, k, name) for part, k, name in nearest]
        else:
            whole = to_truth(measures, truth, loss)
            found[loss] = [_measured(whole, k, "") for k in range(len(nearest))]
    return found


def to_truth(measures: MixingMeasure, truth: MixingMeasure, loss: str) -> VoronoiLoss:
    """Return a loss to G*.

    With N = N* no atom is over-specified by design: that a badly determined atom strays into
    another's cell does not make it so. Otherwise the cells with two or more fitted atoms are.
    """
    alike = loss in ("L3", "L5") or measures.n_experts > truth.n_experts
    return voronoi_loss(measures, truth, loss, over_specified=None if alike else ())


#: A loss of a batch, the position in the batch, and the name of the member it is taken from.
_Nearest = tuple[VoronoiLoss, int, str]


def _nearest(
    target: str,
    kind: str,
    measures: MixingMeasure,
    truth: MixingMeasure,
    approximations: MixingMeasure | None,
) -> list[_Nearest]:
    """Return for each measure the smallest loss of that kind to a member of its target."""
    count = measures.batch_shape[0]
    if approximations is not None:
        members = approximations.batch_shape[0]
        named = {f"approximation {m + 1} of {members}": approximations[m] for m in range(members)}
        found = set_loss(measures, named, kind)
        return [(found.losses[m], k, found.names[m]) for k, m in enumerate(found.position.tolist())]
    if target == "truth" or measures.n_experts == truth.n_experts:
        whole = voronoi_loss(measures, truth, kind)
        return [(whole, k, "") for k in range(count)]
    nearest = []
    for k in range(count):
        representations = nearest_representations(measures[k], truth)
        found = set_loss(MixingMeasure.stack([measures[k]]), representations, kind)
        m = int(found.position)
        nearest.append((found.losses[m], 0, found.names[m]))
    return nearest


def _measured(loss: VoronoiLoss, k: int, member: str, block: str | None = None) -> Measured:
    by_atom = (loss.by_atom if block is None else loss.parts[block])[k]
    return Measured(
        value=float(by_atom.sum()),
        empty_cells=int(loss.empty_cells[k]),
        member=member,
        by_atom=tuple(by_atom.tolist()),
    )


def _function_errors(
    measures: MixingMeasure, goals: MixingMeasure, rule: Quadrature | None
) -> list[Measured]:
    """Return the distances in L2(mu) to the goal's function, the nearest one of several."""
    several = [goals] if not goals.batch_shape else [goals[m] for m in range(goals.batch_shape[0])]
    distances = torch.stack([_function_error(measures, goal, rule) for goal in several])
    best = distances.min(dim=0)
    return [Measured(value) for value in best.values.tolist()]


def _function_error(
    measures: MixingMeasure, goal: MixingMeasure, rule: Quadrature | None
) -> torch.Tensor:
    if rule is None:
        return function_distance(measures, goal)
    return rule.norm(measures.predict(rule.nodes) - goal.predict(rule.nodes))
