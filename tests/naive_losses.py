"""The Voronoi losses by loops over pairs of atoms: the specification of the fast code."""

import math

import torch

from sigmoe.moe import MixingMeasure


def norm(difference: torch.Tensor) -> float:
    return math.sqrt(sum(float(entry) ** 2 for entry in difference.flatten()))


def naive_cells(fitted, truth, T_A=0.0, T_b=0.0):
    """Return the list of the fitted atoms in each true atom's cell, eqs. (9), (51)."""

    def distance(i, j):
        return (
            norm(fitted.A[i] + T_A - truth.A[j]) ** 2
            + norm(fitted.b[i] + T_b - truth.b[j]) ** 2
            + norm(fitted.eta[i] - truth.eta[j]) ** 2
        )

    N, J = fitted.n_experts, truth.n_experts
    return [
        [i for i in range(N) if all(distance(i, j) <= distance(i, k) for k in range(J))]
        for j in range(J)
    ]


def naive_loss(
    fitted: MixingMeasure, truth: MixingMeasure, kind: str, r=None, over=None, T_A=0.0, T_b=0.0
) -> float:
    """Return a loss of two single measures; softmax at the given common translation."""
    weigh = torch.softmax if kind == "softmax" else lambda c, _: torch.sigmoid(c)
    w, v = weigh(fitted.c, 0).tolist(), weigh(truth.c, 0).tolist()
    total = 0.0
    for j, cell in enumerate(naive_cells(fitted, truth, T_A, T_b)):
        is_over = len(cell) >= 2 if over is None else j in over
        has_gap = kind == "softmax" or (is_over and kind in ("L1", "L2", "L4"))
        if cell and has_gap:
            total += abs(sum(w[i] for i in cell) - v[j])
        for i in cell:
            A = norm(fitted.A[i] + T_A - truth.A[j])
            b = norm(fitted.b[i] + T_b - truth.b[j])
            c = 0.0 if has_gap else abs(float(fitted.c[i] - truth.c[j]))
            eta = fitted.eta[i] - truth.eta[j]
            dim = fitted.architecture.dim
            total += pair_term(kind, r, 2 if is_over else 1, w[i], (A, b, c), eta, dim)
    return total


def pair_term(kind, r, power, weight, norms, eta, dim) -> float:
    """Return the term of one fitted atom in one cell, beside the gap of the weights."""
    A, b, c = norms
    match kind:
        case "L1":
            return A**power + b**power + c + norm(eta) ** power
        case "L2":
            pieces = [eta[..., :dim], *(eta[..., k] for k in range(dim, eta.shape[-1]))]
            return A**r + b**r + c**r + sum(norm(piece) ** r for piece in pieces)
        case "L3":
            return A + b + c + norm(eta)
        case "L4":
            return A**power + c + norm(eta) ** power
        case "L5":
            return A + c + norm(eta)
        case _:
            return weight * (A**power + b**power + norm(eta) ** power)
