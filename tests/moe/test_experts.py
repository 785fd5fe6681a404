import pytest
import torch

from problems_moe import EXPERTS
from sigmoe._base.errors import InputError
from sigmoe.moe import Architecture, expert_names, register_expert
from sigmoe.moe._experts import EXPERTS as REGISTRY
from sigmoe.moe._experts import get_expert

Z = torch.tensor([-40.0, -3.0, -0.7, -1e-3, 1e-3, 0.4, 2.0, 5.0], dtype=torch.float64)


def gradient(function, z):
    z = z.clone().requires_grad_()
    value = function(z).sum()
    if not value.requires_grad:
        return torch.zeros_like(z)
    (slope,) = torch.autograd.grad(value, z, allow_unused=True)
    return torch.zeros_like(z) if slope is None else slope


@pytest.mark.parametrize("name", EXPERTS)
def test_slope_and_curvature_are_the_derivatives(name):
    expert = get_expert(name)
    torch.testing.assert_close(expert.slope(Z), gradient(expert.value, Z), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(
        expert.curvature(Z), gradient(expert.slope, Z), rtol=1e-12, atol=1e-15
    )


@pytest.mark.parametrize("name", [*EXPERTS, "polynomial:1"])
def test_a_slope_is_said_to_be_constant_where_it_is_one(name):
    expert = get_expert(name)
    assert expert.constant_slope == torch.equal(expert.slope(Z), torch.ones_like(Z))


@pytest.mark.parametrize("name", EXPERTS)
def test_pieces_keep_shape_and_dtype(name):
    expert = get_expert(name)
    for piece in (expert.value, expert.slope, expert.curvature):
        out = piece(Z.reshape(2, 4))
        assert out.shape == (2, 4)
        assert out.dtype == torch.float64


@pytest.mark.parametrize(
    ("name", "z", "value"),
    [
        ("gelu", 1.0, 0.8413447460685429),
        ("tanh", 0.5, 0.46211715726000973),
        ("relu", -2.0, 0.0),
        ("polynomial:3", -2.0, -8.0),
        ("linear", 1.5, 1.5),
    ],
)
def test_known_values(name, z, value):
    out = get_expert(name).value(torch.tensor([z], dtype=torch.float64))
    assert out.item() == pytest.approx(value, rel=1e-14)


def test_polynomial_of_degree_one_is_the_linear_expert():
    one, linear = get_expert("polynomial:1"), get_expert("linear")
    for piece in ("value", "slope", "curvature"):
        assert torch.equal(getattr(one, piece)(Z), getattr(linear, piece)(Z))


def test_kinks_are_declared():
    for name in EXPERTS:
        expert = get_expert(name)
        zero = torch.tensor([-1e-9, 1e-9], dtype=torch.float64)
        jump = float(expert.slope(zero)[1] - expert.slope(zero)[0])
        assert expert.kinked == (jump > 0.5)


def test_a_new_expert_is_one_call():
    register_expert("sine", torch.sin, torch.cos, lambda z: -torch.sin(z))
    try:
        assert "sine" in expert_names()
        assert Architecture(expert="sine", dim=4).n_expert_parameters == 5
    finally:
        REGISTRY.unregister("sine")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("swish", "expert must be one of 'linear', 'relu', 'gelu', 'tanh', 'scaled-relu', "
                  "'scaled-gelu', 'scaled-tanh', 'polynomial:P'; got 'swish'. "
                  "Choose one of these names, or add yours with register_expert."),
        ("polynomial:0", "expert must be 'polynomial:P' with an integer P >= 1; "
                         "got 'polynomial:0'. Write 'polynomial:2'."),
        ("polynomial:x", "expert must be 'polynomial:P' with an integer P >= 1; "
                         "got 'polynomial:x'. Write 'polynomial:2'."),
    ],
)  # fmt: skip
def test_unknown_experts(name, message):
    with pytest.raises(InputError) as caught:
        get_expert(name)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("relu", "expert name must be new; got 'relu'. Choose another name."),
        ("polynomial:2", "expert name must be new; got 'polynomial:2'. "
                         "Names with 'polynomial:' are built in."),
    ],
)  # fmt: skip
def test_taken_names(name, message):
    with pytest.raises(InputError) as caught:
        register_expert(name, torch.sin, torch.cos, torch.sin)
    assert str(caught.value) == message
