"""Attention over several processes: the cases, and what each process does with them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from attention_cases import coin, minus_infinity, normal, trainable
from sigmoe.attention import context_parallel_attention

B, H, KEY_HEADS, L, S, WIDTH = 2, 4, 2, 7, 11, 3
#: Keys and queries of each rank, for groups of 2 and of 4; a rank may have none.
KEYS = {2: [6, 5], 4: [4, 0, 5, 2]}
QUERIES = {2: [3, 4], 4: [3, 1, 0, 3]}

OPTIONS: dict[str, dict[str, Any]] = {
    "auto": {},
    "number": {"bias": -1.5, "scale": -0.4},
    "of-heads": {"bias": normal(H, 1, 1)},
    "whole": {"bias": normal(B, H, L, S), "is_causal": True, "causal_offset": 4},
    "causal": {"is_causal": True, "causal_offset": 2},
    "causal-nothing-seen": {"is_causal": True, "causal_offset": -3},
    "window-alibi": {"window": (3, 2), "causal_offset": 1, "alibi_slopes": normal(H)},
    "mask": {"attn_mask": coin(B, 1, L, S), "bias": "length"},
    "mask-of-heads": {"attn_mask": minus_infinity(H, 1, S), "bias": "log-visible"},
    "log-visible": {"bias": "log-visible", "is_causal": True, "causal_offset": 1},
}


@dataclass
class Problem:
    """One whole problem: inputs, the gradient of the output, and options."""

    tensors: list[Tensor]
    upstream: Tensor
    options: dict[str, Any]
    trained: list[str] = field(default_factory=list)


def problem(name: str) -> Problem:
    """Return a case with everything that has a gradient asking for it."""
    generator = torch.Generator().manual_seed(4)
    shapes = ((B, H, L, WIDTH), (B, KEY_HEADS, S, WIDTH), (B, KEY_HEADS, S, WIDTH + 1))
    tensors = [normal(*shape)(generator) for shape in shapes]
    upstream = normal(B, H, L, WIDTH + 1)(generator)
    options = {k: make(generator) if callable(make) else make for k, make in OPTIONS[name].items()}
    trained = [
        key
        for key in ("bias", "attn_mask")
        if isinstance(options.get(key), Tensor) and options[key].is_floating_point()
    ]
    trainable(*tensors, *(options[key] for key in trained))
    return Problem(tensors, upstream, options | {"enable_gqa": True}, trained)


def gradients(whole: Problem) -> list[Tensor]:
    """Return the gradients of query, key, value and what else is trained, cut loose."""
    parts = [*whole.tensors, *(whole.options[key] for key in whole.trained)]
    return [part.grad.clone() for part in parts]


def run_case(name: str, queries: str, group: Any) -> list[Tensor]:
    """Return this rank's output and its gradients."""
    size, rank = dist.get_world_size(group), dist.get_rank(group)
    whole = problem(name)
    query, key, value = whole.tensors
    upstream = whole.upstream
    if queries == "sharded":
        query = query.split(QUERIES[size], dim=2)[rank]
        upstream = upstream.split(QUERIES[size], dim=2)[rank]
    key, value = (part.split(KEYS[size], dim=2)[rank] for part in (key, value))
    output = context_parallel_attention(
        query, key, value, group=group, queries=queries, **whole.options
    )
    output.backward(upstream)
    # Splitting has put zeros where other ranks' rows are.
    return [output.detach().clone(), *gradients(whole)]


def in_bfloat16(group: Any) -> Tensor:
    """Return the output of the plain case in bfloat16."""
    size, rank = dist.get_world_size(group), dist.get_rank(group)
    query, key, value = (part.detach().bfloat16() for part in problem("auto").tensors)
    key, value = (part.split(KEYS[size], dim=2)[rank] for part in (key, value))
    return context_parallel_attention(query, key, value, group=group, enable_gqa=True)


def refusal(group: Any) -> str:
    """Return what is said about replicated queries of different lengths."""
    query, key, value = (part.detach() for part in problem("auto").tensors)
    try:
        own = query[:, :, : 2 + dist.get_rank(group) % 2]
        context_parallel_attention(own, key, value, group=group, enable_gqa=True)
    except ValueError as error:
        return str(error)
    return ""


def work(rank: int, folder: str) -> None:
    """Do all cases in a group of four and in two groups of two, and write what was found."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=4)
    pairs = [dist.new_group([0, 1]), dist.new_group([2, 3])]
    found: dict[str, Any] = {}
    for size, group in ((4, None), (2, pairs[rank // 2])):
        for queries in ("replicated", "sharded"):
            for name in OPTIONS:
                found[f"{size} {queries} {name}"] = run_case(name, queries, group)
        found[f"{size} bfloat16"] = in_bfloat16(group)
    found["refusal"] = refusal(None)
    torch.save(found, Path(folder) / f"rank{rank}.pt")
    dist.destroy_process_group()
