"""The results folder: one file a finished task, written whole or not at all.

A task is done if and only if its file exists. Only the coordinator writes; a lock keeps a second
run out of the folder. Files that this module did not write are never removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from sigmoe._base.errors import StoreError
from sigmoe._base.files import write_atomically
from sigmoe.lab._schemas import TASKS
from sigmoe.lab._study import ResolvedStudy
from sigmoe.lab._study_file import parse_study

_LOCK = ".sigmoe.lock"
_TASK_FILE = re.compile(r"[0-9a-f]{32}\.parquet")
#: What a writer that was killed leaves behind.
_LEFTOVER = re.compile(r"\.[0-9a-f]{32}\.parquet\.\d+\.tmp")
_STUDY_FILE = re.compile(r"study-([A-Za-z0-9_-]+)\.json")
#: What a run derives from the tasks; `--fresh` removes these and no other files.
_DERIVED = re.compile(
    r"losses\.parquet|predictions\.parquet|slopes\.csv|report\.html"
    r"|(figure|table)[A-Za-z0-9_-]*\.(svg|pdf|png|csv)"
)


class Store:
    """A results folder that is open for one run, or for reading.

    Use `create` to run in it and `existing` to read it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tasks_directory = directory / "tasks"

    @classmethod
    def existing(cls, directory: str | Path) -> Store:
        """Return the store in a folder that a run has made.

        Raises
        ------
        StoreError
            If it is no results folder.
        """
        store = cls(Path(directory))
        if not store.directory.is_dir() or not store.study_files():
            raise StoreError(
                f"DIR must be a results folder, which holds study-*.json; got "
                f"{str(directory)!r}. Give the folder that a run was told with --out."
            )
        return store

    @classmethod
    @contextlib.contextmanager
    def create(
        cls, directory: str | Path, studies: Iterable[ResolvedStudy], fresh: bool = False
    ) -> Iterator[Store]:
        """Open a folder for a run of these studies, and keep other runs out meanwhile.

        Parameters
        ----------
        directory : str or Path
            A new folder, an empty one, or one that holds results of the same studies.
        studies : iterable of ResolvedStudy
            Recorded in the folder.
        fresh : bool
            Remove earlier results first, and nothing else.

        Raises
        ------
        StoreError
            If the folder cannot be written, holds other files but no results, holds results of
            another version of a study, or is in use.
        """
        store = cls(Path(directory))
        with _explained(store.directory):
            store.directory.mkdir(parents=True, exist_ok=True)
        store._refuse_foreign()
        with store._locked():
            if fresh:
                store._clear()
            with _explained(store.directory):
                store.tasks_directory.mkdir(exist_ok=True)
                store._sweep()
                store._record(tuple(studies))
            yield store

    def study_files(self) -> list[Path]:
        """Return the files of the studies in the folder, sorted by name."""
        return sorted(p for p in self.directory.iterdir() if _STUDY_FILE.fullmatch(p.name))

    def studies(self) -> tuple[ResolvedStudy, ...]:
        """Return the studies that the folder holds results of."""
        return tuple(_read_study(path) for path in self.study_files())

    def done(self) -> set[str]:
        """Return the hashes of the finished tasks."""
        if not self.tasks_directory.is_dir():
            return set()
        names = (path.name for path in self.tasks_directory.iterdir())
        return {name.removesuffix(".parquet") for name in names if _TASK_FILE.fullmatch(name)}

    def write(self, row: Mapping[str, Any]) -> None:
        """Store one finished task.

        Raises
        ------
        StoreError
            If the file cannot be written, for instance because the disk is full.
        """
        frame = pl.DataFrame([dict(row)], schema=TASKS)
        path = self.tasks_directory / f"{row['task_id']}.parquet"
        with _explained(path):
            write_atomically(path, parquet_bytes(frame))

    def write_table(self, name: str, data: bytes) -> None:
        """Write a table that was derived from the tasks."""
        path = self.directory / name
        with _explained(path):
            write_atomically(path, data)

    def read(self, task_ids: Iterable[str]) -> pl.DataFrame:
        """Return the rows of those tasks that are finished, sorted by hash."""
        wanted = sorted(set(task_ids) & self.done())
        frames = []
        for name in wanted:
            path = self.tasks_directory / f"{name}.parquet"
            try:
                frames.append(_read_task(path))
            except (pl.exceptions.PolarsError, OSError) as error:
                raise StoreError(
                    f"{path} must be a stored task; got {' '.join(str(error).split())[:80]!r}. "
                    "Delete that file and run again."
                ) from None
        return pl.concat(frames) if frames else pl.DataFrame(schema=TASKS)

    def _refuse_foreign(self) -> None:
        others = sorted(p.name for p in self.directory.iterdir() if p.name != _LOCK)
        if others and not self.study_files():
            raise StoreError(
                f"out must be a new, an empty or a results folder; got {str(self.directory)!r}, "
                f"which holds {others[0]!r}. Give another folder with --out."
            )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with _explained(self.directory), contextlib.ExitStack() as stack:
            file = stack.enter_context((self.directory / _LOCK).open("w"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreError(
                    f"out must be a folder that no other run uses; got {str(self.directory)!r}. "
                    "Wait for that run to end, or give another folder with --out."
                ) from None
            keep = stack.pop_all()
        with keep:
            yield

    def _sweep(self) -> None:
        """Remove the temporary files of runs that were killed; the lock says that none is alive."""
        for path in self.tasks_directory.iterdir():
            if _LEFTOVER.fullmatch(path.name):
                path.unlink()

    def _clear(self) -> None:
        if self.tasks_directory.is_dir():
            for path in self.tasks_directory.iterdir():
                if _TASK_FILE.fullmatch(path.name):
                    path.unlink()
        for path in self.directory.iterdir():
            if _DERIVED.fullmatch(path.name) or _STUDY_FILE.fullmatch(path.name):
                path.unlink()

    def _record(self, studies: tuple[ResolvedStudy, ...]) -> None:
        for study in studies:
            path = self.directory / f"study-{study.name}.json"
            if path.exists():
                self._refuse_changed(study, _read_study(path))
            else:
                write_atomically(path, _study_bytes(study))

    def _refuse_changed(self, wanted: ResolvedStudy, stored: ResolvedStudy) -> None:
        if wanted.hash == stored.hash:
            return
        what = f"preset {stored.preset!r}" if wanted.preset != stored.preset else "other settings"
        raise StoreError(
            f"out must be a folder of the same study {wanted.name!r} at preset "
            f"{wanted.preset!r}; got {str(self.directory)!r}, which holds it with {what}. "
            "Give another folder with --out, or start over with --fresh."
        )


def _read_task(path: Path) -> pl.DataFrame:
    """Return a task's row; columns that an earlier version did not have are null."""
    return pl.read_parquet(path, schema=TASKS, missing_columns="insert")


def parquet_bytes(frame: pl.DataFrame) -> bytes:
    """Return the frame as the bytes of a Parquet file."""
    import io

    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def _study_bytes(study: ResolvedStudy) -> bytes:
    from sigmoe.lab._versions import machine, now, versions

    data = {
        "name": study.name,
        "preset": study.preset,
        "hash": study.hash,
        "study": study.as_dict(),
        "versions": versions(),
        "machine": machine(),
        "created_at": now(),
    }
    return json.dumps(data, indent=2).encode() + b"\n"


def _read_study(path: Path) -> ResolvedStudy:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return parse_study(data["study"], path.name).resolve(data["preset"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"{path} must be a study as a run stores it; got {str(error)[:120]!r}. "
            "Restore that file, or give another folder with --out."
        ) from None


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn an error of the file system into one that names the rule and the remedy."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(
            f"out must be a writable folder; got {str(path)!r} ({error.strerror}). "
            "Give another folder with --out, or make this one writable."
        ) from None
