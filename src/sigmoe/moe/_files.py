"""Mixing measures on disk: safetensors, with the architecture as metadata."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sigmoe._base.errors import StoreError
from sigmoe.moe._architecture import Architecture

#: Names the layout, so that a later one can still read this.
_FORMAT = "sigmoe-mixing-measure-1"


def write(path: str | Path, architecture: Architecture, **blocks: Tensor) -> None:
    """Write named tensors and the architecture to a safetensors file."""
    metadata = {"format": _FORMAT, "architecture": json.dumps(asdict(architecture))}
    tensors = {name: block.cpu().contiguous() for name, block in blocks.items()}
    try:
        save_file(tensors, str(path), metadata=metadata)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"path must be writable; got {str(path)!r} ({error}).") from None


def read(path: str | Path) -> tuple[Architecture, dict[str, Tensor]]:
    """Return what ``write`` wrote.

    Raises
    ------
    StoreError
        If the file does not exist or is of another kind.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            blocks = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    except (OSError, SafetensorError) as error:
        raise StoreError(
            f"path must be a file written by MixingMeasure.save; got {str(path)!r} ({error})."
        ) from None
    if metadata.get("format") != _FORMAT:
        raise StoreError(
            f"path must be a file written by MixingMeasure.save; got {str(path)!r} "
            f"with format {metadata.get('format')!r}."
        )
    return Architecture(**json.loads(metadata["architecture"])), blocks
