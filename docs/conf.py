"""The documentation's settings: ``make docs`` builds it, with warnings as errors."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "fpinv"
author = "The fpinv developers"
copyright = "The fpinv developers"  # noqa: A001 - Sphinx's name for it

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    # MathJax lies in the pages' own folder, so that equations need no network.
    "sphinx-mathjax-offline",
    "generated_pages",
]
exclude_patterns = ["_build", "_ext"]
suppress_warnings = ["config.cache"]

html_theme = "furo"
html_title = "fpinv"
html_static_path = ["_static"]
html_css_files = ["wide_tables.css"]

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Arguments", "params_style")]
