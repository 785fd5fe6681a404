"""Two atoms turned into one: the best closed form for a pair, and what it does to the function.

Which merges are exact depends on gate and expert; with gates w_i, w_j and experts E_i, E_j:

softmax   w_i + w_j is proportional to exp(s_i) + exp(s_j). If A and b coincide this is one gate
          with exp(c) = exp(c_i) + exp(c_j), and the merged expert is the average of E_i and E_j
          with weights exp(c): in the family if E_i = E_j, for any two linear experts, for a
          common (alpha, beta) with different lambda, and for parallel rectifiers.
sigmoid   the gates do not compete, and 2 sigmoid(s) is no sigmoid. With equal scores (c as well)
          the experts add, E = E_i + E_j: in the family for linear experts (eta adds), for a common
          (alpha, beta) (lambda adds) and for parallel rectifiers, but not for tanh: duplicates of
          a tanh expert are not one atom. With equal experts the gates would have to add,
          sigmoid(s) = sigmoid(s_i) + sigmoid(s_j): exact where A = b = 0 and the sum is below 1,
          nearly so where both are small, impossible where the sum exceeds 1. An atom whose expert
          is zero goes at no cost, whatever its gate.

All of these are among the candidates: four gates (that of i, that of j, their average by mass,
the projection of the sum on the scores) times the experts that suit the family. Each is judged
by the mean squared change of the prediction, which is zero exactly for an exact merge.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from sigmoe._base.registry import Registry
from sigmoe.moe import MixingMeasure
from sigmoe.moe._experts import get_expert
from sigmoe.moe._gates import get_gate
from sigmoe.moe._monomials import monomials
from sigmoe.moe._scores import SCORES, monomial_rows

#: Where two sigmoid gates sum to more than 1, a sigmoid can only follow up to exp of this.
_FULL = -1e-8


@dataclass(frozen=True)
class Merge:
    """A pair of atoms and what replaces it.

    Attributes
    ----------
    pair : tuple of two int
        The atoms, i < j.
    cost : float
        Mean squared change of the prediction, summed over the columns of the response.
    atom : Tensor of shape (parameters of an atom,)
        Canonical coordinates of the merged atom.
    """

    pair: tuple[int, int]
    cost: float
    atom: Tensor

    def apply(self, measure: MixingMeasure) -> MixingMeasure:
        """Return the measure without the pair and with the merged atom at the end."""
        kept = [k for k in range(measure.n_experts) if k not in self.pair]
        theta = torch.cat([measure.coordinates[kept], self.atom.unsqueeze(0)])
        return MixingMeasure.from_coordinates(measure.architecture, theta)


@dataclass(frozen=True)
class View:
    """A measure at the rows that merges are judged on.

    Shapes: ``features`` (n, g), ``inputs`` (n, d + 1), the rows x, 1; ``share`` (n,), the rows'
    weights, sum 1; ``scores`` and ``gates`` (n, N), ``experts`` (n, N, m), ``prediction`` (n, m).
    """

    measure: MixingMeasure
    features: Tensor
    inputs: Tensor
    share: Tensor
    scores: Tensor
    gates: Tensor
    experts: Tensor
    prediction: Tensor

    @classmethod
    def of(cls, measure: MixingMeasure, X: Tensor, weight: Tensor) -> View:
        """Return the view of a measure at rows of shape (n, d) with weights (n,)."""
        a, Xt = measure.architecture, X.T
        features = monomials(Xt, SCORES.get(a.score).degree)[monomial_rows(a.score, a.dim)].T
        scores = features @ measure.coordinates[:, : a.n_score_coefficients].T
        gates = measure.gates(X)
        experts = measure.experts(X).reshape(*gates.shape, a.n_columns)
        inputs = torch.cat([X, torch.ones_like(X[:, :1])], 1)
        prediction = (gates.unsqueeze(-1) * experts).sum(1)
        share = weight / weight.sum()
        return cls(measure, features, inputs, share, scores, gates, experts, prediction)


def ranked_merges(
    measure: MixingMeasure, X: Tensor, weight: Tensor, lower: Tensor, upper: Tensor
) -> list[Merge]:
    """Return the best merge of every pair of atoms, cheapest first.

    Parameters
    ----------
    measure : MixingMeasure
        At least two atoms.
    X : Tensor of shape (n, d)
    weight : Tensor of shape (n,)
    lower, upper : Tensor of shape (parameters of an atom,)
        The box that the merged atom is projected on.
    """
    view = View.of(measure, X, weight)
    merges = [
        min(_candidates(view, i, j, lower, upper), key=lambda merge: merge.cost)
        for i, j in itertools.combinations(range(measure.n_experts), 2)
    ]
    return sorted(merges, key=lambda merge: merge.cost)


def _candidates(view: View, i: int, j: int, lower: Tensor, upper: Tensor) -> Iterator[Merge]:
    a = view.measure.architecture
    g, m, q = a.n_score_coefficients, a.n_columns, a.n_expert_parameters
    rest = [k for k in range(view.measure.n_experts) if k not in (i, j)]
    for score in _scores(view, i, j):
        score = torch.minimum(torch.maximum(score, lower[:g]), upper[:g])
        together = torch.cat([view.scores[:, rest], (view.features @ score).unsqueeze(1)], 1)
        gates = get_gate(a.gate).weights(together.T).T
        others = (gates[:, :-1].unsqueeze(-1) * view.experts[:, rest]).sum(1)
        wanted, gate = view.prediction - others, gates[:, -1]
        for eta in _experts(view, i, j, gate, wanted):
            flat = torch.minimum(torch.maximum(eta.reshape(m * q), lower[g:]), upper[g:])
            atom = torch.cat([score, flat])
            left = wanted - gate.unsqueeze(1) * _value(view, flat.view(m, q))
            yield Merge((i, j), float(view.share @ left.square().sum(1)), atom)


def _mass(view: View, i: int, j: int) -> float:
    """Return the share of atom i in the mean weight of the two gates."""
    first, second = (float(view.share @ view.gates[:, k]) for k in (i, j))
    return first / (first + second) if first + second > 0 else 0.5


def _scores(view: View, i: int, j: int) -> Iterator[Tensor]:
    """Yield score coefficients that the merged atom could have."""
    a = view.measure.architecture
    first, second = view.measure.coordinates[[i, j], : a.n_score_coefficients]
    share = _mass(view, i, j)
    yield first
    yield second
    yield share * first + (1.0 - share) * second
    target = SUMS.get(a.gate)(view.scores[:, i], view.scores[:, j])
    weight = view.share * (view.gates[:, i] + view.gates[:, j])
    yield _least_squares(view.features, target.unsqueeze(1), weight).squeeze(1)


def _sigmoid_sum(first: Tensor, second: Tensor) -> Tensor:
    # By logarithms: the sum of two sigmoids underflows far out, its logit must not.
    total = torch.logaddexp(logsigmoid(first), logsigmoid(second)).clamp_max(_FULL)
    return total - torch.log(-torch.expm1(total))


#: By gate: the score whose weight is the sum of the weights of two scores.
SUMS = Registry[Callable[[Tensor, Tensor], Tensor]]("gate with a sum")
SUMS.register("softmax", torch.logaddexp)
SUMS.register("sigmoid", _sigmoid_sum)


def _experts(view: View, i: int, j: int, gate: Tensor, wanted: Tensor) -> Iterator[Tensor]:
    """Yield expert parameters of shape (m, q) for a given gate of shape (n,).

    ``wanted``, of shape (n, m), is what gate times expert should be.
    """
    a = view.measure.architecture
    expert, shape = get_expert(a.expert), (a.n_columns, a.n_expert_parameters)
    if a.expert in ("linear", "polynomial:1"):
        yield _least_squares(view.inputs * gate.unsqueeze(1), wanted, view.share).T
        return
    first, second = (view.measure.coordinates[k, a.n_score_coefficients :] for k in (i, j))
    share = _mass(view, i, j)
    for flat in (first, second, share * first + (1.0 - share) * second):
        eta = flat.view(shape)
        yield _rescaled(view, eta, gate, wanted) if expert.scaled else eta
    if not expert.scaled:
        yield (first + second).view(shape)


def _rescaled(view: View, eta: Tensor, gate: Tensor, wanted: Tensor) -> Tensor:
    """Return the parameters with the lambda that fits best."""
    expert = get_expert(view.measure.architecture.expert)
    unscaled = gate.unsqueeze(1) * expert.value(view.inputs @ eta[:, :-1].T)
    size = (view.share @ unscaled.square()).clamp_min(torch.finfo(torch.float64).tiny)
    return torch.cat([eta[:, :-1], ((view.share @ (unscaled * wanted)) / size).unsqueeze(1)], 1)


def _value(view: View, eta: Tensor) -> Tensor:
    """Return one expert at the rows, shape (n, m)."""
    expert = get_expert(view.measure.architecture.expert)
    width = view.inputs.shape[1]
    value = expert.value(view.inputs @ eta[:, :width].T)
    return value * eta[:, width] if expert.scaled else value


def _least_squares(design: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted least squares coefficients, of least norm where they are not unique."""
    root = weight.sqrt().unsqueeze(1)
    solution: Tensor = torch.linalg.lstsq(design * root, target * root, driver="gelsd").solution
    return solution
