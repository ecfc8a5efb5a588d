"""The report as one HTML page that needs nothing beside it, and as Markdown."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markdown_it import MarkdownIt
from markupsafe import Markup

from fpinv.reporting.experiment import JOBS
from fpinv.reporting.page.pictures import embedded
from fpinv.reporting.page.section import Section

NOTICE = "The paper's numbers: other data, another model"
COLUMNS = 6  # of a table that has room in half a page
PICTURE = re.compile(r"(!\[[^\]]*\]\()([^):]+)\)")


def page(sections: Sequence[Section], place: Path) -> str:
    """The HTML page.

    Arguments:
        sections: What it is about, in order.
        place: The folder it will lie in, from which it links to records.
    """
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"rendered": rendered, "broad": broad}
    template = environment.from_string(_resource("page.html"))
    return template.render(
        sections=sections,
        style=Markup(_resource("page.css")),
        script=Markup(_resource("page.js")),
        notice=NOTICE,
        link=_linking(place),
        jobs_file=JOBS,
    )


def _resource(name: str) -> str:
    return files("fpinv.reporting.page").joinpath(name).read_text(encoding="utf-8")


def broad(text: str) -> bool:
    """Whether Markdown is for the whole width: a picture, or a table of many columns."""
    return "![" in text or any(line.count("|") > COLUMNS + 1 for line in text.split("\n"))


def _linking(place: Path) -> Callable[[Path], str]:
    """How a file is named from a folder."""

    def link(file: Path) -> str:
        return Path(os.path.relpath(file.resolve(), place.resolve())).as_posix()

    return link


def rendered(text: str, pictures: Path | None = None) -> Markup:
    """Markdown as HTML.

    Arguments:
        text: The Markdown; HTML in it is shown, not obeyed.
        pictures: The folder of its pictures, which become part of the page; without it there
            are none.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.add_render_rule("table_open", _table_open)
    parser.add_render_rule("table_close", _table_close)
    tokens = parser.parse(text)
    inline = [child for token in tokens for child in token.children or ()]
    for image in (token for token in inline if token.type == "image"):
        image.attrs["src"] = embedded(pictures / str(image.attrs["src"])) if pictures else ""
    return Markup(parser.renderer.render(tokens, parser.options, {}))


def _table_open(*_: Any) -> str:  # noqa: ANN401
    # A table that is too wide scrolls by itself, by keys too.
    return '<div class="scroll" tabindex="0" role="region" aria-label="table"><table>\n'


def _table_close(*_: Any) -> str:  # noqa: ANN401
    return "</table></div>\n"


def markdown(sections: Sequence[Section], place: Path) -> str:
    """The same as Markdown, with its pictures and records where they lie.

    Arguments:
        sections: What it is about, in order.
        place: The folder it will lie in.
    """
    parts = ["# Report", *(_section(section, _linking(place)) for section in sections)]
    return "\n\n".join(parts) + "\n"


def _section(section: Section, link: Callable[[Path], str]) -> str:
    def linked(shown: re.Match[str]) -> str:
        return f"{shown[1]}{link(section.results / shown[2])})"

    parts = [f"## {section.title}", section.about, PICTURE.sub(linked, section.text.strip())]
    if section.paper is not None:
        parts += [f"**{NOTICE}.**", "\n".join(f"> {s}" for s in section.paper.strip().split("\n"))]
    parts += [_facts(section.facts), f"Records: {link(section.results)}"]
    return "\n\n".join(part for part in parts if part)


def _facts(facts: Mapping[str, str]) -> str:
    return "\n".join(f"- {key}: {value}" for key, value in facts.items())
