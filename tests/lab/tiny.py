"""A study of seconds: d = 1, for tests of everything around the fits."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from sigmoe.lab._study import ResolvedStudy
from sigmoe.lab._study_file import parse_study

TINY: dict[str, Any] = {
    "name": "tiny",
    "title": "A study of seconds",
    "seed": 1,
    "noise_variance": 0.01,
    "truths": {"dim": 1, "n_true": [1], "n_sparse": 1},
    "protocols": {
        "converged": {"optimiser": "levenberg-marquardt", "start_noise": 0.05},
        "paper-style": {"optimiser": "adam", "start_noise": 0.05, "start_exponent": -0.083},
    },
    "panels": [
        {
            "name": "T",
            "title": "linear experts",
            "curves": [
                {
                    "name": "sigmoid",
                    "gate": "sigmoid",
                    "expert": "linear",
                    "reading": "own-data",
                    "regime": "dense",
                    "target": "representations",
                    "losses": ["L3", "L1", "expert", "function"],
                    "paper_slope": -0.5,
                },
            ],
        }
    ],
    "presets": {
        "only": {
            "runs": [
                {
                    "protocol": "converged",
                    "start": "near-truth",
                    "extra_atoms": 0,
                    "sizes": [100, 400],
                    "replications": 3,
                    "max_iterations": 40,
                },
                {
                    "protocol": "paper-style",
                    "start": "near-truth",
                    "extra_atoms": 0,
                    "sizes": [100],
                    "replications": 2,
                    "max_iterations": 20,
                },
            ]
        }
    },
}


def tiny_data() -> dict[str, Any]:
    """Return the study as a file would give it, to be changed at will."""
    return copy.deepcopy(TINY)


def tiny_study(**changes: Any) -> ResolvedStudy:
    """Return the study, with top-level values changed."""
    return parse_study({**tiny_data(), **changes}, "tiny.toml").resolve("only")


def write_toml(path: Path, data: dict[str, Any]) -> Path:
    """Write a study as a file; each value on one line."""
    path.write_text("".join(f"{key} = {_toml(value)}\n" for key, value in data.items()))
    return path


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {_toml(entry)}' for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(entry) for entry in value) + "]"
    return json.dumps(value)
