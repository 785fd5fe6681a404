"""Reading a study file: strict parsing, then the rules that tie one key to another."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from sigmoe._base.errors import InputError, invalid
from sigmoe.lab._strict import build
from sigmoe.lab._study import Curve, Panel, Preset, Run, Study
from sigmoe.lab._study_inputs import Truths
from sigmoe.moe import Architecture

#: The gates that a loss is defined for, where not for all.
_GATES_OF_LOSSES = {
    "L1": ("sigmoid",),
    "L2": ("sigmoid",),
    "L4": ("sigmoid",),
    "softmax": ("softmax",),
}


def load_study(path: str | Path) -> Study:
    """Read and check a study file.

    Parameters
    ----------
    path : str or Path
        A TOML file; see ``studies/figure2.toml`` for one with comments.

    Returns
    -------
    Study

    Raises
    ------
    InputError
        If the file cannot be read, is no TOML, or breaks a rule; the message names the file, the
        key, the rule, the value and the remedy.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InputError(
            f"study must be a readable TOML file; got {str(path)!r} ({reason}). "
            "Check the name and the permissions."
        ) from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise invalid(path.name, "valid TOML", str(error), "Correct that line.") from None
    return parse_study(data, path.name)


def parse_study(data: dict[str, Any], source: str = "study") -> Study:
    """Return the study that plain data declare; see `load_study` for errors."""
    study = build(Study, data, source)
    _check_study(study, source)
    return study


def _check_study(study: Study, source: str) -> None:
    """Check the rules that tie one key to another."""
    if not study.name.replace("-", "").replace("_", "").isalnum() or not study.name.isascii():
        rule = "made of letters, digits, '-' and '_'"
        raise invalid(f"{source}: name", rule, study.name, "It becomes part of file names.")
    _check_panels(study.panels, f"{source}: panels")
    for name, preset in study.presets:
        _check_preset(study, preset, f"{source}: presets.{name}")


def _check_panels(panels: tuple[Panel, ...], where: str) -> None:
    _once([panel.name for panel in panels], where, "Name each panel differently.")
    for k, panel in enumerate(panels):
        here = f"{where}[{k}].curves"
        labels = [f"{curve.name} ({curve.reading})" for curve in panel.curves]
        _once(labels, here, "Give curves of one reading different names.")
        for j, curve in enumerate(panel.curves):
            _check_curve(curve, f"{here}[{j}]")


def _check_curve(curve: Curve, where: str) -> None:
    try:
        Architecture(gate=curve.gate, score=curve.score, expert=curve.expert, dim=1)
    except InputError as error:
        raise InputError(f"{where}.{error}") from None
    for loss in curve.losses:
        if curve.gate not in _GATES_OF_LOSSES.get(loss, (curve.gate,)):
            remedy = "Take 'softmax' or L3 for softmax gates, L1 to L5 for sigmoid gates."
            raise invalid(f"{where}.losses", f"for {curve.gate} gates", loss, remedy)
        if loss in ("L4", "L5") and curve.score != "partial":
            remedy = "Take L1 or L3: L4 and L5 have no term in b."
            raise invalid(f"{where}.losses", f"for the {curve.score} score", loss, remedy)
    foreign = curve.truth_gate != curve.gate
    # The function's own error needs no best approximation.
    needed = foreign and not (curve.losses == ("function",) and curve.target == "truth")
    if needed != (curve.target == "best-approximation"):
        rule = "'best-approximation' exactly where the data come from another gate"
        raise invalid(f"{where}.target", rule, curve.target, "Change target or reading.")
    if curve.target == "representations" and curve.gate != "sigmoid":
        remedy = "Take 'truth' for softmax gates."
        raise invalid(f"{where}.target", "'truth' for softmax gates", curve.target, remedy)


def _check_preset(study: Study, preset: Preset, where: str) -> None:
    truths = preset.truths or study.truths
    if truths.n_sparse > min(truths.n_true):
        rule = f"<= the smallest n_true, {min(truths.n_true)}"
        remedy = "Ask for no more zero gates than atoms."
        raise invalid(f"{where}.truths.n_sparse", rule, truths.n_sparse, remedy)
    panels = preset.panels or study.panels
    if preset.panels is not None:
        _check_panels(preset.panels, f"{where}.panels")
    if truths.atoms is not None:
        _check_atoms(truths, f"{where}.truths")
    protocols = dict(preset.protocols or study.protocols)
    seen: set[tuple[str, str, int, int, str]] = set()
    for k, run in enumerate(preset.runs):
        here = f"{where}.runs[{k}]"
        _check_names(run, panels, f"{here}.panels")
        if run.protocol not in protocols:
            rule = "one of " + ", ".join(repr(name) for name in protocols)
            remedy = "Add the protocol or correct the name."
            raise invalid(f"{here}.protocol", rule, run.protocol, remedy)
        if run.start == "random" and protocols[run.protocol].optimiser != "levenberg-marquardt":
            rule = "'near-truth' for first-order steps"
            raise invalid(f"{here}.start", rule, run.start, "Random starts need least squares.")
        if run.n_starts > 1 and run.start != "random":
            raise invalid(
                f"{here}.n_starts", "1 unless start is 'random'", run.n_starts, "Remove it."
            )
        optimiser = protocols[run.protocol].optimiser
        _check_nodes(run, optimiser, preset, _chosen(run, panels), f"{here}.protocol")
        for size in run.sizes:
            cells = {
                (run.protocol, run.start, run.extra_atoms, size, panel.name)
                for panel in _chosen(run, panels)
            }
            if cells & seen:
                rule = "without sizes that another run of the same kind has"
                raise invalid(f"{here}.sizes", rule, size, "Give each size in one run only.")
            seen |= cells


def _chosen(run: Run, panels: tuple[Panel, ...]) -> list[Panel]:
    return [panel for panel in panels if run.panels is None or panel.name in run.panels]


def _check_names(run: Run, panels: tuple[Panel, ...], where: str) -> None:
    known = [panel.name for panel in panels]
    for name in run.panels or ():
        if name not in known:
            rule = "among " + ", ".join(repr(one) for one in known)
            raise invalid(where, rule, name, "Correct the name or add the panel.")


def _check_nodes(run: Run, optimiser: str, preset: Preset, panels: list[Panel], where: str) -> None:
    """Check that local fits at nodes, and no others, are MINPACK's."""
    local = preset.nodes is not None and run.start == "near-truth"
    if local != (optimiser == "minpack"):
        rule = "one with the optimiser 'minpack' exactly for near-truth starts at nodes"
        raise invalid(where, rule, run.protocol, "Change protocol, start or nodes.")
    curves = [curve for panel in panels for curve in panel.curves]
    if run.start == "near-truth" and any(
        curve.truth_gate != curve.gate and (local or curve.target == "truth") for curve in curves
    ):
        rule = "a run of random starts where data of another gate are fitted"
        raise invalid(where, rule, run.protocol, "Name the run's panels, or start at random.")


def _check_atoms(truths: Truths, where: str) -> None:
    """Check the lengths of a truth's atoms, whose number n_true repeats."""
    atoms, d = truths.atoms or (), truths.dim
    if truths.n_true != (len(atoms),):
        raise invalid(
            f"{where}.n_true",
            f"[{len(atoms)}], the number of atoms",
            list(truths.n_true),
            "Give the number of the atoms that are listed.",
        )
    for k, atom in enumerate(atoms):
        for name, length in (("A", d * d), ("b", d), ("eta", d + 1)):
            values = getattr(atom, name)
            if len(values) != length:
                rule = f"a list of {length} numbers at dim = {d}"
                raise invalid(f"{where}.atoms[{k}].{name}", rule, list(values), "Count them.")


def _once(names: list[str], parameter: str, remedy: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise invalid(parameter, "named differently", name, remedy)
