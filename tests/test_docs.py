"""README and docs: size, pictures, commands, and the generated page of all keys."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

import fpinv.run.build  # noqa: F401 - registers the resolver by_scale
from fpinv.run.photo_arguments import photo_arguments

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"python run\.py ((?:[^`\n\\]|\\\n)*)")


def composed(*overrides: str) -> DictConfig:
    """Return the configuration that run.py composes, without Hydra's own part."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", overrides=list(overrides))


FIRST = re.compile(r"(\[[^]]*\]|[^,\[])*")  # up to the first comma that is in no list


def commands(page: Path) -> list[list[str]]:
    """Return the overrides of each ``python run.py`` on a page, of a sweep the first job's."""
    words = [shlex.split(line, comments=True) for line in COMMAND.findall(page.read_text())]
    complete = [
        line for line in words if not re.search(r"[<]|\.\.\.|^--|searchpath", " ".join(line))
    ]
    overrides = [photo_arguments([word for word in line if "=" in word]) for line in complete]
    return [[w if w.startswith("dataset.") else FIRST.match(w)[0] for w in o] for o in overrides]


def dotted(node: DictConfig, prefix: str = "") -> list[str]:
    """Return the dotted keys of a configuration."""
    keys = []
    for key in node:
        value = OmegaConf.to_container(node, resolve=False)[key]
        nested = isinstance(value, dict) and value
        keys += dotted(node[key], f"{prefix}{key}.") if nested else [f"{prefix}{key}"]
    return keys


@pytest.fixture(scope="module")
def configuration_page() -> str:
    pytest.importorskip("sphinx")
    sys.path.insert(0, str(ROOT / "docs" / "_ext"))
    import generated_pages

    return generated_pages.configuration_page()


def test_readme_is_one_page_long():
    assert README.stat().st_size <= 10_240


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pictures_exist_and_are_small(page):
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / picture).stat().st_size < 300_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    links = re.findall(r"(?<!!)\[[^\]]*\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    local = [link for link in links if ":" not in link and not link.startswith("generated/")]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_compose(page):
    for overrides in commands(page):
        composed(*overrides)


def test_configuration_page_names_every_option(configuration_page):
    files = [file for file in (ROOT / "conf").glob("*/**/*.yaml") if file.stem[0] != "_"]
    options = [f"{f.parent.relative_to(ROOT / 'conf')}={f.stem}" for f in files]
    assert [option for option in options if f"``{option}``" not in configuration_page] == []


@pytest.mark.parametrize("task", ["reconstruction", "editing", "interpolation", "rare_concept"])
def test_configuration_page_names_every_key(configuration_page, task):
    config = composed(f"task={task}")
    keys = [key for key in dotted(config) if not key.endswith("_target_")]
    groups = {"scale", "task.perceptual", "task.structure", "task.reader"}
    missing = [k for k in keys if f"``{k}``" not in configuration_page and k not in groups]
    assert missing == []
