"""From studies to a finished results folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from sigmoe.lab._engine import Pool, SerialPool, run_tasks
from sigmoe.lab._evaluate import evaluate
from sigmoe.lab._measures import architecture_of
from sigmoe.lab._plan import PlannedCurve, plan_study, tasks_of
from sigmoe.lab._progress import RunProgress
from sigmoe.lab._store import Store
from sigmoe.lab._study import ResolvedStudy
from sigmoe.lab._work import WORK


@dataclass(frozen=True)
class Summary:
    """What a run came to.

    Attributes
    ----------
    report : Path
        The report.
    done, failed : int
        Tasks of these studies that are stored, and those of them that failed.
    """

    report: Path
    done: int
    failed: int


def run_studies(
    studies: tuple[ResolvedStudy, ...],
    directory: Path,
    *,
    workers: int,
    scheduler: str | None = None,
    fresh: bool = False,
    console: Console | None = None,
) -> Summary:
    """Run studies, store every task, judge the results and write the report.

    Parameters
    ----------
    studies : tuple of ResolvedStudy
        Tasks that several of them need are done once.
    directory : Path
        The results folder; a run that was interrupted continues there.
    workers : int
        Worker processes on this machine; 1 does the work in this process.
    scheduler : str, optional
        Address of a Dask scheduler, whose workers are used instead.
    fresh : bool
        Remove earlier results first.
    console : rich.console.Console, optional
        Where progress is shown; by default nowhere.

    Returns
    -------
    Summary

    Raises
    ------
    StoreError
        If the folder cannot be used, see `Store.create`.
    InputError
        If there is no scheduler at the address.
    """
    console = console or Console(quiet=True)
    curves = tuple(curve for study in studies for curve in plan_study(study))
    tasks = tasks_of(curves)
    for line in thin_samples(curves):
        console.print(f"sigmoe: warning: {line}", soft_wrap=True, highlight=False, markup=False)
    with Store.create(directory, studies, fresh) as store:
        if set(tasks) - store.done():
            with _pool(workers, scheduler) as pool:
                done = store.done()
                with RunProgress(console, tasks, done, WORK.cost, pool.workers) as progress:
                    run_tasks(tasks, WORK, store, pool, progress)
        return conclude(store, console)


def conclude(store: Store, console: Console | None = None) -> Summary:
    """Derive losses, predictions, slopes, figures and report from what is stored."""
    # Imported here, since workers import this module too and draw nothing.
    from sigmoe.lab._figures import write_figures
    from sigmoe.lab._report import write_report

    console = console or Console(quiet=True)
    with console.status("losses and slopes"):
        counts = evaluate(store)
    with console.status("figures and report"):
        write_figures(store.directory)
        report = write_report(store.directory)
    return Summary(report, counts.done, counts.failed)


def thin_samples(curves: tuple[PlannedCurve, ...]) -> list[str]:
    """Return one sentence for each study that has fewer samples than free parameters somewhere."""
    lines: dict[str, str] = {}
    for curve in curves:
        architecture = architecture_of(curve.model, curve.truth.dim)
        n_fitted = curve.model.n_fitted
        free = architecture.n_parameters(n_fitted) - architecture.n_invisible
        n = min(task.n for task in curve.tasks)
        if n < free:
            lines.setdefault(
                curve.figure,
                f"study {curve.figure!r} has n = {n}, fewer samples than the {free} free "
                f"parameters of {n_fitted} experts; such fits follow the noise. Raise sizes.",
            )
    return list(lines.values())


@contextlib.contextmanager
def _pool(workers: int, scheduler: str | None) -> Iterator[Pool]:
    if scheduler is None and workers == 1:
        yield SerialPool()
        return
    # Imported here, since work in this process needs no Dask.
    from sigmoe.lab._dask_pool import local_pool, remote_pool

    if scheduler is not None:
        with remote_pool(scheduler) as remote:
            yield remote
    else:
        with local_pool(workers) as local:
            yield local
