"""The results folder: whole files only, resumable, never somebody else's."""

import signal
import subprocess
import sys

import polars as pl
import pytest

from lab.tiny import tiny_study
from lab.toy_tasks import WORK, Toy, row
from sigmoe._base.errors import StoreError
from sigmoe.lab import _store
from sigmoe.lab._store import Store

ID = "0123456789abcdef0123456789abcdef"


def some_row(**values):
    return {**row(Toy(0)), "task_id": ID, "failed": False, **values}


def test_a_row_comes_back_as_it_was(tmp_path):
    with Store.create(tmp_path / "out", [tiny_study()]) as store:
        store.write(some_row(objective=0.1 + 0.2, A=[1.0, -0.0, 1e-300], error=""))
    back = Store.existing(tmp_path / "out").read([ID]).to_dicts()[0]
    assert back["objective"] == 0.1 + 0.2
    assert back["A"] == [1.0, -0.0, 1e-300]
    assert back["eta"] is None


def test_the_study_in_the_folder_is_the_study(tmp_path):
    with Store.create(tmp_path, [tiny_study()]):
        pass
    assert Store.existing(tmp_path).studies() == (tiny_study(),)


KILLED_BEFORE_THE_RENAME = """
import os, signal, sys
from pathlib import Path
from sigmoe._base.files import write_atomically
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
write_atomically(Path(sys.argv[1]), b"new")
"""


def test_a_kill_between_write_and_rename_leaves_the_old_file(tmp_path):
    path = tmp_path / f"{ID}.parquet"
    path.write_bytes(b"old")
    command = [sys.executable, "-c", KILLED_BEFORE_THE_RENAME, str(path)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    # What the killed writer left has another name and is not taken for a task.
    assert [p.read_bytes() for p in tmp_path.iterdir() if p != path] == [b"new"]


def test_a_write_that_fails_leaves_neither_file_nor_rest(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    with Store.create(tmp_path / "out", [tiny_study()]) as store:
        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(StoreError) as caught:
            store.write(some_row())
        file = store.tasks_directory / f"{ID}.parquet"
        assert str(caught.value) == (
            f"out must be a writable folder; got '{file}' (No space left on device). "
            "Give another folder with --out, or make this one writable."
        )
        assert list(store.tasks_directory.iterdir()) == []


def test_leftovers_of_a_killed_run_are_no_tasks(tmp_path):
    with Store.create(tmp_path, [tiny_study()]) as store:
        store.write(some_row())
        left = store.tasks_directory / f".{ID[::-1]}.parquet.77.tmp"
        left.write_bytes(b"half")
        assert store.done() == {ID}
    with Store.create(tmp_path, [tiny_study()]):
        assert [path.name for path in left.parent.iterdir()] == [f"{ID}.parquet"]


def test_a_damaged_task_is_named(tmp_path):
    with Store.create(tmp_path, [tiny_study()]) as store:
        file = store.tasks_directory / f"{ID}.parquet"
        file.write_bytes(b"not parquet")
        with pytest.raises(
            StoreError, match=r"^.*parquet must be a stored task; got '.*'\. Delete"
        ):
            store.read([ID])


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for fresh in (False, True):
        with (
            pytest.raises(StoreError) as caught,
            Store.create(tmp_path, [tiny_study()], fresh=fresh),
        ):
            pass
        assert str(caught.value) == (
            f"out must be a new, an empty or a results folder; got '{tmp_path}', which holds "
            "'thesis.tex'. Give another folder with --out."
        )
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_path_that_is_a_file_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(StoreError) as caught, Store.create(file / "out", [tiny_study()]):
        pass
    assert str(caught.value) == (
        f"out must be a writable folder; got '{file}/out' (Not a directory). "
        "Give another folder with --out, or make this one writable."
    )


def test_a_study_that_changed_is_refused_unless_fresh(tmp_path):
    with Store.create(tmp_path, [tiny_study()]) as store:
        store.write(some_row())
        (tmp_path / "notes.txt").write_text("mine")
        (tmp_path / "slopes.csv").write_text("derived")
    other = tiny_study(seed=2)
    with pytest.raises(StoreError) as caught, Store.create(tmp_path, [other]):
        pass
    assert str(caught.value) == (
        f"out must be a folder of the same study 'tiny' at preset 'only'; got '{tmp_path}', which "
        "holds it with other settings. Give another folder with --out, or start over with --fresh."
    )
    with Store.create(tmp_path, [other], fresh=True) as store:
        assert store.done() == set()
        assert store.studies() == (other,)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "slopes.csv").exists()


def test_two_runs_cannot_share_a_folder(tmp_path):
    with Store.create(tmp_path, [tiny_study()]):
        with pytest.raises(StoreError) as caught, Store.create(tmp_path, [tiny_study()]):
            pass
        assert str(caught.value) == (
            f"out must be a folder that no other run uses; got '{tmp_path}'. "
            "Wait for that run to end, or give another folder with --out."
        )
    with Store.create(tmp_path, [tiny_study()]):
        pass


def test_an_error_inside_a_run_is_not_blamed_on_the_folder(tmp_path):
    with (
        pytest.raises(OSError, match="somewhere else"),
        Store.create(tmp_path, [tiny_study()]),
    ):
        raise OSError("somewhere else")


@pytest.mark.parametrize("make", ["missing", "empty"])
def test_reading_what_is_no_results_folder(tmp_path, make):
    path = tmp_path / "x"
    if make == "empty":
        path.mkdir()
    with pytest.raises(StoreError) as caught:
        Store.existing(path)
    assert str(caught.value) == (
        f"DIR must be a results folder, which holds study-*.json; got '{path}'. "
        "Give the folder that a run was told with --out."
    )


def test_a_damaged_study_file_is_named(tmp_path):
    (tmp_path / "study-x.json").write_text("{")
    with pytest.raises(StoreError, match=r"study-x\.json must be a study as a run stores it; got"):
        Store.existing(tmp_path).studies()


def test_rows_are_read_with_the_schema_even_if_there_are_none(tmp_path):
    with Store.create(tmp_path, [tiny_study()]) as store:
        assert store.read([ID]).schema == _store.TASKS
        assert isinstance(store.read([]), pl.DataFrame)


def test_toy_rows_have_every_column():
    assert set(WORK.execute(Toy(0), {})) == set(_store.TASKS)
