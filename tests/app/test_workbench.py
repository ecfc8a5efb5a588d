"""The work behind the page: which inverters it offers, pictures, numbers, edits and masks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import tiny_model

import fpinv
from fpinv import UserError
from fpinv.app.workbench import SIDE, Request, Workbench, leads_back, masked
from fpinv.datasets.scenes.edit_cases import CHANGES
from fpinv.inverters.ddim import DDIM
from fpinv.run.options import option

STEPS = 8
FLOWS = {"fireflow", "rf_solver"}


@pytest.fixture(scope="module")
def bench():
    return Workbench(fpinv.load_model("scenes", device="cpu"))


@pytest.fixture(scope="module")
def example(bench):
    return bench.examples[CHANGES.index("shape")]


@pytest.fixture(scope="module")
def request_(example, tmp_path_factory):
    file = tmp_path_factory.mktemp("picture") / "scene.png"
    example.open().save(file)
    return Request(str(file), example.prompt, "fpi", STEPS, 1.0)


@pytest.fixture(scope="module")
def trip(bench, request_):
    return bench.invert(request_)


def distance(a: Image.Image, b: Image.Image) -> float:
    """Return the mean distance of two pictures, in grey levels."""
    return float(np.abs(np.asarray(a, float) - np.asarray(b, float)).mean())


class Forgetful(DDIM):
    """An inverter that brings back another image."""

    def invert(self, denoiser, z0, condition):
        inversion = super().invert(denoiser, z0, condition)
        return replace(inversion, noise=torch.zeros_like(z0))


def test_the_page_edits_as_the_command_does(bench):
    """The threshold of the blend on scenes is that of the configuration, not the paper's."""
    default = option("task/recipe", "default")
    assert bench._recipe(default.cross_steps, default.self_steps) == default


def test_inverters_that_do_not_lead_back_are_not_offered(bench):
    assert leads_back(bench.model, DDIM()) and not leads_back(bench.model, Forgetful())
    assert {"auto", "ddim", "fpi", "ife", "edict", "null_text", "newton"} <= set(bench.inverters)
    assert not FLOWS & set(bench.inverters)
    flow = Workbench(fpinv.load_model("scenes_flow", device="cpu"))
    assert FLOWS < set(flow.inverters) and "rf_inversion" not in flow.inverters


def test_pictures_are_enlarged_by_whole_squares(trip, example):
    pictures = trip.pictures
    assert list(pictures) == ["original", "ceiling", "reconstruction", "difference"]
    assert {picture.size for picture in pictures.values()} == {(SIDE, SIDE)}
    small = pictures["original"].resize(example.open().size, Image.Resampling.NEAREST)
    assert distance(small, example.open()) == 0


def test_numbers_are_those_of_the_pictures_and_the_inverter(trip):
    head, _, body = (line.strip("| ").split(" | ") for line in trip.table.splitlines())
    numbers = dict(zip(head, map(float, body), strict=True))
    original, ceiling, again = (
        np.asarray(trip.record.images[name], float)
        for name in ("original", "ceiling", "reconstruction")
    )
    psnr = [20 * np.log10(255 / np.sqrt(((x - original) ** 2).mean())) for x in (ceiling, again)]
    assert numbers["ceiling, dB"] == pytest.approx(psnr[0], abs=0.1)
    assert numbers["gap, dB"] == pytest.approx(psnr[0] - psnr[1], abs=0.1)
    assert numbers["evaluations"] == 5 * STEPS and numbers["seconds"] > 0


def test_edit_to_the_caption_is_the_reconstruction(bench, trip):
    edited = bench.edit(trip, trip.request.caption, guidance=1.0)
    assert distance(edited.picture, trip.pictures["reconstruction"]) < 0.5
    assert edited.mask is None


def test_edit_changes_the_words_and_shows_where(bench, trip, example):
    target = example.case.edit
    arguments = target.prompt, "; ".join(target.blend)
    edited = bench.edit(trip, *arguments, guidance=3.0)
    before = trip.pictures["reconstruction"]
    assert distance(edited.picture, before) > 1
    held = np.asarray(edited.mask, int).sum(2) < np.asarray(before, int).sum(2)
    assert 0 < held.mean() < 1
    change = np.abs(np.asarray(edited.picture, int) - np.asarray(before, int)).sum(2)
    assert change[held].mean() < change[~held].mean() / 4
    freely = bench.edit(trip, *arguments, cross_steps=0.0, self_steps=0.0, guidance=3.0)
    assert distance(freely.picture, edited.picture) > 0


def test_mask_darkens_what_lies_outside():
    picture = Image.new("RGB", (8, 4), (200, 100, 40))
    mask = torch.tensor([[True, False]])
    shown = masked(picture, mask)
    assert min(shown.size) >= SIDE
    assert shown.getpixel((0, 0)) == (200, 100, 40)
    assert shown.getpixel((shown.width - 1, 0)) == (50, 25, 10)


def test_examples_are_an_edit_of_each_kind(bench, tmp_path):
    assert [example.attributes["change"] for example in bench.examples] == list(CHANGES)
    assert Workbench(tiny_model("sd15", tmp_path)).examples == []


@pytest.mark.parametrize(
    ("change", "words"),
    [({"photo": None}, "no picture"), ({"steps": 0}, "steps"), ({"steps": 5000}, "steps")],
)
def test_what_cannot_be_inverted_is_refused(bench, request_, change, words):
    with pytest.raises(UserError, match=words):
        bench.invert(replace(request_, **change))


def test_file_that_is_no_picture_is_refused(bench, request_, tmp_path):
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(UserError, match="text.png"):
        bench.invert(replace(request_, photo=str(tmp_path / "text.png")))


def test_word_that_is_in_no_prompt_is_refused(bench, trip):
    with pytest.raises(UserError, match="to blend 'house'"):
        bench.edit(trip, "a photo of a star", "house")


def test_model_without_cross_attention_edits_by_sharing(example, request_, tmp_path):
    bench = Workbench(tiny_model("sd3", tmp_path))
    trip = bench.invert(replace(request_, inverter="ddim", steps=4))
    assert not bench.has_words
    edits = [bench.edit(trip, "a star", self_steps=steps).picture for steps in (0.0, 1.0)]
    assert distance(*edits) > 0
