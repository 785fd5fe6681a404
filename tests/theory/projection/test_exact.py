import numpy as np
import pytest
import torch

from sigmoe.moe import Architecture, draw_truth, register_expert
from sigmoe.moe._experts import EXPERTS
from sigmoe.theory.projection._exact import exact_member

X = np.random.default_rng(0).uniform(-1, 1, size=(40, 2))


def model(gate, expert, score="full", n_outputs=None):
    return Architecture(gate=gate, score=score, expert=expert, dim=2, n_outputs=n_outputs)


@pytest.mark.parametrize(
    ("gates", "expert", "n_true", "n_experts"),
    [
        (("sigmoid", "sigmoid"), "tanh", 2, 2),
        (("sigmoid", "sigmoid"), "relu", 2, 4),
        (("sigmoid", "sigmoid"), "scaled-gelu", 2, 3),
        (("softmax", "softmax"), "gelu", 2, 4),
        (("softmax", "sigmoid"), "relu", 2, 2),
        (("softmax", "sigmoid"), "tanh", 1, 2),
        (("softmax", "sigmoid"), "gelu", 2, 4),
        (("sigmoid", "softmax"), "linear", 1, 2),
        (("sigmoid", "softmax"), "linear", 3, 9),
        (("sigmoid", "softmax"), "relu", 1, 3),
    ],
)
@pytest.mark.parametrize("n_outputs", [None, 2])
def test_the_functions_agree(gates, expert, n_true, n_experts, n_outputs):
    truth = draw_truth(model(gates[0], expert, n_outputs=n_outputs), n_true, seed=3)
    architecture = model(gates[1], expert, n_outputs=n_outputs)
    member = exact_member(truth, architecture, n_experts)
    assert member is not None
    assert (member.architecture, member.n_experts) == (architecture, n_experts)
    torch.testing.assert_close(member.predict(X), truth.predict(X), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("gates", "expert", "n_true", "n_experts"),
    [
        (("sigmoid", "sigmoid"), "tanh", 2, 1),
        (("softmax", "sigmoid"), "tanh", 1, 1),
        (("softmax", "sigmoid"), "tanh", 3, 5),
        (("sigmoid", "softmax"), "linear", 2, 3),
        (("sigmoid", "softmax"), "tanh", 2, 6),
    ],
)
def test_no_closed_form_is_claimed(gates, expert, n_true, n_experts):
    truth = draw_truth(model(gates[0], expert), n_true, seed=3)
    assert exact_member(truth, model(gates[1], expert), n_experts) is None


def test_other_scores_and_experts_are_other_models():
    truth = draw_truth(model("sigmoid", "relu"), 1, seed=0)
    assert exact_member(truth, model("sigmoid", "gelu"), 2) is None
    assert exact_member(truth, model("sigmoid", "relu", score="partial"), 2) is None


def test_an_expert_without_a_zero_cannot_be_padded():
    register_expert("cosine", torch.cos, lambda z: -torch.sin(z), lambda z: -torch.cos(z))
    try:
        for gate, padded in (("sigmoid", False), ("softmax", True)):
            truth = draw_truth(model(gate, "cosine"), 1, seed=0)
            member = exact_member(truth, model(gate, "cosine"), 2)
            assert (member is not None) is padded
    finally:
        EXPERTS.unregister("cosine")
