import itertools
import math

import pytest
import torch

from sigmoe.moe._monomials import count_monomials, exponents, monomials, product_table


@pytest.mark.parametrize(
    ("dim", "degree"), [(1, 4), (2, 3), (3, 4), (5, 2), (8, 4), (3, 0), (4, 1)]
)
def test_each_row_is_the_product_that_its_exponents_name(dim, degree):
    generator = torch.Generator().manual_seed(0)
    Xt = torch.randn(dim, 7, generator=generator, dtype=torch.float64)
    rows = monomials(Xt, degree)
    names = exponents(dim, degree)
    assert len(names) == len(set(names)) == count_monomials(dim, degree) == len(rows)
    for row, indices in zip(rows, names, strict=True):
        expected = math.prod((Xt[u] for u in indices), start=torch.ones(7, dtype=torch.float64))
        torch.testing.assert_close(row, expected, rtol=1e-14, atol=0.0)


def test_memory_given_is_memory_used():
    Xt = torch.randn(3, 5, dtype=torch.float64)
    out = torch.full((count_monomials(3, 3), 5), torch.nan, dtype=torch.float64)
    assert monomials(Xt, 3, out=out) is out
    assert torch.equal(out, monomials(Xt, 3))


def test_a_batch_of_samples_gives_each_members_rows():
    Xt = torch.randn(4, 3, 5, dtype=torch.float64)
    rows = monomials(Xt, 3)
    for k in range(4):
        assert torch.equal(rows[k], monomials(Xt[k], 3))


@pytest.mark.parametrize(("dim", "left", "right"), [(1, 2, 2), (3, 2, 2), (3, 2, 1), (4, 1, 0)])
def test_product_table_finds_every_product(dim, left, right):
    Xt = torch.randn(dim, 6, dtype=torch.float64)
    table = product_table(dim, left, right)
    a, b, both = (monomials(Xt, k) for k in (left, right, left + right))
    for i, j in itertools.product(range(len(a)), range(len(b))):
        torch.testing.assert_close(both[table[i, j]], a[i] * b[j], rtol=1e-14, atol=0.0)
