"""Each rule that chooses words, on curves whose numbers are written down here."""

import math
import re
from collections.abc import Sequence
from typing import Any

import pytest

from sigmoe.lab._context import (
    empty_cells,
    failed_fits,
    not_regular,
    random_starts,
    scope,
    set_members,
    stopped_early,
)
from sigmoe.lab._evidence import Evidence, Finding, format_value
from sigmoe.lab._explain import (
    budget,
    flat_atoms,
    heavy_tails,
    ill_determined,
    start_noise,
)
from sigmoe.lab._narrative import explain_curve, explain_panel
from sigmoe.lab._panels import Panel
from sigmoe.lab._read import read_results
from sigmoe.lab._sizes import function_transient, non_asymptotic, size_of_truth
from sigmoe.lab._verdict import contrast, judgement, tally, undecided, verdict, wide
from sigmoe.lab._view import Curve, Point, Slope, log_slope
from synthetic_results import paper_like

SIZES = (1000, 10000)


def make(
    means: Sequence[float] = (20.0, 5.0),
    *,
    slope: float | None = None,
    interval: tuple[float, float] = (-0.7, -0.5),
    paper: float | None = -0.5,
    median_slope: float | None = None,
    points: dict[str, Sequence[Any]] | None = None,
    **options: Any,
) -> Curve:
    """Return a curve with two replications of the given means; slopes as stated."""
    columns = points or {}
    made = tuple(
        Point(
            n=SIZES[k],
            values=(mean, mean),
            samples=(0, 1),
            **{name: values[k] for name, values in columns.items()},
        )
        for k, mean in enumerate(means)
    )
    stated = log_slope(SIZES[: len(means)], means) if slope is None else slope
    slopes = {
        "log-mean": Slope("log-mean", stated, *interval, paper, None, 4, 0, 1000, 10000),
    }
    if median_slope is not None:
        slopes["log-median"] = Slope(
            "log-median", median_slope, *interval, paper, None, 4, 0, 1000, 10000
        )
    base: dict[str, Any] = {
        "figure": "figure2",
        "panel": "2a",
        "curve": "ReLU",
        "reading": "own-data",
        "protocol": "converged",
        "start": "near-truth",
        "loss": "L1",
        "main": True,
        "n_true": 8,
        "n_fitted": 8,
    }
    return Curve(**(base | {"points": made, "slopes": slopes} | options))


class TestFormat:
    @pytest.mark.parametrize(
        ("value", "style", "text"),
        [
            (-0.507, "slope", "−0.51"),
            (-0.001, "slope", "0.00"),
            (0.9996, "times", "1.0"),
            (0.4567, "times", "0.46"),
            (12.34, "times", "12"),
            (0.9996, "value", "1.00"),
            (94.06, "value", "94.1"),
            (1234.5, "value", "1,234"),
            (2.5e7, "value", "2.5·10⁷"),
            (-1.5e-7, "value", "−1.5·10⁻⁷"),
            (0, "value", "0"),
            (math.nan, "value", "not available"),
            (-math.inf, "value", "−∞"),
            (31623, "count", "31,623"),
            (0.837, "share", "84 %"),
            ("7 and 8", "text", "7 and 8"),
        ],
    )
    def test_numbers_as_a_reader_sees_them(self, value, style, text):
        assert format_value(value, style) == text


class TestFinding:
    def test_a_sentence_without_evidence_is_refused(self):
        with pytest.raises(ValueError) as caught:
            Finding("rule", "cause", "Nothing is known.", ())
        assert str(caught.value) == "sentence of rule 'rule' lacks evidence: []"

    def test_a_sentence_that_quotes_what_is_not_stored_is_refused(self):
        with pytest.raises(ValueError) as caught:
            Finding("rule", "cause", "It is {a} and {b}.", (Evidence("a", 1.0, "here"),))
        assert str(caught.value) == "sentence of rule 'rule' lacks evidence: ['b']"


class TestVerdict:
    @pytest.mark.parametrize(
        ("slope", "interval", "paper", "word"),
        [
            (-0.6, (-0.7, -0.5), -0.51, "inside"),
            (-0.6, (-0.7, -0.5), -0.50, "inside"),
            (-0.6, (-0.7, -0.5), -0.70, "inside"),
            (-0.6, (-0.7, -0.5), -0.49, "steeper"),
            (-0.6, (-0.7, -0.5), -0.71, "flatter"),
            (-0.6, (math.nan, math.nan), -0.5, "no interval"),
            (-0.6, (-0.7, -0.5), None, "no claim"),
            (math.nan, (math.nan, math.nan), -0.5, "no slope"),
        ],
    )
    def test_one_word(self, slope, interval, paper, word):
        assert judgement(make(slope=slope, interval=interval, paper=paper)) == word

    def test_a_curve_without_a_row_of_slopes_has_none(self):
        assert judgement(make(slopes={})) == "no slope"

    @pytest.mark.parametrize(
        ("slope", "paper", "text"),
        [
            (
                -0.6,
                -0.51,
                "Measured slope −0.60; the paper’s −0.51 lies inside our 95 % interval, "
                "−0.70 to −0.50.",
            ),
            (
                -0.6,
                -0.24,
                "Measured slope −0.60; the paper’s −0.24 lies outside our 95 % interval, "
                "−0.70 to −0.50: ours is steeper.",
            ),
            (
                -0.6,
                -0.9,
                "Measured slope −0.60; the paper’s −0.90 lies outside our 95 % interval, "
                "−0.70 to −0.50: ours is flatter.",
            ),
            (
                -0.6,
                None,
                "Measured slope −0.60, 95 % interval −0.70 to −0.50; there is no claim to compare "
                "it with.",
            ),
        ],
    )
    def test_sentences(self, slope, paper, text):
        assert verdict(make(slope=slope, paper=paper)).text == text

    def test_sentence_without_interval(self):
        found = verdict(make(slope=-0.6, interval=(math.nan, math.nan)))
        assert found.text == "Measured slope −0.60, without an interval; the paper’s is −0.50."
        found = verdict(make(slope=-0.6, interval=(math.nan, math.nan), paper=None))
        assert found.text == (
            "Measured slope −0.60, without an interval; there is no claim to compare it with."
        )

    def test_sentence_without_slope_counts_the_sizes(self):
        found = verdict(make((20.0, 0.0), slope=math.nan))
        assert found.text == (
            "There is no slope: the number of sizes with a mean loss above zero is 1."
        )

    def test_tally(self):
        curves = [make(slope=-0.6, paper=paper) for paper in (-0.6, -0.2, -0.9, None)]
        assert tally(curves).text == (
            "The paper’s slope lies inside our interval for 1 of 3 curves (0 of these intervals "
            "are too wide to tell); ours is steeper for 1 and flatter for 1."
        )

    def test_wide_intervals_are_counted_apart(self):
        curves = [make(slope=-0.6, interval=(-1.5, 0.3)), make(slope=-0.6), make(slope=-0.6)]
        assert "for 3 of 3 curves (1 of these intervals are too wide" in tally(curves).text
        assert [wide(curve) for curve in curves] == [True, False, False]
        assert not wide(make(slope=-0.6, interval=(math.nan, math.nan)))
        assert not wide(make(slopes={}))

    def test_nothing_to_tally(self):
        assert tally([make(paper=None)]) is None


class TestContrast:
    def first(self, **options):
        return make(curve="sigmoid", paper=-0.51, **options)

    def second(self, **options):
        return make(curve="softmax", paper=-0.24, **options)

    def test_same_order_and_apart(self):
        found = contrast(
            self.first(slope=-0.6, interval=(-0.7, -0.5)),
            self.second(slope=-0.3, interval=(-0.4, -0.2)),
        )
        assert found.text == (
            "In the paper sigmoid falls faster than softmax, by 0.27 in slope. In the converged "
            "fits the difference is 0.30, in the same order, and the two intervals do not overlap."
        )

    def test_opposite_order_and_overlapping(self):
        found = contrast(
            self.first(slope=-0.3, interval=(-0.6, -0.0)),
            self.second(slope=-0.5, interval=(-0.7, -0.3)),
        )
        assert found.text.endswith(
            "the difference is 0.20, in the opposite order, and the two intervals overlap."
        )

    def test_no_difference(self):
        found = contrast(self.first(slope=-0.55), self.second(slope=-0.56))
        assert "there is next to no difference (0.01), and the two intervals overlap" in found.text

    def test_without_intervals(self):
        unknown = (math.nan, math.nan)
        found = contrast(
            self.first(slope=-0.6, interval=unknown), self.second(slope=-0.3, interval=unknown)
        )
        assert found.text.endswith("in the same order, without intervals to judge it by.")

    def test_the_second_may_be_the_faster_one(self):
        found = contrast(self.second(slope=-0.3), self.first(slope=-0.6))
        assert found.text.startswith("In the paper sigmoid falls faster than softmax")

    def test_nothing_without_the_papers_slopes(self):
        assert contrast(make(paper=None), self.second()) is None


class TestUndecided:
    def test_an_interval_that_holds_both_slopes_of_the_paper(self):
        found = undecided(make(slope=-0.4, interval=(-0.8, -0.1)), make(paper=-0.24))
        assert found.text == (
            "The interval also holds −0.24, the paper’s slope of the panel’s other curve: 4 fits "
            "at 2 sizes do not tell the two apart."
        )

    def test_a_wide_interval(self):
        found = undecided(make(slope=-0.9, interval=(-1.3, -0.6)), None)
        assert found.text == "The interval is 0.70 wide: 4 fits at 2 sizes say little of the rate."

    def test_a_narrow_interval_says_nothing(self):
        assert undecided(make(), make(paper=-0.24)) is None


def cells(atoms: Sequence[Sequence[float]], empty: Sequence[int] = (0, 0)) -> dict[str, Any]:
    """Return columns in which two fits at each size share what the atoms contribute."""
    return {
        "by_atom": [(tuple(row),) * 2 if row else () for row in atoms],
        "empty_cells": [
            (count,) * 2 if row else () for count, row in zip(empty, atoms, strict=True)
        ],
    }


class TestFlatAtoms:
    # Six atoms fall, the last two do not.
    ATOMS = ((2.0,) * 6 + (4.0, 4.0), (0.5,) * 6 + (4.0, 5.0))

    def test_they_explain_a_flat_slope(self):
        curve = make((20.0, 12.0), points=cells(self.ATOMS), zero_gates=(6, 7))
        found = flat_atoms(curve)
        assert found.role == "cause"
        assert found.text == (
            "Flat atoms: atoms 6 and 7 (counted from zero), whose true gate is constant, carry "
            "75 % of the loss at n = 10,000. From n = 1,000 on their part goes from 8.00 to 9.00 "
            "(slope 0.05), that of the other atoms from 12.0 to 3.00 (−0.60). The data do not "
            "identify these atoms well, so their part need not fall."
        )

    def test_fits_with_an_empty_cell_do_not_count(self):
        points = cells(self.ATOMS)
        points["by_atom"][1] += ((50.0,) + (0.5,) * 5 + (4.0, 0.0),)
        points["empty_cells"][1] += (1,)
        curve = make((20.0, 12.0), points=points, zero_gates=(6, 7))
        assert "carry 75 % of the loss" in flat_atoms(curve).text
        curve = make((20.0, 12.0), points=cells(self.ATOMS, (0, 1)), zero_gates=(6, 7))
        assert flat_atoms(curve) is None

    def test_they_do_not_explain_a_steep_one(self):
        curve = make((20.0, 12.0), paper=-0.07, points=cells(self.ATOMS), zero_gates=(6, 7))
        assert flat_atoms(curve).role == "context"

    @pytest.mark.parametrize(
        ("atoms", "zero_gates"),
        [
            (ATOMS, ()),
            (((2.0,) * 6 + (0.1, 0.1), (0.5,) * 6 + (0.1, 0.1)), (6, 7)),
            (((2.0,) * 6 + (40.0, 40.0), (0.5,) * 6 + (8.0, 8.0)), (6, 7)),
            (((), ()), (6, 7)),
        ],
        ids=["no zero gate", "a small part", "a part that falls as fast", "not stored"],
    )
    def test_silent_otherwise(self, atoms, zero_gates):
        curve = make((20.0, 12.0), points=cells(atoms), zero_gates=zero_gates)
        assert flat_atoms(curve) is None


class TestStartNoise:
    def test_a_budget_that_ends_near_its_start(self):
        curve = make(
            (19.0, 9.0), protocol="paper-style", points={"start_values": ((20.0,), (16.0,))}
        )
        found = start_noise(curve)
        assert found.role == "cause"
        assert found.text == (
            "Start: it shows through. The starts’ own loss goes from 20.0 to 16.0 (slope −0.10), "
            "and the estimate is at 0.95 times it at n = 1,000 and 0.56 times at n = 10,000: part "
            "of the measured slope is the start’s."
        )

    def test_a_budget_that_leads_away_from_its_start(self):
        curve = make(protocol="paper-style", points={"start_values": ((2.0,), (1.0,))})
        found = start_noise(curve)
        assert found.role == "context"
        assert found.text == (
            "Start: the optimiser leaves it. The fit is 10 times as far from the truth as its "
            "start at n = 1,000, and 5.0 times at n = 10,000."
        )

    def test_a_converged_fit_that_leaves_its_start(self):
        found = start_noise(make((80.0, 8.0), points={"start_values": ((20.0,), (16.0,))}))
        assert found.role == "context"
        assert found.text == (
            "Start: least squares leaves it. The fit is 4.0 times as far from the truth as its "
            "start at n = 1,000, and 0.50 times at n = 10,000."
        )

    @pytest.mark.parametrize(
        "options",
        [
            {"protocol": "converged", "points": {"start_values": ((200.0,), (160.0,))}},
            {"protocol": "paper-style", "points": {"start_values": ((200.0,), (160.0,))}},
            {"start": "random", "points": {"start_values": ((20.0,), (5.0,))}},
            {"protocol": "paper-style"},
        ],
        ids=["converged below its start", "budget far below", "random start", "start unknown"],
    )
    def test_silent_otherwise(self, options):
        assert start_noise(make((20.0, 5.0), **options)) is None


class TestNonAsymptotic:
    def test_a_ratio_that_falls_explains_a_steeper_slope(self):
        curve = make((90.0, 10.0), points={"predicted": (30.0, 9.5)})
        found = non_asymptotic(curve)
        assert found.role == "cause"
        assert found.text == (
            "Sizes: Fisher information predicts a slope of −0.50. The loss is 3.0 times the "
            "prediction at n = 1,000 and 1.1 times at n = 10,000, which adds −0.45 to the slope: "
            "these sizes are not all asymptotic."
        )

    def test_it_does_not_explain_a_flatter_one(self):
        curve = make((90.0, 10.0), paper=-1.2, points={"predicted": (30.0, 9.5)})
        assert non_asymptotic(curve).role == "context"

    def test_losses_that_follow_the_prediction(self):
        curve = make((31.0, 9.6), points={"predicted": (30.0, 9.5)})
        found = non_asymptotic(curve)
        assert found.role == "context"
        assert found.text == (
            "Fisher information: the losses follow its prediction (1.0 times at n = 1,000, 1.0 "
            "times at n = 10,000), whose slope is −0.50."
        )

    def test_silent_without_predictions(self):
        assert non_asymptotic(make()) is None


class TestSizeOfTruth:
    def test_a_loss_above_the_truths_own_size(self):
        found = size_of_truth(make((94.0, 11.0), truth_size=35.0))
        assert found.role == "cause"
        assert found.text == (
            "Scale: the truth itself measures 35.0 in this loss. At n = 1,000 the fits are 94.0 "
            "away, 2.7 times that, and at n = 10,000 0.31 times: where the ratio is near one or "
            "above, the loss says noise and not a rate."
        )

    def test_context_for_a_slope_that_is_flatter_than_the_papers(self):
        assert size_of_truth(make((94.0, 90.0), truth_size=35.0)).role == "context"

    def test_context_for_fits_that_stopped_early(self):
        curve = make((94.0, 11.0), truth_size=35.0, protocol="paper-style")
        assert size_of_truth(curve).role == "context"

    @pytest.mark.parametrize("size", [200.0, math.nan])
    def test_silent_where_the_loss_is_small_or_the_size_unknown(self, size):
        assert size_of_truth(make((94.0, 11.0), truth_size=size)) is None


class TestFunctionTransient:
    FAST = make((0.17, 0.034), loss="function", main=False, paper=None)

    def test_a_function_error_that_falls_faster_than_any_rate(self):
        found = function_transient(make((90.0, 10.0)), self.FAST)
        assert found.role == "cause"
        assert found.text == (
            "Sizes: the function error falls from 0.170 at n = 1,000 to 0.0340 at n = 10,000, with "
            "slope −0.70. In long samples it has −0.50, so these sizes are not yet asymptotic, and "
            "the slope −0.95 of this loss is no rate."
        )

    def test_residuals_below_the_noise_say_why(self):
        columns = {"objectives": ((0.0043,) * 2, (0.0095,) * 2)}
        curve = make((90.0, 10.0), points=columns, noise_variance=0.01)
        assert function_transient(curve, self.FAST).text.endswith(
            " is no rate. At n = 1,000 the residuals have 43 % of the noise variance: the fits "
            "follow the noise."
        )

    def test_it_does_not_explain_a_flatter_slope(self):
        assert function_transient(make((90.0, 80.0)), self.FAST).role == "context"

    def test_silent_otherwise(self):
        usual = make((0.17, 0.05), loss="function", main=False)
        assert function_transient(make((90.0, 10.0)), usual) is None
        assert function_transient(make((90.0, 10.0)), None) is None
        assert function_transient(self.FAST, self.FAST) is None


class TestBudget:
    def pair(self, mine, peer, **options):
        columns = {"start_values": ((0.3,) * 2,) * 2}
        first = make(mine, points=columns | {"objectives": ((0.0096,) * 2,) * 2}, **options)
        second = make(
            peer, protocol="paper-style", points=columns | {"objectives": ((0.012,) * 2,) * 2}
        )
        return first, second

    def test_another_protocol_nearer_to_the_paper(self):
        found = budget(*self.pair((94.0, 11.0), (20.0, 7.0)))
        assert found.role == "cause"
        assert found.text == (
            "Optimiser: on the samples of n = 10,000 that both have (2) the converged fits end at "
            "a loss of 11.0 (objective 0.00960), the paper-style ones at 7.00 (0.0120); the slopes "
            "are −0.93 and −0.46."
        )

    def test_another_protocol_beyond_the_paper(self):
        assert budget(*self.pair((20.0, 5.0), (20.0, 18.0), paper=-0.5)).role == "cause"

    def test_context_if_the_other_is_no_nearer(self):
        assert budget(*self.pair((20.0, 7.0), (20.0, 20.0), paper=-0.9)).role == "context"

    def test_steps_that_end_early_owe_their_closeness_to_the_start(self):
        converged, early = self.pair((94.0, 11.0), (20.0, 7.0))
        found = budget(early, converged)
        assert found.role == "cause"
        assert found.text.endswith(
            "the slopes are −0.46 and −0.93. The steps end on the way from a start whose loss is "
            "0.300: that they are nearer to the truth than least squares is owed to the start and "
            "not to the data."
        )

    def test_steps_that_end_farther_away_do_not(self):
        converged, early = self.pair((20.0, 5.0), (20.0, 7.0))
        assert budget(early, converged).text.endswith("the slopes are −0.46 and −0.60.")

    def test_only_common_samples_are_compared(self):
        columns = {"objectives": (0.01, 0.03), "samples": (0, 1)}
        mine = (Point(1000, (4.0, 40.0), **columns),)
        peer = (Point(1000, (2.0,), objectives=(0.02,), samples=(0,)),)
        first = Curve(**(vars(make()) | {"points": mine}))
        second = Curve(**(vars(make(protocol="paper-style")) | {"points": peer}))
        words = (
            "on the samples of n = 1,000 that both have (1) the converged fits end at a loss of 4"
        )
        assert words in budget(first, second).text
        assert "(objective 0.0100)" in budget(first, second).text
        apart = (Point(1000, (2.0,), samples=(7,)),)
        assert budget(first, Curve(**(vars(second) | {"points": apart}))) is None

    def test_a_loss_of_zero_is_no_ratio(self):
        assert budget(*self.pair((20.0, 0.0), (20.0, 0.0)[:1])) is None
        assert budget(*self.pair((20.0, 7.0), (0.0, 0.0))) is None

    def test_silent_where_the_two_agree_or_there_is_one(self):
        first, second = self.pair((20.0, 7.0), (20.0, 7.5))
        assert budget(first, second) is None
        assert budget(first, None) is None
        assert budget(first, first) is None


class TestIllDetermined:
    FUNCTION = make((0.6, 0.19), loss="function", main=False, paper=None)

    def test_the_function_is_learnt_and_the_parameters_are_not(self):
        found = ill_determined(make((20.0, 19.0)), self.FUNCTION)
        assert found.role == "cause"
        assert found.text == (
            "Ill-determined parameters: the distance of the fitted function to the truth falls "
            "from 0.600 at n = 1,000 to 0.190 at n = 10,000 (slope −0.50), while this loss has "
            "−0.02: different parameters give nearly the same function."
        )

    def test_softmax_data_are_judged_by_the_best_approximation(self):
        found = ill_determined(make((20.0, 19.0), reading="softmax-data"), self.FUNCTION)
        assert "the distance of the fitted function to its best approximation falls" in found.text

    def test_silent_where_both_fall_or_neither_does(self):
        flat = make((0.6, 0.5), loss="function", main=False)
        assert ill_determined(make((20.0, 6.0)), self.FUNCTION) is None
        assert ill_determined(make((20.0, 19.0)), flat) is None
        assert ill_determined(make((20.0, 19.0)), None) is None


class TestHeavyTails:
    def test_a_median_nearer_to_the_paper_explains(self):
        points = (Point(1000, (10.0, 10.0, 100.0)), Point(10000, (5.0, 5.0, 5.0)))
        curve = make(slope=-0.9, median_slope=-0.45)
        found = heavy_tails(Curve(**(vars(curve) | {"points": points})))
        assert found.role == "cause"
        assert found.text == (
            "Scatter: at n = 1,000 the mean loss is 40.0, the median 10.0, the largest 100. The "
            "slope of the mean is −0.90, of the median −0.45."
        )

    def test_context_if_the_median_is_no_nearer(self):
        points = (Point(1000, (10.0, 10.0, 100.0)), Point(10000, (5.0, 5.0, 5.0)))
        curve = make(slope=-0.9, median_slope=-0.85)
        assert heavy_tails(Curve(**(vars(curve) | {"points": points}))).role == "context"

    def test_silent_for_even_losses_and_for_two_replications(self):
        even = (Point(1000, (10.0, 10.0, 11.0)), Point(10000, (5.0, 5.0, 5.0)))
        curve = make(slope=-0.9, median_slope=-0.85)
        assert heavy_tails(Curve(**(vars(curve) | {"points": even}))) is None
        assert heavy_tails(curve) is None


class TestContext:
    def test_failed_fits(self):
        found = failed_fits(make(points={"failed": (1, 0)}))
        assert found.role == "cause"
        assert found.text == "Failures: 1 of 5 fits failed (n = 1,000); they are in no mean."

    def test_fits_at_their_limit(self):
        found = stopped_early(make(points={"converged": ((True, False), (True, True))}))
        assert found.role == "cause"
        assert found.text == (
            "Iterations: 1 of 4 fits ended at their limit before they converged (n = 1,000); they "
            "are counted as they are."
        )

    def test_a_budget_has_no_limit_to_miss(self):
        columns = {"converged": ((False, False), (False, False))}
        assert stopped_early(make(points=columns, protocol="paper-style")) is None
        assert stopped_early(make(points={"converged": ((True, True), (True, True))})) is None

    def test_few_failed_fits_are_context(self):
        points = (Point(1000, (1.0,) * 19, failed=1),)
        assert failed_fits(Curve(**(vars(make()) | {"points": points}))).role == "context"

    def test_no_failure_no_sentence(self):
        assert failed_fits(make()) is None

    def test_an_atom_that_left_its_cell_counts_in_another(self):
        points = (Point(1000, (6.0, 90.0), empty_cells=(0, 1)),)
        found = empty_cells(Curve(**(vars(make()) | {"points": points})))
        assert found.role == "cause"
        assert found.text == (
            "Empty cells: at n = 1,000, 1 of 2 fits leave a true atom without a fitted one nearest "
            "to it. Their mean loss is 90.0, that of the others 6.00. An atom has left its cell "
            "and counts, far away, in that of another."
        )

    @pytest.mark.parametrize(
        ("values", "empty", "middle"),
        [
            ((6.0, 7.0), (0, 1), "Their mean loss is 7.00, that of the others 6.00. "),
            ((6.0, 7.0), (2, 1), ""),
            ((0.0, 7.0), (0, 1), "Their mean loss is 7.00, that of the others 0. "),
        ],
    )
    def test_an_empty_cell_counts_zero(self, values, empty, middle):
        points = (Point(1000, values, empty_cells=empty),)
        found = empty_cells(Curve(**(vars(make()) | {"points": points})))
        assert found.role == "context"
        assert found.text == (
            f"Empty cells: at n = 1,000, {sum(e > 0 for e in empty)} of 2 fits leave a true atom "
            f"without a fitted one nearest to it. {middle}Such a cell counts zero, so the loss "
            "understates the distance."
        )

    def test_filled_cells_need_no_sentence(self):
        assert empty_cells(make()) is None
        assert empty_cells(make(points={"empty_cells": ((0, 0), (0, 0))})) is None

    def test_random_starts_are_global_and_near_ones_local(self):
        near = make(points={"objectives": ((0.0096,) * 2, (0.0097,) * 2)})
        columns = {"objectives": ((0.0096,) * 2, (0.0098,) * 2)}
        other = make((50.0, 12.0), start="random", points=columns)
        found = random_starts(near, other)
        assert found.text == (
            "Random starts: on the samples of n = 10,000 that both have (2) the best of several "
            "starts that know nothing of the truth (global) ends at a loss of 12.0 and an "
            "objective of 0.00980; the fits started near the truth (local) at 5.00 and 0.00970."
        )
        assert random_starts(near, None) is None
        assert random_starts(other, other) is None

    def test_scope_says_local_or_global_with_more_atoms_than_are_true(self):
        assert scope(make(n_fitted=9)).text == (
            "Local rate: 9 atoms are fitted to 8, from a near-truth start. Many parameters give "
            "the same function, so nothing follows for fits from elsewhere."
        )
        assert scope(make(n_fitted=9, start="random")).text == (
            "Global rate: 9 atoms are fitted to 8, from random starts. Many parameters give the "
            "same function, so the parameters need not converge at all."
        )
        assert scope(make()) is None

    def test_reason_without_prediction(self):
        found = not_regular(make(regular=False, reason="rank 412 of 432.; atoms 7, 8."))
        assert found.text == (
            "No Fisher prediction: rank 412 of 432; atoms 7, 8 (atoms are counted from zero)."
        )
        found = not_regular(make(regular=False, reason="over-specified"))
        assert found.text == "No Fisher prediction: over-specified."
        assert not_regular(make(regular=True)) is None
        assert not_regular(make(regular=None)) is None

    def test_members_of_a_set(self):
        members = (("split",) * 3 + ("null atom",), ("split",))
        found = set_members(make(points={"members": members}))
        assert found.text == (
            "Distance to a set: the loss is taken to the nearest of several measures with the same "
            "(or nearly the same) function; the nearest were, with the number of fits, split (4), "
            "null atom (1)."
        )
        assert set_members(make()) is None

    def test_many_members_are_counted(self):
        found = set_members(make(points={"members": (tuple("abcdef"), ("a",))}))
        assert found.text.endswith("a (2), b (1), c (1), d (1) and 2 others.")


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    results = read_results(paper_like(tmp_path_factory.mktemp("words") / "results"))
    return [
        finding
        for panel in results.panels
        for reading in explain_panel(panel)
        for finding in (
            *reading.summary,
            *reading.shared,
            *(f for p in reading.paragraphs for f in p.findings),
        )
    ]


class TestNarrative:
    def test_an_unexplained_difference_is_admitted(self):
        curve = make((20.0, 5.0), paper=-0.2)
        paragraph = explain_curve(curve, Panel("figure2", "2a", (curve,)))
        assert [f.rule for f in paragraph.findings] == ["verdict", "unexplained"]
        assert paragraph.findings[1].text == (
            "None of the 16 checks that this report makes explains the difference."
        )

    def test_a_slope_inside_needs_no_explanation(self):
        curve = make((20.0, 5.0), paper=-0.6)
        paragraph = explain_curve(curve, Panel("figure2", "2a", (curve,)))
        assert [f.rule for f in paragraph.findings] == ["verdict"]

    def test_verdict_then_causes_then_context(self):
        curve = make((94.0, 11.0), truth_size=35.0, n_fitted=9, points={"failed": (0, 1)})
        roles = [f.role for f in explain_curve(curve, Panel("f", "p", (curve,))).findings]
        assert roles == sorted(roles, key=["verdict", "cause", "context"].index)
        assert set(roles) == {"verdict", "cause", "context"}

    def test_no_number_is_printed_that_is_not_evidence(self, findings):
        assert len(findings) > 100
        for finding in findings:
            words = re.sub(r"\{\w+\}|95 %", "", finding.template)
            assert not re.search(r"\d", words), finding.template
            assert finding.evidence
            assert all(piece.source for piece in finding.evidence)

    def test_the_causes_that_are_known_are_found(self, findings):
        rules = {finding.rule for finding in findings}
        assert rules >= {
            "flat_atoms",
            "start_noise",
            "size_of_truth",
            "non_asymptotic",
            "budget",
            "ill_determined",
            "failed_fits",
            "random_starts",
            "scope",
            "contrast",
            "tally",
        }

    def test_what_holds_for_every_curve_is_said_once(self, tmp_path):
        results = read_results(paper_like(tmp_path / "results"))
        reading = explain_panel(results.panels[0])[0]
        assert [finding.rule for finding in reading.shared] == ["scope"]
        assert all(f.rule != "scope" for p in reading.paragraphs for f in p.findings)
