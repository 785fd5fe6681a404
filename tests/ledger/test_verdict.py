"""The rule from evidence to verdict, on claims whose evidence is made up."""

import pytest

from sigmoe.ledger import Claim, Evidence, Reading, as_data, full_text, markdown, verdict
from sigmoe.ledger._claim import readings


def piece(name, kind, says, of_correction=False):
    return Evidence(
        name,
        kind,
        measure=lambda: {"x": 1.0},
        read=lambda numbers: Reading(says, f"x = {numbers['x']:g}"),
        of_correction=of_correction,
    )


def claim(*evidence, correction=None):
    return Claim("it", "Theorem 0", "It is so.", "We looked.", evidence, correction)


def stored_for(given):
    entries = {e.name: {"numbers": e.measure(), "seconds": 0.1} for e in given.evidence}
    return {"claims": {given.name: entries}}


def judged(given):
    return as_data([given], stored_for(given))[0]["verdict"]


ALGEBRA = piece("a", "algebra", "against")
SEQUENCE = piece("b", "construction", "against")
FITS = piece("c", "fits", "for")
MENDED = piece("d", "construction", "for", of_correction=True)


@pytest.mark.parametrize(
    ("evidence", "correction", "expected"),
    [
        ((FITS,), None, "holds"),
        ((FITS, piece("d", "fits", "open")), None, "holds"),
        ((piece("d", "fits", "open"),), None, "not decided here"),
        ((ALGEBRA, SEQUENCE), None, "fails"),
        ((ALGEBRA, SEQUENCE, FITS), None, "fails"),
        # One kind of evidence is not enough against the paper, however often it is found.
        ((ALGEBRA,), None, "not decided here"),
        ((ALGEBRA, piece("d", "algebra", "against")), None, "not decided here"),
        ((ALGEBRA, FITS), None, "not decided here"),
        ((ALGEBRA, SEQUENCE, MENDED), "This is so.", "holds as corrected"),
        ((ALGEBRA, SEQUENCE, piece("d", "fits", "open", True)), "This is so.", "fails"),
        # Evidence for a correction says nothing of the claim itself.
        ((MENDED,), "This is so.", "not decided here"),
        ((ALGEBRA, piece("d", "construction", "against", True)), "So.", "not decided here"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_verdicts(evidence, correction, expected):
    assert judged(claim(*evidence, correction=correction)) == expected


def test_evidence_that_is_not_stored_is_open():
    read = readings(claim(FITS), {})
    assert read == {"c": Reading("open", "not measured yet")}
    assert verdict(claim(FITS), read) == "not decided here"


def test_a_correction_needs_evidence_of_its_own():
    with pytest.raises(AssertionError, match="it"):
        claim(ALGEBRA, correction="This is so.")
    with pytest.raises(AssertionError, match="it"):
        claim(FITS, piece("c", "algebra", "for"))


def test_one_claim_in_full():
    given = claim(ALGEBRA, SEQUENCE, MENDED, correction="This is so.")
    assert full_text(given, stored_for(given)) == (
        "it (Theorem 0): holds as corrected\n"
        "  claim: It is so.\n"
        "  corrected: This is so.\n"
        "  We looked.\n"
        "  - against (algebra, a): x = 1\n"
        "  - against (construction, b): x = 1\n"
        "  - for the correction (construction, d): x = 1\n"
        "  check it: sigmoe claims it --check"
    )


def test_the_page_has_a_row_and_a_section_for_each_claim():
    given = claim(ALGEBRA, SEQUENCE)
    page = markdown([given], stored_for(given))
    assert "Of 1 claims: 0 holds, 0 holds as corrected, 1 fails, 0 not decided here." in page
    assert "| [It is so.](#it) | Theorem 0 | fails |" in page
    assert "(it)=\n## Theorem 0: fails" in page
    assert "| a (algebra) | against | x = 1 |" in page


def test_the_page_shows_what_is_written_and_not_markup():
    norm = Evidence(
        "||f||", "fits", measure=dict, read=lambda _: Reading("for", "a * b_c | [d] `e` <f>")
    )
    page = markdown([claim(norm)], {"claims": {"it": {"||f||": {"numbers": {}}}}})
    row = "| \\|\\|f\\|\\| (fits) | for | a \\* b\\_c \\| \\[d\\] \\`e\\` \\<f\\> |"
    assert row in page
