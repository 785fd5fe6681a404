"""The parameters of the estimator: their constraints, the model they name, and its size."""

from __future__ import annotations

from typing import Any

from sklearn.base import RegressorMixin

from sigmoe._base.constraints import Interval, check
from sigmoe._base.errors import invalid
from sigmoe.estimation._bounds import Bounds, resolve_bounds
from sigmoe.estimation._sample import Sample
from sigmoe.moe import Architecture
from sigmoe.moe._monomials import count_monomials
from sigmoe.moe._scores import SCORES

#: Constraints of the numbers among the parameters, with the remedy that goes into the message.
CONSTRAINTS = {
    "n_experts": (Interval("integer", 1), "Ask for at least one expert."),
    "ridge": (Interval("number", 0.0), "Use 0 for plain least squares."),
    "n_starts": (Interval("integer", 1), "Ask for at least one start."),
    "max_iterations": (Interval("integer", 1), "Allow at least one iteration."),
    "tolerance": (Interval("number", 0.0), "Use 0 to iterate until the gradient vanishes."),
}

#: Most bytes of the normal equations; a fit needs a few times as much.
_MOST_BYTES = 2 * 2**30
#: Fewest rows for which the monomials of a pass are kept at a time.
_ROWS_AT_A_TIME = 64


class ScoreParameter:
    """The parameter ``score`` of an estimator that also has the method ``score``.

    The model calls the input of a gate its score, scikit-learn calls R^2 so. Reading the attribute
    gives the method; the parameter lies in the instance's ``__dict__`` and comes out of
    ``get_params``.
    """

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return RegressorMixin.score if instance is None else RegressorMixin.score.__get__(instance)

    def __set__(self, instance: Any, value: object) -> None:
        vars(instance)["score"] = value


def check_parameters(parameters: dict[str, Any]) -> None:
    """Raise InputError for the first parameter that breaks its rule; names are checked later."""
    for name, (constraint, remedy) in CONSTRAINTS.items():
        check(name, parameters[name], constraint, remedy)
    if not isinstance(parameters["warm_start"], bool):
        raise invalid(
            "warm_start", "True or False", parameters["warm_start"], "Use True to go on fitting."
        )


def model_of(parameters: dict[str, Any], dim: int, n_outputs: int | None) -> Architecture:
    """Return the architecture that the parameters name, if a fit of it has room in memory.

    Raises
    ------
    InputError
        For unknown names, and where the normal equations would take more than 2 GiB.
    """
    names = {name: parameters[name] for name in ("gate", "score", "expert")}
    architecture = Architecture(**names, dim=dim, n_outputs=n_outputs)
    n_experts = parameters["n_experts"]
    if _bytes(architecture, n_experts) > _MOST_BYTES:
        raise _too_large(architecture, n_experts)
    return architecture


def _bytes(architecture: Architecture, n_experts: int) -> int:
    """Return the memory of J'J, the moments it is gathered from and one chunk of monomials."""
    degree = 2 * SCORES.get(architecture.score).degree
    each = _ROWS_AT_A_TIME + n_experts * (n_experts + 1) // 2
    monomials = count_monomials(architecture.dim, degree)
    parameters: int = architecture.n_parameters(n_experts)
    return 8 * (parameters**2 + each * monomials)


def _too_large(architecture: Architecture, n_experts: int) -> Exception:
    parameters = architecture.n_parameters(n_experts)
    found = f"{parameters} parameters: {n_experts} experts of {architecture.dim} features"
    linear = Architecture(
        architecture.gate, "linear", architecture.expert, architecture.dim, architecture.n_outputs
    )
    fewer = "fewer experts or fewer features"
    if _bytes(linear, n_experts) <= _MOST_BYTES:
        fewer = f"score='linear' ({linear.n_parameters(n_experts)} parameters), {fewer}"
    return invalid(
        f"score={architecture.score!r}",
        "a model whose normal equations fit into 2 GiB",
        found,
        f"Use {fewer}.",
    )


def box_of(bounds: Bounds | str | None, sample: Sample) -> Bounds:
    """Return the box of the standardised parameters.

    The default is that of inputs and responses of size 1; unlike ``resolve_bounds`` it does not
    look at the sample, so that the batches of a stream share it.
    """
    if isinstance(bounds, str) and bounds == "default":
        return Bounds()
    return resolve_bounds(bounds, sample)
