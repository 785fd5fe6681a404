import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sigmoe._base.errors import InputError
from sigmoe.moe import Architecture, MixingMeasure, draw_truth, voronoi_cells
from sigmoe.moe._voronoi import atom_distances

FULL = Architecture(dim=2)
PLANE = Architecture(score="linear", expert="linear", dim=1)


def naive_cells(fitted, truth):
    """Return the cells by the definition's own words, one pair at a time."""

    def distance(i, j):
        parts = [
            (fitted.A[i] - truth.A[j]).flatten(),
            (fitted.b[i] - truth.b[j]).flatten(),
            (fitted.eta[i] - truth.eta[j]).flatten(),
        ]
        return float(torch.linalg.vector_norm(torch.cat(parts)))

    pairs = itertools.product(range(truth.n_experts), range(fitted.n_experts))
    cells = torch.zeros(truth.n_experts, fitted.n_experts, dtype=torch.bool)
    for j, i in pairs:
        cells[j, i] = all(distance(i, j) <= distance(i, other) for other in range(truth.n_experts))
    return cells


def on_a_line(*slopes):
    """Return atoms that differ in alpha alone, so that distances are differences of numbers."""
    n = len(slopes)
    eta = torch.tensor([[slope, 0.0] for slope in slopes])
    return MixingMeasure(PLANE, None, torch.zeros(n, 1), torch.zeros(n), eta)


@given(seed=st.integers(0, 1000), n_fitted=st.integers(1, 6), n_true=st.integers(1, 4))
def test_cells_are_the_definition(seed, n_fitted, n_true):
    fitted, truth = draw_truth(FULL, n_fitted, seed=seed), draw_truth(FULL, n_true, seed=seed + 1)
    assert torch.equal(voronoi_cells(fitted, truth), naive_cells(fitted, truth))


def test_a_tied_atom_lies_in_every_tied_cell():
    cells = voronoi_cells(on_a_line(0.0, 1.0), on_a_line(-1.0, 1.0, 5.0))
    assert cells.tolist() == [[True, False], [True, True], [False, False]]


def test_c_does_not_move_an_atom():
    truth = draw_truth(FULL, 3)
    moved = MixingMeasure(FULL, truth.A, truth.b, truth.c + 100.0, truth.eta)
    assert torch.equal(voronoi_cells(moved, truth), torch.eye(3, dtype=torch.bool))


def test_equal_atoms_are_at_distance_zero_exactly():
    truth = draw_truth(Architecture(dim=8), 30, seed=2)
    assert torch.equal(
        atom_distances(truth, truth).diagonal(), torch.zeros(30, dtype=torch.float64)
    )


def test_off_diagonal_entries_of_A_count_twice():
    zero = MixingMeasure(FULL, torch.zeros(1, 2, 2), torch.zeros(1, 2), [0.0], torch.zeros(1, 3))
    one = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    moved = MixingMeasure(FULL, one, torch.zeros(1, 2), [0.0], torch.zeros(1, 3))
    assert float(atom_distances(moved, zero)) == pytest.approx(2**0.5)


def test_batches_broadcast():
    truth = draw_truth(FULL, 3)
    fits = [draw_truth(FULL, 4, seed=s) for s in range(5)]
    together = voronoi_cells(MixingMeasure.stack(fits), truth)
    for k, fit in enumerate(fits):
        assert torch.equal(together[k], voronoi_cells(fit, truth))


def test_measures_of_other_kinds_are_refused():
    with pytest.raises(InputError) as caught:
        voronoi_cells(draw_truth(FULL, 2), draw_truth(Architecture(dim=2, expert="linear"), 2))
    assert str(caught.value) == (
        "fitted must be of the truth's expert 'linear'; got 'relu'. "
        "Compare atoms of one kind; compare functions with function_distance."
    )


def test_gates_may_differ():
    softmax = draw_truth(Architecture(gate="softmax", dim=2), 2)
    assert voronoi_cells(draw_truth(FULL, 2), softmax).shape == (2, 2)
