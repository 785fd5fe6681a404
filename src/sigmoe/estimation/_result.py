"""What a fit returns: the estimate, how it ended in words, and what to change if it failed."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from sigmoe.moe import MixingMeasure

#: How a fit can end, with the sentence that explains it; the first three have converged.
STATUS_SENTENCES = {
    "gradient": "Converged: the gradient vanishes to within gradient_tolerance.",
    "decrease": "Converged: the objective no longer decreases by relative_tolerance.",
    "step": "Converged: the parameters no longer move.",
    "iterations": (
        "Stopped at the limit of iterations before it converged; often some directions are hardly "
        "determined by the sample. Raise max_iterations, or fit fewer experts."
    ),
    "stalled": (
        "Stopped because no step lowers the objective; the problem is at the limit of float64. "
        "Scale X and y to size 1, narrow bounds=, or choose another start."
    ),
    "budget": (
        "The fixed number of first-order steps was used; that is not convergence. Raise steps=, "
        "or use fit_least_squares."
    ),
}
CONVERGED = ("gradient", "decrease", "step")


@dataclass(frozen=True)
class FitResult:
    """A least squares fit.

    Attributes
    ----------
    measure : MixingMeasure
        The estimate; finite and inside the bounds however the fit ended.
    objective : float
        Mean squared residual, summed over the columns of the response.
    status : {"gradient", "decrease", "step", "iterations", "stalled", "budget"}
        How the fit ended.
    message : str
        What happened, the likely cause and the argument to change.
    n_iterations : int
        Levenberg-Marquardt iterations, or first-order steps.
    gradient_norm : float
        Largest cosine between the residual and a column of the Jacobian that is free to move;
        without units, 0 at a stationary point of the bounded problem.
    history : tuple of float
        What is minimised, the objective plus the ridge penalty if there is one, before the first
        and after each iteration; it never increases in a least squares fit. For random starts it
        covers the fit that follows the race.
    active_bounds : tuple of str
        Entries that ended at a bound, such as "A[2,0,1] at upper bound 10".
    start : MixingMeasure
        Where the fit began; for random starts, the start of the fit that won.
    start_objective : float
        What is minimised, there.
    seconds : float
        Wall-clock time, all starts together.
    start_objectives : tuple of float
        For random starts: the value, as in ``history``, at which each one ended; the others
        were stopped early, once they fell behind. Empty for a given start.
    n_agreed : int
        For random starts: how many of those that were run to convergence ended within 1 % of the
        best fit that was found, which need not have come from any of them. The more agree, the
        less likely is a better optimum elsewhere. 0 for a given start.
    intercept : Tensor of shape () or (m,)
        What is added to the measure's prediction; 0 if none was fitted.
    """

    measure: MixingMeasure
    objective: float
    status: str
    message: str
    n_iterations: int
    gradient_norm: float
    history: tuple[float, ...]
    active_bounds: tuple[str, ...]
    start: MixingMeasure
    start_objective: float
    seconds: float
    start_objectives: tuple[float, ...] = ()
    n_agreed: int = 0
    # The measure and the sample decide it, and tensors have no truth value to compare by.
    intercept: Tensor = field(
        default_factory=lambda: torch.zeros((), dtype=torch.float64), compare=False
    )

    @property
    def converged(self) -> bool:
        """Return whether the fit ended by one of the convergence tests."""
        return self.status in CONVERGED

    def __repr__(self) -> str:
        ending = "converged" if self.converged else "not converged"
        return (
            f"FitResult(objective={self.objective:.6g}, status={self.status!r} ({ending}), "
            f"n_iterations={self.n_iterations}, active_bounds={len(self.active_bounds)}, "
            f"seconds={self.seconds:.2f})"
        )


def message_for(status: str, active_bounds: tuple[str, ...]) -> str:
    """Return the sentence of a status, with a remark on active bounds."""
    sentence = STATUS_SENTENCES[status]
    if not active_bounds:
        return sentence
    shown = ", ".join(active_bounds[:3]) + (", ..." if len(active_bounds) > 3 else "")
    return (
        f"{sentence} {len(active_bounds)} parameter(s) ended at a bound ({shown}): widen bounds= "
        "if the bounds were not meant to hold."
    )
