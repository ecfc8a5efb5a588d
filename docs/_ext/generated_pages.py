"""Pages that are made of the code: the API, the configuration and the experiments.

Before Sphinx reads its sources, this extension writes ``docs/generated/`` from src/, conf/ and
experiments/. Nothing in it is edited by hand, and git ignores it.
"""

from __future__ import annotations

import inspect
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from hydra.utils import get_object
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

from fpinv.metrics.glossary import GLOSSARY

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
OUT = ROOT / "docs" / "generated"
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)#:]+)(\)|#)")
HIDDEN = {"defaults", "hydra", "_target_", "experiment"}

ROOMS = {
    "": "The core",
    "solvers": "Solvers",
    "inverters": "Inverters",
    "models": "Models",
    "datasets": "Data sets",
    "images": "Images",
    "metrics": "Metrics",
    "editing": "Editing",
    "seeds": "Seeds",
    "watermarks": "Watermarks",
    "evaluate": "Scores of finished edits",
    "tasks": "Tasks",
    "run": "Runs",
    "reporting": "Reporting",
    "pipelines": "Without a command line",
}
"""Folder below src/fpinv by the title of its page."""


def title(text: str, line: str = "=") -> str:
    """Return a reStructuredText heading."""
    return f"{text}\n{line * len(text)}\n\n"


# --- the API ----------------------------------------------------------------------------------


def api_page(room: str) -> str:
    """Return the page of a room: its modules' docstrings and members."""
    folder = ROOT / "src" / "fpinv" / room
    files = folder.rglob("*.py") if room else folder.glob("*.py")
    names = sorted(
        file.relative_to(ROOT / "src").with_suffix("").as_posix().replace("/", ".")
        for file in files
    )
    modules = sorted(name.removesuffix(".__init__") for name in names)
    text = title(ROOMS[room])
    for name in modules:
        package = name == "fpinv" or (ROOT / "src" / name.replace(".", "/")).is_dir()
        text += title(f"``{name}``", "-") if name != f"fpinv.{room}" and name != "fpinv" else ""
        text += f".. automodule:: {name}\n" + ("\n" if package else "   :members:\n\n")
    return text


# --- the configuration ------------------------------------------------------------------------


def trailing_comment(line: str) -> str:
    """Return what stands behind a number sign at the end of a line of YAML."""
    match = re.search(r"\s# (.*)$", line)
    return match[1] if match else ""


def head_comment(text: str) -> str:
    """Return the comment at the beginning of a YAML file as one paragraph."""
    lines = [line for line in text.splitlines() if line != "# @package _global_"]
    words = []
    for line in lines:
        if not line.startswith("#"):
            break
        words.append(line.lstrip("# "))
    return " ".join(words)


def entries(text: str) -> Iterator[tuple[str, str, str, str | None]]:
    """Yield (key, value, comment, target of its node) for every key, nested ones too."""
    lines = text.splitlines()

    def walk(node: yaml.MappingNode, prefix: str) -> Iterator[tuple[str, str, str, str | None]]:
        target = next((v.value for k, v in node.value if k.value == "_target_"), None)
        for key, value in node.value:
            if key.value in HIDDEN and not prefix:
                continue
            if isinstance(value, yaml.MappingNode) and value.value:
                yield from walk(value, f"{prefix}{key.value}.")
            elif key.value != "_target_":
                shown = text[value.start_mark.index : value.end_mark.index].strip()
                above = key.start_mark.line - 1
                comment = trailing_comment(lines[key.start_mark.line])
                if not comment and above > 0 and lines[above].strip().startswith("# "):
                    comment = lines[above].strip("# ")
                yield f"{prefix}{key.value}", shown, comment, target

    root = yaml.compose(text)
    yield from walk(root, "") if isinstance(root, yaml.MappingNode) else ()


def arguments(target: str) -> dict[str, str]:
    """Return the description of each argument, from the docstring's section ``Arguments``."""
    doc = inspect.getdoc(get_object(target)) or ""
    section = re.search(r"^Arguments:\n((?:[ \t]+.*\n?|\n)+)", doc, re.MULTILINE)
    described: dict[str, str] = {}
    name = ""
    for line in section[1].splitlines() if section else ():
        if match := re.match(r" {4}(\w+): (.*)", line):
            name = match[1]
            described[name] = match[2]
        elif name:
            described[name] += " " + line.strip()
    return described


def escaped(text: str) -> str:
    """Return plain words such that reStructuredText shows them as they are."""
    return re.sub(r"([\\*`|_])", r"\\\1", text)


def list_table(headings: Sequence[str], rows: Sequence[Sequence[str]], widths: str) -> str:
    """Return a reStructuredText table."""
    text = f".. list-table::\n   :header-rows: 1\n   :widths: {widths}\n\n"
    for row in [headings, *rows]:
        text += "".join(f"   {'*' if k == 0 else ' '} - {cell}\n" for k, cell in enumerate(row))
    return text + "\n"


def key_rows(file: Path, prefix: str) -> list[list[str]]:
    """Return a row for each key of an option: its name on the command line, default, meaning."""
    rows = []
    for key, value, comment, target in entries(file.read_text(encoding="utf-8")):
        meaning = (
            escaped(comment) or arguments(target or "").get(key.rpartition(".")[2], "")
            if target
            else escaped(comment)
        )
        rows.append([f"``{prefix}{key}``", f"``{value}``" if value else "", meaning])
    return rows


def group_section(folder: Path) -> str:
    """Return the section of a configuration group: its options, then the keys of each."""
    group = folder.relative_to(CONF).as_posix()
    files = sorted(file for file in folder.glob("*.yaml") if not file.stem.startswith("_"))
    text = title(f"``{group}``", "-")
    options = [
        [f"``{group}={file.stem}``", escaped(head_comment(file.read_text(encoding="utf-8")))]
        for file in files
    ]
    text += list_table(("option", "what"), options, "30 70")
    tables: dict[str, tuple[list[str], list[list[str]]]] = {}
    for file in () if group in ("experiment", "scale") else files:
        everywhere = file.read_text(encoding="utf-8").startswith("# @package _global_\n")
        rows = key_rows(file, "" if everywhere else group.replace("/", ".") + ".")
        names, _ = tables.setdefault(repr([row[::2] for row in rows]), ([], rows))
        names.append(file.stem)
    for names, rows in tables.values():
        if rows:
            text += f"Keys of {', '.join(f'``{name}``' for name in names)}:\n\n"
            text += list_table(("key", "default", "meaning"), rows, "30 20 50")
    return text


def configuration_page() -> str:
    """Return the page of all keys and groups."""
    text = title("Configuration")
    text += "A run is composed of one option of each group and of keys: "
    text += "``python run.py inverter=ife steps=20``.\n\n"
    text += title("Keys of every run", "-")
    text += list_table(
        ("key", "default", "meaning"), key_rows(CONF / "config.yaml", ""), "30 20 50"
    )
    folders = sorted({file.parent for file in CONF.glob("*/**/*.yaml")})
    return text + "".join(map(group_section, folders))


# --- experiments ------------------------------------------------------------------------------


def metrics_page() -> str:
    """Return the page of the glossary."""
    rows = [
        [f"``{name}``", escaped(metric.meaning), metric.unit] for name, metric in GLOSSARY.items()
    ]
    text = (
        "What the entries of a record and of a summary mean. ``*`` stands for any part of a name. "
        "Intervals are half-widths of 95 % intervals over the examples. Shares are shown in "
        "percent and stored between 0 and 1. Values for each step of the grid, clean end first, "
        "are in ``series``.\n\n"
    )
    return title("Metrics") + text + list_table(["metric", "meaning", "unit"], rows, "30 60 10")


def experiment_page(folder: Path) -> str:
    """Return the page of an experiment: what it shows and how it is made, then its results."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    results = folder / "results" / "results.md"
    if results.is_file():
        text += "\n\n## Results\n\n" + relinked(results.read_text(encoding="utf-8"), "results/")
    return relinked(text, f"../../../experiments/{folder.parent.name}/{folder.name}/")


def relinked(text: str, prefix: str) -> str:
    """Return Markdown whose relative links begin with a folder."""
    return LINK.sub(lambda match: f"{match[1]}{prefix}{match[2]}{match[3]}", text)


def write_pages(app: Sphinx) -> None:
    """Write docs/generated/."""
    shutil.rmtree(OUT, ignore_errors=True)
    (OUT / "api").mkdir(parents=True)
    (OUT / "experiments").mkdir()
    for room in ROOMS:
        (OUT / "api" / f"{room or 'core'}.rst").write_text(api_page(room), encoding="utf-8")
    (OUT / "configuration.rst").write_text(configuration_page(), encoding="utf-8")
    (OUT / "metrics.rst").write_text(metrics_page(), encoding="utf-8")
    for readme in sorted(ROOT.glob("experiments/*/*/README.md")):
        page = OUT / "experiments" / f"{readme.parent.name}.md"
        page.write_text(experiment_page(readme.parent), encoding="utf-8")


# --- links ------------------------------------------------------------------------------------


class RepositoryLinks(SphinxTransform):
    """The resolution of links that lead out of docs/, as they stand in files of the repository.

    A link to an experiment's folder, README or results leads to its page; a link to any other
    file becomes a download.
    """

    default_priority = 5

    def apply(self) -> None:
        """Replace the references of a page."""
        page = Path(self.env.doc2path(self.env.docname)).parent
        for node in list(self.document.findall(addnodes.pending_xref)):
            if node.get("reftype") != "myst":
                continue
            target = str(node["reftarget"])
            for path in (
                page / target,
                page / f"{target}.md",
                ROOT / target,
                ROOT / f"{target}.md",
            ):
                self._redirect(node, path.resolve())
                if node.parent is None:
                    break

    def _redirect(self, node: addnodes.pending_xref, path: Path) -> None:
        if not path.exists() or (ROOT / "docs") in path.parents:
            return
        page = self._page(path)
        if page is not None:
            node.attributes.update(refdomain="doc", reftarget=page, reftargetid=None)
        elif path.is_file():
            target = os.path.relpath(path, Path(self.env.doc2path(self.env.docname)).parent)
            download = addnodes.download_reference(
                "", "", reftarget=target, refdoc=self.env.docname
            )
            download += nodes.literal("", node.astext(), classes=["xref", "download"])
            node.replace_self(download)

    def _page(self, path: Path) -> str | None:
        """Return the docname of the page about a file or folder outside docs/; None for none."""
        pages: Mapping[Path, str] = {
            ROOT / "CONTRIBUTING.md": "contributing",
            ROOT / "CHANGELOG.md": "changelog",
            ROOT / "README.md": "index",
            ROOT / "experiments" / "README.md": "experiments",
        }
        for folder in (path, path.parent, path.parent.parent):
            if (OUT / "experiments" / f"{folder.name}.md").is_file() and path.suffix in (
                "",
                ".md",
            ):
                return f"generated/experiments/{folder.name}"
        return pages.get(path)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the pages and the links."""
    app.connect("builder-inited", write_pages)
    app.add_transform(RepositoryLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
