"""Voronoi cells of fitted atoms around the true ones, eqs. (9) and (51)."""

from __future__ import annotations

import torch
from torch import Tensor

from sigmoe._base.errors import invalid
from sigmoe.moe._measure import MixingMeasure


def atom_distances(fitted: MixingMeasure, truth: MixingMeasure) -> Tensor:
    """Return ||theta_i - theta_j*|| with theta = (A, b, eta), shape (*batch, N*, N).

    c does not enter, as in eqs. (9) and (51); A is measured by the Frobenius norm of the full
    symmetric matrix.
    """
    return torch.cdist(_theta(truth), _theta(fitted), compute_mode="donot_use_mm_for_euclid_dist")


def voronoi_cells(fitted: MixingMeasure, truth: MixingMeasure) -> Tensor:
    """Allocate the atoms of a fit to the atoms of the truth (eqs. (9), (51)).

    Parameters
    ----------
    fitted : MixingMeasure
        N atoms, possibly a batch.
    truth : MixingMeasure
        N* atoms; its batch axes broadcast against those of ``fitted``.

    Returns
    -------
    Tensor of shape (*batch, N*, N), bool
        Entry (j, i) tells whether fitted atom i lies in the cell of true atom j. As the
        definition reads, an atom at equal distance from two true atoms lies in both cells.

    Raises
    ------
    InputError
        If the two measures differ in score, expert or dimensions.

    Examples
    --------
    >>> from sigmoe.moe import Architecture, draw_truth, voronoi_cells
    >>> truth = draw_truth(Architecture(dim=2), 3)
    >>> voronoi_cells(truth.permute([2, 0, 1]), truth).int()
    tensor([[0, 1, 0],
            [0, 0, 1],
            [1, 0, 0]], dtype=torch.int32)
    """
    require_comparable(fitted, truth)
    distances = atom_distances(fitted, truth)
    return distances <= distances.amin(dim=-2, keepdim=True)


def require_comparable(fitted: MixingMeasure, truth: MixingMeasure) -> None:
    """Raise InputError unless the two measures' atoms have the same coordinates."""
    ours, theirs = fitted.architecture, truth.architecture
    for field in ("score", "expert", "dim", "n_outputs"):
        if getattr(ours, field) != getattr(theirs, field):
            raise invalid(
                "fitted",
                f"of the truth's {field} {getattr(theirs, field)!r}",
                getattr(ours, field),
                "Compare atoms of one kind; compare functions with function_distance.",
            )


def _theta(measure: MixingMeasure) -> Tensor:
    blocks = [measure.A.flatten(-2), measure.b]
    eta = measure.eta
    blocks.append(eta if measure.architecture.n_outputs is None else eta.flatten(-2))
    return torch.cat(blocks, dim=-1)
