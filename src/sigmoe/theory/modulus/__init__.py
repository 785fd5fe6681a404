"""The local modulus: how fast parameters can be learned near a truth, in the worst case."""

from sigmoe.theory.modulus._local_modulus import local_modulus
from sigmoe.theory.modulus._result import BlockModulus, LocalModulus

__all__ = ["BlockModulus", "LocalModulus", "local_modulus"]
