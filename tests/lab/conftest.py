"""A finished results folder that several tests read."""

import pytest

from lab.tiny import tiny_data
from sigmoe.lab._engine import SerialPool, run_tasks
from sigmoe.lab._evaluate import evaluate
from sigmoe.lab._plan import plan_study, tasks_of
from sigmoe.lab._store import Store
from sigmoe.lab._study_file import parse_study
from sigmoe.lab._work import WORK


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Return the tiny study with an extra atom and a softmax reading, done and evaluated."""
    data = tiny_data()
    data["truths"] = {"dim": 1, "n_true": [2], "n_sparse": 1}
    curve = data["panels"][0]["curves"][0]
    data["panels"][0]["curves"] += [
        {**curve, "reading": "softmax-data", "target": "best-approximation"},
        {**curve, "name": "sparse", "regime": "sparse", "target": "truth", "losses": ["L1"]},
    ]
    data["panels"][0]["curves"][1]["losses"] = ["L3", "expert", "function"]
    preset = data["presets"]["only"]
    preset["approximation"] = {"n_starts": 2, "n_points": 256, "max_iterations": 50}
    preset["runs"][1]["extra_atoms"] = 1
    study = parse_study(data).resolve()
    out = tmp_path_factory.mktemp("finished")
    with Store.create(out, [study]) as store:
        run_tasks(tasks_of(plan_study(study)), WORK, store, SerialPool(), lambda *_: None)
        counts = evaluate(store)
    assert counts.failed == 0
    return Store.existing(out)
