"""Errors in one line that names the culprit and the remedy."""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from functools import singledispatch
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from hydra import errors
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from fpinv.errors import UserError, nearest
from fpinv.run.console import CONF
from fpinv.run.files import write
from fpinv.run.photo_arguments import KEYS as SHORT_KEYS

MENDABLE = (UserError, errors.HydraException, OmegaConfBaseException)
"""Errors that the user can mend."""

ERROR_LOG = "error.log"

EMPTY_GROUPS = ("experiment",)  # groups whose default is null have no key in the configuration

LAUNCHERS = {
    "joblib": "hydra-joblib-launcher",
    "ray": "hydra-ray-launcher",
    "submitit_local": "hydra-submitit-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
}
"""Hydra's launchers of jobs elsewhere, by the package that has them."""


class ErrorElsewhere(Exception):
    """An error of another process that shares the run, in words."""


@singledispatch
def explain(error: BaseException) -> str:
    """Return one line about an error."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def explain_and_log(error: Exception, folder: Path | None) -> str:
    """Return one line about an error, and write the traceback of one that the user cannot mend.

    Arguments:
        error: The error.
        folder: The folder of the run or sweep. Where it cannot be written, or is not known yet,
            the traceback goes to a temporary folder. The line names the file.
    """
    line = explain(error)
    if isinstance(error, UserError):
        return line
    if isinstance(error, ErrorElsewhere):
        return f"{line} (traceback in {folder and folder / ERROR_LOG})"
    for candidate in (folder, Path(gettempdir(), f"fpinv-{os.getpid()}")):
        try:
            if candidate is not None:
                write(candidate / ERROR_LOG, "".join(traceback.format_exception(error)))
                return f"{line} (traceback in {candidate / ERROR_LOG})"
        except OSError:
            continue
    return line


@explain.register
def explain_in_words(error: UserError | ErrorElsewhere) -> str:
    """Return the message, which is a line for people already."""
    return " ".join(str(error).split())


@explain.register
def explain_refusal_of_the_system(error: OSError) -> str:
    """Name the file before the reason, and the remedy where the disk is full."""
    if error.filename is None or error.strerror is None:
        line = explain.dispatch(BaseException)(error)
    else:
        line = f"{error.filename}: {error.strerror.lower()}"
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return f"{line}: free some space, then go on with resume=<folder>" if full else line


@explain.register
def explain_value_error(error: ValueError) -> str:
    """Return the error with its class, or name the override that gives a group a number."""
    line = explain.dispatch(BaseException)(error)
    if "Config group override must be a string" not in line:
        return line
    numbers = [argument for argument in sys.argv[1:] if re.search("=(null|[0-9.]*)$", argument)]
    culprits = [number for number in numbers if (CONF / number.partition("=")[0]).is_dir()]
    names = " or ".join(culprits or numbers) or line
    return f"{names}: a group takes the name of one of its options"


@explain.register
def explain_config_value(error: OmegaConfBaseException) -> str:
    """Return the key and the first line of what OmegaConf says of its value."""
    lines = str(error.msg or error).strip().splitlines() or [type(error).__name__]
    return f"{error.full_key}: {lines[0]}" if error.full_key else lines[0]


@explain.register
def explain_unreadable_override(error: errors.OverrideParseException) -> str:
    """Name an argument that is not of the form key=value."""
    reason = error.message.split("\nSee ")[0]
    if "missing EQUAL" in reason:
        return f"'{error.override}' is no setting: write it as key=value"
    return f"'{error.override}' cannot be read as key=value ({' '.join(reason.split())})"


@explain.register
def explain_missing_option(error: errors.MissingConfigException) -> str:
    """Name the options of a group, or the package that a launcher is part of."""
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    options = sorted(error.options or [])
    if not options:
        return f"{error.missing_cfg_file}: no such configuration"
    if group == "hydra/launcher" and option in LAUNCHERS:
        return f"{group}={option} is not installed: pip install {LAUNCHERS[option]}"
    hint = nearest(option, options)
    choices = "" if "choose" in hint else f" (options: {', '.join(options)})"
    return f"{group}={option}: no such option{hint}{choices}"


@explain.register
def explain_failed_construction(error: errors.InstantiationException) -> str:
    """Return the key of an object that could not be built, and the reason."""
    key = re.search(r"full_key: (\S+)", str(error))
    cause = error.__cause__
    reason = explain(cause) if cause else str(error).strip().splitlines()[0]
    return f"{key[1]}: {reason}" if key else reason


@explain.register
def explain_failed_composition(error: errors.ConfigCompositionException) -> str:
    """Name the key that does not exist, or that has several values outside a sweep."""
    cause = error.__cause__
    if isinstance(cause, (ConfigAttributeError, ConfigKeyError)):
        return _unknown_key(cause)
    text = str(error).strip()
    if not text and cause is not None:
        return explain(cause)
    if "--multirun" in text:
        quotation = re.search(r"'(.*?)'(?: requires|\n|$)", text)
        override = quotation[1] if quotation else "an override"
        return f"{override} has several values: add -m to run once with each"
    if group := re.match(r"Could not override '([^']*)'\.\s+No match in the defaults list", text):
        parent, _, name = group[1].rpartition("/")
        if not parent:
            return f"{name}: no such group; see python run.py --help"
        return f"{group[1]}: the chosen {parent} has no {name}: choose another, or leave it out"
    reason = f" ({explain(cause)})" if cause is not None else ""
    return " ".join(text.split()) + reason


def _unknown_key(error: OmegaConfBaseException) -> str:
    """Suggest a key of the same node, or else one of that name anywhere."""
    key = str(error.key)
    node = error.parent_node if isinstance(error.parent_node, DictConfig) else DictConfig({})
    full_key = str(error.full_key or key)
    if elsewhere := [p for p in _paths(node._get_root()) if p.rpartition(".")[2] == key]:
        return f"{full_key}: no such key; did you mean {' or '.join(elsewhere)}?"
    prefix = full_key.removesuffix(key)
    names = [str(name) for name in node if name != "hydra" and not str(name).startswith("_")]
    siblings = names if prefix else [*names, *EMPTY_GROUPS, *SHORT_KEYS]
    owner = str(node.get("_target_") or "").rpartition(".")[2]
    if owner and (options := _options_with(prefix.rstrip("."), key)):
        return f"{full_key}: no such key of {owner}, but of {', '.join(options)}"
    hint = nearest(full_key, [prefix + name for name in siblings])
    return f"{full_key}: no such key{f' of {owner}' if owner else ''}{hint}"


def _options_with(group: str, key: str) -> list[str]:
    """Return the options of a group whose files have a key."""
    files = (CONF / group.replace(".", "/")).glob("*.yaml")
    return sorted(file.stem for file in files if re.search(f"(?m)^{key}:", file.read_text()))


def refuse_unknown_additions(
    overrides: Sequence[str], config: DictConfig, groups: Iterable[str]
) -> None:
    """Refuse a key that an override such as ``+key=value`` adds beside the run's own.

    Arguments:
        overrides: The overrides of a command.
        config: The configuration that they made.
        groups: The configuration groups.

    Raises:
        UserError: nothing reads such a key.
    """
    added = [line.lstrip("+").partition("=")[0] for line in overrides if line.startswith("+")]
    for key in added:
        if not re.search("[./@]", key) and key not in groups:
            keys = [str(name) for name in config if name not in (key, "hydra")]
            raise UserError(f"+{key}: there is no such key{nearest(key, keys)}")


def _paths(node: Any, prefix: str = "") -> Iterator[str]:  # noqa: ANN401
    """Yield the dotted keys of a configuration, Hydra's own aside."""
    if not isinstance(node, DictConfig):
        return
    for key, value in node.items_ex(resolve=False):
        path = f"{prefix}{key!s}"
        if path != "hydra":
            yield path
            yield from _paths(value, f"{path}.")
