"""What every test runs under: one thread, fixed examples, and memory that shows if unwritten."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

# The same examples everywhere: a laptop, a slow shared machine and CI must agree.
settings.register_profile(
    "sigmoe",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("sigmoe")

# Sums over threads depend on how many there are; and the tests share few cores with workers.
torch.set_num_threads(1)


def _poisoned(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Return `make` with its fresh memory filled by what cannot pass for a result."""

    def make_poisoned(*args: Any, **kwargs: Any) -> torch.Tensor:
        fresh = make(*args, **kwargs)
        with torch.no_grad():
            if fresh.dtype.is_floating_point or fresh.dtype.is_complex:
                return fresh.fill_(float("nan"))
            if fresh.dtype == torch.bool:
                return fresh.fill_(True)
            return fresh.fill_(torch.iinfo(fresh.dtype).max)

    return make_poisoned


@pytest.fixture(autouse=True)
def poisoned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill what torch.empty and its kin return, so that an output left unwritten cannot pass."""
    for name in ("empty", "empty_like", "empty_strided", "empty_permuted"):
        monkeypatch.setattr(torch, name, _poisoned(getattr(torch, name)))
    for name in ("new_empty", "new_empty_strided"):
        monkeypatch.setattr(torch.Tensor, name, _poisoned(getattr(torch.Tensor, name)))


@pytest.fixture(autouse=True)
def deterministic_algorithms() -> Iterator[None]:
    """Let torch refuse an operation whose result depends on timing."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
