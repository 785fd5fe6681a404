"""Compile the CPU kernel once for this machine, keep it in a cache folder, load it."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent / "native"
_FLAGS = (
    "-std=c++17",
    "-march=native",
    "-ffp-contract=fast",
    "-fno-strict-aliasing",
    "-fvisibility=hidden",
    "-fPIC",
    "-shared",
)
# GCC's -O3 takes twice as long to compile and was 10 % slower in the backward in float32.
_GCC_FLAGS = ("-O2", "-ftree-vectorize", "-fvect-cost-model=dynamic")
_COMPILERS = ("c++", "g++", "clang++")
_MOST_SECONDS = 300.0
_lock = threading.Lock()


class _NotBuiltError(Exception):
    """The kernel cannot be had here; the text says why."""


@dataclass(frozen=True)
class Built:
    """The outcome of the one attempt of a process to get the kernel.

    Attributes
    ----------
    library : ctypes.CDLL or None
        The loaded kernel, None where there is none.
    status : str
        One sentence: where the kernel lies, or why there is none and what to do about it.
    """

    library: ctypes.CDLL | None
    status: str


def _compiler() -> str:
    names = [os.environ["CXX"]] if os.environ.get("CXX") else _COMPILERS
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    raise _NotBuiltError(
        f"no C++ compiler among {', '.join(names)}; install g++ or clang++, or set CXX"
    )


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_MOST_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _NotBuiltError(f"{command[0]} did not run: {error}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        first = next((line for line in lines if "error" in line), lines[0])
        raise _NotBuiltError(f"{command[0]} failed: {first}")
    return done.stdout


def _cache_folder() -> Path:
    named = os.environ.get("SIGMOE_CACHE")
    if named:
        return Path(named)
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "sigmoe"


def _flags(macros: str) -> tuple[str, ...]:
    return (*_FLAGS, *(("-O3",) if "__clang__" in macros else _GCC_FLAGS))


def _key(compiler: str, flags: tuple[str, ...], macros: str) -> str:
    """Return a hash of the sources, the flags, the compiler and the processor it compiles for."""
    digest = hashlib.sha256("\0".join([compiler, *flags, macros]).encode())
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:24]


def _compile(compiler: str, flags: tuple[str, ...], target: Path) -> None:
    """Compile into `target`, which appears whole or not at all."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}")
    command = [compiler, *flags, str(SOURCES / "attention.cpp"), "-o", str(temporary)]
    try:
        try:
            _run([*command, "-fopenmp"])
        except _NotBuiltError:
            # Without OpenMP the kernel runs on one thread.
            _run(command)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _library_file() -> Path:
    """Return the compiled kernel for this machine, compiling it if the cache has none."""
    compiler = _compiler()
    # The predefined macros name the compiler's version and every instruction set of "native".
    macros = _run([compiler, "-march=native", "-dM", "-E", "-x", "c++", os.devnull])
    flags = _flags(macros)
    folder = _cache_folder()
    target = folder / f"attention-{_key(compiler, flags, macros)}.so"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _compile(compiler, flags, target)
    return target


def build() -> Built:
    """Compile the kernel if the cache has none for this machine, and load it.

    Returns
    -------
    Built
        Never an exception: a missing compiler or a failed compilation is told in ``status``.
    """
    if os.environ.get("SIGMOE_NATIVE", "1") == "0":
        return Built(None, "not used: SIGMOE_NATIVE=0 is set")
    try:
        file = _library_file()
        library = ctypes.CDLL(str(file))
        threads = "" if library.sigmoe_has_threads() else ", on one thread: there is no OpenMP"
        return Built(library, f"loaded from {file}{threads}")
    except _NotBuiltError as error:
        return Built(None, f"not built: {error}")
    except OSError as error:
        return Built(None, f"not built: {error}; set SIGMOE_CACHE to a folder you may write to")


_built: Built | None = None


def built() -> Built:
    """Return the outcome of this process's one call of `build`."""
    global _built  # noqa: PLW0603 - a process loads the kernel once
    with _lock:
        if _built is None:
            _built = build()
        return _built
