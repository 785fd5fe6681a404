import pytest
import torch

from sigmoe.moe._gates import GATES, get_gate


@pytest.fixture
def pieces():
    generator = torch.Generator().manual_seed(0)
    scores = 3 * torch.randn(4, 6, generator=generator, dtype=torch.float64)
    experts = torch.randn(4, 2, 6, generator=generator, dtype=torch.float64)
    return scores, experts


@pytest.mark.parametrize("name", GATES.names())
def test_sensitivity_is_the_derivative_of_the_prediction(name, pieces):
    scores, experts = pieces
    gate = get_gate(name)

    def predict(s):
        return (gate.weights(s).unsqueeze(-2) * experts).sum(dim=-3)

    weights, prediction = gate.weights(scores), predict(scores)
    # (m, n, N, n): sample k's prediction moves with sample k's scores only.
    jacobian = torch.autograd.functional.jacobian(predict, scores)
    expected = torch.diagonal(jacobian, dim1=1, dim2=3).permute(1, 0, 2)
    torch.testing.assert_close(
        gate.sensitivity(weights, experts, prediction), expected, rtol=1e-12, atol=1e-15
    )


@pytest.mark.parametrize("name", GATES.names())
def test_motion_is_the_first_and_second_derivative_of_the_weights(name, pieces):
    scores, experts = pieces
    gate, speed = get_gate(name), experts[:, 0]

    def along(t):
        return gate.weights(scores + t * speed)

    def first(t):
        return torch.autograd.functional.jacobian(along, t, create_graph=True)

    zero = torch.zeros((), dtype=torch.float64)
    expected = first(zero), torch.autograd.functional.jacobian(first, zero)
    for found, derivative in zip(gate.motion(along(zero), speed), expected, strict=True):
        torch.testing.assert_close(found, derivative, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", GATES.names())
def test_invariance_to_a_common_score_is_as_declared(name, pieces):
    scores, _ = pieces
    gate = get_gate(name)
    moved = gate.weights(scores + 1.7)
    same = torch.allclose(moved, gate.weights(scores), rtol=1e-12, atol=0.0)
    assert same == gate.invariant


def test_sigmoid_weights_of_opposite_scores_add_up_to_one(pieces):
    scores, _ = pieces
    weights = get_gate("sigmoid").weights
    torch.testing.assert_close(weights(scores) + weights(-scores), torch.ones_like(scores))


@pytest.mark.parametrize("name", GATES.names())
def test_extreme_scores_stay_finite(name):
    scores = torch.tensor([[-1e4, 1e4], [1e4, -1e4], [0.0, 0.0]], dtype=torch.float64)
    gate = get_gate(name)
    weights = gate.weights(scores)
    assert torch.isfinite(weights).all()
    assert all(torch.isfinite(part).all() for part in gate.motion(weights, scores))
    assert ((weights >= 0) & (weights <= 1)).all()
