"""What a result was made with: versions, machine, time."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime

import dask
import numpy as np
import polars as pl
import scipy
import torch

import sigmoe


def versions() -> dict[str, str]:
    """Return the versions of everything that the numbers may depend on."""
    return {
        "sigmoe": sigmoe.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "polars": pl.__version__,
        "dask": dask.__version__,
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
