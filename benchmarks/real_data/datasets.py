"""The tables: inputs, one response, and which rows belong together.

One rule for responses, made before any fit: amounts of money and times are compared in logs (log1p
where zeros occur), counts by log1p, shares by their logit, everything else as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.datasets import load_diabetes

Array = NDArray[np.float64]
#: Of the two long tables only this many rows are used, drawn once with a seed.
MOST_ROWS = 2000
_STAR98_INPUTS = (
    *("LOWINC", "PERASIAN", "PERBLACK", "PERHISP", "PERMINTE", "AVYRSEXP"),
    *("AVSALK", "PERSPENK", "PTRATIO", "PCTAF", "PCTCHRT", "PCTYRRND"),
)


@dataclass(frozen=True, eq=False)
class Table:
    """A table to be fitted.

    Attributes
    ----------
    name : str
    X : array of shape (n, d)
    y : array of shape (n,)
    groups : array of shape (n,), int
        Rows of one group are never split between training and test.
    response : str
        What ``y`` is.
    repeats : int
        How often the cross-validation is repeated.
    """

    name: str
    X: Array
    y: Array
    groups: NDArray[np.int64]
    response: str
    repeats: int = 2


@dataclass(frozen=True)
class Source:
    """Where a table comes from: the package that has it, and how to read it from there."""

    package: str
    load: Callable[[], Table]

    @property
    def installed(self) -> bool:
        """Return whether the package can be imported."""
        return find_spec(self.package) is not None


def diabetes() -> Table:
    """Return disease progression after a year against ten measurements of the patient."""
    X, y = load_diabetes(return_X_y=True, scaled=False)
    return _table("diabetes", X, y, "progression")


def randhie() -> Table:
    """Return visits to a doctor against insurance and health."""
    frame = _some_rows(_statsmodels("randhie"))
    y = np.log1p(frame.pop("mdvis"))
    return _table("randhie", frame, y, "log1p(visits)", repeats=1)


def engel() -> Table:
    """Return a household's expenditure on food against its income."""
    frame = np.log(_statsmodels("engel"))
    return _table("engel", frame[["income"]], frame["foodexp"], "log(food expenditure)")


def fair() -> Table:
    """Return time spent in affairs against marriage, age, children and occupations."""
    frame = _some_rows(_statsmodels("fair"))
    y = np.log1p(frame.pop("affairs"))
    return _table("fair", frame, y, "log1p(affairs)", repeats=1)


def star98() -> Table:
    """Return the share of pupils above the median against district; no made interactions."""
    frame = _statsmodels("star98")
    y = np.log(frame["NABOVE"] / frame["NBELOW"])
    return _table("star98", frame[list(_STAR98_INPUTS)], y, "logit(share above median)")


def grunfeld() -> Table:
    """Return a firm's investment against its value, capital and the year; groups are firms."""
    frame = _statsmodels("grunfeld")
    X = np.column_stack([np.log(frame["value"]), np.log(frame["capital"]), frame["year"]])
    firms = pd.factorize(frame["firm"])[0]
    return _table("grunfeld", X, np.log(frame["invest"]), "log(investment)", firms)


SOURCES = {
    "diabetes": Source("sklearn", diabetes),
    "randhie": Source("statsmodels", randhie),
    "engel": Source("statsmodels", engel),
    "fair": Source("statsmodels", fair),
    "star98": Source("statsmodels", star98),
    "grunfeld": Source("statsmodels", grunfeld),
}


def _statsmodels(name: str) -> pd.DataFrame:
    # By name: statsmodels is installed for the benchmark only.
    module = import_module(f"statsmodels.datasets.{name}")
    frame: pd.DataFrame = module.load_pandas().data
    return frame


def _some_rows(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sample(MOST_ROWS, random_state=0).reset_index(drop=True)


def _table(
    name: str, X: object, y: object, response: str, groups: object = None, *, repeats: int = 2
) -> Table:
    inputs = np.asarray(X, dtype=np.float64)
    together = np.arange(len(inputs)) if groups is None else groups
    return Table(
        name,
        inputs,
        np.asarray(y, dtype=np.float64),
        np.asarray(together, dtype=np.int64),
        response,
        repeats,
    )
