"""Section 2 and the cost of the losses: an identity and a count."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sigmoe._base.seeds import generator
from sigmoe.ledger._claim import Evidence, Numbers, Reading
from sigmoe.moe import Architecture, MixingMeasure, draw_truth
from sigmoe.theory import voronoi_loss

_TOKENS, _WIDTH, _VALUES = 4, 3, 2
_ATOMS = (32, 64, 128)


def attention_error() -> Numbers:
    """Return how far a row of attention is from the mixture of Section 2, relative to its size."""
    rng = generator(0, role="claims-attention")

    def normal(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal(shape))

    tokens, B, W = normal(_TOKENS, _WIDTH), normal(_WIDTH, _WIDTH), normal(_WIDTH, _VALUES)
    scores = tokens @ B @ tokens.T
    weights = {"sigmoid": torch.sigmoid(scores), "softmax": torch.softmax(scores, dim=1)}
    errors = {}
    for gate, weight in weights.items():
        attention = weight @ tokens @ W
        mixtures = [_mixture(gate, row, B, W) for row in range(_TOKENS)]
        rows = torch.stack([mixture.predict(tokens.reshape(1, -1))[0] for mixture in mixtures])
        errors[gate] = float((rows - attention).abs().max() / attention.abs().max())
    return errors


def _mixture(gate: str, row: int, B: torch.Tensor, W: torch.Tensor) -> MixingMeasure:
    """Return a row as a mixture over the concatenated tokens: M_ij = E_i B E_j', P_j = E_j W."""
    long = _TOKENS * _WIDTH
    shape = Architecture(gate=gate, expert="linear", dim=long, n_outputs=_VALUES)
    A = torch.zeros(_TOKENS, long, long, dtype=torch.float64)
    eta = torch.zeros(_TOKENS, _VALUES, long + 1, dtype=torch.float64)
    for j in range(_TOKENS):
        mine = slice(row * _WIDTH, (row + 1) * _WIDTH)
        theirs = slice(j * _WIDTH, (j + 1) * _WIDTH)
        A[j, mine, theirs] = B
        eta[j, :, theirs] = W.T
    zero = torch.zeros(_TOKENS, long, dtype=torch.float64)
    return MixingMeasure(shape, A, zero, zero[:, 0], eta)


def _identity(numbers: Numbers) -> Reading:
    text = ", ".join(f"{gate}: {error:.0e}" for gate, error in numbers.items())
    good = max(numbers.values()) < 1e-14
    return Reading("for" if good else "against", f"largest relative difference, {text}")


class _Written(TorchDispatchMode):
    """Counts the numbers that tensor operations write."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.count += result.numel()
        return result


def written() -> Numbers:
    """Return how many numbers L1 and L4 write for N and N* atoms."""
    counts = {}
    for loss, score in (("L1", "full"), ("L4", "partial")):
        shape = Architecture(score=score, dim=2)
        for fitted in _ATOMS:
            for true in _ATOMS:
                # The base class's constructor carries no types.
                with _Written() as mode:  # type: ignore[no-untyped-call]  # torch's
                    voronoi_loss(draw_truth(shape, fitted, seed=1), draw_truth(shape, true), loss)
                counts[f"{loss} {fitted} {true}"] = mode.count
    return counts


def _bilinear(numbers: Numbers) -> Reading:
    ratios = [
        numbers[f"{loss} {_ATOMS[-1]} {_ATOMS[-1]}"] / numbers[f"{loss} {_ATOMS[0]} {_ATOMS[0]}"]
        for loss in ("L1", "L4")
    ]
    factor = (_ATOMS[-1] / _ATOMS[0]) ** 2
    text = (
        f"from {_ATOMS[0]} to {_ATOMS[-1]} atoms on both sides the numbers written grow by "
        f"{ratios[0]:.1f} (L1) and {ratios[1]:.1f} (L4); N N* grows by {factor:g}"
    )
    return Reading("for" if max(ratios) <= 1.1 * factor else "against", text)


EVIDENCE = {
    "section-2": (Evidence("a random layer", "construction", attention_error, _identity),),
    "complexity": (Evidence("numbers written", "count", written, _bilinear),),
}
