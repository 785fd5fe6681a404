"""A result folder made of invented numbers, for tests of the figures, the report and its words.

Nothing here was fitted: losses are a power law times lognormal scatter, so that each test knows
the slope, the cause of a difference and the number of failures that the report must show.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sigmoe.lab._schemas import CURVE_KEYS, LOSSES, PREDICTIONS, SLOPES, TASKS
from sigmoe.lab._slopes import STATISTICS, fit_slope

DIM = 2
#: Norms (A, b, c, eta) of a true atom are (0, 0, 2, 2.375), so eight of them have size 35.
ETA = [2.375, 0.0, 0.0]


@dataclass
class Synthetic:
    """Rows of a result folder; `add` appends a curve under all its losses."""

    seed: int = 0
    statistic: str | None = None
    tasks: list[dict[str, Any]] = field(default_factory=list)
    losses: list[dict[str, Any]] = field(default_factory=list)
    predictions: list[dict[str, Any]] = field(default_factory=list)
    slopes: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        panel: str,
        curve: str,
        loss: str,
        law: Callable[[float], float],
        *,
        figure: str | None = None,
        reading: str = "own-data",
        protocol: str = "converged",
        start: str = "near-truth",
        n_true: int = 8,
        n_fitted: int = 8,
        sizes: Sequence[int] = (1000, 3162, 10000),
        replications: int = 5,
        scatter: float = 0.2,
        start_law: Callable[[float], float] = lambda n: 20.0 * (n / 1e3) ** -0.083,
        function_law: Callable[[float], float] = lambda n: 0.6 * (n / 1e3) ** -0.5,
        predicted: Callable[[float], float] | None = None,
        reason: str = "",
        paper: float | None = None,
        predicted_slope: float | None = None,
        failing: Sequence[tuple[int, int]] = (),
        atoms: Callable[[float], Sequence[float]] | None = None,
        zero_gates: Sequence[int] = (),
        empty_cells: int = 0,
        objective: float = 0.0096,
        exact_values: dict[int, Sequence[float]] | None = None,
    ) -> None:
        """Append one curve: its own loss, the experts' and the function's."""
        key = {
            "figure": figure or f"figure{panel[0]}",
            "panel": panel,
            "reading": reading,
            "protocol": protocol,
            "start": start,
            "n_fitted": n_fitted,
            "curve": curve,
        }
        label = "|".join(str(value) for value in key.values())
        rng = np.random.default_rng([self.seed, *label.encode()])
        laws = {loss: law, "expert": lambda n: 0.4 * law(n), "function": function_law}
        sample: dict[str, dict[int, list[float]]] = {name: {} for name in laws}
        first: dict[int, list[float]] = {}
        for n in sizes:
            scatters = np.exp(scatter * rng.standard_normal(replications))
            for k, factor in enumerate(scatters / scatters.mean()):
                failed = (n, k) in failing
                task_id = f"{label}|{n}|{k}"
                self.tasks.append(
                    self._task(key, task_id, n, k, failed, n_true, zero_gates, objective)
                )
                for name, rule in laws.items():
                    value = float(rule(n) * factor)
                    if exact_values and name == loss:
                        value = float(exact_values[n][k])
                    begin = None if name == "function" else float(start_law(n))
                    share = list(np.asarray(atoms(n)) * factor) if atoms and name == loss else None
                    self.losses.append(
                        key
                        | {
                            "n_true": n_true,
                            "n": n,
                            "replication": k,
                            "loss": name,
                            "main": name == loss,
                            "value": None if failed else value,
                            "start_value": None if failed else begin,
                            "empty_cells": None if failed else empty_cells,
                            "member": "",
                            "by_atom": None if failed else share,
                            "status": "failed" if failed else "gradient",
                            "failed": failed,
                            "task_id": task_id,
                        }
                    )
                    if not failed:
                        sample[name].setdefault(n, []).append(value)
                        if name == loss:
                            first.setdefault(n, []).append(float(start_law(n)))
            for name in laws:
                known = predicted if name == loss else None
                self.predictions.append(
                    key
                    | {
                        "loss": name,
                        "n": n,
                        "value": known(n) if known else None,
                        "standard_error": 0.0 if known else None,
                        "regular": known is not None,
                        "rank": None,
                        "n_parameters": None,
                        "reason": "" if known else reason or "no prediction for this loss",
                    }
                )
        failures = sum(1 for n, k in failing if n in sizes and k < replications)
        total = len(sizes) * replications
        tabled = [(loss, sample[loss], paper), (f"start {loss}", first, None)]
        tabled += [(name, sample[name], None) for name in ("expert", "function") if name != loss]
        for name, values, printed in tabled:
            for statistic in STATISTICS:
                fit = fit_slope(list(values), list(values.values()), statistic)
                self.slopes.append(
                    key
                    | {
                        "n_min": min(sizes),
                        "n_max": max(sizes),
                        "loss": name,
                        "statistic": statistic,
                        "slope": fit.value,
                        "ci_low": fit.low,
                        "ci_high": fit.high,
                        "paper_slope": printed,
                        "predicted_slope": predicted_slope if name == loss else None,
                        "fits": total - failures,
                        "failed": failures,
                    }
                )

    def _task(
        self,
        key: dict[str, Any],
        task_id: str,
        n: int,
        replication: int,
        failed: bool,
        n_true: int,
        zero_gates: Sequence[int],
        objective: float,
    ) -> dict[str, Any]:
        gates = np.full(n_true, 2.0)
        gates[list(zero_gates)] = 0.0
        softmax = key["curve"].startswith("softmax")
        gate = "softmax" if softmax else "sigmoid"
        return dict.fromkeys(TASKS) | {
            "task_id": task_id,
            "kind": "fit",
            "protocol": key["protocol"],
            "start": key["start"],
            "truth_gate": "softmax" if key["reading"] == "softmax-data" else gate,
            "truth_score": "full",
            "truth_expert": "relu",
            "regime": "sparse" if zero_gates else "dense",
            "dim": DIM,
            "n_true": n_true,
            "gate": gate,
            "score": "full",
            "expert": "relu",
            "n_fitted": key["n_fitted"],
            "n": n,
            "replication": replication,
            "noise_variance": 0.01,
            "seed": 0,
            "status": "failed" if failed else "gradient",
            "converged": not failed,
            "failed": failed,
            "error": "invented failure" if failed else "",
            "objective": None if failed else objective,
            "seconds": 0.5,
            "truth_A": [0.0] * (n_true * DIM * DIM),
            "truth_b": [0.0] * (n_true * DIM),
            "truth_c": gates.tolist(),
            "truth_eta": ETA * n_true,
            "sigmoe_version": "0.0.0",
            "torch_version": "2.13.0",
            "numpy_version": "2.4.0",
            "finished_at": "2026-01-01T00:00:00+00:00",
        }

    def write(self, folder: Path) -> Path:
        """Write the folder as the lab does; one file holds all tasks."""
        (folder / "tasks").mkdir(parents=True, exist_ok=True)
        pl.DataFrame(self.tasks, schema=TASKS).write_parquet(folder / "tasks" / "all.parquet")
        pl.DataFrame(self.losses, schema=LOSSES).sort([*CURVE_KEYS, "loss", "n"]).write_parquet(
            folder / "losses.parquet"
        )
        pl.DataFrame(self.predictions, schema=PREDICTIONS).write_parquet(
            folder / "predictions.parquet"
        )
        pl.DataFrame(self.slopes, schema=SLOPES).write_csv(folder / "slopes.csv")
        for figure in dict.fromkeys(row["figure"] for row in self.losses):
            (folder / f"study-{figure}.json").write_text(json.dumps(self._study(figure)))
        return folder

    def _study(self, figure: str) -> dict[str, Any]:
        panels = dict.fromkeys(row["panel"] for row in self.losses if row["figure"] == figure)
        return {
            "name": figure,
            "preset": "quick",
            "hash": "0123456789abcdef" * 2,
            "study": {
                "title": f"Invented {figure}",
                "seed": 20250101,
                "panels": [{"name": name, "title": f"Invented panel {name}"} for name in panels],
                "presets": {"quick": {"statistic": self.statistic} if self.statistic else {}},
            },
            "versions": {"sigmoe": "0.0.0", "torch": "2.13.0"},
            "machine": {"system": "Linux", "cpus": 2},
            "created_at": "2026-01-01T00:00:00+00:00",
        }


def power(level: float, slope: float) -> Callable[[float], float]:
    """Return level (n / 1000)^slope."""
    return lambda n: level * (n / 1e3) ** slope


def paper_like(folder: Path) -> Path:
    """Write the four panels and Table 1 with the traits that real runs are known to have."""
    made = Synthetic()
    longer = (1000, 3162, 10000, 31623)
    # (panel, curve, loss, paper's slope, level)
    lines = [
        ("1a", "sigmoid", "L3", -0.51, 94.0),
        ("1a", "softmax", "softmax", -0.24, 40.0),
        ("1b", "sigmoid", "L3", -0.46, 55.0),
        ("1b", "softmax", "softmax", -0.07, 30.0),
        ("2a", "ReLU", "L1", -0.54, 80.0),
        ("2a", "linear", "L1", -0.07, 60.0),
        ("2b", "ReLU", "L1", -0.53, 94.0),
        ("2b", "linear", "L1", -0.44, 55.0),
    ]
    for panel, curve, loss, paper, level in lines:
        variants = (
            [("softmax-data", 9), ("own-data", 9)]
            if panel[0] == "1"
            else [("own-data", 8), ("own-data", 9)]
        )
        for reading, n_fitted in variants:
            exact = n_fitted == 8
            flat = panel == "2a"
            slope = -0.1 if reading == "softmax-data" and curve == "sigmoid" else -0.85
            regular = power(level / 2.2, -0.5) if exact and not flat else None

            def atoms(n: float, level: float = level) -> list[float]:
                return [level / 8 * (n / 1e3) ** -0.8] * 6 + [level / 6 * (n / 1e3) ** 0.1] * 2

            common: dict[str, Any] = {"reading": reading, "n_fitted": n_fitted, "paper": paper}
            law = (lambda n, a=atoms: sum(a(n))) if flat else power(level, slope)
            made.add(
                panel,
                curve,
                loss,
                law,
                sizes=longer if exact else longer[:3],
                predicted=regular,
                predicted_slope=-0.5 if regular else None,
                reason="" if regular else "rank 412 of 432: not regular",
                atoms=atoms if flat else None,
                zero_gates=(6, 7) if flat else (),
                failing=[(1000, 2)] if panel == "1a" else (),
                scatter=0.35,
                **common,
            )
            made.add(
                panel,
                curve,
                loss,
                power(20.0, -0.3),
                protocol="paper-style",
                replications=3,
                predicted=regular,
                predicted_slope=-0.5 if regular else None,
                objective=0.012,
                zero_gates=(6, 7) if flat else (),
                **common,
            )
            if exact:
                made.add(
                    panel,
                    curve,
                    loss,
                    power(level * 1.1, -0.85),
                    start="random",
                    sizes=(10000,),
                    replications=2,
                    zero_gates=(6, 7) if flat else (),
                    **common,
                )
    for gate in ("sigmoid", "softmax"):
        for expert in ("ReLU", "linear"):
            for regime in ("sparse", "dense"):
                made.add(
                    "table1",
                    f"{gate}, {expert}, {regime}",
                    "expert",
                    power(30.0, -0.45),
                    figure="table1",
                    n_fitted=9,
                    paper=-0.25 if regime == "sparse" and expert == "ReLU" else -0.5,
                )
    return made.write(folder)
