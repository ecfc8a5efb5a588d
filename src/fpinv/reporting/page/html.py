"""HTML pages that need nothing beside them: templates, Markdown, pictures as data."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup
from PIL import Image

from fpinv.reporting.figures import dark_name
from fpinv.reporting.grid import read_picture

TYPES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}
SCROLLING = '<div class="scroll" tabindex="0" role="region" aria-label="table"><table>'
IN_DARK = '<picture><source media="(prefers-color-scheme: dark)" srcset="{}">'
SIDE = 256  # pixels of the longer side up to which a picture is embedded as it is


def render(template: str, folder: Path | None = None, **values: Any) -> str:  # noqa: ANN401
    """Return a page.

    All values are escaped but those that are :class:`markupsafe.Markup`; ``tojson`` makes data
    safe inside a script.

    Arguments:
        template: File of this folder, or of ``folder``, that extends ``base.html``.
        folder: Another folder of templates.
        values: Variables of the template.
    """
    folders = [path for path in (Path(__file__).parent, folder) if path]
    environment = Environment(
        loader=FileSystemLoader(folders), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["markdown"] = from_markdown
    return environment.get_template(template).render(values)


def from_markdown(
    text: str, pictures: Path | None = None, links: Mapping[str, str] | None = None
) -> Markup:
    """Return Markdown as HTML.

    The cells of tables bear the headings of their columns, for screens too narrow for columns.

    Arguments:
        text: The Markdown; HTML in it is shown, not obeyed.
        pictures: The folder of its pictures, which become part of the page; without it there
            are none. A picture with a dark variant beside it follows the reader's scheme.
        links: Address of each heading of a table that is to be a link.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    for token in tokens:
        token.children = [x for child in token.children or () for x in _whole(child, pictures)]
    _label_cells(tokens, links or {})
    html = parser.renderer.render(tokens, parser.options, {})
    # A table that is too wide scrolls by itself, by keys too.
    return Markup(html.replace("<table>", SCROLLING).replace("</table>", "</table></div>"))


def _whole(token: Token, pictures: Path | None) -> list[Token]:
    """Return a token, or those of a picture that is part of the page, in light and dark."""
    if token.type != "image":
        return [token]
    file = pictures / str(token.attrs["src"]) if pictures else None
    token.attrs["src"] = embedded(file) if file else ""
    dark = file.with_name(dark_name(file.name)) if file else None
    if dark is None or not dark.is_file():
        return [token]
    tags = IN_DARK.format(embedded(dark)), "</picture>"
    begin, end = (Token("html_inline", "", 0, content=tag) for tag in tags)
    return [begin, token, end]


def _label_cells(tokens: Sequence[Token], links: Mapping[str, str]) -> None:
    """Give each cell of the tables its column's heading, and link headings that have a page."""
    for kind, column, inline, headings in _cells(tokens):
        if kind == "td_open":
            inline[0].attrSet("data-label", headings[column])
        elif (address := links.get(headings[column])) is not None:
            ends = Token("link_open", "a", 1, {"href": address}), Token("link_close", "a", -1)
            inline[1].children = [ends[0], *(inline[1].children or ()), ends[1]]


def _cells(
    tokens: Sequence[Token],
) -> Iterator[tuple[str, int, tuple[Token, Token], Sequence[str]]]:
    """Yield kind, column, opening and content, and the headings so far, of each cell."""
    headings: list[str] = []
    column = 0
    for token, content in zip(tokens, tokens[1:], strict=False):
        match token.type:
            case "thead_open":
                headings = []
            case "tr_open":
                column = 0
            case "th_open" | "td_open":
                if token.type == "th_open":
                    headings.append(content.content)
                yield token.type, column, (token, content), headings
                column += 1


def embedded(file: Path) -> str:
    """Return a file as a data URI."""
    return _uri(file.read_bytes(), TYPES[file.suffix.lower()])


def thumbnail(file: Path, longest: int = SIDE) -> str:
    """Return a picture as a data URI, reduced to ``longest`` pixels where it is larger."""
    with Image.open(file) as image:
        if max(image.size) <= longest:
            return embedded(file)
    data = io.BytesIO()
    read_picture(file, longest).save(data, format="JPEG", quality=85)
    return _uri(data.getvalue(), "jpeg")


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
