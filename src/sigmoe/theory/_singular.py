"""Why an information matrix is singular, in words: which atoms, which blocks, which cause."""

from __future__ import annotations

import torch
from torch import Tensor

from sigmoe.moe import MixingMeasure
from sigmoe.theory._homogeneity import scaling_of

#: Entries of a null space's projector below this are taken as zero: atoms apart.
_APART = 1e-6


def explain_null_space(
    truth: MixingMeasure, X: Tensor, information: Tensor, scale: Tensor, zero: float
) -> tuple[str, ...]:
    """Return one sentence for each group of atoms that share invisible directions.

    Parameters
    ----------
    truth : MixingMeasure
        A single measure.
    X : Tensor of shape (n, d)
        The inputs that the expectation was taken over.
    information : Tensor of shape (p, p)
        E[J'J] in canonical coordinates.
    scale : Tensor of shape (p,)
        Scales the matrix to a unit diagonal, from both sides.
    zero : float
        Eigenvalues of the scaled matrix below this are zero.

    Notes
    -----
    The common translation of softmax gates is left out by holding the gate of one atom: the one
    with which the fewest atoms take part in the directions that remain.
    """
    scaled = scale[:, None] * information * scale
    architecture = truth.architecture
    free = torch.ones(truth.n_experts, architecture.n_atom_parameters, dtype=torch.bool)
    if not architecture.n_invisible:
        found = free, _groups(scaled, free, zero)
    else:
        choices = []
        for held in range(truth.n_experts):
            mask = free.clone()
            mask[held, : architecture.n_score_coefficients] = False
            choices.append((mask, _groups(scaled, mask, zero)))
        found = min(choices, key=lambda choice: sum(len(group) for group in choice[1]))
    return tuple(
        _sentence(scaled, found[0], atoms, zero, architecture.n_score_coefficients)
        + f": {_cause(truth, X, atoms)}."
        for atoms in found[1]
    )


def _groups(scaled: Tensor, free: Tensor, zero: float) -> list[list[int]]:
    """Return the groups of atoms whose free coordinates share null directions."""
    null = _null_space(scaled, free.flatten(), zero)
    energy = (null @ null.T).reshape(*free.shape, *free.shape)
    return _components(energy.abs().amax(dim=(1, 3)) > _APART)


def _null_space(scaled: Tensor, free: Tensor, zero: float) -> Tensor:
    """Return an orthonormal basis (p, k) of the null space within the free coordinates."""
    places = free.nonzero()[:, 0]
    values, vectors = torch.linalg.eigh(scaled[places][:, places])
    basis = scaled.new_zeros((len(scaled), int((values <= zero).sum())))
    basis[places] = vectors[:, values <= zero]
    return basis


def _components(linked: Tensor) -> list[list[int]]:
    """Return the connected groups of atoms that take part in the null space."""
    left = [k for k in range(len(linked)) if bool(linked[k, k])]
    groups = []
    while left:
        group, edge = [], [left[0]]
        while edge:
            atom = edge.pop()
            if atom in left:
                left.remove(atom)
                group.append(atom)
                edge += [k for k in left if bool(linked[atom, k])]
        groups.append(sorted(group))
    return groups


def _sentence(scaled: Tensor, free: Tensor, atoms: list[int], zero: float, g: int) -> str:
    """Return how many directions of which atoms are invisible, and in which blocks they lie."""
    inside = torch.zeros_like(free)
    inside[atoms] = free[atoms]

    def nullity(blocks: Tensor) -> int:
        return _null_space(scaled, (inside & blocks).flatten(), zero).shape[1]

    eta, c = torch.zeros_like(free), torch.zeros_like(free)
    eta[:, g:] = True
    c[:, 0] = True
    within_eta, within_both = nullity(eta), nullity(eta | c)
    total = nullity(torch.ones_like(free))
    counts = [
        (within_eta, "within eta"),
        (within_both - within_eta, "between c and eta"),
        (total - within_both, "that move A or b"),
    ]
    named = ", ".join(str(k) for k in atoms)
    listed = ", ".join(f"{number} {words}" for number, words in counts if number)
    direction = "direction" if total == 1 else "directions"
    plural = "atom" if len(atoms) == 1 else "atoms"
    return f"{total} invisible {direction} of {plural} {named} ({listed})"


def _cause(truth: MixingMeasure, X: Tensor, atoms: list[int]) -> str:
    """Return what is known of the cause; the general sentence if none is recognised."""
    scaling = scaling_of(truth.architecture)
    values = truth.experts(X).reshape(len(X), truth.n_experts, -1)[:, atoms]
    if not bool(values.any()):
        return "the experts vanish on the inputs, so that nothing of these atoms is seen"
    # A rectifier that is on for all inputs is a linear expert.
    linear = scaling.linear or (scaling.positive and bool((values > 0).all()))
    gates = torch.cat([truth.A[atoms].flatten(1), truth.b[atoms]], dim=1)
    softmax = truth.architecture.gate == "softmax"
    alike = len(atoms) > 1 and bool((gates == gates[0]).all())
    constant = not softmax and not bool(gates.any())
    causes = []
    if constant and alike and linear:
        causes.append(
            "the gates are constant and the experts linear, so that only the sum of "
            "sigmoid(c) eta is seen, and each score can move along the other experts"
        )
    elif constant and scaling.scalable:
        causes.append("the gate is constant, so that c trades against the scale of the expert")
    elif softmax and alike and linear:
        causes.append(
            "A and b coincide and the experts are linear, so that only the sums of exp(c) and of "
            "exp(c) eta are seen"
        )
    elif softmax and alike and scaling.scalable:
        causes.append("A and b coincide, so that c trades against the scales of the experts")
    if scaling.scaled and scaling.positive:
        causes.append("lambda trades against the size of (alpha, beta)")
    if not causes:
        causes.append("no structural cause is known; gates or experts may coincide")
    return " and ".join(causes)
