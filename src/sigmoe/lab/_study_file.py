"""Reading a study file: strict parsing, then the rules that tie one key to another."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from sigmoe._base.errors import InputError, invalid
from sigmoe.lab._strict import build
from sigmoe.lab._study import Curve, Preset, Study
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
    panels = [panel.name for panel in study.panels]
    _once(panels, f"{source}: panels", "Name each panel differently.")
    for k, panel in enumerate(study.panels):
        where = f"{source}: panels[{k}].curves"
        labels = [f"{curve.name} ({curve.reading})" for curve in panel.curves]
        _once(labels, where, "Give curves of one reading different names.")
        for j, curve in enumerate(panel.curves):
            _check_curve(curve, f"{where}[{j}]")
    for name, preset in study.presets:
        _check_preset(study, preset, f"{source}: presets.{name}")


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
    if foreign != (curve.target == "best-approximation"):
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
    protocols = dict(study.protocols)
    seen: set[tuple[str, str, int, int]] = set()
    for k, run in enumerate(preset.runs):
        here = f"{where}.runs[{k}]"
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
        for size in run.sizes:
            cell = (run.protocol, run.start, run.extra_atoms, size)
            if cell in seen:
                rule = "without sizes that another run of the same kind has"
                raise invalid(f"{here}.sizes", rule, size, "Give each size in one run only.")
            seen.add(cell)


def _once(names: list[str], parameter: str, remedy: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise invalid(parameter, "named differently", name, remedy)
