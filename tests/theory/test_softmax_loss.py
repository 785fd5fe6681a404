import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from naive_losses import naive_loss
from sigmoe._base.errors import InputError
from sigmoe.moe import Architecture, MixingMeasure, draw_truth
from sigmoe.theory import voronoi_loss
from sigmoe.theory._translation import _Search

FULL = Architecture(gate="softmax", dim=2, expert="relu")
PARTIAL = Architecture(gate="softmax", dim=2, score="partial", expert="linear", n_outputs=2)
LINEAR = Architecture(gate="softmax", dim=2, score="linear", expert="gelu")
ARCHITECTURES = [FULL, PARTIAL, LINEAR]
KINDS = ["softmax", "L3"]


def normal(architecture, n_experts, seed, batch=()):
    generator = torch.Generator().manual_seed(seed)
    shape = (*batch, n_experts, architecture.n_atom_parameters)
    coordinates = torch.randn(shape, generator=generator, dtype=torch.float64)
    return MixingMeasure.from_coordinates(architecture, coordinates)


def near(truth, n_experts, scale, seed):
    atoms = [k % truth.n_experts for k in range(n_experts)]
    noise = normal(truth.architecture, n_experts, seed).coordinates
    return MixingMeasure.from_coordinates(
        truth.architecture, truth.coordinates[atoms] + scale * noise
    )


def translated(measure, size, seed):
    """Return the measure with one common random (T_A, T_b, t_c) added: the same function."""
    a = measure.architecture
    shift = torch.zeros(1, a.n_atom_parameters, dtype=torch.float64)
    g = a.n_score_coefficients
    shift[:, :g] = size * normal(a, 1, seed).coordinates[:, :g]
    return MixingMeasure.from_coordinates(a, measure.coordinates + shift)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.score)
@settings(max_examples=12)
@given(seed=st.integers(0, 60), size=st.floats(0.01, 5.0), scale=st.sampled_from([0.05, 1.0]))
def test_invariant_to_translating_either_side(architecture, kind, seed, size, scale):
    truth = normal(architecture, 3, seed)
    fit = near(truth, 4, scale, seed + 1)
    expected = float(voronoi_loss(fit, truth, kind))
    for pair in (
        (translated(fit, size, seed + 2), truth),
        (fit, translated(truth, size, seed + 3)),
        (translated(fit, size, seed + 2), translated(truth, size, seed + 3)),
    ):
        assert float(voronoi_loss(*pair, kind)) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.score)
@settings(max_examples=12)
@given(seed=st.integers(0, 60), order=st.permutations(range(4)), others=st.permutations(range(3)))
def test_invariant_to_the_order_of_atoms(architecture, kind, seed, order, others):
    truth = normal(architecture, 3, seed)
    fit = near(truth, 4, 0.3, seed + 1)
    expected = float(voronoi_loss(fit, truth, kind))
    again = voronoi_loss(fit.permute(order), truth.permute(others), kind)
    assert float(again) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", [*KINDS, "L5"])
def test_zero_at_the_truth_whatever_its_translation(kind):
    architecture = PARTIAL if kind == "L5" else FULL
    truth = normal(architecture, 4, seed=1)
    assert float(voronoi_loss(truth, truth, kind)) == 0.0
    same = translated(truth.permute([2, 0, 3, 1]), 3.0, seed=2)
    assert float(voronoi_loss(same, truth, kind)) == pytest.approx(0.0, abs=1e-13)


def test_zero_where_atoms_split_with_their_weight():
    truth = normal(FULL, 2, seed=3)
    again = [0, 0, 1]
    log_shares = torch.tensor([math.log(0.3), math.log(0.7), 0.0], dtype=torch.float64)
    c = truth.c[again] + log_shares
    split = MixingMeasure(FULL, truth.A[again], truth.b[again], c, truth.eta[again])
    for fit in (split, translated(split, 2.0, seed=4)):
        loss = voronoi_loss(fit, truth, "softmax")
        assert float(loss) == pytest.approx(0.0, abs=1e-13)
        assert loss.over_specified.tolist() == [True, False]


@settings(max_examples=40)
@given(seed=st.integers(0, 99), size=st.floats(1e-6, 0.1), place=st.integers(0, 10**6))
def test_positive_elsewhere(seed, size, place):
    truth = normal(FULL, 3, seed)
    coordinates = truth.coordinates
    coordinates.view(-1)[place % coordinates.numel()] += size
    moved = MixingMeasure.from_coordinates(FULL, coordinates)
    loss = voronoi_loss(moved, truth, "softmax")
    assert float(loss) > 1e-3 * size**2
    assert int(loss.empty_cells) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.score)
def test_the_value_is_the_loops_value_at_the_reported_translation(architecture, kind):
    truth = normal(architecture, 3, seed=5)
    for scale in (0.1, 1.0):
        fit = near(truth, 4, scale, seed=6)
        loss = voronoi_loss(fit, truth, kind)
        T = loss.translation
        c = fit.c + T.c
        shifted = MixingMeasure(
            architecture,
            fit.A + T.A if architecture.score != "linear" else None,
            fit.b + T.b if architecture.score != "partial" else None,
            c,
            fit.eta,
        )
        assert float(loss) == pytest.approx(naive_loss(shifted, truth, kind), rel=1e-12)
        X = torch.rand(50, 2, dtype=torch.float64)
        assert torch.allclose(shifted.predict(X), fit.predict(X), rtol=0, atol=1e-12)
        if kind == "softmax":
            assert float(c.exp().sum()) == pytest.approx(float(truth.c.exp().sum()))
        assert float(loss.by_atom.sum()) == pytest.approx(float(loss), rel=1e-14)


@pytest.mark.parametrize(("n_fitted", "scale"), [(3, 0.1), (4, 0.1), (3, 0.5)])
def test_no_local_move_of_the_translation_is_better(n_fitted, scale):
    truth = normal(FULL, 3, seed=7)
    fit = near(truth, n_fitted, scale, seed=8)
    loss = voronoi_loss(fit, truth, "softmax")

    def at(x):
        x = torch.from_numpy(x)
        T_A = torch.stack([torch.stack([x[0], x[1]]), torch.stack([x[1], x[2]])])
        return naive_loss(fit, truth, "softmax", T_A=T_A, T_b=x[3:])

    A, b = loss.translation.A, loss.translation.b
    best = torch.stack([A[0, 0], A[0, 1], A[1, 1], b[0], b[1]]).numpy()
    assert at(best) == pytest.approx(float(loss), rel=1e-12)
    rival = minimize(at, best + 0.05, method="Nelder-Mead", options={"maxfev": 120})
    assert float(loss) <= rival.fun * (1 + 1e-8)


def grid_loss(fit, truth, T_A, T_b):
    """Return the softmax loss in dimension 1 at grids of translations: the formula, vectorised."""
    w, v = torch.softmax(fit.c, 0), torch.softmax(truth.c, 0)
    total = torch.zeros_like(T_A)
    gaps = [
        [
            (
                (fit.A[i, 0, 0] + T_A - truth.A[j, 0, 0]).abs(),
                (fit.b[i, 0] + T_b - truth.b[j, 0]).abs(),
                (fit.eta[i] - truth.eta[j]).norm() + 0 * T_A,
            )
            for i in range(fit.n_experts)
        ]
        for j in range(truth.n_experts)
    ]
    squares = torch.stack([torch.stack([a**2 + b**2 + e**2 for a, b, e in row]) for row in gaps])
    cells = squares <= squares.amin(dim=0)
    for j, row in enumerate(gaps):
        inside = (cells[j] * w.reshape(-1, *[1] * T_A.ndim)).sum(dim=0)
        total += torch.where(cells[j].any(dim=0), (inside - v[j]).abs(), 0.0)
        over = cells[j].sum(dim=0) >= 2
        for i, norms in enumerate(row):
            term = sum(torch.where(over, norm**2, norm) for norm in norms)
            total += torch.where(cells[j, i], w[i] * term, 0.0)
    return total


def brute_force(fit, truth):
    """Return the smallest loss on a grid that closes in on its ten best points."""
    side = torch.linspace(-6, 6, 241, dtype=torch.float64)
    T_A, T_b = torch.meshgrid(side, side, indexing="ij")
    values = grid_loss(fit, truth, T_A, T_b).flatten()
    best = math.inf
    for k in values.argsort()[:10]:
        A, b, half = T_A.flatten()[k], T_b.flatten()[k], 0.05
        for _ in range(10):
            steps = half * torch.linspace(-1, 1, 15, dtype=torch.float64)
            As, bs = torch.meshgrid(A + steps, b + steps, indexing="ij")
            near = grid_loss(fit, truth, As, bs).flatten()
            A, b = As.flatten()[near.argmin()], bs.flatten()[near.argmin()]
            best, half = min(best, float(near.min())), half / 4
    return best


@pytest.mark.parametrize(("n_fitted", "scale"), [(2, 0.1), (3, 0.1), (2, 0.5), (2, 1.0), (3, 1.0)])
@pytest.mark.parametrize("seed", [1, 2])
def test_brute_force_in_dimension_1(n_fitted, scale, seed):
    line = Architecture(gate="softmax", dim=1)
    truth = normal(line, 2, seed)
    fit = near(truth, n_fitted, scale, seed + 10)
    loss = float(voronoi_loss(fit, truth, "softmax"))
    # The grid is no finer than 1e-7 at its end.
    assert loss <= brute_force(fit, truth) * (1 + 1e-6)


@pytest.mark.parametrize("seed", [0, 3, 15, 23])
def test_the_minimum_may_lie_at_the_boundary_of_its_cells(seed, monkeypatch):
    line = Architecture(gate="softmax", dim=1)
    truth, fit = normal(line, 2, seed), normal(line, 2, seed + 1000)
    loss = float(voronoi_loss(fit, truth, "softmax"))
    assert loss == pytest.approx(brute_force(fit, truth), rel=1e-6)
    # Alternating between cells and translations alone does not find it.
    monkeypatch.setattr(_Search, "_at_boundaries", lambda _, log: log.best)
    assert float(voronoi_loss(fit, truth, "softmax")) > 1.01 * loss


@pytest.mark.parametrize(("n_atoms", "seed"), [(3, 11), (4, 6)])
def test_cells_that_look_poor_at_first_are_followed_too(n_atoms, seed, monkeypatch):
    truth, fit = normal(FULL, n_atoms, seed), normal(FULL, n_atoms, seed + 1000)
    loss = float(voronoi_loss(fit, truth, "softmax"))
    monkeypatch.setattr(_Search, "_floor", lambda _, trials: trials.value + 1e9)
    assert float(voronoi_loss(fit, truth, "softmax")) > 1.05 * loss


def test_a_batch_equals_its_members():
    fits = normal(FULL, 3, seed=9, batch=(4, 1))
    truths = normal(FULL, 2, seed=10, batch=(3,))
    for kind in KINDS:
        loss = voronoi_loss(fits, truths, kind)
        assert loss.value.shape == (4, 3)
        assert loss.translation.A.shape == (4, 3, 2, 2)
        assert loss.translation.c.shape == (4, 3)
        for i in range(4):
            for j in range(3):
                single = voronoi_loss(fits[i][0], truths[j], kind)
                assert float(loss.value[i, j]) == pytest.approx(float(single), rel=1e-12)
                assert int(loss.empty_cells[i, j]) == int(single.empty_cells)


def test_large_batches_are_cut_and_joined(monkeypatch):
    fits, truth = normal(FULL, 3, seed=11, batch=(7,)), normal(FULL, 2, seed=12)
    whole = voronoi_loss(fits, truth, "softmax").value
    monkeypatch.setattr("sigmoe.theory._translation._BLOCK", 1)
    assert voronoi_loss(fits, truth, "softmax").value.tolist() == pytest.approx(whole.tolist())


def test_named_over_specified_atoms():
    truth = normal(FULL, 2, seed=13)
    fit = near(truth, 2, 0.1, seed=14)
    squares = voronoi_loss(fit, truth, "softmax", over_specified=[0, 1])
    norms = voronoi_loss(fit, truth, "softmax", over_specified=[])
    assert float(squares) < float(norms)
    assert squares.over_specified.tolist() == [True, True]
    T = squares.translation
    assert float(squares) == pytest.approx(
        naive_loss(fit, truth, "softmax", over=[0, 1], T_A=T.A, T_b=T.b), rel=1e-12
    )


@pytest.mark.parametrize("kind", ["L1", "L2", "L4"])
def test_refuses_losses_that_depend_on_the_translation(kind):
    truth = draw_truth(FULL, 2)
    with pytest.raises(InputError) as error:
        voronoi_loss(truth, truth, kind, r=2 if kind == "L2" else None)
    assert str(error.value) == (
        f"kind must be 'softmax', 'L3' or 'L5' for softmax gates; got '{kind}'. "
        "The others change with the common translation that softmax gates do not see."
    )
