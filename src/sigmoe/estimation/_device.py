"""The device that a user asks for."""

from __future__ import annotations

import torch

from sigmoe._base.errors import invalid


def usable_device(device: torch.device | str) -> torch.device:
    """Return the device, or raise InputError if PyTorch cannot compute there."""
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError, TypeError):
        raise invalid(
            "device", "a device that PyTorch can use here", device, "Use 'cpu', or leave it out."
        ) from None
    return place
