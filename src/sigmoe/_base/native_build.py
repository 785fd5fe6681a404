"""Compile a C++ kernel once for this machine, keep it in a cache folder, load it."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

#: Headers that kernels share.
_SHARED = Path(__file__).parent / "native"
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


class NotBuiltError(Exception):
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
    raise NotBuiltError(
        f"no C++ compiler among {', '.join(names)}; install g++ or clang++, or set CXX"
    )


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_MOST_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotBuiltError(f"{command[0]} did not run: {error}") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        first = next((line for line in lines if "error" in line), lines[0])
        raise NotBuiltError(f"{command[0]} failed: {first}")
    return done.stdout


def _cache_folder() -> Path:
    named = os.environ.get("SIGMOE_CACHE")
    if named:
        return Path(named)
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "sigmoe"


def _flags(macros: str) -> tuple[str, ...]:
    return (*_FLAGS, *(("-O3",) if "__clang__" in macros else _GCC_FLAGS))


class Kernel:
    """A C++ file that becomes a library on first use.

    Parameters
    ----------
    main : Path
        The file that is compiled; it may include what lies beside it and the shared headers, and
        exports ``sigmoe_has_threads``.
    """

    def __init__(self, main: Path) -> None:
        self._main = main
        self._lock = threading.Lock()
        self._built: Built | None = None

    def built(self) -> Built:
        """Return the outcome of this process's one call of ``build``."""
        with self._lock:
            if self._built is None:
                self._built = self.build()
            return self._built

    def build(self) -> Built:
        """Compile the kernel if the cache has none for this machine, and load it.

        Returns
        -------
        Built
            Never an exception: a missing compiler or a failed compilation is told in ``status``.
        """
        if os.environ.get("SIGMOE_NATIVE", "1") == "0":
            return Built(None, "not used: SIGMOE_NATIVE=0 is set")
        try:
            file = self._library_file()
            library = ctypes.CDLL(str(file))
            threads = "" if library.sigmoe_has_threads() else ", on one thread: there is no OpenMP"
            return Built(library, f"loaded from {file}{threads}")
        except NotBuiltError as error:
            return Built(None, f"not built: {error}")
        except OSError as error:
            return Built(None, f"not built: {error}; set SIGMOE_CACHE to a folder you may write to")

    def _library_file(self) -> Path:
        """Return the compiled kernel for this machine, compiling it if the cache has none."""
        compiler = _compiler()
        # The predefined macros name the compiler's version and every instruction set of "native".
        macros = _run([compiler, "-march=native", "-dM", "-E", "-x", "c++", os.devnull])
        flags = _flags(macros)
        folder = _cache_folder()
        target = folder / f"{self._main.stem}-{self._key(compiler, flags, macros)}.so"
        if not target.exists():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._compile(compiler, flags, target)
        return target

    def _key(self, compiler: str, flags: tuple[str, ...], macros: str) -> str:
        """Return a hash of the sources, the flags, the compiler and the processor it is for."""
        digest = hashlib.sha256("\0".join([compiler, *flags, macros]).encode())
        for folder in (_SHARED, self._main.parent):
            for path in sorted(folder.iterdir()):
                digest.update(path.name.encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()[:24]

    def _compile(self, compiler: str, flags: tuple[str, ...], target: Path) -> None:
        """Compile into `target`, which appears whole or not at all."""
        temporary = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}")
        command = [compiler, *flags, f"-I{_SHARED}", str(self._main), "-o", str(temporary)]
        try:
            try:
                _run([*command, "-fopenmp"])
            except NotBuiltError:
                # Without OpenMP the kernel runs on one thread.
                _run(command)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
