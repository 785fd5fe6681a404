"""The batched solver on problems with known answers, beside the single one."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from dense_problem import Dense, Residuals, powell_singular, two_exponentials
from sigmoe.estimation.batch._box import Box, box_steps, predicted_decrease
from sigmoe.estimation.batch._levenberg_marquardt import STATUSES, State, minimise, scaled_gradient
from sigmoe.estimation.batch._records import choose, insert, select
from sigmoe.estimation.batch._refine import CurvaturePairs, Points
from sigmoe.estimation.engine import _box as single_box
from sigmoe.estimation.engine import _levenberg_marquardt as single
from sigmoe.estimation.engine import _refine as single_refine

INF = float("inf")


@dataclass
class DenseBatch:
    """The same problems in a batch; each may have residuals of its own."""

    problems: list[Dense]

    def gradient(self, theta: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        pairs = zip(which.tolist(), theta, strict=True)
        values = [self.problems[k].gradient(row) for k, row in pairs]
        objective = torch.tensor([value for value, _ in values], dtype=torch.float64)
        return objective, torch.stack([gradient for _, gradient in values])

    def curvature(self, theta: Tensor, which: Tensor) -> Tensor:
        pairs = zip(which.tolist(), theta, strict=True)
        return torch.stack([self.problems[k].curvature(row) for k, row in pairs])

    def bend(self, theta: Tensor, step: Tensor, which: Tensor) -> Tensor | None:
        rows = zip(which.tolist(), theta, step, strict=True)
        bends = [self.problems[k].bend(row, along) for k, row, along in rows]
        return None if bends[0] is None else torch.stack([b for b in bends if b is not None])


def rosenbrock(t: Tensor) -> Tensor:
    return torch.stack([10 * (t[1] - t[0] ** 2), 1 - t[0], 0 * t[2], 0 * t[3]])


def wall_of_nan(t: Tensor) -> Tensor:
    # Undefined for t > 2; an undamped step from 1.9 lands there.
    return torch.stack([torch.log(2.0 - t[0]) + 3.0, 0.1 * t[0], t[1], t[2] + t[3]])


def without_a_start(t: Tensor) -> Tensor:
    return torch.log(-1.0 - t.square())


def kinked(t: Tensor) -> Tensor:
    return t.abs() + 1.0


def nearly_collinear(t: Tensor) -> Tensor:
    x = torch.linspace(-1.0, 1.0, 50, dtype=torch.float64)
    columns = torch.stack([x, x + 1e-2 * x**2, x + 1e-4 * x**3, torch.ones_like(x)], 1)
    return columns @ t - torch.sin(3.0 * x) - 0.5


PROBLEMS: list[tuple[Residuals, list[float], list[float], list[float]]] = [
    (rosenbrock, [-1.2, 1.0, 0.0, 7.0], [-INF] * 4, [INF] * 4),
    (powell_singular, [3.0, -1.0, 0.0, 1.0], [-INF] * 4, [INF] * 4),
    (two_exponentials, [1.5, 0.2, 1.0, 3.0], [-INF] * 4, [INF] * 4),
    (without_a_start, [1.0, 1.0, 1.0, 1.0], [-INF] * 4, [INF] * 4),
    (two_exponentials, [1.0, 0.2, 1.0, 1.0], [0.0] * 4, [1.2, 0.4, 3.0, 1.5]),
    (wall_of_nan, [1.0, 1.0, 0.5, -1.0], [-INF] * 4, [INF] * 4),
    (rosenbrock, [-1.2, 1.0, 0.0, 0.0], [-2.0] * 4, [0.5, 2.0, 2.0, 2.0]),
    (kinked, [0.7, -0.4, 0.2, 0.1], [-INF] * 4, [INF] * 4),
    (kinked, [0.7, 2.0, 1.0, 0.9], [0.5, -9.0, 0.25, -9.0], [9.0] * 4),
    (nearly_collinear, [0.0] * 4, [-INF] * 4, [INF] * 4),
]


def solved(
    kept: list[int], at_a_time: int | None = None, curved: bool = False, **settings: float
) -> tuple[State, Tensor]:
    chosen = [PROBLEMS[k] for k in kept]
    start, lower, upper = (
        torch.tensor([problem[part] for problem in chosen], dtype=torch.float64)
        for part in (1, 2, 3)
    )
    batch = DenseBatch([Dense(problem[0], curved) for problem in chosen])
    scales = torch.ones(len(chosen)).double()
    return minimise(
        batch, start, Box(lower, upper), scales, single.Settings(**settings), None, at_a_time
    )


def solved_alone(k: int, curved: bool = False, **settings: float) -> single.Outcome:
    residuals, *numbers = PROBLEMS[k]
    start, lower, upper = (torch.tensor(part, dtype=torch.float64) for part in numbers)
    problem = Dense(residuals, curved)
    return single.minimise(problem, start, lower, upper, 1.0, single.Settings(**settings))


@pytest.mark.parametrize("curved", [False, True])
@pytest.mark.parametrize(("at_a_time", "refinements"), [(None, 0), (None, 12), (2, 12)])
def test_every_problem_ends_as_it_does_alone(
    refinements: int, at_a_time: int | None, curved: bool
) -> None:
    everything = list(range(len(PROBLEMS)))
    settings = {"refinements": refinements, "relative_tolerance": 1e-13, "curved": curved}
    state, norm = solved(everything, at_a_time, **settings)
    for k in everything:
        alone = solved_alone(k, **settings)
        assert float(state.point.objective[k]) == pytest.approx(
            alone.objective, rel=1e-9, abs=1e-18, nan_ok=True
        )
        torch.testing.assert_close(state.point.theta[k], alone.theta, rtol=1e-5, atol=1e-5)
        # Rounding decides how exact fits and steps across kinks end; the others go alike.
        if not alone.objective < 1e-12 and PROBLEMS[k][0] is not kinked:
            assert STATUSES[int(state.status[k])] == alone.status
            assert int(state.n_iterations[k]) == alone.n_iterations
            assert float(norm[k]) == pytest.approx(alone.gradient_norm, rel=1e-3, abs=1e-9)


def test_steps_stay_straight_where_the_second_derivative_is_not_finite(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bend = DenseBatch.bend

    def broken(batch: DenseBatch, theta: Tensor, step: Tensor, which: Tensor) -> Tensor | None:
        force = bend(batch, theta, step, which)
        assert force is not None
        return torch.where((which == 1).unsqueeze(1), torch.nan, force)

    monkeypatch.setattr(DenseBatch, "bend", broken)
    state, _ = solved([4, 2, 1], curved=True)
    for place, (k, curved) in enumerate([(4, True), (2, False), (1, True)]):
        alone = solved_alone(k, curved=curved)
        assert int(state.n_iterations[place]) == alone.n_iterations
        torch.testing.assert_close(state.point.theta[place], alone.theta, rtol=1e-5, atol=1e-5)


def test_a_problem_does_not_depend_on_the_others() -> None:
    state, _ = solved(list(range(len(PROBLEMS))), relative_tolerance=1e-13)
    for k in range(len(PROBLEMS)):
        alone, _ = solved([k], relative_tolerance=1e-13)
        torch.testing.assert_close(alone.point.theta[0], state.point.theta[k], rtol=1e-9, atol=1e-9)
        assert alone.status[0] == state.status[k]


def test_the_start_without_an_objective_is_kept_and_said_to_have_stalled() -> None:
    state, norm = solved([0, 3, 4])
    assert STATUSES[int(state.status[1])] == "stalled"
    assert int(state.n_iterations[1]) == 0
    assert state.point.theta[1].tolist() == PROBLEMS[3][1]
    assert float(norm[1]) == INF


def test_finished_problems_are_not_evaluated_again() -> None:
    seen: list[list[int]] = []
    batch = DenseBatch([Dense(PROBLEMS[k][0]) for k in (0, 2)])
    evaluate = batch.curvature

    def watched(theta: Tensor, which: Tensor) -> Tensor:
        seen.append(which.tolist())
        return evaluate(theta, which)

    # A method is replaced, which mypy takes for a slip.
    batch.curvature = watched  # type: ignore[method-assign]  # to watch it
    start = torch.tensor([[1.0, 1.0, 0.0, 0.0], PROBLEMS[2][1]]).double()
    box = Box(torch.full((2, 4), -INF).double(), torch.full((2, 4), INF).double())
    minimise(batch, start, box, torch.ones(2).double(), single.Settings())
    assert seen[0] == [0, 1]
    assert len(seen) > 3
    assert all(which == [1] for which in seen[1:])


def test_the_limit_of_iterations_holds_for_those_that_had_to_wait() -> None:
    state, _ = solved([0, 1, 2], at_a_time=1, max_iterations=2, refinements=0)
    assert state.n_iterations.tolist() == [2, 2, 2]
    assert [STATUSES[k] for k in state.status] == ["iterations"] * 3


def test_no_more_run_than_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    whole = DenseBatch.curvature

    def watched(batch: DenseBatch, theta: Tensor, which: Tensor) -> Tensor:
        seen.append(which.tolist())
        return whole(batch, theta, which)

    monkeypatch.setattr(DenseBatch, "curvature", watched)
    solved([0, 1, 2], at_a_time=2, max_iterations=1)
    assert seen == [[0, 1], [2]]
    # Matrices of 4 x 4 numbers, room for 40 numbers.
    monkeypatch.setattr("sigmoe.estimation.batch._levenberg_marquardt._MATRIX_NUMBERS", 40)
    seen.clear()
    solved([0, 1, 2], max_iterations=1)
    assert seen == [[0, 1], [2]]


def test_gradient_norms_are_those_of_the_single_engine() -> None:
    rng = torch.Generator().manual_seed(5)
    theta, gradient = torch.randn(2, 5, 3, dtype=torch.float64, generator=rng)
    scale = torch.rand(5, 3, dtype=torch.float64, generator=rng)
    # A dead column, an exact fit up to rounding, and no column at all.
    scale[1, 0], scale[3] = 0.0, 0.0
    objective = torch.tensor([1.0, 0.3, 1e-27, 2.0, 1e-29]).double()
    size = torch.tensor([1.0, 1.0, 10.0, 1.0, 0.01]).double()
    box = Box(torch.full_like(theta, -0.5), torch.full_like(theta, 0.5))
    theta = box.nearest(theta)
    norms = scaled_gradient(Points(theta, objective, gradient), scale, box, size)
    for k in range(5):
        point = single_refine.Point(theta[k], float(objective[k]), gradient[k])
        alone = single.scaled_gradient(point, scale[k], box.lower[k], box.upper[k], float(size[k]))
        assert float(norms[k]) == pytest.approx(alone, rel=1e-12)
    assert float(norms[2]) == 0.0 < float(norms[4])


def random_systems(count: int = 12, p: int = 5) -> tuple[Tensor, ...]:
    rng = torch.Generator().manual_seed(3)
    root = torch.randn(count, 8, p, dtype=torch.float64, generator=rng)
    gradient = 5 * torch.randn(count, p, dtype=torch.float64, generator=rng)
    damping = torch.rand(count, dtype=torch.float64, generator=rng)
    theta = 0.3 * torch.rand(count, p, dtype=torch.float64, generator=rng)
    theta[::3, 0] = 0.4
    return root.mT @ root, gradient, damping, theta


def test_steps_in_boxes_are_those_of_the_single_engine() -> None:
    matrix, gradient, damping, theta = random_systems()
    matrix[4] = -matrix[4]
    scale = torch.ones_like(theta)
    box = Box(torch.full_like(theta, -0.2), torch.full_like(theta, 0.4))
    steps, systems = box_steps(matrix, gradient, damping, scale, theta, box)
    promised = predicted_decrease(matrix, gradient, steps)
    for k in range(len(theta)):
        alone = single_box.box_step(
            matrix[k],
            gradient[k],
            float(damping[k]),
            scale[k],
            theta[k],
            box.lower[k],
            box.upper[k],
        )
        assert (alone is None) == (k == 4) == (not systems.usable[k])
        if alone is not None:
            step, system = alone
            torch.testing.assert_close(steps[k], step)
            assert torch.equal(systems.free[k], system.free)
            right = torch.arange(5.0).double()
            torch.testing.assert_close(
                systems.solve(right.expand(12, 5))[k], system.solve(right), rtol=1e-9, atol=1e-12
            )
            decrease = single_box.predicted_decrease(matrix[k], gradient[k], step)
            assert float(promised[k]) == pytest.approx(decrease)
    assert int((~systems.free).sum()) > 10


def test_directions_are_those_of_the_single_engine() -> None:
    rng = torch.Generator().manual_seed(1)
    steps = torch.randn(6, 4, 3, dtype=torch.float64, generator=rng)
    # The last problem shows negative curvature everywhere: no pair of it counts.
    changes = steps + 0.3 * torch.randn(6, 4, 3, dtype=torch.float64, generator=rng)
    changes[:, 3] = -steps[:, 3]
    gradient = torch.randn(4, 3, dtype=torch.float64, generator=rng)
    pairs = CurvaturePairs.none(gradient)
    for step, change in zip(steps, changes, strict=True):
        pairs = pairs.add(step, change)
    found = pairs.direction(gradient, lambda right: 2.0 * right)
    for k in range(4):
        alone = single_refine.CurvaturePairs()
        for step, change in zip(steps, changes, strict=True):
            alone.add(step[k], change[k])
        expected = alone.direction(gradient[k], lambda right: 2.0 * right)
        torch.testing.assert_close(found[k], expected)
    torch.testing.assert_close(found[3], -2.0 * gradient[3])


def test_records_are_taken_apart_and_put_together() -> None:
    box = Box(torch.arange(6.0).view(3, 2), torch.arange(6.0, 12.0).view(3, 2))
    index = torch.tensor([0, 2])
    part = select(box, index)
    assert part.lower.tolist() == [[0.0, 1.0], [4.0, 5.0]]
    assert select(box, torch.arange(3)).lower is box.lower
    whole = insert(box, index, Box(-part.lower, part.upper))
    assert whole.lower.tolist() == [[0.0, -1.0], [2.0, 3.0], [-4.0, -5.0]]
    mixed = choose(torch.tensor([True, False, False]), whole, box)
    assert mixed.lower.tolist() == [[0.0, -1.0], [2.0, 3.0], [4.0, 5.0]]
    with pytest.raises(TypeError, match="not a tensor or a dataclass of them: list"):
        select([1.0], index)
