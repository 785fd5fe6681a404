"""Other seeds and a third dimension tell the same: nothing hangs on one draw of parameters."""

import pytest

from sigmoe.moe import Architecture
from sigmoe.theory import check_identifiability


def facts(report):
    """Return verdicts, ranks and relations of a report."""
    return (
        (report.identifiable, report.generic),
        [
            (s.name, s.rank, s.n_functions, s.n_unwritten, {r.equation for r in s.identities})
            for s in report.strata
        ],
    )


@pytest.mark.parametrize(
    ("condition", "expert", "score"),
    [("weak", "relu", "full"), ("partial-weak", "gelu", "partial")],
)
def test_five_draws_have_the_same_ranks_and_relations(condition, expert, score):
    architecture = Architecture(expert=expert, score=score, dim=1)
    first, *others = (
        facts(check_identifiability(architecture, condition, seed=seed)) for seed in range(5)
    )
    assert first[0] == (False, True)
    assert others == [first] * 4


def test_a_homogeneous_expert_in_three_dimensions():
    report = check_identifiability(Architecture(expert="relu", dim=3), "weak")
    assert (report.identifiable, report.generic) == (False, True)
    strata = {s.name: s for s in report.strata}
    # A has 6 entries, b 3, c 1 and eta 4: 14 derivatives of each of two atoms.
    assert (strata["generic atoms"].rank, strata["generic atoms"].n_functions) == (28, 28)
    constant = strata["constant gates"]
    # Euler's relation of each atom, E = alpha'dE/dalpha + beta dE/dbeta.
    terms = " + ".join(
        f"{name} σ'(c)/σ(c) ∂F/∂{name}" for name in ("alpha1", "alpha2", "alpha3", "beta")
    )
    assert constant.rank == 26
    assert [r.equation for r in constant.identities] == [f"∂F/∂c = {terms}"] * 2
    # The experts' derivatives are those of one function: 4 relations, and 10 of the gates'.
    assert strata["proportional experts, equal gates"].rank == 14


def test_a_smooth_expert_in_three_dimensions():
    report = check_identifiability(
        Architecture(expert="gelu", score="partial", dim=3), "partial-weak"
    )
    assert (report.identifiable, report.generic) == (False, True)
    ranks = {s.name: (s.rank, s.n_functions) for s in report.strata}
    assert ranks["generic atoms"] == ranks["constant gates"] == (22, 22)
    assert ranks["proportional alpha and beta, equal gates"] == (22, 22)
    # One gate's 7 derivatives against the other's: sigma(s) + sigma(-s) = 1.
    assert ranks["opposite gates, equal experts"] == (15, 22)
