"""Read a result folder into curves; nothing is fitted or drawn at random here."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import polars as pl

from sigmoe._base.errors import invalid
from sigmoe.lab._panels import Panel
from sigmoe.lab._schemas import CURVE_KEYS, LOSSES, PREDICTIONS, SLOPES
from sigmoe.lab._view import PAPER_STATISTIC, Curve, Point, Slope, statistics_of

#: What is read of a task beside its losses.
_TASK_COLUMNS = (
    "task_id",
    "kind",
    "protocol",
    "start",
    "truth_gate",
    "gate",
    "expert",
    "n_fitted",
    "n",
    "replication",
    "status",
    "converged",
    "failed",
    "error",
    "noise_variance",
    "objective",
    "seconds",
    "sigmoe_version",
    "torch_version",
    "numpy_version",
    "finished_at",
    "truth_A",
    "truth_b",
    "truth_c",
    "truth_eta",
)

#: Losses that are sums of norms of (A, b, c, eta), so that the truth has a size in their units.
_NORM_LOSSES = ("L1", "L3", "L4", "L5")

_Row = dict[str, Any]


@dataclass(frozen=True)
class Results:
    """Everything stored in a result folder that the report speaks of.

    Parameters
    ----------
    directory : Path
        The folder.
    studies : tuple of dict
        Contents of study-*.json, by file name.
    panels : tuple of Panel
        By figure and panel.
    slopes : polars.DataFrame
        slopes.csv.
    tasks : polars.DataFrame
        One row a stored task: identifiers, versions and times.
    """

    directory: Path
    studies: tuple[dict[str, Any], ...]
    panels: tuple[Panel, ...]
    slopes: pl.DataFrame
    tasks: pl.DataFrame

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of the figures that have losses."""
        return tuple(dict.fromkeys(panel.figure for panel in self.panels))


def read_results(directory: Path | str) -> Results:
    """Read losses, predictions, slopes, studies and what is needed of the tasks.

    Parameters
    ----------
    directory : Path or str
        A folder written by `sigmoe reproduce` or `sigmoe run`.

    Returns
    -------
    Results

    Raises
    ------
    InputError
        If the folder is missing, holds no losses, or a table lacks a column.
    """
    folder = Path(directory)
    for name in ("losses.parquet", "predictions.parquet", "slopes.csv"):
        if not (folder / name).is_file():
            raise invalid(
                "directory",
                f"a result folder that holds {name}",
                str(folder),
                "Run `sigmoe reproduce all --out DIR` or `sigmoe run STUDY.toml --out DIR` first.",
            )
    losses = _table(folder, "losses.parquet", LOSSES)
    predictions = _table(folder, "predictions.parquet", PREDICTIONS)
    slopes = _table(folder, "slopes.csv", SLOPES)
    if losses.is_empty():
        raise invalid(
            "directory",
            "a result folder with at least one finished task",
            str(folder),
            "Run the study again: it continues where it stopped.",
        )
    tasks = _read_tasks(folder)
    studies = tuple(json.loads(p.read_text()) for p in sorted(folder.glob("study-*.json")))
    return Results(
        directory=folder,
        studies=studies,
        panels=_panels(losses, predictions, slopes, tasks, statistics_of(studies)),
        slopes=slopes,
        tasks=tasks,
    )


def _table(folder: Path, name: str, schema: pl.Schema) -> pl.DataFrame:
    """Return a table that has at least the columns of its schema."""
    path = folder / name
    with _readable(folder, name):
        if path.suffix == ".csv":
            table = pl.read_csv(path, schema_overrides=dict(schema))
        else:
            table = pl.read_parquet(path)
    missing = [column for column in schema if column not in table.columns]
    if missing:
        raise invalid(
            "directory",
            f"a result folder whose {name} has the column {missing[0]}",
            str(folder),
            f"Delete {name} and run `sigmoe report DIR`: it is made anew from the stored tasks.",
        )
    return table


@contextlib.contextmanager
def _readable(folder: Path, name: str) -> Iterator[None]:
    """Turn an error of the reader into one that names the file and the remedy."""
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = " ".join(str(error).split())[:60]
        raise invalid(
            "directory",
            f"a result folder whose {name} can be read ({reason})",
            str(folder),
            "Delete the damaged file and run the study again: it continues where it stopped.",
        ) from None


def _read_tasks(folder: Path) -> pl.DataFrame:
    files = sorted((folder / "tasks").glob("*.parquet"))
    if not files:
        raise invalid(
            "directory",
            "a result folder with tasks/*.parquet",
            str(folder),
            "Copy the whole folder: the report is written from the stored tasks.",
        )
    with _readable(folder, "tasks/*.parquet"):
        return pl.scan_parquet(files).select(_TASK_COLUMNS).collect()


def _panels(
    losses: pl.DataFrame,
    predictions: pl.DataFrame,
    slopes: pl.DataFrame,
    tasks: pl.DataFrame,
    statistics: dict[str, str],
) -> tuple[Panel, ...]:
    facts = {row["task_id"]: row for row in tasks.iter_rows(named=True)}
    expected = _index(predictions)
    fitted = _index(slopes)
    found: dict[tuple[str, str], list[Curve]] = {}
    keys = [*CURVE_KEYS, "loss"]
    for key, rows in _groups(losses, keys).items():
        curve = replace(
            _curve(rows, facts, expected.get(key, []), fitted.get(key, [])),
            statistic=statistics.get(rows[0]["figure"], PAPER_STATISTIC),
        )
        found.setdefault((curve.figure, curve.panel), []).append(curve)
    return tuple(Panel(*name, curves=tuple(found[name])) for name in sorted(found))


def _groups(table: pl.DataFrame, keys: list[str]) -> dict[tuple[Any, ...], list[_Row]]:
    groups: dict[tuple[Any, ...], list[_Row]] = {}
    for row in table.iter_rows(named=True):
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups


def _index(table: pl.DataFrame) -> dict[tuple[Any, ...], list[_Row]]:
    return _groups(table, [*CURVE_KEYS, "loss"])


def _curve(
    rows: list[_Row], facts: dict[str, _Row], expected: list[_Row], fitted: list[_Row]
) -> Curve:
    first = rows[0]
    sizes = sorted({row["n"] for row in rows})
    predicted = {row["n"]: row["value"] for row in expected}
    task = facts.get(first["task_id"], {})
    return Curve(
        **{name: first[name] for name in (*CURVE_KEYS, "loss", "main", "n_true")},
        points=tuple(
            _point(n, [row for row in rows if row["n"] == n], facts, predicted.get(n))
            for n in sizes
        ),
        slopes={row["statistic"]: _slope(row) for row in fitted},
        zero_gates=_zero_gates(task, first["n_true"]),
        noise_variance=task.get("noise_variance", math.nan),
        truth_size=_truth_size(task, first["loss"]),
        regular=expected[0]["regular"] if expected else None,
        reason=next((row["reason"] for row in expected if row["reason"]), ""),
    )


def _point(n: int, rows: list[_Row], facts: dict[str, _Row], predicted: float | None) -> Point:
    rows = sorted(rows, key=lambda row: row["replication"])
    usable = [row for row in rows if not row["failed"] and _finite(row["value"])]
    cells = [row for row in usable if row["by_atom"]]
    tasks = [facts.get(row["task_id"], {}) for row in usable]
    objectives = [task.get("objective") for task in tasks]
    return Point(
        n=n,
        values=tuple(row["value"] for row in usable),
        failed=len(rows) - len(usable),
        start_values=tuple(r["start_value"] for r in usable if _finite(r["start_value"])),
        predicted=predicted if _finite(predicted) else None,
        by_atom=tuple(tuple(row["by_atom"]) for row in cells),
        empty_cells=tuple(row["empty_cells"] or 0 for row in cells),
        members=tuple(row["member"] for row in usable if row["member"]),
        objectives=tuple(value if _finite(value) else math.nan for value in objectives),
        converged=tuple(bool(task.get("converged", False)) for task in tasks),
        samples=tuple(row["replication"] for row in usable),
    )


def _finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _slope(row: _Row) -> Slope:
    def number(name: str) -> float:
        return math.nan if row[name] is None else float(row[name])

    return Slope(
        statistic=row["statistic"],
        slope=number("slope"),
        ci_low=number("ci_low"),
        ci_high=number("ci_high"),
        paper=row["paper_slope"],
        predicted=row["predicted_slope"],
        fits=row["fits"],
        failed=row["failed"],
        n_min=row["n_min"],
        n_max=row["n_max"],
    )


def _zero_gates(task: _Row, n_true: int) -> tuple[int, ...]:
    """Atoms whose true gate is constant; their blocks are stored flat, atom by atom."""
    if not task.get("truth_A"):
        return ()
    blocks = [np.reshape(task[name], (n_true, -1)) for name in ("truth_A", "truth_b", "truth_c")]
    return tuple(np.flatnonzero(~np.hstack(blocks).any(axis=1)).tolist())


def _truth_size(task: _Row, loss: str) -> float:
    """Sum over atoms of the norms of A, b, c and eta, for losses that add up such norms."""
    if loss not in (*_NORM_LOSSES, "expert") or not task.get("truth_eta"):
        return math.nan
    if task["gate"] != task["truth_gate"]:
        return math.nan
    names = ["truth_eta"] if loss == "expert" else ["truth_A", "truth_b", "truth_c", "truth_eta"]
    n_true = len(task["truth_c"])
    norms = [np.linalg.norm(np.reshape(task[name], (n_true, -1)), axis=1) for name in names]
    return float(np.sum(norms))
