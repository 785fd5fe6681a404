import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from sigmoe.theory._blocks import AtomBlocks
from sigmoe.theory._region import lowest_within_cells


def blocks(count, atoms, dim, seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(count, atoms, *shape, generator=generator, dtype=torch.float64)

    A = draw(dim, dim)
    return AtomBlocks((A + A.mT).flatten(-2), draw(dim), draw(1), draw(dim + 1), 1)


def squared_distances(fitted, truth, A, b, k):
    """Return the squared distances (N, N*) in problem k after a translation."""
    blocks = (fitted.A, fitted.b, fitted.eta), (truth.A, truth.b, truth.eta)
    ours, theirs = (np.concatenate([block[k].numpy() for block in side], axis=1) for side in blocks)
    shift = np.concatenate([A, b, np.zeros(fitted.eta.shape[-1])])
    return ((ours[:, None] + shift - theirs[None]) ** 2).sum(axis=2)


@pytest.mark.parametrize(("dim", "n_fitted", "n_true"), [(1, 2, 2), (1, 3, 3), (2, 4, 4)])
@pytest.mark.parametrize("squares", [False, True])
def test_no_worse_than_an_independent_constrained_optimiser(dim, n_fitted, n_true, squares):
    count = 12
    fitted, truth = blocks(count, n_fitted, dim, seed=1), blocks(count, n_true, dim, seed=2)
    zero = torch.zeros(count, dim * dim, dtype=torch.float64), torch.zeros(count, dim).double()
    weights = torch.rand(count, n_fitted, dtype=torch.float64) + 0.1
    squared = torch.full((count, n_fitted), squares)
    still = np.zeros(dim * dim), np.zeros(dim)
    distances = [squared_distances(fitted, truth, *still, k) for k in range(count)]
    owner = torch.stack([torch.from_numpy(distance.argmin(axis=1)) for distance in distances])
    A, b = lowest_within_cells(fitted, truth, owner, weights, squared, zero)
    power = 2 if squares else 1
    binding = 0
    for k in range(count):
        own = owner[k]

        def loss(x, k=k, own=own):
            offset_A = fitted.A[k].numpy() + x[: dim * dim] - truth.A[k][own].numpy()
            offset_b = fitted.b[k].numpy() + x[dim * dim :] - truth.b[k][own].numpy()
            norms = [np.linalg.norm(offset, axis=1) for offset in (offset_A, offset_b)]
            return float(weights[k].numpy() @ sum(norm**power for norm in norms))

        def slack(x, k=k, own=own):
            distances = squared_distances(fitted, truth, x[: dim * dim], x[dim * dim :], k)
            mine = np.take_along_axis(distances, own.numpy()[:, None], axis=1)
            return (distances - mine).ravel()

        found = torch.cat([A[k], b[k]]).numpy()
        assert slack(found).min() >= -1e-12
        binding += int(np.sort(slack(found))[n_fitted] < 1e-5)
        starts = (np.zeros(dim * dim + dim), 0.9 * found)
        constraint = {"type": "ineq", "fun": slack}
        for start in starts:
            rival = minimize(loss, start, constraints=[constraint], options={"ftol": 1e-12})
            if slack(rival.x).min() >= -1e-9:
                assert loss(found) <= rival.fun * (1 + 1e-6) + 1e-8
    assert binding > 0


def test_a_start_on_a_boundary_is_returned_as_it_is():
    fitted, truth = blocks(1, 2, 1, seed=3), blocks(1, 2, 1, seed=4)
    owner = torch.tensor([[0, 0]])
    truth.A[0, 1], truth.b[0, 1], truth.eta[0, 1] = truth.A[0, 0], truth.b[0, 0], truth.eta[0, 0]
    start = torch.ones(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    weights = torch.ones(1, 2, dtype=torch.float64)
    A, b = lowest_within_cells(fitted, truth, owner, weights, weights > 2, start)
    assert torch.equal(A, start[0])
    assert torch.equal(b, start[1])
