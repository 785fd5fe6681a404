"""Studies: what is drawn, fitted and measured, as data with a name.

A study is a TOML file. It says which truths are drawn, which curves are measured on them, by which
protocols, and how large each preset is. Nothing in it says how the work is run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from sigmoe._base.constraints import Choice, Interval
from sigmoe._base.errors import invalid
from sigmoe.lab._strict import Each, Text, as_table, item, named, table, tables
from sigmoe.lab._study_inputs import Approximation, Modulus, Nodes, Truths

#: Losses that a curve may ask for. "expert" is the part of the experts' parameters alone, and
#: "function" is ||f_hat - f_target|| in L2(mu).
LOSSES = ("L1", "L2", "L3", "L4", "L5", "softmax", "expert", "function")

_COUNT = Interval("integer", 1)
_LABEL = "Give it a short name."
_SIZES = "List sample sizes, smallest first."


@dataclass(frozen=True)
class Protocol:
    """How a fit is started and carried out.

    The near-truth start has Gaussian noise of standard deviation
    ``start_noise * n ** start_exponent``.
    """

    optimiser: str = field(
        metadata=item(
            Choice(("levenberg-marquardt", "adam", "minpack")),
            "Choose least squares, first-order steps, or MINPACK for samples at nodes.",
        )
    )
    start_noise: float = field(
        metadata=item(Interval("number", 0.0), "Give the noise of the start at n = 1.")
    )
    start_exponent: float = field(
        default=0.0,
        metadata=item(
            Interval("number", -1.0, 0.0), "Give the exponent with which the noise falls in n."
        ),
    )
    gradient_tolerance: float = field(
        default=1e-8,
        metadata=item(Interval("number", 0.0, 1.0), "Give the gradient at which a fit stops."),
    )
    relative_tolerance: float = field(
        default=1e-9,
        metadata=item(
            Interval("number", 0.0, 1.0), "Give the relative decrease at which a fit stops."
        ),
    )
    learning_rate: float = field(
        default=0.01,
        metadata=item(Interval("number", 0.0, closed="right"), "Give the step size of Adam."),
    )


@dataclass(frozen=True)
class Curve:
    """One curve of a panel: a truth, a model fitted to its data, and the losses to take.

    The first of the losses is the curve's own: it is drawn and tabled. ``target`` says where the
    losses are taken from and where near-truth fits start: "truth"; "representations", all known
    measures that reproduce the truth's function exactly; or "best-approximation", a computed set
    of best approximations where the truth is of another gate.
    """

    name: str = field(metadata=item(Text(), _LABEL))
    gate: str = field(
        metadata=item(Choice(("sigmoid", "softmax")), "Name the gate that is fitted.")
    )
    expert: str = field(metadata=item(Text(), "Name the expert, such as 'relu'."))
    losses: tuple[str, ...] = field(
        metadata=item(Each(Choice(LOSSES)), "List losses, the curve's own first.")
    )
    reading: str = field(
        metadata=item(
            Choice(("own-data", "softmax-data", "sigmoid-data")), "Say whose data are fitted."
        )
    )
    regime: str = field(
        metadata=item(Choice(("dense", "sparse")), "Say how the truth's gates are drawn.")
    )
    score: str = field(
        default="full", metadata=item(Choice(("full", "partial", "linear")), "Name the score.")
    )
    target: str = field(
        default="truth",
        metadata=item(
            Choice(("truth", "representations", "best-approximation")), "Say what is near."
        ),
    )
    paper_slope: float | None = field(
        default=None,
        metadata=item(Interval("number", -10.0, 10.0), "Give the slope that the paper prints."),
    )

    @property
    def truth_gate(self) -> str:
        """Return the gate of the model that the data come from."""
        return self.gate if self.reading == "own-data" else self.reading.removesuffix("-data")


@dataclass(frozen=True)
class Panel:
    """Curves that are drawn together."""

    name: str = field(metadata=item(Text(), _LABEL))
    title: str = field(metadata=item(Text(), "Say what the panel shows."))
    curves: tuple[Curve, ...] = field(metadata=tables(Curve))


@dataclass(frozen=True)
class Run:
    """Sizes and replications of one protocol, start and number of atoms.

    ``max_iterations`` caps the iterations of least squares, or is the number of Adam's steps.
    """

    protocol: str = field(metadata=item(Text(), "Name one of the study's protocols."))
    start: str = field(metadata=item(Choice(("near-truth", "random")), "Say where fits start."))
    extra_atoms: int = field(
        metadata=item(Interval("integer", 0), "Give N - N*, 0 for the exact number.")
    )
    sizes: tuple[int, ...] = field(metadata=item(Each(_COUNT), _SIZES))
    replications: int = field(
        metadata=item(_COUNT, "Give the number of replications at each size.")
    )
    max_iterations: int = field(metadata=item(_COUNT, "Cap the iterations of one fit."))
    n_starts: int = field(
        default=1,
        metadata=item(_COUNT, "Give the number of random starts, the best of which counts."),
    )
    panels: tuple[str, ...] | None = field(
        default=None, metadata=item(Each(Text()), "Name panels, or leave it out for all of them.")
    )


@dataclass(frozen=True)
class Preset:
    """How large a study is: its runs, and what it has of its own instead of the study's.

    ``statistic`` says which slopes the report speaks of; all of them are stored.
    """

    runs: tuple[Run, ...] = field(metadata=tables(Run))
    truths: Truths | None = field(default=None, metadata=table(Truths))
    approximation: Approximation | None = field(default=None, metadata=table(Approximation))
    nodes: Nodes | None = field(default=None, metadata=table(Nodes))
    modulus: Modulus | None = field(default=None, metadata=table(Modulus))
    protocols: tuple[tuple[str, Protocol], ...] | None = field(
        default=None, metadata=named(Protocol)
    )
    panels: tuple[Panel, ...] | None = field(default=None, metadata=tables(Panel))
    statistic: str | None = field(
        default=None,
        metadata=item(
            Choice(("mean", "median")),
            "Say which loss at a size the report takes the slope of; by default the mean.",
        ),
    )


@dataclass(frozen=True)
class Study:
    """A study as its file declares it, with all its presets."""

    name: str = field(metadata=item(Text(), "Give a name made of letters, digits, '-' and '_'."))
    title: str = field(metadata=item(Text(), "Say in one line what is studied."))
    seed: int = field(
        metadata=item(Interval("integer", 0, 2**52), "Give a seed for truths, samples and starts.")
    )
    noise_variance: float = field(
        metadata=item(Interval("number", 0.0), "Give the variance of the noise.")
    )
    truths: Truths = field(metadata=table(Truths))
    protocols: tuple[tuple[str, Protocol], ...] = field(metadata=named(Protocol))
    panels: tuple[Panel, ...] = field(metadata=tables(Panel))
    presets: tuple[tuple[str, Preset], ...] = field(metadata=named(Preset))

    def resolve(self, preset: str | None = None) -> ResolvedStudy:
        """Return the study at one preset, which may be left out if there is only one.

        Raises
        ------
        InputError
            If the study has no such preset, or several and none is named.
        """
        known = dict(self.presets)
        if preset is None and len(known) == 1:
            preset = next(iter(known))
        if preset is None or preset not in known:
            names = ", ".join(repr(name) for name in known)
            remedy = f"Choose one that study {self.name!r} has."
            raise invalid("preset", f"one of {names}", preset, remedy)
        return ResolvedStudy(self, preset, known[preset])


@dataclass(frozen=True)
class ResolvedStudy:
    """A study at one preset: everything that a run needs."""

    study: Study
    preset: str
    size: Preset

    @property
    def name(self) -> str:
        """Return the study's name."""
        return self.study.name

    @property
    def truths(self) -> Truths:
        """Return the dimensions of the truths, the preset's own where it has them."""
        return self.size.truths or self.study.truths

    @property
    def protocols(self) -> dict[str, Protocol]:
        """Return the protocols by name, the preset's own where it has them."""
        return dict(self.size.protocols or self.study.protocols)

    @property
    def panels(self) -> tuple[Panel, ...]:
        """Return the panels, the preset's own where it has them."""
        return self.size.panels or self.study.panels

    @property
    def statistic(self) -> str:
        """Return whether the report speaks of slopes of the mean (the paper's) or the median."""
        return self.size.statistic or "mean"

    @property
    def approximation(self) -> Approximation:
        """Return the effort spent on best approximations."""
        return self.size.approximation or Approximation()

    def as_dict(self) -> dict[str, Any]:
        """Return the study with this one preset as plain data."""
        only = dataclasses.replace(self.study, presets=((self.preset, self.size),))
        data: dict[str, Any] = as_table(only)
        return data

    @property
    def hash(self) -> str:
        """Return a hash of everything that the study says."""
        return content_hash(self.as_dict())


def content_hash(data: Any) -> str:
    """Return a hash of 128 bits, in hexadecimal, of plain data.

    The order of keys does not matter; floats enter by their shortest exact decimal.
    """
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
