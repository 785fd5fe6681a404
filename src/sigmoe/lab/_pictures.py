"""The report's rows of slopes, each with a small picture of the slope and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sigmoe.lab._panels import Panel

_Json = dict[str, Any]


def slope_lines(panels: Sequence[Panel], rows: Sequence[_Json]) -> list[_Json]:
    """Return the rows of slopes.csv with a flag for the curves' own losses and a small picture."""
    own = {(*_key(vars(c)), c.loss) for panel in panels for c in panel.curves if c.main}
    return [
        row
        | {
            "own": (*_key(row), row["loss"]) in own,
            "picture": picture(
                row["slope"],
                row["ci_low"],
                row["ci_high"],
                row["paper_slope"],
                row["predicted_slope"],
            ),
        }
        for row in rows
    ]


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    names = ("figure", "panel", "curve", "reading", "protocol", "start", "n_fitted")
    return tuple(row[name] for name in names)


#: Slopes from -1.5 to 0.5 are drawn to scale in the small pictures; others end in an arrow.
_LOW, _HIGH, _WIDTH = -1.5, 0.5, 120.0


def picture(
    slope: float | None,
    low: float | None,
    high: float | None,
    paper: float | None,
    predicted: float | None,
) -> _Json | None:
    """Return horizontal places, in pixels from 0 to 120, of a slope, its interval and claims."""
    if slope is None:
        return None

    def place(value: float | None) -> float | None:
        if value is None:
            return None
        inside = min(max(value, _LOW), _HIGH)
        return round((inside - _LOW) / (_HIGH - _LOW) * _WIDTH, 1)

    return {
        "slope": place(slope),
        "low": place(low),
        "high": place(high),
        "paper": place(paper),
        "predicted": place(predicted),
        "beyond_low": low is not None and low < _LOW,
        "beyond_high": high is not None and high > _HIGH,
        "zero": place(0.0),
        "half": place(-0.5),
    }
