"""Experts: ridge functions lambda phi(alpha'x + beta), registered by phi and its derivatives.

A new expert is one call of ``register_expert``; fitting, derivative checks and the conformance
tests take it up from the registry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sigmoe._base.errors import invalid
from sigmoe._base.registry import Registry
from sigmoe._base.safe import normal_cdf, normal_density

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Expert:
    """A ridge expert E(x, eta) = lambda phi(alpha'x + beta).

    Attributes
    ----------
    name : str
        The name in ``Architecture(expert=...)``.
    value, slope, curvature : callable
        phi, phi' and phi'' on tensors of any shape. Where phi has a kink they give the derivative
        that holds almost everywhere.
    scaled : bool
        Whether lambda is a parameter: eta = (alpha, beta, lambda); otherwise lambda = 1 and
        eta = (alpha, beta).
    kinked : bool
        Whether phi is not differentiable at 0.
    constant_slope : bool
        Whether phi' is 1 everywhere.
    """

    name: str
    value: Function
    slope: Function
    curvature: Function
    scaled: bool = False
    kinked: bool = False
    constant_slope: bool = False

    def n_parameters(self, dim: int) -> int:
        """Return the number of parameters of one expert and one response column."""
        return dim + 1 + self.scaled


EXPERTS = Registry[Expert]("expert")
_POLYNOMIAL = "polynomial:"


def register_expert(
    name: str,
    value: Function,
    slope: Function,
    curvature: Function,
    *,
    scaled: bool = False,
    kinked: bool = False,
) -> Expert:
    """Register an expert lambda phi(alpha'x + beta) under a new name.

    Parameters
    ----------
    name : str
        New name for ``Architecture(expert=...)``.
    value, slope, curvature : callable
        phi, phi' and phi'', element by element on float64 tensors. phi'' shapes the steps of fits
        of large samples, which are straight wherever it is not finite.
    scaled : bool
        Whether the scale lambda is a parameter.
    kinked : bool
        Whether phi has a kink at 0 (phi'' then misses a point mass there).

    Returns
    -------
    Expert
        The registered piece.

    Raises
    ------
    InputError
        If the name is taken or begins with "polynomial:".

    Examples
    --------
    >>> import torch
    >>> from sigmoe.moe import Architecture, register_expert
    >>> _ = register_expert("sine", torch.sin, torch.cos, lambda z: -torch.sin(z))
    >>> Architecture(expert="sine", dim=2).n_expert_parameters
    3
    >>> from sigmoe.moe._experts import EXPERTS
    >>> EXPERTS.unregister("sine")
    """
    if name.startswith(_POLYNOMIAL):
        raise invalid("expert name", "new", name, "Names with 'polynomial:' are built in.")
    expert = Expert(name, value, slope, curvature, scaled=scaled, kinked=kinked)
    EXPERTS.register(name, expert)
    return expert


def get_expert(name: object) -> Expert:
    """Return the expert of that name; "polynomial:P" is made for every integer P >= 1.

    Raises
    ------
    InputError
        For an unknown name or a degree below 1.
    """
    if name in EXPERTS:
        return EXPERTS.get(name)
    if isinstance(name, str) and name.startswith(_POLYNOMIAL):
        text = name.removeprefix(_POLYNOMIAL)
        if not text.isdecimal() or int(text) < 1:
            raise invalid(
                "expert", "'polynomial:P' with an integer P >= 1", name, "Write 'polynomial:2'."
            )
        return _polynomial(int(text))
    raise invalid(
        "expert",
        "one of " + ", ".join(repr(known) for known in expert_names()),
        name,
        "Choose one of these names, or add yours with register_expert.",
    )


def expert_names() -> tuple[str, ...]:
    """Return the known expert names; "polynomial:P" stands for every degree P >= 1.

    Examples
    --------
    >>> expert_names()[:3]
    ('linear', 'relu', 'gelu')
    """
    return (*EXPERTS.names(), "polynomial:P")


def _polynomial(degree: int) -> Expert:
    def value(z: Tensor) -> Tensor:
        return z**degree

    def slope(z: Tensor) -> Tensor:
        return degree * z ** (degree - 1)

    def curvature(z: Tensor) -> Tensor:
        return torch.zeros_like(z) if degree == 1 else degree * (degree - 1) * z ** (degree - 2)

    name = f"{_POLYNOMIAL}{degree}"
    return Expert(name, value, slope, curvature, constant_slope=degree == 1)


def _step(z: Tensor) -> Tensor:
    # Takes less than half the time of a comparison and a conversion.
    return torch.sign(torch.relu(z))


def _gelu(z: Tensor) -> Tensor:
    return z * normal_cdf(z)


def _gelu_slope(z: Tensor) -> Tensor:
    return normal_cdf(z) + z * normal_density(z)


def _gelu_curvature(z: Tensor) -> Tensor:
    return (2.0 - z * z) * normal_density(z)


def _tanh_slope(z: Tensor) -> Tensor:
    return 1.0 - torch.tanh(z) ** 2


def _tanh_curvature(z: Tensor) -> Tensor:
    value = torch.tanh(z)
    return -2.0 * value * (1.0 - value**2)


_LINEAR = Expert("linear", lambda z: z, torch.ones_like, torch.zeros_like, constant_slope=True)
EXPERTS.register(_LINEAR.name, _LINEAR)
register_expert("relu", torch.relu, _step, torch.zeros_like, kinked=True)
register_expert("gelu", _gelu, _gelu_slope, _gelu_curvature)
register_expert("tanh", torch.tanh, _tanh_slope, _tanh_curvature)
register_expert("scaled-relu", torch.relu, _step, torch.zeros_like, scaled=True, kinked=True)
register_expert("scaled-gelu", _gelu, _gelu_slope, _gelu_curvature, scaled=True)
register_expert("scaled-tanh", torch.tanh, _tanh_slope, _tanh_curvature, scaled=True)
