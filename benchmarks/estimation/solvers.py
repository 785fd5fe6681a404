"""The solvers: each minimises the mean squared residual from the same start, under a recorder.

Tolerances are tight, so that no peer stops before it is within 1e-6 of its optimum; what ends a
run otherwise is the recorder. A solver starts the recorder's clock when what can be kept between
fits is ready: for JAX that is compiled code.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from benchmarks.estimation.models import (
    Array,
    NumpyModel,
    TorchModel,
    flat_start,
    jax_residuals,
)
from benchmarks.estimation.problems import Data
from benchmarks.estimation.recorder import Recorder, StopRunError
from scipy.optimize import least_squares, minimize

from sigmoe.estimation import fit_least_squares, normal_equations
from sigmoe.estimation.engine._least_squares import LeastSquares
from sigmoe.estimation.engine._rows import Rows

#: Far below the 1e-6 that counts.
_TIGHT = 1e-10
_ENDLESS = 10**9
#: Learning rates of Adam; the best after a tenth of the time goes on.
RATES = (0.03, 0.01, 0.003)
_TRIAL = 0.1

Run = Callable[[Data, Recorder], None]


@dataclass(frozen=True)
class Solver:
    """One way to fit.

    Attributes
    ----------
    name, label : str
        For files and for people.
    run : callable
        Minimises under a recorder.
    copies : float
        Dense Jacobians held at the peak, as measured; 0 for methods without one.
    kind : {"ours", "user", "same gradient"}
        "user": what a user would pick. "same gradient": the harder peer, which is given the
        package's own analytic gradient.
    """

    name: str
    label: str
    run: Run
    copies: float = 0.0
    kind: Literal["ours", "user", "same gradient"] = "user"


def ours(data: Data, recorder: Recorder) -> None:
    """Run the package's fit with its default settings, without bounds like its peers."""
    start = data.start
    recorder.first = normal_equations(start, data.X, data.y).objective
    recorder.start()
    fit_least_squares(
        data.X,
        data.y,
        start.architecture,
        start.n_experts,
        start,
        bounds=None,
        callback=lambda _, objective: recorder.record(objective),
    )


def scipy_trf(data: Data, recorder: Recorder) -> None:
    """Run scipy's trust region reflective method with the analytic dense Jacobian."""
    _scipy(data, recorder, "trf")


def scipy_lm(data: Data, recorder: Recorder) -> None:
    """Run MINPACK's Levenberg-Marquardt with the analytic dense Jacobian."""
    _scipy(data, recorder, "lm")


def _scipy(data: Data, recorder: Recorder, method: Literal["trf", "lm"]) -> None:
    recorder.start()
    model = NumpyModel(data)
    rows = len(data.X)

    def residuals(flat: Array) -> Array:
        value = model.residuals(flat)
        recorder.record(float(value @ value) / rows)
        return value

    least_squares(
        residuals,
        flat_start(data),
        jac=model.jacobian,
        method=method,
        x_scale="jac",
        ftol=_TIGHT,
        xtol=_TIGHT,
        gtol=_TIGHT,
        max_nfev=_ENDLESS,
    )


def torch_l_bfgs(data: Data, recorder: Recorder) -> None:
    """Run torch's L-BFGS with strong Wolfe line searches, by autograd."""
    recorder.start()
    model = TorchModel(data)
    optimiser = torch.optim.LBFGS(
        model.parameters(),
        max_iter=_ENDLESS,
        max_eval=_ENDLESS,
        tolerance_grad=0.0,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        optimiser.zero_grad()
        loss: torch.Tensor = model()
        loss.backward()
        value: float = loss.item()
        recorder.record(value)
        return value

    optimiser.step(closure)


def torch_adam(data: Data, recorder: Recorder) -> None:
    """Run torch's Adam at each rate for a tenth of the time, then the best one from the start."""
    best_rate, best = RATES[0], np.inf
    for rate in RATES:
        trial = Recorder(_TRIAL * recorder.limit, recorder.most, recorder.clock)
        try:
            _adam(data, trial, rate)
        except StopRunError:
            if trial.best < best:
                best_rate, best = rate, trial.best
    recorder.start()
    _adam(data, recorder, best_rate)


def _adam(data: Data, recorder: Recorder, rate: float) -> None:
    model = TorchModel(data)
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    while True:
        optimiser.zero_grad()
        loss = model()
        loss.backward()
        recorder.record(loss.item())
        optimiser.step()


def optimistix_lm(data: Data, recorder: Recorder) -> None:
    """Run optimistix's Levenberg-Marquardt, its compiled step called until it terminates."""
    jax, optimistix, equinox = (
        importlib.import_module(name) for name in ("jax", "optimistix", "equinox")
    )
    residuals, theta, args = jax_residuals(data)
    rows = len(data.X)

    def objective(theta: object, args: object) -> object:
        return (residuals(theta, args) ** 2).sum() / rows

    def with_aux(theta: object, args: object) -> tuple[object, None]:
        return residuals(theta, args), None

    solver = optimistix.LevenbergMarquardt(rtol=_TIGHT, atol=_TIGHT)
    shape = jax.eval_shape(lambda: residuals(theta, args))
    tags: frozenset[object] = frozenset()
    state = solver.init(with_aux, theta, args, {}, shape, None, tags)

    # equinox types its decorator for its own modules only.
    @equinox.filter_jit  # type: ignore[untyped-decorator]  # equinox has no types for it
    def step(theta: object, state: object, args: object) -> tuple[object, ...]:
        theta, state, _ = solver.step(with_aux, theta, args, {}, state, tags)
        return theta, state, objective(theta, args)

    # The first call compiles; what it returns is thrown away.
    jax.block_until_ready(jax.tree.leaves(step(theta, state, args)[2]))
    # What the decorated function returns is untyped for the same reason.
    recorder.first = float(objective(theta, args))  # type: ignore[arg-type]  # a jax scalar
    recorder.start()
    while True:
        theta, state, value = step(theta, state, args)
        recorder.record(float(value))
        if bool(solver.terminate(with_aux, theta, args, {}, state, tags)[0]):
            return


def l_bfgs_own_gradient(data: Data, recorder: Recorder) -> None:
    """Run scipy's L-BFGS-B with the package's analytic, chunked gradient."""
    recorder.start()
    start = data.start
    problem = LeastSquares(Rows.of(data.X, data.y), start.architecture, start.n_experts)
    shape = start.coordinates.shape

    def evaluate(flat: Array) -> tuple[float, Array]:
        objective, gradient = problem.gradient(torch.from_numpy(flat).view(shape))
        recorder.record(objective)
        return objective, np.array(gradient.numpy())

    minimize(
        evaluate,
        flat_start(data),
        jac=True,
        method="L-BFGS-B",
        options={
            "maxfun": _ENDLESS,
            "maxiter": _ENDLESS,
            "ftol": 0.0,
            "gtol": 0.0,
            "maxcor": 20,
        },
    )


SOLVERS = (
    Solver("ours", "fit_least_squares", ours, kind="ours"),
    Solver("scipy-trf", "scipy trf", scipy_trf, copies=8),
    Solver("scipy-lm", "scipy lm", scipy_lm, copies=5),
    Solver("torch-lbfgs", "torch L-BFGS", torch_l_bfgs),
    Solver("torch-adam", "torch Adam", torch_adam),
    Solver("optimistix-lm", "optimistix LM", optimistix_lm, copies=23),
    Solver("lbfgs-own-gradient", "L-BFGS, our gradient", l_bfgs_own_gradient, kind="same gradient"),
)


def solver_named(name: str) -> Solver:
    """Return the solver of that name."""
    return next(solver for solver in SOLVERS if solver.name == name)
