"""What the weights of a layer look like, in one line."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sigmoe._base.errors import invalid
from sigmoe.attention.layers._self_attention import SelfAttention

#: A weight above this has a slope w (1 - w) below 0.01: it hardly learns any more.
SATURATED = 0.99


@dataclass(frozen=True)
class Diagnosis:
    """Numbers about the weights of attention; ``str`` gives them in one line.

    Attributes
    ----------
    row_sum, smallest_row_sum, largest_row_sum : float
        Mean, least and greatest sum of the weights of a query. Softmax: 1.
    saturated : float
        Share in [0, 1] of the weights that are above 0.99.
    entropy : float
        Mean entropy of a row divided by its sum, over the greatest possible one, log of the number
        of weights above 0; in [0, 1]. Rows with one such weight do not count.
    first_token : float
        Mean share in [0, 1] of a row that the first token has, in rows after the first.
    even_first_token : float
        The same if all weights above 0 in a row were equal. ``first_token`` far above it is a sink.
    """

    row_sum: float
    smallest_row_sum: float
    largest_row_sum: float
    saturated: float
    entropy: float
    first_token: float
    even_first_token: float

    def __str__(self) -> str:
        return (
            f"row sums {self.row_sum:.3g} ({self.smallest_row_sum:.3g} to "
            f"{self.largest_row_sum:.3g}); saturated {self.saturated:.1%}; entropy "
            f"{self.entropy:.2f} of its maximum; first token {self.first_token:.1%} of a row "
            f"(evenly {self.even_first_token:.1%})"
        )


def diagnose(
    layer_or_weights: SelfAttention | Tensor,
    x: Tensor | None = None,
    attn_mask: Tensor | None = None,
) -> Diagnosis:
    """Return sums, saturation, entropy and sink of attention weights.

    Parameters
    ----------
    layer_or_weights : SelfAttention, or Tensor of shape (..., L, S)
        A layer, or weights such as those of ``attention_weights``; weights of exactly 0 count as
        hidden.
    x, attn_mask
        What the layer takes; ``x`` is what stands after the norm before the layer.

    Returns
    -------
    Diagnosis
        NaN where no row counts. ``print`` shows one line.

    Raises
    ------
    InputError
        For a layer without ``x``, or weights that are no floating tensor with two axes.

    Examples
    --------
    >>> import torch
    >>> print(diagnose(torch.full((1, 2, 4, 4), 0.25)))
    row sums 1 (1 to 1); saturated 0.0%; entropy 1.00 of its maximum; first token 25.0% of a row (evenly 25.0%)
    """  # noqa: E501 - one line is the point
    if isinstance(layer_or_weights, SelfAttention):
        if x is None:
            remedy = "Pass what the layer takes, of shape (batch, length, dim)."
            raise invalid("x", "a tensor for a layer", x, remedy)
        with torch.no_grad():
            return _of_weights(layer_or_weights.weights(x, attn_mask))
    return _of_weights(_checked(layer_or_weights).detach())


def _checked(weights: object) -> Tensor:
    if isinstance(weights, Tensor) and weights.ndim >= 2 and weights.is_floating_point():
        return weights
    found = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
    rule = "a SelfAttention or a floating tensor of shape (..., L, S)"
    raise invalid("layer_or_weights", rule, found, "Pass block.attention of a block.")


def _of_weights(weights: Tensor) -> Diagnosis:
    weights = weights.double()
    counts = (weights > 0).sum(-1)
    sums = weights.sum(-1)
    seen = counts > 0
    shares = weights / sums.where(seen, 1.0)[..., None]
    entropy = torch.special.entr(shares).sum(-1) / counts.clamp(min=2).log()
    later = seen.clone()
    later[..., :1] = False
    return Diagnosis(
        row_sum=_mean(sums[seen]),
        smallest_row_sum=float(sums[seen].min()) if bool(seen.any()) else float("nan"),
        largest_row_sum=float(sums[seen].max()) if bool(seen.any()) else float("nan"),
        saturated=_mean((weights[weights > 0] > SATURATED).double()),
        entropy=_mean(entropy[counts > 1]),
        first_token=_mean(shares[..., 0][later]),
        even_first_token=_mean((weights[..., 0] > 0)[later] / counts[later]),
    )


def _mean(values: Tensor) -> float:
    return float(values.mean())
