"""Panels: the curves that are drawn together, and the readings of the paper among them."""

from __future__ import annotations

from dataclasses import dataclass

from sigmoe.lab._view import Curve


@dataclass(frozen=True)
class Variant:
    """One reading of the paper: which data, and how many atoms are fitted."""

    reading: str
    n_fitted: int
    n_true: int

    @property
    def key(self) -> str:
        """Short name, for file columns and page anchors."""
        return f"{self.reading}-N{self.n_fitted}"

    @property
    def label(self) -> str:
        """The reading in words.

        Examples
        --------
        >>> Variant("softmax-data", 9, 8).label
        'softmax data for both fits, N = 9 for N* = 8'
        """
        data = {
            "softmax-data": "softmax data for both fits",
            "own-data": "data from the corresponding model",
        }.get(self.reading, self.reading)
        return f"{data}, N = {self.n_fitted} for N* = {self.n_true}"


@dataclass(frozen=True)
class Panel:
    """All curves of one panel, under every reading, protocol, start and loss."""

    figure: str
    panel: str
    curves: tuple[Curve, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Curve names in alphabetical order, so that a gate keeps its colour in every panel."""
        return tuple(sorted({curve.curve for curve in self.curves}))

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The readings, the one nearest to the paper's words first.

        Section 5 says softmax data for both fits; Appendix D says well-specified, so N = N*.
        """
        found = {Variant(c.reading, c.n_fitted, c.n_true) for c in self.curves}
        return tuple(sorted(found, key=lambda v: (v.reading != "softmax-data", v.n_fitted, v.key)))

    def select(
        self,
        variant: Variant | None = None,
        *,
        protocol: str | None = None,
        start: str | None = None,
        curve: str | None = None,
        main: bool | None = None,
        loss: str | None = None,
    ) -> tuple[Curve, ...]:
        """Return the curves that agree with everything that is given."""
        wanted: dict[str, object] = {
            "protocol": protocol,
            "start": start,
            "curve": curve,
            "main": main,
            "loss": loss,
        }
        if variant is not None:
            wanted |= vars(variant)
        asked = {name: value for name, value in wanted.items() if value is not None}
        return tuple(
            c for c in self.curves if all(getattr(c, name) == v for name, v in asked.items())
        )

    def sibling(self, curve: Curve, **changes: object) -> Curve | None:
        """Return the curve that differs from `curve` in `changes` alone, if there is one."""
        names = ("curve", "reading", "n_true", "n_fitted", "protocol", "start", "loss")
        wanted = {name: getattr(curve, name) for name in names} | changes
        if "main" in changes:
            wanted.pop("loss")
        for other in self.curves:
            if all(getattr(other, name) == value for name, value in wanted.items()):
                return other
        return None
