"""Columns of every table in a results folder: the contract between the steps of the lab.

A results folder holds::

    study-<name>.json     the resolved study, its hash and the versions (one file a study)
    tasks/<hash>.parquet  one row a finished task, `TASKS`; the only thing that took time
    losses.parquet        `LOSSES`, one row a task, curve and loss
    predictions.parquet   `PREDICTIONS`, one row a curve, loss and size
    slopes.csv            `SLOPES`, one row a curve, loss and statistic

The last three are derived from the first two alone, and may be deleted and made anew.

Which rows belong to a curve? Those that agree in `CURVE_KEYS`. A curve's rows in `LOSSES` have
``main`` true for the loss that is drawn and tabled, and false for the others. Missing numbers are
null in Parquet and empty cells in CSV, never NaN.
"""

from __future__ import annotations

import polars as pl

_NUMBERS = pl.List(pl.Float64)

#: What names a curve, in the order in which tables are sorted.
CURVE_KEYS = ("figure", "panel", "reading", "protocol", "start", "n_fitted", "curve")

#: One finished task. Parameter blocks are flattened in C order: A (k, N, d, d), b (k, N, d),
#: c (k, N), eta (k, N, q), where k = n_members is 1 for a fit. A failed fit has null blocks.
TASKS = pl.Schema(
    {
        "task_id": pl.String(),  # hash of everything that determines the numbers
        "kind": pl.String(),  # "fit"; "project" for best approximations; "modulus"
        "protocol": pl.String(),  # "converged" or "paper-style"
        "start": pl.String(),  # "near-truth" (a local fit) or "random" (a global one)
        "truth_gate": pl.String(),
        "truth_score": pl.String(),
        "truth_expert": pl.String(),
        "regime": pl.String(),  # "dense" or "sparse"
        "dim": pl.Int64(),
        "n_true": pl.Int64(),
        "gate": pl.String(),  # of the fit, as are score and expert
        "score": pl.String(),
        "expert": pl.String(),
        "n_fitted": pl.Int64(),
        "n": pl.Int64(),  # null for "project", which uses the population
        "replication": pl.Int64(),
        "noise_variance": pl.Float64(),
        "seed": pl.Int64(),  # of the study
        "status": pl.String(),  # the fit's own word, or "failed"
        "converged": pl.Boolean(),
        "failed": pl.Boolean(),
        "error": pl.String(),  # empty unless failed
        "objective": pl.Float64(),  # mean squared residual; of the best member for "project"
        "start_objective": pl.Float64(),
        "n_iterations": pl.Int64(),
        "gradient_norm": pl.Float64(),
        "seconds": pl.Float64(),
        "active_bounds": pl.Int64(),
        "n_members": pl.Int64(),
        # For "modulus": k of the experts' parameters with its lowest and highest local slope, then
        # the same of the experts' size where it can trade against weights; infinite for no rate.
        "exponents": _NUMBERS,
        "distances": _NUMBERS,  # of the members to the truth's function, for "project"
        "A": _NUMBERS,
        "b": _NUMBERS,
        "c": _NUMBERS,
        "eta": _NUMBERS,
        "start_A": _NUMBERS,
        "start_b": _NUMBERS,
        "start_c": _NUMBERS,
        "start_eta": _NUMBERS,
        "truth_A": _NUMBERS,
        "truth_b": _NUMBERS,
        "truth_c": _NUMBERS,
        "truth_eta": _NUMBERS,
        "sigmoe_version": pl.String(),
        "torch_version": pl.String(),
        "numpy_version": pl.String(),
        "finished_at": pl.String(),  # ISO 8601, UTC
    }
)

#: One task, curve and loss. A task shared by several curves appears once for each.
LOSSES = pl.Schema(
    {
        "figure": pl.String(),  # name of the study: "figure1", "figure2", "table1", ...
        "panel": pl.String(),  # "1a", "1b", "2a", "2b", ...
        "curve": pl.String(),  # "sigmoid", "softmax"; "ReLU", "linear"; ...
        "reading": pl.String(),  # "softmax-data" or "own-data"
        "protocol": pl.String(),
        "start": pl.String(),
        "n_true": pl.Int64(),
        "n_fitted": pl.Int64(),
        "n": pl.Int64(),
        "replication": pl.Int64(),
        "loss": pl.String(),  # "L1", "L3", "softmax", ...; "expert" (eta alone); "function"
        "main": pl.Boolean(),  # whether this is the curve's own loss
        "value": pl.Float64(),  # null for a failed fit
        "start_value": pl.Float64(),  # the loss of the point at which the fit started
        "empty_cells": pl.Int64(),  # true atoms that no fitted atom is nearest to
        "member": pl.String(),  # for a distance to a set: which member was nearest; else empty
        "by_atom": _NUMBERS,  # contributions of the true atoms; null where a loss has none
        "status": pl.String(),
        "failed": pl.Boolean(),
        "task_id": pl.String(),
    }
)

#: The curve that theory predicts, where it predicts one.
PREDICTIONS = pl.Schema(
    {
        "figure": pl.String(),
        "panel": pl.String(),
        "curve": pl.String(),
        "reading": pl.String(),
        "protocol": pl.String(),
        "start": pl.String(),
        "n_fitted": pl.Int64(),
        "loss": pl.String(),
        "n": pl.Int64(),
        "value": pl.Float64(),  # null where there is no prediction
        "standard_error": pl.Float64(),  # of the value, from the Monte Carlo draws
        "regular": pl.Boolean(),
        "rank": pl.Int64(),  # of the Fisher information; null where it was not computed
        "n_parameters": pl.Int64(),
        "reason": pl.String(),  # in words, where there is no prediction; else empty
    }
)

#: The columns of slopes.csv, in order. ``statistic``: "log-mean" (the paper's), "mean-log",
#: "log-median". A loss named "start L1" is the loss L1 of the starting points.
SLOPES = pl.Schema(
    {
        "figure": pl.String(),
        "panel": pl.String(),
        "curve": pl.String(),
        "reading": pl.String(),
        "protocol": pl.String(),
        "start": pl.String(),
        "n_fitted": pl.Int64(),
        "n_min": pl.Int64(),
        "n_max": pl.Int64(),
        "loss": pl.String(),
        "statistic": pl.String(),
        "slope": pl.Float64(),  # empty where the curve has a single size
        "ci_low": pl.Float64(),  # 95 % over replications; empty where a size has one replication
        "ci_high": pl.Float64(),
        "paper_slope": pl.Float64(),  # what the paper prints for this curve; empty elsewhere
        "predicted_slope": pl.Float64(),  # of PREDICTIONS over the same sizes, or of the modulus
        "fits": pl.Int64(),  # finished without failure
        "failed": pl.Int64(),
    }
)
