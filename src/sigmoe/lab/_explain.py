"""Rules that explain a slope from stored numbers: one small pure function a cause.

Each rule looks at a curve (and, where it compares, at a second one) and returns a `Finding`, or
None where the evidence for it is missing or weak. A finding is a *cause* when it pushes the
measured slope away from the paper's in the direction in which it does differ, or limits what the
slope means; otherwise it is *context*. The thresholds are named here and nowhere else.
"""

from __future__ import annotations

import math

from sigmoe.lab._evidence import Evidence, Finding, Role
from sigmoe.lab._verdict import gap, measured_slope, paper_slope
from sigmoe.lab._view import Curve, Point, curve_slope

#: Two slopes closer than this are not told apart.
SLOPE_STEP = 0.1
#: Part of the loss from which a group of atoms is said to carry it.
CARRIES = 0.4
#: A fit whose loss is within these multiples of its start's has the start showing through.
NEAR_START = (0.5, 1.5)
#: Ratio of two protocols' losses, on either side of one, from which they are said to differ.
DIFFERS = 1.25
#: Ratio of mean to median from which large losses are said to carry the mean.
HEAVY = 1.5
#: Slope at which a function error is said to fall.
FALLS = -0.3


def flat_atoms(curve: Curve) -> Finding | None:
    """Atoms whose true gate is constant keep their part of the loss, whatever the sample size."""
    atoms = curve.zero_gates
    points = [p for p in curve.measured if p.atoms]
    if not atoms or len(points) < 2:
        return None

    def flat(p: Point) -> float:
        return sum(p.atoms[j] for j in atoms) if p.atoms else math.nan

    def rest(p: Point) -> float:
        return sum(p.atoms) - flat(p) if p.atoms else math.nan

    first, last = points[0], points[-1]
    slopes = curve_slope(curve, flat), curve_slope(curve, rest)
    share = flat(last) / sum(last.atoms) if sum(last.atoms) > 0 else 0.0
    if share < CARRIES or not slopes[0] > slopes[1] + SLOPE_STEP:
        return None
    source = curve.where + ", mean of by_atom where empty_cells = 0"
    evidence = (
        Evidence("atoms", _enumerate(atoms), "tasks: truth_A, truth_b, truth_c = 0", "text"),
        Evidence("share", share, source, "share"),
        Evidence("n", last.n, source, "count"),
        Evidence("n_first", first.n, source, "count"),
        Evidence("flat_first", flat(first), source),
        Evidence("flat_last", flat(last), source),
        Evidence("flat_slope", slopes[0], source + ", log-log slope", "slope"),
        Evidence("rest_first", rest(first), source),
        Evidence("rest_last", rest(last), source),
        Evidence("rest_slope", slopes[1], source + ", log-log slope", "slope"),
    )
    text = (
        "Flat atoms: atoms {atoms} (counted from zero), whose true gate is constant, carry "
        "{share} of the loss at n = {n}. From n = {n_first} on their part goes from {flat_first} "
        "to {flat_last} (slope {flat_slope}), that of the other atoms from {rest_first} to "
        "{rest_last} ({rest_slope}). The data do not identify these atoms well, so their part "
        "need not fall."
    )
    return Finding("flat_atoms", "cause" if gap(curve) > 0 else "context", text, evidence)


def start_noise(curve: Curve) -> Finding | None:
    """See whether the start shows through the fit, or how far the fit has left it."""
    points = [p for p in curve.measured if p.start_mean > 0]
    if curve.start != "near-truth" or not points:
        return None
    first, last = points[0], points[-1]
    ratios = first.mean / first.start_mean, last.mean / last.start_mean
    evidence = (
        Evidence("n_first", first.n, curve.where, "count"),
        Evidence("n_last", last.n, curve.where, "count"),
        Evidence("first", ratios[0], curve.where + ", value / start_value", "times"),
        Evidence("last", ratios[1], curve.where + ", value / start_value", "times"),
        Evidence("start_first", first.start_mean, curve.where + ", start_value"),
        Evidence("start_last", last.start_mean, curve.where + ", start_value"),
        Evidence("start_slope", curve_slope(curve, lambda p: p.start_mean), curve.where, "slope"),
    )
    seen = any(NEAR_START[0] <= ratio <= NEAR_START[1] for ratio in ratios)
    if curve.protocol != "converged" and seen and len(points) > 1:
        text = (
            "Start: it shows through. The starts' own loss goes from {start_first} to "
            "{start_last} (slope {start_slope}), and the estimate is at {first} times it at "
            "n = {n_first} and {last} times at n = {n_last}: part of the measured slope is the "
            "start's."
        )
        return Finding("start_noise", "cause", text, evidence)
    if ratios[0] > 1:
        name = "least squares" if curve.protocol == "converged" else "the optimiser"
        text = (
            f"Start: {name} leaves it. "
            "The fit is {first} times as far from the truth as "
            "its start at n = {n_first}, and {last} times at n = {n_last}."
        )
        return Finding("start_noise", "context", text, evidence)
    return None


def budget(curve: Curve, other: Curve | None) -> Finding | None:
    """Compare a fixed budget of first-order steps with least squares on the same samples."""
    if other is None or curve.protocol == other.protocol:
        return None
    pairs = shared_samples(curve, other)
    if not pairs:
        return None
    mine, peer = pairs[-1]
    if 1 / DIFFERS < mine.mean / peer.mean < DIFFERS:
        return None
    evidence = (
        Evidence("n", mine.n, curve.where, "count"),
        Evidence("fits", mine.replications, curve.where + ", replications of both", "count"),
        Evidence("mine", mine.mean, curve.where),
        Evidence("peer", peer.mean, other.where),
        Evidence("protocol", curve.protocol, "slopes.csv: protocol", "text"),
        Evidence("peer_protocol", other.protocol, "slopes.csv: protocol", "text"),
        Evidence("objective", mine.objective, "tasks: objective, " + curve.protocol),
        Evidence("peer_objective", peer.objective, "tasks: objective, " + other.protocol),
        Evidence("start", mine.start_mean, curve.where + ", start_value"),
        Evidence("slope", measured_slope(curve), "slopes.csv: slope", "slope"),
        Evidence("peer_slope", measured_slope(other), "slopes.csv: slope", "slope"),
    )
    text = (
        "Optimiser: on the samples of n = {n} that both have ({fits}) the {protocol} fits end at "
        "a loss of {mine} (objective {objective}), the {peer_protocol} ones at {peer} "
        "({peer_objective}); the slopes are {slope} and {peer_slope}."
    )
    early = curve.protocol != "converged" and mine.mean < peer.mean and mine.start_mean < mine.mean
    if early:
        text += (
            " The steps end on the way from a start whose loss is {start}: that they are nearer "
            "to the truth than least squares is owed to the start and not to the data."
        )
    return Finding("budget", "cause" if early else _budget_role(curve, other), text, evidence)


def shared_samples(curve: Curve, other: Curve) -> list[tuple[Point, Point]]:
    """Return the points of two curves at common sizes, with the fits to common samples alone."""
    theirs = {p.n: p for p in other.measured}
    pairs = []
    for point in curve.measured:
        peer = theirs.get(point.n)
        common = set(point.samples) & set(peer.samples) if peer else set()
        if peer and common:
            pair = point.on_samples(common), peer.on_samples(common)
            if min(p.mean for p in pair) > 0:
                pairs.append(pair)
    return pairs


def _budget_role(curve: Curve, other: Curve) -> Role:
    """Call the optimiser a cause if changing it moves the slope to or past the paper's."""
    moved = abs(measured_slope(other) - measured_slope(curve)) >= SLOPE_STEP
    past = (measured_slope(other) - paper_slope(curve)) * gap(curve) < 0
    nearer = abs(measured_slope(other) - paper_slope(curve)) < abs(gap(curve))
    return "cause" if moved and (nearer or past) else "context"


def ill_determined(curve: Curve, function: Curve | None) -> Finding | None:
    """Find a function that is learnt while its parameters are not: many parameters give it."""
    if function is None:
        return None
    ours = measured_slope(curve)
    theirs = curve_slope(function, function.summary)
    points = [p for p in function.measured if function.summary(p) > 0]
    if len(points) < 2 or not (theirs <= FALLS and ours >= theirs + 2 * SLOPE_STEP):
        return None
    target = "its best approximation" if curve.reading == "softmax-data" else "the truth"
    evidence = (
        Evidence("function_slope", theirs, function.where + ", log-log slope", "slope"),
        Evidence("slope", ours, "slopes.csv: slope", "slope"),
        Evidence("first", function.summary(points[0]), function.where),
        Evidence("last", function.summary(points[-1]), function.where),
        Evidence("n_first", points[0].n, function.where, "count"),
        Evidence("n_last", points[-1].n, function.where, "count"),
        Evidence("target", target, "reading", "text"),
    )
    text = (
        "Ill-determined parameters: the distance of the fitted function to {target} falls from "
        "{first} at n = {n_first} to {last} at n = {n_last} (slope {function_slope}), while this "
        "loss has {slope}: different parameters give nearly the same function."
    )
    return Finding("ill_determined", "cause" if gap(curve) > 0 else "context", text, evidence)


def heavy_tails(curve: Curve) -> Finding | None:
    """Find a mean that a few large losses carry; the median tells another slope."""
    points = [p for p in curve.measured if p.replications > 2 and p.median > 0]
    if not points:
        return None
    worst = max(points, key=lambda p: p.mean / p.median)
    ours, other = (
        math.nan if slope is None else slope.slope
        for slope in (curve.slopes.get("log-mean"), curve.slopes.get("log-median"))
    )
    if worst.mean / worst.median < HEAVY and not abs(other - ours) >= SLOPE_STEP:
        return None
    evidence = (
        Evidence("n", worst.n, curve.where, "count"),
        Evidence("mean", worst.mean, curve.where),
        Evidence("median", worst.median, curve.where),
        Evidence("largest", max(worst.values), curve.where),
        Evidence("slope", ours, "slopes.csv: slope, log-mean", "slope"),
        Evidence("median_slope", other, "slopes.csv: slope, log-median", "slope"),
    )
    text = (
        "Scatter: at n = {n} the mean loss is {mean}, the median {median}, the largest {largest}. "
        "The slope of the mean is {slope}, of the median {median_slope}."
    )
    # A slope of the median is not moved by them, and gap(curve) is its own.
    nearer = abs(other - paper_slope(curve)) < abs(gap(curve))
    moved = abs(other - ours) >= SLOPE_STEP
    return Finding("heavy_tails", "cause" if nearer and moved else "context", text, evidence)


def _enumerate(atoms: tuple[int, ...]) -> str:
    names = [str(j) for j in atoms]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
