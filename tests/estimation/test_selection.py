"""Information criteria against closed forms, and what a sweep chooses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.datasets import load_diabetes
from torch import Tensor

from problems_moe import ARCHITECTURES, name
from sigmoe._base.errors import InputError
from sigmoe.estimation import Bounds, default_bounds, fit_least_squares
from sigmoe.estimation._bounds import coordinate_limits
from sigmoe.estimation._sample import Sample
from sigmoe.estimation.selection import _starts as starts_module
from sigmoe.estimation.selection._criteria import (
    InformationCriteria,
    comparison,
    free_parameters,
    information_criteria,
    judged,
)
from sigmoe.estimation.selection._path import SelectionPath, select_by_criterion
from sigmoe.estimation.selection._starts import grown_starts
from sigmoe.moe import Architecture, MixingMeasure, draw_sample, draw_truth
from sigmoe.moe._experts import get_expert

SHAPE = Architecture("softmax", "linear", "linear", 1)
KINK = MixingMeasure(SHAPE, None, [[6.0], [0.0]], [0.0, 0.0], [[1.0, 0.0], [-1.0, 0.0]])


# Criteria


@pytest.mark.parametrize("columns", [1, 3])
def test_criteria_are_those_of_the_gaussian_likelihood(columns: int) -> None:
    residual = np.random.default_rng(0).normal(size=(40, columns))
    objective = float((residual**2).sum(1).mean())
    deviation = math.sqrt(objective / columns)
    log_likelihood = float(norm.logpdf(residual, scale=deviation).sum())
    found = information_criteria(objective, 40, 5, columns)
    assert found.log_likelihood == pytest.approx(log_likelihood, rel=1e-12)
    # The noise variance is a parameter as well.
    assert found.aic == found.value("aic") == pytest.approx(-2 * log_likelihood + 12)
    bic = -2 * log_likelihood + 6 * math.log(40)
    assert found.bic == found.value("bic") == pytest.approx(bic)
    assert found.n_parameters == 5


def test_an_exact_fit_costs_nothing() -> None:
    found = information_criteria(0.0, 40, 5)
    assert (found.log_likelihood, found.aic, found.bic) == (math.inf, -math.inf, -math.inf)


def test_rounding_counts_as_an_exact_fit() -> None:
    X, y = draw_sample(KINK, 50, seed=0)
    sample = Sample(X, 100.0 * y)
    scale = sample.response_scale
    assert judged((0.9e-9 * scale) ** 2, sample, SHAPE, 2).bic == -math.inf
    found = judged((1.1e-9 * scale) ** 2, sample, SHAPE, 2)
    assert found == information_criteria((1.1e-9 * scale) ** 2, 50, 6)


@pytest.mark.parametrize("architecture", ARCHITECTURES[::3], ids=name)
def test_free_parameters_are_the_rank_of_a_regular_model(architecture: Architecture) -> None:
    a = architecture
    invisible = a.n_score_coefficients if a.gate == "softmax" else 0
    assert free_parameters(a, 3) == 3 * a.n_atom_parameters - invisible


def test_the_words_of_a_choice() -> None:
    words = comparison("aic", 1, {1: -5.0, 2: 0.0})
    assert words == "AIC is least with 1 expert: 5 below that of 2"
    exact = comparison("bic", 2, {1: 0.0, 2: -math.inf, 3: -math.inf})
    assert exact == "BIC is least with 2 experts: 0 below that of 3, inf below that of 1"
    assert comparison("bic", 4, {4: 1.0}) == "BIC is least with 4 experts"


# Starts


@pytest.mark.parametrize("architecture", ARCHITECTURES[::3], ids=name)
def test_grown_starts_keep_the_fit_and_add_an_atom(
    architecture: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts_module, "_APART", 0.0)
    measure = draw_truth(architecture, 2, seed=3)
    X, y = draw_sample(draw_truth(architecture, 3, seed=1), 60, seed=2)
    box = default_bounds(X, y)
    seed = np.random.SeedSequence(0)
    found = list(grown_starts(measure, Sample(X, y), box, 3, seed))
    assert len(found) == 3
    lower, upper = coordinate_limits(box, architecture, 3)
    for start in found:
        assert start.n_experts == 3
        theta = start.coordinates.flatten()
        assert bool(((lower <= theta) & (theta <= upper)).all())
        if architecture.gate == "softmax":
            # Two halves of one atom on the same gate are that atom.
            torch.testing.assert_close(start.predict(X), measure.predict(X))
        else:
            assert torch.equal(start.coordinates[:2], measure.coordinates)


def test_the_atom_with_the_worst_residuals_is_split_first() -> None:
    X = torch.linspace(-1, 1, 101).double().unsqueeze(1)
    y = KINK.predict(X) + torch.where(X[:, 0] > 0, torch.sin(20 * X[:, 0]), 0.0)
    box = Bounds()
    first, second, third = grown_starts(KINK, Sample(X, y), box, 3, np.random.SeedSequence(0))
    # Atom 0 has its weight where x > 0; the new atom has the expert of the one that was split.
    assert torch.equal(first.eta[2], KINK.eta[0])
    assert torch.equal(second.eta[2], KINK.eta[1])
    assert torch.equal(third.eta[2], KINK.eta[0])
    apart = first.b[0] - first.b[2]
    assert float(apart.abs()) > 0
    assert float(first.b[0] + first.b[2]) == pytest.approx(12.0)
    assert float(first.c[0]) == float(first.c[2]) == pytest.approx(-math.log(2))


@pytest.mark.parametrize("expert", ["linear", "scaled-gelu"])
def test_an_added_expert_has_the_size_of_the_residuals(expert: str) -> None:
    architecture = Architecture("sigmoid", "linear", expert, 2)
    measure = draw_truth(architecture, 2, seed=3)
    X, noise = draw_sample(measure, 200, 1.0, seed=2)
    noise = noise - measure.predict(X)
    sizes = []
    for share in (1e-4, 1e-2):
        y = measure.predict(X) + share * noise
        (start,) = grown_starts(measure, Sample(X, y), Bounds(), 1, np.random.SeedSequence(0))
        sizes.append(start.coordinates[2])
    g = architecture.n_score_coefficients
    assert torch.equal(sizes[0][:g], sizes[1][:g])
    if get_expert(expert).scaled:
        assert torch.equal(sizes[0][g:-1], sizes[1][g:-1])
        ratio = sizes[1][-1] / sizes[0][-1]
    else:
        ratio = (sizes[1][g:] / sizes[0][g:]).mean()
    assert float(ratio) == pytest.approx(100, rel=0.05)


# The sweep


SMALL = {"n_starts": 2, "n_grown": 2, "max_iterations": 40}


@pytest.fixture(scope="module")
def path() -> SelectionPath:
    X, y = draw_sample(KINK, 300, seed=0)
    return select_by_criterion(X, y, SHAPE, [3, 1, 2, 2], **SMALL)


def test_all_fits_are_kept_and_the_least_value_is_chosen(path: SelectionPath) -> None:
    X, y = draw_sample(KINK, 300, seed=0)
    assert path.n_experts == (1, 2, 3)
    assert [fit.measure.n_experts for fit in path.fits] == [1, 2, 3]
    for n, fit, criteria in zip(path.n_experts, path.fits, path.criteria, strict=True):
        objective = float((fit.measure.predict(X) - y).square().mean())
        assert criteria == information_criteria(fit.objective, 300, 4 * n - 2)
        assert fit.objective == pytest.approx(objective, rel=1e-9)
        assert path.values[n] == criteria.bic
        assert path.fit(n) is fit
    assert path.chosen == 2
    assert path.best is path.fits[1]
    assert path.reason == comparison("bic", 2, path.values)
    assert path.criterion == "bic"


def test_one_more_expert_never_fits_worse(path: SelectionPath) -> None:
    first, second, third = (fit.objective for fit in path.fits)
    assert third <= second * (1 + 1e-6)
    assert second <= first * (1 + 1e-6)


def test_aic_takes_no_fewer_experts_than_bic(path: SelectionPath) -> None:
    X, y = draw_sample(KINK, 300, seed=0)
    found = select_by_criterion(X, y, SHAPE, (1, 2, 3), "aic", **SMALL)
    assert found.values == {n: c.aic for n, c in zip((1, 2, 3), path.criteria, strict=True)}
    assert found.chosen >= path.chosen


def test_each_criterion_chooses_by_its_own_value(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = draw_sample(KINK, 50, seed=0)

    def opposed(objective: float, sample: Sample, architecture: Architecture, n: int):
        return InformationCriteria(0.0, 1, aic=-float(n), bic=float(n))

    monkeypatch.setattr("sigmoe.estimation.selection._path.judged", opposed)
    for criterion, chosen in (("bic", 1), ("aic", 2)):
        found = select_by_criterion(X, y, SHAPE, [1, 2], criterion, **SMALL)
        assert found.chosen == chosen
        assert found.reason.startswith(f"{criterion.upper()} is least with {chosen}")


def test_weights_enter_the_fits() -> None:
    X, y = draw_sample(KINK, 60, 0.1, seed=0)
    weight = 1.0 + torch.arange(60).double() % 3
    found = select_by_criterion(X, y, SHAPE, [1], n_starts=1, sample_weight=weight)
    design, root = torch.cat([X, torch.ones(60, 1).double()], 1), weight.sqrt()
    eta = torch.linalg.lstsq(design * root[:, None], y * root).solution
    torch.testing.assert_close(found.best.measure.eta[0], eta, rtol=1e-5, atol=1e-6)


def test_a_size_has_its_own_seed() -> None:
    X, y = draw_sample(KINK, 100, seed=0)
    options = {"n_starts": 2, "n_grown": 0, "seed": 3}
    alone = select_by_criterion(X, y, SHAPE, [2], **options)
    among = select_by_criterion(X, y, SHAPE, [1, 2], **options)
    assert alone.best.start == among.fit(2).start
    other = select_by_criterion(X, y, SHAPE, [2], n_starts=2, n_grown=0, seed=4)
    assert other.best.start != alone.best.start


def test_growing_finds_what_random_starts_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = draw_sample(KINK, 300, seed=0)
    calls = []

    def poor(X: Tensor, y: Tensor, architecture: Architecture, n: int, start, **options):
        calls.append((n, start if isinstance(start, str) else "given"))
        if isinstance(start, str) and n > 1:
            flat = torch.zeros(n, 4).double()
            start, options["max_iterations"] = (
                MixingMeasure.from_coordinates(architecture, flat),
                1,
            )
        return fit_least_squares(X, y, architecture, n, start, **options)

    monkeypatch.setattr("sigmoe.estimation.selection._path.fit_least_squares", poor)
    found = select_by_criterion(X, y, SHAPE, [1, 2], n_starts=1, n_grown=2)
    assert found.chosen == 2
    assert found.best.objective < 0.011
    # Two trials and the better of them to the end.
    assert calls == [(1, "random"), (2, "random")] + [(2, "given")] * 3
    bare = select_by_criterion(X, y, SHAPE, [1, 2], n_starts=1, n_grown=0)
    assert bare.fit(2).objective > 0.02


def test_rows_of_weight_zero_do_not_count() -> None:
    X, y = draw_sample(KINK, 120, seed=0)
    weight = (torch.arange(120) < 80).double()
    options = {"n_starts": 2, "n_grown": 1}
    found = select_by_criterion(X, y, SHAPE, [1, 2], sample_weight=weight, **options)
    part = select_by_criterion(X[:80], y[:80], SHAPE, [1, 2], **options)
    assert found.values == pytest.approx(part.values)


@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
def test_diabetes_has_one_expert(gate: str) -> None:
    # A linear regression is hard to beat here: what more experts find is not worth 22 parameters.
    X, y = load_diabetes(return_X_y=True)
    X, y = (X - X.mean(0)) / X.std(0), (y - y.mean()) / y.std()
    architecture = Architecture(gate, "linear", "linear", 10)
    path = select_by_criterion(
        X, y, architecture, range(1, 4), n_starts=2, n_grown=2, max_iterations=60
    )
    assert path.chosen == 1
    assert path.values[2] - path.values[1] > 40
    assert path.values[3] - path.values[2] > 40
    if gate == "softmax":
        # Least squares by another program.
        design = np.column_stack([X, np.ones(len(X))])
        residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
        assert path.best.objective == pytest.approx((residual**2).mean(), rel=1e-7)


# Bad input


def test_bad_input_is_refused(path: SelectionPath) -> None:
    X, y = draw_sample(KINK, 50, seed=0)
    for call, message in [
        (
            lambda: select_by_criterion(X, y, SHAPE, [1], "dic"),
            "criterion must be one of 'bic', 'aic'; got 'dic'. Choose one of the two.",
        ),
        (
            lambda: select_by_criterion(X, y, SHAPE, []),
            "n_experts must be at least one size; got []. Write for example range(1, 6).",
        ),
        (
            lambda: select_by_criterion(X, y, SHAPE, [0, 1]),
            "n_experts must be an integer >= 1; got 0. Ask for at least one expert.",
        ),
        (
            lambda: select_by_criterion(X, y, SHAPE, [1], n_grown=-1),
            "n_grown must be an integer >= 0; got -1. Use 0 for random starts only.",
        ),
        (
            lambda: path.fit(4),
            "n_experts must be one of 1, 2, 3; got 4. Sweep over more sizes.",
        ),
        (
            lambda: information_criteria(-1.0, 10, 1),
            "objective must be a number >= 0; got -1.0. Pass a mean squared residual.",
        ),
    ]:
        with pytest.raises(InputError) as error:
            call()
        assert str(error.value) == message
