"""Options of conf/ by name, for programs that compose no command line."""

from __future__ import annotations

from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from fpinv.errors import UserError, nearest
from fpinv.run.build import build
from fpinv.run.console import CONF


def names(group: str) -> list[str]:
    """Return the names of the options of a group."""
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def option(group: str, name: str, **settings: Any) -> Any:  # noqa: ANN401
    """Return the object of an option, such as ``option("inverter", "fpi", iterations=3)``.

    Arguments:
        group: A configuration group of one object, or such a group within one (``task/recipe``).
        name: The option.
        settings: Values of keys of the option, in place of its own. A key that is a group, such
            as the ``sampler`` of a model, takes the name of an option.

    Raises:
        UserError: there is no such option, or it has no such key or cannot take the value.
    """
    if name not in (options := names(group)):
        raise UserError(f"there is no {group} '{name}'{nearest(name, options)}")
    groups = {key: value for key, value in settings.items() if (CONF / key).is_dir()}
    for key, value in groups.items():
        if value not in (options := names(key)):
            raise UserError(f"there is no {key} '{value}'{nearest(str(value), options)}")
    # The group within another is added, since the other's default may have none.
    chosen = f"+{group}={name}" if "/" in group else f"{group}={name}"
    overrides = [chosen, *(f"{key}={value}" for key, value in groups.items())]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=overrides)
    OmegaConf.set_struct(config, False)
    place = group.replace("/", ".")
    for key in settings.keys() - groups.keys():
        OmegaConf.update(config, f"{place}.{key}", settings[key])
    return build(config, place)
