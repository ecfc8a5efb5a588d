"""Where weights lie: in an installed package, or in torch.hub's cache."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlparse

import torch

PACKAGE = "pkg://"


def package_folder(path: str) -> str:
    """The folder that ``pkg://package.module/folder`` stands for; any other path as it is."""
    if not path.startswith(PACKAGE):
        return path
    package, _, folder = path.removeprefix(PACKAGE).partition("/")
    return str(files(package) / folder)


def cache_file(url: str) -> Path:
    """Where torch.hub keeps the weights of an address, fetched or not."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name


@contextmanager
def no_waiting(seconds: float) -> Iterator[None]:
    """Bound the wait for a network that swallows packets: torchvision sets no bound itself."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
