"""When an estimate has no standard errors, and why: each check returns a sentence or nothing."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sigmoe.estimation._bounds import Bounds, coordinate_limits, describe_active
from sigmoe.estimation.inference._coordinates import names_and_factors
from sigmoe.estimation.inference._jacobian import chunks, jacobian
from sigmoe.estimation.inference._sandwich import Evidence, Spectrum
from sigmoe.moe import MixingMeasure

#: Scaled eigenvalues below this are zeros blurred by rounding, as in ``fisher_prediction``.
ZERO = 1e-10
#: Residuals below this share of the responses are rounding.
_ROUNDING = 1e-12
#: Coordinates this close to a limit of the box are at it.
_AT_LIMIT = 1e-9
#: A Newton step longer than this many standard errors is not the optimiser's rounding.
_MOVED = 0.25
#: How far the worst directions are followed, in standard deviations, and how many of them.
_REACH, _DIRECTIONS = 2.0, 8
#: In simulations 95 % intervals covered 89 to 96 % up to this ratio and 81 to 88 % beyond it.
_BENT = 2.0
#: Rows on which the bend of the model is measured.
_ROWS = 4096
#: Coordinates that a sentence names.
_NAMED = 4


def at_bounds(measure: MixingMeasure, bounds: Bounds) -> str:
    """Return which coordinates lie at a limit of the box, or an empty text.

    A coordinate beyond its limit is not at it: the fit then had another box.
    """
    architecture, theta = measure.architecture, measure.coordinates.flatten().cpu()
    lower, upper = (
        torch.where(torch.isclose(theta, limit, rtol=_AT_LIMIT, atol=0.0), theta, away)
        for limit, away in zip(
            coordinate_limits(bounds, architecture, measure.n_experts),
            (-math.inf, math.inf),
            strict=True,
        )
    )
    active = describe_active(architecture, theta, lower, upper)
    return f"the estimate is at the edge of its bounds ({_listed(active)})" if active else ""


def too_little_noise_or_rows(evidence: Evidence) -> str:
    """Return why no noise variance can be estimated, or an empty text."""
    responses, free = evidence.residual.numel(), len(evidence.free)
    if responses <= free:
        return f"{responses} responses cannot carry {free} free coordinates"
    size = float(evidence.residual.square().mean().sqrt())
    if size <= _ROUNDING * evidence.sample.response_scale:
        return "the fit is exact, so that there is no noise to judge it by"
    return ""


def rank_deficient(evidence: Evidence, information: Spectrum) -> str:
    """Return which coordinates the data carry no information on, or an empty text."""
    null = information.vectors[:, information.values <= ZERO]
    if not null.shape[1]:
        return ""
    count = "one direction" if null.shape[1] == 1 else f"{null.shape[1]} directions"
    parts = _leading(evidence, null.square().sum(1))
    return f"the data carry no information on {count} of the parameters, made up of {parts}"


def no_minimum(bread: Spectrum) -> str:
    """Return whether the Hessian is not positive definite, or an empty text."""
    if float(bread.values[0]) > ZERO:
        return ""
    return "the estimate is not a minimum of the objective: its Hessian is not positive definite"


def not_stationary(evidence: Evidence, bread: Spectrum, covariance: Tensor) -> str:
    """Return whether a Newton step would move the estimate by a part of a standard error."""
    step = bread.inverse @ evidence.gradient
    moved = step.abs() / covariance.diagonal().sqrt()
    worst = int(moved.argmax())
    if float(moved[worst]) <= _MOVED:
        return ""
    return (
        f"the estimate is not a minimum of the objective: a Newton step moves "
        f"{_name(evidence, worst)} by {float(moved[worst]):.2g} standard errors (stopped early, "
        "or fitted with a ridge penalty or to another sample)"
    )


def bent(evidence: Evidence, information: Spectrum) -> str:
    """Return in which direction the model is not linear over the size of its errors, or nothing.

    The directions with the least information are followed for two standard deviations to both
    sides. What the prediction does there beyond the linear part is compared with that part.
    """
    steps = _REACH * math.sqrt(evidence.noise_variance) * information.factor[:, :_DIRECTIONS]
    ratio = _bend(evidence, steps)
    worst = int(ratio.argmax())
    if float(ratio[worst]) <= _BENT:
        return ""
    parts = _leading(evidence, information.vectors[:, worst].square())
    return (
        "the model is not close to linear over the size of the errors of the estimate: along a "
        f"direction made up of {parts} the prediction's bend is {float(ratio[worst]):.2g} times "
        "its linear change"
    )


def _bend(evidence: Evidence, steps: Tensor) -> Tensor:
    """Return the larger of the two sides' ratios of bend to linear change, shape (directions,)."""
    measure, X = evidence.measure, evidence.sample.X
    rows = torch.arange(0, len(X), max(1, math.ceil(len(X) / _ROWS)), device=X.device)
    X, root = X[rows], evidence.weight[rows].sqrt()
    theta = measure.coordinates
    full = steps.new_zeros((theta.numel(), steps.shape[1]))
    full[evidence.free] = steps
    moves = torch.stack([full.T, -full.T]).view(2, -1, *theta.shape)
    moved = MixingMeasure.from_coordinates(measure.architecture, theta + moves).predict(X)
    change = (moved - measure.predict(X)).view(2, steps.shape[1], len(X), -1)
    linear = torch.cat(
        [
            torch.einsum("mpn,pk->knm", jacobian(measure.architecture, theta, X[part].T), full)
            for part in chunks(len(X), change.shape[-1] * theta.numel())
        ],
        dim=1,
    )
    if evidence.slopes is not None:
        # A constant is no change: the intercept takes it up.
        share = (evidence.weight[rows] / evidence.weight[rows].sum()).view(-1, 1)
        linear = linear - (share * linear).sum(1, keepdim=True)
        change = change - (share * change).sum(2, keepdim=True)
    sides = torch.stack([linear, -linear])
    root = root.unsqueeze(1)
    size = torch.linalg.vector_norm(linear * root, dim=(1, 2))
    bend = torch.linalg.vector_norm((change - sides) * root, dim=(2, 3))
    ratio: Tensor = (bend / size).amax(0)
    return ratio


def _leading(evidence: Evidence, share: Tensor) -> str:
    """Return the names of the coordinates with the largest shares of a direction."""
    order = share.argsort(descending=True, stable=True)[:_NAMED].tolist()
    kept = [k for k in order if float(share[k]) > 0.01 * float(share.max())]
    names = [_name(evidence, k) for k in kept]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _name(evidence: Evidence, k: int) -> str:
    measure = evidence.measure
    return names_and_factors(measure.architecture, measure.n_experts)[0][int(evidence.free[k])]


def _listed(texts: tuple[str, ...]) -> str:
    return ", ".join(texts[:_NAMED]) + (", ..." if len(texts) > _NAMED else "")
