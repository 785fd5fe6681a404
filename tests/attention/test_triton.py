"""Triton's kernels without a GPU: in the interpreter, and compiled for three kinds of GPU."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import triton
from numpy.polynomial import Chebyshev, Polynomial
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from sigmoe.attention import _backends, _triton, _triton_launch, _triton_tiles
from sigmoe.attention._rules import Rules

HERE = Path(__file__).parent
PLAIN = Rules("sigmoid", 0.125, -5.0)
EVERYTHING = Rules(
    "sigmoid",
    0.125,
    added=torch.zeros(1, 2, 128, 128),
    visible=torch.ones(2, 1, 1, 128, dtype=torch.bool),
    window=(64, 0),
    slopes=torch.ones(1, 2),
)
POINTERS = {
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.float32: "*fp32",
    torch.uint8: "*u8",
}


def run_child(command: list[str], **more: str) -> str:
    """Return what a Python process printed; fail with it if the process failed."""
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, **more},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "interpret",
    [
        pytest.param("1", id="interpreter"),
        pytest.param(
            "0",
            id="gpu",
            marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
        ),
    ],
)
def test_kernels_pass_their_tests(interpret: str) -> None:
    module = str(HERE / "on_triton.py")
    options = ["-q", "-p", "no:cacheprovider"]
    printed = run_child(["-m", "pytest", module, *options], TRITON_INTERPRET=interpret)
    assert re.search(r"^\d\d+ passed in", printed, re.MULTILINE), printed


def test_sigmoe_does_without_triton() -> None:
    code = (
        "import sys; sys.modules['triton'] = None; import torch, sigmoe; "
        "x = torch.ones(1, 1, 2, 4); print(tuple(sigmoe.sigmoid_attention(x, x, x).shape))"
    )
    assert run_child(["-c", code]).strip() == "(1, 1, 2, 4)"


def pretend_inputs(dtype: torch.dtype, width: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    """Return query, key and value that say that they are on a GPU, and hold nothing."""
    with FakeTensorMode():
        parts = [torch.empty(1, 2, 8, width, dtype=dtype, device="cuda") for _ in range(3)]
    return parts[0], parts[1], parts[2]


@pytest.mark.parametrize(
    ("rules", "dtype", "width", "accepted"),
    [
        (PLAIN, torch.bfloat16, 64, True),
        (EVERYTHING, torch.float16, 96, True),
        (PLAIN, torch.float32, 256, True),
        (PLAIN, torch.float32, 257, False),
        (PLAIN, torch.float64, 64, False),
        (replace(PLAIN, gate="softmax"), torch.bfloat16, 64, False),
        (replace(PLAIN, dropout=0.1), torch.bfloat16, 64, False),
    ],
)
def test_which_calls_on_a_gpu_the_kernels_take(
    rules: Rules, dtype: torch.dtype, width: int, accepted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_triton, "_runs_on", lambda _: True)
    chosen = _backends.choose(*pretend_inputs(dtype, width), rules)
    assert chosen == _backends.BACKENDS.get("triton" if accepted else "tiled")


def test_old_gpus_and_the_cpu_are_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    for capability, runs in (((7, 5), False), ((8, 0), True), ((12, 0), True)):
        _triton._runs_on.cache_clear()
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        assert _triton.accepts(*pretend_inputs(torch.bfloat16), PLAIN) is runs
    _triton._runs_on.cache_clear()
    assert not _triton.accepts(*torch.ones(3, 1, 2, 8, 64), PLAIN)


@pytest.mark.parametrize(("degree", "largest"), [(4, 3.55e-4), (5, 5.91e-5)])
def test_polynomials_are_exact_at_zero_and_the_best_beside(degree: int, largest: float) -> None:
    least = np.cos(np.pi / (2 * degree + 2))
    linear = Polynomial([-least, 1 + least])
    wave = Chebyshev.basis(degree + 1).convert(kind=Polynomial)(linear)
    best = (1 - wave / wave(-1.0)) // Polynomial([1, 1])
    written = [
        getattr(_triton_tiles, f"COEFFICIENT_{degree}_{n}").value for n in range(1, degree + 1)
    ]
    np.testing.assert_allclose(best.coef, [1.0, *written], rtol=1e-12)
    t = np.linspace(0, 1, 10_001)
    error = np.abs(Polynomial([1.0, *written])(t) * (1 + t) - 1).max()
    assert 0.99 * largest < error < largest


def test_tiles_of_any_width() -> None:
    widths = {1: 16, 16: 16, 17: 32, 64: 64, 96: 128, 256: 256}
    assert {width: _triton_launch.block_of(width) for width in widths} == widths


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Gather kernels and their arguments instead of running them; what compiles is not kept."""
    found: dict[str, Any] = {}

    def gather(kernel: Any, _programs: Any, _device: Any, **arguments: Any) -> None:
        found[kernel.__name__] = (kernel, arguments)

    monkeypatch.setattr(_triton_launch, "launch", gather)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    return found


def typed(value: Any) -> Any:
    """Return the type of a kernel's argument; strides of 1 are constants, as in a launch."""
    if isinstance(value, Tensor):
        return POINTERS[value.dtype]
    if isinstance(value, tuple):
        if not isinstance(value[0], Tensor):
            return tuple(map(typed, value))
        return typed(value[0]), *("constexpr" if part == 1 else "i32" for part in value[1:])
    return {int: "i32", float: "fp32"}.get(type(value), "constexpr")


def compiled(kernel: Any, arguments: dict[str, Any], capability: int) -> dict[str, Any]:
    """Return the stages of a compiled kernel, tile 64 x 64, 4 warps."""
    arguments = {**arguments, "ROWS": 64, "COLUMNS": 64}
    signature, constants, known = {}, {}, {}
    for place, name in enumerate(kernel.arg_names):
        value = arguments[name]
        constant = name in ("ROWS", "COLUMNS", "FORM", "SUM")
        signature[name] = "constexpr" if constant else typed(value)
        if constant:
            constants[(place,)] = value
        elif isinstance(value, tuple):
            for part, number in enumerate(value):
                if signature[name][part] == "constexpr":
                    constants[(place, part)] = number
                elif isinstance(number, Tensor) or number % 16 == 0:
                    known[(place, part)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constants, known)
    target = GPUTarget("cuda", capability, 32)
    stages: dict[str, Any] = triton.compile(
        source, target=target, options={"num_warps": 4, "num_stages": 1}
    ).asm
    return stages


def inputs_of(dtype: torch.dtype) -> list[Tensor]:
    return [torch.zeros(2, heads, 128, 64, dtype=dtype) for heads in (2, 1, 1)]


@pytest.mark.parametrize(
    ("name", "capability", "product"),
    [
        ("query_gradients", 80, r"mma\.sync"),
        ("key_gradients", 90, r"wgmma\.mma"),
        ("attend", 100, r"tcgen05\.mma"),
    ],
)
def test_kernels_compile_without_a_device(
    name: str, capability: int, product: str, launches: dict[str, Any]
) -> None:
    query, key, value = inputs_of(torch.bfloat16)
    _triton.forward(query, key, value, replace(PLAIN, causal_offset=0))
    _triton.backward(query, query, key, value, replace(PLAIN, causal_offset=0))
    assert list(launches) == ["attend", "query_gradients", "key_gradients"]
    stages = compiled(*launches[name], capability)
    assert len(stages["cubin"]) > 0
    assert re.search(product, stages["ptx"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_one_special_function_a_score_and_64_bit_addresses(
    dtype: torch.dtype, launches: dict[str, Any]
) -> None:
    query, key, value = inputs_of(dtype)
    _triton.forward(query, key, value, PLAIN)
    stages = compiled(*launches["attend"], 80)
    # A loop for whole tiles and one for the border; 128 threads share a tile.
    assert len(re.findall(r"\bex2\.", stages["ptx"])) == 2 * 64 * 64 // 128
    assert not re.search(r"\b(tanh|div|rcp)\.\S*f(16|32)", stages["ptx"])
    offsets = re.findall(r"tt\.addptr .*xi(\d+)>", stages["ttir"])
    assert len(offsets) > 5
    assert set(offsets) == {"64"}


def test_every_option_compiles(launches: dict[str, Any]) -> None:
    query, key, value = inputs_of(torch.float16)
    _triton.backward(query, query, key, value, EVERYTHING)
    for name in ("query_gradients", "added_gradients"):
        assert len(compiled(*launches[name], 90)["cubin"]) > 0
