"""Studies: declared in a file, run in parallel, stored task by task, judged and reported."""

from sigmoe.lab._builtin import builtin_study
from sigmoe.lab._run import Summary, run_studies
from sigmoe.lab._slopes import Slope, fit_slope
from sigmoe.lab._store import Store
from sigmoe.lab._study import ResolvedStudy, Study
from sigmoe.lab._study_file import load_study

__all__ = [
    "ResolvedStudy",
    "Slope",
    "Store",
    "Study",
    "Summary",
    "builtin_study",
    "fit_slope",
    "load_study",
    "run_studies",
]
