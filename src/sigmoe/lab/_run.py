"""From studies to a finished results folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from sigmoe.lab._dask_pool import local_pool, remote_pool
from sigmoe.lab._engine import Pool, SerialPool, run_tasks
from sigmoe.lab._evaluate import evaluate
from sigmoe.lab._figures import write_figures
from sigmoe.lab._plan import plan_study, tasks_of
from sigmoe.lab._progress import RunProgress
from sigmoe.lab._report import write_report
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
    with Store.create(directory, studies, fresh) as store:
        if set(tasks) - store.done():
            with _pool(workers, scheduler) as pool:
                done = store.done()
                with RunProgress(console, tasks, done, WORK.cost, pool.workers) as progress:
                    run_tasks(tasks, WORK, store, pool, progress)
        return conclude(store, console)


def conclude(store: Store, console: Console | None = None) -> Summary:
    """Derive losses, predictions, slopes, figures and report from what is stored."""
    console = console or Console(quiet=True)
    with console.status("losses and slopes"):
        counts = evaluate(store)
    with console.status("figures and report"):
        write_figures(store.directory)
        report = write_report(store.directory)
    return Summary(report, counts.done, counts.failed)


@contextlib.contextmanager
def _pool(workers: int, scheduler: str | None) -> Iterator[Pool]:
    if scheduler is not None:
        with remote_pool(scheduler) as remote:
            yield remote
    elif workers == 1:
        yield SerialPool()
    else:
        with local_pool(workers) as local:
            yield local
