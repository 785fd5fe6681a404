"""Losses of fits, from what they are taken, and what is stored of them."""

import dataclasses

import polars as pl
import pytest
import torch

from lab.tiny import tiny_data, tiny_study
from sigmoe.lab._engine import do_task
from sigmoe.lab._evaluate import evaluate
from sigmoe.lab._loss_table import LossTable
from sigmoe.lab._losses import measure
from sigmoe.lab._measures import flatten, truth_of, unflatten
from sigmoe.lab._plan import plan_study, tasks_of
from sigmoe.lab._predictions import curve_predictions
from sigmoe.lab._schemas import LOSSES, PREDICTIONS
from sigmoe.lab._store import Store
from sigmoe.lab._study_file import parse_study
from sigmoe.lab._tasks import FirstOrder
from sigmoe.lab._work import WORK
from sigmoe.moe import Architecture, MixingMeasure, draw_truth
from sigmoe.theory import function_distance, set_loss, voronoi_loss

MODEL = Architecture(gate="sigmoid", expert="linear", dim=2)
TRUTH = draw_truth(MODEL, 2, seed=3)


def near(measure, scale=0.1, seed=0):
    """Return a measure beside another one."""
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randn(measure.coordinates.shape, generator=rng, dtype=torch.float64)
    return MixingMeasure.from_coordinates(measure.architecture, measure.coordinates + scale * noise)


BATCH = MixingMeasure.stack([near(TRUTH, seed=k) for k in range(3)])


def atoms_apart(fitted, truth):
    """Return the sum over pairs of atoms in order of each block's norm of differences."""
    total = {}
    for block, dims in (("A", (-2, -1)), ("b", (-1,)), ("c", ()), ("eta", (-1,))):
        gap = getattr(fitted, block) - getattr(truth, block)
        norm = gap.abs() if not dims else gap.square().sum(dim=dims).sqrt()
        total[block] = float(norm.sum())
    return total


def test_near_the_truth_the_losses_are_sums_of_norms():
    found = measure("truth", ["L1", "L3", "expert", "function"], BATCH, TRUTH)
    for k in range(3):
        blocks = atoms_apart(BATCH[k], TRUTH)
        assert found["L3"][k].value == pytest.approx(sum(blocks.values()), rel=1e-12)
        assert found["L1"][k].value == pytest.approx(found["L3"][k].value, rel=1e-12)
        assert found["expert"][k].value == pytest.approx(blocks["eta"], rel=1e-12)
        distance = float(function_distance(BATCH[k], TRUTH))
        assert found["function"][k].value == pytest.approx(distance, rel=1e-12)
        assert found["function"][k].by_atom is None
        assert found["L3"][k].empty_cells == 0
        assert sum(found["L3"][k].by_atom) == pytest.approx(found["L3"][k].value, rel=1e-12)


def test_an_atom_that_strays_into_another_cell_is_not_over_specified_by_design():
    # Both atoms lie in one cell, where c does not matter; the other cell is empty.
    strayed = TRUTH.coordinates[[0, 0]]
    strayed[1, 0] += 5.0
    both = MixingMeasure.from_coordinates(MODEL, strayed)
    (found,) = measure("truth", ["L1"], MixingMeasure.stack([both]), TRUTH)["L1"]
    assert found.empty_cells == 1
    assert found.value == pytest.approx(5.0, rel=1e-12)
    # As of an over-specified atom it would be the gap of the weights, below 1.
    assert float(voronoi_loss(both, TRUTH, "L1")) < 1.0
    more = MixingMeasure.from_coordinates(
        MODEL, torch.cat([TRUTH.coordinates, TRUTH.coordinates[:1] + 30.0])
    )
    (found,) = measure("truth", ["L1"], MixingMeasure.stack([more]), TRUTH)["L1"]
    assert found.value == float(voronoi_loss(more, TRUTH, "L1"))


def test_representations_are_searched_only_with_more_atoms_than_the_truth_has():
    exact = measure("representations", ["L3"], BATCH, TRUTH)["L3"]
    assert [m.member for m in exact] == [""] * 3
    # Half of an expert each: the truth's function, and at distance zero from a representation.
    split = TRUTH.coordinates[[0, 1, 1]]
    split[1:, -3:] *= 0.5
    fitted = MixingMeasure.stack([MixingMeasure.from_coordinates(MODEL, split)])
    found = measure("representations", ["L3", "expert", "L1"], fitted, TRUTH)
    assert found["L3"][0].value == pytest.approx(0.0, abs=1e-6)
    assert found["expert"][0].value == pytest.approx(0.0, abs=1e-6)
    assert found["L3"][0].member in ("split", "mixed")
    # L1 is defined between a fit and the truth itself.
    assert found["L1"][0].value == float(voronoi_loss(fitted[0], TRUTH, "L1")) > 0.1


def test_the_nearest_of_several_approximations_counts():
    members = MixingMeasure.stack([near(TRUTH, 1.0, 7), TRUTH])
    found = measure("best-approximation", ["L3", "expert", "function"], BATCH, TRUTH, members)
    whole = set_loss(BATCH, [members[0], members[1]], "L3")
    assert [m.value for m in found["L3"]] == pytest.approx(whole.value.tolist(), rel=1e-12)
    assert [m.member for m in found["L3"]] == ["approximation 2 of 2"] * 3
    expected = torch.stack([function_distance(BATCH, members[k]) for k in range(2)]).amin(dim=0)
    assert [m.value for m in found["function"]] == expected.tolist()


def test_softmax_losses_do_not_see_the_common_translation():
    model = Architecture(gate="softmax", expert="linear", dim=2)
    truth = draw_truth(model, 2, seed=1)
    moved = truth.coordinates
    moved[:, : model.n_score_coefficients] += 3.0
    fitted = MixingMeasure.stack([MixingMeasure.from_coordinates(model, moved)])
    found = measure("truth", ["softmax", "expert", "function"], fitted, truth)
    for loss in ("softmax", "expert", "function"):
        assert found[loss][0].value == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("score", ["full", "partial", "linear"])
def test_measures_survive_their_rows(score):
    model = Architecture(score=score, expert="scaled-gelu", dim=3)
    batch = MixingMeasure.stack([draw_truth(model, 4, seed=k) for k in range(2)])
    assert unflatten(flatten(batch, "start_"), model, 4, "start_") == batch


def read(store, name):
    return pl.read_parquet(store.directory / name)


def test_the_tables_have_their_schemas_and_one_row_a_task_curve_and_loss(finished):
    losses = read(finished, "losses.parquet")
    assert losses.schema == LOSSES
    assert read(finished, "predictions.parquet").schema == PREDICTIONS
    curves = [c for s in finished.studies() for c in plan_study(s)]
    assert len(losses) == sum(len(c.tasks) * len(c.losses) for c in curves)
    assert losses["value"].null_count() == 0
    assert losses["start_value"].null_count() == 0


def test_a_task_row_is_enough_to_compute_its_losses_again(finished):
    curve = next(c for s in finished.studies() for c in plan_study(s) if c.target == "truth")
    row = finished.read([curve.tasks[0].task_id]).to_dicts()[0]
    model = curve.truth.architecture()
    truth = unflatten(row, model, 2, "truth_")[0]
    assert truth == truth_of(curve.truth)
    fitted = unflatten(row, model, curve.model.n_fitted)[0]
    losses = read(finished, "losses.parquet").filter(pl.col("task_id") == row["task_id"])
    expected = float(voronoi_loss(fitted, truth, "L1", over_specified=()))
    assert losses["value"].to_list() == pytest.approx([expected], rel=1e-12)


def test_protocols_of_one_cell_share_sample_and_start():
    (task, *_), *_ = (c.tasks for c in plan_study(tiny_study()))
    steps = dataclasses.replace(task, optimiser=FirstOrder(5, 0.01))
    one, other = (WORK.execute(t, {}) for t in (task, steps))
    assert one["task_id"] != other["task_id"]
    for name in ("start_A", "start_b", "start_c", "start_eta", "start_objective", "truth_eta"):
        assert one[name] == other[name]
    again = dataclasses.replace(task, replication=1)
    assert WORK.execute(again, {})["start_c"] != one["start_c"]


def test_the_extra_atom_of_the_sparse_regime_starts_at_a_zero_gate(finished):
    rows = finished.read(finished.done()).filter(
        pl.col("regime") == "sparse", pl.col("n_fitted") == 3
    )
    assert len(rows) > 0
    for row in rows.to_dicts():
        # The noise has a standard deviation of 0.05; the last two atoms start with A near zero.
        assert max(abs(a) for a in row["start_A"][1:]) < 0.3
        assert row["truth_A"][1] == 0.0


def test_fits_of_softmax_data_start_near_the_best_approximation(finished):
    curve = next(
        c
        for s in finished.studies()
        for c in plan_study(s)
        if c.approximation is not None and c.protocol == "converged"
    )
    (stored,) = finished.read([curve.approximation.task_id]).to_dicts()
    assert stored["kind"] == "project"
    assert stored["distances"] == sorted(stored["distances"])
    assert len(stored["c"]) == 2 * stored["n_members"]
    row = finished.read([curve.tasks[0].task_id]).to_dicts()[0]
    gap = [abs(a - b) for a, b in zip(row["start_c"], stored["c"][:2], strict=True)]
    assert max(gap) < 0.3


def test_predictions_are_given_where_the_model_is_regular_and_explained_elsewhere(finished):
    table = read(finished, "predictions.parquet")
    regular = table.filter(pl.col("regular"))
    assert set(regular["curve"]) == {"sigmoid"}
    assert set(regular["reading"]) == {"own-data"}
    assert set(regular["n_fitted"]) == {2}
    assert regular["value"].null_count() == 0
    assert set(regular["reason"]) == {""}
    others = table.filter(~pl.col("regular"))
    assert others["value"].null_count() == len(others)
    reasons = set(others["reason"])
    assert "the fitted model is not the true one: the Fisher information does not apply" in reasons
    assert any(r.startswith("over-specified: with N = 3 > N* = 2 the Fisher") for r in reasons)
    assert any("the gate is constant" in r or "invisible" in r for r in reasons)


def test_predicted_losses_fall_like_one_over_the_root_of_n(finished):
    table = read(finished, "predictions.parquet").filter(
        pl.col("regular"), pl.col("loss").is_in(["L3", "function"])
    )
    for loss in ("L3", "function"):
        small, large = table.filter(pl.col("loss") == loss).sort("n")["value"].to_list()
        assert small / large == pytest.approx(2.0, rel=0.05)


def test_a_first_order_curve_has_no_prediction():
    curve = next(c for c in plan_study(tiny_study()) if c.protocol == "paper-style")
    assert {row["reason"] for row in curve_predictions(curve)} == {
        "a fixed budget of first-order steps does not reach the least squares estimate"
    }


def test_a_table_of_losses_is_the_same_whether_curves_share_it_or_not(finished):
    curves = [c for s in finished.studies() for c in plan_study(s)]
    frame = finished.read(tasks_of(curves))
    rows = {row["task_id"]: row for row in frame.to_dicts()}
    shared = LossTable(rows)
    fewer = dataclasses.replace(curves[0], losses=("expert",))
    shared.of_curve(fewer)
    shared.of_curve(curves[0])
    assert shared.of_curve(curves[0]) == LossTable(rows).of_curve(curves[0])


def test_fits_near_an_approximation_that_failed_say_so():
    data = tiny_data()
    curve = data["panels"][0]["curves"][0]
    curve.update(reading="softmax-data", target="best-approximation", losses=["L3"])
    planned = plan_study(parse_study(data).resolve())[0]
    name = planned.approximation.task_id
    failed = WORK.failure(planned.approximation, "RuntimeError: no luck")
    row = do_task(WORK, planned.tasks[0], {name: failed})
    assert row["failed"] is True
    assert row["error"] == (
        "SigmoeError: there is no best approximation to start near: RuntimeError: no luck"
    )
    rows = {name: failed, row["task_id"]: row}
    (entry,) = LossTable(rows).of_curve(planned)
    assert (entry["failed"], entry["value"], entry["status"]) == (True, None, "failed")


def test_a_folder_of_an_unfinished_run_is_evaluated_as_far_as_it_goes(finished, tmp_path):
    study = finished.studies()[0]
    with Store.create(tmp_path, [study]) as store:
        assert evaluate(store).done == 0
        slopes = pl.read_csv(tmp_path / "slopes.csv")
        assert slopes["slope"].null_count() == len(slopes)
        first = finished.read(finished.done()).filter(pl.col("kind") == "fit").to_dicts()[0]
        store.write(first)
        assert evaluate(store).done == 1
