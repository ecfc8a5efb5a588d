"""Continuing a run: its folder's configuration, and the refusal of any other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, OmegaConf

from fpinv.errors import UserError
from fpinv.run.folder import write

CONFIG_FILE = "config.yaml"
CHOICES = "choices"  # key of that file that holds the option of each configuration group

Choices = Mapping[str, str | None]


def save_config(config: DictConfig, choices: Choices, folder: Path) -> None:
    """Writes the resolved configuration and the group choices."""
    kept = {**_resolved(config), CHOICES: dict(choices)}
    write(folder / CONFIG_FILE, OmegaConf.to_yaml(kept))


def _resolved(config: DictConfig) -> dict[str, Any]:
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


def is_same(config: DictConfig, folder: Path) -> bool:
    """Whether the run in ``folder`` has this configuration; tracking may differ."""
    if not (folder / CONFIG_FILE).exists():
        return False
    stored, _ = _load_config(folder)
    now, then = _resolved(config), _resolved(stored)
    return all(now.get(key) == then.get(key) for key in (now | then) if key != "tracking")


def _load_config(folder: Path) -> tuple[DictConfig, Choices]:
    stored = OmegaConf.load(folder / CONFIG_FILE)
    assert isinstance(stored, DictConfig)
    return stored, stored.pop(CHOICES)


def resume_arguments(arguments: Sequence[str]) -> list[str]:
    """Command-line arguments with Hydra pointed at the folder that ``resume=<folder>`` names.

    Hydra would otherwise open a new run folder, and an experiment might start a sweep.

    Raises:
        UserError: the folder is not one of a run, or a sweep is asked for.
    """
    name = next((a.partition("=")[2] for a in arguments if a.startswith("resume=")), "null")
    if name in ("null", ""):
        return list(arguments)
    folder = Path(name.strip("'\"")).expanduser()
    _check_folder(folder)
    if {"-m", "--multirun"} & set(arguments):
        raise UserError("resume continues one run and not a sweep: leave out -m")
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    run_dir = f"hydra.run.dir='{quoted}'"
    return [*arguments, run_dir, "hydra.output_subdir=null", "hydra.mode=RUN"]


def _check_folder(folder: Path) -> None:
    if (folder / "multirun.yaml").exists():
        raise UserError(f"resume={folder} is a sweep: name the folder of one job, {folder}/0")
    if not folder.is_dir():
        raise UserError(f"resume={folder}: no such folder; runs are in outputs/<date>/<time>")
    if not (folder / CONFIG_FILE).exists():
        raise UserError(f"resume={folder} is no run's folder: it has no {CONFIG_FILE}")


def resumed(config: DictConfig, hydra: DictConfig, folder: Path) -> tuple[DictConfig, Choices]:
    """The configuration and the group choices of the run in ``folder``.

    Tracking may be changed; anything else on the command line must say what the run has.

    Raises:
        UserError: an override asks for something else; the message names them all.
    """
    stored, choices = _load_config(folder)
    overrides = OverridesParser.create().parse_overrides(list(hydra.overrides.task))
    tracking = [o for o in overrides if o.key_or_group.startswith("tracking.")]
    others = [o for o in overrides if o not in tracking and o.key_or_group != "resume"]
    now, then = (config, hydra.runtime.choices), (stored, choices)
    if conflicts := list(_conflicts(others, now, then)):
        raise UserError(f"resume={folder}: that run has {'; '.join(conflicts)}: leave it out")
    for key in (override.key_or_group for override in tracking):
        OmegaConf.update(stored, key, OmegaConf.select(config, key))
    return stored, choices


def _conflicts(
    overrides: Sequence[Override],
    now: tuple[DictConfig, Choices],
    then: tuple[DictConfig, Choices],
) -> Iterator[str]:
    for override in overrides:
        key = override.key_or_group
        asked, had = _value(key, *now), _value(key, *then)
        if asked != had:
            yield f"{key}={'null' if had is None else had} and not {override.input_line}"


def _value(key: str, config: DictConfig, choices: Choices) -> Any:  # noqa: ANN401
    """The option of a group, or the value of a key."""
    for group, option in choices.items():
        if group.partition("@")[0] == key:
            return option
    value = OmegaConf.select(config, key)
    if isinstance(value, (DictConfig, ListConfig)):
        return OmegaConf.to_container(value, resolve=True)
    return value
