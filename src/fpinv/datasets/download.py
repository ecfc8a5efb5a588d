"""Fetch COCO 2017: ``python -m fpinv.datasets.download coco --root data/coco``.

Files on disk are not fetched again, and an interrupted download continues.
"""

from __future__ import annotations

import hashlib
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests
from rich.console import Console
from rich.progress import DownloadColumn, Progress, TransferSpeedColumn, track

from fpinv.datasets.coco import first_captions
from fpinv.errors import OneLineParser, UserError, command
from fpinv.run.files import replacing

# Plain http: the certificate of this host is its storage provider's and does not name it. Every
# archive is checked against the digests below.
MIRROR = "http://images.cocodataset.org"
CHUNK = 1 << 16
PATIENCE = (10, 60)  # seconds to connect, and between two pieces of data


@dataclass(frozen=True)
class Archive:
    """A zip file of a mirror: its path there, size in bytes and MD5 digest."""

    path: str
    size: int
    md5: str

    @property
    def name(self) -> str:
        """File name of the archive."""
        return self.path.rpartition("/")[2]


# Sizes and digests as commonly published by others; COCO itself publishes none. A file that
# differs is reported and kept, so that whoever trusts it can unpack it by hand.
ANNOTATIONS = Archive(
    "annotations/annotations_trainval2017.zip", 252907541, "f4bbac642086de4f52a3fdda2de5fa2c"
)
IMAGES = {
    "val2017": Archive("zips/val2017.zip", 815585330, "442b8da7639aecaf257c1dceb8ba8c80"),
    "train2017": Archive("zips/train2017.zip", 19336861798, "cced6f7f71b7629ddf16f17bbcfab6b2"),
}


def coco(
    root: Path,
    split: str = "val2017",
    mirror: str = MIRROR,
    annotations: Archive = ANNOTATIONS,
    images: Mapping[str, Archive] = IMAGES,
) -> list[Path]:
    """Fetch captions and images of a split into ``root``, in the layout that ``Coco`` reads.

    Arguments:
        root: The folder; it is made if it is missing.
        split: A key of ``images``.
        mirror: Address to which the archives' paths are appended.
        annotations: The archive of the captions.
        images: The archive of the images of each split.

    Returns:
        The archives that were unpacked, which are no longer needed; none if all files were there.

    Raises:
        UserError: no network, no space, a file that is not the published one.
    """
    captions = root / "annotations" / f"captions_{split}.json"
    archives = []
    if not captions.is_file():
        archives.append(fetch(annotations, root, mirror))
        unpack(archives[-1], root, "annotations/captions_")
    names = [image["file_name"] for image, _ in first_captions(captions, "download it again")]
    if not all((root / split / name).is_file() for name in names):
        archives.append(fetch(images[split], root, mirror))
        unpack(archives[-1], root, f"{split}/")
    return archives


def fetch(archive: Archive, folder: Path, mirror: str) -> Path:
    """Return the archive as a checked file in ``folder``, downloaded unless it is there.

    Raises:
        UserError: the download stopped, or the file is not the published one.
    """
    file = folder / archive.name
    if file.is_file():
        _check(file, archive)
        return file
    partial = folder / f"{archive.name}.part"
    folder.mkdir(parents=True, exist_ok=True)
    _download(archive, partial, f"{mirror.rstrip('/')}/{archive.path}")
    _check(partial, archive)
    return partial.replace(file)


def unpack(archive: Path, root: Path, prefix: str) -> None:
    """Unpack the files of an archive whose names have a prefix, unless they are in ``root``.

    A file appears under its name only when it is whole, so that an interruption leaves no stump.

    Raises:
        UserError: a name in the archive leads out of ``root``.
    """
    with zipfile.ZipFile(archive) as content:
        names = [n for n in content.namelist() if n.startswith(prefix) and not n.endswith("/")]
        for name in track(names, f"unpack {archive.name}", console=Console(stderr=True)):
            target = root / name
            if not target.resolve().is_relative_to(root.resolve()):
                raise UserError(f"{archive}: refused, because {name!r} leads out of it")
            if not target.is_file():
                with replacing(target) as partial:
                    partial.write_bytes(content.read(name))  # at most a caption file of 92 MB


def _download(archive: Archive, partial: Path, url: str) -> None:
    """Fill a partial file up to the archive's size, in several requests while each adds to it."""
    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(archive.name, total=archive.size, completed=_size(partial))
        while (size := _size(partial)) < archive.size:
            reason = "the server closed the connection"
            try:
                _receive(archive, partial, url, lambda n: progress.update(task, completed=n))
            except requests.RequestException as error:
                reason = _reason(error)
            if _size(partial) <= size:
                raise UserError(
                    f"{url}: download stopped at {size} of {archive.size} bytes ({reason}); "
                    "run the same command again to go on"
                )


def _receive(archive: Archive, partial: Path, url: str, report: Callable[[int], None]) -> None:
    """Request the missing end of a partial file once, and append the answer as it comes."""
    size = _size(partial)
    headers = {"Range": f"bytes={size}-", "Accept-Encoding": "identity"}
    with requests.get(url, headers=headers, stream=True, timeout=PATIENCE) as response:
        response.raise_for_status()
        # a server that ignores ranges sends the file from its beginning
        start = size if response.status_code == requests.codes.partial_content else 0
        length = start + int(response.headers.get("Content-Length", archive.size - start))
        if length != archive.size:
            raise UserError(
                f"{url}: the server offers {length} bytes, but the published file has "
                f"{archive.size}; try another address with --mirror"
            )
        with partial.open("r+b" if start else "wb") as file:
            file.seek(start)
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                report(file.tell())


def _check(file: Path, archive: Archive) -> None:
    with file.open("rb") as content:
        md5 = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if md5 != archive.md5:
        raise UserError(
            f"{file}: its MD5 is {md5}, but the published file has {archive.md5}; "
            "delete it and run the same command again, or unpack it by hand if you trust it"
        )


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _reason(error: requests.RequestException) -> str:
    """Return the innermost cause of an error, which names it best."""
    cause: BaseException = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    return f"{type(cause).__name__}: {cause}"


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return 0, or 2 after one line with the reason."""
    options = _parser().parse_args(arguments)
    root = options.root.expanduser()
    try:
        archives = coco(root, options.split, options.mirror)
    except (UserError, OSError, zipfile.BadZipFile, KeyboardInterrupt) as error:
        print(_message(error, root), file=sys.stderr)
        return 2
    print(f"{root}: complete; use it with dataset=coco dataset.root={root}")
    if archives:
        print(f"no longer needed: {', '.join(map(str, archives))}")
    return 0


def _message(error: BaseException, root: Path) -> str:
    """Return the line that tells the user why nothing more was fetched."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; run the same command again to go on"
    return str(error) if isinstance(error, UserError) else f"{root}: {error}"


def _parser() -> OneLineParser:
    parser = OneLineParser(prog="python -m fpinv.datasets.download")
    parser.add_argument("dataset", choices=["coco"], help="COCO 2017: images and captions")
    parser.add_argument("--root", type=Path, required=True, help="folder to put it in")
    parser.add_argument("--split", choices=sorted(IMAGES), default="val2017")
    parser.add_argument("--mirror", default=MIRROR, help="where to fetch it from (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
