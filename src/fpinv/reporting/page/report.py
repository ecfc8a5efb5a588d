"""The report on experiments, as one HTML page and as Markdown."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from fpinv.metrics.glossary import Metric, describe, ordered
from fpinv.reporting.edits import MEASURES
from fpinv.reporting.experiment import JOBS, blocks
from fpinv.reporting.page.html import render
from fpinv.reporting.page.section import Section
from fpinv.reporting.tables import CALLS, CEILING, GAP, LATENT, PSNR

NOTICE = "The paper's numbers: other data, another model"
METRICS = "What the metrics mean"
TITLED = (PSNR, GAP, LATENT, CALLS, CEILING, *MEASURES)
"""Columns whose headings are words for a metric."""
COLUMNS = 6  # of a table that has room in half a page
PICTURE = re.compile(r"(!\[[^\]]*\]\()([^):]+)\)")


def page(sections: Sequence[Section], folder: Path) -> str:
    """Return the HTML page.

    Arguments:
        sections: The experiments, in order.
        folder: The folder that the page will lie in, from which it links to records.
    """
    return render(
        "report.html",
        title="fpinv: report",
        sections=sections,
        glossary=glossary(sections),
        links=headings(glossary(sections)),
        anchor=anchor,
        notice=NOTICE,
        metrics_title=METRICS,
        blocks=blocks,
        broad=broad,
        link=partial(_link, folder),
        jobs_file=JOBS,
    )


def glossary(sections: Sequence[Section]) -> dict[str, Metric]:
    """Return the entries of the metrics that the report's jobs measured, by name."""
    names = {name for section in sections for name in section.metrics}
    return {name: describe(name) for name in ordered(names)}


def headings(names: Iterable[str]) -> dict[str, str]:
    """Return the address of each heading of a column that stands for one of some metrics."""
    named = {name: name for name in names}
    titled = {c.title: c.metrics[0] for c in TITLED if c.metrics[0] in named}
    return {title: f"#{anchor(name)}" for title, name in (named | titled).items()}


def anchor(metric: str) -> str:
    """Return the name of a metric's place in the page."""
    return f"metric-{metric}"


def broad(text: str) -> bool:
    """Return True if Markdown needs the whole width: for a picture, or a table of many columns."""
    return "![" in text or any(line.count("|") > COLUMNS + 1 for line in text.split("\n"))


def _link(folder: Path, file: Path) -> str:
    """Return the name of a file as seen from a folder."""
    return Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix()


def markdown(sections: Sequence[Section], folder: Path) -> str:
    """Return the report as Markdown, which links to pictures and records where they lie.

    Arguments:
        sections: The experiments, in order.
        folder: The folder that the file will lie in.
    """
    texts = [_section(section, folder) for section in sections]
    if entries := glossary(sections):
        rows = [f"- `{name}`: {metric.words}" for name, metric in entries.items()]
        texts.append("\n".join([f"## {METRICS}", "", *rows]))
    return "\n\n".join(["# Report", *texts]) + "\n"


def _section(section: Section, folder: Path) -> str:
    def linked(reference: re.Match[str]) -> str:
        return f"{reference[1]}{_link(folder, section.results / reference[2])})"

    lines = [f"## {section.title}", section.about, PICTURE.sub(linked, section.text.strip())]
    if section.paper is not None:
        lines += [f"**{NOTICE}.**", "\n".join(f"> {s}" for s in section.paper.strip().split("\n"))]
    lines.append("\n".join(f"- {key}: {value}" for key, value in section.facts.items()))
    lines.append(f"Records: {_link(folder, section.results)}")
    return "\n\n".join(filter(None, lines))
