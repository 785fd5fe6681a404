"""Activations by name, for values and for feed-forward layers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from sigmoe._base.registry import Registry

#: What ``value_activation`` and ``activation`` may name.
ACTIVATIONS: Registry[Callable[[Tensor], Tensor]] = Registry("activation")
ACTIVATIONS.register("relu", torch.relu)
ACTIVATIONS.register("gelu", functional.gelu)
ACTIVATIONS.register("silu", functional.silu)
ACTIVATIONS.register("tanh", torch.tanh)
