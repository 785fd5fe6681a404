"""Words that compare a measured slope with the paper's; causes are in `_explain`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sigmoe.lab._evidence import Evidence, Finding
from sigmoe.lab._view import PAPER_STATISTIC, Curve, Slope

#: Intervals wider than this cannot tell the rates n^(-1/2) and n^0 apart.
WIDE = 0.5

#: Slopes this close are not put in an order.
NO_DIFFERENCE = 0.02


def paper_slope(curve: Curve) -> float:
    """Return the slope that the paper prints for this curve; NaN if it prints none."""
    slope = curve.main_slope
    return math.nan if slope is None or slope.paper is None else slope.paper


def measured_slope(curve: Curve) -> float:
    """Return the slope of the log loss, mean or median; NaN where there is none."""
    slope = curve.main_slope
    return math.nan if slope is None else slope.slope


def gap(curve: Curve) -> float:
    """Return measured minus paper's slope: positive is flatter than the paper, NaN unknown."""
    return measured_slope(curve) - paper_slope(curve)


def _slope(curve: Curve) -> Slope:
    """Return the slope that is spoken of, of a curve that has one."""
    return curve.slopes[f"log-{curve.statistic}"]


def judgement(curve: Curve) -> str:
    """Say in one word how the paper's slope lies to the measured interval.

    Parameters
    ----------
    curve : Curve
        Any curve.

    Returns
    -------
    {"no slope", "no claim", "no interval", "inside", "steeper", "flatter"}
        "steeper" and "flatter" tell how the measured slope differs from the paper's.
    """
    slope = curve.main_slope
    if slope is None or math.isnan(slope.slope):
        return "no slope"
    if slope.paper is None:
        return "no claim"
    if math.isnan(slope.ci_low):
        return "no interval"
    if slope.ci_low <= slope.paper <= slope.ci_high:
        return "inside"
    return "steeper" if slope.slope < slope.paper else "flatter"


def wide(curve: Curve) -> bool:
    """Whether the interval is too wide for "inside" to mean much."""
    slope = curve.main_slope
    return slope is not None and slope.ci_high - slope.ci_low > WIDE


_VERDICTS = {
    "no slope": "There is no slope: the number of sizes with a {statistic} loss above zero is "
    "{sizes}.",
    "no claim": "{what} {slope}, 95 % interval {low} to {high}; there is no claim to "
    "compare it with.",
    "no claim, no interval": "{what} {slope}, without an interval; there is no claim to "
    "compare it with.",
    "no interval": "{what} {slope}, without an interval; the paper's is {paper}.",
    "inside": "{what} {slope}; the paper's {paper} lies inside our 95 % interval, {low} to {high}.",
    "steeper": "{what} {slope}; the paper's {paper} lies outside our 95 % interval, "
    "{low} to {high}: ours is steeper.",
    "flatter": "{what} {slope}; the paper's {paper} lies outside our 95 % interval, "
    "{low} to {high}: ours is flatter.",
}


def verdict(curve: Curve) -> Finding:
    """State the measured slope, its interval, and whether the paper's slope lies inside."""
    word = judgement(curve)
    if word == "no slope":
        usable = sum(curve.summary(point) > 0 for point in curve.measured)
        evidence = (
            Evidence("sizes", usable, curve.where, "count"),
            Evidence("statistic", curve.statistic, "study: statistic", "text"),
        )
        return Finding("verdict", "verdict", _VERDICTS[word], evidence)
    if word == "no claim" and math.isnan(_slope(curve).ci_low):
        word = "no claim, no interval"
    of = "" if curve.statistic == PAPER_STATISTIC else f" of the {curve.statistic} loss"
    what = Evidence("what", f"Measured slope{of}", "study: statistic", "text")
    return Finding("verdict", "verdict", _VERDICTS[word], (*slope_evidence(curve), what))


def slope_evidence(curve: Curve, prefix: str = "") -> tuple[Evidence, ...]:
    """Return slope, interval, paper's slope, fits and sizes of a curve as evidence."""
    slope = _slope(curve)
    source = f"slopes.csv: {curve.panel}, {curve.curve}, {curve.reading}, {curve.protocol}, " + (
        f"{curve.start}, N={curve.n_fitted}, {curve.loss}, {slope.statistic}"
    )
    pieces = [
        Evidence(f"{prefix}slope", slope.slope, source, "slope"),
        Evidence(f"{prefix}low", slope.ci_low, source, "slope"),
        Evidence(f"{prefix}high", slope.ci_high, source, "slope"),
        Evidence(f"{prefix}fits", slope.fits, source, "count"),
        Evidence(f"{prefix}n_min", slope.n_min, source, "count"),
        Evidence(f"{prefix}n_max", slope.n_max, source, "count"),
    ]
    if slope.paper is not None:
        pieces.append(Evidence(f"{prefix}paper", slope.paper, source, "slope"))
    return tuple(pieces)


def tally(curves: Sequence[Curve]) -> Finding | None:
    """Count in how many of the curves that can be judged the paper's slope lies inside."""
    words = [judgement(curve) for curve in curves]
    judged = [word for word in words if word in ("inside", "steeper", "flatter")]
    if not judged:
        return None
    statistics = dict.fromkeys(f"log-{curve.statistic}" for curve in curves)
    source = f"slopes.csv: {', '.join(statistics)} of {len(words)} curves"
    evidence = [
        Evidence(name, value, source, "count")
        for name, value in (
            ("inside", judged.count("inside")),
            ("judged", len(judged)),
            ("wide", sum(wide(c) for c in curves if judgement(c) == "inside")),
            ("steeper", judged.count("steeper")),
            ("flatter", judged.count("flatter")),
        )
    ]
    text = (
        "The paper's slope lies inside our interval for {inside} of {judged} curves ({wide} of "
        "these intervals are too wide to tell); ours is steeper for {steeper} and flatter for "
        "{flatter}."
    )
    return Finding("tally", "verdict", text, tuple(evidence))


def contrast(first: Curve, second: Curve) -> Finding | None:
    """Compare the difference between a panel's two curves with the paper's difference."""
    slopes = [curve.main_slope for curve in (first, second)]
    if any(s is None or s.paper is None or math.isnan(s.slope) for s in slopes):
        return None
    one, two = (s for s in slopes if s is not None)
    ours = one.slope - two.slope
    claimed = paper_slope(first) - paper_slope(second)
    evidence = (
        Evidence("first", first.curve, "slopes.csv: curve", "text"),
        Evidence("second", second.curve, "slopes.csv: curve", "text"),
        Evidence("claimed", abs(claimed), "slopes.csv: paper_slope, difference", "slope"),
        Evidence("ours", abs(ours), "slopes.csv: slope, difference", "slope"),
        *slope_evidence(first, "first_"),
        *slope_evidence(second, "second_"),
    )
    protocol = Evidence("protocol", first.protocol, "slopes.csv: protocol", "text")
    faster = (
        "{first} falls faster than {second}"
        if claimed < 0
        else ("{second} falls faster than {first}")
    )
    text = f"In the paper {faster}, by {{claimed}} in slope. "
    text += f"In the {{protocol}} fits {_order(one, two, claimed)}"
    return Finding("contrast", "verdict", text, (protocol, *evidence))


def _order(one: Slope, two: Slope, claimed: float) -> str:
    known = not (math.isnan(one.ci_low) or math.isnan(two.ci_low))
    apart = known and (one.ci_high < two.ci_low or two.ci_high < one.ci_low)
    same = (one.slope - two.slope) * claimed > 0
    size = f"the difference is {{ours}}, in the {'same' if same else 'opposite'} order"
    if abs(one.slope - two.slope) < NO_DIFFERENCE:
        size = "there is next to no difference ({ours})"
    if not known:
        return f"{size}, without intervals to judge it by."
    return f"{size}, and the two intervals {'do not overlap' if apart else 'overlap'}."


def undecided(curve: Curve, other: Curve | None) -> Finding | None:
    """Warn where an interval is too wide, or holds both of the panel's slopes of the paper."""
    slope = curve.main_slope
    if slope is None or math.isnan(slope.ci_low):
        return None
    width = Evidence("width", slope.ci_high - slope.ci_low, "slopes.csv: ci_high - ci_low", "slope")
    rival = math.nan if other is None else paper_slope(other)
    counts = (
        Evidence("fits", slope.fits, "slopes.csv: fits", "count"),
        Evidence("sizes", len(curve.measured), curve.where, "count"),
    )
    if slope.ci_low <= rival <= slope.ci_high and judgement(curve) == "inside":
        pieces = (width, *counts, Evidence("rival", rival, "slopes.csv: paper_slope", "slope"))
        text = (
            "The interval also holds {rival}, the paper's slope of the panel's other curve: "
            "{fits} fits at {sizes} sizes do not tell the two apart."
        )
        return Finding("undecided", "context", text, pieces)
    if wide(curve):
        text = "The interval is {width} wide: {fits} fits at {sizes} sizes say little of the rate."
        return Finding("undecided", "context", text, (width, *counts))
    return None
