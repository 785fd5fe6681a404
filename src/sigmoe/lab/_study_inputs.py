"""Parts of a study that say where its numbers come from: truths, samples, efforts."""

from __future__ import annotations

from dataclasses import dataclass, field

from sigmoe._base.constraints import Interval
from sigmoe.lab._strict import Each, Listed, item, tables

_COUNT = Interval("integer", 1)
_NUMBER = Interval("number", -100.0, 100.0)
_NUMBERS = Listed(_NUMBER)


@dataclass(frozen=True)
class Atom:
    """One atom of a truth that the study gives: the rows of A (d x d), b (d), c and eta (q)."""

    A: tuple[float, ...] = field(metadata=item(_NUMBERS, "List the d x d entries of A by rows."))
    b: tuple[float, ...] = field(metadata=item(_NUMBERS, "List the d entries of b."))
    c: float = field(metadata=item(_NUMBER, "Give the constant of the score."))
    eta: tuple[float, ...] = field(metadata=item(_NUMBERS, "List the expert's parameters."))


@dataclass(frozen=True)
class Truths:
    """Dimensions of the truths that are drawn (Appendix E of the paper), or the truth itself.

    With ``atoms`` nothing is drawn. The sparse regime then sets A = b = 0 in the last ``n_sparse``
    of them and keeps their c, and the atoms that are fitted beyond N* belong to the last one.
    """

    dim: int = field(metadata=item(_COUNT, "Give the input dimension d."))
    n_true: tuple[int, ...] = field(
        metadata=item(Each(_COUNT), "List numbers of true atoms, such as [8].")
    )
    n_sparse: int = field(
        default=2, metadata=item(_COUNT, "Give the number of zero gates in the sparse regime.")
    )
    atoms: tuple[Atom, ...] | None = field(default=None, metadata=tables(Atom))


@dataclass(frozen=True)
class Nodes:
    """Samples at quadrature nodes, see `sigmoe.lab._nodes`; inputs U[-half_width, half_width]^d."""

    half_width: float = field(
        metadata=item(Interval("number", 0.0, closed="right"), "Give half the edge of the box.")
    )
    level: int = field(default=1, metadata=item(_COUNT, "Use 1, or more for more nodes."))


@dataclass(frozen=True)
class Modulus:
    """Effort spent on the local modulus, which predicts the slope of the experts' loss."""

    n_starts: int = field(default=2, metadata=item(_COUNT, "Give the number of random starts."))
    decades: float = field(
        default=1.5,
        metadata=item(Interval("number", 1.0), "Follow t down by at least one decade."),
    )


@dataclass(frozen=True)
class Approximation:
    """Effort spent on best approximations, for curves whose target they are."""

    n_starts: int = field(default=8, metadata=item(_COUNT, "Give the number of starts."))
    n_points: int = field(
        default=2**14,
        metadata=item(_COUNT, "Give the number of points that stand for the population."),
    )
    max_iterations: int = field(
        default=200, metadata=item(_COUNT, "Cap the iterations of one start's fits.")
    )
