"""Exact members of Gbar: sigmoid measures with more atoms, or other ones, and the truth's function.

With N > N* atoms, and in the sparse regime with N = N* too, the function of the truth is written
by infinitely many measures, so that an estimate can converge to the set of them only. These are
the closed forms that are known; limits such as c -> -infinity are in no compact parameter space.
"""

from __future__ import annotations

from sigmoe._base.errors import invalid
from sigmoe.moe import MixingMeasure
from sigmoe.theory._atoms import Atoms
from sigmoe.theory._homogeneity import scaling_of
from sigmoe.theory._member_search import MemberSearch

#: Atoms above which the exact search over groups (2^N states) is refused.
MOST_ATOMS = 16


def nearest_representations(
    fitted: MixingMeasure, truth: MixingMeasure
) -> dict[str, MixingMeasure]:
    """Return the exact representations of the truth's function that are nearest to a fit.

    Parameters
    ----------
    fitted : MixingMeasure
        A single sigmoid measure with N >= N* atoms, N <= 16.
    truth : MixingMeasure
        A single sigmoid measure with N* atoms.

    Returns
    -------
    dict of str to MixingMeasure
        One member with N atoms for each family that applies, in the order of the fitted atoms;
        f_Gbar = f_G* for every input:

        "truth" (N = N*)
            the true atoms.
        "null" (N > N*)
            the extra atoms have a zero expert: lambda = 0, alpha = 0 and beta <= 0 for rectifiers,
            or alpha = beta = 0; their gates are free.
        "split" (N > N*)
            true atoms whose expert is divided over several atoms with the same gate: linear eta_i
            that add up, shares t_i >= 0 of a rectifier's eta, parts of lambda.
        "flip" (N > N*)
            sigmoid(s) E = E - sigmoid(-s) E: a constant gate, and the true gate reversed, for
            linear and scaled experts.
        "complement" (N > N*, a true atom with A = b = 0)
            sigmoid(s) + sigmoid(-s) = 1: two atoms with opposite, otherwise free gates.
        "constant" (a true atom with A = b = 0)
            constant gates with another c and experts scaled against it; for linear experts any
            eta with the same sum of sigmoid(c) eta over all such atoms.
        "mixed"
            the nearest when each atom may choose its own family.

    Raises
    ------
    InputError
        For softmax gates, batches, fewer atoms than the truth has or more than 16, or measures
        that cannot be compared.

    Notes
    -----
    "Nearest" is by the sum over atoms of ||dA|| + ||db|| + |dc| + ||d eta||, exactly over all
    ways to divide the fitted atoms among the true ones. Within a family the free c of "flip" and
    "constant" is kept at the fit's. Not considered: experts (alpha, beta, lambda) rescaled as
    (s alpha, s beta, lambda / s), polynomials of degree above 1 beyond "null", relations between
    three or more atoms that are none of the above, and limits at infinity.

    Examples
    --------
    >>> from sigmoe.moe import Architecture, draw_truth
    >>> truth = draw_truth(Architecture(dim=2, expert="linear"), 2, seed=0)
    >>> fit = draw_truth(Architecture(dim=2, expert="linear"), 3, seed=1)
    >>> members = nearest_representations(fit, truth)
    >>> sorted(members)
    ['flip', 'mixed', 'null', 'split']
    >>> bool((members["flip"].predict([[0.5, 1.0]]) - truth.predict([[0.5, 1.0]])).abs() < 1e-12)
    True
    """
    _check(fitted, truth)
    search = MemberSearch(Atoms.of(fitted), Atoms.of(truth), scaling_of(truth.architecture))
    return {name: atoms.measure(truth.architecture) for name, atoms in search.members().items()}


def _check(fitted: MixingMeasure, truth: MixingMeasure) -> None:
    for name, measure in (("fitted", fitted), ("truth", truth)):
        if measure.batch_shape:
            raise invalid(name, "a single measure", f"a batch {measure.batch_shape}", "Index it.")
        if measure.architecture.gate != "sigmoid":
            raise invalid(
                name,
                "a sigmoid measure",
                measure.architecture.gate,
                "The closed forms rest on sigmoid gates; see project for others.",
            )
    if fitted.architecture != truth.architecture:
        raise invalid(
            "fitted",
            f"of the truth's architecture {truth.architecture}",
            fitted.architecture,
            "Fit the model that the truth belongs to.",
        )
    if not truth.n_experts <= fitted.n_experts <= MOST_ATOMS:
        raise invalid(
            "fitted",
            f"a measure of {truth.n_experts} to {MOST_ATOMS} atoms",
            f"{fitted.n_experts} atoms",
            "The truth's atoms must all be written, and the search is over all subsets.",
        )
