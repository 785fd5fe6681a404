"""Every public fit takes as many cheap steps as the sample calls for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sigmoe.estimation import _solve, fit_batch, fit_blocks, fit_least_squares
from sigmoe.estimation.batch import _fit as batch_fit
from sigmoe.estimation.blocks import _fit as blocks_fit
from sigmoe.estimation.engine._levenberg_marquardt import Settings
from sigmoe.moe import Architecture, MixingMeasure, draw_sample, draw_truth

TRUTH = draw_truth(Architecture(dim=1), 2, seed=0)
#: A small sample, with all cheap steps, and a large one whose matrix costs less than a gradient.
SIZES = [(500, 12), (40_000, 0)]


def in_memory(X: Any, y: Any) -> object:
    return fit_least_squares(X, y, TRUTH.architecture, 2, TRUTH, max_iterations=1)


def in_a_batch(X: Any, y: Any) -> object:
    return fit_batch(X, y, MixingMeasure.stack([TRUTH]), max_iterations=1)


def in_blocks(X: Any, y: Any) -> object:
    rows = np.column_stack([X, y])
    return fit_blocks(
        [(rows[:, :1], rows[:, 1])], TRUTH.architecture, 2, start=TRUTH, max_iterations=1
    )


@pytest.mark.parametrize(("n", "steps"), SIZES)
@pytest.mark.parametrize(
    ("module", "fit"),
    [(_solve, in_memory), (batch_fit, in_a_batch), (blocks_fit, in_blocks)],
    ids=["memory", "batch", "blocks"],
)
def test_cheap_steps_of_each_fit(
    module: Any,
    fit: Callable[[Any, Any], object],
    n: int,
    steps: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    minimise = module.minimise

    def watched(*arguments: Any, **options: Any) -> Any:
        seen.extend(a.refinements for a in arguments if isinstance(a, Settings))
        return minimise(*arguments, **options)

    monkeypatch.setattr(module, "minimise", watched)
    fit(*draw_sample(TRUTH, n, noise_variance=0.01, seed=0))
    assert seen == [steps]
