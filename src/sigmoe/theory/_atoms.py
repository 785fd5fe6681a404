"""Groups of atoms as raw tensors: what the closed-form representations are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.linalg import vector_norm

from sigmoe.moe import Architecture, MixingMeasure
from sigmoe.moe._scores import SCORES


@dataclass(frozen=True)
class Atoms:
    """Atoms in groups: A (*lead, d, d), b (*lead, d), c (*lead), eta (*lead, m, q).

    The columns m of the response always have their axis, also for a scalar response.
    """

    A: Tensor
    b: Tensor
    c: Tensor
    eta: Tensor

    @classmethod
    def of(cls, measure: MixingMeasure) -> Atoms:
        """Return the atoms of a single measure, lead (N,)."""
        scalar = measure.architecture.n_outputs is None
        eta = measure.eta
        return cls(measure.A, measure.b, measure.c, eta.unsqueeze(-2) if scalar else eta)

    def map(self, change: Callable[[Tensor], Tensor]) -> Atoms:
        """Return the atoms with every block changed in the same way."""
        return Atoms(change(self.A), change(self.b), change(self.c), change(self.eta))

    def take(self, index: Tensor) -> Atoms:
        """Return the atoms at an index of the first lead axis."""
        return self.map(lambda block: block[index])

    def replace(self, **blocks: Tensor) -> Atoms:
        """Return the atoms with some blocks replaced."""
        return Atoms(**{**self.__dict__, **blocks})

    def measure(self, architecture: Architecture) -> MixingMeasure:
        """Return the atoms, lead (N,), as a measure."""
        score = SCORES.get(architecture.score)
        return MixingMeasure(
            architecture,
            self.A if score.has_quadratic else None,
            self.b if score.has_linear else None,
            self.c,
            self.eta.squeeze(-2) if architecture.n_outputs is None else self.eta,
        )

    @staticmethod
    def join(parts: list[Atoms]) -> Atoms:
        """Return the atoms of several parts, lead axes joined."""
        names = ("A", "b", "c", "eta")
        return Atoms(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def distance(ours: Atoms, theirs: Atoms) -> Tensor:
    """Return ||dA|| + ||db|| + |dc| + ||d eta|| of each atom, shape (*lead)."""
    A: Tensor = vector_norm(ours.A - theirs.A, dim=(-2, -1))
    b: Tensor = vector_norm(ours.b - theirs.b, dim=-1)
    eta: Tensor = vector_norm(ours.eta - theirs.eta, dim=(-2, -1))
    return A + b + (ours.c - theirs.c).abs() + eta
