"""The shape of a model: gate, score, expert, and how many numbers an atom holds."""

from __future__ import annotations

from dataclasses import dataclass

from sigmoe._base.constraints import Interval, check
from sigmoe.moe._experts import get_expert
from sigmoe.moe._gates import GATES
from sigmoe.moe._scores import SCORES


@dataclass(frozen=True)
class Architecture:
    """Gate x score x expert in a given dimension (paper, eqs. (3)-(5), (48)).

    Parameters
    ----------
    gate : {"sigmoid", "softmax"}
        How scores become weights.
    score : {"full", "partial", "linear"}
        x'Ax + b'x + c, x'Ax + c, or b'x + c.
    expert : str
        "linear", "relu", "gelu", "tanh", "polynomial:P", "scaled-relu", "scaled-gelu",
        "scaled-tanh", or a name added by ``register_expert``.
    dim : int
        Input dimension d >= 1.
    n_outputs : int, optional
        None for a scalar response y of shape (n,); m >= 1 for y of shape (n, m), where the
        experts have parameters for each column and the gates are shared.

    Raises
    ------
    InputError
        For an unknown name or a dimension below 1.

    Examples
    --------
    >>> Architecture(gate="sigmoid", score="full", expert="relu", dim=8).n_parameters(8)
    432
    """

    gate: str = "sigmoid"
    score: str = "full"
    expert: str = "relu"
    dim: int = 8
    n_outputs: int | None = None

    def __post_init__(self) -> None:
        GATES.get(self.gate)
        SCORES.get(self.score)
        get_expert(self.expert)
        positive = Interval("integer", 1)
        check("dim", self.dim, positive, "Pass the number of input features.")
        if self.n_outputs is not None:
            check("n_outputs", self.n_outputs, positive, "Pass None for a scalar response.")

    @property
    def n_columns(self) -> int:
        """Return the number of response columns; 1 for a scalar response."""
        return 1 if self.n_outputs is None else self.n_outputs

    @property
    def n_score_coefficients(self) -> int:
        """Return the number of visible numbers in one atom's gate (symmetric A counted once)."""
        return SCORES.get(self.score).n_coefficients(self.dim)

    @property
    def n_expert_parameters(self) -> int:
        """Return the number of parameters of one expert and one response column."""
        return get_expert(self.expert).n_parameters(self.dim)

    @property
    def n_atom_parameters(self) -> int:
        """Return the number of free parameters of one atom."""
        return self.n_score_coefficients + self.n_columns * self.n_expert_parameters

    @property
    def n_invisible(self) -> int:
        """Return the number of directions that no data can see: softmax's common translation."""
        return self.n_score_coefficients if GATES.get(self.gate).invariant else 0

    def n_parameters(self, n_experts: int) -> int:
        """Return the number of free parameters of a mixing measure with that many atoms."""
        check("n_experts", n_experts, Interval("integer", 1), "Ask for at least one expert.")
        return n_experts * self.n_atom_parameters
