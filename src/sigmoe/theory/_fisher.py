"""What least squares can be expected to reach: the Fisher information of a regular model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sigmoe._base.constraints import Interval, check
from sigmoe._base.errors import invalid
from sigmoe._base.seeds import generator
from sigmoe.estimation import normal_equations
from sigmoe.moe import MixingMeasure, Sampler
from sigmoe.theory._points import integration_points
from sigmoe.theory._singular import explain_null_space
from sigmoe.theory._voronoi import voronoi_loss

#: Scaled eigenvalues below this are zeros blurred by rounding. In exact arithmetic they are zero;
#: in float64 they came out below 1e-13, while the smallest true one of the paper's models is
#: near 1e-4 (``FisherPrediction.gap`` has both numbers).
ZERO = 1e-10


@dataclass(frozen=True, eq=False)
class FisherPrediction:
    """The law of the least squares estimate for large n, from the Fisher information.

    Where the model is regular, sqrt(n) (estimate - truth) is asymptotically Gaussian with
    covariance nu E[J'J]^-1, J being the Jacobian of f_G at the truth; all that is predicted here
    follows from it, for N = N* and an estimate near the truth.

    Attributes
    ----------
    truth : MixingMeasure
        N* atoms.
    noise_variance : float
        nu, the variance of the noise on every column of the response.
    rank : int
        Number of directions of the parameters that the data see.
    n_parameters : int
        Number of canonical coordinates.
    invisible : int
        Number of directions that no data can see for any parameters: for softmax gates the
        common translation, d(d+1)/2 + d + 1 with the full score; otherwise none.
    gap : tuple of two floats
        The largest scaled eigenvalue taken as zero and the smallest one above; far apart if the
        rank is clear. The first is 0.0 if there is none.
    reasons : tuple of str
        Why the model is not regular, in words; empty if it is.
    """

    truth: MixingMeasure = field(repr=False)
    noise_variance: float
    rank: int
    n_parameters: int
    invisible: int
    gap: tuple[float, float]
    reasons: tuple[str, ...]
    _factor: Tensor = field(repr=False)

    @property
    def regular(self) -> bool:
        """Return whether the data see everything but the known invisible directions."""
        return self.rank == self.n_parameters - self.invisible

    def covariance(self, n: int) -> Tensor:
        """Return the predicted covariance of the canonical coordinates, shape (p, p).

        In invisible directions there is no information, hence no covariance: the matrix is nu / n
        times a generalised inverse of E[J'J], and functions of visible quantities are right.
        """
        factor = self._factor * math.sqrt(self.noise_variance / _size(n))
        return factor @ factor.T

    def draw(self, n: int, n_draws: int = 256, seed: int = 0) -> MixingMeasure:
        """Return draws of the estimate at sample size n, a batch of ``n_draws`` measures.

        The same seed gives the same directions at every n, so that predicted curves are smooth.
        """
        check("n_draws", n_draws, Interval("integer", 2), "A mean needs at least two draws.")
        rng = generator(seed, purpose="fisher-draws")
        z = torch.from_numpy(rng.standard_normal((n_draws, self.rank)))
        step = math.sqrt(self.noise_variance / _size(n)) * (z @ self._factor.T)
        centre = self.truth.coordinates
        return MixingMeasure.from_coordinates(
            self.truth.architecture, centre + step.reshape(n_draws, *centre.shape)
        )

    def expected_loss(
        self,
        n: int,
        kind: str = "L3",
        n_draws: int = 256,
        seed: int = 0,
        *,
        r: float | None = None,
        block: str | None = None,
    ) -> tuple[float, float]:
        """Return the mean of a Voronoi loss at sample size n and its Monte Carlo standard error.

        Parameters
        ----------
        n : int
            Sample size.
        kind : str
            A loss of ``voronoi_loss``.
        n_draws : int
            Gaussian draws of the estimate.
        seed : int
            Of the draws.
        r : float, optional
            The exponent of L2.
        block : {"A", "b", "c", "eta"}, optional
            Only this block's part of the loss; "eta" is the experts' error.

        Raises
        ------
        InputError
            For an unknown kind or block.

        Notes
        -----
        If the model is not regular, the visible directions alone move: the rest has no rate.
        """
        loss = voronoi_loss(self.draw(n, n_draws, seed), self.truth, kind, r=r)
        if block is None:
            values = loss.value
        elif block in loss.by_block:
            values = loss.by_block[block]
        else:
            known = ", ".join(repr(name) for name in loss.by_block)
            raise invalid("block", f"one of {known}", block, "Leave it out for the whole loss.")
        return float(values.mean()), float(values.std() / math.sqrt(n_draws))

    def expected_function_error(self, n: int) -> float:
        """Return sqrt(nu rank / n), the root mean square of ||f_hat - f_G*|| in L2(mu)."""
        return math.sqrt(self.noise_variance * self.rank / _size(n))

    def training_error_ratio(self, n: int) -> float:
        """Return 1 - rank / (n m): the mean squared residual over nu m, m response columns."""
        return 1.0 - self.rank / (_size(n) * self.truth.architecture.n_columns)


def fisher_prediction(
    truth: MixingMeasure,
    noise_variance: float,
    *,
    n_points: int = 100_000,
    seed: int = 0,
    sampler: Sampler | None = None,
) -> FisherPrediction:
    """Return what least squares with N = N* atoms can be expected to reach.

    Parameters
    ----------
    truth : MixingMeasure
        The true measure.
    noise_variance : float
        nu > 0.
    n_points : int
        Quasi-random points for E[J'J], rounded up to a power of two; at least as many as there
        are parameters.
    seed : int
        Scrambles the points.
    sampler : callable, optional
        (rng, n) to (n, d) inputs of another distribution; by default U[-1, 1]^d.

    Returns
    -------
    FisherPrediction

    Raises
    ------
    InputError
        For a batch of truths, a variance that is not positive, or too few points.

    Notes
    -----
    The rank is that of E[J'J] scaled to a unit diagonal: eigenvalues above 1e-10 count, and
    ``gap`` tells how clear that is.

    Examples
    --------
    >>> from sigmoe.moe import Architecture, draw_truth
    >>> truth = draw_truth(Architecture(gate="softmax", dim=2), 3, seed=1)
    >>> prediction = fisher_prediction(truth, 0.01, n_points=2**12)
    >>> prediction.n_parameters, prediction.invisible, prediction.rank, prediction.regular
    (27, 6, 21, True)
    """
    if truth.batch_shape:
        raise invalid("truth", "a single measure", f"a batch {truth.batch_shape}", "Use truth[k].")
    positive = Interval("number", 0.0, closed="neither")
    check("noise_variance", noise_variance, positive, "Pass the variance of the noise.")
    architecture = truth.architecture
    parameters = architecture.n_parameters(truth.n_experts)
    least = Interval("integer", math.ceil(parameters / architecture.n_columns))
    check("n_points", n_points, least, "E[J'J] needs as many points as there are parameters.")
    X = integration_points(architecture.dim, n_points, seed, sampler)
    information = normal_equations(truth, X).matrix
    scale = information.diagonal().clamp_min(0.0).sqrt()
    inverse = torch.where(scale > 0, 1.0 / torch.where(scale > 0, scale, 1.0), 1.0)
    values, vectors = torch.linalg.eigh(inverse[:, None] * information * inverse)
    seen = values > ZERO
    rank, invisible = int(seen.sum()), architecture.n_invisible
    null = values[~seen]
    reasons: tuple[str, ...] = ()
    if rank < parameters - invisible:
        reasons = explain_null_space(truth, X, information, inverse, ZERO)
    return FisherPrediction(
        truth=truth,
        noise_variance=float(noise_variance),
        rank=rank,
        n_parameters=parameters,
        invisible=invisible,
        gap=(
            float(null.abs().max()) if len(null) else 0.0,
            float(values[seen].min()) if rank else 0.0,
        ),
        reasons=reasons,
        _factor=inverse[:, None] * vectors[:, seen] * values[seen].rsqrt(),
    )


def _size(n: int) -> int:
    return check("n", n, Interval("integer", 1), "Pass a sample size.")
