"""Tasks: the units of work, and the hash that names each by everything that determines its numbers.

A task knows nothing of figures, panels or curves: two curves that need the same fit share it. Its
hash covers the truth, the sample, the model, the start and the optimiser's settings, and a version
of the code's meaning; not labels, not workers.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from sigmoe.lab._study import content_hash
from sigmoe.lab._study_inputs import Atom, Modulus, Nodes
from sigmoe.moe import Architecture

#: Raised by hand when a change to the code changes the numbers of a task that was stored before.
SCHEMA_VERSION = 3


@dataclass(frozen=True)
class TruthSpec:
    """A truth to be drawn: once from the study's seed, whatever n and the replication.

    With ``atoms`` it is given, and the seed is that of samples and starts alone.
    """

    gate: str
    score: str
    expert: str
    dim: int
    n_true: int
    regime: str
    n_sparse: int
    seed: int
    atoms: tuple[Atom, ...] = ()

    def architecture(self) -> Architecture:
        """Return the architecture of the truth."""
        return Architecture(gate=self.gate, score=self.score, expert=self.expert, dim=self.dim)

    def as_dict(self) -> dict[str, Any]:
        """Return what determines the truth; the number of zero gates only where there are any."""
        data = dataclasses.asdict(self)
        if self.regime == "dense":
            del data["n_sparse"]
        if not self.atoms:
            del data["atoms"]
        return data


@dataclass(frozen=True)
class Model:
    """What is fitted."""

    gate: str
    score: str
    expert: str
    n_fitted: int


@dataclass(frozen=True)
class Start:
    """Where a fit starts.

    Attributes
    ----------
    kind : {"near-truth", "random"}
        With or without knowledge of the target.
    noise, exponent : float
        Standard deviation noise * n ** exponent of a near-truth start; zero for random ones.
    near : str
        "truth", or the hash of the task that holds best approximations.
    n_starts : int
        Number of random starts, the best of which counts.
    """

    kind: Literal["near-truth", "random"]
    noise: float = 0.0
    exponent: float = 0.0
    near: str = "truth"
    n_starts: int = 1


@dataclass(frozen=True)
class LeastSquares:
    """Settings of Levenberg-Marquardt."""

    max_iterations: int
    gradient_tolerance: float
    relative_tolerance: float
    name: Literal["levenberg-marquardt"] = "levenberg-marquardt"


@dataclass(frozen=True)
class FirstOrder:
    """Settings of full-batch Adam with a fixed budget."""

    steps: int
    learning_rate: float
    name: Literal["adam"] = "adam"


@dataclass(frozen=True)
class Minpack:
    """Settings of MINPACK's least squares, for samples at nodes."""

    max_evaluations: int
    tolerance: float
    name: Literal["minpack"] = "minpack"


class _Task(ABC):
    """What names a task."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return everything that determines the numbers of this task."""

    @cached_property
    def task_id(self) -> str:
        """Return the hash of the identity."""
        return content_hash(self.identity())


@dataclass(frozen=True)
class FitTask(_Task):
    """One fit of one model to one sample, at quadrature nodes where there are ``nodes``."""

    truth: TruthSpec
    model: Model
    n: int
    replication: int
    noise_variance: float
    start: Start
    optimiser: LeastSquares | FirstOrder | Minpack
    protocol: str = dataclasses.field(compare=False)  # a label; not part of the identity
    nodes: Nodes | None = None

    kind = "fit"

    def identity(self) -> dict[str, Any]:
        """Return everything that determines the numbers of this task."""
        data = {
            "schema": SCHEMA_VERSION,
            "kind": self.kind,
            "truth": self.truth.as_dict(),
            "model": dataclasses.asdict(self.model),
            "n": self.n,
            "replication": self.replication,
            "noise_variance": self.noise_variance,
            "start": dataclasses.asdict(self.start),
            "optimiser": dataclasses.asdict(self.optimiser),
        }
        if self.nodes is not None:
            data["nodes"] = dataclasses.asdict(self.nodes)
        return data

    @property
    def requires(self) -> tuple[str, ...]:
        """Return the tasks whose results this one needs."""
        return () if self.start.near == "truth" else (self.start.near,)


@dataclass(frozen=True)
class ProjectTask(_Task):
    """Best approximations of a truth by a model of another gate, in the population."""

    truth: TruthSpec
    model: Model
    n_starts: int
    n_points: int
    max_iterations: int
    noise_variance: float = dataclasses.field(compare=False)  # a label; the population has none

    kind = "project"
    requires: tuple[str, ...] = dataclasses.field(default=(), init=False)

    def identity(self) -> dict[str, Any]:
        """Return everything that determines the numbers of this task."""
        return {
            "schema": SCHEMA_VERSION,
            "kind": self.kind,
            "truth": self.truth.as_dict(),
            "model": dataclasses.asdict(self.model),
            "n_starts": self.n_starts,
            "n_points": self.n_points,
            "max_iterations": self.max_iterations,
        }


@dataclass(frozen=True)
class ModulusTask(_Task):
    """The local modulus of the experts' parameters, where the fits of a model start."""

    truth: TruthSpec
    model: Model
    half_width: float
    effort: Modulus
    noise_variance: float = dataclasses.field(compare=False)  # a label; the modulus has none

    kind = "modulus"
    requires: tuple[str, ...] = dataclasses.field(default=(), init=False)

    def identity(self) -> dict[str, Any]:
        """Return everything that determines the numbers of this task."""
        return {
            "schema": SCHEMA_VERSION,
            "kind": self.kind,
            "truth": self.truth.as_dict(),
            "model": dataclasses.asdict(self.model),
            "half_width": self.half_width,
            "effort": dataclasses.asdict(self.effort),
        }


AnyTask = FitTask | ProjectTask | ModulusTask
