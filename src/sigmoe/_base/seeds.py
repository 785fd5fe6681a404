"""Random streams from named axes: the same names give the same numbers, in any order of work."""

from __future__ import annotations

import hashlib

import numpy as np

from sigmoe._base.constraints import Interval, check

#: A seed as the public functions take it.
Seed = int | np.random.SeedSequence

#: 32-bit words of a hashed axis that enter the spawn key.
_KEY_WORDS = 4


def seed_sequence(entropy: int, **axes: int | str) -> np.random.SeedSequence:
    """Return the seed sequence of one cell of a design.

    Parameters
    ----------
    entropy : int
        The seed that the user chose, >= 0.
    **axes : int or str
        Named coordinates of the stream, such as ``replication=3, role="noise"``. Their order
        does not matter; their names do.

    Returns
    -------
    numpy.random.SeedSequence
        With ``entropy`` and a spawn key made from the names and values.

    Examples
    --------
    >>> a = seed_sequence(7, n=100, role="noise").generate_state(1)
    >>> b = seed_sequence(7, role="noise", n=100).generate_state(1)
    >>> bool(a == b)
    True
    """
    check("seed", entropy, Interval("integer", 0), "Pass a non-negative integer.")
    words: list[int] = []
    for name in sorted(axes):
        value = axes[name]
        # The type enters the hash: the axis value 1 is not the axis value "1".
        text = f"{name}\x1f{type(value).__name__}\x1f{value}"
        digest = hashlib.sha256(text.encode()).digest()
        words += [int.from_bytes(digest[4 * k : 4 * k + 4], "little") for k in range(_KEY_WORDS)]
    return np.random.SeedSequence(int(entropy), spawn_key=tuple(words))


def child_seeds(seed: Seed, role: str, count: int) -> list[np.random.SeedSequence]:
    """Return seed sequences that depend on the seed, the role and their position only.

    Examples
    --------
    >>> first, second = child_seeds(7, "starts", 2)
    >>> first.generate_state(1) == second.generate_state(1)
    array([False])
    """
    if isinstance(seed, np.random.SeedSequence):
        # spawn() would count up inside the caller's object, and a second call would differ.
        marker = seed_sequence(0, role=role).spawn_key
        root = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, *marker))
    else:
        root = seed_sequence(seed, role=role)
    return root.spawn(count)


def generator(
    seed: int | np.random.SeedSequence | np.random.Generator, **axes: int | str
) -> np.random.Generator:
    """Return a generator for a seed and named axes.

    A generator or seed sequence given by the caller is used as it is, so that functions accept
    either; axes then may not be given.

    Examples
    --------
    >>> float(generator(1, role="x").random()) == float(generator(1, role="y").random())
    False
    """
    if isinstance(seed, np.random.Generator):
        return seed
    if isinstance(seed, np.random.SeedSequence):
        return np.random.default_rng(seed)
    return np.random.default_rng(seed_sequence(seed, **axes))
