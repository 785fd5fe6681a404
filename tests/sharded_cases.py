"""Layers under FSDP: the modules, one step of training, and what each process does with them."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.fsdp import (
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor

from sigmoe.attention import SelfAttention, TransformerBlock

RANKS, DIM = 2, 8
#: Every setting of a layer but its heads and its window.
EVERYTHING: dict[str, Any] = {
    "head_dim": 6,
    "bias": "learned",
    "length": 16,
    "rotary": 100.0,
    "alibi": True,
    "qk_norm": True,
    "layer_scale": 0.5,
    "hybrid_norm": True,
    "output_gate": True,
    "value_activation": "gelu",
    "causal": True,
}
#: Three heads do not divide among two processes.
MODULES: dict[str, Callable[[], nn.Module]] = {
    "attention": lambda: SelfAttention(DIM, 3, **EVERYTHING),
    "softmax": lambda: SelfAttention(DIM, 4, key_heads=2, gate="softmax", window=(3, 0)),
    "block": lambda: TransformerBlock(DIM, 3, **EVERYTHING),
}


def module(name: str) -> nn.Module:
    """Return a module in float64, away from where its parts start."""
    torch.manual_seed(3)
    made = MODULES[name]().double()
    with torch.no_grad():
        for part in made.parameters():
            part.add_(0.3 * torch.randn_like(part))
    return made


def tokens() -> Tensor:
    """Return the tokens of all processes."""
    return torch.randn(
        2 * RANKS, 9, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(5)
    )


def sharded(made: nn.Module) -> nn.Module:
    """Shard a module, its large parts first, as one does with a Transformer."""
    if isinstance(made, TransformerBlock):
        fully_shard(made.attention)
        fully_shard(made.feed_forward)
    return fully_shard(made)


def checkpointed(made: nn.Module) -> nn.Module:
    """Shard a module that computes itself anew in the backward pass."""
    return fully_shard(checkpoint_wrapper(made))


def whole(part: Tensor | None) -> Tensor:
    """Return a tensor, gathered from all processes where it is sharded."""
    assert part is not None
    return part.full_tensor() if isinstance(part, DTensor) else part.detach().clone()


def train(made: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Take one step; return the outputs before and after it, gradients, and parameters after it."""
    optimiser = torch.optim.AdamW(made.parameters(), lr=0.1, eps=1e-3)
    before = made(x)
    before.square().mean().backward()
    # The wrapper puts its own name before that of the parameter.
    names = [name.replace("_checkpoint_wrapped_module.", "") for name, _ in made.named_parameters()]
    gradients = [whole(part.grad) for part in made.parameters()]
    optimiser.step()
    after = [whole(part) for part in made.parameters()]
    outputs = torch.stack([before.detach(), made(x).detach()])
    return (
        outputs,
        dict(zip(names, gradients, strict=True)),
        dict(zip(names, after, strict=True)),
    )


def in_bfloat16(own: Tensor) -> list[Tensor]:
    """Return the output of the sharded block in mixed precision and of one wholly in bfloat16."""
    made = module("block").float()
    # The slopes are no parameters, and stay as they are; for three heads bfloat16 holds them.
    expected = deepcopy(made).bfloat16()(own.bfloat16())
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    return [fully_shard(made, mp_policy=policy)(own.float()).detach(), expected.detach()]


def weights(own: Tensor) -> list[Tensor]:
    """Return the weights that a sharded and a whole layer show, by a method other than forward."""
    made = module("attention")
    expected = made.weights(own)
    fully_shard(made)
    register_fsdp_forward_method(made, "weights")
    return [made.weights(own).detach(), expected.detach()]


def from_meta() -> dict[str, Tensor]:
    """Return what a block holds that was made without memory, sharded, and then drawn."""
    with torch.device("meta"):
        made = TransformerBlock(DIM, 3, **EVERYTHING)
    made = sharded(made).to_empty(device="cpu")
    # What memory holds by chance cannot pass for a result.
    for part in (*made.parameters(), *made.buffers()):
        part.detach().fill_(torch.nan)
    torch.manual_seed(7 + dist.get_rank())
    made.reset_parameters()
    held = (*made.named_parameters(), *made.named_buffers())
    return {name: whole(part) for name, part in held}


def work(rank: int, folder: str) -> None:
    """Do all cases in a group of two, and write what was found."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=RANKS)
    own = tokens().chunk(RANKS)[rank]
    found: dict[str, Any] = {name: train(sharded(module(name)), own) for name in MODULES}
    found["checkpointed"] = train(checkpointed(module("block")), own)
    found["bfloat16"] = in_bfloat16(own)
    found["weights"] = weights(own)
    found["meta"] = from_meta()
    torch.save(found, Path(folder) / f"rank{rank}.pt")
    dist.destroy_process_group()
