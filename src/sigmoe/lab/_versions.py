"""What a result was made with: versions, machine, time."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib import metadata

import torch

from sigmoe import __version__

_LIBRARIES = ("numpy", "scipy", "polars", "dask", "distributed")


def versions() -> dict[str, str]:
    """Return the versions of everything that the numbers may depend on."""
    return {
        "sigmoe": __version__,
        "python": platform.python_version(),
        # The metadata lack the part of the version that tells a CPU build from a CUDA build.
        "torch": torch.__version__,
        **{name: metadata.version(name) for name in _LIBRARIES},
    }


def machine() -> dict[str, str | int]:
    """Return what the run had at its disposal."""
    return {"system": platform.platform(), "processor": platform.machine(), "cpus": cpus()}


def cpus() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0))


def now() -> str:
    """Return the time in ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
