"""Studies at quadrature nodes: their rules, their truths, and one from file to slope."""

import dataclasses
from math import inf

import polars as pl
import pytest
import torch

from lab.tiny import tiny_data
from sigmoe._base.errors import InputError
from sigmoe.lab._cost import cost
from sigmoe.lab._engine import SerialPool, run_tasks
from sigmoe.lab._evaluate import evaluate
from sigmoe.lab._measures import truth_of
from sigmoe.lab._node_work import predicted_slope
from sigmoe.lab._plan import plan_study, tasks_of
from sigmoe.lab._schemas import TASKS
from sigmoe.lab._store import Store
from sigmoe.lab._study_file import parse_study
from sigmoe.lab._tasks import LeastSquares, Start
from sigmoe.lab._work import WORK

ATOMS = [
    {"A": [-0.5], "b": [1.0], "c": 1.0, "eta": [-2.0, 1.0]},
    {"A": [-0.3], "b": [0.4], "c": -1.0, "eta": [2.0, 0.5]},
]


def node_data(regime="sparse", **preset):
    """Return a study of linear experts at nodes; the second gate is constant where sparse."""
    data = tiny_data()
    data["panels"][0]["curves"][0] |= {
        "score": "partial",
        "regime": regime,
        "target": "truth",
        "losses": ["expert", "function"],
    }
    only = data["presets"]["only"]
    run = only["runs"][0] | {"extra_atoms": 1, "sizes": [10**6, 10**9], "max_iterations": 100}
    only |= {
        "nodes": {"half_width": 3.0},
        "truths": {"dim": 1, "n_true": [2], "n_sparse": 1, "atoms": ATOMS},
        "protocols": {
            "converged": {"optimiser": "minpack", "start_noise": 0.1, "start_exponent": -0.05}
        },
        "runs": [run],
        **preset,
    }
    return data


def broken(path, value):
    data = node_data()
    place = data["presets"]["only"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            ("truths", "n_true"),
            [3],
            "truths.n_true must be [2], the number of atoms; got [3]. "
            "Give the number of the atoms that are listed.",
        ),
        (
            ("truths", "atoms"),
            [ATOMS[0], ATOMS[1] | {"eta": [1.0]}],
            "truths.atoms[1].eta must be a list of 2 numbers at dim = 1; got [1.0]. Count them.",
        ),
        (
            ("protocols", "converged", "optimiser"),
            "levenberg-marquardt",
            "runs[0].protocol must be one with the optimiser 'minpack' exactly for near-truth "
            "starts at nodes; got 'converged'. Change protocol, start or nodes.",
        ),
        (
            ("runs", 0, "start"),
            "random",
            "runs[0].start must be 'near-truth' for first-order steps; got 'random'. "
            "Random starts need least squares.",
        ),
        (
            ("runs", 0, "panels"),
            ["U"],
            "runs[0].panels must be among 'T'; got 'U'. Correct the name or add the panel.",
        ),
    ],
)
def test_a_rule_of_nodes_that_is_broken_is_named(path, value, message):
    with pytest.raises(InputError) as caught:
        parse_study(broken(path, value), "tiny.toml")
    assert str(caught.value) == f"tiny.toml: presets.only.{message}"


def test_local_fits_of_anothers_data_are_refused_and_random_starts_are_not():
    data = node_data()
    data["panels"][0]["curves"][0] |= {"reading": "softmax-data", "losses": ["function"]}
    rule = "runs.0..protocol must be a run of random starts where data of another gate are fitted"
    with pytest.raises(InputError, match=rule):
        parse_study(data)
    only = data["presets"]["only"]
    only["protocols"]["converged"]["optimiser"] = "levenberg-marquardt"
    only["runs"][0] |= {"start": "random", "n_starts": 2}
    assert parse_study(data).resolve().panels[0].curves[0].truth_gate == "softmax"


@pytest.mark.parametrize("score", ["full", "partial", "linear"])
def test_given_atoms_are_the_truth_and_sparse_ones_have_a_constant_gate(score):
    measures = {}
    for regime in ("dense", "sparse"):
        data = node_data(regime)
        data["panels"][0]["curves"][0]["score"] = score
        measures[regime] = truth_of(plan_study(parse_study(data).resolve())[0].truth)
    dense, sparse = measures["dense"], measures["sparse"]
    assert dense.c.tolist() == sparse.c.tolist() == [1.0, -1.0]
    assert dense.eta.tolist() == sparse.eta.tolist() == [[-2.0, 1.0], [2.0, 0.5]]
    g = sparse.architecture.n_score_coefficients
    assert torch.equal(dense.coordinates[0], sparse.coordinates[0])
    assert not sparse.coordinates[1, 1:g].any()
    assert dense.coordinates[1, 1:g].any()


def test_the_cost_of_a_fit_at_nodes_does_not_depend_on_n():
    (curve,) = plan_study(parse_study(node_data()).resolve())
    assert len({cost(task) for task in curve.tasks}) == 1
    at_random = [
        dataclasses.replace(t, start=Start("random"), optimiser=LeastSquares(50, 1e-8, 1e-8))
        for t in curve.tasks
    ]
    assert len({cost(task) for task in at_random}) == 1


def test_the_slope_is_that_of_the_worst_block_unless_sizes_are_free():
    flat = [1.5, 1.4, 1.5, inf, inf, inf]
    assert predicted_slope(flat, free_size=False) == 0.0
    assert predicted_slope(flat, free_size=True) == pytest.approx(-1 / 3)
    assert predicted_slope([2.0, 1.9, 2.0], free_size=False) == -0.25


def test_from_a_study_to_a_slope_and_its_prediction(tmp_path):
    data = node_data(modulus={"n_starts": 1, "decades": 1.0})
    study = parse_study(data).resolve()
    (curve,) = plan_study(study)
    with Store.create(tmp_path / "out", [study]) as store:
        run_tasks(tasks_of([curve]), WORK, store, SerialPool(), lambda *_: None)
        assert evaluate(store).failed == 0
    slopes = pl.read_csv(tmp_path / "out" / "slopes.csv").filter(statistic="log-median")
    expert, function = (slopes.filter(loss=loss) for loss in ("expert", "function"))
    # Two linear experts that share a constant gate: only the sum of weight times eta is seen.
    assert expert["predicted_slope"].to_list() == [0.0]
    assert expert["slope"][0] > -0.2
    assert function["slope"][0] == pytest.approx(-0.5, abs=0.1)
    row = store.read([curve.tasks[0].task_id]).row(0, named=True)
    assert row["objective"] == pytest.approx(0.01, rel=0.6)
    assert row["exponents"] is None


def test_tasks_of_an_earlier_version_lack_a_column_and_are_read(tmp_path):
    data = node_data()
    study = parse_study(data).resolve()
    task = plan_study(study)[0].tasks[0]
    with Store.create(tmp_path / "out", [study]) as store:
        store.write(WORK.failure(task, "as an example"))
        path = store.tasks_directory / f"{task.task_id}.parquet"
        pl.read_parquet(path).drop("exponents").write_parquet(path)
        assert store.read([task.task_id]).schema == TASKS
