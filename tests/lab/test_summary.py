"""What a run tells at its end, and what `sigmoe status` tells of a folder."""

import io

import polars as pl
from rich.console import Console

from lab.tiny import tiny_data, tiny_study
from sigmoe.lab._plan import plan_study
from sigmoe.lab._run import thin_samples
from sigmoe.lab._store import Store
from sigmoe.lab._study_file import parse_study
from sigmoe.lab._summary import folder_state, slope_table, state_table
from sigmoe.lab._work import WORK


def printed(table):
    screen = io.StringIO()
    Console(file=screen, width=200).print(table)
    return screen.getvalue()


def test_the_table_of_slopes_has_the_numbers_of_the_file(finished):
    lines = [line for line in printed(slope_table(finished)).splitlines() if "│" in line]
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]
    slopes = pl.read_csv(finished.directory / "slopes.csv").filter(
        pl.col("statistic") == "log-mean",
        pl.col("loss")
        == pl.when(pl.col("curve") == "sparse").then(pl.lit("L1")).otherwise(pl.lit("L3")),
    )
    assert len(cells) == len(slopes) == 6
    by_key = {(c[1], c[2], c[3], c[4]): c for c in cells}
    for row in slopes.to_dicts():
        fit = f"{row['protocol']}, {'local' if row['start'] == 'near-truth' else 'global'}"
        found = by_key[row["curve"], row["reading"], fit, str(row["n_fitted"])]
        if row["slope"] is None:
            assert found[5:7] == ["", ""]
        else:
            interval = f"[{row['ci_low']:.2f}, {row['ci_high']:.2f}]"
            assert found[5:7] == [f"{row['slope']:.2f}", interval]
        assert found[7] == "-0.50"
        predicted = row["predicted_slope"]
        assert found[8] == ("" if predicted is None else f"{predicted:.2f}")
        assert found[9:] == [str(row["fits"]), "0"]


def test_the_state_of_a_finished_folder(finished):
    (state,) = folder_state(finished)
    assert state["tasks"] == state["done"] == sum(state["statuses"].values()) == 26
    assert (state["failed"], state["seconds_left"]) == (0, 0)
    assert "budget" in printed(state_table([state]))


def test_the_state_of_a_folder_that_is_not_finished(tmp_path):
    study = tiny_study()
    (curve, *_) = plan_study(study)
    with Store.create(tmp_path, [study]) as store:
        store.write(WORK.failure(curve.tasks[0], "OSError: lost"))
        (state,) = folder_state(store)
    assert (state["tasks"], state["done"], state["failed"]) == (8, 1, 1)
    assert state["statuses"] == {"failed": 1}
    assert state["seconds_left"] >= 0


def test_a_study_with_too_few_samples_is_told_of_in_one_sentence():
    data = tiny_data()
    data["presets"]["only"]["runs"][0]["sizes"] = [4, 400]
    curves = plan_study(parse_study(data).resolve())
    assert thin_samples(curves) == [
        "study 'tiny' has n = 4, fewer samples than the 5 free parameters of 1 experts; such fits "
        "follow the noise. Raise sizes."
    ]
    assert thin_samples(plan_study(tiny_study())) == []
