"""One photo, one command: a real run on the bundled model."""

import sys

import pytest
from PIL import Image
from toy_commands import only_run, rows

from fpinv.datasets.scenes import Scenes
from fpinv.run import main as command_line
from fpinv.run.console import CONF, hydra_main


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Return a function that runs the command as the console script does, in a new folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    Scenes("test", objects=1)[3].open().save(tmp_path / "it's, {one}.png")

    def command(*arguments: str) -> int:
        small = ["steps=2", "inverter.iterations=1", "model=scenes"]
        monkeypatch.setattr(sys, "argv", ["fpinv", *small, *arguments])
        return command_line.run(hydra_main(CONF))

    return command


def test_photo_is_inverted_under_the_prompt_as_typed(call, tmp_path):
    assert call("image=it's, {one}.png", "prompt=a big circle, it's blue") == 0
    (row,) = rows(only_run(tmp_path))
    assert (row["prompt"], row["error"]) == ("a big circle, it's blue", None)


def test_edits_of_a_photo_share_its_inversion(call, tmp_path):
    edits = "edit=[a big red circle, a big blue star]"
    assert call("image=it's, {one}.png", "prompt=a big blue circle", edits, "blend=circle") == 0
    first, second = rows(only_run(tmp_path))
    assert first["texts"]["target"] == "a big red circle"
    assert (first["nfe_calls"], second["error"]) == (2, None)


def test_missing_photo_is_refused_in_one_line(call, capsys):
    assert call("image=cat.jpg") == 2
    assert capsys.readouterr().err.strip().splitlines()[-1] == (
        "error: image=cat.jpg: there is no such file"
    )


def test_picture_of_edits_shows_source_and_edits(call, tmp_path):
    assert call("image=it's, {one}.png", "prompt=a big blue circle", "edit=a big red circle") == 0
    with Image.open(only_run(tmp_path) / "pictures.png") as picture:
        assert 3 * 256 < picture.width < 4 * 256
