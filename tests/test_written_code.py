"""The Python that the README and the site show runs, block after block, as if typed."""

import os
import re
from pathlib import Path

import pytest

from sigmoe.lab._study_file import load_study

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[str]:
    """Return the Python blocks of a page, each after as many empty lines as stand above it."""
    text = page.read_text()
    return ["\n" * text[: m.start(1)].count("\n") + m[1] for m in BLOCK.finditer(text)]


PAGES_WITH_CODE = [page for page in PAGES if blocks(page)]


@pytest.mark.parametrize("page", PAGES_WITH_CODE, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_python_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        exec(compile(block, os.fspath(page), "exec"), namespace)


def test_the_readme_speaks_to_three_kinds_of_people() -> None:
    assert len(blocks(ROOT / "README.md")) == 3
    for block in blocks(ROOT / "README.md"):
        assert len(block.strip().splitlines()) <= 14


def test_a_block_keeps_the_line_numbers_of_its_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("one\n```python\nx = 1\n```\n\n```python\ny = x\n```\n")
    assert blocks(page) == ["\n\nx = 1\n", "\n\n\n\n\n\ny = x\n"]


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("**/*.toml")), ids=lambda p: p.name)
def test_the_studies_of_the_pages_are_studies(path: Path) -> None:
    study = load_study(path)
    assert [study.resolve(name).preset for name, _ in study.presets] == ["quick"]
    assert study.name == path.stem
