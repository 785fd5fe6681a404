"""The public normal equations: J'J / n, gradient and objective of a mixing measure."""

from __future__ import annotations

from sigmoe._base.arrays import ArrayLike, as_inputs, as_responses, as_weights
from sigmoe._base.errors import invalid
from sigmoe.estimation.engine._least_squares import LeastSquares, NormalEquations
from sigmoe.estimation.engine._rows import Rows
from sigmoe.moe import MixingMeasure


def normal_equations(
    measure: MixingMeasure,
    X: ArrayLike,
    y: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> NormalEquations:
    """Return the normal equations of least squares at a mixing measure (eqs. (6), (49)).

    Parameters
    ----------
    measure : MixingMeasure
        Without batch axes; N atoms of g + m q parameters each, p = N (g + m q).
    X : array_like of shape (n, d)
        Inputs.
    y : array_like of shape (n,) or (n, m), optional
        Responses; left out, the measure's own predictions stand in for them, so that gradient and
        objective are zero and the matrix is the Fisher information times the noise variance.
    sample_weight : array_like of shape (n,), optional
        Non-negative weights, not all zero; all means over samples become weighted means.

    Returns
    -------
    NormalEquations
        matrix J'J / n of shape (p, p), gradient of shape (p,), objective.

    Raises
    ------
    InputError
        For wrong shapes, NaN or infinity, or weights that are negative or all zero.

    Examples
    --------
    >>> from sigmoe.moe import Architecture, draw_sample, draw_truth
    >>> truth = draw_truth(Architecture(expert="tanh", dim=2), 3, seed=0)
    >>> X, y = draw_sample(truth, 100, seed=0)
    >>> normal_equations(truth, X, y).matrix.shape
    torch.Size([27, 27])
    """
    architecture = measure.architecture
    if measure.batch_shape:
        raise invalid(
            "measure",
            "a single measure",
            f"batch shape {measure.batch_shape}",
            "Take one with measure[k].",
        )
    X = as_inputs(X, architecture.dim)
    responses = measure.predict(X) if y is None else as_responses(y, len(X), architecture.n_outputs)
    weights = None if sample_weight is None else as_weights(sample_weight, len(X)).to(X.device)
    problem = LeastSquares(Rows.of(X, responses, weights), architecture, measure.n_experts)
    return problem.normal_equations(measure.coordinates)
