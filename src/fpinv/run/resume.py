"""Continuing a run with its folder's configuration, and refusing any other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, ListConfig, OmegaConf

from fpinv.errors import UserError
from fpinv.run.build import check, resolved
from fpinv.run.folder import write

CONFIG_FILE = "config.yaml"
CHOICES = "choices"  # key of that file that holds the option of each configuration group
SCIENCE = ("model", "dataset", "inverter", "adjustment", "task")  # what an inversion depends on

Choices = Mapping[str, str | None]


@dataclass(frozen=True)
class ConfigAndChoices:
    """A configuration, with the option of each of its groups."""

    config: DictConfig
    choices: Choices

    def value(self, key: str) -> Any:  # noqa: ANN401
        """Return the option of a group, or the value of a key."""
        for group, option in self.choices.items():
            if group.partition("@")[0] == key:
                return option
        value = OmegaConf.select(self.config, key)
        if isinstance(value, (DictConfig, ListConfig)):
            return OmegaConf.to_container(value, resolve=True)
        return value


def save_config(config: DictConfig, choices: Choices, folder: Path) -> None:
    """Write the resolved configuration and the group choices."""
    content = {**resolved(config), CHOICES: dict(choices)}
    write(folder / CONFIG_FILE, OmegaConf.to_yaml(content))


def _load_config(folder: Path) -> ConfigAndChoices:
    stored = OmegaConf.load(folder / CONFIG_FILE)
    assert isinstance(stored, DictConfig)
    return ConfigAndChoices(stored, stored.pop(CHOICES))


def has_same_config(config: DictConfig, folder: Path) -> bool:
    """Return whether the run in ``folder`` has this configuration; tracking may differ."""
    if not (folder / CONFIG_FILE).exists():
        return False
    now, before = resolved(config), resolved(_load_config(folder).config)
    return all(now.get(key) == before.get(key) for key in (now | before) if key != "tracking")


def resume_overrides(arguments: Sequence[str]) -> list[str]:
    """Return overrides that point Hydra at the folder that ``resume=<folder>`` names, if any does.

    Hydra would otherwise open a new run folder, and an experiment might start a sweep.

    Raises:
        UserError: the folder is not one of a run, or the command asks for a sweep.
    """
    name = next((a.partition("=")[2] for a in arguments if a.startswith("resume=")), "null")
    if name in ("null", ""):
        return []
    folder = Path(name.strip("'\"")).expanduser()
    if (folder / "multirun.yaml").exists():
        raise UserError(f"resume={folder} is a sweep: name the folder of one job, {folder}/0")
    if not folder.is_dir():
        raise UserError(f"resume={folder}: no such folder; runs are in outputs/<date>/<time>")
    if not (folder / CONFIG_FILE).exists():
        raise UserError(f"resume={folder} is no run's folder: it has no {CONFIG_FILE}")
    if {"-m", "--multirun"} & set(arguments):
        raise UserError("resume continues one run and not a sweep: leave out -m")
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    return [f"hydra.run.dir='{quoted}'", "hydra.output_subdir=null", "hydra.mode=RUN"]


def load_resumed(config: DictConfig, hydra: HydraConf, folder: Path) -> tuple[DictConfig, Choices]:
    """Return the configuration and the group choices of the run in ``folder``.

    Tracking may be changed; anything else on the command line must say what the run has.

    Raises:
        UserError: the run is of another version, or has other settings than the overrides; the
            message names them all.
    """
    stored = _load_config(folder)
    _check_version(stored.config, folder)
    command = ConfigAndChoices(config, hydra.runtime.choices)
    if conflicts := "; ".join(_conflicts(command, stored, hydra.overrides.task)):
        raise UserError(f"resume={folder}: that run has {conflicts}: leave it out")
    for key, _ in _settings(hydra.overrides.task):
        if key.startswith("tracking."):
            OmegaConf.update(stored.config, key, OmegaConf.select(config, key))
    return stored.config, stored.choices


def _check_version(stored: DictConfig, folder: Path) -> None:
    """Refuse a configuration that this version does not understand, though the run began with it.

    Raises:
        UserError: a class has moved since then, or an argument has another name or type.
    """
    try:
        for key in ("tracking", *SCIENCE):
            check(stored, key)
    except UserError as error:
        raise UserError(
            f"resume={folder} is a run of another version of fpinv, or of code that is not on "
            f"PYTHONPATH ({error}): continue it with what began it, or start a new run"
        ) from error


def _settings(overrides: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the key of each override, and the override as the user wrote it."""
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        yield override.key_or_group, str(override.input_line)


def _conflicts(
    command: ConfigAndChoices, stored: ConfigAndChoices, overrides: Sequence[str]
) -> Iterator[str]:
    for key, line in _settings(overrides):
        value = stored.value(key)
        if key.startswith("tracking.") or key == "resume" or command.value(key) == value:
            continue
        yield f"{key}={'null' if value is None else value} and not {line}"
