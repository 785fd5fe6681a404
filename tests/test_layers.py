"""Imports go one way only: ledger -> lab -> theory -> estimation -> moe -> _base, cli above all.

Attention stands beside that tower: it imports _base alone, but for the module that shows attention
as a mixture, which imports moe; only the command may import it.
"""

import ast
from pathlib import Path

import pytest

import sigmoe

SOURCE = Path(sigmoe.__file__).parent
FLOORS = ("_base", "moe", "estimation", "theory", "lab", "ledger", "cli")
BESIDE = {"attention": {"_base", "attention"}}
ALSO = {"attention/_mixture.py": {"moe"}}
FOLDERS = (*FLOORS, *BESIDE)
FILES = sorted(path for folder in FOLDERS for path in SOURCE.glob(f"{folder}*/**/*.py"))
FILES += [SOURCE / "cli.py"]


def imported(source: str) -> set[str]:
    """Return the parts of sigmoe that a module's source imports, at any depth in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name.split(".")[1] for name in names if name.startswith("sigmoe.")}


def floor(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def allowed(path: Path) -> set[str]:
    """Return what a module may import; the command may import everything."""
    name = floor(path)
    if name == "cli":
        return {*FOLDERS, "__version__"}
    if name in BESIDE:
        return BESIDE[name] | ALSO.get(path.relative_to(SOURCE).as_posix(), set())
    return {*FLOORS[: FLOORS.index(name) + 1], "__version__"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_its_own_floor_and_lower_ones(path: Path) -> None:
    assert imported(path.read_text()) <= allowed(path)


def test_imports_are_found_wherever_they_stand() -> None:
    source = "import sigmoe.moe._gates\ndef f():\n    from sigmoe import lab\n    import torch"
    assert imported(source) == {"moe", "lab"}


def test_every_floor_is_there() -> None:
    assert {floor(path) for path in FILES} == set(FOLDERS)
