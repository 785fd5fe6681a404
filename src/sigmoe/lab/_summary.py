"""What a run tells on the terminal: the table of slopes, and the state of a folder."""

from __future__ import annotations

from typing import Any

import polars as pl
from rich.table import Table

from sigmoe.lab._plan import PlannedCurve, plan_study, tasks_of
from sigmoe.lab._schemas import SLOPES
from sigmoe.lab._store import Store
from sigmoe.lab._work import WORK

#: What the start says about a rate when there are more atoms than true ones.
SCOPES = {"near-truth": "local", "random": "global"}


def slope_table(store: Store) -> Table:
    """Return the slopes of the curves' own losses, each study's statistic, panel by panel."""
    slopes = pl.read_csv(store.directory / "slopes.csv", schema=SLOPES)
    studies = store.studies()
    statistics = list(dict.fromkeys(study.statistic for study in studies))
    title = f"slopes of log {' or '.join(statistics)} loss on log n"
    table = Table(title=title, title_justify="left")
    for name in ("panel", "curve", "data", "fit"):
        table.add_column(name)
    for name in ("N", "slope", "95 % interval", "paper", "predicted", "fits", "failed"):
        table.add_column(name, justify="right")
    panel = None
    for study in studies:
        for curve in plan_study(study):
            row = _find(slopes, curve, f"log-{study.statistic}")
            if panel not in (None, curve.panel):
                table.add_section()
            panel = curve.panel
            table.add_row(
                curve.panel,
                curve.curve,
                curve.reading,
                f"{curve.protocol}, {SCOPES[curve.start]}",
                str(curve.model.n_fitted),
                _number(row["slope"]),
                _interval(row["ci_low"], row["ci_high"]),
                _number(row["paper_slope"]),
                _number(row["predicted_slope"]),
                str(row["fits"]),
                f"[bold red]{row['failed']}[/]" if row["failed"] else "0",
            )
    return table


def folder_state(store: Store) -> list[dict[str, Any]]:
    """Return for each study of a folder how far it is.

    Returns
    -------
    list of dict
        With keys study, preset, tasks, done, failed, seconds_left (on one worker; an estimate)
        and statuses, which counts the words in which the fits ended.
    """
    state = []
    for study in store.studies():
        tasks = tasks_of(plan_study(study))
        rows = store.read(tasks)
        left = [task for name, task in tasks.items() if name not in set(rows["task_id"])]
        words = rows.group_by("status").len().sort("status").rows()
        state.append(
            {
                "study": study.name,
                "preset": study.preset,
                "tasks": len(tasks),
                "done": len(rows),
                "failed": int(rows["failed"].sum()),
                "seconds_left": round(sum(WORK.cost(task) for task in left)),
                "statuses": dict(words),
            }
        )
    return state


def state_table(state: list[dict[str, Any]]) -> Table:
    """Return the state of a folder as a table."""
    table = Table()
    table.add_column("study")
    table.add_column("preset")
    for name in ("tasks", "done", "failed", "left"):
        table.add_column(name, justify="right")
    table.add_column("how the fits ended")
    for entry in state:
        words = ", ".join(f"{count} {word}" for word, count in entry["statuses"].items())
        left = entry["tasks"] - entry["done"]
        numbers = (entry["tasks"], entry["done"], entry["failed"], left)
        table.add_row(entry["study"], entry["preset"], *map(str, numbers), words)
    return table


def _find(slopes: pl.DataFrame, curve: PlannedCurve, statistic: str) -> dict[str, Any]:
    wanted = {**curve.key, "loss": curve.losses[0], "statistic": statistic}
    chosen = slopes.filter(pl.all_horizontal(pl.col(k) == v for k, v in wanted.items()))
    return chosen.row(0, named=True)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"[{low:.2f}, {high:.2f}]"
