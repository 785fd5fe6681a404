"""Coefficients as a reader of the table wants them: its units, its column names."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sigmoe.estimation._bounds import coordinate_name
from sigmoe.estimation.inference._coordinates import free_positions
from sigmoe.estimation.regressor._parameters import holds_intercept
from sigmoe.estimation.regressor._problem import Problem
from sigmoe.estimation.regressor._standardise import Standardisation, in_units
from sigmoe.moe import Architecture, MixingMeasure
from sigmoe.moe._experts import get_expert
from sigmoe.moe._scores import SCORES

_COORDINATE = re.compile(r"\b(?:A|b|c|eta)\[[0-9,]+\]")


@dataclass(frozen=True)
class Coefficients:
    """What turns parameters in standardised units into coefficients of the table.

    The parameters are the p canonical coordinates and a fitted intercept for each column, or none.

    Attributes
    ----------
    names : tuple of str
        Of the coefficients: those of gates that mean something, those of experts, and intercepts.
    matrix : Tensor of shape (k, parameters)
        Coefficients are matrix @ parameters + shift: scores and experts are linear in theirs.
    shift : Tensor of shape (k,)
    coordinates : dict of str to str
        From the name of each coordinate, such as "b[0,1]", to that of its coefficient.
    """

    names: tuple[str, ...]
    matrix: Tensor
    shift: Tensor
    coordinates: dict[str, str]

    @classmethod
    def of(
        cls, problem: Problem, n_experts: int, units: Standardisation, features: list[str]
    ) -> Coefficients:
        """Return the map for a model of so many experts, with the names of its features."""
        architecture = problem.architecture
        free = free_positions(architecture, n_experts)
        count = architecture.n_parameters(n_experts)
        basis = torch.eye(count, dtype=torch.float64).view(count, n_experts, -1)
        columns = [
            in_units(MixingMeasure.from_coordinates(architecture, one), units)[0]
            for one in basis.unbind()
        ]
        matrix = torch.stack([column.coordinates.flatten() for column in columns], 1)
        every = _names(architecture, n_experts, features)
        shift = _shift(architecture, n_experts, units)
        own = problem.sample.n_intercepts
        scale, centre = (
            torch.from_numpy(np.atleast_1d(part)[:own])
            for part in (units.response_scale, units.response_centre)
        )
        columns_of = [f", y{k}" for k in range(own)] if architecture.n_outputs else [""] * own
        return cls(
            names=(*(every[k] for k in free.tolist()), *(f"intercept{of}" for of in columns_of)),
            matrix=torch.block_diag(matrix[free], torch.diag(scale)),
            shift=torch.cat([shift[free], centre]),
            coordinates={coordinate_name(architecture, k)[0]: name for k, name in enumerate(every)},
        )

    def values(self, parameters: Tensor) -> Tensor:
        """Return the coefficients (*batch, k) of pinned parameters."""
        return parameters @ self.matrix.T + self.shift

    def covariance(self, matrix: Tensor) -> Tensor:
        """Return the covariance (k, k) of the coefficients from that of the parameters."""
        return self.matrix @ matrix @ self.matrix.T

    def rename(self, text: str) -> str:
        """Return a sentence about coordinates and atoms as one about coefficients and experts."""
        named = _COORDINATE.sub(lambda found: self.coordinates[found[0]], text)
        return named.replace("atom", "expert")


def _shift(architecture: Architecture, n_experts: int, units: Standardisation) -> Tensor:
    shift = torch.zeros((n_experts, architecture.n_atom_parameters), dtype=torch.float64)
    if holds_intercept(architecture):
        g, q = architecture.n_score_coefficients, architecture.n_expert_parameters
        constants = shift[:, g:].view(n_experts, architecture.n_columns, q)[..., architecture.dim]
        constants += torch.from_numpy(np.atleast_1d(units.response_centre))
    return shift.flatten()


def _names(architecture: Architecture, n_experts: int, features: list[str]) -> list[str]:
    score, expert = SCORES.get(architecture.score), get_expert(architecture.expert)
    gate = ["const", *(features if score.has_linear else [])]
    if score.has_quadratic:
        d = architecture.dim
        pairs = zip(*torch.triu_indices(d, d).tolist(), strict=True)
        gate += [f"{features[u]}*{features[v]}" for u, v in pairs]
    own = [*features, "const", *(["scale"] if expert.scaled else [])]
    several = architecture.n_outputs is not None
    columns = [f", y{k}" if several else "" for k in range(architecture.n_columns)]
    return [
        text
        for atom in range(n_experts)
        for text in (
            *(f"gate {atom}: {name}" for name in gate),
            *(f"expert {atom}{column}: {name}" for column in columns for name in own),
        )
    ]


def without_columns(
    problem: Problem, measure: MixingMeasure, units: Standardisation
) -> tuple[Problem, MixingMeasure, Standardisation]:
    """Return all three without the constant columns, which carry no information."""
    live = np.flatnonzero(~units.constant)
    kept, a = torch.from_numpy(live), measure.architecture
    reduced = Architecture(a.gate, a.score, a.expert, len(live), a.n_outputs)
    score = SCORES.get(a.score)
    A = measure.A[:, kept][:, :, kept] if score.has_quadratic else None
    b = measure.b[:, kept] if score.has_linear else None
    rest = torch.arange(a.dim, a.n_expert_parameters)
    eta = measure.eta[..., torch.cat([kept, rest])]
    sample = problem.sample
    fewer = replace(sample, X=sample.X[:, kept])
    return (
        replace(problem, sample=fewer, architecture=reduced),
        MixingMeasure(reduced, A, b, measure.c, eta),
        replace(
            units,
            input_centre=units.input_centre[live],
            input_scale=units.input_scale[live],
            constant=units.constant[live],
        ),
    )
