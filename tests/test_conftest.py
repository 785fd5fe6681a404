"""The poison works: a test that reads unwritten memory sees it."""

import pytest
import torch


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.complex64])
def test_fresh_floats_are_nan(dtype: torch.dtype) -> None:
    like = torch.zeros(3, dtype=dtype)
    for fresh in (
        torch.empty(3, dtype=dtype),
        torch.empty_like(like),
        torch.empty_strided((3,), (1,), dtype=dtype),
        like.new_empty(3),
    ):
        assert fresh.isnan().all()


def test_fresh_integers_are_out_of_range() -> None:
    assert (torch.empty(3, dtype=torch.long) == torch.iinfo(torch.long).max).all()


def test_fresh_parameters_can_be_filled() -> None:
    assert torch.empty(3, requires_grad=True).isnan().all()


def test_torch_runs_on_one_thread_and_refuses_timing_dependent_operations() -> None:
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()
