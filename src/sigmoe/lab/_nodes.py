"""Samples at quadrature nodes: least squares at any n for the price of a few hundred rows.

The responses stand at the nodes x_i of a rule with weights w_i, y_i = f(x_i) + e_i with
e_i ~ N(0, nu / (n w_i)), and least squares weighs row i by w_i. This is a Gaussian shift
experiment: the log likelihood ratio of two functions f and g has variance
(n / nu) sum_i w_i (f - g)^2(x_i), that is n / nu times the squared distance of f and g in L2 of the
inputs. n independent observations have the same, up to the fluctuation of their inputs. So Fisher
information, local geometry and rates are those of n observations, while the work does not depend
on n.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sigmoe._base.seeds import Seed, generator
from sigmoe.lab._study_inputs import Nodes
from sigmoe.moe import MixingMeasure
from sigmoe.theory._quadrature import Quadrature, box_quadrature, kinks_of


def node_rule(truth: MixingMeasure, nodes: Nodes) -> Quadrature:
    """Return the rule at whose nodes a truth is observed; panels end at its kinks."""
    dim = truth.architecture.dim
    return box_quadrature(dim, nodes.half_width, kinks=kinks_of(truth), level=nodes.level)


def draw_at_nodes(
    truth: MixingMeasure, rule: Quadrature, n: int, noise_variance: float, seed: Seed
) -> Tensor:
    """Return responses at the nodes that together say as much as n independent observations.

    Parameters
    ----------
    truth : MixingMeasure
        A single measure with one response column.
    rule : Quadrature
        With m nodes.
    n : int
        Number of observations that the responses stand for, >= 1.
    noise_variance : float
        Variance nu >= 0 of the noise of one observation.
    seed : int or SeedSequence

    Returns
    -------
    Tensor of shape (m,), float64
    """
    noise = torch.from_numpy(generator(seed, role="noise").standard_normal(len(rule.weights)))
    return truth.predict(rule.nodes) + noise * (noise_variance / (n * rule.weights)).sqrt()


def per_observation(objective: float, rule: Quadrature, n: int) -> float:
    """Return a weighted mean squared residual in the units of one observation's noise.

    At the truth its expectation is the noise variance, as it is for independent observations.

    Examples
    --------
    >>> per_observation(0.01 * 64 / 1e6, box_quadrature(1, 3.0), 10**6)
    0.01
    """
    if not math.isfinite(objective):
        return objective
    return objective * n / len(rule.weights)
