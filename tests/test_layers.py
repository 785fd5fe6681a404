"""Imports go one way only: ledger -> lab -> theory -> estimation -> moe -> _base, cli above all."""

import ast
from pathlib import Path

import pytest

import sigmoe

SOURCE = Path(sigmoe.__file__).parent
FLOORS = ("_base", "moe", "estimation", "theory", "lab", "ledger", "cli")
FILES = sorted(path for floor in FLOORS for path in SOURCE.glob(f"{floor}*/**/*.py"))
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


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_its_own_floor_and_lower_ones(path: Path) -> None:
    allowed = {*FLOORS[: FLOORS.index(floor(path)) + 1], "__version__"}
    assert imported(path.read_text()) <= allowed


def test_imports_are_found_wherever_they_stand() -> None:
    source = "import sigmoe.moe._gates\ndef f():\n    from sigmoe import lab\n    import torch"
    assert imported(source) == {"moe", "lab"}


def test_every_floor_is_there() -> None:
    assert {floor(path) for path in FILES} == set(FLOORS)
