"""Long fits: how far they are, and the file from which a fit that was stopped goes on."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sigmoe._base.errors import StoreError
from sigmoe._base.files import write_atomically
from sigmoe.estimation.engine._levenberg_marquardt import Callback, State
from sigmoe.estimation.engine._refine import Point

#: Names the layout, so that a later one can still read this.
_FORMAT = "sigmoe-checkpoint-1"
#: What identifies a problem, by name, in words or numbers.
Fingerprint = Mapping[str, str | float]
#: Seconds between two lines of progress where there is no terminal.
_QUIET_SECONDS = 15.0


@dataclass(frozen=True)
class Beginning:
    """Where the fit began, which its result tells.

    Attributes
    ----------
    coordinates : Tensor of shape (N, parameters of an atom)
        The start; for random starts, the one that won.
    reached : Tensor of shape (N, parameters of an atom)
        Where the fit of all rows began: at the start, or where the race left it.
    objective : float, optional
        At the start; None where the history of the fit tells.
    objectives : tuple of float
        For random starts, where each one ended on the drawn rows.
    agreed : int
        For random starts, how many of those run to convergence agreed with the best.
    """

    coordinates: Tensor
    reached: Tensor
    objective: float | None = None
    objectives: tuple[float, ...] = ()
    agreed: int = 0


class Checkpoint:
    """The file in which one fit keeps its state.

    Parameters
    ----------
    path : str or Path
    fingerprint : mapping
        A file with another fingerprint is refused.
    seconds : float
        Least time between two writings.
    """

    def __init__(self, path: str | Path, fingerprint: Fingerprint, seconds: float) -> None:
        self._path = Path(path)
        self._fingerprint = dict(fingerprint)
        self._seconds = seconds
        self._written = -float("inf")
        self._unwritten: tuple[Beginning, State | None] | None = None

    def load(self) -> tuple[Beginning, State | None] | None:
        """Return where the fit began and stands; None if there is no file yet.

        Raises
        ------
        StoreError
            If the file is no checkpoint, or one of another problem.
        """
        if not self._path.exists():
            return None
        try:
            with safe_open(self._path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
        except (OSError, SafetensorError) as error:
            raise self.refused(f"could not be read ({error})") from None
        if metadata.get("format") != _FORMAT:
            raise self.refused("is no checkpoint")
        self._require_same(json.loads(metadata["fingerprint"]))
        return _unpacked(tensors, json.loads(metadata["numbers"]))

    def keep(self, beginning: Beginning, state: State | None) -> None:
        """Write the state, unless the last writing was a short time ago."""
        self._unwritten = beginning, state
        if time.monotonic() >= self._written + self._seconds:
            self._write()

    @contextlib.contextmanager
    def kept_at_the_end(self) -> Iterator[None]:
        """Write the latest state when the block ends, however it ends."""
        try:
            yield
        finally:
            if self._unwritten is not None:
                self._write()

    def _write(self) -> None:
        assert self._unwritten is not None
        tensors, numbers = _packed(*self._unwritten)
        metadata = {
            "format": _FORMAT,
            "fingerprint": json.dumps(self._fingerprint),
            "numbers": json.dumps(numbers),
        }
        try:
            write_atomically(self._path, save(tensors, metadata))
        except OSError as error:
            reason = f"could not be written ({error.strerror})"
            raise self.refused(reason) from None
        self._unwritten = None
        self._written = time.monotonic()

    def _require_same(self, found: Fingerprint) -> None:
        names = [*self._fingerprint, *(name for name in found if name not in self._fingerprint)]
        for name in names:
            mine, other = self._fingerprint.get(name), found.get(name)
            if mine != other:
                raise self.refused(f"is of another problem: {name} is {other!r}, not {mine!r}")

    def refused(self, reason: str) -> StoreError:
        """Return the error that says why the file cannot be used."""
        return StoreError(
            f"checkpoint must be a file that this fit can use; got {str(self._path)!r}, which "
            f"{reason}. Choose another path, or remove the file to begin again."
        )


class Bar:
    """How far a fit is: a bar on a terminal, a line now and then elsewhere; or nothing."""

    def __init__(self, wanted: bool | None, rows: int | None) -> None:
        console = Console(stderr=True)
        on_terminal = console.is_terminal and wanted is not False
        self._console = console if wanted and not console.is_terminal else None
        self._rows = rows
        self._done = 0
        self._spoken = -_QUIET_SECONDS
        columns = TextColumn("[bold]fit"), BarColumn(), TextColumn("{task.description}")
        self._bar = Progress(*columns, console=console, transient=True, disable=not on_terminal)
        self._line = self._bar.add_task("reading all rows", total=rows)

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin_passes(self, rows: int) -> None:
        """Learn how many rows a pass has, after the first."""
        self._rows, self._done = rows, 0
        self._bar.update(self._line, total=rows, completed=0)

    def advance(self, rows: int) -> None:
        """Count rows; the bar fills once in each pass."""
        self._done += rows
        filled = self._done if self._rows is None else (self._done - 1) % self._rows + 1
        self._bar.update(self._line, completed=filled)

    def say(self, words: str) -> None:
        """Show what the fit is doing."""
        self._bar.update(self._line, description=words)
        if self._console is not None and time.monotonic() >= self._spoken + _QUIET_SECONDS:
            self._spoken = time.monotonic()
            self._console.print(words)

    def following(self, callback: Callback | None) -> Callback:
        """Return a callback that shows each iteration before it calls the user's."""

        def after_each(iterations: int, objective: float) -> None:
            self.say(f"iteration {iterations}, objective {objective:.6g}")
            if callback is not None:
                callback(iterations, objective)

        return after_each


def _packed(
    beginning: Beginning, state: State | None
) -> tuple[dict[str, Tensor], dict[str, float]]:
    tensors = {
        "start": beginning.coordinates,
        "reached": beginning.reached,
        "start_objectives": torch.tensor(beginning.objectives, dtype=torch.float64),
    }
    numbers: dict[str, float] = {"agreed": beginning.agreed}
    if beginning.objective is not None:
        numbers["start_objective"] = beginning.objective
    if state is not None:
        tensors |= {
            "theta": state.point.theta,
            "gradient": state.point.gradient,
            "scale": state.scale,
            "history": torch.tensor(state.history, dtype=torch.float64),
        }
        numbers |= {
            "objective": state.point.objective,
            "damping": state.damping,
            "small": state.small,
        }
    # Tensors that share memory cannot be written.
    return {name: part.cpu().clone().contiguous() for name, part in tensors.items()}, numbers


def _unpacked(
    tensors: Mapping[str, Tensor], numbers: Mapping[str, float]
) -> tuple[Beginning, State | None]:
    beginning = Beginning(
        tensors["start"],
        tensors["reached"],
        numbers.get("start_objective"),
        tuple(tensors["start_objectives"].tolist()),
        int(numbers["agreed"]),
    )
    if "theta" not in tensors:
        return beginning, None
    point = Point(tensors["theta"], numbers["objective"], tensors["gradient"])
    state = State(
        point,
        tensors["scale"],
        numbers["damping"],
        small=int(numbers["small"]),
        history=tuple(tensors["history"].tolist()),
    )
    return beginning, state
