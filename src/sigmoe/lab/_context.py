"""Rules for what a reader must know beside a slope: failures, scope, other starts.

They work as those of `_explain` do: one pure function each, None where there is nothing to say.
"""

from __future__ import annotations

import numpy as np

from sigmoe.lab._evidence import Evidence, Finding, Role
from sigmoe.lab._explain import shared_samples
from sigmoe.lab._view import Curve, Point

#: Part of failed fits from which they limit what a slope means.
MANY_FAILED = 0.1
#: Part of fits at their limit of iterations from which they limit what a slope means.
MANY_STOPPED = 0.25
#: Ratio of the losses of fits with an empty cell to the others', from which an atom has escaped.
ESCAPED = 3.0
#: Members of a set that are named before the rest is counted.
SHOWN_MEMBERS = 4


def failed_fits(curve: Curve) -> Finding | None:
    """Failed fits are in no mean, so they are counted in words."""
    failed = sum(p.failed for p in curve.points)
    total = failed + sum(p.replications for p in curve.points)
    if not failed:
        return None
    sizes = _enumerate_sizes([p.n for p in curve.points if p.failed])
    evidence = (
        Evidence("failed", failed, curve.where + ", failed", "count"),
        Evidence("total", total, curve.where, "count"),
        Evidence("sizes", sizes, curve.where, "text"),
    )
    text = "Failures: {failed} of {total} fits failed (n = {sizes}); they are in no mean."
    role: Role = "cause" if failed >= MANY_FAILED * total else "context"
    return Finding("failed_fits", role, text, evidence)


def stopped_early(curve: Curve) -> Finding | None:
    """Count the fits of least squares that ended at their limit of iterations."""
    flags = [flag for point in curve.measured for flag in point.converged]
    stopped = len(flags) - sum(flags)
    if curve.protocol != "converged" or not stopped:
        return None
    sizes = [p.n for p in curve.measured if not all(p.converged)]
    evidence = (
        Evidence("stopped", stopped, "tasks: converged", "count"),
        Evidence("total", len(flags), curve.where, "count"),
        Evidence("sizes", _enumerate_sizes(sizes), curve.where, "text"),
    )
    text = (
        "Iterations: {stopped} of {total} fits ended at their limit before they converged "
        "(n = {sizes}); they are counted as they are."
    )
    role: Role = "cause" if stopped >= MANY_STOPPED * len(flags) else "context"
    return Finding("stopped_early", role, text, evidence)


def empty_cells(curve: Curve) -> Finding | None:
    """See what empty cells do: an atom that left its cell counts in that of another."""
    points = [p for p in curve.measured if any(p.empty_cells)]
    if not points:
        return None
    worst = max(points, key=_escape)
    left, kept = _by_cells(worst)
    evidence = [
        Evidence("left", len(left), curve.where + ", empty_cells > 0", "count"),
        Evidence("fits", worst.replications, curve.where, "count"),
        Evidence("empty", worst.mean_empty, curve.where + ", mean of empty_cells"),
        Evidence("n", worst.n, curve.where, "count"),
        Evidence("mean_left", float(np.mean(left)), curve.where + ", empty_cells > 0"),
    ]
    text = (
        "Empty cells: at n = {n}, {left} of {fits} fits leave a true atom without a fitted one "
        "nearest to it. "
    )
    if kept:
        source = curve.where + ", empty_cells = 0"
        evidence.append(Evidence("mean_kept", float(np.mean(kept)), source))
        text += "Their mean loss is {mean_left}, that of the others {mean_kept}. "
    if _escape(worst) >= ESCAPED:
        text += "An atom has left its cell and counts, far away, in that of another."
        return Finding("empty_cells", "cause", text, tuple(evidence))
    text += "Such a cell counts zero, so the loss understates the distance."
    return Finding("empty_cells", "context", text, tuple(evidence))


def _by_cells(point: Point) -> tuple[list[float], list[float]]:
    """Return the losses of the fits with an empty cell, and of those without."""
    pairs = list(zip(point.values, point.empty_cells, strict=True))
    return [v for v, empty in pairs if empty], [v for v, empty in pairs if not empty]


def _escape(point: Point) -> float:
    """Return how many times larger the losses with an empty cell are; 0 without both kinds."""
    left, kept = _by_cells(point)
    return float(np.mean(left) / np.mean(kept)) if left and kept and np.mean(kept) > 0 else 0.0


def random_starts(curve: Curve, other: Curve | None) -> Finding | None:
    """Compare local fits with global ones, which know nothing of the truth."""
    if other is None or curve.start != "near-truth" or other.start != "random":
        return None
    pairs = shared_samples(curve, other)
    if not pairs:
        return None
    mine, peer = pairs[-1]
    evidence = (
        Evidence("n", mine.n, curve.where, "count"),
        Evidence("fits", mine.replications, curve.where + ", replications of both", "count"),
        Evidence("local", mine.mean, curve.where),
        Evidence("other", peer.mean, other.where),
        Evidence("objective", mine.objective, "tasks: objective, near-truth"),
        Evidence("other_objective", peer.objective, "tasks: objective, random"),
    )
    text = (
        "Random starts: on the samples of n = {n} that both have ({fits}) the best of several "
        "starts that know nothing of the truth (global) ends at a loss of {other} and an "
        "objective of {other_objective}; the fits started near the truth (local) at {local} and "
        "{objective}."
    )
    return Finding("random_starts", "context", text, evidence)


def scope(curve: Curve) -> Finding | None:
    """With N > N* a rate is local or global, and the words say which."""
    if not curve.over_specified:
        return None
    evidence = (
        Evidence("n_fitted", curve.n_fitted, "slopes.csv: n_fitted", "count"),
        Evidence("n_true", curve.n_true, "losses.parquet: n_true", "count"),
        Evidence("start", curve.start, "slopes.csv: start", "text"),
    )
    if curve.scope == "local":
        text = (
            "Local rate: {n_fitted} atoms are fitted to {n_true}, from a {start} start. Many "
            "parameters give the same function, so nothing follows for fits from elsewhere."
        )
    else:
        text = (
            "Global rate: {n_fitted} atoms are fitted to {n_true}, from {start} starts. Many "
            "parameters give the same function, so the parameters need not converge at all."
        )
    return Finding("scope", "context", text, evidence)


def not_regular(curve: Curve) -> Finding | None:
    """Say why the Fisher information predicts nothing here."""
    if curve.regular is not False or not curve.reason:
        return None
    reason = curve.reason.replace(".;", ";").rstrip(".")
    if " atom" in reason:
        reason += " (atoms are counted from zero)"
    evidence = (Evidence("reason", reason, "predictions.parquet: reason", "text"),)
    return Finding("not_regular", "context", "No Fisher prediction: {reason}.", evidence)


def set_members(curve: Curve) -> Finding | None:
    """Say which members of a set of targets the fits were nearest to."""
    counts: dict[str, int] = {}
    for point in curve.measured:
        for member in point.members:
            counts[member] = counts.get(member, 0) + 1
    if not counts:
        return None
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    words = ", ".join(f"{member} ({count})" for member, count in ranked[:SHOWN_MEMBERS])
    if len(ranked) > SHOWN_MEMBERS:
        words += f" and {len(ranked) - SHOWN_MEMBERS} others"
    source = curve.where + ", member"
    evidence = (
        Evidence("members", words, source, "text"),
        Evidence("kinds", len(ranked), source, "count"),
    )
    text = (
        "Distance to a set: the loss is taken to the nearest of several measures with the same "
        "(or nearly the same) function; the nearest were, with the number of fits, {members}."
    )
    return Finding("set_members", "context", text, evidence)


def _enumerate_sizes(sizes: list[int]) -> str:
    return ", ".join(f"{n:,}" for n in sizes)
