"""Write the page of the ledger from the evidence that comes with the package."""

from pathlib import Path

from sphinx.application import Sphinx

from sigmoe.ledger import CLAIMS, load, markdown


def write(app: Sphinx) -> None:
    """Write claims.md where its content has changed, so that it is not built again for nothing."""
    path = Path(app.srcdir) / "claims.md"
    text = markdown(CLAIMS, load())
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Write before Sphinx looks for sources."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
