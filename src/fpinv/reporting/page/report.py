"""The report on experiments, as one HTML page and as Markdown."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from fpinv.reporting.experiment import JOBS, blocks
from fpinv.reporting.page.html import render
from fpinv.reporting.page.section import Section

NOTICE = "The paper's numbers: other data, another model"
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
        notice=NOTICE,
        blocks=blocks,
        broad=broad,
        link=partial(_link, folder),
        jobs_file=JOBS,
    )


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
