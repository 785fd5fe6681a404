"""The report: one HTML file that opens offline."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sigmoe._base.files import write_atomically
from sigmoe.lab._evidence import Style, format_value
from sigmoe.lab._page import page
from sigmoe.lab._read import Results, read_results


def write_report(directory: Path | str) -> Path:
    """Write report.html from a result folder alone.

    Parameters
    ----------
    directory : Path or str
        A folder with losses.parquet, predictions.parquet, slopes.csv, study-*.json and tasks/.

    Returns
    -------
    Path
        The page, which needs no other file and no network.

    Raises
    ------
    InputError
        If the folder is not a result folder.
    StoreError
        If the page cannot be written.
    """
    return write_page(read_results(directory))


def write_page(results: Results) -> Path:
    """Write the report of results that were read already; see `write_report`."""
    path = results.directory / "report.html"
    write_atomically(path, render(results).encode())
    return path


def render(results: Results) -> str:
    """Return the page as text."""
    environment = Environment(
        loader=PackageLoader("sigmoe.lab", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["number"] = _number
    environment.filters["embedded"] = embedded
    context = page(results)
    return environment.get_template("report.html.j2").render(
        **context, style=_text("report.css"), script=_text("report.js")
    )


def embedded(value: Any) -> Markup:
    """Return data as JSON that cannot end the script element in which it stands."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def _number(value: float | int | None, style: Style = "value") -> str:
    """Return a number for a reader; what does not exist is a dash."""
    text = "–" if value is None else format_value(value, style)
    return "–" if text == "not available" else text


def _text(name: str) -> Markup:
    """Return a style sheet or script of ours, which is placed in the page as it is."""
    return Markup((resources.files("sigmoe.lab") / "templates" / name).read_text("utf-8"))
