"""The referee of PIE-Bench: both readings of each measure, files of edits, and its command."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure
from torchmetrics.regression import MeanSquaredError
from transformers import CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

import fpinv.models.scenes
from fpinv.datasets.pie_bench import PieBench
from fpinv.errors import UserError
from fpinv.evaluate import scores
from fpinv.evaluate.__main__ import main
from fpinv.evaluate.pie_bench import edited_file, edited_image
from fpinv.evaluate.scores import MEASURES, EditedImage

FREE = "psnr,mse,ssim"  # measures without weights
SCENES = Path(fpinv.models.scenes.__file__).parent
REAL = Path(__file__).parents[2] / "../shared/data/pie_bench"


def entry(kind, mask):
    return {
        "image_path": f"{kind}/{len(mask or [])}.png",
        "original_prompt": "a [red] bird",
        "editing_prompt": "a [blue] bird",
        "editing_instruction": "",
        "editing_type_id": str(kind),
        "blended_word": "",
        "mask": mask,
    }


ENTRIES = {
    "half": entry(6, [0, 512 * 256]),
    "whole": entry(9, [0, 512 * 512, 0, 0]),
    "absent": entry(1, None),
}


@pytest.fixture
def bench(tmp_path):
    root, edits = tmp_path / "bench", tmp_path / "edits"
    chance = np.random.default_rng(0)
    for item in ENTRIES.values():
        path = root / "annotation_images" / item["image_path"]
        path.parent.mkdir(parents=True)
        pixels = chance.integers(40, 200, (512, 512, 3), np.uint8)
        Image.fromarray(pixels).save(path)
        edit = edits / item["image_path"]
        edit.parent.mkdir(parents=True)
        noise = chance.integers(-20, 20, pixels.shape)
        Image.fromarray((pixels + noise).astype(np.uint8)).save(edit)
    (root / "mapping_file.json").write_text(json.dumps(ENTRIES))
    return root, edits


def image(bench, id):
    root, edits = bench
    example = next(example for example in PieBench(str(root)) if example.id == id)
    return edited_image(example, edited_file(edits, example))


def test_published_error_is_the_corrected_one_times_the_background(bench):
    half = image(bench, "half")
    published, corrected = MEASURES["mse"](half)
    background = 1 - half.mask.double().mean().item()
    assert published == pytest.approx(corrected * background, rel=1e-6)
    levels = MEASURES["psnr"](half)
    assert levels[0] == pytest.approx(-10 * np.log10(published), abs=1e-5)
    assert levels[1] == pytest.approx(levels[0] + 10 * np.log10(background), abs=1e-5)


def test_a_large_mask_flatters_the_published_similarity_alone(bench):
    half = image(bench, "half")
    published, corrected = MEASURES["ssim"](half)
    assert published > corrected
    # The corrected one is that of the background, whatever the masked half looks like.
    black = EditedImage(
        torch.where(half.mask[:, None], torch.tensor(-1.0), half.edit),
        half.original, half.mask, True, "",
    )  # fmt: skip
    assert MEASURES["ssim"](black)[1] == pytest.approx(corrected, abs=1e-9)


def test_an_identical_edit_is_perfect_in_both_readings(bench):
    half = image(bench, "half")
    same = EditedImage(half.original, half.original, half.mask, True, "")
    assert MEASURES["mse"](same) == (0, 0)
    assert MEASURES["ssim"](same) == pytest.approx((1, 1))


def test_an_image_without_background_has_no_background_measures(bench):
    assert all(MEASURES[name](image(bench, "whole")) == (None, None) for name in FREE.split(","))


def test_an_image_without_annotated_mask_has_the_published_reading_alone(bench):
    absent = image(bench, "absent")
    published, corrected = MEASURES["mse"](absent)
    assert corrected is None
    inner = (absent.edit - absent.original)[..., 1:-1, 1:-1].double().div(2).square()
    assert published == pytest.approx(inner.sum().item() / absent.edit.numel(), rel=1e-5)


class CLIP:
    """Images and texts 53 degrees apart."""

    def __init__(self, shown):
        self.shown = shown

    def images(self, images):
        self.shown["cosine"] = [images]
        return torch.tensor([[3.0, 4.0]])

    def texts(self, texts):
        self.shown["cosine"] += texts
        return torch.tensor([[1.0, 0.0]])


class Shown:
    """A measure that keeps what it is shown."""

    def __init__(self, measure):
        self.measure = self.background = measure

    def __call__(self, *arguments):
        return self.measure(*arguments)


@pytest.fixture
def shown(monkeypatch):
    """Return what the learned measures, which stand-ins replace, are shown, by their options."""
    shown = {}
    loaders = scores._lpips, scores._structure, scores._clip

    def reading(values):
        def made(*arguments, **options):
            key = (*arguments, *options.values())
            return Shown(lambda *pair: shown.update({key: pair}) or torch.tensor(values[key]))

        return made

    nets = {("squeeze",): 0.1, ("alex",): 0.2}
    ranges = {(255.0, "bilinear", False): 0.3, (1.0, "bicubic", True): 0.4}
    monkeypatch.setattr(scores, "LPIPS", reading(nets))
    monkeypatch.setattr(scores, "DINOStructure", reading(ranges))
    monkeypatch.setattr(scores, "_clip_score", reading({(): 31.0}))
    monkeypatch.setattr(scores, "OpenCLIP", lambda: CLIP(shown))
    for loader in loaders:
        loader.cache_clear()
    yield shown
    for loader in loaders:
        loader.cache_clear()


def assert_shown(pair, expected):
    for image, other in zip(pair, expected, strict=True):
        assert torch.allclose(image, other, atol=1e-6)


def test_lpips_has_black_in_the_mask_in_one_reading_and_leaves_it_out_in_the_other(bench, shown):
    half = image(bench, "half")
    assert MEASURES["lpips"](half) == pytest.approx((0.1, 0.2))
    mask = half.mask[:, None]
    assert_shown(shown[("squeeze",)], [torch.where(mask, -1.0, x) for x in half.pair])
    assert_shown(shown[("alex",)][:2], half.pair)
    assert torch.equal(shown[("alex",)][2], half.mask)


@pytest.mark.parametrize("id", ENTRIES)
def test_structure_is_that_of_whole_images_in_both_readings(bench, shown, id):
    whole = image(bench, id)
    assert MEASURES["structure"](whole) == pytest.approx((0.3, 0.4))
    for options in ((255.0, "bilinear", False), (1.0, "bicubic", True)):
        assert_shown(shown[options], whole.pair)


def test_clip_has_the_edit_in_bytes_in_one_reading_and_the_cosine_in_the_other(bench, shown):
    half = image(bench, "half")
    assert MEASURES["clip"](half) == pytest.approx((0.31, 0.6))
    (pixels, prompt), (edit, text) = shown[()], shown["cosine"]
    assert pixels.dtype == torch.uint8 and prompt == text == "a blue bird"
    assert_shown((pixels / 127.5 - 1, edit[0]), half.edit.expand(2, -1, -1, -1))


def test_the_published_fit_is_the_cosine_of_the_features_of_transformers(
    bench, tmp_path, monkeypatch
):
    """The weights are the bundled ones; the loading and torchmetrics' score are the real ones."""
    network = CLIPModel.from_pretrained(SCENES / "clip", dtype=torch.float32)
    side = network.config.vision_config.image_size
    pictures = CLIPImageProcessor(size={"shortest_edge": side}, crop_size=side)
    processor = CLIPProcessor(pictures, CLIPTokenizer.from_pretrained(SCENES / "tokenizer"))
    for part in (network, processor):
        part.save_pretrained(tmp_path / "clip-openai")
    monkeypatch.setattr(scores, "CLIP_NAME", str(tmp_path / "clip-openai"))
    monkeypatch.setattr(scores, "_clip_score", scores._clip_score.__wrapped__)
    half = image(bench, "half")
    inputs = processor(
        images=[((half.edit[0] + 1) * 127.5).round().byte()],
        text=[half.prompt],
        return_tensors="pt",
        padding=True,
    )
    with torch.no_grad():
        cosine = network(**inputs).logits_per_image / network.logit_scale.exp()
    assert MEASURES["clip"].published(half).item() == pytest.approx(cosine.item(), abs=1e-6)


def test_clip_in_the_mask_has_black_outside_it(bench, shown):
    half = image(bench, "half")
    assert MEASURES["clip_inside"](half) == (pytest.approx(0.31), None)
    pixels, prompt = shown[()]
    inside = torch.where(half.mask[:, None], half.edit, -1.0)
    assert pixels.dtype == torch.uint8 and prompt == "a blue bird"
    assert_shown([pixels / 127.5 - 1], inside)


def test_edits_are_found_in_every_layout_and_at_the_end_of_a_strip(bench, tmp_path):
    root, edits = bench
    example = PieBench(str(root))[0]
    first = edits / ENTRIES["half"]["image_path"]
    nested = tmp_path / "nested" / "annotation_images" / ENTRIES["half"]["image_path"]
    run = tmp_path / "run" / "images" / "half" / "edit.png"
    for file in (nested, run):
        file.parent.mkdir(parents=True)
    edit = Image.open(first)
    edit.save(run)
    strip = Image.new("RGB", (512 * 4, 512))
    strip.paste(edit, (512 * 3, 0))
    strip.save(nested)
    images = [
        edited_image(example, edited_file(folder, example))
        for folder in (edits, tmp_path / "nested", tmp_path / "run")
    ]
    assert all(torch.equal(images[0].edit, other.edit) for other in images[1:])
    assert edited_file(tmp_path, example) is None
    strip.save(run)
    with pytest.raises(UserError, match="PIE-Bench's images are squares"):
        edited_image(example, run)


def test_the_table_says_how_many_images_have_no_mask(bench, capsys):
    root, edits = bench
    assert main(["pie_bench", str(edits), "--root", str(root), "--measures", FREE]) == 0
    assert capsys.readouterr().out.startswith(
        "3 of 3 edits; without a mask in the mapping file: 1,"
    )


def test_the_table_says_how_many_edits_have_another_size(bench, capsys):
    root, edits = bench
    file = edits / ENTRIES["half"]["image_path"]
    Image.open(file).resize((64, 64)).save(file)
    assert main(["pie_bench", str(edits), "--root", str(root), "--measures", FREE]) == 0
    assert "; not of 512 pixels: 1, which the published code refuses" in capsys.readouterr().out


def test_a_measure_without_weights_is_left_out_whichever_edit_comes_first(bench, capsys):
    root, edits = bench
    whole = {name: ENTRIES[name] for name in ("whole", "half")}
    (root / "mapping_file.json").write_text(json.dumps(whole))
    arguments = ["pie_bench", str(edits), "--root", str(root), "--measures", "psnr,lpips"]
    assert main(arguments) == 0
    assert capsys.readouterr().err.startswith("left out: lpips: ")


def test_a_library_that_fails_costs_its_own_measure_alone(bench, capsys, monkeypatch):
    monkeypatch.setattr(scores, "_lpips", lambda net: torch.zeros(1).norm_of_nothing)
    root, edits = bench
    arguments = ["pie_bench", str(edits), "--root", str(root), "--measures", "lpips,mse"]
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert shown.err.startswith("left out: lpips: AttributeError: ") and "| MSE" in shown.out


def test_a_benchmark_below_a_folder_of_the_name_of_its_own_is_found(bench, tmp_path):
    root, edits = bench
    outer = tmp_path / "annotation_images" / "bench"
    outer.parent.mkdir()
    root.rename(outer)
    assert edited_file(edits, PieBench(str(outer))[0]) is not None


def test_the_command_writes_scores_and_names_what_it_leaves_out(bench, tmp_path, capsys):
    root, edits = bench
    (edits / ENTRIES["absent"]["image_path"]).unlink()
    out = tmp_path / "out"
    arguments = ["pie_bench", str(edits), "--root", str(root), "--out", str(out)]
    assert main([*arguments, "--measures", f"{FREE},clip"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("2 of 3 edits\n")
    assert shown.err.startswith("left out: clip: ") and shown.err.count("\n") == 1
    assert "| change colour | 1 |" in (out / "results.md").read_text()
    rows = list(csv.DictReader((out / "scores.csv").read_text().splitlines()))
    assert [row["id"] for row in rows] == ["half", "whole"]
    assert float(rows[0]["psnr_published"]) > float(rows[0]["psnr_corrected"])
    assert rows[1]["psnr_published"] == ""


@pytest.mark.parametrize(
    "arguments, line",
    [
        (["--measures", "beauty"], "--measures has 'beauty': choose from psnr,"),
        (["--root", "nowhere"], "nowhere: no such folder"),
        (["--speed", "1"], "unrecognized arguments: --speed 1; python -m fpinv.evaluate --help"),
        ([], "the following arguments are required: --root"),
    ],
)
def test_wrong_arguments_end_in_one_line(bench, arguments, line, capsys):
    root, edits = bench
    given = [] if "--root" in arguments or not arguments else ["--root", str(root)]
    assert main(["pie_bench", str(edits), *given, *arguments]) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1


def test_a_folder_without_edits_is_refused(bench, tmp_path, capsys):
    root, _ = bench
    assert main(["pie_bench", str(tmp_path), "--root", str(root)]) == 2
    error = capsys.readouterr().err
    assert "holds no edited image" in error and "annotation_images/6/2.png" in error


def definitions(image):
    """Return PSNR, MSE and SSIM of an edit by PnPInversion's definitions.

    The masked pixels of both pictures are multiplied by 0 in NumPy, and torchmetrics' classes
    take all pixels.
    """
    keep = (~image.mask[0]).numpy().astype(np.float32)[..., None]
    arrays = [((x[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy() for x in image.pair]
    masked = [x.astype(np.float32) / 255 * keep for x in arrays]
    edit, original = (torch.tensor(x).permute(2, 0, 1)[None] for x in masked)
    return {
        "psnr": PeakSignalNoiseRatio(data_range=1.0)(edit, original),
        "mse": MeanSquaredError()(edit[0].contiguous(), original[0].contiguous()),
        "ssim": StructuralSimilarityIndexMeasure(data_range=1.0)(edit, original),
    }


def test_published_readings_are_those_of_their_definitions(bench):
    for example in (image(bench, "half"), image(bench, "absent")):
        for name, value in definitions(example).items():
            assert MEASURES[name](example)[0] == pytest.approx(value.item(), rel=1e-6)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data/pie_bench")
def test_published_readings_on_real_masks_are_those_of_their_definitions():
    for example in PieBench(str(REAL)):
        edited = edited_image(example, example.image)
        shifted = EditedImage(edited.original.roll(3, -1), edited.original, edited.mask, True, "")
        for name, value in definitions(shifted).items():
            expected = value.item() if shifted.has_background else None
            assert MEASURES[name](shifted)[0] == pytest.approx(expected, rel=1e-6)


def test_an_oblong_edit_is_refused(bench, capsys):
    root, edits = bench
    Image.new("RGB", (768, 512)).save(edits / ENTRIES["half"]["image_path"])
    assert main(["pie_bench", str(edits), "--root", str(root), "--measures", FREE]) == 2
    assert "has 768x512 pixels: an edit is a square" in capsys.readouterr().err


def test_an_unreadable_edit_is_named(bench, capsys):
    root, edits = bench
    (edits / ENTRIES["half"]["image_path"]).write_text("no picture")
    assert main(["pie_bench", str(edits), "--root", str(root), "--measures", FREE]) == 2
    assert "cannot be read as an image" in capsys.readouterr().err
    with pytest.raises(UserError):
        image(bench, "half")
