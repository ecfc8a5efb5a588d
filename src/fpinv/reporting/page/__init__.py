"""Self-contained HTML pages: reports on experiments, galleries of edits, the user study.

``html`` renders a template of this folder with the shared style and script. ``gallery`` and
``section`` gather what a page shows from run folders and results; ``report`` makes of sections one
HTML page and one Markdown file.
"""

from fpinv.reporting.page.html import render
from fpinv.reporting.page.report import markdown, page
from fpinv.reporting.page.section import Section, collect

__all__ = ["Section", "collect", "markdown", "page", "render"]
