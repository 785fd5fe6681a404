"""Matrices of the flattened input that are zero but for one block: E_i, M_ij and P_j, Section 2."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sigmoe._base.errors import invalid


@dataclass(frozen=True)
class OneBlock:
    """A matrix of equal blocks of which one may differ from zero; the others are not stored.

    Parameters
    ----------
    block : Tensor of shape (p, q)
    place : (int, int)
        Row and column of the block among the blocks.
    blocks : (int, int)
        How many blocks stand below and beside each other.

    Notes
    -----
    ``@`` multiplies by tensors and by matrices of the same kind, on either side, at the cost of
    the block alone. A product with a matrix on the right is again of this kind.

    Examples
    --------
    >>> import torch
    >>> E = OneBlock(torch.eye(2), (1, 0), (3, 1))
    >>> E.shape
    (6, 2)
    >>> torch.arange(6.0) @ E
    tensor([2., 3.])
    >>> (E @ torch.ones(2, 2) @ E.T).shape
    (6, 6)
    """

    block: Tensor
    place: tuple[int, int]
    blocks: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """Return the shape of the whole matrix."""
        rows, columns = self.block.shape
        return self.blocks[0] * rows, self.blocks[1] * columns

    @property
    def T(self) -> OneBlock:
        """Return the transpose."""
        return OneBlock(self.block.mT, self.place[::-1], self.blocks[::-1])

    def dense(self) -> Tensor:
        """Return the whole matrix as a tensor."""
        whole = self.block.new_zeros(self.shape)
        whole[_part(self.place[0], len(self.block)), self._columns] = self.block
        return whole

    @property
    def _columns(self) -> slice:
        return _part(self.place[1], self.block.shape[1])

    def __matmul__(self, other: object) -> OneBlock | Tensor:
        if isinstance(other, OneBlock):
            self._check_inner(self.shape[1], other.shape[0])
            if self.block.shape[1] != len(other.block):
                raise _misfit(f"of blocks of {self.block.shape[1]} rows", len(other.block))
            product = self.block @ other.block
            meets = self.place[1] == other.place[0]
            place, blocks = (self.place[0], other.place[1]), (self.blocks[0], other.blocks[1])
            return OneBlock(product if meets else product.new_zeros(product.shape), place, blocks)
        if not isinstance(other, Tensor):
            return NotImplemented
        self._check_inner(self.shape[1], len(other))
        if other.ndim == 1:
            return other @ self.T
        product = self.block @ other[self._columns]
        return OneBlock(product, (self.place[0], 0), (self.blocks[0], 1))

    def __rmatmul__(self, other: object) -> Tensor:
        if not isinstance(other, Tensor):
            return NotImplemented
        self._check_inner(other.shape[-1], self.shape[0])
        product = other[..., _part(self.place[0], len(self.block))] @ self.block
        whole = product.new_zeros(*product.shape[:-1], self.shape[1])
        whole[..., self._columns] = product
        return whole

    @staticmethod
    def _check_inner(left: int, right: int) -> None:
        if left != right:
            raise _misfit(f"of {left} rows", right)


def _part(place: int, size: int) -> slice:
    return slice(place * size, (place + 1) * size)


def _misfit(rule: str, found: int) -> Exception:
    return invalid("right factor", rule, found, "Look at the shapes of both factors.")
