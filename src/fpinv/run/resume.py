"""Continuing a run or a sweep with its folder's configuration, and refusing any other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from fpinv.errors import UserError
from fpinv.images.viewing import MOST_PIXELS
from fpinv.run.build import check, defaults_of, is_own, resolved, targets
from fpinv.run.files import read_json, write
from fpinv.run.grammar import quoted
from fpinv.run.layout import SWEEP_FILE
from fpinv.run.messages import explain
from fpinv.run.status import STATUS_FILE
from fpinv.tasks.task import Settings

CONFIG_FILE = "config.yaml"
SIGNATURE = "# SHA-256 of all above, by which a continued run notices a change: "
CHOICES = "choices"  # key of that file that holds the option of each configuration group
UNREADABLE = (OSError, ValueError, RecursionError, YAMLError, OmegaConfBaseException)
"""Errors of reading a file that is not YAML, or not a configuration."""
TARGET = re.compile(r"_target_['\"]?\s*[:=]\s*['\"]?([^\s'\",}]*)|(oc\.create|oc\.decode)")
"""A target in yaml or in an override, be it a name or an interpolation, or a resolver that makes
nodes of text."""
SCIENCE = ("model", "dataset", "inverter", "adjustment", "task")  # what an inversion depends on
NEUTRAL = (
    *("batch_size", "device", "tracking", "table"),
    *(
        f"model.{key}"
        for key in ("device", "attention_slicing", "gradient_checkpointing", "offload")
    ),
)
"""Keys that leave the results as they are, but for the last digits of floats."""
MOVABLE = ("dataset.root", "dataset.captions", "dataset.edits", "task.inversions")
"""Keys of files that may lie elsewhere by now; a run that goes on does changed examples again."""
EXTENDING = ("limit", "images", "inversions")
"""Keys that say how much of the results a run makes and keeps."""
DEFAULTS: Mapping[str, Any] = {
    "max_pixels": MOST_PIXELS,
    "negative_guidance": False,
    "sampler._target_": "fpinv.models.samplers.DDIMSampler",
    "model.sampler._target_": "fpinv.models.samplers.DDIMSampler",
    "table": "short",
}
"""Defaults of keys that are no settings of a task, with which runs of before them were made."""
NO_DEFAULT = object()
COPIES = {"device": "model.device"}
"""Keys of a resolved configuration that follow another one."""

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
    """Write the resolved configuration and the group choices, and sign them."""
    text = OmegaConf.to_yaml({**resolved(config), CHOICES: dict(choices)})
    write(folder / CONFIG_FILE, text + _signature(text))


def load_config(folder: Path) -> ConfigAndChoices:
    """Return the configuration of the run in a folder.

    Raises:
        UserError: the file is another than the one that the run wrote, or none of a run.
    """
    file = folder / CONFIG_FILE
    try:
        text, mark, _ = (whole := file.read_text(encoding="utf-8")).partition(SIGNATURE)
        stored = OmegaConf.create(text)
        if not isinstance(stored, DictConfig):
            raise TypeError("it is a list")
        loaded = ConfigAndChoices(stored, dict(stored.pop(CHOICES)))
    except (*UNREADABLE, TypeError) as error:
        raise UserError(f"{file}: not the configuration of a run ({explain(error)})") from None
    if mark and whole != text + _signature(text):
        raise UserError(
            f"{file} was changed since the run wrote it: undo the change, or start a new run"
        )
    return loaded


def _signature(text: str) -> str:
    return f"{SIGNATURE}{sha256(text.encode()).hexdigest()}\n"


def differing_keys(config: DictConfig, folder: Path) -> list[str]:
    """Return the keys for which the run in ``folder`` cannot go on with a configuration.

    It must be the run's own, but for keys that a continued run may change.
    """
    before = load_config(folder).config
    keys = _differences(config, before, *NEUTRAL, *MOVABLE, *EXTENDING)
    return keys + (["limit"] if _is_less(config.limit, before.limit) else [])


def is_done(config: DictConfig, folder: Path) -> bool:
    """Return whether the run in ``folder`` has all examples that a configuration asks for."""
    if not (folder / CONFIG_FILE).exists() or not (folder / STATUS_FILE).exists():
        return False
    agrees = not _differences(config, load_config(folder).config, *NEUTRAL)
    return agrees and read_json(folder / STATUS_FILE).get("exit_code") == 0


def _differences(config: DictConfig, before: DictConfig, *changeable: str) -> list[str]:
    """Return the keys in which two configurations differ, but for those that may change.

    Keys that the earlier one lacks were added by a newer version. At their defaults they leave
    results as they were.
    """
    now, then = (_flat(_without(c, *changeable)) for c in (config, before))
    added = {key for key in now.keys() - then.keys() if now[key] == _default(config, key)}
    keys = [*then, *(key for key in now if key not in then and key not in added)]
    return [key for key in keys if now.get(key, NO_DEFAULT) != then.get(key, NO_DEFAULT)]


def _default(config: DictConfig, key: str) -> object:
    """Return the default of an argument or of a run's setting; :data:`NO_DEFAULT` for no such."""
    parent, _, name = key.rpartition(".")
    if key in DEFAULTS:
        return DEFAULTS[key]
    if not parent:
        return {field.name: field.default for field in fields(Settings)}.get(name, NO_DEFAULT)
    target = OmegaConf.select(config, f"{parent}._target_", default=None)
    return NO_DEFAULT if target is None else defaults_of(str(target)).get(name, NO_DEFAULT)


def _flat(config: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return a configuration's values by their dotted keys."""
    values: dict[str, Any] = {}
    for key, value in config.items():
        inner = isinstance(value, dict) and value
        values |= _flat(value, f"{above}{key}.") if inner else {f"{above}{key}": value}
    return values


def _without(config: DictConfig, *keys: str) -> dict[str, Any]:
    """Return the resolved configuration without some keys, which may be dotted."""
    rest = resolved(config)
    for key in keys:
        parent, _, name = key.rpartition(".")
        (rest.get(parent) or {} if parent else rest).pop(name, None)
    return rest


def _is_less(limit: Any, than: Any) -> bool:  # noqa: ANN401
    """Return whether a limit leaves out examples that another one has; None has them all."""
    return limit is not None and (than is None or (isinstance(limit, int) and limit < than))


def _may_change(key: str) -> bool:
    return key in (*NEUTRAL, *MOVABLE, *EXTENDING) or key.startswith("tracking.")


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
        if not (_may_change(key) or key.startswith(("hydra.", "hydra/"))):
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
        if _may_change(key):
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
        smaller = key == "limit" and _is_less(command.config.limit, value)
        if (_may_change(key) and not smaller) or key == "resume" or command.value(key) == value:
            continue
        yield f"{key}={'null' if value is None else value} and not {line}"
