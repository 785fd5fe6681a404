import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from sigmoe._base.errors import InputError
from sigmoe.moe import Architecture, MixingMeasure, draw_truth, register_expert
from sigmoe.moe._experts import EXPERTS
from sigmoe.theory import _families as families
from sigmoe.theory import nearest_representations, set_loss, voronoi_loss
from sigmoe.theory._atoms import Atoms, distance
from sigmoe.theory._grouping import Column, cheapest_grouping, subsets
from sigmoe.theory._homogeneity import Scaling, scaling_of

DENSE = {
    "linear": {"null", "split", "flip", "mixed"},
    "relu": {"null", "split", "mixed"},
    "gelu": {"null", "mixed"},
    "tanh": {"null", "mixed"},
    "polynomial:2": {"null", "mixed"},
    "scaled-relu": {"null", "split", "flip", "mixed"},
    "scaled-gelu": {"null", "split", "flip", "mixed"},
}
SPARSE = {
    name: found | {"complement", "constant"} if "split" in found else found
    for name, found in DENSE.items()
}


def fit_near(truth, n_experts, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    coordinates = truth.coordinates[[k % truth.n_experts for k in range(n_experts)]]
    noise = torch.randn(coordinates.shape, generator=generator, dtype=torch.float64)
    return MixingMeasure.from_coordinates(truth.architecture, coordinates + scale * noise)


def alignment(fit, member):
    """Return the sum of norms between the atoms of two measures in their order."""
    return float(distance(Atoms.of(fit), Atoms.of(member)).sum())


@pytest.mark.parametrize(
    ("score", "n_outputs", "extra"), [("full", None, 1), ("partial", 2, 2), ("linear", 2, 1)]
)
@pytest.mark.parametrize("expert", list(DENSE))
def test_every_member_is_the_truths_function(expert, extra, score, n_outputs):
    architecture = Architecture(dim=2, expert=expert, score=score, n_outputs=n_outputs)
    X = 4 * torch.rand(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 2
    for regime, expected in (("dense", DENSE[expert]), ("sparse", SPARSE[expert])):
        truth = draw_truth(architecture, 3, regime=regime, seed=1)
        for scale in (0.2, 2.0):
            fit = fit_near(truth, 3 + extra, scale, seed=2)
            members = nearest_representations(fit, truth)
            assert set(members) == expected
            for member in members.values():
                assert member.n_experts == fit.n_experts
                error = (member.predict(X) - truth.predict(X)).abs().max()
                assert float(error) < 1e-12
            costs = {name: alignment(fit, member) for name, member in members.items()}
            assert costs["mixed"] <= min(costs.values()) + 1e-12


@pytest.mark.parametrize("expert", ["linear", "relu", "scaled-gelu", "tanh"])
def test_as_many_atoms_as_the_truth(expert):
    architecture = Architecture(dim=2, expert=expert)
    X = torch.rand(100, 2, dtype=torch.float64)
    dense = draw_truth(architecture, 3, seed=1)
    members = nearest_representations(fit_near(dense, 3, 0.1, seed=2), dense)
    assert set(members) == {"truth", "mixed"}
    assert members["truth"] == dense
    sparse = draw_truth(architecture, 3, regime="sparse", seed=1)
    fit = fit_near(sparse, 3, 0.1, seed=2).permute([2, 0, 1])
    members = nearest_representations(fit, sparse)
    assert members["truth"] == sparse.permute([2, 0, 1])
    assert ("constant" in members) == (expert != "tanh")
    if expert != "tanh":
        member = members["constant"]
        assert torch.allclose(member.predict(X), sparse.predict(X), rtol=0, atol=1e-13)
        # the gates of the sparse atoms keep the fit's c
        assert member.c[[0, 2]].tolist() == fit.c[[0, 2]].tolist()


@pytest.mark.parametrize("expert", list(DENSE))
def test_a_member_is_its_own_nearest_member(expert):
    truth = draw_truth(Architecture(dim=2, expert=expert), 3, regime="sparse", seed=3)
    members = nearest_representations(fit_near(truth, 4, 0.5, seed=4), truth)
    for name, member in members.items():
        again = nearest_representations(member, truth)
        assert alignment(member, again[name]) < 1e-12
        best = set_loss(member, again)
        assert float(best) < 1e-12


def group(*, A, b, c, eta):
    return Atoms(*(torch.tensor(block, dtype=torch.float64) for block in (A, b, c, eta)))


def random_group(size, q, seed, d=2):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return Atoms(draw(1, size, d, d), draw(1, size, d), draw(1, size), draw(1, size, 1, q))


SHARES = [
    ("relu", families.split, 2),
    ("relu", families.split, 3),
    ("relu", families.constant, 1),
    ("relu", families.constant, 3),
    ("scaled-gelu", families.split, 3),
    ("scaled-gelu", families.constant, 2),
    ("linear", families.split, 3),
    ("linear", families.constant, 3),
]


@pytest.mark.parametrize(("expert", "family", "size"), SHARES)
@pytest.mark.parametrize("seed", range(3))
def test_shares_are_the_nearest_ones(expert, family, size, seed):
    # An independent optimiser over the last atoms' shares; the first atom takes the rest.
    architecture = Architecture(dim=2, expert=expert)
    scaling = scaling_of(architecture)
    q = architecture.n_expert_parameters
    fit, true = random_group(size, q, seed), random_group(1, q, seed + 50).map(lambda t: t[0])
    member = family(fit, true, scaling)
    weights = torch.ones(size) if family is families.split else torch.sigmoid(fit.c[0])
    weights = weights.double()
    total = 1.0 if family is families.split else float(torch.sigmoid(true.c[0]))
    found = (member.eta - fit.eta)[0, :, 0].norm(dim=-1).sum()

    def cost(x):
        if expert == "linear":
            rest = torch.from_numpy(x.reshape(size - 1, q))
            first = (total * true.eta[0, 0] - (weights[1:, None] * rest).sum(0)) / weights[0]
            eta = torch.cat([first[None], rest])
            return float((eta - fit.eta[0, :, 0]).norm(dim=-1).sum())
        shares = np.concatenate([[(total - float(weights[1:].numpy() @ x)) / float(weights[0])], x])
        if expert == "relu" and shares.min() < 0:
            return 1e3 - 1e3 * shares.min()
        eta = true.eta[0, 0].expand(size, q).clone()
        if expert == "relu":
            eta = torch.from_numpy(shares)[:, None] * eta
        else:
            eta[:, -1] *= torch.from_numpy(shares)
        return float((eta - fit.eta[0, :, 0]).norm(dim=-1).sum())

    width = (size - 1) * (q if expert == "linear" else 1)
    if width == 0:
        assert float(found) == pytest.approx(cost(np.zeros(0)), rel=1e-12)
        return
    start = np.full(width, total / float(weights.sum()))
    rivals = [
        minimize(cost, start + step, method="Nelder-Mead", options={"maxfev": 4000, "xatol": 1e-9})
        for step in (0.0, 0.1)
    ]
    assert float(found) <= min(rival.fun for rival in rivals) * (1 + 1e-6)


@pytest.mark.parametrize(
    ("expert", "eta", "nearest"),
    [
        ("linear", [3.0, 4.0, 5.0], [0.0, 0.0, 0.0]),
        ("gelu", [3.0, 4.0, -5.0], [0.0, 0.0, 0.0]),
        ("relu", [3.0, 4.0, -5.0], [0.0, 0.0, -5.0]),
        ("relu", [3.0, 4.0, 5.0], [0.0, 0.0, 0.0]),
        ("scaled-gelu", [3.0, 4.0, 5.0, 0.1], [3.0, 4.0, 5.0, 0.0]),
        ("scaled-relu", [0.3, 0.4, -5.0, 0.1], [0.3, 0.4, -5.0, 0.0]),
        ("scaled-relu", [0.03, 0.04, -5.0, 0.1], [0.0, 0.0, -5.0, 0.1]),
    ],
)
def test_the_nearest_zero_expert(expert, eta, nearest):
    fit = group(A=[[[1.0, 0], [0, 1]]], b=[[1.0, 2]], c=[3.0], eta=[[eta]])
    member = families.null(fit, fit, scaling_of(Architecture(dim=2, expert=expert)))
    assert member.eta.flatten().tolist() == nearest
    assert member.c.tolist() == [3.0]


def test_flip_and_complement_by_hand():
    # d=1, linear: sigmoid(x + 0) 2x = 1/2 * 4x - sigmoid(-x) 2x
    linear = scaling_of(Architecture(dim=1, expert="linear"))
    pair = group(
        A=[[[[0.0]], [[0.0]]]],
        b=[[[0.1], [-1.2]]],
        c=[[0.0, 0.3]],
        eta=[[[[4.5, 0.0]], [[-2.0, 0.0]]]],
    )
    true = group(A=[[[0.0]]], b=[[1.0]], c=[0.0], eta=[[[2.0, 0.0]]])
    member = families.flip(pair, true, linear)
    assert member.b.flatten().tolist() == [0.0, -1.0]
    assert member.c.flatten().tolist() == [0.0, 0.0]
    assert member.eta.flatten().tolist() == [4.0, 0.0, -2.0, 0.0]
    # a constant gate sigmoid(log 3) = 3/4: both take 3/4 of the expert
    flat = group(A=[[[0.0]]], b=[[0.0]], c=[math.log(3)], eta=[[[2.0, 0.0]]])
    member = families.complement(pair, flat, linear)
    assert member.b.flatten().tolist() == pytest.approx([0.65, -0.65])
    assert member.c.flatten().tolist() == pytest.approx([-0.15, 0.15])
    assert member.eta.flatten().tolist() == pytest.approx([1.5, 0.0, 1.5, 0.0])


def brute_force(n_items, columns):
    best = math.inf
    for picks in itertools.product(*(range(len(column.groups)) for column in columns)):
        items = [i for column, k in zip(columns, picks, strict=True) for i in column.groups[k]]
        if sorted(items) == list(range(n_items)):
            best = min(best, sum(c.costs[k] for c, k in zip(columns, picks, strict=True)))
    return best


@given(seed=st.integers(0, 500), n_items=st.integers(1, 4), n_columns=st.integers(1, 3))
def test_grouping_equals_brute_force(seed, n_items, n_columns):
    rng = np.random.default_rng(seed)
    columns = []
    for _ in range(n_columns):
        groups = [()] * int(rng.integers(2)) + subsets(n_items, range(1, n_items + 1))
        costs = rng.uniform(size=len(groups))
        costs[rng.uniform(size=len(groups)) < 0.2] = math.inf
        columns.append(Column(groups, costs))
    picked = cheapest_grouping(n_items, columns)
    expected = brute_force(n_items, columns)
    if picked is None:
        assert expected == math.inf
        return
    items = [i for column, k in zip(columns, picked, strict=True) for i in column.groups[k]]
    assert sorted(items) == list(range(n_items))
    cost = sum(column.costs[k] for column, k in zip(columns, picked, strict=True))
    assert cost == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("expert", ["linear", "relu"])
def test_the_search_is_exact_over_assignments(expert):
    architecture = Architecture(dim=1, expert=expert)
    truth = draw_truth(architecture, 2, seed=5)
    fit = fit_near(truth, 3, 1.0, seed=6)
    member = nearest_representations(fit, truth)["null"]
    scaling = scaling_of(architecture)
    atoms, true = Atoms.of(fit), Atoms.of(truth)
    costs = []
    for extra, first, second in itertools.permutations(range(3)):
        zero = families.null(atoms.take(torch.tensor([[extra]])), true, scaling)
        costs.append(
            float(distance(atoms.take(torch.tensor([[extra]])), zero).sum())
            + float(distance(atoms.take(torch.tensor([first, second])), true).sum())
        )
    assert alignment(fit, member) == pytest.approx(min(costs), rel=1e-13)


def test_a_set_loss_falls_where_the_loss_to_the_truth_cannot():
    # Linear experts, N = 3 > 2: an extra atom with a zero expert may have any gate.
    truth = draw_truth(Architecture(dim=2, expert="linear"), 2, seed=7)
    far = MixingMeasure(
        truth.architecture,
        torch.cat([truth.A, torch.full((1, 2, 2), 9.0)]),
        torch.cat([truth.b, torch.full((1, 2), -9.0)]),
        torch.cat([truth.c, torch.tensor([9.0])]),
        torch.cat([truth.eta, torch.full((1, 3), 1e-6)]),
    )
    assert float(voronoi_loss(far, truth, "L3")) > 20
    nearest = set_loss(far, nearest_representations(far, truth))
    assert float(nearest) == pytest.approx(math.sqrt(3) * 1e-6, rel=1e-6)
    assert nearest.nearest in ("null", "mixed")
    assert nearest.loss.by_atom.shape == (3,)


def test_set_losses_of_a_batch_and_of_a_sequence():
    truth = draw_truth(Architecture(dim=2), 2, seed=0)
    others = [draw_truth(Architecture(dim=2), count, seed=1) for count in (2, 3)]
    batch = MixingMeasure.stack([truth, others[0], truth])
    found = set_loss(batch, [*others, truth])
    assert found.names == ("0", "1", "2")
    assert found.position.tolist() == [2, 0, 2]
    assert found.value.tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(InputError) as error:
        set_loss(truth, [])
    assert str(error.value) == (
        "members must be at least one measure; got []. See project for members."
    )


def test_how_experts_scale():
    assert scaling_of(Architecture(expert="relu")) == Scaling(
        positive=True, odd=False, zero=True, rectified=True, scaled=False
    )
    assert scaling_of(Architecture(expert="linear")).linear
    assert scaling_of(Architecture(expert="polynomial:1")).linear
    assert not scaling_of(Architecture(expert="polynomial:3")).scalable
    assert scaling_of(Architecture(expert="scaled-gelu")).reversible
    assert not scaling_of(Architecture(expert="tanh")).positive


def test_an_expert_that_never_vanishes_has_no_members():
    register_expert("cosine", torch.cos, lambda z: -torch.sin(z), lambda z: -torch.cos(z))
    try:
        truth = draw_truth(Architecture(dim=2, expert="cosine"), 2, seed=0)
        assert nearest_representations(fit_near(truth, 3, 0.1, seed=1), truth) == {}
    finally:
        EXPERTS.unregister("cosine")


RELU = Architecture(dim=1)


@pytest.mark.parametrize(
    ("fitted", "truth", "message"),
    [
        (
            draw_truth(Architecture(dim=1, gate="softmax"), 2),
            draw_truth(RELU, 2),
            "fitted must be a sigmoid measure; got 'softmax'. "
            "The closed forms rest on sigmoid gates; see project for others.",
        ),
        (
            draw_truth(RELU, 1),
            draw_truth(RELU, 2),
            "fitted must be a measure of 2 to 16 atoms; got '1 atoms'. "
            "The truth's atoms must all be written, and the search is over all subsets.",
        ),
        (
            MixingMeasure.stack([draw_truth(RELU, 2)] * 3),
            draw_truth(RELU, 2),
            "fitted must be a single measure; got 'a batch (3,)'. Index it.",
        ),
    ],
)
def test_refusals(fitted, truth, message):
    with pytest.raises(InputError) as error:
        nearest_representations(fitted, truth)
    assert str(error.value) == message


def test_refuses_another_architecture():
    fit = draw_truth(Architecture(dim=1, expert="linear"), 2)
    with pytest.raises(InputError, match="Fit the model that the truth belongs to"):
        nearest_representations(fit, draw_truth(RELU, 2))
