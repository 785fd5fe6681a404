"""Sigmoid attention on the CPU beside torch's softmax attention, in one process.

For each case the answers are checked first: output and gradients, at the sizes that are timed,
against float64 on some rows and columns, relative to their own rms; a case with a wrong answer gets
no ratio. Then both run in turn, and the medians of the ratios are printed (above 1: we are faster):
of elapsed seconds, and of processor seconds, which say more on a shared machine. The shares are of
the rate of torch's matrix product in the same dtype and on as many threads.

    python -m benchmarks.attention [--quick] [--threads 2] [--dtypes bfloat16] [--seconds 2]
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch
from benchmarks.estimation.report import machine, write_json
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from sigmoe.attention import _native

RESULTS = Path(__file__).parent / "results"
SHAPES = ((8, 12, 196), (1, 8, 512), (1, 8, 1024), (1, 1, 4096), (1, 8, 4096), (1, 8, 16384))
QUICK = SHAPES[:3]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# A few times what rounding the operands and the weights to the dtype costs.
TOLERANCE = {"float32": 1e-5, "bfloat16": 5e-3}
_LEAST_PAIRS = 3
_CHECKED = 32


@dataclass(frozen=True)
class Case:
    """One row of the table: sizes, mask, and whether the gradients are computed too."""

    dtype: str
    batch: int
    heads: int
    n: int
    head_dim: int
    causal: bool
    backward: bool

    @property
    def products(self) -> float:
        """Floating-point operations of the products that softmax and sigmoid both need."""
        pairs = self.batch * self.heads * self.n * (self.n + 1 if self.causal else 2 * self.n) / 2
        return (14.0 if self.backward else 4.0) * pairs * self.head_dim

    @property
    def name(self) -> str:
        mask = "causal" if self.causal else "full"
        passes = "fwd+bwd" if self.backward else "fwd"
        sizes = f"({self.batch},{self.heads},{self.n},{self.head_dim})"
        return f"{self.dtype:8} {sizes:17} {mask:6} {passes:7}"

    def terms(self) -> dict[str, Any]:
        offset = 0 if self.causal else None
        return {
            "scale": self.head_dim**-0.5,
            "constant": -math.log(self.n),
            "causal_offset": offset,
        }

    def operands(self) -> list[Tensor]:
        """Return query, key, value and the gradient of the output."""
        generator = torch.Generator().manual_seed(0)
        shape = (self.batch, self.heads, self.n, self.head_dim)
        return [torch.randn(shape, generator=generator).to(DTYPES[self.dtype]) for _ in range(4)]


class Attention(torch.autograd.Function):
    """The kernel as an operation with a gradient that keeps its operands only."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, terms: dict[str, Any]
    ) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.terms = terms
        return _native.forward(query, key, value, **terms)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (*_native.backward(gradient, *ctx.saved_tensors, **ctx.terms)[:3], None)


def runs(case: Case) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return our call and torch's."""
    *operands, gradient = case.operands()
    for operand in operands:
        operand.requires_grad_(case.backward)

    def finish(out: Tensor) -> None:
        if case.backward:
            torch.autograd.grad(out, operands, gradient)

    def ours() -> None:
        finish(Attention.apply(*operands, case.terms()))

    def theirs() -> None:
        finish(scaled_dot_product_attention(*operands, is_causal=case.causal))

    return ours, theirs


def errors(case: Case) -> dict[str, float]:
    """Return the relative rms errors of the last head's output and gradients.

    The output and the gradient of the queries need whole rows of weights, those of keys and values
    whole columns: a few of each, spread over the sequence, are made in float64.
    """
    query, key, value, gradient = case.operands()
    terms = case.terms()
    found = {"out": _native.forward(query, key, value, **terms)}
    if case.backward:
        names = ("d_query", "d_key", "d_value")
        grads = _native.backward(gradient, query, key, value, **terms)[:3]
        found |= dict(zip(names, grads, strict=True))
    places = torch.linspace(0, case.n - 1, min(case.n, _CHECKED)).long()
    q, k, v, g = (part[-1, -1].double() for part in (query, key, value, gradient))
    every = torch.arange(case.n)
    rows = _weights(q[places], k, places, every, case)
    columns = _weights(q, k[places], every, places, case)
    row_scores = rows * (1 - rows) * (g[places] @ v.T)
    column_scores = columns * (1 - columns) * (g @ v[places].T)
    exact = {
        "out": rows @ v,
        "d_query": terms["scale"] * row_scores @ k,
        "d_key": terms["scale"] * column_scores.T @ q,
        "d_value": columns.T @ g,
    }
    return {
        name: float((part[-1, -1, places].double() - exact[name]).norm() / exact[name].norm())
        for name, part in found.items()
    }


def _weights(query: Tensor, key: Tensor, rows: Tensor, columns: Tensor, case: Case) -> Tensor:
    terms = case.terms()
    weights = torch.sigmoid(terms["scale"] * query @ key.T + terms["constant"])
    if case.causal:
        weights = torch.where(columns <= rows.unsqueeze(1), weights, 0.0)
    return weights


def seconds(run: Callable[[], None]) -> tuple[float, float]:
    """Return elapsed and processor seconds of one call."""
    elapsed, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - elapsed, time.process_time() - processor


def pairs_of_times(case: Case, patience: float) -> list[tuple[float, float, float, float]]:
    """Return elapsed and processor seconds of both, in turn, for about `patience` seconds."""
    ours, theirs = runs(case)
    ours()
    theirs()
    pairs = []
    stop = time.perf_counter() + patience
    while len(pairs) < _LEAST_PAIRS or (time.perf_counter() < stop and len(pairs) < 200):
        pairs.append((*seconds(ours), *seconds(theirs)))
    return pairs


def product_rate(dtype: str, size: int = 1536) -> float:
    """Return the operations a second of torch's matrix product: the best of ten."""
    a, b = (torch.randn(size, size).to(DTYPES[dtype]) for _ in range(2))
    a @ b
    return 2.0 * size**3 / min(seconds(lambda: a @ b)[0] for _ in range(10))


def measure(case: Case, patience: float) -> dict[str, Any]:
    """Return a row: errors and, if they are small, ratios and shares."""
    found = errors(case)
    row: dict[str, Any] = {**asdict(case), "errors": found}
    if not max(found.values()) <= TOLERANCE[case.dtype]:
        return row
    rate = product_rate(case.dtype)
    times = pairs_of_times(case, patience)
    ours, theirs = median(t[0] for t in times), median(t[2] for t in times)
    return row | {
        "pairs": len(times),
        "ratio": median(t[2] / t[0] for t in times),
        "processor_ratio": median(t[3] / t[1] for t in times),
        "milliseconds": 1e3 * ours,
        "milliseconds_sdpa": 1e3 * theirs,
        "product_rate": rate,
        "share": case.products / ours / rate,
        "share_sdpa": case.products / theirs / rate,
    }


def line(case: Case, row: dict[str, Any]) -> str:
    """Return one line of the table."""
    worst = max(row["errors"].values())
    if "ratio" not in row:
        return f"{case.name} error {worst:.1e}: wrong, nothing is timed"
    return (
        f"{case.name} {row['ratio']:5.2f} {row['processor_ratio']:5.2f} "
        f"{row['milliseconds']:9.2f} ms {row['share']:5.0%} {row['share_sdpa']:5.0%} {worst:8.1e}"
    )


def cases(parsed: argparse.Namespace) -> Iterator[Case]:
    """Yield the rows that were asked for."""
    shapes = QUICK if parsed.quick else SHAPES
    dims = (64,) if parsed.quick else (64, 128)
    for dtype, dim, backward in product(parsed.dtypes, dims, (False, True)):
        for (batch, heads, n), causal in product(shapes, (False, True)):
            if n <= parsed.longest:
                yield Case(dtype, batch, heads, n, dim, causal, backward)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.attention", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="n <= 1024 and head_dim 64 only")
    parser.add_argument("--threads", type=int, help="default: as torch has it")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--longest", type=int, default=SHAPES[-1][2], help="leave longer n out")
    parser.add_argument("--seconds", type=float, default=2.0, help="for a case; default 2")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder; default %(default)s")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 1 if an answer is wrong, 2 if there is no kernel."""
    parsed = parse(arguments)
    torch.set_num_threads(parsed.threads or torch.get_num_threads())
    if not _native.available(torch.zeros(1)):
        print(_native.native_status(), file=sys.stderr)
        return 2
    print("Ratios to torch's softmax attention: elapsed, processor; our time; shares of the")
    print(
        f"matrix product's rate, ours and torch's; worst error. {torch.get_num_threads()} threads"
    )
    rows = []
    for case in cases(parsed):
        rows.append(measure(case, parsed.seconds))
        print(line(case, rows[-1]), flush=True)
    about = machine() | {"threads": torch.get_num_threads(), "date": date.today().isoformat()}
    file = parsed.out / ("attention-quick.json" if parsed.quick else "attention.json")
    write_json(file, {"machine": about, "rows": rows})
    print(f"written: {file}")
    return 0 if all("ratio" in row for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
