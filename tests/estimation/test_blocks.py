"""Sources of blocks: the right rows in the right order, and errors that say where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from sigmoe._base.errors import InputError
from sigmoe.estimation._sample import Sample
from sigmoe.estimation.blocks._sources import (
    ArrayBlocks,
    Block,
    Blocks,
    ChunkBlocks,
    ParquetBlocks,
    as_blocks,
    checked_sample,
)
from sigmoe.moe import Architecture

PLANE = Architecture(dim=2)
FEATURES = ["x0", "x1"]


def frame(first: int, n: int) -> pl.DataFrame:
    row = np.arange(first, first + n)
    return pl.DataFrame({"y": -1.0 * row, "x1": 0.5 * row, "other": ["?"] * n, "x0": row})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files of 10 and 5 rows, the second one in a folder below, with short row groups."""
    frame(0, 10).write_parquet(tmp_path / "a.parquet", row_group_size=4)
    (tmp_path / "b").mkdir()
    frame(10, 5).write_parquet(tmp_path / "b" / "c.parquet")
    (tmp_path / "README").write_text("not data")
    return tmp_path


def rows_of(source: Blocks, architecture: Architecture = PLANE) -> Sample:
    samples = [checked_sample(block, architecture) for block in source]
    weights = [s.weight for s in samples if s.weight is not None]
    return Sample(
        torch.cat([s.X for s in samples]),
        torch.cat([s.y for s in samples]),
        torch.cat(weights) if weights else None,
    )


def refusal(source: Blocks, architecture: Architecture = PLANE) -> str:
    with pytest.raises(InputError) as caught:
        rows_of(source, architecture)
    return str(caught.value)


# Parquet


@pytest.mark.parametrize("block_rows", [1, 3, 4, 10, 100])
def test_files_are_read_in_the_order_of_their_names(folder: Path, block_rows: int) -> None:
    source = ParquetBlocks(folder, FEATURES, "y", block_rows=block_rows)
    assert source.n_rows == 15
    row = torch.arange(15, dtype=torch.float64)
    for _ in range(2):
        sample = rows_of(source)
        assert torch.equal(sample.X, torch.stack([row, 0.5 * row], 1))
        assert torch.equal(sample.y, -row)
    assert max(len(block.X) for block in source) == min(block_rows, 10)


def test_the_columns_come_in_the_order_that_was_asked_for(folder: Path) -> None:
    file = folder / "a.parquet"
    source = ParquetBlocks([file, str(file)], ["x1", "x0"], ["y", "x0"], weight="x1")
    sample = rows_of(source, Architecture(dim=2, n_outputs=2))
    row = torch.arange(1, 10, dtype=torch.float64).repeat(2)
    # Row 0 has weight 0.
    assert torch.equal(sample.X, torch.stack([0.5 * row, row], 1))
    assert torch.equal(sample.y, torch.stack([-row, row], 1))
    assert torch.equal(sample.weight, 0.5 * row)


def test_integers_booleans_and_float32_are_numbers(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pl.DataFrame({"x0": [1, 2], "x1": [True, False], "y": [0.5, 1.5]}).with_columns(
        pl.col("y").cast(pl.Float32)
    ).write_parquet(file)
    sample = rows_of(ParquetBlocks(file, FEATURES, "y"))
    assert sample.X.tolist() == [[1.0, 1.0], [2.0, 0.0]]
    assert sample.y.tolist() == [0.5, 1.5]


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf")])
def test_a_null_or_nan_is_refused_with_its_file_and_row(folder: Path, bad: float | None) -> None:
    file = folder / "b" / "c.parquet"
    values = [0.0, 1.0, 2.0, bad, 4.0]
    frame(10, 5).with_columns(pl.Series("x1", values)).write_parquet(file)
    text = refusal(ParquetBlocks(folder, FEATURES, "y", block_rows=2))
    shown = "nan" if bad is None else bad
    assert text == (
        f"X of {file} must be finite; got '{shown} in row 3, column 1'. "
        "Remove or impute rows with NaN, infinity or null."
    )


def test_files_that_cannot_be_used_are_refused_before_any_fit(folder: Path) -> None:
    file = folder / "a.parquet"
    with pytest.raises(InputError) as caught:
        ParquetBlocks(file, ["x0", "x9"], "y")
    assert str(caught.value) == (
        f"column of {file} must be one of y, x1, other, x0; got 'x9'. Check the spelling."
    )
    with pytest.raises(InputError) as caught:
        ParquetBlocks(file, ["x0", "other"], "y")
    assert str(caught.value) == (
        f"column 'other' of {file} must be of numbers; got String. Turn it into numbers first."
    )
    with pytest.raises(InputError, match=r"^features must be a list of column names; got 'x0'\."):
        ParquetBlocks(file, "x0", "y")
    with pytest.raises(InputError, match="block_rows must be an integer >= 1; got 0"):
        ParquetBlocks(file, FEATURES, "y", block_rows=0)
    (folder / "b" / "c.parquet").unlink()
    with pytest.raises(InputError, match="path must be a Parquet file or a folder that holds some"):
        ParquetBlocks(folder / "b", FEATURES, "y")
    with pytest.raises(InputError, match="path must be a readable Parquet file; got"):
        ParquetBlocks(folder / "README", FEATURES, "y")
    with pytest.raises(InputError, match="path must be a readable Parquet file"):
        ParquetBlocks(folder / "missing.parquet", FEATURES, "y")
    frame(0, 0).write_parquet(file)
    with pytest.raises(InputError, match="path must be a file with rows; got"):
        ParquetBlocks(file, FEATURES, "y")


# Arrays


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["path", "memmap", "array"])
def test_arrays_are_read_in_blocks(tmp_path: Path, kind: str, order: str) -> None:
    X = np.arange(20, dtype=np.float32).reshape(10, 2)
    y, weight = np.arange(10), np.arange(10) % 3
    arrays = []
    for name, array in (("X", X), ("y", y), ("w", weight)):
        path = tmp_path / f"{name}.npy"
        np.save(path, np.asarray(array, order=order))
        mapped = np.load(path, mmap_mode="r")
        arrays.append({"path": path, "memmap": mapped, "array": array}[kind])
    source = ArrayBlocks(*arrays, block_rows=4)
    assert source.n_rows == 10
    assert [block.first for block in source] == [0, 4, 8]
    for _ in range(2):
        sample = rows_of(source)
        keep = weight > 0
        assert np.array_equal(sample.X, X[keep])
        assert np.array_equal(sample.y, y[keep])
        assert np.array_equal(sample.weight, weight[keep])


def test_arrays_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "X.npy"
    text.write_text("no array")
    with pytest.raises(InputError, match=r"^X must be a readable \.npy file; got '.*X\.npy'"):
        ArrayBlocks(text, np.zeros(3))
    with pytest.raises(InputError) as caught:
        ArrayBlocks(np.zeros((3, 2)), np.zeros(4))
    assert str(caught.value) == (
        "y must be an array of 3 rows, as X; got 4. Give one row for each row of X."
    )
    with pytest.raises(InputError, match="weight must be an array with rows; got 'float'"):
        ArrayBlocks(np.zeros((3, 2)), np.zeros(3), 1.0)
    assert "X of the arrays must be an array of shape (n, 2) with at least one row" in refusal(
        ArrayBlocks(np.zeros((0, 2)), np.zeros(0))
    )


def test_a_bad_row_of_an_array_is_named_by_its_position_in_the_array(tmp_path: Path) -> None:
    X, y = np.zeros((10, 2)), np.zeros(10)
    y[7] = -np.inf
    np.save(tmp_path / "X.npy", X)
    found = refusal(ArrayBlocks(tmp_path / "X.npy", y, block_rows=3))
    assert found.startswith(f"y of {tmp_path / 'X.npy'} must be finite; got '-inf in row 7, ")


# Chunks


def test_chunks_come_from_a_list_or_from_a_function() -> None:
    chunks = [([[1.0, 2.0]], [3.0]), (np.ones((2, 2)), torch.zeros(2), [1, 2])]
    for source in (as_blocks(chunks), as_blocks(lambda: iter(chunks))):
        for _ in range(2):
            assert [block.place for block in source] == ["chunk 0", "chunk 1"]
            assert [block.weight for block in source] == [None, [1, 2]]


def test_what_can_be_read_once_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        as_blocks(pair for pair in [(1, 2)])
    assert str(caught.value).startswith(
        "source must be readable many times, for a fit takes many passes over the rows; "
        "got <generator object"
    )
    assert str(caught.value).endswith(
        "Pass the function that makes this iterator, or a list of its chunks."
    )


def test_other_sources_are_refused_with_the_remedy() -> None:
    with pytest.raises(InputError, match=r"Name the columns: ParquetBlocks\(path"):
        as_blocks("data.parquet")
    with pytest.raises(InputError, match="source must be an iterable or a callable; got 3"):
        as_blocks(3)
    for chunk in (np.zeros((3, 2)), ([0.0],)):
        with pytest.raises(InputError, match=r"chunk 0 must be a tuple \(X, y\) or"):
            list(ChunkBlocks([chunk]))


# Checks of a block


def test_wrong_shapes_are_refused_with_their_place() -> None:
    X, y = np.zeros((3, 2)), np.zeros(3)

    def text(*parts: object, architecture: Architecture = PLANE) -> str:
        return refusal(ChunkBlocks([(X, y), parts]), architecture)

    assert text(np.zeros((3, 4)), y) == (
        "X of chunk 1 must be an array of shape (n, 2) with at least one row; got 'shape (3, 4)'. "
        "Put samples in rows and features in columns; leave out what holds no rows."
    )
    assert "X of chunk 1 must be an array of shape (n, 2)" in text(np.zeros(2), y)
    assert "X of chunk 1 must be" in text(np.zeros((0, 2)), np.zeros(0))
    assert "y of chunk 1 must be an array of shape (3,)" in text(X, np.zeros((3, 1)))
    assert "weight of chunk 1 must be an array of shape (3,)" in text(X, y, np.ones(2))
    assert "X of chunk 1 must be an array of numbers" in text([["a", "b"]], [0.0])
    two = Architecture(dim=2, n_outputs=2)
    with pytest.raises(InputError, match=r"y of chunk 0 must be an array of shape \(3, 2\)"):
        rows_of(ChunkBlocks([(X, y)]), two)


def test_weights_are_checked_and_rows_of_weight_zero_left_out() -> None:
    X, y = np.arange(6.0).reshape(3, 2), np.arange(3.0)
    sample = checked_sample(Block(X, y, [0, 2, 0], "here"), PLANE)
    assert sample.X.tolist() == [[2.0, 3.0]]
    assert sample.weight.tolist() == [2.0]
    assert checked_sample(Block(X, y, [0, 0, 0], "here"), PLANE) is None
    with pytest.raises(InputError) as caught:
        checked_sample(Block(X, y, [1, 1, -2], "here", first=40), PLANE)
    assert str(caught.value) == (
        "weight of here must be >= 0; got '-2 in row 42'. Use 0 to leave a row out."
    )


def test_large_numbers_whose_sum_overflows_are_finite() -> None:
    y = [1.7e308, 1.7e308]
    sample = checked_sample(Block(np.zeros((2, 2)), y, None, "here"), PLANE)
    assert sample.y.tolist() == y
