"""What an installed sigmoe promises: a light import, one version, documented names, fixed tools."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

import sigmoe

ROOT = Path(__file__).parents[1]
SUBPACKAGES = ("attention", "moe", "estimation", "theory", "lab")

# What only a sweep, a figure, a report, the estimator or a GPU needs.
HEAVY = (
    *("dask", "distributed", "jinja2", "matplotlib", "polars", "rich", "sklearn"),
    *("transformers", "triton"),
)


def modules_after(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after `statement`."""
    show = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    command = [sys.executable, "-c", f"{statement}; {show}"]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def lock(name: str) -> dict[str, str]:
    """Return the pins of a lock file by normalised name."""
    pins = dict(line.split("==") for line in (ROOT / name).read_text().split())
    return {normalised(name): version for name, version in pins.items()}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_import_loads_nothing_heavy() -> None:
    assert modules_after("import sigmoe").isdisjoint({*HEAVY, "torch", "numpy"})


@pytest.mark.parametrize("subpackage", ["attention", "moe", "estimation", "theory"])
def test_the_numerical_core_needs_no_dask_and_no_matplotlib(subpackage: str) -> None:
    heavy = modules_after(f"import sigmoe.{subpackage}").intersection(HEAVY)
    # Torch's own flop counter imports triton where it is installed.
    assert heavy <= modules_after("import torch.utils.flop_counter")


def test_subpackages_load_when_first_used() -> None:
    assert sigmoe.moe is import_module("sigmoe.moe")
    assert sigmoe.sigmoid_attention is import_module("sigmoe.attention").sigmoid_attention
    with pytest.raises(AttributeError, match=r"^module 'sigmoe' has no attribute 'nonsense'$"):
        _ = sigmoe.nonsense


def test_version_is_the_same_everywhere() -> None:
    assert importlib.metadata.version("sigmoe") == sigmoe.__version__
    assert f"\nversion: {sigmoe.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## [{sigmoe.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("subpackage", SUBPACKAGES)
def test_public_names_are_listed_once_and_documented(subpackage: str) -> None:
    module = import_module(f"sigmoe.{subpackage}")
    assert module.__doc__
    assert len(module.__all__) == len(set(module.__all__)) > 0
    undocumented = [
        name
        for name in module.__all__
        if isinstance(getattr(module, name), type | FunctionType)
        and not getattr(module, name).__doc__
    ]
    assert undocumented == []


def test_tools_are_pinned_and_agree_with_the_lock_files(project: dict[str, Any]) -> None:
    pins, docs_pins = lock("requirements.lock"), lock("requirements-docs.lock")
    for group, tools in project["dependency-groups"].items():
        for tool in tools:
            name, version = tool.split("==")
            assert (docs_pins if group == "docs" else pins)[normalised(name)] == version
    assert pins.items() <= docs_pins.items()


def test_the_lock_covers_every_dependency(project: dict[str, Any]) -> None:
    names = {normalised(re.split(r"[\[><=]", d)[0]) for d in project["project"]["dependencies"]}
    assert names <= lock("requirements.lock").keys()


def test_the_lock_names_public_versions_alone() -> None:
    for name in ("requirements.lock", "requirements-docs.lock"):
        for line in (ROOT / name).read_text().splitlines():
            assert re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.]+", line)


def test_the_wheel_holds_the_studies_and_every_data_file(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, check=True, capture_output=True, cwd=ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    sources = [path for path in (ROOT / "src").rglob("*") if path.is_file()]
    expected = {
        path.relative_to(ROOT / "src").as_posix()
        for path in sources
        if "__pycache__" not in path.parts
    }
    expected |= {f"sigmoe/studies/{path.name}" for path in (ROOT / "studies").glob("*.toml")}
    assert expected <= held
    assert "sigmoe/studies/figure1.toml" in held
