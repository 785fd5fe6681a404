import pytest
import torch
from scipy import special

from sigmoe._base.safe import norm, normal_cdf, normal_density, sigmoid_slope

Z = torch.tensor([-700.0, -30.0, -9.0, -1.0, 0.0, 1.0, 9.0, 30.0, 700.0], dtype=torch.float64)


def test_normal_cdf_keeps_relative_accuracy_in_the_lower_tail():
    expected = torch.from_numpy(special.ndtr(Z.numpy()))
    torch.testing.assert_close(normal_cdf(Z), expected, rtol=2e-13, atol=0.0)
    # The naive form is 0 at -9, where the truth is 1e-19.
    assert 0.5 * (1.0 + torch.erf(Z[2] / 2**0.5)) == 0.0
    assert normal_cdf(Z)[2] > 0.0


def test_normal_density_is_the_slope_of_the_cdf():
    z = torch.linspace(-5, 5, 41, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(normal_cdf(z).sum(), z)
    torch.testing.assert_close(normal_density(z.detach()), slope, rtol=1e-13, atol=1e-16)


def test_sigmoid_slope_matches_autograd_to_rounding():
    z = Z.clone().requires_grad_()
    value = torch.sigmoid(z)
    (slope,) = torch.autograd.grad(value.sum(), z)
    torch.testing.assert_close(sigmoid_slope(value.detach()), slope, rtol=0.0, atol=2e-16)


@pytest.mark.parametrize("dims", [-1, (-2, -1)], ids=str)
def test_norm_has_a_finite_gradient_at_zero(dims):
    x = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(norm(x, dims).sum(), x)
    assert torch.equal(gradient, torch.zeros_like(gradient))
