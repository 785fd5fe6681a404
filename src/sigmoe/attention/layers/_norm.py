"""Root-mean-square norms that follow the dtype of their input."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import rms_norm


class Norm(nn.RMSNorm):
    """``torch.nn.RMSNorm``, whose weight takes the dtype of the input, as autocast wants it."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the input divided by the root of its mean square, times the weight.

        Parameters
        ----------
        x : Tensor of shape (..., width)

        Returns
        -------
        Tensor of shape (..., width)
            Of the dtype of ``x``.
        """
        return rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)
