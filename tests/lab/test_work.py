"""Doing one task."""

import dataclasses

from lab.test_tasks import TASK, TRUTH
from sigmoe.estimation import Bounds
from sigmoe.lab._measures import architecture_of, flatten
from sigmoe.lab._tasks import Model, Start
from sigmoe.lab._work import WORK
from sigmoe.moe import MixingMeasure, draw_truth


def test_a_start_near_a_best_approximation_at_the_edge_stays_inside():
    model = Model("sigmoid", "full", "linear", 2)
    truth = dataclasses.replace(TRUTH, dim=1, n_true=2)
    architecture = architecture_of(model, 1)
    member = draw_truth(architecture, 2, seed=0)
    eta = member.eta
    eta[0, 0] = Bounds().eta[1]
    at_edge = MixingMeasure(architecture, member.A, member.b, member.c, eta)
    near = "0" * 32
    task = dataclasses.replace(
        TASK, truth=truth, model=model, n=100, start=Start("near-truth", 0.1, 0.0, near=near)
    )
    required = {near: {"failed": False, **flatten(MixingMeasure.stack([at_edge]))}}
    rows = [WORK.execute(dataclasses.replace(task, replication=k), required) for k in range(4)]
    assert not any(row["failed"] for row in rows)
    # Among four draws of the noise some point outwards.
    assert max(max(row["start_eta"]) for row in rows) == 10.0
