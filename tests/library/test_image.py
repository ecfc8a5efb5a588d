"""One image through the library: its round trip, its edit and its file."""

import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import tiny_model

import fpinv
from fpinv import Edit, FixedPoint, UserError
from fpinv.datasets.scenes import Scenes
from fpinv.images import square, to_pil
from fpinv.inversion import Inversion
from fpinv.run import main as command_line
from fpinv.run.console import CONF

STEPS = 8
PROMPT = "a photo of a star"


@pytest.fixture(scope="module")
def model():
    return fpinv.load_model("scenes", device="cpu")


@pytest.fixture(scope="module")
def example():
    return Scenes("test", objects=1)[3]


@pytest.fixture(scope="module")
def inverted(model, example):
    return fpinv.invert(model, example.open(), example.prompt, "auto", steps=STEPS)


@pytest.fixture(scope="module")
def run_with_inversions(main, tmp_path_factory):
    """The folder of a run that saved its inversions."""
    folder = tmp_path_factory.mktemp("run") / "run"
    settings = ["limit=1", "steps=4", "inverter.iterations=2", "inversions=true"]
    arguments = [
        "run.py",
        "-cp",
        str(CONF),
        *settings,
        "tracking.mode=disabled",
        f"hydra.run.dir={folder}",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", arguments)
        assert command_line.run(main) == 0
    return folder


def distance(a: Image.Image, b: Image.Image) -> float:
    """Return the mean distance of two pictures, in grey levels."""
    return float(np.abs(np.asarray(a, float) - np.asarray(b, float)).mean())


def test_reconstruction_is_the_image_after_the_autoencoder(model, example, inverted):
    pixels = square(example.open(), model.image_size)[None]
    ceiling = to_pil(model.decode(model.encode(pixels))[0])
    assert distance(inverted.reconstruct(), ceiling) < 1


@pytest.mark.parametrize("inverter", ["ddim", "ife", "fpi", "belm"])
def test_values_that_are_not_finite_are_refused(model, example, inverter, monkeypatch):
    forward = type(model.network).forward

    def nothing(*arguments, **settings):
        (output,) = forward(*arguments, **settings)
        return (output * torch.nan,)

    picture = example.open()
    inverted = fpinv.invert(model, picture, PROMPT, inverter, steps=2)
    monkeypatch.setattr(type(model.network), "forward", nothing)
    with pytest.raises(UserError, match="not finite"):
        fpinv.invert(model, picture, PROMPT, inverter, steps=2)
    with pytest.raises(UserError, match="not finite"):
        inverted.reconstruct()


def test_a_file_on_a_grid_by_size_is_for_that_size(tmp_path):
    model = tiny_model("flux", tmp_path / "flux")
    side = model.image_size[0]
    settings = {"max_sequence_length": 16, "device": "cpu"}
    other = type(model)(str(tmp_path / "flux"), "tiny", image_size=2 * side, **settings)
    picture = np.zeros((side, side, 3), np.uint8)
    fpinv.invert(model, picture, PROMPT, "fpi", steps=2).save(tmp_path / "file.safetensors")
    assert fpinv.load(tmp_path / "file.safetensors", model).steps == 2
    with pytest.raises(UserError, match=f"load the model with image_size=.{side}, {side}."):
        fpinv.load(tmp_path / "file.safetensors", other)


def test_stock_pipeline_makes_the_reconstruction_of_the_noise(model, inverted):
    image = model.pipeline(
        inverted.prompt,
        latents=inverted.noise,
        guidance_scale=inverted.guidance,
        num_inference_steps=STEPS,
    ).images[0]
    assert distance(image, inverted.reconstruct()) < 0.5


def test_file_picture_array_and_tensor_give_one_noise(model, example, tmp_path):
    picture = example.open()
    picture.save(tmp_path / "scene.png")
    pixels = square(picture, model.image_size)
    forms = [str(tmp_path / "scene.png"), tmp_path / "scene.png", np.asarray(picture), pixels]
    expected = fpinv.invert(model, picture, example.prompt, "ddim", steps=4).noise
    for form in forms:
        noise = fpinv.invert(model, form, example.prompt, "ddim", steps=4).noise
        torch.testing.assert_close(noise, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("nowhere.png", "nowhere.png"),
        (np.zeros((8, 8, 3)), "uint8"),
        (torch.full((3, 64, 64), 255.0), "outside"),
        (torch.zeros(1, 3, 64, 64), "shape"),
        (np.zeros((3, 64, 64), np.uint8), "shape"),
        (torch.zeros(3, 0, 0), "shape"),
        (Image.new("RGB", (0, 0)), "cannot be read as an image"),
        (None, "the image is None"),
    ],
)
def test_image_that_is_none_is_refused(model, image, words):
    with pytest.raises(UserError, match=words):
        fpinv.invert(model, image, PROMPT, "ddim", steps=4)


@pytest.mark.parametrize(
    "setting",
    [{"crop": None}, {"guidance": float("nan")}, {"guidance": "2"}, {"steps": "3"}, {"steps": 0}],
)
def test_setting_that_is_not_possible_is_refused_by_its_name(model, setting):
    with pytest.raises(UserError, match=f"{next(iter(setting))}="):
        fpinv.invert(model, Image.new("RGB", (64, 64)), PROMPT, "ddim", **{"steps": 4, **setting})


def test_class_in_place_of_an_inverter_is_refused(model):
    with pytest.raises(UserError, match=r"give an object, DDIM\(\)"):
        fpinv.invert(model, Image.new("RGB", (64, 64)), PROMPT, fpinv.DDIM)


def test_file_of_several_images_is_refused(model, inverted, tmp_path):
    file = tmp_path / "pair.safetensors"
    pair = Inversion.cat([inverted.inversion] * 2)
    pair.save(file, {"model": model.name})
    with pytest.raises(UserError, match="is of 2 images: read it with Inversion.load"):
        fpinv.load(file, model)


def test_unknown_inverter_is_refused_with_the_nearest(model):
    with pytest.raises(UserError, match="did you mean renoise"):
        fpinv.invert(model, Image.new("RGB", (64, 64)), PROMPT, "re-noise")


def test_unknown_model_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="no model 'scene'; did you mean scenes"):
        fpinv.load_model("scene")


def test_shown_image_names_what_it_was_made_with_and_no_numbers(inverted):
    shown = repr(inverted)
    assert inverted.prompt in shown
    assert "scenes" in shown
    assert "tensor" not in shown


def test_edit_to_its_own_prompt_is_the_reconstruction(inverted):
    assert distance(inverted.edit(inverted.prompt), inverted.reconstruct()) < 0.5


def test_words_of_an_edit_are_those_of_the_request(model, example, inverted):
    thing = example.attributes["objects"][0]
    target = example.prompt.replace(thing["colour"], "red")
    words = {"blend": (thing["shape"],), "reweight": {"red": 3.0}}
    request = Edit(target, **words)
    source = inverted.inversion, inverted.prompt
    edited = fpinv.edit(model, inverted.inverter, *source, [request], steps=STEPS)
    one_word = words | {"blend": thing["shape"]}
    requests = ((target, words), (target, one_word), (request, {}))
    for image in (inverted.edit(prompt, **options) for prompt, options in requests):
        assert distance(image, to_pil(edited.images[0])) == 0
    assert distance(inverted.edit(target), inverted.edit(request)) > 0
    with pytest.raises(UserError, match="own blend"):
        inverted.edit(request, blend=words["blend"])


@pytest.mark.parametrize("inverter", ["fpi", "aidi", "edict", "null_text"])
def test_file_brings_image_and_inverter_back(model, example, inverter, tmp_path):
    before = fpinv.invert(model, example.open(), example.prompt, inverter, steps=4, guidance=2)
    before.save(tmp_path / "scene.safetensors")
    after = fpinv.load(tmp_path / "scene.safetensors", model)
    assert after.inverter == before.inverter
    assert (after.prompt, after.steps, after.guidance) == (before.prompt, 4, 2)
    assert distance(after.reconstruct(), before.reconstruct()) == 0


def test_file_of_a_run_is_loaded(model, run_with_inversions):
    file = next(run_with_inversions.glob("inversions/*.safetensors"))
    loaded = fpinv.load(file, model)
    assert loaded.inverter == FixedPoint(2)
    original = Scenes("test")[0].open()
    assert distance(loaded.reconstruct(), original) < 20


def test_file_of_another_model_is_refused(inverted, tmp_path):
    inverted.save(tmp_path / "scene.safetensors")
    tiny = tiny_model("sd15", tmp_path / "tiny")
    with pytest.raises(UserError, match="was made with model"):
        fpinv.load(tmp_path / "scene.safetensors", tiny)


@dataclass(frozen=True)
class Foreign(FixedPoint):
    """An inverter that is no part of the library."""


def test_class_outside_the_library_is_not_made_from_a_file(model, example, tmp_path):
    image = fpinv.invert(model, example.open(), example.prompt, Foreign(1), steps=4)
    image.save(tmp_path / "scene.safetensors")
    with pytest.raises(UserError, match="Foreign"):
        fpinv.load(tmp_path / "scene.safetensors", model)
    loaded = fpinv.load(tmp_path / "scene.safetensors", model, Foreign(1))
    assert distance(loaded.reconstruct(), image.reconstruct()) == 0


def test_file_without_its_settings_is_refused(model, inverted, tmp_path):
    path = tmp_path / "bare.safetensors"
    inverted.inversion.save(path, {"model": "scenes", "prompt": PROMPT})
    with pytest.raises(UserError, match="does not say its steps"):
        fpinv.load(path, model)


@pytest.mark.parametrize("family", ["sd15", "sdxl", "sd3", "flux"])
def test_model_is_loaded_by_its_folder(family, tmp_path):
    expected = tiny_model(family, tmp_path)
    settings = {} if family != "flux" else {"image_size": expected.image_size[0]}
    loaded = fpinv.load_model(str(tmp_path), device="cpu", precision="fp32", **settings)
    assert type(loaded) is type(expected)
    assert loaded.origin.path == expected.origin.path


def test_setting_that_a_model_lacks_is_refused():
    with pytest.raises(UserError, match="model.colour"):
        fpinv.load_model("scenes", colour="blue")


def test_numbers_and_arrays_of_numpy_are_taken(model):
    picture = Image.new("L", (64, 64), 99)
    plain = fpinv.invert(model, picture, PROMPT, "ddim", steps=2, guidance=2.0).noise
    steps, guidance = np.int64(2), np.float32(2)
    grey = np.asarray(picture)
    again = fpinv.invert(model, grey, PROMPT, "ddim", steps=steps, guidance=guidance).noise
    assert torch.equal(plain, again)
