"""The parameters of the estimator: their constraints, the model they name, and its size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sklearn.base import RegressorMixin

from sigmoe._base.constraints import Choice, Constraint, Flag, Interval, check
from sigmoe._base.errors import invalid
from sigmoe.estimation._bounds import Bounds, resolve_bounds
from sigmoe.estimation._sample import Sample
from sigmoe.moe import Architecture
from sigmoe.moe._gates import get_gate
from sigmoe.moe._monomials import count_monomials
from sigmoe.moe._scores import SCORES

#: Names that stand for a number of experts that the table decides.
AUTOMATIC = ("auto", "merge")
#: Name that stands for a ridge penalty that the table decides.
WEIGHED = "auto"


@dataclass(frozen=True)
class NumberOrName:
    """A number, or the name of a way to choose it."""

    number: Interval
    names: tuple[str, ...]

    @property
    def rule(self) -> str:
        """Return the rule in words."""
        *first, last = [self.number.rule, *map(repr, self.names)]
        return ", ".join(first) + f" or {last}"

    def accepts(self, value: object) -> bool:
        """Return whether the value is either."""
        return self.number.accepts(value) or Choice(self.names).accepts(value)

    def bad_values(self) -> Iterator[object]:
        """Yield values that are neither."""
        yield from self.number.bad_values()
        yield from ("no-such-name", "")


#: Constraints of the parameters, with the remedy that goes into the message.
CONSTRAINTS: dict[str, tuple[Constraint, str]] = {
    "n_experts": (
        NumberOrName(Interval("integer", 1), AUTOMATIC),
        "Use 'auto' to let BIC choose.",
    ),
    "max_experts": (Interval("integer", 1), "Allow at least one expert."),
    "criterion": (Choice(("bic", "aic")), "Choose one of the two."),
    "ridge": (
        NumberOrName(Interval("number", 0.0), (WEIGHED,)),
        "Use 0 for plain least squares.",
    ),
    "fit_intercept": (Flag(), "Use False for responses that a gated sum describes on its own."),
    "n_starts": (Interval("integer", 1), "Ask for at least one start."),
    "max_iterations": (Interval("integer", 1), "Allow at least one iteration."),
    "tolerance": (Interval("number", 0.0), "Use 0 to iterate until the gradient vanishes."),
    "warm_start": (Flag(), "Use True to go on fitting."),
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
    # What chooses a number leaves out those that are too large, but for one expert.
    least = 1 if n_experts in AUTOMATIC else n_experts
    if not fits_into_memory(architecture, least):
        raise _too_large(architecture, least)
    return architecture


def fits_into_memory(architecture: Architecture, n_experts: int) -> bool:
    """Return whether the normal equations of so many experts take no more than 2 GiB."""
    return _bytes(architecture, n_experts) <= _MOST_BYTES


def _bytes(architecture: Architecture, n_experts: int) -> int:
    """Return the memory of J'J, the moments it is gathered from and one chunk of monomials."""
    degree = 2 * SCORES.get(architecture.score).degree
    each = _ROWS_AT_A_TIME + n_experts * (n_experts + 1) // 2
    monomials = count_monomials(architecture.dim, degree)
    parameters: int = architecture.n_parameters(n_experts)
    return 8 * (parameters**2 + each * monomials)


def _too_large(architecture: Architecture, n_experts: int) -> Exception:
    parameters = architecture.n_parameters(n_experts)
    noun = "expert" if n_experts == 1 else "experts"
    found = f"{parameters} parameters: {n_experts} {noun} of {architecture.dim} features"
    linear = Architecture(
        architecture.gate, "linear", architecture.expert, architecture.dim, architecture.n_outputs
    )
    fewer = "fewer experts or fewer features"
    if fits_into_memory(linear, n_experts):
        fewer = f"score='linear' ({linear.n_parameters(n_experts)} parameters), {fewer}"
    return invalid(
        f"score={architecture.score!r}",
        "a model whose normal equations fit into 2 GiB",
        found,
        f"Use {fewer}.",
    )


def holds_intercept(architecture: Architecture) -> bool:
    """Return whether the constants of the experts take up the intercept, as weights of sum 1 do."""
    return get_gate(architecture.gate).invariant and architecture.expert == "linear"


def fits_intercept(parameters: dict[str, Any], architecture: Architecture) -> bool:
    """Return whether an intercept is fitted beside the mixture."""
    return bool(parameters["fit_intercept"]) and not holds_intercept(architecture)


def box_of(bounds: Bounds | str | None, sample: Sample) -> Bounds:
    """Return the box of the standardised parameters.

    The default is that of inputs and responses of size 1; unlike ``resolve_bounds`` it does not
    look at the sample, so that the batches of a stream share it.
    """
    if isinstance(bounds, str) and bounds == "default":
        return Bounds()
    return resolve_bounds(bounds, sample)
