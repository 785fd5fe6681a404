"""The fitted side of the estimator: what it stores, and what can be asked of it."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from sigmoe._base.arrays import ArrayLike
from sigmoe.estimation.regressor._memory import Memory
from sigmoe.estimation.regressor._standardise import Array, Standardisation, in_units
from sigmoe.estimation.regressor._steps import Ending, State
from sigmoe.estimation.regressor._tables import as_features
from sigmoe.moe import Architecture, MixingMeasure


class Decomposition(NamedTuple):
    """A prediction in parts: it is ``contributions.sum(axis=1) + intercept``.

    Attributes
    ----------
    contributions : array of shape (n, N) or (n, N, m)
        Gate times expert, for each row and expert, in the units of the responses.
    intercept : float or array of shape (m,)
    """

    contributions: Array
    intercept: float | Array


class FittedMixture:
    """A fitted mixture as plain arrays, numbers and strings, which any file format can hold."""

    _names: tuple[str, str, str]
    coordinates_: Array
    input_centre_: Array
    input_scale_: Array
    constant_features_: npt.NDArray[np.bool_]
    intercept_: float | Array
    response_scale_: float | Array
    curvature_: Array
    slope_: Array
    total_weight_: float
    objective_: float
    ridge_: float
    status_: str
    message_: str
    n_iter_: int
    converged_: bool
    active_bounds_: tuple[str, ...]
    start_objectives_: Array
    n_starts_agreed_: int
    n_samples_seen_: int
    n_experts_: int
    selection_: dict[str, Any]
    selection_reason_: str

    def predict(self, X: ArrayLike) -> Array:
        """Return predictions at the rows of X.

        Parameters
        ----------
        X : array_like or frame of shape (n, d)

        Returns
        -------
        array of shape (n,) or (n, m), float64
        """
        contributions, intercept = self.decompose(X)
        prediction: Array = contributions.sum(axis=1) + intercept
        return prediction

    def decompose(self, X: ArrayLike) -> Decomposition:
        """Return what each expert contributes to each prediction.

        Parameters
        ----------
        X : array_like or frame of shape (n, d)

        Returns
        -------
        Decomposition
            ``contributions`` of shape (n, N) or (n, N, m), and ``intercept``; the prediction is
            ``contributions.sum(axis=1) + intercept`` to the last bit.
        """
        check_is_fitted(self)
        _, _, contributions = self._parts(as_features(self, X))
        return Decomposition(contributions, self.intercept_)

    def gates(self, X: ArrayLike) -> Array:
        """Return the weights that the gates give to each expert.

        Parameters
        ----------
        X : array_like or frame of shape (n, d)

        Returns
        -------
        array of shape (n, N)
            Between 0 and 1; they sum to 1 for softmax gates.
        """
        check_is_fitted(self)
        return self._parts(as_features(self, X))[0]

    def experts(self, X: ArrayLike) -> Array:
        """Return what each expert says where it speaks alone, beside the intercept.

        Parameters
        ----------
        X : array_like or frame of shape (n, d)

        Returns
        -------
        array of shape (n, N) or (n, N, m)
            In the units of the responses.
        """
        check_is_fitted(self)
        return self._parts(as_features(self, X))[1]

    @property
    def architecture_(self) -> Architecture:
        """Return gate, score, expert and dimensions of the fitted model."""
        check_is_fitted(self)
        gate, score, expert = self._names
        columns = np.shape(self.intercept_)
        outputs = columns[0] if columns else None
        return Architecture(gate, score, expert, len(self.input_centre_), outputs)

    @property
    def measure_(self) -> MixingMeasure:
        """Return the mixture f in the units of the table.

        Predictions are ``intercept_ + measure_scale_ * measure_.predict(X)``.
        """
        return in_units(self._measure(), self._standardisation())[0]

    @property
    def measure_scale_(self) -> float | Array:
        """Return the scale of the responses that ``measure_`` leaves out.

        It is 1 but for experts that cannot take it up, such as tanh and GELU.
        """
        return _plain(in_units(self._measure(), self._standardisation())[1])

    def _measure(self) -> MixingMeasure:
        """Return the mixture in standardised units."""
        return MixingMeasure.from_coordinates(self.architecture_, torch.tensor(self.coordinates_))

    def _standardisation(self) -> Standardisation:
        return Standardisation(
            self.input_centre_,
            self.input_scale_,
            self.constant_features_,
            np.asarray(self.intercept_),
            np.asarray(self.response_scale_),
        )

    def _features(self) -> list[str]:
        """Return the names of the columns, "x0", "x1", ... where the table had none."""
        names = getattr(self, "feature_names_in_", None)
        return [f"x{k}" for k in range(len(self.input_centre_))] if names is None else list(names)

    def _parts(self, inputs: Array) -> tuple[Array, Array, Array]:
        """Return weights, experts and contributions at checked inputs of shape (n, d)."""
        z, measure = self._standardisation().inputs(inputs), self._measure()
        weights: Array = measure.gates(z).numpy()
        experts: Array = measure.experts(z).numpy() * self.response_scale_
        wide = weights.reshape(weights.shape + (1,) * (experts.ndim - 2))
        return weights, experts, wide * experts

    def _state(self) -> State | None:
        """Return what ``_keep`` stored, None before the first fit."""
        if not hasattr(self, "coordinates_"):
            return None
        measure, gradient = self._measure(), torch.tensor(self.slope_)
        theta = measure.coordinates.flatten()
        n_intercepts = len(gradient) - len(theta)
        memory = Memory(
            torch.cat([theta, theta.new_zeros(n_intercepts)]),
            torch.tensor(self.curvature_),
            gradient,
            self.objective_ * self.total_weight_,
            self.total_weight_,
            n_intercepts,
        )
        return State(measure, self._standardisation(), memory, self.ridge_)

    def _keep(self, state: State, ending: Ending) -> Self:
        """Store a state and how it came about; warn if it did not converge."""
        measure, units, memory = state.measure, state.standardisation, state.memory
        architecture = measure.architecture
        self._names = (architecture.gate, architecture.score, architecture.expert)
        self.coordinates_, self.n_experts_ = measure.coordinates.numpy(), measure.n_experts
        self.input_centre_, self.input_scale_ = units.input_centre, units.input_scale
        self.constant_features_ = units.constant
        self.intercept_ = _plain(units.response_centre)
        self.response_scale_ = _plain(units.response_scale)
        self.curvature_, self.slope_ = memory.matrix.numpy(), memory.gradient.numpy()
        self.total_weight_, self.objective_ = memory.weight, ending.objective
        self.ridge_ = float(state.ridge)
        self.status_, self.message_ = ending.status, ending.message
        self.n_iter_, self.converged_ = ending.n_iterations, ending.converged
        self.active_bounds_ = ending.active_bounds
        self.start_objectives_ = np.array(ending.start_objectives)
        self.n_starts_agreed_ = ending.n_agreed
        if not ending.converged:
            # Seen from the line that called fit or partial_fit.
            warnings.warn(ending.message, ConvergenceWarning, stacklevel=4)
        return self


def _plain(value: Array) -> float | Array:
    """Return an array without axes as a number."""
    return float(value) if value.ndim == 0 else value
