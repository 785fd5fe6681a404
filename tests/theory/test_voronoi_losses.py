import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from naive_losses import naive_loss
from sigmoe._base.errors import InputError
from sigmoe.moe import Architecture, MixingMeasure, draw_truth
from sigmoe.theory import function_distance, voronoi_loss

FULL = Architecture(dim=2, expert="relu")
PARTIAL = Architecture(dim=2, score="partial", expert="scaled-gelu", n_outputs=2)
LINEAR = Architecture(dim=3, score="linear", expert="linear", n_outputs=1)
SIGMOID_KINDS = [("L1", None), ("L2", 1), ("L2", 2.5), ("L3", None)]
PARTIAL_KINDS = [*SIGMOID_KINDS, ("L4", None), ("L5", None)]
CASES = [
    *((FULL, *kind) for kind in SIGMOID_KINDS),
    *((PARTIAL, *kind) for kind in PARTIAL_KINDS),
    *((LINEAR, *kind) for kind in SIGMOID_KINDS),
]
NAMES = [f"{a.score}-{a.expert}-{kind}-r{r}" for a, kind, r in CASES]


def normal(architecture, n_experts, seed, batch=()):
    generator = torch.Generator().manual_seed(seed)
    shape = (*batch, n_experts, architecture.n_atom_parameters)
    coordinates = torch.randn(shape, generator=generator, dtype=torch.float64)
    return MixingMeasure.from_coordinates(architecture, coordinates)


def scalar(A, b, c, alpha, beta, **kwargs):
    """Return a measure in dimension 1 from lists of numbers, one for each atom."""
    architecture = Architecture(dim=1, expert="relu", **kwargs)
    A_ = torch.tensor(A, dtype=torch.float64)[:, None, None]
    b_ = None if b is None else torch.tensor(b, dtype=torch.float64)[:, None]
    eta = torch.tensor([alpha, beta], dtype=torch.float64).T
    return MixingMeasure(architecture, A_, b_, torch.tensor(c, dtype=torch.float64), eta)


LOG3 = math.log(3.0)  # sigmoid(log 3) = 3/4, sigmoid(-log 3) = 1/4, sigmoid(0) = 1/2

# Two true atoms far apart; two fitted atoms beside the first, one beside the second.
TRUTH = scalar(A=[0.0, 10.0], b=[0.0, 10.0], c=[0.0, LOG3], alpha=[0.0, 10.0], beta=[0.0, 10.0])
FIT = scalar(
    A=[0.5, -0.5, 10.0],
    b=[0.0, 0.3, 10.1],
    c=[-LOG3, -LOG3, LOG3 + 0.25],
    alpha=[0.3, 0.0, 10.3],
    beta=[0.4, 0.0, 10.4],
)


@pytest.mark.parametrize(
    ("kind", "r", "over", "expected"),
    [
        # weights 1/4 + 1/4 meet 1/2; squares in the first cell, norms in the second
        ("L1", None, None, (0.25 + 0.25) + 0.09 + 0.25 + (0.1 + 0.25 + 0.5)),
        # nobody is over-specified: norms everywhere and |c - c*| = log 3 twice
        ("L1", None, [], (0.5 + 0.5) + 0.3 + 0.5 + 2 * LOG3 + (0.1 + 0.25 + 0.5)),
        # both are: the second cell's weights 3 e^(1/4) / (1 + 3 e^(1/4)) against 3/4
        (
            "L1",
            None,
            [0, 1],
            0.5 + 0.09 + 0.25 + 0.01 + 0.25 + 1 / (1 + math.exp(-LOG3 - 0.25)) - 0.75,
        ),
        ("L2", 1, None, (0.5 + 0.5) + 0.3 + (0.3 + 0.4) + (0.1 + 0.25 + 0.3 + 0.4)),
        (
            "L2",
            3,
            None,
            2 * 0.125 + 0.027 + (0.027 + 0.064) + (0.001 + 0.25**3 + 0.027 + 0.064),
        ),
        ("L3", None, None, (0.5 + 0.5) + 0.3 + 0.5 + 2 * LOG3 + (0.1 + 0.25 + 0.5)),
    ],
)
def test_closed_forms_of_the_full_score(kind, r, over, expected):
    loss = voronoi_loss(FIT, TRUTH, kind, r=r, over_specified=over)
    assert float(loss) == pytest.approx(expected, rel=1e-14)
    assert loss.cells.tolist() == [[True, True, False], [False, False, True]]
    assert int(loss.empty_cells) == 0


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("L4", (0.25 + 0.25) + 0.25 + (0.25 + 0.5)),
        ("L5", (0.5 + 0.5) + 0.5 + 2 * LOG3 + (0.25 + 0.5)),
    ],
)
def test_closed_forms_of_the_partial_score(kind, expected):
    truth = scalar([0.0, 10.0], None, [0.0, LOG3], [0.0, 10.0], [0.0, 10.0], score="partial")
    fit = scalar(
        [0.5, -0.5, 10.0],
        None,
        [-LOG3, -LOG3, LOG3 + 0.25],
        [0.3, 0.0, 10.3],
        [0.4, 0.0, 10.4],
        score="partial",
    )
    assert float(voronoi_loss(fit, truth, kind)) == pytest.approx(expected, rel=1e-14)


def test_parts_by_atom_and_by_block():
    loss = voronoi_loss(FIT, TRUTH, "L1")
    assert loss.by_atom.tolist() == pytest.approx([0.5 + 0.09 + 0.25, 0.1 + 0.25 + 0.5])
    by_block = {name: float(part) for name, part in loss.by_block.items()}
    assert by_block == pytest.approx({"A": 0.5, "b": 0.09 + 0.1, "c": 0.25, "eta": 0.25 + 0.5})
    assert loss.over_specified.tolist() == [True, False]
    assert voronoi_loss(FIT, TRUTH, "L3").over_specified.tolist() == [False, False]


def test_prints_in_one_line():
    assert repr(voronoi_loss(FIT, TRUTH, "L1")) == "VoronoiLoss(L1: 1.69, empty cells: 0)"
    batch = voronoi_loss(normal(FULL, 2, 0, batch=(3,)), normal(FULL, 2, 1), "L3")
    assert repr(batch).startswith("VoronoiLoss(L3: batch of shape (3,), empty cells: ")


def test_an_atom_at_equal_distance_counts_in_both_cells():
    truth = scalar([-1.0, 1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0])
    fit = scalar([0.0], [0.0], [0.0], [0.0], [0.0])
    assert float(voronoi_loss(fit, truth, "L3")) == 2.0
    assert float(voronoi_loss(fit, truth, "L1")) == 2.0


def test_an_empty_cell_contributes_zero_and_is_counted():
    fit = scalar([0.5], [0.0], [0.0], [0.0], [0.0])
    for over in (None, [0], [1], [0, 1]):
        loss = voronoi_loss(fit, TRUTH, "L1", over_specified=over)
        assert loss.by_atom.tolist()[1] == 0.0
        assert int(loss.empty_cells) == 1


@pytest.mark.parametrize(("architecture", "kind", "r"), CASES, ids=NAMES)
@pytest.mark.parametrize(("n_fitted", "n_true", "spread"), [(4, 3, 1.0), (2, 3, 1.0), (5, 2, 0.1)])
def test_agrees_with_the_loops(architecture, kind, r, n_fitted, n_true, spread):
    truth = normal(architecture, n_true, seed=1)
    noise = normal(architecture, n_fitted, seed=2).coordinates
    coordinates = truth.coordinates[[i % n_true for i in range(n_fitted)]] + spread * noise
    fitted = MixingMeasure.from_coordinates(architecture, coordinates)
    named = [[], [0], list(range(n_true))] if kind not in ("L3", "L5") else []
    for over in (None, *named):
        loss = voronoi_loss(fitted, truth, kind, r=r, over_specified=over)
        assert float(loss) == pytest.approx(naive_loss(fitted, truth, kind, r, over), rel=1e-13)
        assert float(loss.by_atom.sum()) == pytest.approx(float(loss), rel=1e-14)
        assert sum(map(float, loss.by_block.values())) == pytest.approx(float(loss), rel=1e-14)


@pytest.mark.parametrize(("architecture", "kind", "r"), CASES, ids=NAMES)
def test_batches_broadcast_and_equal_single_losses(architecture, kind, r):
    fitted = normal(architecture, 3, seed=3, batch=(4, 1))
    truth = normal(architecture, 2, seed=4, batch=(5,))
    loss = voronoi_loss(fitted, truth, kind, r=r)
    assert loss.value.shape == loss.empty_cells.shape == (4, 5)
    assert loss.by_atom.shape == (4, 5, 2)
    assert loss.cells.shape == (4, 5, 2, 3)
    for i, j in itertools.product(range(4), range(5)):
        single = voronoi_loss(fitted[i][0], truth[j], kind, r=r)
        assert float(loss.value[i, j]) == pytest.approx(float(single), rel=1e-14)
        assert int(loss.empty_cells[i, j]) == int(single.empty_cells)


@pytest.mark.parametrize(("architecture", "kind", "r"), CASES, ids=NAMES)
@given(
    order=st.permutations(range(4)), true_order=st.permutations(range(3)), seed=st.integers(0, 99)
)
def test_invariant_to_the_order_of_atoms(architecture, kind, r, order, true_order, seed):
    fitted, truth = normal(architecture, 4, seed), normal(architecture, 3, seed + 100)
    loss = voronoi_loss(fitted, truth, kind, r=r)
    other = voronoi_loss(fitted.permute(order), truth.permute(true_order), kind, r=r)
    assert float(other) == pytest.approx(float(loss), rel=1e-14)
    assert other.by_atom.tolist() == pytest.approx(loss.by_atom[list(true_order)].tolist())


@pytest.mark.parametrize("kind", ["L1", "L3"])
@given(seed=st.integers(0, 99), scale=st.floats(-1e3, 1e3))
def test_invariant_to_the_antisymmetric_part_of_A(kind, seed, scale):
    fitted, truth = normal(FULL, 3, seed), normal(FULL, 2, seed + 100)
    turn = scale * torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    turned = MixingMeasure(FULL, fitted.A + turn, fitted.b, fitted.c, fitted.eta)
    expected = float(voronoi_loss(fitted, truth, kind))
    assert float(voronoi_loss(turned, truth, kind)) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize(("architecture", "kind", "r"), CASES, ids=NAMES)
@settings(max_examples=40)
@given(seed=st.integers(0, 99), size=st.floats(1e-9, 1.0), place=st.integers(0, 10**6))
def test_zero_exactly_at_the_truth(architecture, kind, r, seed, size, place):
    truth = normal(architecture, 3, seed)
    assert float(voronoi_loss(truth, truth, kind, r=r)) == 0.0
    coordinates = truth.coordinates
    coordinates.view(-1)[place % coordinates.numel()] += size
    moved = voronoi_loss(
        MixingMeasure.from_coordinates(architecture, coordinates), truth, kind, r=r
    )
    assert int(moved.empty_cells) > 0 or float(moved) > 0.0


@pytest.mark.parametrize("kind", ["L1", "L2", "L4"])
def test_zero_where_atoms_split_with_their_weight(kind):
    truth = normal(PARTIAL, 2, seed=5)
    halves = torch.logit(torch.sigmoid(truth.c[:1]) * torch.tensor([0.3, 0.7], dtype=torch.float64))
    c = torch.cat([halves, truth.c[1:]])
    again = [0, 0, 1]
    split = MixingMeasure(PARTIAL, truth.A[again], None, c, truth.eta[again])
    loss = voronoi_loss(split, truth, kind, r=2 if kind == "L2" else None)
    assert float(loss) == pytest.approx(0.0, abs=1e-15)
    assert loss.over_specified.tolist() == [True, False]


def test_gbar_may_have_any_number_of_atoms():
    fitted = normal(FULL, 4, seed=6)
    for n_atoms in (1, 4, 6):
        gbar = normal(FULL, n_atoms, seed=7)
        loss = voronoi_loss(fitted, gbar, "L3")
        assert float(loss) == pytest.approx(naive_loss(fitted, gbar, "L3"), rel=1e-13)
        assert loss.by_atom.shape == (n_atoms,)


def test_the_two_atom_sequence_beats_the_lower_bound_of_theorem_1():
    # FINDINGS A5: full score, zero gate, ReLU. ||f_G - f_G*|| falls like t^4 while L1 falls like
    # t^2, so that no constant makes the one a lower bound of the other.
    d = 8
    architecture = Architecture(dim=d, expert="relu")
    eta = draw_truth(architecture, 1, seed=0).eta
    A0, b0 = torch.zeros(1, d, d, dtype=torch.float64), torch.zeros(1, d, dtype=torch.float64)
    truth = MixingMeasure(architecture, A0, b0, torch.zeros(1), eta)
    v = torch.ones(d, dtype=torch.float64) / math.sqrt(d)
    # 2 sigmoid(-log 3) = sigmoid(0); sigmoid' = 3/16 and sigmoid'' = 3/32 there.
    c = torch.tensor([-LOG3, -LOG3], dtype=torch.float64)
    ratios = []
    for t in (1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125):
        A = -0.25 * t**2 * torch.outer(v, v).expand(2, d, d)
        fit = MixingMeasure(architecture, A, t * torch.stack([v, -v]), c, eta.expand(2, -1))
        loss = voronoi_loss(fit, truth, "L1")
        assert float(loss) == pytest.approx(2 * t**2 + 0.125 * t**4, rel=1e-12)
        ratios.append(float(function_distance(fit, truth, n_points=2**12)) / float(loss))
    slopes = [math.log2(larger / smaller) for larger, smaller in itertools.pairwise(ratios)]
    assert slopes[-1] == pytest.approx(2.0, abs=0.02)
    assert slopes == sorted(slopes)
    # 1.3e-5 to 5.3e-8 for the truth of FINDINGS; other experts differ by a factor.
    assert 1e-6 < ratios[0] < 1e-3
    assert ratios[-1] < ratios[0] / 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"kind": "L6"},
            "kind must be one of 'L1', 'L2', 'L3', 'L4', 'L5', 'softmax'; got 'L6'. "
            "Choose one of these losses.",
        ),
        (
            {"kind": "L2"},
            "r must be a number >= 1; got None. Pass the exponent of eq. (11), such as r=2.",
        ),
        (
            {"kind": "L2", "r": 0.5},
            "r must be a number >= 1; got 0.5. Pass the exponent of eq. (11), such as r=2.",
        ),
        (
            {"kind": "L1", "r": 2},
            "r must be None for L1; got 2. Only L2 has an exponent.",
        ),
        (
            {"kind": "L4"},
            "kind must be a loss with a term in b for the full score; got 'L4'. "
            "Use 'L1', which is L4 with that term.",
        ),
        (
            {"kind": "L5"},
            "kind must be a loss with a term in b for the full score; got 'L5'. "
            "Use 'L3', which is L5 with that term.",
        ),
        (
            {"kind": "softmax"},
            "kind must be one of 'L1' to 'L5' for sigmoid gates; got 'softmax'. "
            "Choose 'L1' or 'L3'.",
        ),
        (
            {"over_specified": [2]},
            "over_specified must be an integer >= 0 and <= 1; got 2. "
            "Name true atoms by their positions, from 0.",
        ),
        (
            {"kind": "L3", "over_specified": [0]},
            "over_specified must be None for L3; got [0]. L3 treats all atoms alike.",
        ),
    ],
)
def test_refusals(change, message):
    fitted, truth = normal(FULL, 2, 0), normal(FULL, 2, 1)
    with pytest.raises(InputError) as error:
        voronoi_loss(fitted, truth, **change)
    assert str(error.value) == message


def test_refuses_measures_of_two_gates():
    fitted = normal(Architecture(gate="softmax", dim=2), 2, 0)
    with pytest.raises(InputError) as error:
        voronoi_loss(fitted, normal(FULL, 2, 1), "L3")
    assert str(error.value) == (
        "fitted must be of the truth's gate 'sigmoid'; got 'softmax'. "
        "Compare with a member of project(truth, architecture, n_experts) instead."
    )


def test_refuses_to_make_one_number_of_a_batch():
    loss = voronoi_loss(normal(FULL, 2, 0, batch=(3,)), normal(FULL, 2, 1), "L1")
    with pytest.raises(InputError) as error:
        float(loss)
    assert str(error.value) == (
        "loss must be one number for float(); got 'a batch of shape (3,)'. "
        "Read the batch from the attribute value."
    )
