"""What the report's template is filled with; every number comes from a stored table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from sigmoe.lab._evidence import format_value
from sigmoe.lab._figures import is_table
from sigmoe.lab._layouts import PROTOCOLS
from sigmoe.lab._narrative import explain_panel
from sigmoe.lab._panels import Panel
from sigmoe.lab._pictures import picture, slope_lines
from sigmoe.lab._read import Results
from sigmoe.lab._samples import ERRORS, cell, is_comparison
from sigmoe.lab._tables import bar, fitted_line
from sigmoe.lab._verdict import judgement, wide
from sigmoe.lab._view import Curve, Point

#: Failed tasks that are listed one by one; the rest are counted.
_SHOWN_FAILURES = 50

#: Key of the curves' own losses among the losses that a chart can show.
OWN_LOSS = "own"

_Json = dict[str, Any]


def page(results: Results) -> _Json:
    """Return the template's variables for a result folder."""
    titles = _titles(results.studies)
    drawn = [panel for panel in results.panels if not is_table(panel.figure)]
    tabled = [p for p in results.panels if is_table(p.figure) and not is_comparison(p)]
    return {
        "studies": [_study(study) for study in results.studies],
        "panels": [_panel(panel, titles) for panel in drawn],
        "table_panels": [_panel(panel, titles) for panel in tabled],
        "errors": ERRORS,
        "statistics": _statistics(results.panels),
        "claimed": any(row["paper_slope"] is not None for row in results.slopes.rows(named=True)),
        "of_paper": any(panel.figure in ("figure1", "figure2") for panel in drawn),
        "charts": {panel_id(panel): chart(panel) for panel in drawn},
        "slopes": slope_lines(results.panels, results.slopes.rows(named=True)),
        "run": _run(results),
    }


def _statistics(panels: Sequence[Panel]) -> list[str]:
    """Return which statistics' slopes the studies speak of: "mean", "median" or both."""
    return sorted({curve.statistic for panel in panels for curve in panel.curves})


def panel_id(panel: Panel) -> str:
    """Return the page's anchor of a panel: letters, digits and hyphens only."""
    text = f"{panel.figure}-{panel.panel}"
    return "".join(c if c.isalnum() else "-" for c in text).lower()


def chart(panel: Panel) -> _Json:
    """Return the data of a panel's chart.

    Parameters
    ----------
    panel : Panel
        Any panel.

    Returns
    -------
    dict
        Plain data for JSON; numbers that do not exist are None.
    """
    variants = [variant.key for variant in panel.variants]
    labels = {variant.key: variant.label for variant in panel.variants}
    return {
        "panel": panel.panel,
        "names": list(panel.names),
        "variants": [{"key": key, "label": labels[key]} for key in variants],
        "quantities": _quantities(panel),
        "curves": [
            _chart_curve(curve, panel.names.index(curve.curve), variants)
            for curve in panel.curves
            if curve.points
        ],
    }


def _chart_curve(curve: Curve, slot: int, variants: Sequence[str]) -> _Json:
    line = fitted_line(curve)
    slope = curve.main_slope
    key = f"{curve.reading}-N{curve.n_fitted}"
    return {
        "name": curve.curve,
        "slot": slot,
        "variant": variants.index(key),
        "protocol": curve.protocol,
        "start": curve.start,
        "scope": curve.scope,
        "loss": curve.loss,
        "quantity": quantity(curve),
        "slope": None if slope is None else known(slope.slope),
        "low": None if slope is None else known(slope.ci_low),
        "high": None if slope is None else known(slope.ci_high),
        "paper": None if slope is None else slope.paper,
        "points": [_chart_point(point, line(point.n) if line else None) for point in curve.points],
    }


def _chart_point(point: Point, fitted: float | None) -> _Json:
    ends = bar(point)
    return {
        "n": point.n,
        "mean": known(point.mean),
        "sd": known(point.sd),
        "median": known(point.median),
        "low": known(ends.lower),
        "high": known(ends.upper),
        "reps": point.replications,
        "failed": point.failed,
        "start": known(point.start_mean),
        "fisher": known(point.predicted),
        "fit": known(fitted),
    }


def quantity(curve: Curve) -> str:
    """Return what the vertical axis means for this curve, in words.

    Curves of one panel may have different losses of their own (L3 beside the softmax loss);
    they are shown together, as the paper does.
    """
    return OWN_LOSS if curve.main else curve.loss


def _quantities(panel: Panel) -> list[_Json]:
    """Return what the vertical axis can mean in a panel, the curves' own losses first."""
    own = list(dict.fromkeys(curve.loss for curve in panel.curves if curve.main))
    words = {"expert": "experts' parameters alone", "function": "function error"}
    words[OWN_LOSS] = words.get(own[0], own[0]) if len(own) == 1 else " / ".join(own)
    found = sorted({quantity(c) for c in panel.curves}, key=lambda name: (name != OWN_LOSS, name))
    axes = {"function": "‖f̂ − target‖"}
    return [
        {
            "key": name,
            "label": words.get(name, name),
            "axis": axes.get(name, f"mean loss {words.get(name, name)}"),
        }
        for name in found
    ]


def known(value: float | None) -> float | None:
    """Return the value, or None for one that is not a number: JSON has no NaN."""
    return value if value is not None and math.isfinite(value) else None


def _panel(panel: Panel, titles: dict[tuple[str, str], str]) -> _Json:
    return {
        "id": panel_id(panel),
        "figure": panel.figure,
        "panel": panel.panel,
        "title": titles.get((panel.figure, panel.panel), panel.panel),
        "readings": explain_panel(panel),
        "glance": [_glance(curve) for curve in _first_reading(panel)],
        "values": [
            {"curve": curve, "point": point, "bar": bar(point)}
            for curve in panel.curves
            if curve.main
            for point in curve.points
        ],
    }


def _first_reading(panel: Panel) -> list[Curve]:
    """Return the curves of the first reading that have a row of slopes, protocols together."""
    curves = panel.select(panel.variants[0], main=True)
    near = [c for c in curves if c.start == "near-truth"] or curves
    order = {name: place for place, name in enumerate(PROTOCOLS)}
    # The cells of a table keep the order of the study, as in its picture.
    stored = list(dict.fromkeys(curve.curve for curve in near))
    names = stored if is_table(panel.figure) else panel.names
    return sorted(
        (c for c in near if c.main_slope is not None),
        key=lambda c: (names.index(c.curve), order.get(c.protocol, len(order)), c.protocol),
    )


def _glance(curve: Curve) -> _Json:
    slope, beside = curve.slopes[f"log-{curve.statistic}"], curve.beside
    same = beside is None or f"{beside.slope:.2f}" == f"{slope.slope:.2f}"
    return {
        "curve": curve,
        "slope": slope,
        "beside": None if same else beside,
        "judgement": judgement(curve),
        "wide": wide(curve),
        "cell": cell(curve) if is_table(curve.figure) else None,
        "picture": picture(
            known(slope.slope),
            known(slope.ci_low),
            known(slope.ci_high),
            slope.paper,
            slope.predicted,
        ),
    }


def _titles(studies: Sequence[_Json]) -> dict[tuple[str, str], str]:
    return {
        (study["name"], panel["name"]): panel["title"]
        for study in studies
        for panel in study.get("study", {}).get("panels", [])
    }


def _study(study: _Json) -> _Json:
    inner = study.get("study", {})
    return {
        "name": study["name"],
        "title": inner.get("title", ""),
        "facts": [
            ("Preset", study.get("preset", "")),
            ("Seed", str(inner.get("seed", ""))),
            ("Hash", study.get("hash", "")),
            ("Begun", study.get("created_at", "")),
            ("Versions", _pairs(study.get("versions", {}))),
            ("Machine", _pairs(study.get("machine", {}))),
        ],
        "settings": inner,
    }


def _pairs(values: _Json) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _run(results: Results) -> _Json:
    tasks = results.tasks
    rows = tasks.rows(named=True)
    failures = [row for row in rows if row["failed"]]
    seconds = sum(row["seconds"] or 0.0 for row in rows)
    finished = sorted(row["finished_at"] for row in rows if row["finished_at"])
    versions = Counter(
        f"sigmoe {row['sigmoe_version']}, torch {row['torch_version']}, "
        f"numpy {row['numpy_version']}"
        for row in rows
    )
    return {
        "tasks": len(rows),
        "failed": len(failures),
        "failures": failures[:_SHOWN_FAILURES],
        "statuses": Counter(f"{row['protocol']}: {row['status']}" for row in rows).most_common(),
        "seconds": format_value(seconds, "count"),
        "first": finished[0] if finished else "",
        "last": finished[-1] if finished else "",
        "versions": versions.most_common(),
    }
