"""Mixtures of experts behind sigmoid and softmax attention: fit them and measure their sample cost.

The work happens in five sub-packages; each of the first four imports only those before it:

``sigmoe.moe``
    gates, scores, experts, mixing measures, truths and samples;
``sigmoe.estimation``
    least squares by Levenberg-Marquardt on structured normal equations;
``sigmoe.theory``
    Voronoi cells and losses, the Fisher prediction, best approximations;
``sigmoe.lab``
    studies that are declared in a file, run in parallel, stored and reported;
``sigmoe.attention``
    sigmoid and softmax attention, whose two functions are also ``sigmoe.sigmoid_attention`` and
    ``sigmoe.softmax_attention``.

``import sigmoe`` loads none of them, so that it needs neither a GPU nor Dask; a sub-package loads
when it is first used (``import sigmoe; sigmoe.moe.Architecture()`` works).

Notes
-----
The model is that of "Sigmoid Self-Attention has Lower Sample Complexity than Softmax
Self-Attention: A Mixture-of-Experts Perspective" (Yan, Nguyen, Akbarian, Ho and Rinaldo, 2025),
called "the paper" throughout the documentation.

Examples
--------
>>> import sigmoe
>>> sigmoe.__version__
'0.1.0'
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sigmoe._base.errors import InputError, SigmoeError, SigmoeWarning, StoreError

if TYPE_CHECKING:
    from sigmoe.attention import sigmoid_attention, softmax_attention

__version__ = "0.1.0"

__all__ = [
    "InputError",
    "SigmoeError",
    "SigmoeWarning",
    "StoreError",
    "__version__",
    "attention",
    "estimation",
    "lab",
    "moe",
    "sigmoid_attention",
    "softmax_attention",
    "theory",
]

_SUBPACKAGES = ("attention", "estimation", "lab", "moe", "theory")
_FUNCTIONS = ("sigmoid_attention", "softmax_attention")


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        return import_module(f"{__name__}.{name}")
    if name in _FUNCTIONS:
        return getattr(import_module(f"{__name__}.attention"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBPACKAGES, *_FUNCTIONS})
