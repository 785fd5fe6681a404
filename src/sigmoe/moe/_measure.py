"""Mixing measures: the parameters of a mixture of experts, validated once and immutable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from sigmoe._base.arrays import ArrayLike, as_float64, as_inputs
from sigmoe._base.errors import invalid
from sigmoe.moe import _files
from sigmoe.moe._architecture import Architecture
from sigmoe.moe._forward import expert_values, forward, split_outputs
from sigmoe.moe._scores import SCORES, pack_score, unpack_score

#: Samples in one block of a prediction, so that temporaries stay small at any n.
_BLOCK = 16_384


class MixingMeasure:
    """A mixing measure G: N atoms (A, b, c, eta), possibly a batch of them.

    f_G(x) = sum_i gate_i(x) E(x, eta_i), paper eqs. (3)-(5), (48), (83).

    Parameters
    ----------
    architecture : Architecture
        Gate, score, expert and dimensions.
    A : array_like of shape (*batch, N, d, d) or None
        Quadratic part of the scores. Only the symmetric part (A + A')/2 is visible; that is what
        is kept. None where the score has no quadratic part.
    b : array_like of shape (*batch, N, d) or None
        Linear part of the scores; None where the score has none.
    c : array_like of shape (*batch, N)
        Constants of the scores.
    eta : array_like of shape (*batch, N, q), or (*batch, N, m, q) with ``n_outputs=m``
        Expert parameters (alpha, beta) or (alpha, beta, lambda).

    Raises
    ------
    InputError
        For shapes that do not fit the architecture, NaN or infinity, or a block that the score
        does not have.

    Notes
    -----
    Tensors are float64. The attributes return copies, so a measure never changes.

    Examples
    --------
    >>> from sigmoe.moe import Architecture, MixingMeasure
    >>> architecture = Architecture(gate="sigmoid", score="linear", expert="linear", dim=1)
    >>> measure = MixingMeasure(architecture, None, [[0.0]], [0.0], [[2.0, 1.0]])
    >>> measure.predict([[3.0]])
    tensor([3.5000], dtype=torch.float64)
    """

    __slots__ = ("_architecture", "_coordinates")
    _architecture: Architecture
    _coordinates: Tensor

    def __init__(
        self,
        architecture: Architecture,
        A: ArrayLike | None,
        b: ArrayLike | None,
        c: ArrayLike,
        eta: ArrayLike,
    ) -> None:
        c_ = _finite("c", as_float64(c, "c"))
        if c_.ndim == 0 or c_.shape[-1] == 0:
            raise invalid(
                "c",
                "an array of shape (*batch, N) with N >= 1",
                f"shape {tuple(c_.shape)}",
                "Give one constant for each atom.",
            )
        d, lead = architecture.dim, tuple(c_.shape)
        score = SCORES.get(architecture.score)
        A_ = _block("A", A, (*lead, d, d), score.has_quadratic, architecture.score, c_)
        b_ = _block("b", b, (*lead, d), score.has_linear, architecture.score, c_)
        q = architecture.n_expert_parameters
        columns = () if architecture.n_outputs is None else (architecture.n_outputs,)
        eta_ = _block("eta", eta, (*lead, *columns, q), True, architecture.score, c_)
        gate = pack_score(architecture.score, (A_ + A_.mT) / 2, b_, c_)
        flat = eta_.reshape(*lead, architecture.n_columns * q)
        self._set(architecture, torch.cat([gate, flat], dim=-1))

    @classmethod
    def from_coordinates(cls, architecture: Architecture, coordinates: Tensor) -> MixingMeasure:
        """Return the measure with these canonical coordinates, see ``coordinates``."""
        tensor = as_float64(coordinates, "coordinates").clone()
        if tensor.ndim < 2 or tensor.shape[-1] != architecture.n_atom_parameters:
            raise invalid(
                "coordinates",
                f"an array of shape (*batch, N, {architecture.n_atom_parameters})",
                f"shape {tuple(tensor.shape)}",
                "Give one row of canonical coordinates for each atom.",
            )
        measure = cls.__new__(cls)
        measure._set(architecture, _finite("coordinates", tensor))
        return measure

    def _set(self, architecture: Architecture, coordinates: Tensor) -> None:
        object.__setattr__(self, "_architecture", architecture)
        object.__setattr__(self, "_coordinates", coordinates)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"MixingMeasure is immutable; make a new one to change {name!r}.")

    def __reduce__(self) -> tuple[object, ...]:
        return MixingMeasure.from_coordinates, (self._architecture, self._coordinates)

    @property
    def architecture(self) -> Architecture:
        """Return gate, score, expert and dimensions."""
        return self._architecture

    @property
    def coordinates(self) -> Tensor:
        """Return the canonical coordinates of shape (*batch, N, g + m q).

        Each atom's row holds the score's coefficients [c | b | A_uu and 2 A_uv for u <= v, row by
        row] as far as the score has them, then eta, column of the response by column.
        """
        return self._coordinates.clone()

    @property
    def n_experts(self) -> int:
        """Return the number of atoms N."""
        return self._coordinates.shape[-2]

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Return the leading batch axes."""
        return tuple(self._coordinates.shape[:-2])

    @property
    def A(self) -> Tensor:
        """Return the symmetric quadratic parts, shape (*batch, N, d, d); zeros if absent."""
        return self._gate_blocks()[0]

    @property
    def b(self) -> Tensor:
        """Return the linear parts, shape (*batch, N, d); zeros if absent."""
        return self._gate_blocks()[1]

    @property
    def c(self) -> Tensor:
        """Return the constants, shape (*batch, N)."""
        return self._gate_blocks()[2]

    @property
    def eta(self) -> Tensor:
        """Return the expert parameters, shape (*batch, N, q) or (*batch, N, m, q)."""
        eta = self._eta().clone()
        return eta.squeeze(-2) if self._architecture.n_outputs is None else eta

    def predict(self, X: ArrayLike) -> Tensor:
        """Return f_G at the rows of X.

        Parameters
        ----------
        X : array_like of shape (n, d)
            Inputs.

        Returns
        -------
        Tensor of shape (*batch, n), or (*batch, n, m) with ``n_outputs=m``
        """
        blocks = [
            forward(self._architecture, self._coordinates, Xt).prediction
            for Xt in self._input_blocks(X)
        ]
        prediction = torch.cat(blocks, dim=-1)
        if self._architecture.n_outputs is None:
            return prediction.squeeze(-2)
        return prediction.mT.contiguous()

    def gates(self, X: ArrayLike) -> Tensor:
        """Return the gates' weights at the rows of X, shape (*batch, n, N)."""
        blocks = [
            forward(self._architecture, self._coordinates, Xt).weights
            for Xt in self._input_blocks(X)
        ]
        return torch.cat(blocks, dim=-1).mT.contiguous()

    def experts(self, X: ArrayLike) -> Tensor:
        """Return the experts at the rows of X, shape (*batch, n, N) or (*batch, n, N, m)."""
        eta = self._eta()
        blocks = [expert_values(self._architecture, eta, Xt)[1] for Xt in self._input_blocks(X)]
        values = torch.cat(blocks, dim=-1).movedim(-1, -3).contiguous()
        return values.squeeze(-1) if self._architecture.n_outputs is None else values

    def permute(self, order: Sequence[int]) -> MixingMeasure:
        """Return the measure with its atoms in another order; ``order`` is a permutation."""
        if sorted(order) != list(range(self.n_experts)):
            raise invalid(
                "order",
                f"a permutation of 0..{self.n_experts - 1}",
                list(order),
                "Name every atom once.",
            )
        return self.from_coordinates(self._architecture, self._coordinates[..., list(order), :])

    def to(self, device: torch.device | str) -> MixingMeasure:
        """Return the measure with its tensors on another device."""
        return self.from_coordinates(self._architecture, self._coordinates.to(device))

    def __getitem__(self, index: int | slice) -> MixingMeasure:
        if not self.batch_shape:
            raise invalid("index", "used on a batch of measures", index, "This is one measure.")
        return self.from_coordinates(self._architecture, self._coordinates[index])

    def __len__(self) -> int:
        if not self.batch_shape:
            raise TypeError("a single MixingMeasure has no length; n_experts counts its atoms")
        return self.batch_shape[0]

    def __iter__(self) -> Iterator[MixingMeasure]:
        return (self[k] for k in range(len(self)))

    @classmethod
    def stack(cls, measures: Sequence[MixingMeasure]) -> MixingMeasure:
        """Return a batch of measures of one architecture and one number of atoms."""
        if not measures:
            raise invalid("measures", "a non-empty sequence", [], "Give at least one measure.")
        kinds = {(m.architecture, tuple(m._coordinates.shape)) for m in measures}
        if len(kinds) > 1:
            raise invalid(
                "measures",
                "of one architecture, batch shape and number of atoms",
                f"{len(kinds)} kinds",
                "Stack measures of one kind.",
            )
        stacked = torch.stack([m._coordinates for m in measures])
        return cls.from_coordinates(measures[0].architecture, stacked)

    def save(self, path: str | Path) -> None:
        """Write the measure to a safetensors file; the architecture is in its metadata."""
        _files.write(path, self._architecture, A=self.A, b=self.b, c=self.c, eta=self.eta)

    @classmethod
    def load(cls, path: str | Path) -> MixingMeasure:
        """Read a measure written by ``save``.

        Raises
        ------
        StoreError
            If the file does not exist or holds no mixing measure.
        """
        architecture, blocks = _files.read(path)
        score = SCORES.get(architecture.score)
        A = blocks["A"] if score.has_quadratic else None
        b = blocks["b"] if score.has_linear else None
        return cls(architecture, A, b, blocks["c"], blocks["eta"])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MixingMeasure):
            return NotImplemented
        return self._architecture == other._architecture and torch.equal(
            self._coordinates, other._coordinates
        )

    def __hash__(self) -> int:
        # Adding 0.0 turns -0.0 into 0.0: equal measures have equal hashes.
        return hash((self._architecture, (self._coordinates + 0.0).cpu().numpy().tobytes()))

    def __repr__(self) -> str:
        from sigmoe.moe._display import describe

        return describe(self)

    def _gate_blocks(self) -> tuple[Tensor, Tensor, Tensor]:
        g = self._architecture.n_score_coefficients
        gate = self._coordinates[..., :g]
        return unpack_score(self._architecture.score, self._architecture.dim, gate)

    def _eta(self) -> Tensor:
        g = self._architecture.n_score_coefficients
        return split_outputs(self._architecture, self._coordinates[..., g:])

    def _input_blocks(self, X: ArrayLike) -> Iterator[Tensor]:
        rows = as_inputs(X, self._architecture.dim).to(self._coordinates.device)
        return (block.mT.contiguous() for block in torch.split(rows, _BLOCK))


def _block(
    name: str,
    value: ArrayLike | None,
    shape: tuple[int, ...],
    present: bool,
    score: str,
    like: Tensor,
) -> Tensor:
    if value is None and not present:
        return like.new_zeros(shape)
    if value is None:
        raise invalid(name, f"an array of shape {shape}", None, "Only absent blocks may be None.")
    tensor = as_float64(value, name).to(like.device)
    if tuple(tensor.shape) != shape:
        raise invalid(
            name,
            f"an array of shape {shape}",
            f"shape {tuple(tensor.shape)}",
            "The leading axes are those of c; the others come from the architecture.",
        )
    if not present and bool((tensor != 0).any()):
        raise invalid(
            name,
            f"None or zero with score {score!r}",
            "non-zero entries",
            "Choose a score that has this block.",
        )
    return _finite(name, tensor)


def _finite(name: str, tensor: Tensor) -> Tensor:
    if not bool(torch.isfinite(tensor).all()):
        raise invalid(name, "finite", "NaN or infinity", "Check where the parameters come from.")
    return tensor
