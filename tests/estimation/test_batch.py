"""Many fits at once against one fit after the other, through the public interface."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sigmoe._base.errors import InputError
from sigmoe.estimation import (
    BatchFit,
    Bounds,
    fit_batch,
    fit_least_squares,
    near_truth_start,
    random_start,
)
from sigmoe.estimation._fit import CONSTRAINTS
from sigmoe.estimation.batch._levenberg_marquardt import STATUSES
from sigmoe.estimation.batch._samples import Samples
from sigmoe.moe import Architecture, MixingMeasure, draw_sample, draw_truth, expert_names
from sigmoe.moe._experts import get_expert

GATES = ("sigmoid", "softmax")
SCORES = ("full", "partial", "linear")
EXPERTS = tuple(name.replace("polynomial:P", "polynomial:2") for name in expert_names())
#: Every gate, score, expert and number of outputs.
CASES = [
    pytest.param(Architecture(gate, score, expert, 1, m), id=f"{gate}-{score}-{expert}-{m}")
    for gate, score, expert, m in itertools.product(GATES, SCORES, EXPERTS, (None, 2))
][::9]
TIGHT: dict[str, Any] = {"relative_tolerance": 1e-12, "gradient_tolerance": 1e-9}
TANH = Architecture("sigmoid", "linear", "tanh", 1)


def problem(
    architecture: Architecture, n: int = 150, count: int = 3, noise: float = 0.01
) -> tuple[Tensor, Tensor, MixingMeasure]:
    """Return a sample of a truth with two atoms, and starts near it."""
    truth = draw_truth(architecture, 2, seed=4)
    X, y = draw_sample(
        truth, n, noise, 2, lambda rng, k: rng.uniform(-2, 2, size=(k, architecture.dim))
    )
    starts = [near_truth_start(truth, 2, scale=0.05, seed=k) for k in range(count)]
    return X, y, MixingMeasure.stack(starts)


def require_alike(
    fit: BatchFit, X: Tensor, y: Tensor, starts: MixingMeasure, **options: Any
) -> None:
    """Compare fits of batch shape (B,) on one sample with as many single fits."""
    for k, start in enumerate(starts):
        alone = fit_least_squares(X, y, start.architecture, start.n_experts, start, **options)
        # Without the penalty the objective is not at its minimum, and moves with the last step.
        penalty = options.get("ridge", 0.0) * float(alone.measure.coordinates.square().sum())
        assert float(fit.minimised[k]) == pytest.approx(alone.objective + penalty, rel=1e-9)
        torch.testing.assert_close(
            fit.measure[k].predict(X), alone.measure.predict(X), rtol=0, atol=1e-6
        )
        assert bool(fit.converged[k]) == alone.converged


@pytest.mark.parametrize("architecture", CASES)
def test_each_fit_is_that_of_fit_least_squares(architecture: Architecture) -> None:
    X, y, starts = problem(architecture)
    # Which side of a kink a sample falls on may hang on rounding: there the first steps agree.
    steps = {"max_iterations": 3} if get_expert(architecture.expert).kinked else {}
    require_alike(fit_batch(X, y, starts, **TIGHT, **steps), X, y, starts, **TIGHT, **steps)


OPTIONS = [
    pytest.param({"sample_weight": torch.arange(150) % 3}, id="weights"),
    pytest.param({"ridge": 0.01}, id="ridge"),
    pytest.param({"bounds": Bounds(b=(-3.0, 3.0), eta=(-0.9, 0.9))}, id="bounds"),
    pytest.param({"bounds": None}, id="no-bounds"),
    pytest.param({"max_iterations": 2}, id="few-iterations"),
]


@pytest.mark.parametrize("options", OPTIONS)
def test_options_mean_what_they_mean_for_one_fit(options: dict[str, Any]) -> None:
    X, y, starts = problem(Architecture("sigmoid", "linear", "tanh", 2))
    if isinstance(options.get("bounds"), Bounds):
        starts = MixingMeasure.from_coordinates(
            starts.architecture, starts.coordinates.clamp(-0.9, 0.9)
        )
    fit = fit_batch(X, y, starts, **TIGHT, **options)
    require_alike(fit, X, y, starts, **TIGHT, **options)
    if isinstance(options.get("bounds"), Bounds):
        assert float(fit.measure.eta.abs().max()) == 0.9
    if "max_iterations" in options:
        assert fit.status.tolist() == ["iterations"] * 3
        assert fit.n_iterations.tolist() == [2] * 3
    if "ridge" in options:
        penalty = 0.01 * fit.measure.coordinates.square().sum((-2, -1))
        torch.testing.assert_close(fit.minimised, fit.objective + penalty)


def test_replications_and_starts_are_two_batch_axes() -> None:
    X, y, near = problem(TANH, count=2)
    other_X, other_y = 20.0 * X.flip(0) / 8.0, 3.0 * y
    starts = MixingMeasure.stack([near, near])
    weight = torch.linspace(0.5, 2.0, 300).double().view(2, 150)
    samples = (torch.stack([X, other_X]), torch.stack([y, other_y]))
    fit = fit_batch(*samples, starts, sample_weight=weight, **TIGHT)
    assert fit.batch_shape == fit.converged.shape == fit.measure.batch_shape == (2, 2)
    for r, (inputs, responses) in enumerate(zip(*samples, strict=True)):
        require_alike(fit[r], inputs, responses, near, sample_weight=weight[r], **TIGHT)


def test_default_bounds_are_those_of_each_sample() -> None:
    X, y, near = problem(TANH, count=1)
    start = near.coordinates[0]
    start[0, -1] = 30.0
    starts = MixingMeasure.from_coordinates(TANH, torch.stack([start, start]))
    fit_batch(torch.stack([X, X]), torch.stack([40.0 * y, 40.0 * y]), starts, max_iterations=1)
    with pytest.raises(InputError) as error:
        fit_batch(torch.stack([X, X]), torch.stack([40.0 * y, y]), starts)
    assert str(error.value) == (
        "starts must be inside the bounds; got "
        "'eta[0,1] = 30 outside [-10, 10] at index (1,)'. Move the start, or pass wider bounds=."
    )


def test_a_row_of_weight_zero_is_as_if_it_were_not_there() -> None:
    X, y, starts = problem(TANH, count=2)
    padded_X, padded_y = torch.cat([X, X[:1] * 1e3]), torch.cat([y, y[:1] + 1e6])
    weight = torch.ones(151)
    weight[-1] = 0.0
    plain = fit_batch(X, y, starts, **TIGHT)
    for own in (weight, torch.stack([weight, torch.ones(151)])):
        fit = fit_batch(padded_X, padded_y, starts, sample_weight=own, bounds=None, **TIGHT)
        assert float(fit.objective[0]) == pytest.approx(float(plain.objective[0]), rel=1e-9)
    dropped = Samples.checked(padded_X, padded_y, weight, TANH, (2,), None)
    kept = Samples.checked(padded_X, padded_y, own, TANH, (2,), None)
    assert (dropped.n, kept.n) == (150, 151)


def test_default_bounds_do_not_see_rows_of_weight_zero() -> None:
    X, y, starts = problem(TANH, count=2)
    padded_X, padded_y = torch.cat([0.01 * X, X[:1]]), torch.cat([y, y[:1] + 1e6])
    weight = torch.ones(2, 151)
    weight[0, -1] = 0.0
    # Inputs that reach 0.02 widen the bounds of b to 320, responses of size 1e5 those of eta.
    wide_b, wide_eta = starts.coordinates, starts.coordinates
    wide_b[:, 0, 1], wide_eta[:, 0, -1] = 200.0, 1e4
    for theta, first_outside in ((wide_b, 1), (wide_eta, 0)):
        far = MixingMeasure.from_coordinates(TANH, theta)
        with pytest.raises(InputError, match=rf" at index \({first_outside},\)'"):
            fit_batch(padded_X, padded_y, far, sample_weight=weight)


def test_a_fit_does_not_depend_on_the_others() -> None:
    architecture = Architecture("softmax", "full", "gelu", 1)
    X, y, near = problem(architecture)
    wild = random_start(X, y, architecture, 2, seed=1)
    together = fit_batch(X, y, MixingMeasure.stack([*near, wild]), **TIGHT)
    for k, start in enumerate(near):
        alone = fit_batch(X, y, MixingMeasure.stack([start]), **TIGHT)[0]
        assert float(alone.objective) == pytest.approx(float(together.objective[k]), rel=1e-10)


def test_a_fit_that_overflows_does_not_spoil_the_others() -> None:
    architecture = Architecture("sigmoid", "linear", "polynomial:2", 1)
    X, y, starts = problem(architecture)
    coordinates = torch.cat([starts.coordinates, starts.coordinates[:1]])
    coordinates[1] = 1e200
    bad = MixingMeasure.from_coordinates(architecture, coordinates)
    fit = fit_batch(X, y, bad, bounds=None, **TIGHT)
    assert fit.status[1] == "stalled"
    assert not fit.converged[1]
    assert int(fit.n_iterations[1]) == 0
    assert fit.measure[1] == bad[1]
    assert int(fit.best().n_iterations) > 0
    good = MixingMeasure.stack([bad[0], bad[2], bad[3]])
    kept = [fit[0], fit[2], fit[3]]
    alone = fit_batch(X, y, good, bounds=None, **TIGHT)
    for k, one in enumerate(kept):
        assert float(one.objective) == pytest.approx(float(alone.objective[k]), rel=1e-10)


def test_an_atom_that_nothing_can_see_does_not_move() -> None:
    architecture = Architecture("sigmoid", "linear", "relu", 1)
    X, y, starts = problem(architecture, count=2)
    coordinates = starts.coordinates
    # A dead expert: its ridge function is negative at all inputs.
    coordinates[1, 1, -2:] = torch.tensor([0.0, -5.0])
    degenerate = MixingMeasure.from_coordinates(architecture, coordinates)
    fit = fit_batch(X, y, degenerate, **TIGHT)
    assert torch.equal(fit.measure[1].coordinates[1], coordinates[1, 1])
    require_alike(fit, X, y, degenerate, **TIGHT)


def test_a_single_start_and_a_batch_of_one() -> None:
    X, y, starts = problem(TANH, count=1)
    one, batch = fit_batch(X, y, starts[0]), fit_batch(X, y, starts)
    assert one.batch_shape == ()
    assert one.measure == batch[0].measure == batch.best().measure
    assert one.status == batch.status[0]
    with pytest.raises(InputError) as error:
        one.best()
    assert (
        str(error.value) == "fit must be a batch of fits; got 'a single fit'. It is its own best."
    )


def made_fit() -> BatchFit:
    coordinates = torch.arange(6.0 * 10).double().view(3, 2, 2, 5)
    value = torch.tensor([[3.0, 1.0], [float("nan"), 2.0], [5.0, 5.0]]).double()
    status = np.array(["stalled", "gradient", "stalled", "step", "decrease", "iterations"])
    return BatchFit(
        MixingMeasure.from_coordinates(TANH, coordinates[..., : TANH.n_atom_parameters]),
        value,
        value,
        status.reshape(3, 2),
        torch.arange(6).view(3, 2),
        value,
        1.0,
    )


def test_indexing_picks_fits_by_their_batch_axes() -> None:
    fit = made_fit()
    assert fit[2].n_iterations.tolist() == [4, 5]
    assert fit[1:, 0].status.tolist() == ["stalled", "decrease"]
    assert fit[..., 1].measure == MixingMeasure.stack([fit.measure[k][1] for k in range(3)])
    assert fit[0, 1].measure == fit.measure[0][1]
    assert fit[0, 1].batch_shape == ()
    assert fit.converged.tolist() == [[False, True], [False, True], [True, False]]
    with pytest.raises(IndexError):
        fit[0, 0, 0]
    assert repr(fit) == "BatchFit(batch_shape=(3, 2), converged=3 of 6, seconds=1.00)"


def test_the_best_fit_of_each_replication() -> None:
    best = made_fit().best()
    # NaN is never best, and the earlier of two equals is.
    assert best.n_iterations.tolist() == [1, 3, 4]
    assert best.best().n_iterations.tolist() == 1


def test_the_callback_sees_every_round() -> None:
    X, y, starts = problem(TANH)
    seen: list[tuple[int, Tensor]] = []
    fit = fit_batch(X, y, starts, callback=lambda *event: seen.append(event), **TIGHT)
    assert [rounds for rounds, _ in seen] == list(range(1, int(fit.n_iterations.max()) + 1))
    values = torch.stack([value for _, value in seen])
    assert bool((values.diff(dim=0) <= 0).all())
    assert torch.equal(values[-1], fit.minimised)


def test_the_words_are_those_of_a_single_fit() -> None:
    X, y, starts = problem(TANH)
    assert set(fit_batch(X, y, starts).status) <= set(STATUSES)


@pytest.mark.parametrize(
    "name", ["max_iterations", "gradient_tolerance", "relative_tolerance", "ridge"]
)
def test_numbers_out_of_range_are_refused(name: str) -> None:
    X, y, starts = problem(TANH, count=1)
    constraint, remedy = CONSTRAINTS[name]
    for value in constraint.bad_values():
        with pytest.raises(InputError) as error:
            fit_batch(X, y, starts, **{name: value})
        assert f"{name} must be {constraint.rule}; got {value!r}. {remedy}" == str(error.value)


REFUSED = [
    pytest.param(
        {"X": torch.zeros(150, 2)},
        "X must be of shape (*first, n, 1), first being none or the first axes of the starts' "
        "batch shape (2, 3); got 'shape (150, 2)'. Put replications before starts.",
        id="columns",
    ),
    pytest.param(
        {"X": torch.zeros(3, 150, 1)},
        "X must be of shape (*first, n, 1), first being none or the first axes of the starts' "
        "batch shape (2, 3); got 'shape (3, 150, 1)'. Put replications before starts.",
        id="not-the-first-axis",
    ),
    pytest.param(
        {"y": torch.zeros(149)},
        "y must be of shape (*first, 150), first being none or the first axes of the starts' batch "
        "shape (2, 3); got 'shape (149,)'. Put replications before starts.",
        id="rows-of-y",
    ),
    pytest.param(
        {"y": torch.full((2, 150), float("nan"))},
        "y, its samples one below the other, must be finite; got 'nan in row 0'. Remove or impute "
        "rows with NaN or infinity.",
        id="nan",
    ),
    pytest.param(
        {"sample_weight": torch.full((150,), -1.0)},
        "sample_weight must be >= 0; got -1.0. Use 0 to leave a row out.",
        id="negative-weight",
    ),
    pytest.param(
        {"sample_weight": torch.stack([torch.ones(150), torch.zeros(150)])},
        "sample_weight must be above 0 for at least one row of each sample; got 'zeros'. Leave it "
        "out to weight alike.",
        id="no-weight",
    ),
    pytest.param(
        {"starts": "random"},
        "starts must be a MixingMeasure; got 'random'. Make a batch with MixingMeasure.stack(...).",
        id="no-measure",
    ),
    pytest.param(
        {"starts": MixingMeasure.from_coordinates(TANH, torch.zeros(2, 0, 2, 4))},
        "starts must be at least one; got 'batch shape (2, 0)'. Pass some.",
        id="none",
    ),
    pytest.param(
        {"bounds": "wide"},
        "bounds must be 'default', a Bounds or None; got 'wide'. Write for example "
        "Bounds(A=(-5, 5)).",
        id="bounds",
    ),
    pytest.param(
        {"device": "nowhere"},
        "device must be a device that PyTorch can use here; got 'nowhere'. Use 'cpu', or leave it "
        "out.",
        id="device",
    ),
]


@pytest.mark.parametrize(("wrong", "message"), REFUSED)
def test_bad_input_is_refused(wrong: dict[str, Any], message: str) -> None:
    X, y, near = problem(TANH)
    good = {"X": X, "y": y, "starts": MixingMeasure.stack([near, near])}
    with pytest.raises(InputError) as error:
        fit_batch(**(good | wrong))
    assert str(error.value) == message
