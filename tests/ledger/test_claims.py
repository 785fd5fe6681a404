"""The claims themselves: texts, evidence that can be measured, and what the readers make of it."""

import json

import pytest

from sigmoe._base.errors import InputError
from sigmoe.ledger import CLAIMS, SHIPPED, claims_named, dump, load, measured, merged, of_claim
from sigmoe.ledger._claim import readings
from sigmoe.ledger._rates import bounded
from sigmoe.ledger.claims import _reading, _symbols

PIECES = [
    pytest.param(claim, piece, id=f"{claim.name}: {piece.name}")
    for claim in CLAIMS
    for piece in claim.evidence
]
#: Kinds of evidence that take a second or less.
QUICK = ("algebra", "construction")


@pytest.mark.parametrize(("claim", "piece"), PIECES)
def test_everything_has_been_measured_and_is_read(claim, piece):
    stored = of_claim(load(), claim.name)
    assert piece.name in stored
    reading = piece.read(stored[piece.name])
    assert reading.says in ("for", "against", "open")
    assert any(character.isdigit() for character in reading.text) or "yes" in reading.text


def test_nothing_is_stored_that_no_claim_asks_for():
    known = {(claim.name, piece.name) for claim in CLAIMS for piece in claim.evidence}
    stored = {(name, piece) for name, pieces in load()["claims"].items() for piece in pieces}
    assert stored <= known


@pytest.mark.parametrize(
    ("claim", "piece"),
    [p for p in PIECES if p.values[1].kind in QUICK and not p.values[1].deep],
)
def test_measuring_again_says_the_same(claim, piece):
    fresh = json.loads(json.dumps(dict(piece.measure())))
    stored = of_claim(load(), claim.name)[piece.name]
    assert fresh.keys() == stored.keys()
    assert piece.read(fresh).says == piece.read(stored).says


def sequence(ratios, distances=(1.0, 0.1), losses=(1.0, 1.0)):
    steps = [2.0**-k for k in range(len(ratios))]
    return {"steps": steps, "ratios": ratios, "distances": distances, "losses": losses}


def test_a_ratio_that_stays_refutes_nothing():
    assert _reading.vanishing_refutes(sequence([1.0, 0.9, 0.8, 0.8])).says == "open"
    assert _reading.vanishing_supports(sequence([1.0, 0.9, 0.8, 0.8])).says == "open"
    assert _reading.vanishing_refutes(sequence([1.0, 0.1, 0.01, 0.001])).says == "against"


@pytest.mark.parametrize(
    ("distances", "losses", "says"),
    [
        ([1e-16, 2e-16], [1.0, 2.0], "against"),
        ([1e-16, 1e-9], [1.0, 2.0], "open"),
        ([1e-16, 2e-16], [1.0, 1e-9], "open"),
    ],
)
def test_equality_needs_equal_functions_and_different_parameters(distances, losses, says):
    numbers = {"distances": distances, "losses": losses}
    assert _reading.equality_refutes(numbers).says == says


def test_one_false_fact_refutes_a_claim_of_all():
    assert _reading.facts_support({"a": True, "b": True}).says == "for"
    assert _reading.facts_support({"a": True, "b": False}).says == "against"
    assert _reading.facts_refute({"a": True, "b": False}).says == "open"


def test_rates_are_read_with_their_interval():
    sizes = [100, 1000, 10_000]
    steady = [[n**-0.5, 1.1 * n**-0.5] for n in sizes]
    slow = [[n**-0.25, 1.1 * n**-0.25] for n in sizes]
    assert bounded({"sizes": sizes, "distances": steady}).says == "for"
    assert bounded({"sizes": sizes, "distances": slow}).says == "against"


def test_the_symbols_can_tell_a_false_identity():
    x, c = _symbols.x, _symbols.c
    assert not _symbols.is_zero(_symbols.sigmoid(x + c) - _symbols.sigmoid(x))
    line = _symbols.alpha * x + _symbols.beta
    assert not _symbols.is_zero(_symbols.sigmoid(x) * line - _symbols.sigmoid(-x) * line)


def test_equation_eight_is_true_of_more_than_linear_experts():
    assert all(_symbols.equation_eight(degree=2).values())


def test_claims_are_chosen_by_name_in_the_order_of_the_paper():
    assert [c.name for c in claims_named(["theorem-2", "section-2"])] == ["section-2", "theorem-2"]
    assert claims_named([]) == CLAIMS
    with pytest.raises(InputError, match="must be the name of a claim; got 'theorem-9'"):
        claims_named(["theorem-9"])


def test_evidence_goes_to_a_file_and_back(tmp_path):
    chosen = claims_named(["proposition-3"])
    said = []
    found = measured(chosen, deep=False, tell=said.append)
    assert said[0] == "proposition-3: limits of the gate"
    path = tmp_path / "new" / "evidence.json"
    dump(merged({"claims": {"other": {"x": {"numbers": {}}}}}, found), path)
    again = load(path)
    assert set(again["claims"]) == {"other", "proposition-3"}
    assert readings(chosen[0], of_claim(again, "proposition-3"))["limits of the gate"].says == (
        "against"
    )


@pytest.mark.parametrize("text", ["not JSON", "[]", '{"claims": 3}'])
def test_a_file_that_is_no_evidence_is_refused(tmp_path, text):
    path = tmp_path / "evidence.json"
    path.write_text(text)
    with pytest.raises(InputError, match="evidence must be a file of `sigmoe claims --check`"):
        load(path)


def test_the_shipped_evidence_is_written_as_a_check_writes_it(tmp_path):
    dump(load(), tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == SHIPPED.read_text()
