"""Memory and time of a fit whose rows stay on the disk.

Writes a sample of the paper's setting (d = 8, 8 experts) into a temporary folder, as Parquet files
or as a pair of .npy files, and fits it block by block from a start near the truth; the folder is
removed afterwards. What counts is the peak of the process's memory beside the size of the data.
One thread.

Before it times anything the script fits a small sample both ways, and says nothing else if the
answers differ.
"""

import argparse
import os
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch

from sigmoe.estimation import (
    ArrayBlocks,
    ParquetBlocks,
    fit_blocks,
    fit_least_squares,
    near_truth_start,
)
from sigmoe.moe import Architecture, MixingMeasure, draw_sample, draw_truth

ARCHITECTURE = Architecture("sigmoid", expert="tanh", dim=8)
N_EXPERTS = 8
NOISE_VARIANCE = 0.01
FEATURES = [f"x{k}" for k in range(ARCHITECTURE.dim)]
#: Rows written at a time, and rows of a Parquet file.
PART = 250_000
SMALL = 20_000


def largest_error(folder: Path) -> float:
    """Return how much a fit of Parquet files and one in memory differ, relatively."""
    architecture = Architecture("sigmoid", expert="tanh", dim=2)
    truth = draw_truth(architecture, 2, seed=0)
    X, y = draw_sample(truth, SMALL, NOISE_VARIANCE, seed=0)
    columns = {"x0": X[:, 0].numpy(), "x1": X[:, 1].numpy(), "y": y.numpy()}
    pl.DataFrame(columns).write_parquet(folder / "small.parquet")
    start = near_truth_start(truth, 2, scale=0.05, seed=0)
    source = ParquetBlocks(folder / "small.parquet", ["x0", "x1"], "y", block_rows=3000)
    found = fit_blocks(source, architecture, 2, start)
    memory = fit_least_squares(X, y, architecture, 2, start)
    predicted = memory.measure.predict(X)
    error = float((found.measure.predict(X) - predicted).abs().max() / predicted.abs().max())
    return max(error, abs(found.objective / memory.objective - 1))


def write_parquet(folder: Path, truth: MixingMeasure, rows: int) -> ParquetBlocks:
    """Write the sample into many files, and return it as a source."""
    for part, first in enumerate(range(0, rows, PART)):
        X, y = draw_sample(truth, min(PART, rows - first), NOISE_VARIANCE, seed=part)
        columns = dict(zip([*FEATURES, "y"], [*X.T.numpy(), y.numpy()], strict=True))
        pl.DataFrame(columns).write_parquet(folder / f"part-{part:04d}.parquet")
    return ParquetBlocks(folder, FEATURES, "y")


def write_npy(folder: Path, truth: MixingMeasure, rows: int) -> ArrayBlocks:
    """Write the sample into two .npy files, and return it as a source."""
    shapes = {"X": (rows, ARCHITECTURE.dim), "y": (rows,)}
    for part, first in enumerate(range(0, rows, PART)):
        X, y = draw_sample(truth, min(PART, rows - first), NOISE_VARIANCE, seed=part)
        for name, values in (("X", X), ("y", y)):
            file, mode = folder / f"{name}.npy", "r+" if part else "w+"
            # Opened afresh for each part: pages of a closed map are no longer ours.
            array = np.lib.format.open_memmap(file, mode, np.float64, shapes[name])
            array[first : first + PART] = values.numpy()
    return ArrayBlocks(folder / "X.npy", folder / "y.npy")


def peak_memory() -> float:
    """Return the largest resident set of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def measure(rows: int, iterations: int, kind: str, folder: Path, in_memory: bool) -> None:
    """Write, fit and report, if asked with the difference from a fit in memory."""
    truth = draw_truth(ARCHITECTURE, N_EXPERTS, seed=1)
    start = near_truth_start(truth, N_EXPERTS, scale=0.005, seed=1)
    began = time.perf_counter()
    source = {"parquet": write_parquet, "npy": write_npy}[kind](folder, truth, rows)
    size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    print(f"{rows} rows, {size:.0f} MB of {kind} written in {time.perf_counter() - began:.0f} s")
    before = peak_memory()
    fit = fit_blocks(source, ARCHITECTURE, N_EXPERTS, start, max_iterations=iterations)
    each = fit.seconds / fit.n_iterations
    print(f"status {fit.status!r}, {fit.n_iterations} iterations, {fit.seconds:.0f} s,", end=" ")
    print(f"{each:.1f} s an iteration; objective / noise {fit.objective / NOISE_VARIANCE:.5f}")
    print(f"peak memory {before:.0f} MB before the fit, {peak_memory():.0f} MB after it;", end=" ")
    print(f"the rows alone are {8 * rows * (ARCHITECTURE.dim + 1) / 1e6:.0f} MB")
    if in_memory:
        X, y = (np.concatenate(parts) for parts in zip(*((b.X, b.y) for b in source), strict=True))
        same = fit_least_squares(X, y, ARCHITECTURE, N_EXPERTS, start, max_iterations=iterations)
        off = float((same.measure.coordinates - fit.measure.coordinates).abs().max())
        print(f"in memory {same.seconds:.0f} s; largest difference of a parameter {off:.0e}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--iterations", type=int, default=200, help="at most so many")
    parser.add_argument("--format", choices=("parquet", "npy"), default="parquet")
    parser.add_argument("--in-memory", action="store_true", help="compare with a fit in memory")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="sigmoe-") as folder:
        small = Path(folder, "small")
        small.mkdir()
        error = largest_error(small)
        if error:
            print(f"the fit differs from the one in memory by {error:.1e}; nothing is timed")
            return 1
        print(
            f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors,", end=" "
        )
        print(f"one thread, torch {torch.__version__}; the same bits as in memory")
        large = Path(folder, "large")
        large.mkdir()
        measure(arguments.rows, arguments.iterations, arguments.format, large, arguments.in_memory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
