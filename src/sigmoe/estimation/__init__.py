"""Least squares estimation of gated mixtures of experts, eqs. (6), (49)."""

from sigmoe.estimation._blocks import ArrayBlocks, ChunkBlocks, ParquetBlocks
from sigmoe.estimation._bounds import Bounds, default_bounds
from sigmoe.estimation._distributed import DaskBlocks, local_client
from sigmoe.estimation._first_order import first_order_fit
from sigmoe.estimation._fit import fit_least_squares
from sigmoe.estimation._fit_blocks import fit_blocks
from sigmoe.estimation._normal_equations import NormalEquations, normal_equations
from sigmoe.estimation._regressor import MoERegressor
from sigmoe.estimation._result import FitResult
from sigmoe.estimation._starts import near_truth_start, random_start

__all__ = [
    "ArrayBlocks",
    "Bounds",
    "ChunkBlocks",
    "DaskBlocks",
    "FitResult",
    "MoERegressor",
    "NormalEquations",
    "ParquetBlocks",
    "default_bounds",
    "first_order_fit",
    "fit_blocks",
    "fit_least_squares",
    "local_client",
    "near_truth_start",
    "normal_equations",
    "random_start",
]
