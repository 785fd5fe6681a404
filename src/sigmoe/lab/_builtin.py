"""The studies that come with the package: the figures and the table of the paper."""

from __future__ import annotations

from pathlib import Path

import sigmoe
from sigmoe.lab._study import Study
from sigmoe.lab._study_file import load_study


def builtin_study(name: str) -> Study:
    """Return one of the studies that come with the package.

    Parameters
    ----------
    name : str
        "figure1", "figure2" or "table1".

    Returns
    -------
    Study

    Raises
    ------
    InputError
        If there is no study of that name.

    Examples
    --------
    >>> [panel.name for panel in builtin_study("figure2").panels]
    ['2a', '2b']
    """
    package = Path(sigmoe.__file__).parent
    installed = package / "studies"
    # In a working copy the package lies in src/, and the studies beside that.
    folder = installed if installed.is_dir() else package.parents[1] / "studies"
    return load_study(folder / f"{name}.toml")
