"""Rates of the regression function: least squares from random starts, sample after sample."""

from __future__ import annotations

import numpy as np

from sigmoe._base.seeds import seed_sequence
from sigmoe.estimation import fit_least_squares
from sigmoe.lab._slopes import fit_slope
from sigmoe.ledger._claim import Numbers, Reading
from sigmoe.moe import Architecture, draw_sample, draw_truth
from sigmoe.theory import function_distance

_SIZES = (500, 2000, 8000, 32_000)
_REPLICATIONS = 12
_NOISE = 0.01


def function_rate(score: str, expert: str, regime: str) -> Numbers:
    """Return the distances ||f_fit - f_truth|| of fits with one atom too many, d = 1, N* = 2.

    With N > N* atoms the truth's function lies in the closure of the model, so that the distance
    to the best approximations is the distance to the truth.
    """
    shape = Architecture(score=score, expert=expert, dim=1)
    truth = draw_truth(shape, 2, regime=regime, n_sparse=1, seed=0)
    distances = []
    for n in _SIZES:
        row = []
        for replication in range(_REPLICATIONS):
            axes = {"n": n, "replication": replication}
            X, y = draw_sample(truth, n, _NOISE, seed=seed_sequence(0, role="claims", **axes))
            fit = fit_least_squares(
                X, y, shape, 3, "random", seed=seed_sequence(0, role="claims-start", **axes)
            )
            row.append(float(function_distance(fit.measure, truth, 2**12)))
        distances.append(row)
    return {"sizes": list(_SIZES), "distances": distances}


def bounded(numbers: Numbers) -> Reading:
    """Read whether the distances over (log n / n)^(1/2) stay bounded: no slope above 0."""
    sizes = numbers["sizes"]
    unit = [np.sqrt(np.log(n) / n) for n in sizes]
    scaled = [[d / u for d in row] for row, u in zip(numbers["distances"], unit, strict=True)]
    slope = fit_slope(sizes, scaled)
    assert slope.value is not None
    assert slope.low is not None
    text = (
        f"global fits at n = {sizes[0]} to {sizes[-1]}: the distance over (log n / n)^(1/2) has "
        f"slope {slope.value:.2f} [{slope.low:.2f}, {slope.high:.2f}] in n"
    )
    return Reading("for" if slope.low <= 0 else "against", text)
