"""Simulated tables of several cases, a process a processor: what the studies beside it share."""

import argparse
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any


def run_cases(
    description: str,
    cases: Sequence[tuple[Any, ...]],
    one_table: Callable[..., Any],
    summary: Callable[[list[Any]], str],
    tables: int,
) -> int:
    """Run a study as a command: ``one_table(*case, seed)`` for each seed, a summary for each case.

    Results are dataclasses; the JSON file is written anew after each case.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--tables", type=int, default=tables, help="default %(default)s")
    parser.add_argument("--out", type=Path, help="write the result of each table to this JSON file")
    options = parser.parse_args()
    everything: list[dict[str, Any]] = []
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for case in cases:
            columns = zip(*[(*case, seed) for seed in range(options.tables)], strict=True)
            results = list(pool.map(one_table, *columns))
            print(summary(results), flush=True)
            everything += map(asdict, results)
            if options.out:
                options.out.write_text(json.dumps(everything, indent=1))
    return 0
