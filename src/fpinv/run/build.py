"""Objects from the configuration, each checked against the signature of its ``_target_``."""

from __future__ import annotations

import inspect
import logging
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from fpinv.errors import UserError, nearest
from fpinv.run.messages import explain

SCALARS = (bool, int, float, str, type(None))

# The errors that it logs are raised, too, and then explained in one line.
logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)


def build(config: DictConfig, key: str) -> Any:  # noqa: ANN401
    """Return the object at ``key``; lists and dictionaries arrive as plain Python ones.

    Raises:
        UserError: a key has no value, is no argument of the target, or has the wrong type.
        InstantiationException: the target refused its arguments in another way.
    """
    check(config, key)
    try:
        return instantiate(OmegaConf.select(config, key), _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from error
        raise


def described(value: Any) -> Any:  # noqa: ANN401
    """Return the node of which :func:`build` makes an object of dataclasses again."""
    if not is_dataclass(value) or isinstance(value, type):
        return list(value) if isinstance(value, tuple) else value
    target = f"{type(value).__module__}.{type(value).__qualname__}"
    arguments = {f.name: described(getattr(value, f.name)) for f in fields(value) if f.init}
    return {"_target_": target} | arguments


def resolved(config: DictConfig) -> dict[str, Any]:
    """Return a configuration, resolved, as Python's own containers."""
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


def check(config: DictConfig, key: str) -> None:
    """Check the node at ``key`` against its targets' signatures, without calling them.

    Raises:
        UserError: see :func:`build`.
    """
    node = OmegaConf.select(config, key)
    if node is None:
        raise UserError(f"{key} is not configured: choose one with {key}=<option>")
    if not isinstance(node, DictConfig):
        raise UserError(f"{key}={node} is not possible: set the keys in it, {key}.<key>=<value>")
    for missing in sorted(OmegaConf.missing_keys(node)):
        raise UserError(f"{key}.{missing} has no value: add {key}.{missing}=<value>")
    for path, target_node in targets(resolved(node), key):
        _check_arguments(path, target_node)


def targets(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ANN401
    """Yield every node that has a ``_target_``, outer ones first, with its path."""
    if isinstance(node, list):
        node = dict(enumerate(node))
    items = node if isinstance(node, Mapping) else {}
    if "_target_" in items:
        yield path, dict(items)
    for key, value in items.items():
        yield from targets(value, f"{path}.{key}" if path else str(key))


def is_own(target: str) -> bool:
    """Return whether a target is a class of this library, and not reached through it.

    Functions are not: some of them run or write files that their arguments name. A target that
    cannot be found is nobody's: :func:`check` refuses it.
    """
    if not target.startswith("fpinv."):
        return False
    try:
        component = get_object(target)
    except (ImportError, AttributeError, ValueError):
        return True
    module = str(getattr(component, "__module__", ""))
    in_library = module.startswith("fpinv.") and not module.startswith("fpinv.run.")
    return in_library and inspect.isclass(component)


def _check_arguments(path: str, node: Mapping[str, Any]) -> None:
    """Refuse arguments that the target does not have, and those of a wrong type."""
    constructors = list(_constructors(_locate(path, node["_target_"])))
    names = [name for target in constructors for name in inspect.signature(target).parameters]
    arguments = {k: v for k, v in node.items() if not k.startswith("_")}
    if not _passes_on(constructors[-1]):
        for key in arguments.keys() - set(names):
            raise UserError(f"{path}.{key}: no such argument{nearest(key, names)}")
    hints = {name: hint for target in constructors[::-1] for name, hint in _hints(target).items()}
    for key, value in arguments.items():
        if key in hints and not _fits(value, hints[key]):
            raise UserError(
                f"{path}.{key}={'null' if value is None else value} has the wrong type: "
                f"it must be {_in_words(hints[key])}"
            )


def _constructors(target: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Yield a target and the base classes that it passes further arguments on to."""
    classes = target.__mro__ if inspect.isclass(target) else ()
    constructors: list[Callable[..., Any]] = [
        cls for cls in classes[:-1] if "__init__" in vars(cls)
    ]
    for constructor in constructors or [target]:
        yield constructor
        if not _passes_on(constructor):
            return


def defaults_of(target: str) -> dict[str, Any]:
    """Return the defaults of the arguments of a target."""
    constructors = _constructors(_locate("", target))
    parameters = [inspect.signature(c).parameters.values() for c in constructors]
    return {p.name: p.default for group in parameters[::-1] for p in group}


def _passes_on(target: Callable[..., Any]) -> bool:
    parameters = inspect.signature(target).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _locate(path: str, target: str) -> Callable[..., Any]:
    try:
        located: Callable[..., Any] = get_object(target)
    except (ImportError, AttributeError, ValueError) as error:
        reason = explain(error.__cause__ or error)
        line = f"{path}._target_={target} cannot be imported ({reason})"
        if not target.startswith("fpinv."):
            line += ": put the folder of its module on PYTHONPATH"
        raise UserError(line) from error
    return located


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of the target's arguments; none where they cannot be resolved."""
    # the hints of a dataclass's class resolve inherited fields in the module of their own class;
    # those of its generated __init__ do not
    fielded = is_dataclass(target) or not inspect.isclass(target)
    try:
        return get_type_hints(target if fielded else target.__init__)
    except (NameError, TypeError):
        return {}


def _options(hint: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """Return the types and literals that a union allows."""
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(option for member in get_args(hint) for option in _options(member))
    return get_args(hint) if get_origin(hint) is Literal else (hint,)


def _fits(value: Any, hint: Any) -> bool:  # noqa: ANN401
    """Return whether a scalar or a list fits a hint; the target itself judges all else."""
    options = _options(hint)
    if not isinstance(value, (*SCALARS, list)) or not all(map(_is_known, options)):
        return True
    return any(_matches(value, option) for option in options)


def _is_known(option: Any) -> bool:  # noqa: ANN401
    """Return whether an option of a hint is a scalar, or a list of scalars."""
    return all(map(_is_scalar, _entries(option) or (option,)))


def _is_scalar(option: Any) -> bool:  # noqa: ANN401
    return option in SCALARS or isinstance(option, SCALARS)


def _entries(option: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """Return the types and literals that the entries of a list may have; none for a scalar."""
    if get_origin(option) not in (Sequence, list, tuple):
        return ()
    return tuple(o for entry in get_args(option) if entry is not ... for o in _options(entry))


def _matches(value: Any, option: Any) -> bool:  # noqa: ANN401
    if entries := _entries(option):
        return isinstance(value, list) and all(
            any(_matches(item, entry) for entry in entries) for item in value
        )
    if not isinstance(option, type):
        return bool(value == option)
    if isinstance(value, bool):
        return option is bool
    return isinstance(value, (int, float) if option is float else option)


def _in_words(hint: Any) -> str:  # noqa: ANN401
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    names[type(None)] = "null"

    def words(option: Any) -> str:  # noqa: ANN401
        if entries := _entries(option):
            return f"a list ([...]), each entry {' or '.join(dict.fromkeys(map(words, entries)))}"
        return names.get(option, str(option))

    return " or ".join(sorted(map(words, _options(hint)), key=lambda w: w.startswith("a list")))


SCALES = ("smoke", "default", "paper", "full")


def by_scale(*sizes: Any, _root_: DictConfig) -> Any:  # noqa: ANN401
    """Return the size that stands for the configuration's scale, in the order of :data:`SCALES`.

    Configurations write ``${by_scale:smoke,default,paper}``, or add a fourth size. Without a
    fourth size, ``full`` has that of ``default``.

    Raises:
        ValueError: there are not three or four.
    """
    complete = sizes if len(sizes) == len(SCALES) else (*sizes, *sizes[1:2])
    return dict(zip(SCALES, complete, strict=True))[_root_.scale]


# Registered here, because whatever reads a configuration builds something of it.
OmegaConf.register_new_resolver("by_scale", by_scale, replace=True)
