"""The search over all ways to write a truth by groups of fitted atoms, in the closed forms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from sigmoe.theory import _families
from sigmoe.theory._atoms import Atoms, distance
from sigmoe.theory._families import Family
from sigmoe.theory._grouping import Column, cheapest_grouping, subsets
from sigmoe.theory._homogeneity import Scaling

_SINGLE = Family("truth", _families.truth_itself)
_NULL = Family("null", _families.null)
_SPLIT = Family("split", _families.split)
_FLIP = Family("flip", _families.flip)
_COMPLEMENT = Family("complement", _families.complement)
_CONSTANT = Family("constant", _families.constant)
_PAIRS = (_FLIP, _COMPLEMENT)
#: True atoms that share one group, and the families that may write them with it.
Place = tuple[list[int], list[Family]]


@dataclass(frozen=True)
class _Filled:
    """A column of the search with the member that belongs to each of its groups."""

    column: Column
    members: list[Atoms]


class MemberSearch:
    """The members of the closed-form families that are nearest to a fit.

    Parameters
    ----------
    fitted, truth : Atoms
        N and N* atoms.
    scaling : Scaling
        How the expert scales, which decides the families that apply.
    """

    def __init__(self, fitted: Atoms, truth: Atoms, scaling: Scaling) -> None:
        self.fitted, self.truth, self.scaling = fitted, truth, scaling
        self.n_fitted, self.n_true = len(fitted.c), len(truth.c)
        self.extra = self.n_fitted - self.n_true
        still = (truth.A == 0).all(dim=-1).all(dim=-1) & (truth.b == 0).all(dim=-1)
        self.constant: list[int] = still.nonzero()[:, 0].tolist() if scaling.scalable else []
        self.vanishing = scaling.zero or scaling.rectified or scaling.scaled

    def members(self) -> dict[str, Atoms]:
        """Return the nearest member of each family that applies, and of their mixture."""
        extras = self._extra_families()
        found: dict[str, Atoms | None] = {}
        if self.extra == 0:
            found["truth"] = self._apart([], null=False)
        elif self.vanishing:
            found["null"] = self._apart([], null=True)
        for family in extras:
            found[family.name] = self._apart([family], null=False)
        if self.constant:
            found["constant"] = self._pooled([], null=False)
        mixed = [self._apart(extras, null=self.vanishing)]
        mixed += [self._pooled(extras, null=self.vanishing)] if self.constant else []
        members = [member for member in mixed if member is not None]
        found["mixed"] = min(members, key=self._cost, default=None)
        return {name: member for name, member in found.items() if member is not None}

    def _extra_families(self) -> list[Family]:
        """Return the families that use extra atoms and apply to this expert and truth."""
        if self.extra == 0 or not self.scaling.scalable:
            return []
        families = [_SPLIT]
        families += [_FLIP] if self.scaling.reversible else []
        families += [_COMPLEMENT] if self.constant else []
        return families

    def _cost(self, member: Atoms) -> float:
        return float(distance(self.fitted, member).sum())

    def _apart(self, families: list[Family], *, null: bool) -> Atoms | None:
        """Return the nearest member when every true atom has a group of its own."""
        places = [self._place(j, _SINGLE, families) for j in range(self.n_true)]
        return self._solve(places, null=null)

    def _pooled(self, families: list[Family], *, null: bool) -> Atoms | None:
        """Return the same with constant gates free; linear experts share all of them."""
        others = [j for j in range(self.n_true) if j not in self.constant]
        places = [self._place(j, _SINGLE, families) for j in others]
        if self.scaling.linear:
            places.append((self.constant, [_CONSTANT]))
        else:
            places += [self._place(j, _CONSTANT, families) for j in self.constant]
        return self._solve(places, null=null)

    def _place(self, j: int, first: Family, others: list[Family]) -> Place:
        """Return the families that may write true atom j; complements need a constant gate."""
        apply = [f for f in others if f is not _COMPLEMENT or j in self.constant]
        return [j], [first, *apply]

    def _solve(self, places: list[Place], *, null: bool) -> Atoms | None:
        """Return the cheapest member, its atoms in the order of the fitted ones."""
        filled = [self._fill(*place) for place in places]
        if null:
            filled.append(self._fill([], [_NULL]))
        picked = cheapest_grouping(self.n_fitted, [place.column for place in filled])
        if picked is None:
            return None
        parts: list[Atoms] = []
        items: list[int] = []
        for place, position in zip(filled, picked, strict=True):
            parts.append(place.members[position])
            items += place.column.groups[position]
        order = torch.tensor(items).argsort()
        return Atoms.join(parts).map(lambda block: block[order])

    def _fill(self, trues: list[int], families: list[Family]) -> _Filled:
        """Return all groups that may stand for these true atoms, with their nearest members."""
        true = self.truth.map(lambda block: block[trues])
        groups: list[tuple[int, ...]] = []
        costs: list[float] = []
        members: list[Atoms] = []
        if not trues:
            groups, costs = [()], [0.0]
            members = [self.fitted.map(lambda block: block[:0])]
        for family in families:
            for size in self._sizes(family, len(trues)):
                chosen = subsets(self.n_fitted, range(size, size + 1))
                group = self.fitted.take(torch.tensor(chosen))
                if family in _PAIRS:
                    near = _families.nearest_order(family, group, true, self.scaling)
                else:
                    near = family.nearest(group, true, self.scaling)
                groups += chosen
                costs += distance(group, near).sum(dim=1).tolist()
                members += [near.take(torch.tensor(k)) for k in range(len(chosen))]
        return _Filled(Column(groups, np.array(costs)), members)

    def _sizes(self, family: Family, n_trues: int) -> range:
        """Return the sizes that a family's groups may have."""
        if family is _SINGLE:
            return range(1, 2)
        if family in _PAIRS:
            return range(2, 3)
        if family is _SPLIT:
            return range(2, self.extra + 2)
        if family is _NULL:
            return range(1, self.extra + 1)
        return range(1, n_trues + self.extra + 1)
