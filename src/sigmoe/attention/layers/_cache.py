"""Keys and values of the tokens so far, for decoding token by token."""

from __future__ import annotations

import torch
from torch import Tensor

from sigmoe._base.constraints import Interval, check
from sigmoe._base.errors import invalid


class KeyValueCache:
    """Keys and values that a causal ``SelfAttention`` has seen; one cache for each layer.

    The memory doubles when it is full, so that n tokens cost n copies of a row, and not n^2. It
    holds every token, also those that a window no longer shows.

    Attributes
    ----------
    length : int
        How many tokens are stored.

    Examples
    --------
    >>> import torch
    >>> from sigmoe.attention import KeyValueCache, SelfAttention
    >>> layer, cache = SelfAttention(8, 2, causal=True), KeyValueCache()
    >>> x = torch.randn(1, 5, 8)
    >>> with torch.no_grad():
    ...     parts = [layer(token, cache=cache) for token in x.split(1, dim=1)]
    ...     torch.testing.assert_close(torch.cat(parts, dim=1), layer(x))
    >>> cache.length
    5
    """

    def __init__(self) -> None:
        self.length = 0
        self._stored: tuple[Tensor, Tensor] | None = None

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store further keys and values, and return all of them.

        Parameters
        ----------
        key : Tensor of shape (batch, key_heads, length, head_dim)
        value : Tensor of shape (batch, key_heads, length, value_dim)

        Returns
        -------
        key, value : Tensor of shape (batch, key_heads, length so far, ...)
            Views of the memory: the next call may write to it.

        Raises
        ------
        InputError
            With gradients, or for another batch, head count, width, dtype or device than before.
        """
        if torch.is_grad_enabled() and (key.requires_grad or value.requires_grad):
            remedy = "Decode inside torch.no_grad()."
            raise invalid("cache", "None where gradients are wanted", "a cache", remedy)
        stop = self.length + key.shape[2]
        places = (
            _room(None if self._stored is None else old, part, self.length, stop)
            for old, part in zip(self._stored or (key, value), (key, value), strict=True)
        )
        self._stored = (next(places), next(places))
        for place, part in zip(self._stored, (key, value), strict=True):
            place[:, :, self.length : stop] = part
        self.length = stop
        return self._stored[0][:, :, :stop], self._stored[1][:, :, :stop]

    def reorder(self, entries: Tensor) -> None:
        """Keep these batch entries, in this order, as beam search needs it.

        Parameters
        ----------
        entries : Tensor of shape (new batch,), integer
        """
        if self._stored is not None:
            key, value = self._stored
            self._stored = (key[entries], value[entries])

    def truncate(self, length: int) -> None:
        """Forget all tokens but the first ones, as after a guess that was wrong.

        Raises
        ------
        InputError
            If fewer tokens are stored, or for no integer.
        """
        check("length", length, Interval("integer", 0, self.length), "Append the tokens first.")
        self.length = length


def _room(old: Tensor | None, part: Tensor, filled: int, needed: int) -> Tensor:
    """Return memory for ``needed`` rows that holds the rows of ``old``."""
    if old is None:
        return part.new_empty(*part.shape[:2], needed, part.shape[3])
    before = (*old.shape[:2], old.shape[3], old.dtype, old.device)
    now = (*part.shape[:2], part.shape[3], part.dtype, part.device)
    if now != before:
        rule = f"fed with (batch, heads, width, dtype, device) = {before}, as before"
        raise invalid("cache", rule, now, "Start a new KeyValueCache().")
    if old.is_inference() and not torch.is_inference_mode_enabled():
        old = old.clone()
    if needed <= old.shape[2]:
        return old
    larger = old.new_empty(*old.shape[:2], max(needed, 2 * old.shape[2]), old.shape[3])
    larger[:, :, :filled] = old[:, :, :filled]
    return larger
