"""Tasks without mathematics, for tests of the engine; workers import this file by name."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sigmoe._base.seeds import generator
from sigmoe.lab._engine import Row, Work
from sigmoe.lab._schemas import TASKS
from sigmoe.lab._study import content_hash


@dataclass(frozen=True)
class Toy:
    """A task that adds random numbers, after doing what `how` says."""

    number: int
    how: str = "works"
    needs: tuple[str, ...] = ()
    folder: str = ""
    seconds: float = 0.0
    hashed: str = field(default="", compare=False)

    @property
    def task_id(self) -> str:
        return content_hash({"number": self.number, "how": self.how, "needs": list(self.needs)})

    @property
    def requires(self) -> tuple[str, ...]:
        return self.needs


def row(task: Toy, **values: Any) -> Row:
    """Return a row of the tasks' table that has the values and nulls elsewhere."""
    return {**dict.fromkeys(TASKS), "task_id": task.task_id, "kind": "toy", **values}


def execute(task: Toy, required: Mapping[str, Row]) -> Row:
    """Do the task."""
    if task.how == "raises":
        raise RuntimeError(f"task {task.number}\nwas told to fail")
    if task.how == "dies once":
        _die_the_first_time(Path(task.folder) / f"died-{task.number}")
    if task.how == "always dies":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(task.seconds)
    value = float(generator(7, number=task.number).normal(size=1000).sum())
    value += sum(entry["objective"] for entry in required.values())
    # A sum over threads depends on their number; a matrix product shows it.
    square = torch.from_numpy(np.random.default_rng(task.number).normal(size=(300, 300)))
    return row(
        task,
        objective=value,
        failed=False,
        status="gradient",
        A=[float((square @ square).sum())],
        n_iterations=torch.get_num_threads(),
        n_members=int("MALLOC_TRIM_THRESHOLD_" in os.environ),
    )


def failure(task: Toy, text: str) -> Row:
    """Return the row of a task that could not be done."""
    return row(task, failed=True, status="failed", error=text)


def cost(task: Toy) -> float:
    """Return a cost that rises with the number."""
    return float(task.number + 1)


def _die_the_first_time(marker: Path) -> None:
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


WORK = Work(execute, failure, cost)
