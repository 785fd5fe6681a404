"""Least squares estimation of gated mixtures of experts, eqs. (6), (49)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sigmoe.estimation._bounds import Bounds, default_bounds
from sigmoe.estimation._conformal import (
    ConformalIntervals,
    SplitConformal,
    conformal_radius,
    least_calibration_size,
    split_conformal,
)
from sigmoe.estimation._first_order import first_order_fit
from sigmoe.estimation._fit import fit_least_squares
from sigmoe.estimation._inference import (
    ParameterInference,
    parameter_covariance,
    prediction_standard_error,
)
from sigmoe.estimation._inference_bootstrap import BootstrapIntervals, bootstrap_intervals
from sigmoe.estimation._inference_table import ParameterIntervals
from sigmoe.estimation._merging import merge_atoms
from sigmoe.estimation._merging_path import MergeLevel, MergePath
from sigmoe.estimation._merging_plot import plot_merging
from sigmoe.estimation._normal_equations import NormalEquations, normal_equations
from sigmoe.estimation._result import FitResult
from sigmoe.estimation._selection import SelectionPath, select_by_criterion
from sigmoe.estimation._selection_criteria import InformationCriteria, information_criteria
from sigmoe.estimation._starts import near_truth_start, random_start

if TYPE_CHECKING:
    from sigmoe.estimation._blocks import ArrayBlocks, ChunkBlocks, ParquetBlocks
    from sigmoe.estimation._distributed import DaskBlocks, local_client
    from sigmoe.estimation._fit_blocks import fit_blocks
    from sigmoe.estimation._regressor import MoERegressor

__all__ = [
    "ArrayBlocks",
    "BootstrapIntervals",
    "Bounds",
    "ChunkBlocks",
    "ConformalIntervals",
    "DaskBlocks",
    "FitResult",
    "InformationCriteria",
    "MergeLevel",
    "MergePath",
    "MoERegressor",
    "NormalEquations",
    "ParameterInference",
    "ParameterIntervals",
    "ParquetBlocks",
    "SelectionPath",
    "SplitConformal",
    "bootstrap_intervals",
    "conformal_radius",
    "default_bounds",
    "first_order_fit",
    "fit_blocks",
    "fit_least_squares",
    "information_criteria",
    "least_calibration_size",
    "local_client",
    "merge_atoms",
    "near_truth_start",
    "normal_equations",
    "parameter_covariance",
    "plot_merging",
    "prediction_standard_error",
    "random_start",
    "select_by_criterion",
    "split_conformal",
]

# What needs scikit-learn, polars or rich is imported when it is first used: the workers of a sweep
# start sooner without.
_LATER = {
    "ArrayBlocks": "_blocks",
    "ChunkBlocks": "_blocks",
    "DaskBlocks": "_distributed",
    "MoERegressor": "_regressor",
    "ParquetBlocks": "_blocks",
    "fit_blocks": "_fit_blocks",
    "local_client": "_distributed",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
