"""Least squares estimation of gated mixtures of experts, eqs. (6), (49)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sigmoe.estimation._bounds import Bounds, default_bounds
from sigmoe.estimation._first_order import first_order_fit
from sigmoe.estimation._fit import fit_least_squares
from sigmoe.estimation._result import FitResult
from sigmoe.estimation.batch._fit import fit_batch
from sigmoe.estimation.batch._result import BatchFit
from sigmoe.estimation.engine._least_squares import NormalEquations
from sigmoe.estimation.engine._native import native_status
from sigmoe.estimation.engine._normal_equations import normal_equations
from sigmoe.estimation.inference._bootstrap import BootstrapIntervals, bootstrap_intervals
from sigmoe.estimation.inference._conformal import (
    ConformalIntervals,
    SplitConformal,
    conformal_radius,
    least_calibration_size,
    split_conformal,
)
from sigmoe.estimation.inference._parameters import (
    ParameterInference,
    parameter_covariance,
    prediction_standard_error,
)
from sigmoe.estimation.inference._table import ParameterIntervals
from sigmoe.estimation.selection._criteria import InformationCriteria, information_criteria
from sigmoe.estimation.selection._merging import merge_atoms
from sigmoe.estimation.selection._merging_path import MergeLevel, MergePath
from sigmoe.estimation.selection._merging_plot import plot_merging
from sigmoe.estimation.selection._path import SelectionPath, select_by_criterion
from sigmoe.estimation.starts._draw import near_truth_start, random_start

if TYPE_CHECKING:
    from sigmoe.estimation.blocks._distributed import DaskBlocks, local_client
    from sigmoe.estimation.blocks._fit import fit_blocks
    from sigmoe.estimation.blocks._sources import ArrayBlocks, ChunkBlocks, ParquetBlocks
    from sigmoe.estimation.regressor._estimator import MoERegressor
    from sigmoe.estimation.regressor._intervals import CoefficientIntervals
    from sigmoe.estimation.regressor._plots import plot_mixture, plot_row
    from sigmoe.estimation.regressor._summary import FitSummary

__all__ = [
    "ArrayBlocks",
    "BatchFit",
    "BootstrapIntervals",
    "Bounds",
    "ChunkBlocks",
    "CoefficientIntervals",
    "ConformalIntervals",
    "DaskBlocks",
    "FitResult",
    "FitSummary",
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
    "fit_batch",
    "fit_blocks",
    "fit_least_squares",
    "information_criteria",
    "least_calibration_size",
    "local_client",
    "merge_atoms",
    "native_status",
    "near_truth_start",
    "normal_equations",
    "parameter_covariance",
    "plot_merging",
    "plot_mixture",
    "plot_row",
    "prediction_standard_error",
    "random_start",
    "select_by_criterion",
    "split_conformal",
]

# What needs scikit-learn, polars or rich is imported when it is first used: the workers of a sweep
# start sooner without.
_LATER = {
    "ArrayBlocks": "blocks._sources",
    "ChunkBlocks": "blocks._sources",
    "CoefficientIntervals": "regressor._intervals",
    "DaskBlocks": "blocks._distributed",
    "FitSummary": "regressor._summary",
    "MoERegressor": "regressor._estimator",
    "ParquetBlocks": "blocks._sources",
    "fit_blocks": "blocks._fit",
    "local_client": "blocks._distributed",
    "plot_mixture": "regressor._plots",
    "plot_row": "regressor._plots",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
