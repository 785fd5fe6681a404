"""From a resolved study to its tasks, and to the curves that read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sigmoe.lab._study import Curve, Panel, Protocol, ResolvedStudy, Run
from sigmoe.lab._tasks import (
    AnyTask,
    FirstOrder,
    FitTask,
    LeastSquares,
    Minpack,
    Model,
    ModulusTask,
    ProjectTask,
    Start,
    TruthSpec,
)


@dataclass(frozen=True)
class PlannedCurve:
    """A curve of the figures and the tasks that it is made of.

    Attributes
    ----------
    figure, panel, curve, reading, protocol, start : str
        Labels, as in the tables.
    truth, model
        What is drawn and what is fitted.
    losses : tuple of str
        The first is the curve's own.
    target : str
        Where losses are taken from, see `sigmoe.lab._study.Curve`.
    approximation : ProjectTask or None
        The task that holds the best approximations, where they are the target.
    modulus : ModulusTask or None
        The task that predicts the slope of the experts' loss, where the study asks for it.
    paper_slope : float or None
        What the paper prints.
    tasks : tuple of FitTask
        One for each size and replication.
    """

    figure: str
    panel: str
    curve: str
    reading: str
    protocol: str
    start: str
    truth: TruthSpec
    model: Model
    losses: tuple[str, ...]
    target: str
    approximation: ProjectTask | None
    modulus: ModulusTask | None
    paper_slope: float | None
    tasks: tuple[FitTask, ...]

    @property
    def key(self) -> dict[str, str | int]:
        """Return the labels that tell this curve from the others."""
        return {
            "figure": self.figure,
            "panel": self.panel,
            "curve": self.curve,
            "reading": self.reading,
            "protocol": self.protocol,
            "start": self.start,
            "n_fitted": self.model.n_fitted,
        }


def plan_study(study: ResolvedStudy) -> tuple[PlannedCurve, ...]:
    """Return the curves of a study, in the order of its file.

    Runs that agree in protocol, start and number of extra atoms are one curve.
    """
    return tuple(
        _plan_curve(study, n_true, panel, curve, runs)
        for n_true in study.truths.n_true
        for panel in study.panels
        for curve in panel.curves
        for runs in _grouped(runs_of(study.size.runs, panel))
    )


def tasks_of(curves: Iterable[PlannedCurve]) -> dict[str, AnyTask]:
    """Return every task that the curves need, once each, by hash; what others need comes first."""
    curves = tuple(curves)
    tasks: dict[str, AnyTask] = {}
    for curve in curves:
        if curve.approximation is not None:
            tasks.setdefault(curve.approximation.task_id, curve.approximation)
        if curve.modulus is not None:
            tasks.setdefault(curve.modulus.task_id, curve.modulus)
    for curve in curves:
        for task in curve.tasks:
            tasks.setdefault(task.task_id, task)
    return tasks


def runs_of(runs: tuple[Run, ...], panel: Panel) -> tuple[Run, ...]:
    """Return the runs that a panel takes part in."""
    return tuple(run for run in runs if run.panels is None or panel.name in run.panels)


def _grouped(runs: tuple[Run, ...]) -> list[list[Run]]:
    groups: dict[tuple[str, str, int], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.protocol, run.start, run.extra_atoms), []).append(run)
    return list(groups.values())


def _plan_curve(
    study: ResolvedStudy, n_true: int, panel: Panel, curve: Curve, runs: list[Run]
) -> PlannedCurve:
    truth = TruthSpec(
        gate=curve.truth_gate,
        score=curve.score,
        expert=curve.expert,
        dim=study.truths.dim,
        n_true=n_true,
        regime=curve.regime,
        n_sparse=study.truths.n_sparse,
        seed=study.study.seed,
        atoms=study.truths.atoms or (),
    )
    model = Model(curve.gate, curve.score, curve.expert, n_true + runs[0].extra_atoms)
    approximation = None
    if curve.target == "best-approximation":
        effort = study.approximation
        noise = study.study.noise_variance
        approximation = ProjectTask(
            truth, model, effort.n_starts, effort.n_points, effort.max_iterations, noise
        )
    protocol = study.protocols[runs[0].protocol]
    near = "truth" if approximation is None else approximation.task_id
    tasks = [
        FitTask(
            truth=truth,
            model=model,
            n=n,
            replication=replication,
            noise_variance=study.study.noise_variance,
            start=_start(run, protocol, near),
            optimiser=_optimiser(run, protocol),
            protocol=run.protocol,
            nodes=study.size.nodes,
        )
        for run, n, replication in _cells(runs)
    ]
    return PlannedCurve(
        figure=study.name,
        panel=_panel_label(study, n_true, panel),
        curve=curve.name,
        reading=curve.reading,
        protocol=runs[0].protocol,
        start=runs[0].start,
        truth=truth,
        model=model,
        losses=curve.losses,
        target=curve.target,
        approximation=approximation,
        modulus=_modulus(study, truth, model, runs[0], curve),
        paper_slope=curve.paper_slope,
        tasks=tuple(tasks),
    )


def _modulus(
    study: ResolvedStudy, truth: TruthSpec, model: Model, run: Run, curve: Curve
) -> ModulusTask | None:
    """Return the task that predicts a curve of local fits of experts, if there is to be one."""
    effort, nodes = study.size.modulus, study.size.nodes
    local = run.start == "near-truth" and "expert" in curve.losses
    if effort is None or nodes is None or not local:
        return None
    return ModulusTask(truth, model, nodes.half_width, effort, study.study.noise_variance)


def _cells(runs: list[Run]) -> Iterator[tuple[Run, int, int]]:
    by_size = {n: run for run in runs for n in run.sizes}
    for n in sorted(by_size):
        for replication in range(by_size[n].replications):
            yield by_size[n], n, replication


def _start(run: Run, protocol: Protocol, near: str) -> Start:
    if run.start == "random":
        # Random starts know nothing of the target, so it is no part of what identifies them.
        return Start("random", n_starts=run.n_starts)
    return Start("near-truth", protocol.start_noise, protocol.start_exponent, near)


def _optimiser(run: Run, protocol: Protocol) -> LeastSquares | FirstOrder | Minpack:
    if protocol.optimiser == "minpack":
        return Minpack(run.max_iterations, protocol.relative_tolerance)
    if protocol.optimiser == "adam":
        return FirstOrder(run.max_iterations, protocol.learning_rate)
    return LeastSquares(
        run.max_iterations, protocol.gradient_tolerance, protocol.relative_tolerance
    )


def _panel_label(study: ResolvedStudy, n_true: int, panel: Panel) -> str:
    """Return the panel's name, with the dimensions where they are not the study's own."""
    if study.size.truths is None and len(study.truths.n_true) == 1:
        return panel.name
    return f"{panel.name} (d={study.truths.dim}, N*={n_true})"
