import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from sigmoe.theory._median import objective, weighted_centre


def problems(count, points, dim, seed, squares=0.3):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    z = torch.randn(count, points, dim, generator=generator, dtype=torch.float64)
    return z, draw(count, points), draw(count, points) < squares


def value(centre, *problem):
    return objective(centre.unsqueeze(1), *problem).squeeze(1)


@pytest.mark.parametrize(("points", "dim"), [(2, 1), (9, 1), (3, 2), (5, 5), (9, 8), (9, 36)])
@pytest.mark.parametrize("squares", [0.0, 0.3, 1.0])
def test_no_worse_than_an_independent_optimiser(points, dim, squares):
    problem = problems(4, points, dim, seed=points + dim, squares=squares)
    found = value(weighted_centre(*problem), *problem)
    for k in range(4):
        one = tuple(part[k : k + 1] for part in problem)

        def at(x, one=one):
            return float(objective(torch.from_numpy(x)[None, None], *one))

        start = one[0][0].mean(dim=0).numpy()
        rival = min(
            minimize(at, start, method="BFGS").fun,
            minimize(at, start, method="Powell", options={"xtol": 1e-9, "ftol": 1e-14}).fun,
        )
        assert float(found[k]) <= rival * (1 + 1e-9)


def test_the_minimum_at_a_point_is_that_point_exactly():
    z, weights, squared = problems(50, 6, 40, seed=0, squares=0.0)
    weights[:, 2] = 10.0
    assert torch.equal(weighted_centre(z, weights, squared), z[:, 2])


def test_squares_alone_give_the_weighted_mean():
    z, weights, _ = problems(10, 6, 3, seed=1)
    mean = (weights.unsqueeze(-1) * z).sum(dim=1) / weights.sum(dim=1, keepdim=True)
    found = weighted_centre(z, weights, torch.ones(10, 6, dtype=torch.bool))
    assert torch.allclose(found, mean, rtol=0, atol=1e-12)


def test_the_corners_of_a_square_give_its_centre():
    corners = torch.tensor([[[1.0, 1], [1, -1], [-1, 1], [-1, -1]]], dtype=torch.float64)
    found = weighted_centre(corners, torch.ones(1, 4), torch.zeros(1, 4, dtype=torch.bool))
    assert torch.allclose(found, torch.zeros(1, 2, dtype=torch.float64), rtol=0, atol=1e-8)


@pytest.mark.parametrize("squared", [False, True])
def test_degenerate_problems_stay_finite(squared):
    same = torch.ones(1, 3, 2, dtype=torch.float64)
    flags = torch.full((1, 3), squared)
    assert torch.equal(weighted_centre(same, torch.ones(1, 3), flags), same[:, 0])
    nothing = weighted_centre(same, torch.zeros(1, 3, dtype=torch.float64), flags)
    assert bool(torch.isfinite(nothing).all())
    line = torch.tensor([[[0.0, 0.0], [1.0, 1.0], [5.0, 5.0]]], dtype=torch.float64)
    on_line = weighted_centre(line, torch.ones(1, 3, dtype=torch.float64), flags)
    expected = [2.0, 2.0] if squared else [1.0, 1.0]
    assert on_line[0].tolist() == pytest.approx(expected, abs=1e-12)


@settings(max_examples=30)
@given(seed=st.integers(0, 200), order=st.permutations(range(4)))
def test_moves_with_the_points_and_ignores_their_order(seed, order):
    z, weights, squared = problems(1, 4, 3, seed)
    found = weighted_centre(z, weights, squared)
    base = value(found, z, weights, squared)
    order = list(order)
    permuted = z[:, order], weights[:, order], squared[:, order]
    assert torch.allclose(value(weighted_centre(*permuted), *permuted), base, rtol=1e-13, atol=0)
    moved = weighted_centre(z + 3.0, weights, squared)
    assert torch.allclose(value(moved - 3.0, z, weights, squared), base, rtol=1e-12, atol=0)


def test_a_batch_equals_its_members():
    problem = problems(20, 5, 7, seed=3)
    together = value(weighted_centre(*problem), *problem)
    for k in range(20):
        one = tuple(part[k : k + 1] for part in problem)
        assert float(value(weighted_centre(*one), *one)) == pytest.approx(
            float(together[k]), rel=1e-14
        )
