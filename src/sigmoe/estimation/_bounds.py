"""The compact parameter space Theta as a box on the entries of A, b, c and eta."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor

from sigmoe._base.errors import invalid
from sigmoe.moe import Architecture, MixingMeasure
from sigmoe.moe._scores import SCORES

#: Lower and upper limit of the entries of one block.
Limits = tuple[float, float]


@dataclass(frozen=True)
class Bounds:
    """Box bounds on the entries of the parameters (the paper's compact Theta).

    Parameters
    ----------
    A, b, c, eta : tuple of two floats
        Lower and upper limit of every entry of the block; infinite limits are allowed.

    Raises
    ------
    InputError
        If a lower limit is not below its upper limit, or either is NaN.

    Examples
    --------
    >>> Bounds(A=(-5, 5)).A
    (-5.0, 5.0)
    """

    A: Limits = (-10.0, 10.0)
    b: Limits = (-10.0, 10.0)
    c: Limits = (-20.0, 20.0)
    eta: Limits = (-10.0, 10.0)

    def __post_init__(self) -> None:
        for block in fields(self):
            limits = getattr(self, block.name)
            object.__setattr__(self, block.name, _checked_limits(block.name, limits))


def _checked_limits(block: str, limits: object) -> Limits:
    rule = "a pair (lower, upper) of numbers with lower < upper"
    remedy = "Use -inf and inf for no bound."
    if not isinstance(limits, (tuple, list)) or len(limits) != 2:
        raise invalid(f"bounds.{block}", rule, limits, remedy)
    try:
        low, high = float(limits[0]), float(limits[1])
    except (TypeError, ValueError):
        raise invalid(f"bounds.{block}", rule, limits, remedy) from None
    if not low < high:
        raise invalid(f"bounds.{block}", rule, limits, remedy)
    return low, high


#: No bounds at all.
UNBOUNDED = Bounds(*[(-math.inf, math.inf)] * 4)


def default_bounds(X: Tensor, y: Tensor) -> Bounds:
    """Return bounds that are generous at the scale of the data.

    For inputs that reach 1 and responses of size 1, as in the paper's experiments, these are
    A, b, eta in [-10, 10] and c in [-20, 20]. Inputs that are smaller widen A, b and eta so that
    scores and experts can vary as much; responses that are larger widen eta.

    Parameters
    ----------
    X : Tensor of shape (n, d)
    y : Tensor of shape (n,) or (n, m)
    """
    return _bounds_at_scale(float(X.abs().max()), float(y.square().mean().sqrt()))


def _bounds_at_scale(reach: float, response_scale: float) -> Bounds:
    widen = 1.0 if reach == 0.0 else max(1.0, _power_of_two(1.0 / reach))
    size = max(1.0, _power_of_two(response_scale))
    a, b, eta = 10.0 * widen**2, 10.0 * widen, 10.0 * widen * size
    return Bounds((-a, a), (-b, b), (-20.0, 20.0), (-eta, eta))


def _power_of_two(value: float) -> float:
    """Return the largest power of two that is at most the value, or 1 for values below 2."""
    return 2.0 ** math.floor(math.log2(value)) if value >= 2.0 else 1.0


class Scaled(Protocol):
    """Data whose scale is known."""

    @property
    def reach(self) -> float:
        """Return the largest absolute input."""

    @property
    def response_scale(self) -> float:
        """Return the root mean square of the responses."""


def resolve_bounds(bounds: Bounds | str | None, data: Scaled) -> Bounds:
    """Return the bounds that the argument ``bounds`` of a fit stands for."""
    if bounds is None:
        return UNBOUNDED
    if isinstance(bounds, Bounds):
        return bounds
    if bounds == "default":
        return _bounds_at_scale(data.reach, data.response_scale)
    raise invalid(
        "bounds", "'default', a Bounds or None", bounds, "Write for example Bounds(A=(-5, 5))."
    )


def coordinate_limits(
    bounds: Bounds, architecture: Architecture, n_experts: int
) -> tuple[Tensor, Tensor]:
    """Return the lower and upper limits of the canonical coordinates, each of shape (p,)."""
    sides = []
    for side in (0, 1):
        atom = torch.cat(
            [block_values(bounds, architecture, side), _eta(bounds, architecture, side)]
        )
        sides.append(atom.repeat(n_experts))
    return sides[0], sides[1]


def block_values(bounds: Bounds, architecture: Architecture, side: int) -> Tensor:
    """Return one side's limits of the score coefficients of an atom, shape (g,)."""
    d = architecture.dim
    score = SCORES.get(architecture.score)
    parts = [torch.tensor([bounds.c[side]], dtype=torch.float64)]
    if score.has_linear:
        parts.append(torch.full((d,), bounds.b[side], dtype=torch.float64))
    if score.has_quadratic:
        rows, columns = torch.triu_indices(d, d)
        # The coefficient of x_u x_v is A_uv + A_vu = 2 A_uv.
        parts.append(torch.where(rows == columns, 1.0, 2.0).double() * bounds.A[side])
    return torch.cat(parts)


def _eta(bounds: Bounds, architecture: Architecture, side: int) -> Tensor:
    count = architecture.n_columns * architecture.n_expert_parameters
    return torch.full((count,), bounds.eta[side], dtype=torch.float64)


def require_inside(start: MixingMeasure, bounds: Bounds) -> None:
    """Raise InputError, naming the first entry that lies outside, unless the start is inside."""
    lower, upper = coordinate_limits(bounds, start.architecture, start.n_experts)
    coordinates = start.coordinates.flatten().cpu()
    outside = (coordinates < lower) | (coordinates > upper)
    if not bool(outside.any()):
        return
    position = int(outside.nonzero()[0, 0])
    name, factor, block = coordinate_name(start.architecture, position)
    low, high = getattr(bounds, block)
    raise invalid(
        "start",
        "inside the bounds",
        f"{name} = {float(coordinates[position]) / factor:g} outside [{low:g}, {high:g}]",
        "Move the start, or pass wider bounds=.",
    )


def coordinate_name(architecture: Architecture, position: int) -> tuple[str, float, str]:
    """Return the entry behind a canonical coordinate: its name, its factor and its block.

    Examples
    --------
    >>> from sigmoe.moe import Architecture
    >>> coordinate_name(Architecture(dim=2), 4)
    ('A[0,0,1]', 2.0, 'A')
    """
    atom, k = divmod(position, architecture.n_atom_parameters)
    d, g = architecture.dim, architecture.n_score_coefficients
    score = SCORES.get(architecture.score)
    if k == 0:
        return f"c[{atom}]", 1.0, "c"
    if k >= g:
        column, entry = divmod(k - g, architecture.n_expert_parameters)
        middle = "" if architecture.n_outputs is None else f"{column},"
        return f"eta[{atom},{middle}{entry}]", 1.0, "eta"
    if score.has_linear and k <= d:
        return f"b[{atom},{k - 1}]", 1.0, "b"
    rows, columns = torch.triu_indices(d, d)
    u, v = (int(side[k - 1 - d * score.has_linear]) for side in (rows, columns))
    return f"A[{atom},{u},{v}]", 1.0 if u == v else 2.0, "A"


def describe_active(
    architecture: Architecture, theta: Tensor, lower: Tensor, upper: Tensor
) -> tuple[str, ...]:
    """Return the coordinates that lie at a bound, such as "A[2,0,1] at upper bound 10"."""
    flat = theta.flatten()
    active = []
    for word, limit, at in (("lower", lower, flat <= lower), ("upper", upper, flat >= upper)):
        for position in at.nonzero()[:, 0].tolist():
            name, factor, _ = coordinate_name(architecture, position)
            active.append((position, f"{name} at {word} bound {float(limit[position]) / factor:g}"))
    return tuple(text for _, text in sorted(active))
