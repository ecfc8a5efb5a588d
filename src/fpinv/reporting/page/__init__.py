"""A report on experiments: their results beside the paper's, as one page."""

from fpinv.reporting.page.page import markdown, page
from fpinv.reporting.page.section import Section, collect

__all__ = ["Section", "collect", "markdown", "page"]
