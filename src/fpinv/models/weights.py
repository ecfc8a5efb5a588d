"""Files of weights on this machine, and a context that loads them or fails in one line."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from fpinv.errors import UserError

PACKAGE = "pkg://"
SCENES = f"{PACKAGE}fpinv.models.scenes"  # the bundled model
TOKENIZERS = {f"tokenizer{k}": f"text_encoder{k}" for k in ("", "_2", "_3")}
"""The text encoder that each tokenizer feeds."""
DENOISERS = ("unet", "transformer")  # of which a pipeline has one
NETWORKS = (*DENOISERS, "vae", *TOKENIZERS.values())  # parts with weights
PARTS = (*NETWORKS, *TOKENIZERS, "scheduler")  # subfolders of a pipeline
SAFE = ".safetensors"
WEIGHTS = (SAFE, ".bin")  # endings of their files; diffusers prefers the first
PATIENCE = 10.0  # seconds that a network may stay silent


def local_folder(path: str) -> Path:
    """Return the folder of a path, or of ``pkg://package.module/folder`` in an installed package.

    The package is not imported, and the folder need not exist.

    Raises:
        UserError: there is no such package.
    """
    if not path.startswith(PACKAGE):
        return Path(path).expanduser()
    package, _, folder = path.removeprefix(PACKAGE).partition("/")
    # To find an inner package by its name would import the outer ones.
    outer, *inner = package.split(".")
    try:
        spec = find_spec(outer)
    except (ModuleNotFoundError, ValueError):
        spec = None
    places = [] if spec is None else (spec.submodule_search_locations or [])
    folders = [place for root in places if (place := Path(root, *inner)).is_dir()]
    if not folders:
        raise UserError(f"{path}: there is no such package")
    return folders[0] / folder


def cache_file(url: str) -> Path:
    """Return the file in torch.hub's cache for the weights at an address, fetched or not."""
    import torch  # here, because a program that only looks for a folder need not wait for it

    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name


def by_hand(url: str) -> str:
    """Return the advice to put the weights at an address into torch.hub's cache."""
    return f"put {url} at {cache_file(url)}"


@contextmanager
def loading(name: str, remedy: str) -> Iterator[None]:
    """Load weights within this context: in silence, with a bounded wait for the network.

    Arguments:
        name: The weights, in words that begin the message.
        remedy: What the user can do, which ends the message.

    Raises:
        UserError: the weights can be neither read nor fetched.
    """
    before = socket.getdefaulttimeout()
    # the default, because torchvision sets no bound for a network that swallows packets
    socket.setdefaulttimeout(PATIENCE)
    try:
        with quiet():
            yield
    except UserError:
        raise
    except Exception as error:  # each source of weights has transport errors of its own
        raise UserError(f"{name} cannot be loaded ({first_line(error)}); {remedy}") from error
    finally:
        socket.setdefaulttimeout(before)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class where the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep diffusers and transformers from writing to the terminal, but for bars of downloads."""
    # here, because they take seconds to import
    from diffusers.utils import logging as diffusers_logging
    from huggingface_hub.utils.tqdm import enable_progress_bars
    from transformers.utils import logging as transformers_logging

    libraries: tuple[Any, ...] = (diffusers_logging, transformers_logging)
    before = [(lib.get_verbosity(), lib.is_progress_bar_enabled()) for lib in libraries]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for lib in libraries:
            lib.set_verbosity_error()
            lib.disable_progress_bar()
        enable_progress_bars()  # transformers switched off the hub's, which show gigabytes coming
        try:
            yield
        finally:
            for lib, (verbosity, bars) in zip(libraries, before, strict=True):
                lib.set_verbosity(verbosity)
                if bars:
                    lib.enable_progress_bar()
