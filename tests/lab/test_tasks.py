"""Tasks: what enters the hash and what does not; which tasks a study plans."""

import dataclasses
import subprocess
import sys

import pytest

from lab.tiny import tiny_data, tiny_study
from sigmoe.lab._builtin import builtin_study
from sigmoe.lab._plan import plan_study, tasks_of
from sigmoe.lab._study import content_hash
from sigmoe.lab._study_file import parse_study
from sigmoe.lab._study_inputs import Atom, Modulus, Nodes
from sigmoe.lab._tasks import (
    FirstOrder,
    FitTask,
    LeastSquares,
    Minpack,
    Model,
    ModulusTask,
    ProjectTask,
    Start,
    TruthSpec,
)

TRUTH = TruthSpec("sigmoid", "full", "relu", 8, 8, "dense", 2, 2025)
TASK = FitTask(
    truth=TRUTH,
    model=Model("sigmoid", "full", "relu", 9),
    n=1000,
    replication=0,
    noise_variance=0.01,
    start=Start("near-truth", 0.005, -0.083),
    optimiser=LeastSquares(60, 1e-8, 1e-9),
    protocol="converged",
)


def test_the_hash_never_changes():
    # A change of this value makes every stored result worthless; see SCHEMA_VERSION.
    assert TASK.task_id == "b0cd8d06c05d8241a54c7078b957bc1a"


#: Number of tasks, hash of their sorted hashes, hash of the study; those of stored results.
STORED = {
    ("figure1", "quick"): (
        146,
        "0e6693b8f53448f2552ce2b06d812a9b",
        "90ce7bd91e6bba955b6cb993afaf3bf4",
    ),
    ("figure1", "paper"): (
        962,
        "9b14c02da9ab405830ceff90096b8f6c",
        "81cf98dbe2c39819414efc430f3864f0",
    ),
    ("figure1", "asymptotic"): (
        844,
        "d6ea4353cc283a5e4b4dc814177ecb9b",
        "cf8ca723c148ea76e3e236935ecc506f",
    ),
    ("figure2", "quick"): (
        212,
        "91edd41fc50daa0ccafe6a1755547c25",
        "cfc734f55ec3fed75c2f4bd59ef0bc3b",
    ),
    ("figure2", "paper"): (
        1800,
        "7efb9d4ba4f945e7a13cd970a445369b",
        "1ed98161f74a8f1b0be58a2ed5ed1163",
    ),
    ("figure2", "asymptotic"): (
        1280,
        "07d8cc5e65ccadd02d11a15b14a65a5e",
        "e7919ab141ffa8739f119a1af8c065be",
    ),
    ("table1", "quick"): (
        120,
        "bc8699e1a87e671bbb93f48f8254183e",
        "31c5fb83ae978dcb4f669019b44cac47",
    ),
    ("table1", "paper"): (
        960,
        "b881a624e4afbe52d241da63dc39210e",
        "cf2f495e810d5c782aa02e8823fea6ed",
    ),
}


@pytest.mark.parametrize("name", STORED, ids="-".join)
def test_the_hashes_of_the_papers_studies_never_change(name):
    study = builtin_study(name[0]).resolve(name[1])
    tasks = sorted(tasks_of(plan_study(study)))
    assert (len(tasks), content_hash(tasks), study.hash) == STORED[name]


def test_the_hash_is_the_same_in_another_process():
    code = "from lab.test_tasks import TASK; print(TASK.task_id)"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, 'tests'); {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == TASK.task_id


@pytest.mark.parametrize(
    "change",
    [
        {"n": 1001},
        {"replication": 1},
        {"noise_variance": 0.02},
        {"model": Model("sigmoid", "full", "relu", 8)},
        {"model": Model("sigmoid", "partial", "relu", 9)},
        {"model": Model("softmax", "full", "relu", 9)},
        {"start": Start("near-truth", 0.006, -0.083)},
        {"start": Start("near-truth", 0.005, -0.25)},
        {"start": Start("near-truth", 0.005, -0.083, near="0" * 32)},
        {"start": Start("random")},
        {"start": Start("random", n_starts=2)},
        {"optimiser": LeastSquares(61, 1e-8, 1e-9)},
        {"optimiser": LeastSquares(60, 1e-7, 1e-9)},
        {"optimiser": LeastSquares(60, 1e-8, 1e-8)},
        {"optimiser": FirstOrder(60, 0.01)},
        {"optimiser": Minpack(60, 1e-9)},
        {"nodes": Nodes(3.0)},
        {"optimiser": FirstOrder(60, 0.02)},
        *(
            {"truth": dataclasses.replace(TRUTH, **{name: value})}
            for name, value in {
                "gate": "softmax",
                "score": "partial",
                "expert": "linear",
                "dim": 7,
                "n_true": 7,
                "regime": "sparse",
                "seed": 1,
                "atoms": (Atom((0.0,), (0.0,), 0.0, (1.0, 1.0)),),
            }.items()
        ),
    ],
    ids=repr,
)
def test_everything_that_determines_the_numbers_enters_the_hash(change):
    assert dataclasses.replace(TASK, **change).task_id != TASK.task_id


@pytest.mark.parametrize(
    "change",
    [{"protocol": "another name"}, {"truth": dataclasses.replace(TRUTH, n_sparse=3)}],
    ids=repr,
)
def test_labels_and_what_plays_no_part_do_not(change):
    assert dataclasses.replace(TASK, **change).task_id == TASK.task_id


def test_the_number_of_zero_gates_matters_where_there_are_any():
    sparse = dataclasses.replace(TRUTH, regime="sparse")
    one, two = (
        dataclasses.replace(TASK, truth=dataclasses.replace(sparse, n_sparse=k)) for k in (1, 2)
    )
    assert one.task_id != two.task_id


def test_a_projection_is_known_by_its_effort():
    model = Model("sigmoid", "full", "relu", 9)
    task = ProjectTask(TRUTH, model, 4, 1000, 100, 0.01)
    assert task.task_id != dataclasses.replace(task, n_starts=5).task_id
    assert task.task_id != dataclasses.replace(task, n_points=2000).task_id
    assert task.task_id != dataclasses.replace(task, max_iterations=200).task_id
    assert task.task_id == dataclasses.replace(task, noise_variance=0.1).task_id


def test_samples_at_other_nodes_are_other_tasks():
    names = {
        dataclasses.replace(TASK, nodes=nodes).task_id
        for nodes in (Nodes(3.0), Nodes(2.0), Nodes(3.0, 2))
    }
    assert len(names) == 3


def test_a_modulus_is_known_by_its_box_and_effort():
    task = ModulusTask(TRUTH, Model("sigmoid", "full", "relu", 9), 3.0, Modulus(), 0.01)
    changes = ({"half_width": 2.0}, {"effort": Modulus(3)}, {"effort": Modulus(2, 2.0)})
    names = {dataclasses.replace(task, **change).task_id for change in changes}
    assert len(names | {task.task_id}) == 4
    assert dataclasses.replace(task, noise_variance=0.1).task_id == task.task_id


def test_the_table_at_nodes_asks_for_one_modulus_a_cell():
    curves = curves_of("table1", "asymptotic")
    cells = [c for c in curves if "expert" in c.losses]
    assert len({c.modulus.task_id for c in cells}) == len(cells) == 32
    assert all(c.modulus is None for c in curves if "expert" not in c.losses)
    assert set(tasks_of(cells)) >= {c.modulus.task_id for c in cells}
    assert {task.nodes for c in curves for task in c.tasks} == {Nodes(3.0)}


def test_fits_to_one_sample_share_it_and_no_more():
    curves = [c for c in curves_of("table1", "asymptotic") if c.losses == ("function",)]
    truths = {(c.reading, c.truth.expert): c.truth for c in curves}
    assert len(curves) == 2 * len(truths) == 16
    assert all(truths[c.reading, c.truth.expert] == c.truth for c in curves)
    assert {c.truth.gate + "-data" == c.reading for c in curves} == {True}


def curves_of(name, preset="quick"):
    return plan_study(builtin_study(name).resolve(preset))


def test_figures_and_table_share_their_tasks():
    figure1, figure2, table1 = (curves_of(name) for name in ("figure1", "figure2", "table1"))
    shared = {(c.panel, c.curve): set(tasks_of([c])) for c in table1}
    figures = tasks_of([*figure1, *figure2])
    for (_, label), names in shared.items():
        softmax_sparse = label.startswith("softmax") and label.endswith("sparse")
        assert names.isdisjoint(figures) if softmax_sparse else names <= set(figures), label


def test_the_softmax_fit_of_both_readings_is_one_fit():
    curves = [c for c in curves_of("figure1") if c.curve == "softmax" and c.panel == "1a"]
    by_reading = {(c.reading, c.protocol): set(tasks_of([c])) for c in curves}
    for protocol in ("converged", "paper-style"):
        assert by_reading["softmax-data", protocol] == by_reading["own-data", protocol]


def test_every_replication_of_every_size_is_planned_once():
    curve = next(
        c for c in curves_of("figure2") if c.model.n_fitted == 8 and c.protocol == "converged"
    )
    cells = [(task.n, task.replication) for task in curve.tasks]
    expected = [(n, r) for n in (1000, 3200, 10_000) for r in range(5)]
    assert cells == expected + [(30_000, r) for r in range(3)]


def test_fits_near_a_best_approximation_require_it():
    curve = next(c for c in curves_of("figure1") if c.target == "best-approximation")
    assert {task.requires for task in curve.tasks} == {(curve.approximation.task_id,)}
    names = list(tasks_of([curve]))
    assert names[0] == curve.approximation.task_id
    assert all(task.requires == () for c in curves_of("figure2") for task in c.tasks)


def test_random_starts_require_nothing_even_where_the_target_is_an_approximation():
    data = tiny_data()
    curve = data["panels"][0]["curves"][0]
    curve.update(reading="softmax-data", target="best-approximation")
    data["presets"]["only"]["runs"] = [
        {**data["presets"]["only"]["runs"][0], "start": "random", "n_starts": 2}
    ]
    (planned,) = plan_study(parse_study(data).resolve())
    assert planned.approximation is not None
    assert all(task.requires == () for task in planned.tasks)


def test_panels_say_their_dimensions_where_they_are_not_the_studys_own():
    assert {c.panel for c in curves_of("figure2")} == {"2a", "2b"}
    assert {c.panel for c in curves_of("figure2", "asymptotic")} == {
        f"{name} (d=2, N*={k})" for name in ("2a", "2b") for k in (2, 3)
    }


def test_labels_tell_curves_apart():
    for name in ("figure1", "figure2", "table1"):
        for preset in ("quick", "paper", "asymptotic"):
            keys = [tuple(c.key.values()) for c in curves_of(name, preset)]
            assert len(set(keys)) == len(keys)


def test_the_tiny_study_plans_eight_fits():
    assert len(tasks_of(plan_study(tiny_study()))) == 8
