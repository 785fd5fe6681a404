"""Compare the models on every table: print Markdown, write JSON and the figure."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from benchmarks.estimation.report import installed, processor, write_json
from benchmarks.real_data.aggregate import make_lines
from benchmarks.real_data.datasets import SOURCES, Table
from benchmarks.real_data.folds import repeated_folds
from benchmarks.real_data.measure import Outcome, run_table
from benchmarks.real_data.models import Model, models
from benchmarks.real_data.peers import flexmix_version
from benchmarks.real_data.report import draw, markdown
from benchmarks.real_data.standard_errors import sentence, standard_errors
from threadpoolctl import threadpool_limits

RESULTS = Path(__file__).parents[1] / "results"
PACKAGES = ("sigmoe", "torch", "numpy", "scipy", "scikit-learn", "statsmodels", "cgmm")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_data", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two tables, three folds, no picture")
    parser.add_argument("--tables", nargs="+", choices=list(SOURCES), help="default: all")
    parser.add_argument("--models", nargs="+", help="default: all; ridge is always there")
    parser.add_argument("--folds", type=int, help="default 5, quick 3")
    parser.add_argument("--repeats", type=int, help="default: as the table says, quick 1")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder; default %(default)s")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; return 2 for a model that does not exist."""
    parsed = parse(arguments)
    chosen = models()
    unknown = set(parsed.models or ()) - {model.name for model in chosen}
    if unknown:
        print(f"no such model: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    if parsed.models:
        chosen = [chosen[0], *(m for m in chosen[1:] if m.name in parsed.models)]
    torch.set_num_threads(1)
    with threadpool_limits(1):
        compare(parsed, chosen)
    return 0


def compare(parsed: argparse.Namespace, chosen: Sequence[Model]) -> None:
    """Run table after table; the files are written anew after each."""
    names = parsed.tables or (["diabetes", "engel"] if parsed.quick else list(SOURCES))
    outcomes: list[Outcome] = []
    without: list[str] = []
    content: dict[str, object] = {"machine": machine(), "absent_tables": without}
    errors: list[dict[str, object]] = []
    titles: dict[str, str] = {}
    for name in names:
        if not SOURCES[name].installed:
            print(f"**{name}**: not run, {SOURCES[name].package} is not installed\n", flush=True)
            without.append(name)
            continue
        table = SOURCES[name].load()
        began = time.perf_counter()
        new = measured(table, chosen, parsed)
        outcomes += new
        titles[name] = f"{name} ({len(table.X)} rows, {table.X.shape[1]} inputs)"
        print(markdown(f"{titles[name]}: {table.response}", make_lines(new), chosen))
        found = [] if parsed.quick else [standard_errors(table, g) for g in ("softmax", "sigmoid")]
        errors += [asdict(item) for item in found]
        print("\n".join(["", *map(sentence, found)]))
        print(f"{time.perf_counter() - began:.0f} s\n", flush=True)
        content["standard_errors"] = errors
        content["lines"] = [asdict(line) for line in make_lines(outcomes)]
        content["folds"] = [asdict(outcome) for outcome in outcomes]
        write(parsed, content)
    if outcomes and not (parsed.quick or parsed.tables or parsed.models or without):
        figure = draw(make_lines(outcomes), chosen, titles)
        figure.savefig(parsed.out / "real_data.png", dpi=120)


def measured(table: Table, chosen: Sequence[Model], parsed: argparse.Namespace) -> list[Outcome]:
    """Return all outcomes on one table."""
    n_folds = parsed.folds or (3 if parsed.quick else 5)
    repeats = parsed.repeats or (1 if parsed.quick else table.repeats)
    folds = repeated_folds(table.groups, n_folds, repeats)
    return list(run_table(table, chosen, folds, interval_repeats=1))


def machine() -> dict[str, object]:
    """Return what the times depend on."""
    return {
        "processor": processor(),
        "load": list(os.getloadavg()),
        "python": platform.python_version(),
        "versions": {**{name: installed(name) for name in PACKAGES}, "flexmix": flexmix_version()},
    }


def write(parsed: argparse.Namespace, content: dict[str, object]) -> None:
    """Write the results whole or not at all; a part never replaces the whole benchmark."""
    part = parsed.tables or parsed.models or parsed.folds or parsed.repeats
    stem = "real_data" + ("-quick" if parsed.quick else "") + ("-part" if part else "")
    write_json(parsed.out / f"{stem}.json", content)


if __name__ == "__main__":
    sys.exit(main())
