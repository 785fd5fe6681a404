"""Definitions 1-4 as a check: is an expert identifiable, and if not, which equations say so."""

from __future__ import annotations

from math import comb

from sigmoe._base.constraints import Choice, Flag, Interval, check
from sigmoe._base.errors import invalid
from sigmoe._base.seeds import Seed, child_seeds
from sigmoe.estimation._fit import require_architecture
from sigmoe.moe import Architecture
from sigmoe.theory.identifiability._analyse import StratumReport, analyse
from sigmoe.theory.identifiability._custom import ExpertFunction, custom_expert
from sigmoe.theory.identifiability._evaluate import Model
from sigmoe.theory.identifiability._experts import PreciseExpert, ridge_expert
from sigmoe.theory.identifiability._report import IdentifiabilityReport, verdict
from sigmoe.theory.identifiability._strata import strata

#: The conditions, and the scores that each is stated for.
CONDITIONS = {
    "strong": ("full", "linear"),
    "weak": ("full", "linear"),
    "partial-strong": ("partial",),
    "partial-weak": ("partial",),
}

#: Families of more functions would take hours; the relations do not change with the dimension.
_MOST_FUNCTIONS = 500
#: Powers of a higher degree leave nothing of the digits.
_MOST_DEGREE = 30


def check_identifiability(
    architecture: Architecture,
    condition: str = "strong",
    *,
    extended: bool = False,
    n_atoms: int | None = None,
    expert: ExpertFunction | None = None,
    n_expert_parameters: int | None = None,
    library: str = "sympy",
    seed: Seed = 0,
) -> IdentifiabilityReport:
    r"""Check a condition of identifiability and write out the equations that break it.

    The definitions ask that derivatives of F(x; A, b, c, eta) = sigma(s(x)) E(x, eta), taken at
    any distinct parameters, be linearly independent functions of x. The functions are evaluated at
    random rational inputs and parameters in 60 digits or more, where an exact relation leaves
    nothing in the first 48 and ill-conditioned independence shows; the relations are solved for,
    their coefficients recognised as numbers times powers of parameters, sigma(c), sigma'(c) and
    sigma''(c), and each is verified at fresh parameters and inputs. What is found are facts with
    probability one, not proofs.

    Parameters
    ----------
    architecture : Architecture
        Gate, score, expert and dimension, with a scalar response. Dimension 2 shows all kinds of
        relations of ridge experts; cost grows like the sixth power of the dimension.
    condition : {"strong", "weak", "partial-strong", "partial-weak"}
        Definitions 1, 2, 3 and 4. The partial ones are for the score "partial", the others for
        "full", and for "linear", where the derivatives in A are left out.
    extended : bool
        Add strata with all derivatives up to the second order in c too; eq. (8) is found there.
        The verdicts stay those of the definition.
    n_atoms : int, optional
        Atoms at a time; by default 2, and 3 for softmax gates.
    expert : callable, optional
        An expert E(x, eta) that replaces the architecture's: x and eta are sequences of d and
        ``n_expert_parameters`` SymPy symbols or mpmath numbers, or float64 tensors (d,) and (q,).
    n_expert_parameters : int, optional
        Number q of entries of eta; wanted with ``expert``.
    library : {"sympy", "mpmath", "torch"}
        What ``expert`` is written with. "torch" has 15 digits, and the check may then end
        without a verdict; so it may for registered experts that are not built in.
    seed : int or SeedSequence
        Draws parameters and inputs.

    Returns
    -------
    IdentifiabilityReport

    Raises
    ------
    InputError
        For an unknown condition, one that is not for this score, more than one response column,
        a family of more than 500 functions, or an expert whose values are not finite real numbers
        or whose derivatives are not those of its values.

    Notes
    -----
    *Which relations count.* Functions are independent if no combination of them, other than the
    empty one, vanishes for almost all x. ReLU experts are twice differentiable for almost all x,
    and their second derivatives in (alpha, beta) vanish there: trivial relations. So are
    functions that occur twice, such as those of A11 A22 and A12 A12. A relation between
    different blocks is essential, and so is a first derivative that vanishes: its parameter is
    invisible.

    *Softmax gates.* With H(x; A, b, c, eta) = exp(s(x)) (E(x, eta) - f(x)), f being the
    prediction, (sum of the fitted exp(s)) (fit - truth) is the sum of H over the fitted atoms, and
    sums of H over the true atoms vanish. So the same definitions are asked of the derivatives of H
    at any gates: first order for "weak"; up to second order, with H itself for the weights, for
    "strong". The derivatives in the last atom's score alone are left out: they are minus the sums
    of the others', which is the common translation.

    Examples
    --------
    >>> from sigmoe.moe import Architecture
    >>> report = check_identifiability(Architecture(expert="relu", dim=1), "weak")
    >>> report.identifiable, report.generic
    (False, True)
    >>> report.strata[1].name, report.strata[1].identities[0].equation
    ('constant gates', "∂F/∂c = alpha1 σ'(c)/σ(c) ∂F/∂alpha1 + beta σ'(c)/σ(c) ∂F/∂beta")
    """
    require_architecture(architecture)
    _check_condition(architecture, condition)
    check("extended", extended, Flag(), "Say whether to add strata.")
    softmax = architecture.gate == "softmax"
    atoms = n_atoms if n_atoms is not None else (3 if softmax else 2)
    check("n_atoms", atoms, Interval("integer", 2), "Take 2 or more; most strata compare atoms.")
    _check_degree(architecture.expert)
    if architecture.dim > _MOST_FUNCTIONS:
        # Variables of such a model are not even listed.
        rule = f"small enough for a family of at most {_MOST_FUNCTIONS} functions"
        remedy = "Dimension 2 shows all kinds of relations."
        raise invalid("dim", rule, architecture.dim, remedy)
    piece: PreciseExpert = ridge_expert(architecture.expert, architecture.dim)
    if expert is None and n_expert_parameters is not None:
        remedy = "Pass the function as expert=, or leave n_expert_parameters out."
        raise invalid("expert", "given with n_expert_parameters", None, remedy)
    if expert is not None:
        piece = custom_expert(expert, architecture.dim, n_expert_parameters, library)
    model = Model(architecture.gate, architecture.score, architecture.dim, piece)
    order = condition.removeprefix("partial-")
    _check_size(model, order, atoms, extended)
    cases = strata(model, order, atoms, extended=extended)
    found = tuple(
        analyse(model, case, stream)
        for case, stream in zip(cases, child_seeds(seed, "strata", len(cases)), strict=True)
    )
    own = [stratum for stratum in found if not stratum.extended]
    return IdentifiabilityReport(
        architecture.gate,
        architecture.score,
        piece.name,
        architecture.dim,
        condition,
        extended,
        atoms,
        verdict([stratum.independent for stratum in own]),
        verdict([_holds(stratum) for stratum in own if stratum.generic]),
        found,
    )


def _holds(stratum: StratumReport) -> bool | None:
    return None if stratum.essential is None else not stratum.essential


def _check_degree(expert: str) -> None:
    if expert.startswith("polynomial:"):
        degree = int(expert.removeprefix("polynomial:"))
        if degree > _MOST_DEGREE:
            rule = f"'polynomial:P' with P <= {_MOST_DEGREE} for this check"
            remedy = "Take a smaller degree."
            raise invalid("expert", rule, expert, remedy)


def _check_condition(architecture: Architecture, condition: str) -> None:
    check("condition", condition, Choice(tuple(CONDITIONS)), "Choose one of Definitions 1-4.")
    scores = CONDITIONS[condition]
    if architecture.score not in scores:
        fitting = [name for name, those in CONDITIONS.items() if architecture.score in those]
        raise invalid(
            "condition",
            f"one for the score {architecture.score!r}",
            condition,
            f"Choose {' or '.join(repr(name) for name in fitting)}.",
        )
    if architecture.n_columns > 1:
        raise invalid(
            "n_outputs",
            "None or 1 for this check",
            architecture.n_outputs,
            "The definitions are for a scalar response; columns of the response are alike.",
        )


def _check_size(model: Model, order: str, n_atoms: int, extended: bool) -> None:
    functions = _count_functions(model, order, n_atoms, extended)
    if functions <= _MOST_FUNCTIONS:
        return
    rule = f"small enough for a family of at most {_MOST_FUNCTIONS} functions"
    least = 3 if model.gate == "softmax" else 2
    if n_atoms > least and _count_functions(model, order, least, extended) <= _MOST_FUNCTIONS:
        remedy = f"This one has {functions}; {least} atoms show all kinds of relations."
        raise invalid("n_atoms", rule, n_atoms, remedy)
    remedy = f"This one has {functions}; dimension 2 shows all kinds of relations."
    raise invalid("dim", rule, model.dim, remedy)


def _count_functions(model: Model, order: str, n_atoms: int, extended: bool) -> int:
    d = model.dim
    blocks = {"full": comb(d + 1, 2) + d, "partial": comb(d + 1, 2), "linear": d}
    variables = blocks[model.score] + len(model.expert.variables) + extended
    second = order == "strong" or extended
    return n_atoms * (comb(variables + 2, 2) - 1 if second else variables + 1)
