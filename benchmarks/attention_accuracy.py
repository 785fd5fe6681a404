"""Errors of attention by length, against float64 and relative to the size of what is computed.

For each length one head of random queries, keys and values, with a bias. Compared are the output
and the gradients of queries, keys, values and of a bias with an entry for each query, at 64 rows or
columns spread over the sequence. Kernels compute all of it at once; what is written out is computed
for these rows and columns only, which are the same there. An error of ours above twice that of the
honest reference breaks the contract of docs/attention.md.

    python -m benchmarks.attention_accuracy [--longest 4096] [--biases 0 -15 5] [--scores 20]
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

import torch
from benchmarks.attention import DTYPES, RESULTS
from benchmarks.estimation.report import machine, write_json
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from sigmoe import sigmoid_attention
from sigmoe.attention import _backends, _native

LENGTHS = tuple(2**k for k in range(6, 15))
BIASES: dict[str, Callable[[int], float]] = {
    "auto": lambda n: -math.log(n),
    "0": lambda _: 0.0,
    "-15": lambda _: -15.0,
    "5": lambda _: 5.0,
}
HEAD_DIM, CHECKED, CONTRACT = 64, 64, 2.0
PARTS = {
    "output": "output",
    "query": "gradient, queries",
    "key": "gradient, keys",
    "value": "gradient, values",
    "bias": "gradient, bias",
}
#: Label, marker and colour of each curve.
CURVES = {
    "softmax": ("softmax, PyTorch's kernel", "^", "#d9a400"),
    "eager": ("sigmoid, all in bfloat16", "D", "#d95f02"),
    "reference": ("honest reference: scores and sums in float32", "", "#5b636d"),
    "tiled": ("ours, PyTorch's operations", "s", "#56b4e9"),
    "native": ("ours, compiled kernel", "o", "#0b559f"),
}
OURS = ("native", "tiled")

#: Query, key, value and bias to the output; all have four axes.
Function = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
Parts = dict[str, Tensor]
Errors = dict[str, float]


@dataclass(frozen=True)
class Case:
    """One length, with what the errors depend on beside it."""

    dtype: str
    bias: str
    n: int
    #: About the root mean square of the scores before the bias; the largest are 5 times as large.
    scores: float = 1.0

    def operands(self) -> tuple[list[Tensor], Tensor]:
        """Return query, key, value and bias, and the gradient of the output."""
        generator = torch.Generator().manual_seed(self.n)
        shape = (1, 1, self.n, HEAD_DIM)
        *operands, gradient = (torch.randn(shape, generator=generator) for _ in range(4))
        operands[0] *= self.scores
        operands.append(torch.full((1, 1, self.n, 1), BIASES[self.bias](self.n)))
        dtype = DTYPES[self.dtype]
        return [part.to(dtype) for part in operands], gradient.to(dtype)

    @property
    def places(self) -> Tensor:
        """Return the rows or columns that are compared."""
        return torch.linspace(0, self.n - 1, min(self.n, CHECKED)).long()


def eager(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Return eq. (2) as one writes it, each step in the dtype of the inputs."""
    return torch.sigmoid(query @ key.mT * query.shape[3] ** -0.5 + bias) @ value


def reference(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Return eq. (2) with scores and sums in float32, and weights in the dtype of the inputs."""
    scores = query.float() @ key.float().mT * query.shape[3] ** -0.5 + bias.float()
    weights = torch.sigmoid(scores).to(query.dtype)
    return (weights.float() @ value.float()).to(query.dtype)


def softmax(query: Tensor, key: Tensor, value: Tensor, _: Tensor) -> Tensor:
    """Return eq. (1) by PyTorch's kernel; no bias is the same for all keys and seen."""
    return scaled_dot_product_attention(query, key, value)


def ours(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Return eq. (2) by this package."""
    return sigmoid_attention(query, key, value, bias=bias)


def differentiated(function: Function, operands: Sequence[Tensor], gradient: Tensor) -> list[Any]:
    """Return the output and the gradients of query, key, value and bias, None if it has none."""
    leaves = [part.detach().requires_grad_() for part in operands]
    output = function(*leaves)
    found = torch.autograd.grad(output, leaves, gradient, allow_unused=True)
    return [output.detach(), *found]


def at_once(function: Function, operands: list[Tensor], gradient: Tensor, places: Tensor) -> Parts:
    """Return the parts at some places, all of them computed."""
    named = zip(PARTS, differentiated(function, operands, gradient), strict=True)
    return {name: part[:, :, places] for name, part in named if part is not None}


def by_sample(
    function: Function, operands: list[Tensor], gradient: Tensor, places: Tensor
) -> Parts:
    """Return the same, computed from whole rows and from whole columns of weights."""
    query, key, value, bias = operands
    some = [part[:, :, places] for part in (*operands, gradient)]
    rows = differentiated(function, (some[0], key, value, some[3]), some[4])
    columns = differentiated(function, (query, some[1], some[2], bias), gradient)
    return dict(zip(PARTS, (*rows[:2], *columns[2:4], rows[4]), strict=True))


def softmax_by_blocks(operands: list[Tensor], gradient: Tensor, places: Tensor) -> Parts:
    """Return softmax's parts from the formula, a block of rows at a time."""
    query, key, value = operands[:3]
    output, d_query = torch.empty_like(query), torch.empty_like(query)
    d_key, d_value = torch.zeros_like(key), torch.zeros_like(value)
    for rows in torch.arange(query.shape[2]).split(512):
        q, d_out = query[:, :, rows], gradient[:, :, rows]
        weights = torch.softmax(q @ key.mT * query.shape[3] ** -0.5, dim=-1)
        output[:, :, rows] = weights @ value
        d_value += weights.mT @ d_out
        level = (d_out * output[:, :, rows]).sum(-1, keepdim=True)
        d_scores = weights * (d_out @ value.mT - level) * query.shape[3] ** -0.5
        d_query[:, :, rows] = d_scores @ key
        d_key += d_scores.mT @ q
    found = zip(list(PARTS)[:4], (output, d_query, d_key, d_value), strict=True)
    return {name: part[:, :, places] for name, part in found}


def relative(found: Parts, exact: Parts) -> Errors:
    """Return the root mean square of each part's error over that of the part."""
    return {
        name: float((found[name].double() - part).norm() / part.norm())
        for name, part in exact.items()
    }


def measure(case: Case) -> dict[str, Errors]:
    """Return the errors of each method on a case; all see the same rounded inputs."""
    operands, gradient = case.operands()
    inputs = (operands, gradient, case.places)
    in_double = ([part.double() for part in operands], gradient.double(), case.places)
    exact = by_sample(eager, *in_double)
    found = {"softmax": relative(at_once(softmax, *inputs), softmax_by_blocks(*in_double))}
    if case.dtype != "float32":
        # In float32 this is the honest reference.
        found["eager"] = relative(by_sample(eager, *inputs), exact)
    found["reference"] = relative(by_sample(reference, *inputs), exact)
    for backend in OURS:
        if backend != "native" or _native.available(operands[0]):
            with _backends.forced(backend):
                found[backend] = relative(at_once(ours, *inputs), exact)
    return found


def broken(errors: dict[str, Errors]) -> Iterator[str]:
    """Yield what is above the contract's bound, in words."""
    for method, part in product(OURS, PARTS):
        if method in errors:
            ratio = errors[method][part] / errors["reference"][part]
            if not ratio <= CONTRACT:
                yield f"{method}, {PARTS[part]}: {ratio:.2f} times the reference"


def draw(rows: Sequence[dict[str, Any]]) -> Figure:
    """Draw errors against n: parts side by side, dtypes and biases below each other."""
    kinds = list(dict.fromkeys((row["dtype"], row["bias"]) for row in rows))
    size = (2.1 * len(PARTS) + 0.6, 1.75 * len(kinds) + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(kinds), len(PARTS), sharex=True, sharey="row", squeeze=False)
    for line, kind in zip(grid, kinds, strict=True):
        chosen = [row for row in rows if (row["dtype"], row["bias"]) == kind]
        for axes, part in zip(line, PARTS, strict=True):
            draw_part(axes, chosen, part)
        bias = "$-\\log\\,n$" if kind[1] == "auto" else kind[1].replace("-", "−")
        line[0].set_ylabel(f"{kind[0]}, bias {bias}\nrelative error")
    for axes, title in zip(grid[0], PARTS.values(), strict=True):
        axes.set_title(title)
    for axes in grid[-1]:
        axes.set_xlabel("keys $n$")
    figure.legend(handles=handles(), loc="outside lower center", ncols=3)
    return figure


def draw_part(axes: Axes, rows: Sequence[dict[str, Any]], part: str) -> None:
    """Draw the curves of one part, and the bound of the contract."""
    axes.set(xscale="log", yscale="log")
    for method, (label, marker, colour) in CURVES.items():
        points = [(row["n"], row["errors"].get(method, {}).get(part)) for row in rows]
        known = [(n, error) for n, error in points if error is not None]
        if not known:
            continue
        x, y = zip(*known, strict=True)
        if method == "reference":
            bound = [CONTRACT * error for error in y]
            axes.plot(x, bound, color=colour, linestyle="--", linewidth=0.9, label="bound")
        axes.plot(x, y, color=colour, marker=marker, markersize=3, label=label)


def handles() -> list[Line2D]:
    """Return the legend's entries, in the order of the curves."""
    entries = [
        Line2D([], [], color=colour, marker=marker, markersize=4, label=label)
        for label, marker, colour in CURVES.values()
    ]
    bound = Line2D(
        [], [], color=CURVES["reference"][2], linestyle="--", linewidth=0.9,
        label="contract: twice the reference",
    )  # fmt: skip
    return [*entries, bound]


def write_figure(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the figure in the project's style."""
    with style.context(str(resources.files("sigmoe.lab") / "sigmoe.mplstyle")):
        draw(rows).savefig(path, dpi=150, metadata={"Software": None})


def summary(case: Case, errors: dict[str, Errors]) -> str:
    """Return one line: the worst error of each method over the parts."""
    worst = [f"{method} {max(found.values()):.1e}" for method, found in errors.items()]
    return f"{case.dtype:8} {case.bias:>6} {case.n:5}  " + "  ".join(worst)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.attention_accuracy", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--longest", type=int, default=LENGTHS[-1], help="default %(default)s")
    parser.add_argument(
        "--biases",
        nargs="+",
        choices=BIASES,
        default=list(BIASES)[:2],
        help="default auto, which is -log n, and 0",
    )
    parser.add_argument(
        "--scores", type=float, default=1.0, help="their size before the bias; default %(default)s"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder; default %(default)s")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write and draw; return 1 if the contract is broken."""
    parsed = parse(arguments)
    lengths = [n for n in LENGTHS if n <= parsed.longest]
    rows: list[dict[str, Any]] = []
    complaints = []
    for dtype, bias, n in product(DTYPES, parsed.biases, lengths):
        case = Case(dtype, bias, n, parsed.scores)
        errors = measure(case)
        rows.append({"dtype": dtype, "bias": bias, "n": n, "errors": errors})
        print(summary(case, errors), flush=True)
        complaints += [f"{dtype}, bias {bias}, n = {n}: {text}" for text in broken(errors)]
    about = machine() | {"kernel": _native.native_status()}
    path = parsed.out / "attention-accuracy.json"
    write_json(path, {"machine": about, "scores": parsed.scores, "rows": rows})
    write_figure(path.with_suffix(".png"), rows)
    print(f"written: {path} and .png", *complaints, sep="\n")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
