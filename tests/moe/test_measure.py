import copy
import pickle  # noqa: TID251 - Dask ships measures between its workers by pickle

import numpy as np
import pytest
import torch

from problems_moe import ARCHITECTURES, naive_predict
from problems_moe import name as architecture_name
from sigmoe._base.errors import InputError, StoreError
from sigmoe.moe import Architecture, MixingMeasure, draw_truth, uniform_sampler

SMALL = Architecture(gate="sigmoid", score="full", expert="relu", dim=2)


def blocks(n_experts=3, dim=2, q=3):
    rng = np.random.default_rng(0)
    return {
        "A": rng.normal(size=(n_experts, dim, dim)),
        "b": rng.normal(size=(n_experts, dim)),
        "c": rng.normal(size=n_experts),
        "eta": rng.normal(size=(n_experts, q)),
    }


@pytest.fixture
def measure():
    return MixingMeasure(SMALL, **blocks())


def inputs(dim, n=9):
    return torch.from_numpy(uniform_sampler(dim)(np.random.default_rng(1), n))


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=architecture_name)
class TestEveryArchitecture:
    """What every gate x score x expert must do; a new expert joins through the registry."""

    def test_prediction_is_the_formula(self, architecture):
        measure = draw_truth(architecture, 3, seed=2)
        X = inputs(architecture.dim)
        expected = naive_predict(measure, X)
        if architecture.n_outputs is None:
            expected = expected.squeeze(1)
        torch.testing.assert_close(measure.predict(X), expected, rtol=1e-12, atol=1e-14)

    def test_prediction_is_the_gates_times_the_experts(self, architecture):
        measure = draw_truth(architecture, 3, seed=2)
        X = inputs(architecture.dim)
        gates, experts = measure.gates(X), measure.experts(X)
        if architecture.n_outputs is not None:
            gates = gates.unsqueeze(-1)
        torch.testing.assert_close(measure.predict(X), (gates * experts).sum(dim=1))

    def test_coordinates_and_blocks_say_the_same(self, architecture):
        measure = draw_truth(architecture, 3, seed=2)
        coordinates = measure.coordinates
        assert coordinates.shape == (3, architecture.n_atom_parameters)
        assert MixingMeasure.from_coordinates(architecture, coordinates) == measure
        A = measure.A if architecture.score != "linear" else None
        b = measure.b if architecture.score != "partial" else None
        assert MixingMeasure(architecture, A, b, measure.c, measure.eta) == measure

    def test_the_score_is_linear_in_the_coordinates(self, architecture):
        # x'Ax + b'x + c, written with A's entries, equals coefficients times monomials.
        measure = draw_truth(architecture, 2, seed=3)
        X = inputs(architecture.dim)
        scores = torch.einsum("nu,iuv,nv->ni", X, measure.A, X) + X @ measure.b.T + measure.c
        weights = torch.sigmoid(scores) if architecture.gate == "sigmoid" else scores.softmax(1)
        torch.testing.assert_close(measure.gates(X), weights, rtol=1e-12, atol=1e-15)

    def test_the_order_of_the_atoms_does_not_matter(self, architecture):
        measure = draw_truth(architecture, 3, seed=2)
        X = inputs(architecture.dim)
        torch.testing.assert_close(measure.permute([2, 0, 1]).predict(X), measure.predict(X))

    def test_saved_and_loaded_is_the_same(self, architecture, tmp_path):
        measure = draw_truth(architecture, 3, seed=2)
        measure.save(tmp_path / "m.safetensors")
        assert MixingMeasure.load(tmp_path / "m.safetensors") == measure

    def test_a_batch_is_its_members(self, architecture):
        members = [draw_truth(architecture, 3, seed=s) for s in range(3)]
        batch = MixingMeasure.stack(members)
        X = inputs(architecture.dim)
        assert batch.batch_shape == (3,)
        assert len(batch) == 3
        assert list(batch) == members
        for get in ("predict", "gates", "experts"):
            together = getattr(batch, get)(X)
            for k, member in enumerate(members):
                torch.testing.assert_close(together[k], getattr(member, get)(X))


def test_only_the_symmetric_part_of_A_is_kept():
    parts = blocks()
    tilt = np.array([[0.0, 5.0], [-5.0, 0.0]])
    assert MixingMeasure(SMALL, **{**parts, "A": parts["A"] + tilt}).coordinates == pytest.approx(
        MixingMeasure(SMALL, **parts).coordinates, abs=1e-14
    )
    A = MixingMeasure(SMALL, **parts).A
    assert torch.equal(A, A.mT)


def test_long_inputs_are_cut_in_blocks_and_joined(measure, monkeypatch):
    X = inputs(2, 50)
    whole = {get: getattr(measure, get)(X) for get in ("predict", "gates", "experts")}
    monkeypatch.setattr("sigmoe.moe._measure._BLOCK", 7)
    for get, value in whole.items():
        torch.testing.assert_close(getattr(measure, get)(X), value, rtol=1e-14, atol=1e-15)


def test_measures_cannot_be_changed(measure):
    before = copy.deepcopy(measure)
    for block in (measure.A, measure.b, measure.c, measure.eta, measure.coordinates):
        block.zero_()
    assert measure == before
    with pytest.raises(AttributeError) as caught:
        measure.c = torch.zeros(3)
    assert str(caught.value) == "MixingMeasure is immutable; make a new one to change 'c'."
    source = torch.zeros(3, dtype=torch.float64)
    kept = MixingMeasure(SMALL, **{**blocks(), "c": source})
    source += 1
    assert torch.equal(kept.c, torch.zeros(3, dtype=torch.float64))


def test_equal_measures_are_equal_and_hash_alike(measure):
    same = MixingMeasure(SMALL, **blocks())
    assert measure == same
    assert hash(measure) == hash(same)
    assert measure != measure.permute([1, 0, 2])
    assert measure != "measure"
    assert pickle.loads(pickle.dumps(measure)) == measure


def test_zero_and_minus_zero_hash_alike():
    parts = blocks()
    plus, minus = (
        MixingMeasure(SMALL, **{**parts, "c": np.full(3, value)}) for value in (0.0, -0.0)
    )
    assert plus == minus
    assert hash(plus) == hash(minus)


def test_it_prints_its_atoms(measure):
    lines = repr(measure).splitlines()
    assert lines[0] == "MixingMeasure: 3 relu experts, sigmoid gate, full score, dim 2"
    assert lines[1].split() == ["atom", "|A|", "|b|", "c", "|eta|"]
    assert float(lines[2].split()[3]) == pytest.approx(float(measure.c[0]), rel=1e-3)
    batch = MixingMeasure.stack([measure, measure])
    assert repr(batch) == lines[0] + ", batch (2,)"
    many = draw_truth(SMALL, 20)
    assert repr(many).splitlines()[-1] == "  ... 8 more atoms"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"c": 0.0}, "c must be an array of shape (*batch, N) with N >= 1; got 'shape ()'. "
                     "Give one constant for each atom."),
        ({"A": np.zeros((3, 2, 3))}, "A must be an array of shape (3, 2, 2); "
         "got 'shape (3, 2, 3)'. The leading axes are those of c; the others come from the "
         "architecture."),
        ({"b": np.zeros((2, 2))}, "b must be an array of shape (3, 2); got 'shape (2, 2)'. "
         "The leading axes are those of c; the others come from the architecture."),
        ({"eta": np.zeros((3, 4))}, "eta must be an array of shape (3, 3); got 'shape (3, 4)'. "
         "The leading axes are those of c; the others come from the architecture."),
        ({"b": None}, "b must be an array of shape (3, 2); got None. "
                      "Only absent blocks may be None."),
        ({"eta": np.full((3, 3), np.nan)}, "eta must be finite; got 'NaN or infinity'. "
                                           "Check where the parameters come from."),
        ({"c": [0.0, np.inf, 0.0]}, "c must be finite; got 'NaN or infinity'. "
                                    "Check where the parameters come from."),
        ({"c": ["x", "y", "z"]}, "c must be an array of numbers; got 'list'. "
                                 "Pass a NumPy array or a tensor."),
    ],
    ids=["scalar c", "A", "b", "eta", "absent", "nan", "inf", "text"],
)  # fmt: skip
def test_bad_blocks(change, message):
    with pytest.raises(InputError) as caught:
        MixingMeasure(SMALL, **{**blocks(), **change})
    assert str(caught.value) == message


def test_a_block_that_the_score_lacks_must_be_absent_or_zero():
    partial = Architecture(score="partial", expert="relu", dim=2)
    parts = blocks()
    zero = MixingMeasure(partial, **{**parts, "b": np.zeros((3, 2))})
    assert zero == MixingMeasure(partial, **{**parts, "b": None})
    assert torch.equal(zero.b, torch.zeros(3, 2, dtype=torch.float64))
    with pytest.raises(InputError) as caught:
        MixingMeasure(partial, **parts)
    assert str(caught.value) == (
        "b must be None or zero with score 'partial'; got 'non-zero entries'. "
        "Choose a score that has this block."
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.permute([0, 1]), "order must be a permutation of 0..2; got [0, 1]. "
                                      "Name every atom once."),
        (lambda m: m[0], "index must be used on a batch of measures; got 0. "
                         "This is one measure."),
        (lambda _: MixingMeasure.stack([]), "measures must be a non-empty sequence; got []. "
                                            "Give at least one measure."),
        (lambda m: MixingMeasure.stack([m, draw_truth(SMALL, 2)]),
         "measures must be of one architecture, batch shape and number of atoms; got '2 kinds'. "
         "Stack measures of one kind."),
        (lambda _: MixingMeasure.from_coordinates(SMALL, torch.zeros(3, 5)),
         "coordinates must be an array of shape (*batch, N, 9); got 'shape (3, 5)'. "
         "Give one row of canonical coordinates for each atom."),
        (lambda m: m.predict(np.zeros((4, 3))), "X must be an array of shape (n, 2) with at "
         "least one row; got 'shape (4, 3)'. Put samples in rows and features in columns."),
    ],
    ids=["permute", "index", "stack none", "stack kinds", "coordinates", "predict"],
)  # fmt: skip
def test_bad_calls(measure, call, message):
    with pytest.raises(InputError) as caught:
        call(measure)
    assert str(caught.value) == message


def test_a_single_measure_has_no_length(measure):
    with pytest.raises(TypeError):
        len(measure)


def test_files_that_hold_no_measure(tmp_path, measure):
    from safetensors.torch import save_file

    path = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(2)}, str(path))
    with pytest.raises(StoreError) as caught:
        MixingMeasure.load(path)
    assert str(caught.value) == (
        f"path must be a file written by MixingMeasure.save; got {str(path)!r} with format None."
    )
    path.write_text("not a safetensors file")
    with pytest.raises(StoreError, match=r"^path must be a file written by MixingMeasure\.save"):
        MixingMeasure.load(path)
    with pytest.raises(StoreError, match=r"^path must be a file written by MixingMeasure\.save"):
        MixingMeasure.load(tmp_path / "missing.safetensors")
    with pytest.raises(StoreError, match=r"^path must be writable"):
        measure.save(tmp_path / "no-such-folder" / "m.safetensors")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("gate", "hardmax", "gate must be one of 'sigmoid', 'softmax'; got 'hardmax'. "
                            "Choose one of these names."),
        ("score", "cubic", "score must be one of 'full', 'partial', 'linear'; got 'cubic'. "
                           "Choose one of these names."),
        ("dim", 0, "dim must be an integer >= 1; got 0. Pass the number of input features."),
        ("n_outputs", 0, "n_outputs must be an integer >= 1; got 0. "
                         "Pass None for a scalar response."),
    ],
)  # fmt: skip
def test_bad_architectures(field, value, message):
    with pytest.raises(InputError) as caught:
        Architecture(**{field: value})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("gate", "score", "expert", "dim", "n_outputs", "count", "invisible"),
    [
        ("sigmoid", "full", "relu", 8, None, 432, 0),
        ("softmax", "full", "linear", 8, None, 432, 45),
        ("sigmoid", "partial", "scaled-gelu", 3, None, 8 * (7 + 5), 0),
        ("softmax", "linear", "tanh", 2, 4, 8 * (3 + 12), 3),
    ],
)
def test_parameter_counts(gate, score, expert, dim, n_outputs, count, invisible):
    architecture = Architecture(gate, score, expert, dim, n_outputs)
    assert architecture.n_parameters(8) == count
    assert architecture.n_invisible == invisible
