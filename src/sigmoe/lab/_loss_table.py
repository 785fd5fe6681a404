"""The table of losses: of stored fits and their starts, without fitting anything anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sigmoe.lab._engine import Row
from sigmoe.lab._losses import Measured, measure
from sigmoe.lab._measures import architecture_of, unflatten
from sigmoe.lab._nodes import node_rule
from sigmoe.lab._plan import PlannedCurve
from sigmoe.moe import MixingMeasure

#: Losses by name, of a fit and of the point at which it started.
_Pair = tuple[dict[str, Measured], dict[str, Measured]]


class LossTable:
    """Losses of stored tasks; what two curves share is computed once.

    Parameters
    ----------
    rows : mapping of str to row
        The finished tasks, by hash.
    """

    def __init__(self, rows: Mapping[str, Row]) -> None:
        self._rows = rows
        # By hash and target.
        self._known: dict[tuple[str, str], _Pair] = {}

    def of_curve(self, curve: PlannedCurve) -> list[dict[str, Any]]:
        """Return the table's rows of a curve; tasks that are not finished are left out."""
        self._complete(curve)
        table = []
        for task in curve.tasks:
            row = self._rows.get(task.task_id)
            if row is None:
                continue
            fitted, started = self._known.get((task.task_id, curve.target), ({}, {}))
            for loss in curve.losses:
                one, first = fitted.get(loss), started.get(loss)
                table.append(
                    {
                        **curve.key,
                        "n_true": curve.truth.n_true,
                        "n": task.n,
                        "replication": task.replication,
                        "loss": loss,
                        "main": loss == curve.losses[0],
                        "value": one and one.value,
                        "start_value": first and first.value,
                        "empty_cells": one and one.empty_cells,
                        "member": one.member if one else "",
                        "by_atom": one and one.by_atom,
                        "status": row["status"],
                        "failed": row["failed"],
                        "task_id": task.task_id,
                    }
                )
        return table

    def _complete(self, curve: PlannedCurve) -> None:
        """Compute the losses of the curve that are not known yet."""
        missing = []
        for task in curve.tasks:
            row = self._rows.get(task.task_id)
            known = self._known.get((task.task_id, curve.target), ({}, {}))[0]
            if row is not None and not row["failed"] and not set(curve.losses) <= set(known):
                missing.append(row)
        if not missing:
            return
        fitted, started = self._measure(curve, missing, ""), self._measure(curve, missing, "start_")
        for k, row in enumerate(missing):
            pair = self._known.setdefault((row["task_id"], curve.target), ({}, {}))
            for found, values in zip(pair, (fitted, started), strict=True):
                found.update({loss: entries[k] for loss, entries in values.items()})

    def _measure(
        self, curve: PlannedCurve, rows: list[Row], prefix: str
    ) -> dict[str, list[Measured]]:
        truth = unflatten(rows[0], curve.truth.architecture(), curve.truth.n_true, "truth_")[0]
        architecture, n_fitted = architecture_of(curve.model, curve.truth.dim), curve.model.n_fitted
        measures = [unflatten(row, architecture, n_fitted, prefix)[0] for row in rows]
        approximations = None
        if curve.approximation is not None:
            # A fit that was started near an approximation has failed if there is none.
            stored = self._rows.get(curve.approximation.task_id)
            if stored is None or stored["failed"]:
                return {}
            approximations = unflatten(stored, architecture, n_fitted)
        nodes = curve.tasks[0].nodes
        rule = None if nodes is None else node_rule(truth, nodes)
        return measure(
            curve.target, curve.losses, MixingMeasure.stack(measures), truth, approximations, rule
        )
