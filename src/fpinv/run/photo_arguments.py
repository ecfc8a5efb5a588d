"""Short keys for images on the command line: ``image=cat.jpg prompt="a cat" edit="a dog"``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from fpinv.errors import UserError
from fpinv.run.grammar import literal

KEYS = ("image", "prompt", "edit", "kind", "blend", "reweight", "mask")
"""The short keys: those of ``dataset=photos``."""

OWN_PICTURES = ("watermark",)
"""Tasks that open none of the data set's pictures."""

STRONG = frozenset(("sd14", "sd15", "sd21", "sdxl"))
"""Models that are sampled at guidance 7.5 as a rule, and so are their edits."""


def photo_arguments(arguments: Sequence[str]) -> list[str]:
    """Return a command's arguments with short keys in the words of the configuration.

    ``image=cat.jpg`` chooses ``dataset=photos``, all its images, and with ``edit=`` the task
    ``editing``, at guidance 7.5 on the models that are used so, unless the command says
    otherwise. The values are texts, so that commas, quotes and braces stand for themselves; a
    list is one in Hydra's grammar.

    Raises:
        UserError: there is no image, or a list is not one.
    """
    keys = [_key(argument) for argument in arguments]
    if not any(key in KEYS for key in keys):
        return list(arguments)
    if "image" not in keys:
        short = next(key for key in keys if key in KEYS)
        raise UserError(f"{short}=... is for images on the command line: add image=<file>")
    defaults = {"dataset": "photos", "limit": "null"}
    settings = dict(argument.partition("=")[::2] for argument in arguments)
    task = settings.get("task", "editing")
    if task in OWN_PICTURES:
        raise UserError(f"task={task} makes pictures of its own: leave out image=..., or the task")
    if "edit" in keys:
        models = settings.get("model", "sd15").split(",")
        defaults["task"] = "editing"
        chosen = {"task/recipe", "experiment", "resume"} & settings.keys()
        if task == "editing" and not chosen and STRONG.issuperset(models):
            defaults["task.guidance"] = "7.5"
    choices = [f"{key}={value}" for key, value in defaults.items() if key not in keys]
    # Beside the others, because Hydra's parser takes no overrides behind an option such as --cfg.
    first = next(place for place, key in enumerate(keys) if key in KEYS)
    full = list(map(_in_full, arguments))
    return [*full[:first], *choices, *full[first:]]


def _key(argument: str) -> str:
    return argument.partition("=")[0] if "=" in argument else ""


def _in_full(argument: str) -> str:
    key, _, value = argument.partition("=")
    return f"dataset.{key}={_value(key, value)}" if _key(argument) in KEYS else argument


def _value(key: str, value: str) -> str:
    """Return a value for Hydra that stands for a text, or for a list of texts."""
    if not value and key in ("image", "edit"):  # an empty prompt is the null prompt
        raise UserError(f"{key}= is empty: give it a value, or leave it out")
    if "${" in value:
        raise UserError(f"{key}={value}: '${{' begins an interpolation: leave it out")
    if value == "null" or re.fullmatch("(?s)(['\"]).*\\1", value):
        return value
    if not value.startswith("["):
        return literal(value)
    try:
        parsed = OverridesParser.create().parse_override(f"{key}={value}").value()
    except HydraException:
        parsed = None
    if not isinstance(parsed, list):
        raise UserError(
            f"{key}={value} is no list: quote what has commas, quotes or braces, as in "
            f'{key}=\'["a cat, asleep","a dog"]\''
        )
    # Other numbers would lose digits, and null, true and lists become words of Python.
    if others := [item for item in parsed if type(item) not in (str, int)]:
        raise UserError(
            f"{key}={value}: {others[0]} is no text: quote it, as in {key}='[\"{others[0]}\"]'"
        )
    return "[" + ",".join(literal(str(item)) for item in parsed) + "]"
