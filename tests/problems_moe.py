"""Architectures that every model test runs over, and a reference from the formulas alone."""

import itertools

import torch

from sigmoe.moe import Architecture, MixingMeasure, expert_names

EXPERTS = tuple(
    name.replace("polynomial:P", degree)
    for name in expert_names()
    for degree in (("polynomial:1", "polynomial:3") if name == "polynomial:P" else ("",))
)
GATES = ("sigmoid", "softmax")
SCORES = ("full", "partial", "linear")
#: Each expert has a shape of its own, whatever the gate and the score.
SHAPES = zip(EXPERTS, itertools.cycle([(3, None), (1, None), (2, 2), (4, 1)]))
ARCHITECTURES = [
    Architecture(gate=gate, score=score, expert=expert, dim=dim, n_outputs=n_outputs)
    for gate, score, (expert, (dim, n_outputs)) in itertools.product(GATES, SCORES, SHAPES)
]
PHI = {
    "linear": lambda z: z,
    "relu": lambda z: torch.clamp(z, min=0),
    "gelu": torch.nn.functional.gelu,
    "tanh": torch.tanh,
    "scaled-relu": lambda z: torch.clamp(z, min=0),
    "scaled-gelu": torch.nn.functional.gelu,
    "scaled-tanh": torch.tanh,
}


def name(architecture):
    a = architecture
    return f"{a.gate}-{a.score}-{a.expert}-d{a.dim}-m{a.n_outputs}"


def naive_predict(measure: MixingMeasure, X: torch.Tensor) -> torch.Tensor:
    """Return f_G(X) of shape (n, m) by loops over samples, atoms and columns (eqs. (3)-(5))."""
    a, A, b, c = measure.architecture, measure.A, measure.b, measure.c
    eta = measure.eta.reshape(measure.n_experts, a.n_columns, a.n_expert_parameters)
    out = torch.zeros(len(X), a.n_columns, dtype=torch.float64)
    for k, x in enumerate(X):
        scores = torch.stack([x @ A[i] @ x + b[i] @ x + c[i] for i in range(measure.n_experts)])
        if a.gate == "sigmoid":
            weights = 1 / (1 + torch.exp(-scores))
        else:
            weights = torch.exp(scores) / torch.exp(scores).sum()
        for i, j in itertools.product(range(measure.n_experts), range(a.n_columns)):
            alpha, beta = eta[i, j, : a.dim], eta[i, j, a.dim]
            scale = eta[i, j, a.dim + 1] if a.expert.startswith("scaled") else 1.0
            z = alpha @ x + beta
            if a.expert.startswith("polynomial"):
                value = z ** int(a.expert.split(":")[1])
            else:
                value = PHI[a.expert](z)
            out[k, j] += weights[i] * scale * value
    return out
