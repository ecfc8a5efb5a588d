"""HTML pages that need nothing beside them: templates, Markdown, pictures as data."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markdown_it import MarkdownIt
from markupsafe import Markup
from PIL import Image

from fpinv.reporting.grid import read_picture

TYPES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}
SCROLLING = '<div class="scroll" tabindex="0" role="region" aria-label="table"><table>'
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


def from_markdown(text: str, pictures: Path | None = None) -> Markup:
    """Return Markdown as HTML.

    Arguments:
        text: The Markdown; HTML in it is shown, not obeyed.
        pictures: The folder of its pictures, which become part of the page; without it there
            are none.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    inline = [child for token in tokens for child in token.children or ()]
    for image in (token for token in inline if token.type == "image"):
        image.attrs["src"] = embedded(pictures / str(image.attrs["src"])) if pictures else ""
    html = parser.renderer.render(tokens, parser.options, {})
    # A table that is too wide scrolls by itself, by keys too.
    return Markup(html.replace("<table>", SCROLLING).replace("</table>", "</table></div>"))


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
