"""The slopes of Figures 1 and 2, from the stored results of ``sigmoe reproduce all``."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import polars as pl

from sigmoe.lab._builtin import builtin_study
from sigmoe.lab._run import run_studies
from sigmoe.lab._schemas import SLOPES
from sigmoe.lab._versions import cpus
from sigmoe.ledger._claim import Evidence, Kind, Numbers, Reading

#: Where the command of the README puts the preset; what is done there is not done again.
_RESULTS = Path("results") / "paper"
_STUDIES = ("figure1", "figure2", "table1")
#: A slope agrees with the paper's if this close to its interval: the paper does not give sizes,
#: replications and numbers of atoms, and slopes over other sizes differ by about as much.
_TOLERANCE = 0.1
_KINDS: dict[str, Kind] = {"converged": "fits", "paper-style": "first-order fits"}
_LABELS = ("curve", "reading", "n_fitted", "n_min", "n_max", "slope", "ci_low", "ci_high")


@cache
def _all_slopes() -> pl.DataFrame:
    """Run the paper's studies, or what of them is missing, and return their slopes."""
    studies = tuple(builtin_study(name).resolve("paper") for name in _STUDIES)
    run_studies(studies, _RESULTS, workers=cpus())
    return pl.read_csv(_RESULTS / "slopes.csv", schema=SLOPES)


def panel_slopes(figure: str, panel: str, protocol: str) -> Numbers:
    """Return the slopes of the curves of a panel, near-truth starts, as lists of equal length."""
    table = _all_slopes().filter(
        pl.col("figure") == figure,
        pl.col("panel") == panel,
        pl.col("protocol") == protocol,
        pl.col("start") == "near-truth",
        pl.col("statistic") == "log-mean",
        pl.col("paper_slope").is_not_null(),
    )
    # The curve's own loss comes first.
    own = table.unique(["curve", "reading", "n_fitted"], keep="first", maintain_order=True)
    return own.select(*_LABELS, "loss", "paper_slope").to_dict(as_series=False)


def reproduced(numbers: Numbers) -> Reading:
    """Read whether every curve has the paper's slope, with N = N* or with N = N* + 1 atoms."""
    columns = ("curve", "slope", "ci_low", "ci_high", "paper_slope", "n_fitted", "reading")
    rows = list(zip(*(numbers[name] for name in columns), strict=True))
    agree: dict[str, bool] = {}
    parts = []
    for curve, slope, low, high, paper, fitted, reading in rows:
        close = low - _TOLERANCE <= paper <= high + _TOLERANCE
        agree[curve] = agree.get(curve, False) or close
        parts.append(
            f"{curve}, N = {fitted}, {reading}: {slope:.2f} [{low:.2f}, {high:.2f}], "
            f"paper {paper:.2f}"
        )
    return Reading("for" if all(agree.values()) else "against", "; ".join(parts))


def sigmoid_first(numbers: Numbers) -> Reading:
    """Read whether the sigmoid's loss falls faster than the softmax's, for each reading."""
    slopes = {
        (curve, reading): (low, high, value)
        for curve, reading, low, high, value in zip(
            *(numbers[name] for name in ("curve", "reading", "ci_low", "ci_high", "slope")),
            strict=True,
        )
    }
    readings = sorted({reading for _, reading in slopes})
    pairs = [(slopes["sigmoid", r], slopes["softmax", r]) for r in readings]
    text = "; ".join(
        f"{r}: sigmoid {sigmoid[2]:.2f}, softmax {softmax[2]:.2f}"
        for r, (sigmoid, softmax) in zip(readings, pairs, strict=True)
    )
    if all(sigmoid[1] < softmax[0] for sigmoid, softmax in pairs):
        return Reading("for", text)
    slower = all(softmax[1] < sigmoid[0] for sigmoid, softmax in pairs)
    return Reading("against" if slower else "open", text)


def _panel(figure: str, panel: str) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(
            f"{protocol} fits",
            kind,
            partial(panel_slopes, figure, panel, protocol),
            reproduced,
            deep=True,
        )
        for protocol, kind in _KINDS.items()
    )


def _order(panel: str) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(
            f"panel {panel}, {protocol} fits",
            kind,
            partial(panel_slopes, "figure1", panel, protocol),
            sigmoid_first,
            deep=True,
        )
        for protocol, kind in _KINDS.items()
    )


EVIDENCE = {
    "figure-1a": _panel("figure1", "1a"),
    "figure-1b": _panel("figure1", "1b"),
    "figure-1-order": (*_order("1a"), *_order("1b")),
    "figure-2a": _panel("figure2", "2a"),
    "figure-2b": _panel("figure2", "2b"),
}
