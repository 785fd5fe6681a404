import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sigmoe._base.errors import InputError
from sigmoe.moe import Architecture, MixingMeasure, draw_sample, draw_truth

PAPER = Architecture(gate="sigmoid", score="full", expert="relu", dim=8)


def test_the_same_seed_draws_the_same_truth():
    assert draw_truth(PAPER, 8, seed=3) == draw_truth(PAPER, 8, seed=3)
    assert draw_truth(PAPER, 8, seed=3) != draw_truth(PAPER, 8, seed=4)


def test_dense_truths_have_the_variance_of_appendix_e():
    # Off-diagonal entries of the symmetrised A have half the variance 1/d, diagonal ones all of it.
    draws = [draw_truth(PAPER, 8, seed=s) for s in range(60)]
    off = torch.triu_indices(8, 8, offset=1)
    samples = {
        "diagonal": (torch.stack([m.A.diagonal(dim1=-2, dim2=-1) for m in draws]), 1 / 8),
        "off": (torch.stack([m.A[..., off[0], off[1]] for m in draws]), 1 / 16),
        "b": (torch.stack([m.b for m in draws]), 1 / 8),
        "c": (torch.stack([m.c for m in draws]), 1 / 8),
        "eta": (torch.stack([m.eta for m in draws]), 1 / 8),
    }
    for name, (values, variance) in samples.items():
        k = values.numel()
        # Mean and variance within five standard errors of a normal sample of this size.
        assert abs(values.mean()) < 5 * math.sqrt(variance / k), name
        assert abs(values.var() / variance - 1) < 5 * math.sqrt(2 / k), name


def test_sparse_truths_have_two_atoms_with_zero_gates_and_live_experts():
    truth = draw_truth(PAPER, 8, regime="sparse", seed=0)
    dense = draw_truth(PAPER, 8, regime="dense", seed=0)
    for block in (truth.A, truth.b, truth.c):
        assert torch.equal(block[6:], torch.zeros_like(block[6:]))
    assert torch.equal(truth.A[:6], dense.A[:6])
    assert torch.equal(truth.eta, dense.eta)
    assert (draw_truth(PAPER, 3, regime="sparse", n_sparse=1).c != 0).tolist() == [
        True,
        True,
        False,
    ]


def test_scores_share_the_blocks_that_they_have():
    full = draw_truth(PAPER, 4, seed=1)
    partial = draw_truth(Architecture(score="partial", dim=8), 4, seed=1)
    linear = draw_truth(Architecture(score="linear", dim=8), 4, seed=1)
    assert torch.equal(full.A, partial.A)
    assert torch.equal(full.b, linear.b)
    assert torch.equal(partial.b, torch.zeros(4, 8, dtype=torch.float64))


def test_samples_are_uniform_with_the_noise_asked_for():
    truth = draw_truth(PAPER, 8)
    X, y = draw_sample(truth, 20_000, noise_variance=0.01, seed=5)
    assert X.abs().max() <= 1.0
    assert abs(X.mean()) < 5 / math.sqrt(3 * X.numel())
    noise = y - truth.predict(X)
    assert abs(noise.var() / 0.01 - 1) < 5 * math.sqrt(2 / len(noise))


def test_the_inputs_do_not_depend_on_the_noise():
    truth = draw_truth(PAPER, 2)
    X, y = draw_sample(truth, 50, noise_variance=0.0, seed=5)
    noisy_X, _ = draw_sample(truth, 50, noise_variance=1.0, seed=5)
    assert torch.equal(X, noisy_X)
    assert torch.equal(y, truth.predict(X))


def test_a_seed_sequence_gives_the_same_sample_every_time():
    truth, sequence = draw_truth(PAPER, 2), np.random.SeedSequence(9)
    first, second = (draw_sample(truth, 5, seed=sequence)[1] for _ in range(2))
    assert torch.equal(first, second)


def test_a_sampler_of_the_users():
    truth = draw_truth(PAPER, 2)
    X, _ = draw_sample(truth, 30, sampler=lambda rng, n: rng.normal(3.0, 0.1, size=(n, 8)))
    assert X.min() > 2.0


@given(n_outputs=st.integers(1, 3), n=st.integers(1, 20))
def test_responses_have_the_columns_of_the_architecture(n_outputs, n):
    truth = draw_truth(Architecture(dim=2, n_outputs=n_outputs), 3)
    X, y = draw_sample(truth, n)
    assert X.shape == (n, 2)
    assert y.shape == (n, n_outputs)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw_truth(PAPER, 0), "n_experts must be an integer >= 1; got 0. "
                                       "Ask for at least one expert."),
        (lambda: draw_truth(PAPER, 2, regime="medium"), "regime must be one of 'dense', "
         "'sparse'; got 'medium'. Choose one of the two regimes."),
        (lambda: draw_truth(PAPER, 2, regime="sparse", n_sparse=3), "n_sparse must be an integer "
         ">= 1 and <= 2; got 3. Ask for no more sparse atoms than atoms."),
        (lambda: draw_truth(PAPER, 2, seed=-1), "seed must be an integer >= 0; got -1. "
                                                "Pass a non-negative integer."),
        (lambda: draw_sample(draw_truth(PAPER, 2), 0), "n must be an integer >= 1; got 0. "
                                                       "Ask for at least one sample."),
        (lambda: draw_sample(draw_truth(PAPER, 2), 5, noise_variance=-1.0), "noise_variance must "
         "be a number >= 0; got -1.0. Use 0 for no noise."),
        (lambda: draw_sample(draw_truth(PAPER, 2), 5, sampler=lambda _, n: np.zeros((n, 3))),
         "sampler(rng, n) must be an array of shape (n, 8) with at least one row; "
         "got 'shape (5, 3)'. Put samples in rows and features in columns."),
        (lambda: draw_sample(draw_truth(PAPER, 2), 5, sampler=lambda *_: np.zeros((4, 8))),
         "sampler(rng, n) must be an array with 5 rows; got 4. Return n rows."),
    ],
    ids=["experts", "regime", "n_sparse", "seed", "n", "noise", "columns", "rows"],
)  # fmt: skip
def test_bad_values(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == message


def test_a_batch_cannot_be_sampled_from():
    truth = draw_truth(PAPER, 2)
    with pytest.raises(InputError, match=r"^measure must be a single measure; got "):
        draw_sample(MixingMeasure.stack([truth, truth]), 5)
