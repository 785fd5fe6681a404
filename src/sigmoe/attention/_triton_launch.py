"""How a kernel is started: what it is compiled for, and which tile it works with."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import triton
from torch import Tensor

from sigmoe.attention._rules import Rules
from sigmoe.attention._triton import DEGREES
from sigmoe.attention._triton_tiles import Form

#: Whether Triton runs kernels on the CPU, as TRITON_INTERPRET=1 asked for when it was imported.
INTERPRETED: bool = triton.knobs.runtime.interpret

#: The tile of the interpreter, where nothing is gained by a choice.
INTERPRETER_TILE = {"ROWS": 64, "COLUMNS": 64}

#: Tiles (ROWS, COLUMNS, warps, stages) that are tried on a GPU, once for each class of shapes.
#: What does not fit into a device's shared memory falls out.
TILES = ((128, 128, 8, 2), (128, 64, 8, 3), (64, 128, 4, 3), (64, 64, 4, 3), (64, 32, 4, 2))

#: The same for float32, whose products without tensor cores grow into long code.
EXACT_TILES = ((64, 64, 4, 2), (64, 32, 4, 2), (32, 32, 4, 2))

#: What a choice of a tile is kept for: the bit lengths of both lengths, and the kernel's form.
_CLASS = ["queries_class", "keys_class", "group", "FORM"]

#: The smallest side of a factor that the tensor cores take.
_SMALLEST = 16


def form_of(query: Tensor, value: Tensor, rules: Rules) -> Form:
    """Return what the kernels of a call are compiled for."""
    low, high = rules.band
    width, value_width = query.shape[3], value.shape[3]
    return Form(
        width=width,
        value_width=value_width,
        width_block=block_of(width),
        value_block=block_of(value_width),
        has_low=low is not None,
        has_high=high is not None,
        has_mask=rules.visible is not None,
        has_added=rules.added is not None,
        has_slopes=rules.slopes is not None,
        degree=DEGREES[query.dtype],
        upcast=INTERPRETED and query.dtype == torch.bfloat16,
    )


def block_of(width: int) -> int:
    """Return the width of a tile that holds rows of this width."""
    return max(_SMALLEST, 1 << (width - 1).bit_length())


def launch(
    kernel: Any,
    programs: Callable[[dict[str, int]], int],
    device: torch.device,
    **arguments: Any,
) -> None:
    """Run a kernel.

    Parameters
    ----------
    kernel : function decorated by ``triton.jit``
    programs : callable
        Takes a tile, with sides "ROWS" and "COLUMNS", and returns how many programs there are.
    device : torch.device
    **arguments
        Of the kernel, its tile excepted.
    """
    if INTERPRETED:
        kernel[(programs(INTERPRETER_TILE),)](**arguments, **INTERPRETER_TILE)
        return
    with torch.cuda.device(device):
        tuned(kernel, arguments["FORM"].degree == 0)[lambda tile: (programs(tile),)](**arguments)


@cache
def tuned(kernel: Any, exact: bool) -> Any:
    """Return a kernel that tries the tiles on a new class of shapes and keeps the fastest.

    Triton keeps the choice in its own cache folder, so that it is made once for each machine.
    """
    every = EXACT_TILES if exact else TILES
    tiles = [
        triton.Config({"ROWS": rows, "COLUMNS": columns}, num_warps=warps, num_stages=stages)
        for rows, columns, warps, stages in every
    ]
    return triton.autotune(configs=tiles, key=_CLASS, cache_results=True)(kernel)
