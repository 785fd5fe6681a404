"""How sequences and lists of facts are read; every function takes stored numbers only."""

from __future__ import annotations

from sigmoe.ledger._claim import Numbers, Reading
from sigmoe.ledger._constructions import order

#: A ratio that falls to below this share of its first value vanishes.
_VANISHED = 0.05
#: Distances below this are rounding of functions of size 1.
ROUNDING = 1e-14


def vanishing_refutes(numbers: Numbers) -> Reading:
    """Read a sequence against a lower bound distance >= constant * loss."""
    ratios, steps = numbers["ratios"], numbers["steps"]
    vanished = ratios[-1] <= _VANISHED * ratios[0]
    text = (
        f"along the sequence distance / loss goes from {ratios[0]:.1e} at t = {steps[0]:g} to "
        f"{ratios[-1]:.1e} at t = {steps[-1]:.2g}, like t^{order(numbers):.2f}"
    )
    return Reading("against" if vanished else "open", text)


def vanishing_supports(numbers: Numbers) -> Reading:
    """Read a sequence for a claim that the ratio distance / loss has infimum zero."""
    reading = vanishing_refutes(numbers)
    return Reading("for" if reading.says == "against" else "open", reading.text)


def equality_refutes(numbers: Numbers) -> Reading:
    """Read exact equalities f_G = f_G* with a loss above zero, against uniqueness or a bound."""
    distance, loss = max(numbers["distances"]), min(numbers["losses"])
    text = (
        f"f_G and f_G* agree to {distance:.0e} while the loss is {loss:.2g} to "
        f"{max(numbers['losses']):.2g}"
    )
    return Reading("against" if distance <= ROUNDING and loss > 1e-6 else "open", text)


def equality_supports(numbers: Numbers) -> Reading:
    """Read exact equalities with a loss above zero for a claim of non-identifiability."""
    reading = equality_refutes(numbers)
    return Reading("for" if reading.says == "against" else "open", reading.text)


def listed(numbers: Numbers) -> str:
    """Return facts {name: true or false} as text."""
    return "; ".join(f"{name}: {'yes' if fact else 'no'}" for name, fact in numbers.items())


def facts_refute(numbers: Numbers) -> Reading:
    """Read facts each of which contradicts the claim."""
    return Reading("against" if all(numbers.values()) else "open", listed(numbers))


def facts_support(numbers: Numbers) -> Reading:
    """Read facts all of which the claim asserts: one that is false refutes it."""
    return Reading("for" if all(numbers.values()) else "against", listed(numbers))
