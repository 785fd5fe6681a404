"""From stored tasks to losses, predictions and slopes; nothing is fitted anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from sigmoe.lab._engine import one_thread
from sigmoe.lab._loss_table import LossTable
from sigmoe.lab._plan import plan_study, tasks_of
from sigmoe.lab._predictions import curve_predictions
from sigmoe.lab._schemas import LOSSES, PREDICTIONS
from sigmoe.lab._slope_table import slope_rows, slopes_csv
from sigmoe.lab._store import Store, parquet_bytes


@dataclass(frozen=True)
class Counts:
    """Tasks of a folder's studies that are stored, and those of them that failed."""

    done: int
    failed: int


def evaluate(store: Store) -> Counts:
    """Write losses.parquet, predictions.parquet and slopes.csv of a folder.

    A folder of an interrupted run is evaluated as far as it goes.

    Parameters
    ----------
    store : Store
        The folder; its studies say which curves there are.

    Returns
    -------
    Counts
    """
    curves = [curve for study in store.studies() for curve in plan_study(study)]
    frame = store.read(tasks_of(curves))
    stored = {row["task_id"]: row for row in frame.to_dicts()}
    table = LossTable(stored)
    losses: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []
    slopes: list[dict[str, Any]] = []
    with one_thread():
        for curve in curves:
            found = table.of_curve(curve)
            predicted = curve_predictions(curve)
            losses += found
            predictions += predicted
            modulus = stored.get(curve.modulus.task_id) if curve.modulus else None
            slopes += slope_rows(curve, found, predicted, modulus)
    tables = {
        "losses.parquet": parquet_bytes(pl.DataFrame(losses, schema=LOSSES)),
        "predictions.parquet": parquet_bytes(pl.DataFrame(predictions, schema=PREDICTIONS)),
        "slopes.csv": slopes_csv(slopes),
    }
    for name, data in tables.items():
        store.write_table(name, data)
    return Counts(len(frame), int(frame["failed"].sum()))
