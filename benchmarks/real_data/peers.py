"""The two other mixtures of experts, as estimators that choose their number of experts by BIC."""

from __future__ import annotations

import subprocess
import tempfile
import warnings
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import numpy as np
from benchmarks.estimation.runs import environment
from benchmarks.real_data.datasets import Array
from scipy.special import softmax
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning

SCRIPT = Path(__file__).with_name("flexmix.R")
#: Seconds after which a fit in R is given up.
PATIENCE = 300.0


# scikit-learn ships no types, so its bases are Any, here and below.
class CgmmByBIC(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # untyped bases
    """cgmm's softmax mixture of linear experts with Gaussian noise, fitted by EM."""

    def __init__(self, most: int = 3, n_init: int = 3, seed: int = 0) -> None:
        self.most = most
        self.n_init = n_init
        self.seed = seed

    def fit(self, X: Array, y: Array) -> Self:
        """Fit 1, ..., ``most`` experts and keep the fit with the least BIC."""
        # By name: cgmm is installed for the benchmark only.
        maker = import_module("cgmm").MixtureOfExpertsRegressor
        fits = [
            maker(k, n_init=1 if k == 1 else self.n_init, random_state=self.seed).fit(X, y)
            for k in range(1, self.most + 1)
        ]
        best = min(fits, key=lambda fit: cgmm_bic(fit, *X.shape))
        if best.n_iter_ >= best.max_iter:
            warnings.warn("EM stopped at its limit", ConvergenceWarning, stacklevel=2)
        self.best_, self.n_experts_ = best, int(best.n_components)
        return self

    def predict(self, X: Array) -> Array:
        """Return the gate-weighted mean of the experts."""
        return np.asarray(self.best_.predict(X), dtype=np.float64).ravel()


def cgmm_bic(fit: Any, n: int, d: int) -> float:
    """Return BIC: an expert has d + 2 numbers, and all but one have a score of d + 1."""
    K = fit.n_components
    n_parameters = K * (d + 2) + (K - 1) * (d + 1)
    # lower_bound_ is the mean log-likelihood of a row.
    return float(n_parameters * np.log(n) - 2.0 * n * fit.lower_bound_)


class FlexmixByBIC(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # untyped bases
    """flexmix's mixture of linear regressions with a multinomial-logit gate, fitted in R.

    ``seconds_`` is the time of the fit inside R, without starting R and reading the rows.
    """

    def __init__(self, most: int = 3, n_init: int = 3, seed: int = 0) -> None:
        self.most = most
        self.n_init = n_init
        self.seed = seed

    def fit(self, X: Array, y: Array) -> Self:
        """Fit 1, ..., ``most`` components and keep the fit with the least BIC."""
        with tempfile.TemporaryDirectory() as folder:
            training, fitted = Path(folder, "training.csv"), Path(folder, "fitted.csv")
            header = ",".join([f"x{k}" for k in range(X.shape[1])] + ["y"])
            np.savetxt(training, np.column_stack([X, y]), "%.17g", ",", header=header, comments="")
            options = [str(value) for value in (self.most, self.n_init, self.seed)]
            run_r([str(SCRIPT), str(training), str(fitted), *options])
            rows = np.loadtxt(fitted, delimiter=",", ndmin=2)
        size = X.shape[1] + 1
        # A column that depends on others has no coefficient in R.
        self.gate_, self.experts_ = rows[:, :size], np.nan_to_num(rows[:, size : 2 * size])
        self.n_experts_, self.seconds_ = len(rows), float(rows[0, -1])
        if not rows[0, -2]:
            warnings.warn("EM stopped at its limit or failed", ConvergenceWarning, stacklevel=2)
        return self

    def predict(self, X: Array) -> Array:
        """Return the gate-weighted mean of the components."""
        Z = np.column_stack([np.ones(len(X)), X])
        weights = softmax(Z @ self.gate_.T, axis=1)
        return np.asarray((weights * (Z @ self.experts_.T)).sum(axis=1))


def run_r(arguments: list[str]) -> str:
    """Return what Rscript prints; raise RuntimeError with R's own words if it fails."""
    done = subprocess.run(
        ["Rscript", *arguments],
        env=environment(threads=1),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"R: {' '.join(done.stderr.split())[-300:]}")
    return done.stdout


@cache
def flexmix_version() -> str | None:
    """Return the version of R's package flexmix, None without R or without flexmix."""
    try:
        return run_r(["-e", 'cat(as.character(packageVersion("flexmix")))'])
    except (OSError, RuntimeError):
        return None
