"""The models, ours and the others, as they are fitted to each fold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from benchmarks.real_data.peers import CgmmByBIC, FlexmixByBIC, flexmix_version
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sigmoe.estimation import MoERegressor

#: No mixture, ours or another, may have more experts.
MOST_EXPERTS = 3
#: What is asked of each mixture that searches by itself.
RESTARTS = 3
REFERENCE = "ridge"


def always() -> bool:
    """Return True: the model needs nothing that is not installed with this package."""
    return True


@dataclass(frozen=True)
class Model:
    """A model to compare.

    Attributes
    ----------
    name, label : str
        For files and for tables.
    make : callable
        A seed to an unfitted estimator.
    ours : bool
    installed : callable
        Whether what it needs is there.
    """

    name: str
    label: str
    make: Callable[[int], Any]
    ours: bool = False
    installed: Callable[[], bool] = always


def standardised(estimator: Any) -> Any:
    """Return an estimator with inputs and response centred and scaled."""
    pipeline = make_pipeline(StandardScaler(), estimator)
    return TransformedTargetRegressor(pipeline, transformer=StandardScaler())


def ridge(_: int) -> Any:
    """Return ridge regression; its penalty is chosen by leave-one-out."""
    return standardised(RidgeCV(alphas=np.logspace(-3, 4, 29)))


def boosting(seed: int) -> Any:
    """Return histogram gradient boosting as it comes."""
    return HistGradientBoostingRegressor(random_state=seed)


def mlp(seed: int) -> Any:
    """Return a network of one hidden layer, stopped early."""
    network = MLPRegressor(
        hidden_layer_sizes=(50,),
        learning_rate_init=0.01,
        early_stopping=True,
        n_iter_no_change=30,
        max_iter=1000,
        random_state=seed,
    )
    return standardised(network)


def cgmm(seed: int) -> Any:
    """Return cgmm's mixture of experts."""
    return standardised(CgmmByBIC(MOST_EXPERTS, RESTARTS, seed))


def flexmix(seed: int) -> Any:
    """Return flexmix's mixture of regressions."""
    return standardised(FlexmixByBIC(MOST_EXPERTS, RESTARTS, seed))


def auto(gate: str, expert: str, n_experts: int | str) -> Callable[[int], Any]:
    """Return how our mixture is made; "auto" chooses the number of experts by BIC."""
    options: dict[str, Any] = {"n_experts": n_experts, "gate": gate, "expert": expert}
    if n_experts == "auto":
        options["max_experts"] = MOST_EXPERTS
    return lambda seed: MoERegressor(**options, random_state=seed)


def searched(seed: int) -> Any:
    """Return our softmax mixture, experts and ridge chosen by cross-validation inside."""
    grid = {"n_experts": list(range(1, MOST_EXPERTS + 1)), "ridge": [0.3, 3.0, 30.0]}
    mixture = MoERegressor(gate="softmax", n_starts=RESTARTS, random_state=seed)
    return GridSearchCV(mixture, grid, cv=3, scoring="neg_mean_squared_error")


def models(n_experts: int | str = "auto") -> list[Model]:
    """Return the models, the reference first."""
    return [
        Model(REFERENCE, "ridge", ridge),
        Model("boosting", "gradient boosting", boosting),
        Model("mlp", "MLP", mlp),
        Model("cgmm", "cgmm", cgmm, installed=lambda: find_spec("cgmm") is not None),
        Model("flexmix", "flexmix", flexmix, installed=lambda: flexmix_version() is not None),
        Model("sigmoid", "sigmoid, linear", auto("sigmoid", "linear", n_experts), ours=True),
        Model("softmax", "softmax, linear", auto("softmax", "linear", n_experts), ours=True),
        Model("relu", "sigmoid, ReLU", auto("sigmoid", "relu", n_experts), ours=True),
        Model("searched", "softmax, linear, by CV", searched, ours=True),
    ]


def inside(estimator: Any) -> Any:
    """Return the mixture inside a fitted pipeline or search."""
    if isinstance(estimator, TransformedTargetRegressor):
        return estimator.regressor_[-1]
    return getattr(estimator, "best_estimator_", estimator)


def chosen_experts(estimator: Any) -> int | None:
    """Return how many experts a fitted model has; None if it is no mixture."""
    mixture = inside(estimator)
    found = getattr(mixture, "n_experts_", getattr(mixture, "n_experts", None))
    return None if found is None else int(found)
