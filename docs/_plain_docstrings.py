"""Let docstrings be written as they are read: shapes as (*batch, N), absolute values as |c|.

Both are markup in reStructuredText, as emphasis and as substitution, and neither is meant so in
this package. Backslashes in the docstrings would spoil them for `help` and for the eye.
"""

import re
from typing import Any

from sphinx.application import Sphinx

_SHAPE = re.compile(r"(?<=[(\[ ])\*(?=\w+[,)])")
_BAR = re.compile(r"\|")
_LITERAL = re.compile(r"(``.*?``|`.*?`)")


def escape(line: str) -> str:
    """Return the line with shapes and bars escaped outside of its literals."""
    parts = _LITERAL.split(line)
    parts[::2] = [_BAR.sub(r"\\|", _SHAPE.sub(r"\\*", part)) for part in parts[::2]]
    return "".join(parts)


def escape_docstring(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Escape a docstring in place, except its examples and displayed formulas."""
    verbatim = False
    for k, line in enumerate(lines):
        verbatim = bool(line.strip()) and (verbatim or line.lstrip().startswith((">>>", "..")))
        if not verbatim:
            lines[k] = escape(line)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect before numpydoc, which rewrites the sections."""
    app.connect("autodoc-process-docstring", escape_docstring, priority=100)
    return {"parallel_read_safe": True}
