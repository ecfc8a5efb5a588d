"""Continuing a run or a sweep with its folder's configuration, and refusing any other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from fpinv.errors import UserError
from fpinv.run.build import check, is_own, resolved, targets
from fpinv.run.grammar import quoted
from fpinv.run.layout import SWEEP_FILE
from fpinv.run.stored_config import (
    CONFIG_FILE,
    SCIENCE,
    UNREADABLE,
    Choices,
    ConfigAndChoices,
    is_less,
    load_config,
    may_change,
)

TARGET = re.compile(r"_target_['\"]?\s*[:=]\s*['\"]?([^\s'\",}]*)|(oc\.create|oc\.decode)")
"""A target in yaml or in an override, be it a name or an interpolation, or a resolver that makes
nodes of text."""
COPIES = {"device": "model.device"}
"""Keys of a resolved configuration that follow another one."""


def resume_arguments(arguments: Sequence[str]) -> list[str]:
    """Return a command's arguments with what has Hydra continue the folder of ``resume=<folder>``.

    Hydra would otherwise open a new run folder, and an experiment might start a sweep.

    Raises:
        UserError: the folder is none of a run or a sweep, or the arguments do not fit it.
    """
    name = next((a.partition("=")[2] for a in arguments if a.startswith("resume=")), "null")
    if name in ("null", ""):
        return list(arguments)
    folder = Path(name.strip("'\"")).expanduser()
    if not folder.is_dir():
        raise UserError(f"resume={folder}: no such folder; runs are in outputs/<date>/<time>")
    if (folder / SWEEP_FILE).exists():
        return _sweep_arguments(folder, arguments)
    if not (folder / CONFIG_FILE).exists():
        raise UserError(f"resume={folder} is no run's folder: it has no {CONFIG_FILE}")
    if {"-m", "--multirun"} & set(arguments):
        raise UserError("resume continues one run and not a sweep: leave out -m")
    own = [f"hydra.run.dir={quoted(folder)}", "hydra.output_subdir=null", "hydra.mode=RUN"]
    return [*arguments, *own]


def _sweep_arguments(folder: Path, arguments: Sequence[str]) -> list[str]:
    """Return the arguments that start a sweep again in its folder, where its jobs go on.

    Of Hydra's own keys the sweep keeps those that name its jobs and their folders; the launcher
    and the search path are those of the command.

    Raises:
        UserError: an argument would change what the sweep has begun.
    """
    others = [a for a in arguments if a.partition("=")[0] not in ("resume", "-m", "--multirun")]
    changes = [a for a in others if a.startswith("~") or ("=" in a and not a.startswith("-"))]
    flags = [argument for argument in others if argument not in changes]
    keys = dict(_settings(changes))
    for key, line in keys.items():
        if not (may_change(key) or key.startswith(("hydra.", "hydra/"))):
            raise UserError(
                f"resume={folder} is a sweep with settings of its own: leave out {line}"
            )
    try:
        stored = OmegaConf.load(folder / SWEEP_FILE).hydra.overrides
        began_with: Any = OmegaConf.to_container(stored)  # as written, interpolations and all
    except UNREADABLE as error:
        raise UserError(
            f"{folder / SWEEP_FILE}: not the configuration of a sweep ({type(error).__name__}): "
            "start the sweep again with the same hydra.sweep.dir"
        ) from None
    settings = list(_settings(began_with["task"]))
    if own := [line for key, line in settings if key.startswith(("hydra.", "hydra/"))]:
        raise UserError(
            f"resume={folder}: {own[0]} stands among the settings of its jobs in {SWEEP_FILE}, "
            "where Hydra writes none of its own: start the sweep anew if you trust it"
        )
    task = [line for key, line in settings if key not in keys]
    sweeper = (f"hydra.sweeper.{key}" for key in ("params", "sweeps", "criteria"))
    names = ("hydra.sweep.subdir", *sweeper)
    hydra = [line for key, line in _settings(began_with["hydra"]) if key.startswith(names)]
    for line in (*task, *hydra):
        if foreign := [target for target in _targets_in(line) if not is_own(target)]:
            raise UserError(
                f"resume={folder}: {foreign[0]} in its {SWEEP_FILE} is no part of fpinv: start "
                "the sweep anew if you trust it"
            )
    return ["-m", *flags, *task, *hydra, *changes, f"hydra.sweep.dir={quoted(folder)}"]


def load_resumed(config: DictConfig, hydra: HydraConf, folder: Path) -> tuple[DictConfig, Choices]:
    """Return the configuration and the group choices of the run in ``folder``.

    What leaves the results as they are may be changed, and ``limit`` may be raised; anything else
    on the command line must say what the run has.

    Raises:
        UserError: the run is of another version, or has other settings than the overrides; the
            message names them all.
    """
    stored = load_config(folder)
    _check_trust(stored.config, folder, hydra)
    _check_version(stored.config, folder)
    command = ConfigAndChoices(config, hydra.runtime.choices)
    if conflicts := "; ".join(_conflicts(command, stored, hydra.overrides.task)):
        raise UserError(f"resume={folder}: that run has {conflicts}: leave it out")
    for key, _ in _settings(hydra.overrides.task):
        if may_change(key):
            OmegaConf.update(stored.config, key, OmegaConf.select(config, key))
        if OmegaConf.select(stored.config, copy := COPIES.get(key, "")) is not None:
            OmegaConf.update(stored.config, copy, OmegaConf.select(config, key))
    return stored.config, stored.choices


def _check_trust(stored: DictConfig, folder: Path, hydra: HydraConf) -> None:
    """Refuse a configuration that calls what neither fpinv nor this command's yaml files name.

    The folder may come from somebody else, and to build the objects of its config.yaml is to run
    whatever that names.

    Raises:
        UserError: the configuration names such a target.
    """
    named = set(_named_targets(hydra))
    for path, node in targets(resolved(stored), ""):
        target = str(node["_target_"])
        if target not in named and not is_own(target):
            raise UserError(
                f"resume={folder}: {path}._target_={target} in its {CONFIG_FILE} is no part of "
                "fpinv: if you trust that code, name the folder of its yaml file in "
                "hydra.searchpath"
            )


def _named_targets(hydra: HydraConf) -> Iterator[str]:
    """Yield the targets in the yaml files of conf/ and of ``hydra.searchpath``."""
    for source in hydra.runtime.config_sources:
        folder = Path(source.path)
        if source.schema == "file" and source.provider != "schema" and folder.is_dir():
            for file in folder.rglob("*.yaml"):
                yield from _targets_in(file.read_text(encoding="utf-8", errors="replace"))


def _targets_in(text: str) -> list[str]:
    return [match[1] or match[2] for match in TARGET.finditer(text)]


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
        smaller = key == "limit" and is_less(command.config.limit, value)
        if (may_change(key) and not smaller) or key == "resume" or command.value(key) == value:
            continue
        yield f"{key}={'null' if value is None else value} and not {line}"
