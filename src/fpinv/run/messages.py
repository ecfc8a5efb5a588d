"""What went wrong, in one line that names the culprit and the remedy."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import singledispatch
from pathlib import Path
from typing import Any

from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from fpinv.errors import UserError

Mendable = (UserError, HydraException, OmegaConfBaseException)
"""Errors that the user can mend."""

EMPTY_GROUPS = ("experiment",)  # groups whose default is null have no key in the configuration

LAUNCHERS = {
    "joblib": "hydra-joblib-launcher",
    "ray": "hydra-ray-launcher",
    "submitit_local": "hydra-submitit-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
}
"""Hydra's launchers of jobs elsewhere, by the package that has them."""


@singledispatch
def explain(error: BaseException) -> str:
    """One line about an error."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@explain.register
def _(error: UserError) -> str:
    return " ".join(str(error).split())


@explain.register
def _(error: ValueError) -> str:
    named = explain.dispatch(BaseException)(error)
    if "Config group override must be a string" not in named:
        return named
    given = [part for part in sys.argv[1:] if re.search("=(null|[0-9.]*)$", part)]
    groups = Path(sys.argv[0]).parent / "conf"
    given = [part for part in given if (groups / part.partition("=")[0]).is_dir()] or given
    return f"{' or '.join(given) or named}: a group takes the name of one of its options"


@explain.register
def _(error: OmegaConfBaseException) -> str:
    first = (str(error.msg or error).strip().splitlines() or [type(error).__name__])[0]
    return f"{error.full_key}: {first}" if error.full_key else first


@explain.register
def _(error: OverrideParseException) -> str:
    reason = error.message.split("\nSee ")[0]
    if "missing EQUAL" in reason:
        return f"'{error.override}' is no setting: write it as key=value"
    return f"'{error.override}' cannot be read as key=value ({' '.join(reason.split())})"


@explain.register
def _(error: MissingConfigException) -> str:
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
def _(error: InstantiationException) -> str:
    where = re.search(r"full_key: (\S+)", str(error))
    cause = error.__cause__
    reason = explain(cause) if cause else str(error).strip().splitlines()[0]
    return f"{where[1]}: {reason}" if where else reason


@explain.register
def _(error: ConfigCompositionException) -> str:
    cause = error.__cause__
    if isinstance(cause, (ConfigAttributeError, ConfigKeyError)):
        return _unknown_key(cause)
    text = str(error).strip()
    if not text and cause is not None:
        return explain(cause)
    if "--multirun" in text:
        return f"{_quoted(text)} has several values: add -m to run once with each"
    reason = f" ({explain(cause)})" if cause is not None else ""
    return " ".join(text.split()) + reason


def _quoted(text: str) -> str:
    found = re.search(r"'(.*?)'(?: requires|\n|$)", text)
    return found[1] if found else "an override"


def _unknown_key(error: OmegaConfBaseException) -> str:
    """Suggests a key of the same node, or else one of that name anywhere."""
    key = str(error.key)
    node = error.parent_node if isinstance(error.parent_node, DictConfig) else DictConfig({})
    full_key = error.full_key or key
    if elsewhere := [p for p in _paths(node._get_root()) if p.rpartition(".")[2] == key]:
        return f"{full_key}: no such key; did you mean {' or '.join(elsewhere)}?"
    prefix = full_key.removesuffix(key)
    siblings = _public([str(name) for name in node]) + ([] if prefix else list(EMPTY_GROUPS))
    return f"{full_key}: no such key{nearest(full_key, [prefix + name for name in siblings])}"


def _public(names: Sequence[str]) -> list[str]:
    return [name for name in names if not name.startswith("_") and name != "hydra"]


def _paths(node: Any, prefix: str = "") -> Iterator[str]:  # noqa: ANN401
    """The dotted keys of a configuration, Hydra's own aside."""
    if not isinstance(node, (DictConfig, Mapping)):
        return
    for key, value in node.items_ex(resolve=False) if isinstance(node, DictConfig) else ():
        if not (prefix or key != "hydra"):
            continue
        yield f"{prefix}{key}"
        yield from _paths(value, f"{prefix}{key}.")


def nearest(word: str, options: Sequence[str]) -> str:
    """ "; did you mean x?", or the options where none is near, or nothing where there are none."""
    if close := get_close_matches(word, options, n=1, cutoff=0.5):
        return f"; did you mean {close[0]}?"
    return f"; choose from {', '.join(dict.fromkeys(options))}" if options else ""
