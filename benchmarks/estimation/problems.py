"""The problems: one line each, and the sample and start that a line and a seed stand for."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sigmoe._base.errors import invalid
from sigmoe.estimation import near_truth_start
from sigmoe.moe import Architecture, MixingMeasure, draw_sample, draw_truth

NOISE_VARIANCE = 0.01
#: Widths of the inputs of the badly scaled problem span this factor.
SCALE_SPAN = 100.0
#: In the collinear problem the last input is the one before plus this much of its own.
COLLINEAR = 0.01


@dataclass(frozen=True)
class Problem:
    """One line of the table; the score is the full quadratic one."""

    name: str
    gate: str
    expert: str
    regime: str = "dense"
    dim: int = 8
    n_true: int = 8
    n_fitted: int = 8
    n: int = 10_000
    n_outputs: int | None = None
    inputs: str = "uniform"

    @property
    def architecture(self) -> Architecture:
        """Return the architecture of truth and fit."""
        return Architecture(self.gate, "full", self.expert, self.dim, self.n_outputs)

    @property
    def n_parameters(self) -> int:
        """Return the number p of fitted parameters."""
        return self.architecture.n_parameters(self.n_fitted)

    @property
    def jacobian_bytes(self) -> int:
        """Return the size of the dense Jacobian in float64."""
        return 8 * self.n * self.architecture.n_columns * self.n_parameters


@dataclass(frozen=True)
class Data:
    """What every solver is given: X (n, d), y (n,) or (n, m), and the start."""

    X: Tensor
    y: Tensor
    start: MixingMeasure

    def head(self, rows: int) -> Data:
        """Return the first rows only, to warm a solver up."""
        return Data(self.X[:rows].clone(), self.y[:rows].clone(), self.start)


def _pairs() -> tuple[Problem, ...]:
    """Return the pairs of the paper's figures: gate x regime x expert, at two sizes."""
    return tuple(
        Problem(f"{gate}-{expert}-{regime}-{size}", gate, expert, regime, n=int(float(size)))
        for size in ("1e4", "1e5")
        for gate in ("sigmoid", "softmax")
        for regime in ("dense", "sparse")
        for expert in ("linear", "relu")
    )


PROBLEMS = (
    *_pairs(),
    Problem("high-dimension", "sigmoid", "relu", dim=20, n_true=4, n_fitted=4, n=100_000),
    Problem("over-specified", "sigmoid", "relu", n_fitted=9),
    # Linear experts below: with ReLU each solver ends in an optimum of its own, and nothing but
    # luck would be compared where size and conditioning are meant to be.
    Problem("low-dimension", "sigmoid", "linear", dim=2, n_true=3, n_fitted=3, n=1_000_000),
    Problem("16-columns", "softmax", "linear", n_outputs=16),
    Problem("badly-scaled", "sigmoid", "linear", inputs="badly-scaled"),
    Problem("collinear", "softmax", "linear", inputs="collinear"),
)

#: What `--quick` runs.
QUICK = (
    Problem("quick-small", "softmax", "linear", dim=2, n_true=3, n_fitted=3, n=10_000),
    Problem("quick-linear", "sigmoid", "linear", dim=4, n_true=4, n_fitted=4, n=5_000),
)


def chosen(problems: tuple[Problem, ...], patterns: list[str] | None) -> tuple[Problem, ...]:
    """Return the problems whose name matches one of the shell patterns; all without patterns."""
    if patterns is None:
        return problems
    found = tuple(p for p in problems if any(fnmatch(p.name, pattern) for pattern in patterns))
    if not found:
        known = ", ".join(problem.name for problem in problems)
        raise invalid("--only", "the name of a problem", patterns, f"There are {known}.")
    return found


def named(name: str) -> Problem:
    """Return the problem of that name, quick ones among them."""
    return next(problem for problem in (*PROBLEMS, *QUICK) if problem.name == name)


def draw(problem: Problem, seed: int, start_scale: float) -> Data:
    """Return the sample and the near-truth start of a problem and a seed."""
    truth = draw_truth(problem.architecture, problem.n_true, regime=problem.regime, seed=seed)

    def sampler(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        return shaped(rng.uniform(-1.0, 1.0, size=(n, problem.dim)), problem.inputs)

    X, y = draw_sample(truth, problem.n, NOISE_VARIANCE, seed=seed, sampler=sampler)
    start = near_truth_start(truth, problem.n_fitted, scale=start_scale, seed=seed)
    return Data(X, y, start)


def shaped(X: NDArray[np.float64], inputs: str) -> NDArray[np.float64]:
    """Return uniform inputs as they are, stretched feature by feature, or nearly collinear."""
    if inputs == "badly-scaled":
        half = SCALE_SPAN**0.5
        return X * np.geomspace(1.0 / half, half, X.shape[1])
    if inputs == "collinear":
        last = X[:, -2] + COLLINEAR * X[:, -1]
        return np.column_stack([X[:, :-1], last])
    return X
