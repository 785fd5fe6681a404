import numpy as np
import pytest

from sigmoe._base.errors import InputError
from sigmoe._base.seeds import child_seeds, generator, seed_sequence


def state(*args, **axes):
    return seed_sequence(*args, **axes).generate_state(4).tolist()


def test_the_order_of_the_axes_does_not_matter():
    assert state(3, n=10, role="noise") == state(3, role="noise", n=10)


@pytest.mark.parametrize(
    "axes",
    [
        {"n": 11, "role": "noise"},
        {"n": 10, "role": "inputs"},
        {"n": "10", "role": "noise"},
        {"m": 10, "role": "noise"},
        {"n": 10},
    ],
    ids=str,
)
def test_names_values_and_types_all_count(axes):
    assert state(3, **axes) != state(3, n=10, role="noise")


def test_joined_text_cannot_collide():
    assert state(0, a="1", b="2") != state(0, a="12", b="")


def test_streams_are_pinned_to_these_numbers():
    # A change here changes every stored study: bump the studies' version with it.
    assert state(0, n=100, role="noise") == [2687878220, 2128431723, 2967085134, 242426197]


def test_the_entropy_counts():
    assert state(0, n=1) != state(1, n=1)


def test_a_generator_or_sequence_is_used_as_it_is():
    rng = np.random.default_rng(0)
    assert generator(rng) is rng
    sequence = np.random.SeedSequence(5)
    assert generator(sequence).random() == np.random.default_rng(5).random()


@pytest.mark.parametrize("entropy", [-1, 1.5, None, "0"], ids=str)
def test_bad_entropy(entropy):
    with pytest.raises(InputError) as caught:
        seed_sequence(entropy)
    assert str(caught.value) == (
        f"seed must be an integer >= 0; got {entropy!r}. Pass a non-negative integer."
    )


@pytest.mark.parametrize("seed", [3, np.random.SeedSequence(3)], ids=["integer", "sequence"])
def test_children_are_the_same_every_time_and_differ_by_role_and_position(seed):
    def states(role, count):
        return [child.generate_state(2).tolist() for child in child_seeds(seed, role, count)]

    first = states("starts", 2)
    assert states("starts", 3)[:2] == first
    assert first[0] != first[1]
    assert states("points", 2) != first
