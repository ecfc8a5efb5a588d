"""Where weights lie: in an installed package, or in torch.hub's cache."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlparse

from fpinv.errors import UserError

PACKAGE = "pkg://"
SCENES = f"{PACKAGE}fpinv.models.scenes"  # the bundled model


def local_folder(path: str) -> Path:
    """A folder by its path, or by ``pkg://package.module/folder`` that of an installed package.

    The package is not imported, and whether there is such a folder is for the caller to ask.

    Raises:
        UserError: there is no such package.
    """
    if not path.startswith(PACKAGE):
        return Path(path).expanduser()
    package, _, folder = path.removeprefix(PACKAGE).partition("/")
    try:
        spec = find_spec(package)
    except (ModuleNotFoundError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"{path}: there is no such package")
    return Path(next(iter(spec.submodule_search_locations)), folder)


def cache_file(url: str) -> Path:
    """Where torch.hub keeps the weights of an address, fetched or not."""
    import torch  # here, because what only looks for a folder need not wait for it

    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name


@contextmanager
def bounded_wait(seconds: float) -> Iterator[None]:
    """Bound the wait for a network that swallows packets: torchvision sets no bound itself."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
