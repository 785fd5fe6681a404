"""The solver on problems with known answers, with and without the cheap steps between."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares, lsq_linear
from torch import Tensor

from dense_problem import Dense, Residuals, powell_singular, two_exponentials
from sigmoe.estimation.engine._bend import bent
from sigmoe.estimation.engine._box import box_step, free_coordinates, predicted_decrease
from sigmoe.estimation.engine._descend import Local, descend
from sigmoe.estimation.engine._levenberg_marquardt import Outcome, Settings, minimise
from sigmoe.estimation.engine._refine import Point

INF = float("inf")


def solve(
    residuals: Residuals,
    start: list[float],
    lower: list[float] | None = None,
    upper: list[float] | None = None,
    curved: bool = False,
    **settings: float,
) -> Outcome:
    theta = torch.tensor(start, dtype=torch.float64)
    low = (
        torch.full_like(theta, -INF) if lower is None else torch.tensor(lower, dtype=torch.float64)
    )
    high = (
        torch.full_like(theta, INF) if upper is None else torch.tensor(upper, dtype=torch.float64)
    )
    return minimise(Dense(residuals, curved), theta, low, high, 1.0, Settings(**settings))


def rosenbrock(t: Tensor) -> Tensor:
    return torch.stack([10 * (t[1] - t[0] ** 2), 1 - t[0]])


def null_direction(t: Tensor) -> Tensor:
    return torch.stack([t[0] + t[1] - 3.0, (t[0] + t[1]) ** 2 - 9.0])


PROBLEMS = [
    pytest.param(rosenbrock, [-1.2, 1.0], 0.0, id="rosenbrock"),
    pytest.param(powell_singular, [3.0, -1.0, 0.0, 1.0], 0.0, id="powell-singular"),
    pytest.param(two_exponentials, [1.5, 0.2, 1.0, 3.0], 0.0, id="two-exponentials"),
    pytest.param(null_direction, [5.0, 5.0], 0.0, id="null-direction"),
]


@pytest.mark.parametrize("curved", [False, True])
@pytest.mark.parametrize("refinements", [0, 12])
@pytest.mark.parametrize(("residuals", "start", "optimum"), PROBLEMS)
def test_known_optima(
    residuals: Residuals, start: list[float], optimum: float, refinements: int, curved: bool
) -> None:
    steps = {"refinements": refinements, "curved": curved}
    found = solve(residuals, start, relative_tolerance=0.0, **steps)
    assert found.objective == pytest.approx(optimum, abs=1e-16)
    assert torch.isfinite(found.theta).all()
    assert list(found.history) == sorted(found.history, reverse=True)


@pytest.mark.parametrize("seed", range(5))
def test_bounded_linear_problems_agree_with_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix, right = rng.normal(size=(30, 12)), 3.0 * rng.normal(size=30)
    low, high = [-0.1] * 12, [0.3] * 12
    A, b = torch.from_numpy(matrix), torch.from_numpy(right)
    found = solve(lambda t: A @ t - b, [0.0] * 12, low, high, relative_tolerance=1e-14)
    peer = lsq_linear(matrix, right, bounds=(low, high), method="bvls")
    assert found.objective == pytest.approx(2 * peer.cost / 30, rel=1e-12)
    torch.testing.assert_close(found.theta, torch.from_numpy(peer.x), rtol=0, atol=1e-7)
    assert int((peer.active_mask != 0).sum()) >= 3


def test_bounded_curved_problem_agrees_with_scipy() -> None:
    low, high = [-2.0, -2.0], [0.5, 2.0]
    found = solve(rosenbrock, [-1.2, 1.0], low, high, relative_tolerance=0.0)

    def numpy_residuals(t: np.ndarray) -> np.ndarray:
        return rosenbrock(torch.from_numpy(t)).numpy()

    peer = least_squares(numpy_residuals, [-1.2, 1.0], bounds=(low, high), xtol=1e-15, ftol=1e-15)
    assert found.objective == pytest.approx(peer.cost, rel=1e-6)
    assert float(found.theta[0]) == 0.5


@pytest.mark.parametrize("curved", [False, True])
def test_every_evaluation_is_inside_the_box(curved: bool) -> None:
    seen: list[Tensor] = []

    def residuals(t: Tensor) -> Tensor:
        seen.append(t.detach().clone())
        return two_exponentials(t)

    low, high = [0.0, 0.0, 0.0, 0.0], [1.2, 0.4, 3.0, 1.5]
    solve(residuals, [1.0, 0.2, 1.0, 1.0], low, high, curved)
    for theta in seen:
        limits = zip(low, theta.tolist(), high, strict=True)
        assert all(lo <= value <= hi for lo, value, hi in limits)


def test_a_wall_of_nan_is_walked_around() -> None:
    def residuals(t: Tensor) -> Tensor:
        # Undefined for t > 2; an undamped step from 1.9 lands there.
        return torch.stack([torch.log(2.0 - t[0]) + 3.0, 0.1 * t[0]])

    found = solve(residuals, [1.0])
    assert torch.isfinite(found.theta).all()
    assert found.status in {"gradient", "decrease"}
    assert 1.9 < float(found.theta[0]) < 2.0


def test_a_start_without_a_finite_objective_is_kept_and_said_to_have_stalled() -> None:
    found = solve(torch.log, [-1.0])
    assert (found.status, found.n_iterations) == ("stalled", 0)
    assert found.theta.tolist() == [-1.0]


def test_a_column_of_zeros_does_not_move() -> None:
    found = solve(lambda t: torch.stack([t[0] - 1.0, 2.0 * t[0]]) + 0.0 * t[1], [3.0, 7.0])
    assert float(found.theta[1]) == 7.0
    assert found.status == "gradient"


def test_the_limit_of_iterations_is_reported() -> None:
    found = solve(rosenbrock, [-1.2, 1.0], max_iterations=2, refinements=0)
    assert (found.status, found.n_iterations, len(found.history)) == ("iterations", 2, 3)


def test_a_kink_ends_as_convergence() -> None:
    # |t| + 1 has its minimum at a kink, where no gradient vanishes.
    found = solve(lambda t: t.abs() + 1.0, [0.7])
    assert found.status in {"decrease", "step"}
    assert abs(float(found.theta[0])) < 1e-6


def test_the_cheap_steps_save_matrices() -> None:
    plain = solve(two_exponentials, [1.5, 0.2, 1.0, 3.0], refinements=0)
    helped = solve(two_exponentials, [1.5, 0.2, 1.0, 3.0], refinements=12)
    assert helped.n_iterations < plain.n_iterations


def valley(t: Tensor) -> Tensor:
    # A bottom that bends: a straight step leaves it at once.
    return torch.stack([300.0 * (t[1] - torch.sin(2.0 * t[0])), t[0] - 1.5])


def test_curved_steps_follow_a_curved_valley() -> None:
    straight, curved = (solve(valley, [-1.0, -0.9], curved=c, refinements=0) for c in (False, True))
    assert max(straight.objective, curved.objective) < 1e-12
    assert curved.n_iterations < 0.5 * straight.n_iterations


def test_a_curved_step_is_right_to_second_order() -> None:
    # In p coordinates and n = p residuals that vanish at the end, an undamped step solves
    # r(theta + s) = 0 to an error of third order in r.
    def residuals(t: Tensor) -> Tensor:
        return torch.stack([t[0] + t[1] ** 2, t[1] + t[0] * t[1], t[2] + t[0] ** 2]).expm1()

    problem, errors = Dense(residuals, curved=True), []
    for size in (0.02, 0.01):
        theta = size * torch.tensor([1.0, -2.0, 1.5]).double()
        matrix, wide = problem.curvature(theta), torch.full((3,), INF).double()
        scale = matrix.diagonal()
        taken = box_step(matrix, problem.gradient(theta)[1], 0.0, scale, theta, -wide, wide)
        assert taken is not None
        ends = bent(taken, problem.bend, theta, scale, -wide, wide)
        assert ends is not None
        errors.append([float((theta + s).norm()) for s in (taken[0], ends[0])])
    (straight, curved), (straight_half, curved_half) = errors
    assert straight / straight_half == pytest.approx(4.0, rel=0.1)
    assert curved / curved_half == pytest.approx(8.0, rel=0.15)


def test_a_step_that_bends_too_much_is_refused_without_a_trial() -> None:
    tried: list[float] = []

    class Watched(Dense):
        def gradient(self, theta: Tensor) -> tuple[float, Tensor]:
            tried.append(abs(float(theta[0])))
            return super().gradient(theta)

    def residuals(t: Tensor) -> Tensor:
        return t**4 - 2.0

    for curved in (False, True):
        tried.clear()
        box = torch.full((1,), INF).double()
        problem = Watched(residuals, curved)
        minimise(problem, torch.tensor([0.1]).double(), -box, box, 1.0, Settings(max_iterations=1))
        # The undamped step ends near 500.
        assert (max(tried) > 100) == (not curved)


@pytest.mark.parametrize("value", [INF, float("nan")])
def test_steps_stay_straight_where_the_second_derivative_is_not_finite(value: float) -> None:
    class Broken(Dense):
        def bend(self, theta: Tensor, step: Tensor) -> Tensor | None:
            return torch.full_like(theta, value)

    start, wide = torch.tensor([1.5, 0.2, 1.0, 3.0]).double(), torch.full((4,), INF).double()
    found, straight = (
        minimise(kind(two_exponentials), start, -wide, wide, 1.0, Settings())
        for kind in (Broken, Dense)
    )
    assert found.history == straight.history


def test_a_bolder_step_that_is_worse_is_not_taken() -> None:
    # The step with damping 9 keeps all it promises; that with 0.3 promises more and overshoots.
    problem = Dense(lambda t: torch.atan(5.0 * t))
    start, wide = torch.tensor([1.0]).double(), torch.tensor([INF]).double()
    matrix, point = problem.curvature(start), Point(start, *problem.gradient(start))
    scale = matrix.diagonal()
    local = Local(point, matrix, scale, problem.gradient, problem.bend, -wide, wide)
    plain, bolder = local.trial(9.0), local.trial(9.0 / 30)
    assert plain is not None
    assert bolder is not None
    assert plain.gain > 0.75
    assert bolder.promised > 1.5 * plain.promised
    assert bolder.gain < 0
    found = descend(local, 9.0)
    assert not isinstance(found, float)
    assert torch.equal(found[0].point.theta, plain.point.theta)


@pytest.mark.parametrize("apart", [1e-2, 1e-3])
def test_nearly_collinear_columns_take_few_iterations(apart: float) -> None:
    # Their difference moves once the damping is below apart^2; steps keep all they promise here.
    x = torch.linspace(-1.0, 1.0, 50, dtype=torch.float64)
    columns = torch.stack([x, x + apart * x**2], 1)
    right = columns @ torch.tensor([3.0, -2.0]).double() + 0.1 * x**3
    found = solve(lambda t: columns @ t - right, [0.0, 0.0], refinements=0)
    best = torch.linalg.lstsq(columns, right.unsqueeze(1)).solution.squeeze(1)
    assert found.status in {"gradient", "decrease"}
    torch.testing.assert_close(found.theta, best, rtol=1e-3, atol=0)
    assert found.n_iterations <= 8


@pytest.mark.parametrize("seed", range(10))
def test_step_in_a_box_beats_the_projected_step(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    root = torch.randn(8, 5, dtype=torch.float64, generator=rng)
    gradient = 5 * torch.randn(5, dtype=torch.float64, generator=rng)
    theta, scale = torch.zeros(5).double(), torch.ones(5).double()
    low, high = torch.full((5,), -0.3).double(), torch.full((5,), 0.2).double()
    matrix = root.T @ root
    damped = matrix + 0.1 * torch.eye(5).double()
    taken = box_step(matrix, gradient, 0.1, scale, theta, low, high)
    assert taken is not None
    step, _ = taken
    assert ((step >= low) & (step <= high)).all()
    free = torch.linalg.solve(damped, -0.5 * gradient)
    projected = torch.minimum(torch.maximum(free, low), high)
    gain = predicted_decrease(damped, gradient, step)
    assert gain >= predicted_decrease(damped, gradient, projected) - 1e-12
    assert gain > 0


def test_a_coordinate_at_its_bound_moves_the_others() -> None:
    matrix = torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
    gradient = torch.tensor([-8.0, -4.0], dtype=torch.float64)
    low, high = torch.full((2,), -9.0).double(), torch.tensor([0.5, 9.0]).double()
    taken = box_step(
        matrix, gradient, 0.5, torch.ones(2).double(), torch.zeros(2).double(), low, high
    )
    assert taken is not None
    step, system = taken
    assert system.free.tolist() == [False, True]
    # (H11 + damping) s1 = -g1 / 2 - H10 s0 with s0 = 0.5.
    assert step.tolist() == pytest.approx([0.5, (2.0 - 0.5) / 3.5], rel=1e-14)


def test_what_still_leaves_the_box_is_projected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sigmoe.estimation.engine._box.PASSES", 1)
    low, high = torch.full((2,), -1.0).double(), torch.full((2,), 1.0).double()
    taken = box_step(
        torch.eye(2).double(),
        torch.tensor([-9.0, 9.0]).double(),
        0.1,
        torch.ones(2).double(),
        torch.tensor([0.5, 0.0]).double(),
        low,
        high,
    )
    assert taken is not None
    assert taken[0].tolist() == [0.5, -1.0]


def test_the_prediction_is_exact_for_linear_residuals() -> None:
    A = torch.tensor([[1.0, 2.0], [0.0, 1.0], [3.0, -1.0]], dtype=torch.float64)
    problem = Dense(lambda t: A @ t - 1.0)
    theta, step = torch.tensor([0.3, -0.2]).double(), torch.tensor([0.5, 0.7]).double()
    before, gradient = problem.gradient(theta)
    after = problem.objective(theta + step)
    promised = predicted_decrease(problem.curvature(theta), gradient, step)
    assert promised == pytest.approx(before - after, rel=1e-12)


def test_free_coordinates_leave_out_those_that_push_against_a_bound() -> None:
    theta = torch.tensor([0.0, 0.0, 1.0, 1.0, 0.5])
    gradient = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0])
    free = free_coordinates(theta, gradient, torch.zeros(5), torch.ones(5))
    assert free.tolist() == [False, True, True, False, True]
