"""Beside the local modulus, the Fisher information of a regular model."""

from __future__ import annotations

import numpy as np
import torch

from sigmoe._base.seeds import Seed
from sigmoe.moe import MixingMeasure
from sigmoe.theory._fisher import FisherPrediction, fisher_prediction
from sigmoe.theory._points import integration_points
from sigmoe.theory.modulus._mixture import MixtureModel
from sigmoe.theory.modulus._model import Vector

#: Points of the integral E[J'J].
_POINTS = 2**15


def fisher_on_box(truth: MixingMeasure, half_width: float, seed: Seed) -> FisherPrediction:
    """Return the Fisher prediction for noise variance 1 and inputs U[-half_width, half_width]^d."""

    def sampler(rng: np.random.Generator, n: int) -> Vector:
        del rng
        return (half_width * integration_points(truth.architecture.dim, n, seed)).numpy()

    return fisher_prediction(truth, 1.0, n_points=_POINTS, sampler=sampler)


def local_covariance(fisher: FisherPrediction, model: MixtureModel) -> Vector:
    """Return the covariance (p, p) of the model's coordinates at n = 1, noise variance 1.

    The model has one fitted atom for each true one. Canonical coordinates are its coordinates
    through their derivative, and for softmax gates a common translation.
    """
    derivative = model.derivative(np.zeros(len(model.names)))
    architecture = model.architecture
    atom = np.eye(architecture.n_atom_parameters)[:, : architecture.n_score_coefficients]
    common = np.tile(atom, (len(model.sizes), 1))[:, : architecture.n_invisible]
    inverse = np.linalg.inv(np.hstack([derivative, common]))[: derivative.shape[1]]
    covariance = torch.from_numpy(inverse) @ fisher.covariance(1) @ torch.from_numpy(inverse.T)
    return covariance.numpy()
