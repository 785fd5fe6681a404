"""Configuration of the documentation, built by `make docs`; every warning is an error."""

import os
import sys
from pathlib import Path

import sigmoe

sys.path.insert(0, str(Path(__file__).parent))

# Sphinx-Gallery runs the examples in this process: one thread keeps them quick beside others.
os.environ.setdefault("OMP_NUM_THREADS", "1")

project = "sigmoe"
author = "The sigmoe developers"
copyright = "The sigmoe developers"
version = release = sigmoe.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "_ledger_page",
    "_plain_docstrings",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
nitpicky = False

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# A sub-package's page lists what its __all__ lists, re-exported or not.
autosummary_generate = True
autosummary_ignore_module_all = False
autosummary_imported_members = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "matplotlib_animations": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "min_reported_time": 1,
}
# The gallery keeps functions of matplotlib in its own configuration, which cannot be pickled.
suppress_warnings = ["config.cache"]

html_theme = "pydata_sphinx_theme"
html_title = "sigmoe"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_sidebars = {page: [] for page in ("index", "theory", "claims", "changelog", "contributing")}
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "show_prev_next": False,
    "navbar_align": "left",
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}

# What a docstring says about parameters is true of the signature; a summary ends with a period.
numpydoc_validation_checks = {"PR02", "PR03", "PR10", "SS03"}
# Python writes the docstrings of a named tuple's fields.
numpydoc_validation_exclude = {r"\.HeadWeights\."}
