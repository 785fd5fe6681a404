"""Which code does the work of a call: the one place where back ends are listed and chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, cast

from torch import Tensor

from sigmoe._base.registry import Registry
from sigmoe.attention import _native, _reference, _tiled, _triton
from sigmoe.attention._native_call import Terms
from sigmoe.attention._rules import Rules

Forward = Callable[[Tensor, Tensor, Tensor, Rules], Tensor]
Gradients = tuple[Tensor, Tensor, Tensor, Tensor | None]


class Backward(Protocol):
    """A backward pass; ``with_added`` says whether the gradient of ``rules.added`` is wanted."""

    def __call__(
        self,
        gradient: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        rules: Rules,
        *,
        with_added: bool = True,
    ) -> Gradients:
        """Return the gradients of query, key, value and, if wanted, ``rules.added``."""


@dataclass(frozen=True)
class Backend:
    """A forward and a backward pass, and the calls that they can take.

    Parameters
    ----------
    forward : callable
        Takes query, key, value and rules; see ``_reference.forward``.
    backward : callable
        Takes the output's gradient, query, key, value, rules and ``with_added``; see
        ``_reference.backward``.
    accepts : callable
        Takes query, key, value and rules, and tells by device, dtype, shape and rules whether this
        back end can do the call.

    Notes
    -----
    A back end never sees an input without elements, nor -inf in ``rules.added``: the operators
    deal with these.
    """

    forward: Forward
    backward: Backward
    accepts: Callable[[Tensor, Tensor, Tensor, Rules], bool]


def _always(*_: object) -> bool:
    return True


def _native_terms(rules: Rules) -> Terms:
    return cast("Terms", {name: getattr(rules, name) for name in Terms.__annotations__})


def _native_accepts(query: Tensor, _key: Tensor, _value: Tensor, rules: Rules) -> bool:
    return rules.gate == "sigmoid" and rules.dropout == 0.0 and _native.available(query)


def _native_forward(query: Tensor, key: Tensor, value: Tensor, rules: Rules) -> Tensor:
    return _native.forward(query, key, value, **_native_terms(rules))


def _native_backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rules: Rules,
    *,
    with_added: bool = True,
) -> Gradients:
    terms = _native_terms(rules)
    return _native.backward(gradient, query, key, value, with_added=with_added, **terms)


#: The back ends, the preferred ones first: a call goes to the first that accepts it.
BACKENDS: Registry[Backend] = Registry("back end")
BACKENDS.register("native", Backend(_native_forward, _native_backward, _native_accepts))
BACKENDS.register("triton", Backend(_triton.forward, _triton.backward, _triton.accepts))
BACKENDS.register("tiled", Backend(_tiled.forward, _tiled.backward, _always))
BACKENDS.register("reference", Backend(_reference.forward, _reference.backward, _always))

_forced: list[str] = []


def choose(query: Tensor, key: Tensor, value: Tensor, rules: Rules) -> Backend:
    """Return the back end of a call."""
    if _forced:
        return BACKENDS.get(_forced[-1])
    backends = (BACKENDS.get(name) for name in BACKENDS.names())
    return next(backend for backend in backends if backend.accepts(query, key, value, rules))


@contextmanager
def forced(name: str) -> Iterator[None]:
    """Send every call inside the block to one back end, for tests and comparisons.

    Raises
    ------
    InputError
        For a name that is not known.
    """
    BACKENDS.get(name)
    _forced.append(name)
    try:
        yield
    finally:
        _forced.pop()
