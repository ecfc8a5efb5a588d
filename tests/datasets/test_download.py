"""The COCO download against a server of our own: resumed, checked, not done twice."""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image

from fpinv.datasets import download
from fpinv.datasets.coco import Coco
from fpinv.datasets.download import Archive
from fpinv.errors import UserError


def zipped(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def noise(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


CAPTIONS = {
    "images": [{"id": id, "file_name": f"{id}.png"} for id in (1, 2, 3)],
    "annotations": [{"id": id, "image_id": id, "caption": f"noise {id}"} for id in (1, 2, 3)],
}
ANNOTATIONS = zipped(
    {
        "annotations/captions_val2017.json": json.dumps(CAPTIONS).encode(),
        "annotations/instances_val2017.json": b"not asked for",
    }
)
IMAGES = zipped({"val2017/": b""} | {f"val2017/{id}.png": noise(id) for id in (1, 2, 3)})


def archive(path: str, content: bytes) -> Archive:
    return Archive(path, len(content), hashlib.md5(content, usedforsecurity=False).hexdigest())


class Server(ThreadingHTTPServer):
    """Serves ``files``; drops the connection ``drop`` bytes into a body, as often as listed."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {"/a/notes.zip": ANNOTATIONS, "/z/val.zip": IMAGES}
        self.ranges = True
        self.drop: list[int] = []
        self.requests: list[tuple[str, str | None]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        span = self.headers["Range"]
        self.server.requests.append((self.path, span))
        if self.path not in self.server.files:
            return self.send_error(404)
        content = self.server.files[self.path]
        start = int(span.removeprefix("bytes=").rstrip("-")) if self.server.ranges else 0
        self.send_response(206 if self.server.ranges else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = start + self.server.drop.pop(0) if self.server.drop else len(content)
        self.wfile.write(content[start:end])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch_coco(root: Path, server: Server, images: Archive | None = None) -> list[Path]:
    return download.coco(
        root,
        mirror=server.address,
        annotations=archive("a/notes.zip", ANNOTATIONS),
        images={"val2017": images or archive("z/val.zip", IMAGES)},
    )


def names(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


WHOLE = {"annotations/captions_val2017.json", *(f"val2017/{id}.png" for id in (1, 2, 3))}


def test_the_result_is_what_coco_reads(tmp_path: Path, server: Server) -> None:
    used = fetch_coco(tmp_path / "new" / "coco", server)
    root = tmp_path / "new" / "coco"
    assert used == [root / "notes.zip", root / "val.zip"]
    assert names(root) == WHOLE | {"notes.zip", "val.zip"}
    assert [example.prompt for example in Coco(str(root))] == ["noise 1", "noise 2", "noise 3"]
    assert Coco(str(root))[0].open().size == (160, 160)


def test_a_second_run_downloads_nothing(tmp_path: Path, server: Server) -> None:
    for file in fetch_coco(tmp_path, server):
        file.unlink()
    before = len(server.requests)
    assert fetch_coco(tmp_path, server) == []
    assert len(server.requests) == before == 2
    assert names(tmp_path) == WHOLE


def test_a_lost_image_comes_from_the_archive_that_is_there(tmp_path: Path, server: Server) -> None:
    fetch_coco(tmp_path, server)
    (tmp_path / "val2017" / "2.png").unlink()
    assert fetch_coco(tmp_path, server) == [tmp_path / "val.zip"]
    assert len(server.requests) == 2
    assert (tmp_path / "val2017" / "2.png").read_bytes() == noise(2)


def test_a_broken_connection_is_resumed(tmp_path: Path, server: Server) -> None:
    server.drop = [len(ANNOTATIONS), 70_000, 70_000]
    fetch_coco(tmp_path, server)
    spans = [span for path, span in server.requests if path == "/z/val.zip"]
    assert spans[0] == "bytes=0-" and len(spans) == 3
    assert 0 < int(spans[1][6:-1]) < int(spans[2][6:-1]) < len(IMAGES)
    assert names(tmp_path) >= WHOLE


def test_interrupted_download_goes_on_in_the_next_run(tmp_path: Path, server: Server) -> None:
    server.drop = [len(ANNOTATIONS), 70_000, 0]
    with pytest.raises(UserError, match=r"val\.zip: download stopped at \d{5} of .* to go on"):
        fetch_coco(tmp_path, server)
    had = (tmp_path / "val.zip.part").stat().st_size
    fetch_coco(tmp_path, server)
    assert server.requests[-1] == ("/z/val.zip", f"bytes={had}-")
    assert names(tmp_path) == WHOLE | {"notes.zip", "val.zip"}


def test_server_without_ranges_starts_over(tmp_path: Path, server: Server) -> None:
    server.ranges = False
    (tmp_path / "val.zip.part").write_bytes(b"x" * 1000)
    fetch_coco(tmp_path, server)
    assert names(tmp_path) >= WHOLE


def test_wrong_digest_is_reported_and_the_file_kept(tmp_path: Path, server: Server) -> None:
    wrong = replace(archive("z/val.zip", IMAGES), md5="0" * 32)
    for _ in range(2):
        with pytest.raises(UserError, match=r"val\.zip\.part: its MD5 is .*; delete it and run"):
            fetch_coco(tmp_path, server, wrong)
    assert len(server.requests) == 2
    assert not (tmp_path / "val2017").exists()


def test_other_size_is_refused_before_the_download(tmp_path: Path, server: Server) -> None:
    larger = replace(archive("z/val.zip", IMAGES), size=len(IMAGES) + 1)
    with pytest.raises(UserError, match=r"offers \d+ bytes, but the published file has"):
        fetch_coco(tmp_path, server, larger)
    assert not (tmp_path / "val.zip.part").exists()


def test_archive_that_leads_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "evil.zip").write_bytes(zipped({"val2017/../../evil.png": b"x"}))
    with pytest.raises(UserError, match="leads out of it"):
        download.unpack(tmp_path / "evil.zip", tmp_path / "root", "")
    assert names(tmp_path) == {"evil.zip"}


@pytest.mark.parametrize("fault", ["refused", "absent"])
def test_command_fails_with_one_line(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    mirror = {"refused": "http://127.0.0.1:1", "absent": server.address}[fault]
    assert download.main(["coco", "--root", str(tmp_path), "--mirror", mirror]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith(f"{mirror}/annotations/annotations_trainval2017.zip: download st")
    assert "Traceback" not in "".join(lines)


def test_command_with_all_in_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    download.unpack(_write(tmp_path / "a.zip", ANNOTATIONS), tmp_path, "")
    download.unpack(_write(tmp_path / "i.zip", IMAGES), tmp_path, "")
    capsys.readouterr()
    assert download.main(["coco", "--root", str(tmp_path), "--mirror", "http://127.0.0.1:1"]) == 0
    assert f"dataset=coco dataset.root={tmp_path}" in capsys.readouterr().out


def _write(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("arguments", [["coc", "--root", "x"], ["coco"], ["coco", "--roo"]])
def test_a_mistake_in_the_command_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert download.main(arguments) == 2
    output = capsys.readouterr().err
    assert output.startswith("error: ") and output.count("\n") == 1
