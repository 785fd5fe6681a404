"""The figures of a result folder as SVG, PDF, PNG and the CSV behind each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from matplotlib import style
from matplotlib.figure import Figure

from sigmoe.lab._forest import forest
from sigmoe.lab._layouts import detail, overview
from sigmoe.lab._panels import Panel
from sigmoe.lab._read import Results, read_results
from sigmoe.lab._samples import is_comparison, samples_table
from sigmoe.lab._samples_figure import samples_figure
from sigmoe.lab._tables import figure_table, slope_table

#: Dates would make the files differ from run to run although the data are the same.
_METADATA: dict[str, dict[str, str | None]] = {
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
    "png": {"Software": None},
}


def write_figures(directory: Path | str) -> list[Path]:
    """Write every figure of a result folder as SVG, PDF and PNG, and the CSV behind it.

    Parameters
    ----------
    directory : Path or str
        A folder with losses.parquet, predictions.parquet, slopes.csv, study-*.json and tasks/.

    Returns
    -------
    list of Path
        The files written. A figure has an overview (readings in rows; panels and protocols side
        by side) and one picture a panel, which adds the function error; a table ("table1") has
        one picture of its slopes with their intervals, and one of samples against
        error where a panel compares functions.

    Raises
    ------
    InputError
        If the folder is not a result folder.
    """
    return draw_results(read_results(directory))


def draw_results(results: Results) -> list[Path]:
    """Write the figures of results that were read already; see `write_figures`."""
    written: list[Path] = []
    with style.context(str(resources.files("sigmoe.lab") / "sigmoe.mplstyle")):
        for name in results.figures:
            panels = [panel for panel in results.panels if panel.figure == name]
            written += _draw_table(results, name, panels) or _draw_figure(results, name, panels)
    return written


def is_table(figure: str) -> bool:
    """Whether a study fills a table of the paper, which is drawn as slopes and not as curves."""
    return figure.startswith("table")


def _draw_table(results: Results, name: str, panels: Sequence[Panel]) -> list[Path]:
    if not is_table(name):
        return []
    cells = [panel for panel in panels if not is_comparison(panel)]
    path = results.directory / f"{name}.csv"
    slope_table(cells).write_csv(path)
    written = [*_save(forest(cells), results.directory / name), path]
    compared = [panel for panel in panels if is_comparison(panel)]
    if compared:
        path = results.directory / f"{name}-samples.csv"
        samples_table(compared).write_csv(path)
        written += [*_save(samples_figure(compared), path.with_suffix("")), path]
    return written


def _draw_figure(results: Results, name: str, panels: Sequence[Panel]) -> list[Path]:
    stem = name if name.startswith("figure") else f"figure-{name}"
    written: list[Path] = []
    pictures = [(stem, overview(panels), panels)]
    pictures += [(panel_stem(stem, panel.panel), detail(panel), [panel]) for panel in panels]
    for file, picture, shown in pictures:
        path = results.directory / f"{file}.csv"
        figure_table(shown).write_csv(path)
        written += [*_save(picture, results.directory / file), path]
    return written


def panel_stem(stem: str, panel: str) -> str:
    """Return the file name of a panel's picture, without its ending.

    Examples
    --------
    >>> panel_stem("figure1", "1a"), panel_stem("figure-mine", "Dense, ReLU")
    ('figure1a', 'figure-mine-dense-relu')
    """
    number = stem.removeprefix("figure")
    if number and panel.startswith(number):
        return f"figure{panel}"
    return f"{stem}-{re.sub(r'[^a-z0-9]+', '-', panel.lower()).strip('-')}"


def _save(picture: Figure, stem: Path) -> list[Path]:
    paths = []
    for ending, metadata in _METADATA.items():
        path = stem.with_name(f"{stem.name}.{ending}")
        picture.savefig(path, metadata=metadata)
        paths.append(path)
    return paths
