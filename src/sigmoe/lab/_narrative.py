"""Put the sentences of a panel together: verdicts first, then causes, then context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sigmoe.lab._context import (
    empty_cells,
    failed_fits,
    not_regular,
    random_starts,
    scope,
    set_members,
    stopped_early,
)
from sigmoe.lab._evidence import Evidence, Finding
from sigmoe.lab._explain import (
    budget,
    flat_atoms,
    heavy_tails,
    ill_determined,
    start_noise,
)
from sigmoe.lab._panels import Panel, Variant
from sigmoe.lab._sizes import function_transient, non_asymptotic, size_of_truth
from sigmoe.lab._verdict import contrast, judgement, tally, undecided, verdict, wide
from sigmoe.lab._view import Curve

_ORDER = {"verdict": 0, "cause": 1, "context": 2}


@dataclass(frozen=True)
class Paragraph:
    """What is said of one curve: the verdict, the causes, the context, in this order."""

    curve: Curve
    findings: tuple[Finding, ...]

    @property
    def judgement(self) -> str:
        """One word for the verdict; see `sigmoe.lab._verdict.judgement`."""
        return judgement(self.curve)

    @property
    def wide(self) -> bool:
        """Whether the interval is too wide for the verdict to mean much."""
        return wide(self.curve)


@dataclass(frozen=True)
class Reading:
    """What is said of one reading of a panel.

    Parameters
    ----------
    variant : Variant
        The reading.
    summary : tuple of Finding
        Verdicts on all curves together.
    shared : tuple of Finding
        Context that holds for every curve alike, said once.
    paragraphs : tuple of Paragraph
        One a curve.
    """

    variant: Variant
    summary: tuple[Finding, ...]
    shared: tuple[Finding, ...]
    paragraphs: tuple[Paragraph, ...]


def explain_panel(panel: Panel) -> tuple[Reading, ...]:
    """Return the words for each reading of a panel, the one nearest to the paper first.

    Parameters
    ----------
    panel : Panel
        Any panel of a result folder.

    Returns
    -------
    tuple of Reading
        Every sentence is a `Finding`, which carries its evidence.
    """
    return tuple(_reading(panel, variant) for variant in panel.variants)


def _reading(panel: Panel, variant: Variant) -> Reading:
    curves = panel.select(variant, main=True)
    near = [curve for curve in curves if curve.start == "near-truth"] or list(curves)
    near.sort(key=lambda c: (c.protocol == "converged", c.protocol, c.curve))
    summary = [tally(near), *_contrasts(near)]
    paragraphs = tuple(explain_curve(curve, panel) for curve in near)
    shared = _shared(paragraphs)
    said = {finding.text for finding in shared}
    return Reading(
        variant,
        tuple(finding for finding in summary if finding is not None),
        shared,
        tuple(
            replace(p, findings=tuple(f for f in p.findings if f.text not in said))
            for p in paragraphs
        ),
    )


def _shared(paragraphs: Sequence[Paragraph]) -> tuple[Finding, ...]:
    """Return the context that stands, word for word, in every one of several paragraphs."""
    if len(paragraphs) < 2:
        return ()
    texts = [{finding.text for finding in p.findings} for p in paragraphs]
    common = set.intersection(*texts)
    return tuple(f for f in paragraphs[0].findings if f.role == "context" and f.text in common)


def _contrasts(curves: Sequence[Curve]) -> list[Finding | None]:
    """Compare the two curves of each protocol; panels with more curves make no such claim."""
    found = []
    for protocol in dict.fromkeys(curve.protocol for curve in curves):
        pair = [curve for curve in curves if curve.protocol == protocol]
        if len(pair) == 2:
            found.append(contrast(*pair))
    return found


def explain_curve(curve: Curve, panel: Panel) -> Paragraph:
    """Return every sentence that the stored numbers support about one curve.

    Parameters
    ----------
    curve : Curve
        A curve under its own loss.
    panel : Panel
        Its panel, for the curves to compare with.

    Returns
    -------
    Paragraph
        If the paper's slope lies outside the interval and no cause was found, it says so.
    """
    others = panel.select(
        Variant(curve.reading, curve.n_fitted, curve.n_true),
        protocol=curve.protocol,
        start=curve.start,
        main=True,
    )
    rivals = [other for other in others if other.curve != curve.curve]
    rival = rivals[0] if len(rivals) == 1 else None
    other_protocol = "paper-style" if curve.protocol == "converged" else "converged"
    found = [
        flat_atoms(curve),
        start_noise(curve),
        size_of_truth(curve),
        non_asymptotic(curve),
        function_transient(curve, panel.sibling(curve, loss="function")),
        budget(curve, panel.sibling(curve, protocol=other_protocol)),
        ill_determined(curve, panel.sibling(curve, loss="function")),
        heavy_tails(curve),
        failed_fits(curve),
        stopped_early(curve),
        undecided(curve, rival),
        random_starts(curve, panel.sibling(curve, start="random")),
        not_regular(curve),
        set_members(curve),
        empty_cells(curve),
        scope(curve),
    ]
    findings = [finding for finding in found if finding is not None]
    if judgement(curve) in ("steeper", "flatter") and all(f.role != "cause" for f in findings):
        findings.append(_unexplained(len(found)))
    ordered = sorted([verdict(curve), *findings], key=lambda f: _ORDER[f.role])
    return Paragraph(curve, tuple(ordered))


def _unexplained(checks: int) -> Finding:
    evidence = (Evidence("checks", checks, "rules of sigmoe.lab._narrative", "count"),)
    text = "None of the {checks} checks that this report makes explains the difference."
    return Finding("unexplained", "cause", text, evidence)
