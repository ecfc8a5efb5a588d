"""The configuration of a run in its folder, and whether another one agrees with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from fpinv.errors import UserError
from fpinv.images.viewing import MOST_PIXELS
from fpinv.run.build import defaults_of, resolved
from fpinv.run.files import read_json, write
from fpinv.run.messages import explain
from fpinv.run.status import STATUS_FILE
from fpinv.tasks.task import Settings

CONFIG_FILE = "config.yaml"
SIGNATURE = "# SHA-256 of all above, by which a continued run notices a change: "
CHOICES = "choices"  # key of that file that holds the option of each configuration group
UNREADABLE = (OSError, ValueError, RecursionError, YAMLError, OmegaConfBaseException)
"""Errors of reading a file that is not YAML, or not a configuration."""
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
    return keys + (["limit"] if is_less(config.limit, before.limit) else [])


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
    values = resolved(config)
    for key in keys:
        parent, _, name = key.rpartition(".")
        (values.get(parent) or {} if parent else values).pop(name, None)
    return values


def is_less(limit: Any, than: Any) -> bool:  # noqa: ANN401
    """Return whether a limit leaves out examples that another one has; None has them all."""
    return limit is not None and (than is None or (isinstance(limit, int) and limit < than))


def may_change(key: str) -> bool:
    """Return whether a run that goes on may have another value of a key."""
    return key in (*NEUTRAL, *MOVABLE, *EXTENDING) or key.startswith("tracking.")
