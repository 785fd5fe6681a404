"""Compiling the CPU kernel: into a cache, once, and never an exception where it cannot be done."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sigmoe._base import native_build
from sigmoe._base.native_build import Kernel, NotBuiltError
from sigmoe.attention import _native
from sigmoe.estimation.engine import _native as light_pass

SMALL = """
extern "C" __attribute__((visibility("default"))) int sigmoe_has_threads() {
#if defined(_OPENMP)
  return 1;
#else
  return 0;
#endif
}
"""


def has_compiler() -> bool:
    try:
        native_build._compiler()
    except NotBuiltError:
        return False
    return True


needs_compiler = pytest.mark.skipif(not has_compiler(), reason="no C++ compiler")


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """Put a kernel that compiles at once in the place of the real ones, with a cache of its own."""
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "small.cpp").write_text(SMALL)
    kernel = Kernel(folder / "small.cpp")
    for module in (_native, light_pass):
        monkeypatch.setattr(module, "KERNEL", kernel)
    monkeypatch.setenv("SIGMOE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SIGMOE_NATIVE", raising=False)
    monkeypatch.delenv("CXX", raising=False)
    return kernel


def cached(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").iterdir())


@needs_compiler
def test_the_kernel_is_compiled_once_and_then_found(kernel: Kernel, tmp_path: Path) -> None:
    first = kernel.build()
    assert first.library is not None
    (file,) = cached(tmp_path)
    assert first.status == f"loaded from {file}"
    written = file.stat().st_mtime_ns
    assert kernel.build().status == first.status
    assert file.stat().st_mtime_ns == written


@needs_compiler
def test_other_sources_are_compiled_anew(kernel: Kernel, tmp_path: Path) -> None:
    kernel.build()
    (tmp_path / "sources" / "lanes.h").write_text("// a change\n")
    kernel.build()
    assert len(cached(tmp_path)) == 2


def test_without_a_compiler_there_is_no_kernel_and_a_remedy(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert _native.native_status() == (
        "not built: no C++ compiler among no-such-compiler; install g++ or clang++, or set CXX"
    )
    assert not _native.available(torch.zeros(1))
    with pytest.raises(RuntimeError, match="kernel of attention is not built: no C"):
        _native.forward(*(torch.zeros(1, 1, 1, 1) for _ in range(3)), scale=1.0)


@needs_compiler
def test_a_kernel_without_threads_is_told(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = native_build._compiler()
    compiler = tmp_path / "compiler"
    compiler.write_text(f'#!/bin/sh\ncase "$*" in *-fopenmp*) exit 1;; esac\nexec {real} "$@"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    assert kernel.build().status.endswith(".so, on one thread: there is no OpenMP")


@needs_compiler
def test_a_compilation_that_fails_is_told_and_leaves_no_file(
    kernel: Kernel, tmp_path: Path
) -> None:
    (tmp_path / "sources" / "small.cpp").write_text("this is no program;\n")
    status = kernel.build().status
    assert status.startswith("not built: ")
    assert "error:" in status
    assert "\n" not in status
    assert cached(tmp_path) == []


@needs_compiler
def test_a_cache_that_cannot_be_written_is_told(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SIGMOE_CACHE", str(tmp_path / "file" / "cache"))
    built = kernel.build()
    assert built.library is None
    assert built.status.endswith("set SIGMOE_CACHE to a folder you may write to")


def test_the_kernel_can_be_turned_off(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGMOE_NATIVE", "0")
    assert _native.native_status() == "not used: SIGMOE_NATIVE=0 is set"
    assert not _native.available(torch.zeros(1))


def test_the_cache_lies_where_the_system_keeps_caches(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SIGMOE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/caches")
    assert native_build._cache_folder() == Path("/some/caches/sigmoe")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert native_build._cache_folder() == Path("/home/someone/.cache/sigmoe")


@needs_compiler
def test_two_processes_may_compile_at_once(kernel: Kernel, tmp_path: Path) -> None:
    program = (
        "import importlib.util, pathlib, sys\n"
        f"spec = importlib.util.spec_from_file_location('build', {native_build.__file__!r})\n"
        "build = importlib.util.module_from_spec(spec)\n"
        "sys.modules['build'] = build\n"
        "spec.loader.exec_module(build)\n"
        f"kernel = build.Kernel(pathlib.Path({str(tmp_path / 'sources' / 'small.cpp')!r}))\n"
        "assert kernel.build().library is not None\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program], env=os.environ) for _ in range(2)
    ]
    assert [process.wait() for process in processes] == [0, 0]
    assert len(cached(tmp_path)) == 1


def test_another_device_or_dtype_is_refused_before_anything_is_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Kernel, "built", lambda _: pytest.fail("compiled for nothing"))
    assert not _native.available(torch.zeros(1, device="meta"))
    assert not _native.available(torch.zeros(1, dtype=torch.int64))
