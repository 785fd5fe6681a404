"""The eight entries of Table 1, from ``sigmoe reproduce table1 --preset asymptotic``."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import polars as pl

from sigmoe.lab._builtin import builtin_study
from sigmoe.lab._run import run_studies
from sigmoe.lab._versions import cpus
from sigmoe.ledger._claim import Evidence, Numbers, Reading

_RESULTS = Path("results") / "table1"
_PANEL = "full"
#: Measured slopes of ten samples a size, and predicted ones, agree with an entry this close to it.
_MEASURED, _PREDICTED = 0.05, 0.1
_COLUMNS = ("curve", "median_slope", "median_low", "median_high", "predicted_slope")


@cache
def _table() -> pl.DataFrame:
    """Run the study, or what of it is missing, and return the table."""
    run_studies((builtin_study("table1").resolve("asymptotic"),), _RESULTS, workers=cpus())
    return pl.read_csv(_RESULTS / "table1.csv")


def cells(gate: str, experts: tuple[str, ...], regime: str) -> Numbers:
    """Return measured and predicted slopes of the experts' errors, as lists of equal length."""
    curves = [f"{gate}, {expert}, {regime}" for expert in experts]
    table = _table().filter(pl.col("panel").str.starts_with(_PANEL) & pl.col("curve").is_in(curves))
    return table.select(_COLUMNS).to_dict(as_series=False)


def measured(entry: float, numbers: Numbers) -> Reading:
    """Read whether measured slopes are those of the entry, or steeper.

    A power of the error bounds the samples from above. An exponential says that no power does, in
    the worst case, of which fits that are better on average say nothing.
    """
    rows = list(zip(*(numbers[name] for name in _COLUMNS[:4]), strict=True))
    text = "; ".join(f"{c}: {slope:.2f} [{low:.2f}, {high:.2f}]" for c, slope, low, high in rows)
    text = f"slopes of the median error, {entry:g} claimed: {text}"
    if entry == 0.0:
        flat = all(high >= -_MEASURED for _, _, _, high in rows)
        return Reading("for" if flat else "open", text)
    if any(low > entry + _MEASURED for _, _, low, _ in rows):
        return Reading("against", text)
    fast = all(low <= entry + _MEASURED for _, _, low, _ in rows)
    return Reading("for" if fast else "open", text)


def predicted(entry: float, numbers: Numbers) -> Reading:
    """Read whether the local modulus has the entry's rate, or a faster one."""
    rows = list(zip(numbers["curve"], numbers["predicted_slope"], strict=True))
    found = [f"{curve}: {'no rate' if rate == 0.0 else f'{rate:.2f}'}" for curve, rate in rows]
    text = f"-1/(2k) of the experts' parameters, {entry:g} claimed: {'; '.join(found)}"
    if entry == 0.0:
        return Reading("for" if all(rate == 0.0 for _, rate in rows) else "against", text)
    slower = any(rate > entry + _PREDICTED for _, rate in rows)
    return Reading("against" if slower else "for", text)


def _fits(
    gate: str, experts: tuple[str, ...], regime: str, entry: float, correction: bool = False
) -> Evidence:
    measure = partial(cells, gate, experts, regime)
    name, read = f"local fits, {' and '.join(experts)}", partial(measured, entry)
    return Evidence(name, "fits", measure, read, correction, deep=True)


def _both(
    gate: str, experts: tuple[str, ...], regime: str, entry: float, correction: bool = False
) -> tuple[Evidence, Evidence]:
    fits = _fits(gate, experts, regime, entry, correction)
    name, read = f"local modulus, {' and '.join(experts)}", partial(predicted, entry)
    return replace(fits, name=name, kind="modulus", read=read), fits


_NETWORKS, _POLYNOMIALS = ("ReLU", "GELU"), ("linear", "polynomial")

EVIDENCE = {
    "table-1-sigmoid-networks-sparse": (
        *_both("sigmoid", _NETWORKS, "sparse", -0.25),
        *_both("sigmoid", ("GELU",), "sparse", -0.25, correction=True),
    ),
    "table-1-sigmoid-networks-dense": _both("sigmoid", _NETWORKS, "dense", -0.5),
    "table-1-sigmoid-polynomials-sparse": _both("sigmoid", _POLYNOMIALS, "sparse", 0.0),
    # The modulus is taken at one measure of the set to which the paper's distance goes, and for
    # quadratic experts only part of that set is known.
    "table-1-sigmoid-polynomials-dense": (_fits("sigmoid", ("linear",), "dense", -0.5),),
    "table-1-softmax-networks-sparse": _both("softmax", _NETWORKS, "sparse", -0.25),
    "table-1-softmax-networks-dense": (
        *_both("softmax", _NETWORKS, "dense", -0.5),
        *_both("softmax", ("GELU",), "dense", -0.25, correction=True),
    ),
    "table-1-softmax-polynomials-sparse": _both("softmax", _POLYNOMIALS, "sparse", 0.0),
    "table-1-softmax-polynomials-dense": _both("softmax", _POLYNOMIALS, "dense", 0.0),
}
