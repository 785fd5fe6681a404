"""A fixed budget of Adam steps: the peer's path, the bounds, and an honest status."""

from __future__ import annotations

import pytest
import torch

from sigmoe._base.errors import InputError
from sigmoe.estimation import Bounds, first_order_fit, fit_least_squares, near_truth_start
from sigmoe.moe import Architecture, MixingMeasure, draw_sample, draw_truth
from sigmoe.moe._forward import forward

ARCHITECTURE = Architecture("sigmoid", "full", "tanh", 2)


def problem() -> tuple[torch.Tensor, torch.Tensor, MixingMeasure]:
    truth = draw_truth(ARCHITECTURE, 2, seed=1)
    X, y = draw_sample(truth, 150, seed=1)
    return X, y, near_truth_start(truth, 2, scale=0.2, seed=1)


def test_follows_torch_s_adam() -> None:
    X, y, start = problem()
    theta = start.coordinates.requires_grad_()
    peer = torch.optim.Adam([theta], lr=0.02)
    for _ in range(25):
        peer.zero_grad()
        residual = forward(ARCHITECTURE, theta, X.T).prediction[0] - y
        residual.square().mean().backward()
        peer.step()
    fit = first_order_fit(X, y, start, steps=25, learning_rate=0.02)
    torch.testing.assert_close(fit.measure.coordinates, theta.detach(), rtol=1e-8, atol=1e-10)


def test_the_budget_is_used_and_is_not_convergence() -> None:
    X, y, start = problem()
    fit = first_order_fit(X, y, start, steps=40)
    assert (fit.status, fit.converged, fit.n_iterations) == ("budget", False, 40)
    assert len(fit.history) == 41
    assert fit.history[-1] == fit.objective < fit.start_objective == fit.history[0]
    assert fit.message == (
        "The fixed number of first-order steps was used; that is not convergence. Raise steps=, or "
        "use fit_least_squares."
    )
    best = fit_least_squares(X, y, ARCHITECTURE, 2, start)
    assert best.objective < fit.objective
    assert best.gradient_norm < fit.gradient_norm < 1.0


def test_steps_stay_in_the_box() -> None:
    X, y, start = problem()
    limit = float(start.eta.abs().max()) + 0.005
    bounds = Bounds(eta=(-limit, limit))
    fit = first_order_fit(X, y, start, steps=100, learning_rate=0.05, bounds=bounds)
    assert float(fit.measure.eta.abs().max()) <= limit
    free = first_order_fit(X, y, start, steps=100, learning_rate=0.05, bounds=None)
    assert float(free.measure.eta.abs().max()) > limit


def test_values_out_of_range_stall_at_the_last_finite_iterate() -> None:
    architecture = Architecture("sigmoid", "linear", "polynomial:9", 1)
    start = MixingMeasure(architecture, None, [[0.0]], [0.0], [[1.0, 0.0]])
    fit = first_order_fit([[1e17], [2e17]], [0.0, 1.0], start, steps=5)
    assert fit.status == "stalled"
    assert bool(torch.isfinite(fit.measure.coordinates).all())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": 0}, "steps must be an integer >= 1; got 0. Allow at least one step."),
        ({"learning_rate": 0.0}, "learning_rate must be a number > 0; got 0.0. Try 0.01."),
    ],
)
def test_bad_numbers_are_refused(changed: dict[str, float], message: str) -> None:
    X, y, start = problem()
    with pytest.raises(InputError) as error:
        first_order_fit(X, y, start, **changed)
    assert str(error.value) == message
