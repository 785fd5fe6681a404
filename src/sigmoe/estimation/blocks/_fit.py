"""The public least squares fit of rows that do not fit in memory, or lie on other machines."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sigmoe._base.constraints import Interval, check
from sigmoe._base.errors import SigmoeWarning, invalid
from sigmoe._base.seeds import Seed
from sigmoe.estimation._bounds import (
    Bounds,
    coordinate_limits,
    describe_active,
    require_inside,
    resolve_bounds,
)
from sigmoe.estimation._device import usable_device
from sigmoe.estimation._fit import CONSTRAINTS as MEMORY_CONSTRAINTS
from sigmoe.estimation._fit import require_architecture
from sigmoe.estimation._result import FitResult, message_for
from sigmoe.estimation._sample import Sample
from sigmoe.estimation.blocks._checkpoint import Bar, Beginning, Checkpoint, Fingerprint
from sigmoe.estimation.blocks._data import CPU, Data, Model, PlacedProblem, Summary, drawn_rows
from sigmoe.estimation.blocks._distributed import DaskBlocks
from sigmoe.estimation.blocks._sources import as_blocks
from sigmoe.estimation.blocks._streamed import Streamed
from sigmoe.estimation.engine._chunks import refinements
from sigmoe.estimation.engine._layout import layout
from sigmoe.estimation.engine._levenberg_marquardt import (
    Callback,
    Outcome,
    Problem,
    Settings,
    State,
    minimise,
)
from sigmoe.estimation.engine._penalty import Ridge
from sigmoe.estimation.starts._race import race
from sigmoe.moe import Architecture, MixingMeasure

#: Constraints of the numbers a user may pass, with the remedy that goes into the message.
CONSTRAINTS = MEMORY_CONSTRAINTS | {
    "start_rows": (Interval("integer", 1), "Use as many rows as fit in memory, say 100_000."),
    "checkpoint_seconds": (Interval("number", 0.0), "Use 0 to write after every iteration."),
}
#: Share by which the objective at a checkpoint's parameters may differ from the one it holds.
_SAME_DATA = 1e-9


def fit_blocks(
    source: Any,
    architecture: Architecture,
    n_experts: int,
    start: MixingMeasure | str = "random",
    *,
    n_starts: int = 10,
    start_rows: int = 100_000,
    bounds: Bounds | str | None = "default",
    seed: Seed = 0,
    max_iterations: int = 200,
    gradient_tolerance: float = 1e-8,
    relative_tolerance: float = 1e-8,
    callback: Callback | None = None,
    ridge: float = 0.0,
    device: torch.device | str | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 60.0,
    progress: bool | None = None,
) -> FitResult:
    """Fit a mixture of experts by least squares to rows that are read block by block.

    The estimate is that of ``fit_least_squares`` on all rows at once, see Notes. Memory is a block
    and a few tens of megabytes, however many rows there are.

    Parameters
    ----------
    source : ParquetBlocks, ArrayBlocks, DaskBlocks, iterable or callable
        The rows. Your own code may give them as chunks (X, y) or (X, y, weight): pass a list of
        chunks, or a function that returns a fresh iterator over them.
    architecture : Architecture
        Gate, score, expert and dimensions.
    n_experts : int
        Number of fitted atoms N.
    start : MixingMeasure or "random"
        Where to begin. "random" lets ``n_starts`` starts race on rows drawn at random, and fits
        the winner to all rows.
    n_starts : int
        Number of random starts.
    start_rows : int
        How many rows are drawn for the random starts; they are held in memory.
    bounds : Bounds, "default" or None
        Box of the parameters: at the scale of the data, given, or none.
    seed : int or SeedSequence
        Decides the random starts and the rows drawn for them.
    max_iterations, gradient_tolerance, relative_tolerance, callback, ridge
        As in ``fit_least_squares``.
    device : torch.device or str, optional
        Where blocks are computed; default the CPU. On a cluster every worker needs such a device.
    checkpoint : str or Path, optional
        A file that keeps the state of the fit. If it exists, the fit goes on from there and ends
        as if it had never stopped; else it is made. It stays when the fit is done.
    checkpoint_seconds : float
        Least time between two writings; when the fit is stopped, the state is written as well.
    progress : bool, optional
        Whether to show on the standard error how far the fit is: a bar on a terminal, lines
        elsewhere. Left out, only a terminal is shown anything.

    Returns
    -------
    FitResult
        For random starts, ``start_objectives`` are those on the drawn rows, but for the winner's.

    Raises
    ------
    InputError
        For a source that can be read only once, blocks without rows, NaN or infinity (naming
        place and row), rows that change between passes, and bad arguments.
    StoreError
        If the checkpoint cannot be written, or is of another problem.
    SigmoeError
        If a Dask cluster lost rows that it cannot compute again.

    Warns
    -----
    SigmoeWarning
        If there are fewer responses than free parameters.

    Notes
    -----
    Blocks are cut anew into the chunks that ``fit_least_squares`` would take, so that from the same
    start the result is the same to the last bit, however the blocks are cut. On a Dask cluster each
    partition is summed on its own, which rounds differently: objectives agree to about 12 digits,
    and so do predictions of well-determined fits; where rounding decides the last steps they agree
    to about 7, and fits with kinked experts may, rarely, end in different optima.

    Examples
    --------
    >>> from sigmoe.moe import Architecture, draw_sample, draw_truth
    >>> truth = draw_truth(Architecture(expert="tanh", score="linear", dim=1), 2, seed=3)
    >>> chunks = [draw_sample(truth, 200, noise_variance=0.01, seed=k) for k in range(5)]
    >>> fit = fit_blocks(chunks, truth.architecture, 2, start=truth)
    >>> fit.converged, fit.objective < 0.011
    (True, True)
    """
    began = time.perf_counter()
    _check_numbers(
        n_experts=n_experts,
        n_starts=n_starts,
        start_rows=start_rows,
        max_iterations=max_iterations,
        gradient_tolerance=gradient_tolerance,
        relative_tolerance=relative_tolerance,
        ridge=ridge,
        checkpoint_seconds=checkpoint_seconds,
    )
    require_architecture(architecture)
    place = CPU if device is None else usable_device(device)
    model = Model(architecture, int(n_experts), place)
    given = _checked_start(start, model)
    settings = Settings(int(max_iterations), gradient_tolerance, relative_tolerance)
    data: Data = source if isinstance(source, DaskBlocks) else Streamed(as_blocks(source))
    with Bar(progress, data.n_rows) as bar:
        summary = data.survey(model, bar.advance)
        bar.begin_passes(summary.rows)
        _warn_if_too_few(summary.rows, model)
        box = resolve_bounds(bounds, summary)
        problem = data.problem(model, summary, bar.advance)
        fit = BlockFit(problem, model, summary, box, settings, ridge)
        store = None
        if checkpoint is not None:
            origin = _origin(given, n_starts, start_rows, seed)
            store = Checkpoint(checkpoint, fit.fingerprint(origin), checkpoint_seconds)

        def begin() -> Beginning:
            if given is not None:
                return fit.begin_at(given)
            positions = drawn_rows(summary.rows, start_rows, seed)
            drawn = data.rows(positions, model, bar.advance)
            bar.say(f"{n_starts} random starts on {len(drawn)} rows")
            return fit.begin_at_random(drawn, n_starts, seed)

        beginning, outcome = fit.run(begin, bar.following(callback), store)
    return fit.result(beginning, outcome, time.perf_counter() - began)


class BlockFit:
    """One fit of all rows: how it begins, runs, and what it found.

    Parameters
    ----------
    problem : PlacedProblem
    model : Model
    summary : Summary
    bounds : Bounds
    settings : Settings
    ridge : float
    """

    def __init__(
        self,
        problem: PlacedProblem,
        model: Model,
        summary: Summary,
        bounds: Bounds,
        settings: Settings,
        ridge: float,
    ) -> None:
        self._problem: Problem = Ridge(problem, ridge) if ridge else problem
        self._home = problem.device
        self._ridge = ridge
        self._model = model
        self._summary = summary
        self._bounds = bounds
        self._settings = settings
        limits = coordinate_limits(bounds, model.architecture, model.n_experts)
        self._limits = limits[0].to(self._home), limits[1].to(self._home)

    def begin_at(self, start: MixingMeasure) -> Beginning:
        """Return the beginning at a given measure."""
        require_inside(start, self._bounds)
        return Beginning(start.coordinates, start.coordinates)

    def begin_at_random(self, drawn: Sample, n_starts: int, seed: Seed) -> Beginning:
        """Return the beginning where the best of some random starts ended on the drawn rows."""
        architecture, n_experts = self._model.architecture, self._model.n_experts
        ended = race(
            drawn.to(self._model.device),
            architecture,
            n_experts,
            n_starts,
            seed,
            self._bounds,
            self._settings,
            self._ridge,
        )
        first = ended.starts[ended.winner].coordinates
        return Beginning(
            first,
            ended.reached.coordinates,
            self._problem.objective(first.to(self._home)),
            tuple(ended.objectives),
            ended.agreed,
        )

    def run(
        self, begin: Callable[[], Beginning], callback: Callback, store: Checkpoint | None
    ) -> tuple[Beginning, Outcome]:
        """Return where the fit began and ended; it goes on where the checkpoint stands, if any."""
        if store is None:
            beginning = begin()
            return beginning, self._minimise(beginning, callback)
        saved = store.load()
        beginning, state = (begin(), None) if saved is None else saved
        if state is not None and not self._is_consistent(state):
            raise store.refused("holds an objective that these rows do not have: they have changed")
        with store.kept_at_the_end():
            store.keep(beginning, state)
            record = partial(store.keep, beginning)
            return beginning, self._minimise(beginning, callback, state, record)

    def _minimise(
        self,
        beginning: Beginning,
        callback: Callback,
        state: State | None = None,
        record: Callable[[State], object] | None = None,
    ) -> Outcome:
        design = layout(self._model.architecture, self._model.n_experts)
        steps = refinements(self._settings.refinements, self._summary.rows, design)
        return minimise(
            self._problem,
            beginning.reached.to(self._home),
            *self._limits,
            self._summary.response_scale,
            replace(self._settings, refinements=steps),
            callback,
            None if state is None else state.to(self._home),
            record,
        )

    def _is_consistent(self, state: State) -> bool:
        """Return whether the rows have the objective that the state says they have."""
        shape = self._model.n_experts, self._model.architecture.n_atom_parameters
        here = self._problem.objective(state.point.theta.view(shape).to(self._home))
        rounding = _SAME_DATA * self._summary.response_scale
        return abs(here - state.point.objective) <= _SAME_DATA * here + rounding**2

    def fingerprint(self, origin: str) -> Fingerprint:
        """Return what tells this problem, begun like that, from others."""
        return {
            "architecture": json.dumps(asdict(self._model.architecture)),
            "n_experts": self._model.n_experts,
            "bounds": json.dumps(asdict(self._bounds)),
            "ridge": self._ridge,
            "start": origin,
            "number of rows": self._summary.rows,
            "hash of the first and last rows": self._summary.digest,
        }

    def result(self, beginning: Beginning, outcome: Outcome, seconds: float) -> FitResult:
        """Return the result that the user gets."""
        architecture = self._model.architecture
        theta = outcome.theta.cpu()
        lower, upper = self._limits
        active = describe_active(architecture, theta, lower.cpu(), upper.cpu())
        first = beginning.objective
        return FitResult(
            measure=MixingMeasure.from_coordinates(architecture, theta),
            objective=outcome.objective - self._ridge * float(theta.square().sum()),
            status=outcome.status,
            message=message_for(outcome.status, active),
            n_iterations=outcome.n_iterations,
            gradient_norm=outcome.gradient_norm,
            history=outcome.history,
            active_bounds=active,
            start=MixingMeasure.from_coordinates(architecture, beginning.coordinates),
            start_objective=outcome.history[0] if first is None else first,
            seconds=seconds,
            start_objectives=beginning.objectives,
            n_agreed=beginning.agreed,
        )


def _check_numbers(**numbers: float) -> None:
    for name, value in numbers.items():
        check(name, value, *CONSTRAINTS[name])


def _checked_start(start: MixingMeasure | str, model: Model) -> MixingMeasure | None:
    """Return the measure to begin from; None for random starts."""
    if not isinstance(start, MixingMeasure):
        if start == "random":
            return None
        remedy = "Pass a measure to begin from it."
        raise invalid("start", "a MixingMeasure or 'random'", start, remedy)
    if (
        start.architecture != model.architecture
        or start.batch_shape
        or start.n_experts != model.n_experts
    ):
        rule = f"a single measure of {model.n_experts} experts with {model.architecture}"
        raise invalid("start", rule, start, "Make it with the arguments of the fit.")
    return start


def _origin(given: MixingMeasure | None, n_starts: int, start_rows: int, seed: Seed) -> str:
    """Return how a fit begins, as a text that tells one beginning from another."""
    if given is not None:
        return hashlib.sha256(given.coordinates.numpy().tobytes()).hexdigest()
    if isinstance(seed, np.random.SeedSequence):
        seed_text = f"{seed.entropy} {seed.spawn_key}"
    else:
        seed_text = str(seed)
    return f"random, {n_starts} starts on {start_rows} rows, seed {seed_text}"


def _warn_if_too_few(rows: int, model: Model) -> None:
    architecture, n_experts = model.architecture, model.n_experts
    free = architecture.n_parameters(n_experts) - architecture.n_invisible
    responses = rows * architecture.n_columns
    if responses < free:
        warnings.warn(
            f"{responses} responses are fewer than the {free} free parameters of {n_experts} "
            "experts: the fit can follow the noise. Use more samples or fewer experts.",
            SigmoeWarning,
            stacklevel=3,
        )
