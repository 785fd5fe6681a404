"""How a mixing measure prints: a headline and one line an atom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from sigmoe.moe._measure import MixingMeasure

#: Atoms that are printed before the table is cut.
_MAX_ATOMS = 12


def describe(measure: MixingMeasure) -> str:
    """Return a headline and, for a single measure, a table with the sizes of its atoms' blocks."""
    a = measure.architecture
    outputs = "" if a.n_outputs is None else f", {a.n_outputs} outputs"
    batch = "" if not measure.batch_shape else f", batch {measure.batch_shape}"
    head = (
        f"MixingMeasure: {measure.n_experts} {a.expert} experts, {a.gate} gate, "
        f"{a.score} score, dim {a.dim}{outputs}{batch}"
    )
    if measure.batch_shape:
        return head
    norm = torch.linalg.vector_norm
    columns = {
        "|A|": norm(measure.A, dim=(-2, -1)),
        "|b|": norm(measure.b, dim=-1),
        "c": measure.c,
        "|eta|": norm(measure.eta.flatten(1), dim=-1),
    }
    lines = [head, "  atom" + "".join(f"{name:>10}" for name in columns)]
    lines.extend(
        f"  {i:>4}" + "".join(f"{float(column[i]):>10.4g}" for column in columns.values())
        for i in range(min(measure.n_experts, _MAX_ATOMS))
    )
    if measure.n_experts > _MAX_ATOMS:
        lines.append(f"  ... {measure.n_experts - _MAX_ATOMS} more atoms")
    return "\n".join(lines)
