"""Rows that do not fit in memory: sources that give them block by block, as often as asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
import torch
from torch import Tensor

from sigmoe._base.arrays import ArrayLike, as_float64
from sigmoe._base.constraints import Interval, check
from sigmoe._base.errors import invalid
from sigmoe.estimation._sample import Sample
from sigmoe.moe import Architecture

#: Rows of a block unless the user says otherwise: the length of a row group that polars writes.
BLOCK_ROWS = 262_144


@dataclass(frozen=True)
class Block:
    """Neighbouring rows as they were read, not checked yet.

    Attributes
    ----------
    X : array_like of shape (n, d)
    y : array_like of shape (n,) or (n, m)
    weight : array_like of shape (n,), or None
    place : str
        Where the rows come from, for messages: a file, or "chunk 3".
    first : int
        Position there of the block's first row.
    """

    X: ArrayLike
    y: ArrayLike
    weight: ArrayLike | None
    place: str
    first: int = 0


class Blocks(Protocol):
    """A source: each iteration reads all rows again, in the same order."""

    @property
    def n_rows(self) -> int | None:
        """Return the number of rows, or None if only reading would tell."""

    def __iter__(self) -> Iterator[Block]:
        """Begin a fresh pass."""


class ParquetBlocks:
    """The rows of a Parquet file, or of many.

    Parameters
    ----------
    path : str, Path or sequence of them
        Files and folders. The files of a folder, those below it included, are read in the order of
        their names.
    features : sequence of str
        Columns of X, in this order.
    response : str or sequence of str
        Column of y; a sequence for ``Architecture(n_outputs=m)``.
    weight : str, optional
        Column of the rows' weights.
    block_rows : int
        Rows in memory at a time. Row groups that are much longer than this are read slowly, and
        take memory as a whole.

    Raises
    ------
    InputError
        For paths that are no Parquet files, and for columns that are missing or hold no numbers.

    Notes
    -----
    A null counts as NaN, which a fit refuses, naming file and row.

    Examples
    --------
    >>> import polars as pl
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pl.DataFrame({"x": [0.0, 1.0], "y": [1.0, 3.0]}).write_parquet(f"{folder}/a.parquet")
    ...     ParquetBlocks(folder, features=["x"], response="y").n_rows
    2
    """

    def __init__(
        self,
        path: str | Path | Sequence[str | Path],
        features: Sequence[str],
        response: str | Sequence[str],
        weight: str | None = None,
        *,
        block_rows: int = BLOCK_ROWS,
    ) -> None:
        self._step = _checked_rows(block_rows)
        if isinstance(features, str):
            raise invalid("features", "a list of column names", features, "Write ['x1', 'x2'].")
        self._features = list(features)
        self._responses = [response] if isinstance(response, str) else list(response)
        self._scalar = isinstance(response, str)
        self._weight = weight
        self._files = [(file, _parquet_rows(file, self._columns)) for file in _files(path)]

    @property
    def _columns(self) -> list[str]:
        return [*self._features, *self._responses, *([self._weight] if self._weight else [])]

    @property
    def n_rows(self) -> int:
        """Return the number of rows of all files."""
        return sum(rows for _, rows in self._files)

    def __iter__(self) -> Iterator[Block]:
        """Yield blocks, file by file."""
        for file, rows in self._files:
            for first in range(0, rows, self._step):
                yield self._read(file, first)

    def _read(self, file: Path, first: int) -> Block:
        # A column may well serve twice.
        columns = [pl.col(name).cast(pl.Float64) for name in dict.fromkeys(self._columns)]
        frame = pl.scan_parquet(file).slice(first, self._step).select(columns).collect()
        y = frame.get_column(self._responses[0]) if self._scalar else frame.select(self._responses)
        weight = None if self._weight is None else frame.get_column(self._weight).to_numpy()
        X = frame.select(self._features).to_numpy()
        return Block(X, y.to_numpy(), weight, str(file), first)


class ArrayBlocks:
    """The rows of arrays, in particular of memory-mapped ones.

    Parameters
    ----------
    X : str, Path or array_like of shape (n, d)
        The path of a .npy file, or an array such as ``numpy.memmap``. From a file only the block
        at hand is mapped; pages that an open ``numpy.memmap`` has touched count as memory of the
        process, though the system takes them back when it needs to.
    y : str, Path or array_like of shape (n,) or (n, m)
    weight : str, Path or array_like of shape (n,), optional
    block_rows : int
        Rows in memory at a time.

    Raises
    ------
    InputError
        For files that are not .npy files, and arrays of different lengths.

    Examples
    --------
    >>> import numpy as np
    >>> ArrayBlocks(np.zeros((10, 2)), np.zeros(10), block_rows=4).n_rows
    10
    """

    def __init__(
        self,
        X: str | Path | ArrayLike,
        y: str | Path | ArrayLike,
        weight: str | Path | ArrayLike | None = None,
        *,
        block_rows: int = BLOCK_ROWS,
    ) -> None:
        self._step = _checked_rows(block_rows)
        named = {"X": X, "y": y} | ({} if weight is None else {"weight": weight})
        self._arrays = named
        lengths = {name: _length(name, array) for name, array in named.items()}
        for name, length in lengths.items():
            if length != lengths["X"]:
                rule = f"an array of {lengths['X']} rows, as X"
                raise invalid(name, rule, length, "Give one row for each row of X.")
        self._n = lengths["X"]
        self._place = str(X) if isinstance(X, (str, Path)) else "the arrays"

    @property
    def n_rows(self) -> int:
        """Return the number of rows."""
        return self._n

    def __iter__(self) -> Iterator[Block]:
        """Yield blocks from the first row to the last."""
        # Arrays without rows give one empty block, which the fit then refuses like any other.
        for first in range(0, max(self._n, 1), self._step):
            rows = slice(first, first + self._step)
            part = {name: _opened(name, array)[rows] for name, array in self._arrays.items()}
            yield Block(part["X"], part["y"], part.get("weight"), self._place, first)


class ChunkBlocks:
    """Chunks (X, y) or (X, y, weight) that the user's own code gives.

    Parameters
    ----------
    chunks : iterable or callable
        Something that can be iterated over again and again, such as a list, or a function without
        arguments that returns a fresh iterator. A pass must give the same rows every time.

    Raises
    ------
    InputError
        For a generator or another iterator, which can be read only once, and for other objects.

    Examples
    --------
    >>> source = ChunkBlocks(lambda: (([[float(k)]], [0.0]) for k in range(3)))
    >>> len(list(source)), len(list(source))
    (3, 3)
    """

    n_rows = None

    def __init__(self, chunks: Any) -> None:
        if isinstance(chunks, Iterator):
            raise invalid(
                "source",
                "readable many times, for a fit takes many passes over the rows",
                chunks,
                "Pass the function that makes this iterator, or a list of its chunks.",
            )
        if isinstance(chunks, (str, Path)):
            remedy = "Name the columns: ParquetBlocks(path, features=, response=)."
            raise invalid("source", "blocks of rows", str(chunks), remedy)
        if not callable(chunks) and not isinstance(chunks, Iterable):
            remedy = "Pass a list of (X, y), or a function that returns an iterator over them."
            raise invalid("source", "an iterable or a callable", chunks, remedy)
        self._chunks = chunks

    def __iter__(self) -> Iterator[Block]:
        """Yield the chunks as blocks."""
        chunks = self._chunks() if callable(self._chunks) else self._chunks
        for position, chunk in enumerate(chunks):
            yield block_of(chunk, f"chunk {position}")


def as_blocks(source: Any) -> Blocks:
    """Return the source that the argument ``source`` of a fit stands for."""
    if isinstance(source, (ParquetBlocks, ArrayBlocks, ChunkBlocks)):
        return source
    return ChunkBlocks(source)


def block_of(chunk: Any, place: str) -> Block:
    """Return a chunk (X, y) or (X, y, weight) as a block."""
    if not isinstance(chunk, (tuple, list)) or len(chunk) not in (2, 3):
        raise invalid(
            place,
            "a tuple (X, y) or (X, y, weight)",
            type(chunk).__name__,
            "For whole arrays use ArrayBlocks(X, y), for Dask futures DaskBlocks(futures).",
        )
    return Block(chunk[0], chunk[1], chunk[2] if len(chunk) == 3 else None, place)


def checked_sample(block: Block, architecture: Architecture) -> Sample | None:
    """Return the rows of positive weight as a sample on the CPU; None if there are none.

    Raises
    ------
    InputError
        For no rows, wrong shapes, NaN, infinity or negative weights, naming place and row.
    """
    X = _numbers(block, "X", block.X, (None, architecture.dim))
    n, m = len(X), architecture.n_outputs
    y = _numbers(block, "y", block.y, (n,) if m is None else (n, m))
    if block.weight is None:
        return Sample(X, y)
    weight = _numbers(block, "weight", block.weight, (n,))
    keep = weight > 0
    if bool(keep.all()):
        return Sample(X, y, weight)
    if bool((weight < 0).any()):
        row = int((weight < 0).nonzero()[0, 0])
        found = f"{float(weight[row]):g} in row {block.first + row}"
        raise invalid(f"weight of {block.place}", ">= 0", found, "Use 0 to leave a row out.")
    return Sample(X, y, weight).rows(keep) if bool(keep.any()) else None


def _numbers(block: Block, name: str, values: ArrayLike, shape: tuple[int | None, ...]) -> Tensor:
    """Return values as a finite tensor of that shape, where None stands for any length >= 1."""
    name = f"{name} of {block.place}"
    tensor = as_float64(values, name).cpu()
    fits = tensor.ndim == len(shape) and all(
        size in (None, found) for size, found in zip(shape, tensor.shape, strict=True)
    )
    if not fits or len(tensor) == 0:
        wanted = str(tuple("n" if size is None else size for size in shape)).replace("'", "")
        raise invalid(
            name,
            f"an array of shape {wanted} with at least one row",
            f"shape {tuple(tensor.shape)}",
            "Put samples in rows and features in columns; leave out what holds no rows.",
        )
    # One sum tells whether to look at every number, which would take several times as long.
    if not isfinite(float(tensor.sum())):
        _require_finite(tensor, name, block.first)
    return tensor


def _require_finite(tensor: Tensor, name: str, first: int) -> None:
    bad = (~torch.isfinite(tensor.reshape(len(tensor), -1))).nonzero()
    # Finite numbers may well have an infinite sum.
    if len(bad) == 0:
        return
    row, column = (int(k) for k in bad[0])
    value = float(tensor.reshape(len(tensor), -1)[row, column])
    raise invalid(
        name,
        "finite",
        f"{value} in row {first + row}, column {column}",
        "Remove or impute rows with NaN, infinity or null.",
    )


def _checked_rows(block_rows: int) -> int:
    return check("block_rows", block_rows, Interval("integer", 1), "Try 100_000.")


def _files(path: str | Path | Sequence[str | Path]) -> list[Path]:
    paths = [path] if isinstance(path, (str, Path)) else list(path)
    found: list[Path] = []
    for place in map(Path, paths):
        found += sorted(place.rglob("*.parquet")) if place.is_dir() else [place]
    if not found:
        rule = "a Parquet file or a folder that holds some"
        raise invalid("path", rule, str(path), "Files of a folder must end in .parquet.")
    return found


def _parquet_rows(file: Path, columns: list[str]) -> int:
    """Return the number of rows of a file, which must hold the columns."""
    try:
        scan = pl.scan_parquet(file)
        schema = scan.collect_schema()
        rows = int(scan.select(pl.len()).collect().item())
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = " ".join(str(error).split())
        raise invalid("path", "a readable Parquet file", str(file), f"({reason})") from None
    for name in columns:
        if name not in schema:
            known = ", ".join(schema.names())
            raise invalid(f"column of {file}", f"one of {known}", name, "Check the spelling.")
        if not (schema[name].is_numeric() or schema[name] == pl.Boolean):
            remedy = "Turn it into numbers first."
            raise invalid(f"column {name!r} of {file}", "of numbers", schema[name], remedy)
    if rows == 0:
        raise invalid("path", "a file with rows", str(file), "Remove the empty file.")
    return rows


def _opened(name: str, array: str | Path | ArrayLike) -> Any:
    """Return an array that gives rows when sliced; a file is mapped afresh."""
    if not isinstance(array, (str, Path)):
        return array
    try:
        return np.load(array, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise invalid(name, "a readable .npy file", str(array), f"({reason})") from None


def _length(name: str, array: str | Path | ArrayLike) -> int:
    opened = _opened(name, array)
    try:
        return len(opened)
    except TypeError:
        kind = type(opened).__name__
        raise invalid(
            name, "an array with rows", kind, "Pass an array or the path of one."
        ) from None
