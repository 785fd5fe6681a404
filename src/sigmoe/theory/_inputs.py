"""What the instruments are given: measures, and nothing else that has their attributes."""

from __future__ import annotations

from torch import Tensor

from sigmoe._base.errors import invalid
from sigmoe.moe import MixingMeasure

#: Sizes of functions whose squares are numbers, too.
_SMALLEST, _LARGEST = 1e-100, 1e100


def require_measure(name: str, value: object) -> None:
    """Raise InputError for anything else."""
    if not isinstance(value, MixingMeasure):
        remedy = "Write MixingMeasure(...), or take draw_truth(architecture, n_experts)."
        raise invalid(name, "a MixingMeasure", value, remedy)


def require_single(name: str, value: object) -> None:
    """Raise InputError for anything but one measure, and for a batch of them."""
    require_measure(name, value)
    assert isinstance(value, MixingMeasure)
    if value.batch_shape:
        shape = f"a batch {value.batch_shape}"
        raise invalid(name, "a single measure", shape, f"Use {name}[k].")


def require_moderate(truth: MixingMeasure, X: Tensor) -> None:
    """Raise InputError for a truth whose function is too large, at inputs (n, d), to be squared."""
    size = float(truth.predict(X).abs().max())
    if not size <= _LARGEST:
        rule, remedy = f"of a function of size at most {_LARGEST:g}", "Divide eta by its size."
        raise invalid("truth", rule, size, remedy)


def require_present(truth: MixingMeasure, X: Tensor) -> None:
    """Raise InputError for an atom whose expert is zero, or too large, at all inputs (n, d)."""
    values = truth.experts(X).reshape(len(X), truth.n_experts, -1)
    for atom, size in enumerate(values.abs().amax(dim=(0, 2)).tolist()):
        if not _SMALLEST <= size <= _LARGEST:
            rule = f"of experts of sizes from {_SMALLEST:g} to {_LARGEST:g}"
            remedy = "Leave atoms out that contribute nothing, and divide eta by its size."
            raise invalid("truth", rule, f"size {size:.3g} at atom {atom}", remedy)
