"""A report on experiments: their results beside the paper's, as one page."""

from fpinv.report.page import markdown, page
from fpinv.report.section import Section, collect

__all__ = ["Section", "collect", "markdown", "page"]
