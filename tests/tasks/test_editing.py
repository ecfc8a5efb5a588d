"""The editing task: shared inversions, complete records, errors that cost one edit each."""

from dataclasses import dataclass, is_dataclass, replace

import numpy as np
import pytest
import torch
from PIL import Image
from pipelines import tiny_sd15

from fpinv import Anderson, Averaged, FixedPoint, StableDiffusion
from fpinv.datasets.example import EditCase, Example
from fpinv.editing.recipe import PromptToPrompt
from fpinv.editing.request import Edit
from fpinv.errors import UserError
from fpinv.inverters.adjustment import PromptAware, Unadjusted
from fpinv.inverters.ddim import DDIM
from fpinv.inverters.edict import EDICT
from fpinv.inverters.renoise import ReNoise
from fpinv.inverters.whitening import Whitening
from fpinv.reporting.grid import strip
from fpinv.run.folder import RunFolder
from fpinv.tasks.editing import Editing
from fpinv.tasks.saved_inversions import entries_of
from fpinv.tasks.task import Settings

SIZE = 64
PROMPT = "a red star"
TARGETS = ("a blue star", "a red dotted star", "a red moon")
EXACT = FixedPoint(8, 1e-6)
PLAIN = Unadjusted()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tiny_sd15(tmp_path_factory.mktemp("pipelines") / "sd15")
    return StableDiffusion(str(folder), name="tiny", device="cpu")


def picture(seed=0):
    levels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(levels).resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def left_half():
    mask = np.zeros((SIZE, SIZE), bool)
    mask[:, : SIZE // 2] = True
    return mask


def example(target=TARGETS[0], image="one", **case):
    edit = target if isinstance(target, Edit) else Edit(target)
    facts = {"mask": left_half, "truth": lambda: picture(9)} | case
    seed = sum(map(ord, image))
    return Example(
        f"{image}-{edit.prompt.replace(' ', '_')}",
        PROMPT,
        picture(seed),
        attributes={"change": "colour", "background": "white"},
        case=EditCase(edit, image, **facts),
    )


def settings(**change):
    return Settings(**{"steps": 3, "guidance": 1.0, "seed": 0, "batch_size": 4} | change)


def run(model, items, task=None, inverter=None, **change):
    return list((task or Editing())(model, inverter or DDIM(), items, settings(**change)))


@dataclass(frozen=True)
class Counting(DDIM):
    """DDIM inversion that records the number of images of each call."""

    counts: tuple = ()

    def invert(self, denoiser, z0, condition):
        self.counts[0].append(len(z0))
        return super().invert(denoiser, z0, condition)


def test_pictures_that_cannot_be_measured_cost_their_edit_alone(model):
    narrow = replace(
        example(), id="narrow", image=picture(1).resize((SIZE * 20, SIZE)), case=example().case
    )
    uneven = example(image="uneven", mask=None, truth=lambda: picture(9).resize((SIZE, SIZE // 2)))
    records = run(model, [narrow, uneven, example(TARGETS[1])], crop="none")
    assert "too narrow to be measured" in records[0].error
    assert "the picture of the true edit has 64x32 pixels" in records[1].error
    assert records[2].error is None


def test_uncropped_pictures_of_several_sizes_share_a_run(model):
    sizes = {"wide": (100, 60), "high": (60, 100), "wider": (100, 60)}  # 64 x 38 fits into 64 x 64
    cases = []
    for name, size in sizes.items():
        case = EditCase(Edit(TARGETS[0]), name, np.ones(size[::-1], bool))
        shown = picture(len(cases)).resize(size)
        cases.append(Example(name, PROMPT, shown, case=case))
    records = run(model, cases, crop="none")
    assert [r.id for r in records] == list(sizes)
    for record, case in zip(records, cases, strict=True):
        (alone,) = run(model, [case], crop="none")
        assert record.metrics["reconstruction_psnr"] == pytest.approx(
            alone.metrics["reconstruction_psnr"], abs=1e-3
        )
        expected = {"wide": (64, 38), "wider": (64, 38), "high": (38, 64)}[record.id]
        names = ("original", "reconstruction", "edit", "mask")
        assert {record.images[name].size for name in names} == {expected}


def test_record_of_an_edit_is_complete(model):
    blended = example(Edit(TARGETS[0], blend=("red", "blue")), instruction="make it blue")
    record = run(model, [blended, example(TARGETS[1])], inverter=EXACT, guidance=2.0)[0]
    m = record.metrics
    assert set(Editing.metrics) <= m.keys()
    assert m["truth_psnr"] > 0 and m["background_psnr"] > 0 and 0 < m["blend_share"] <= 1
    assert m["reconstruction_latent_psnr"] > 20
    assert m["nfe_rows"] == 2 * m["nfe_calls"] > 0
    assert (m["sample_nfe_calls"], m["sample_nfe_rows"]) == (3, 3 * 2 * 3 / 2)
    assert m["edit_accuracy"] is None and m["seconds_per_image"] > 0
    words = {"target": TARGETS[0], "change": "colour", "instruction": "make it blue"}
    assert record.texts == words
    names = ["original", "reconstruction", "edit", "mask", "truth"]
    assert list(record.images) == [*names, "strip"]
    heads = {"mask": "may change: white", "truth": "perfect edit"}
    expected = strip({heads.get(name, name): record.images[name] for name in names})
    assert np.array_equal(np.asarray(record.images["strip"]), np.asarray(expected))


def test_metrics_without_mask_or_truth_are_none(model):
    record = run(model, [example(mask=None, truth=None)])[0]
    for name in ("truth_psnr", "background_psnr", "background_ssim", "background_mse"):
        assert record.metrics[name] is None
    assert list(record.images) == ["original", "reconstruction", "edit", "mask", "strip"]


def test_masks_and_truths_may_be_missing_for_some_cases(model):
    items = [example(), example(TARGETS[1], mask=None), example(TARGETS[2], truth=None)]
    mixed = [(r.metrics["truth_psnr"], r.metrics["background_psnr"]) for r in run(model, items)]
    alone = [
        (r.metrics["truth_psnr"], r.metrics["background_psnr"]) for r in run(model, items[:1])
    ]
    assert [(a is None, b is None) for a, b in mixed] == [(0, 0), (0, 1), (1, 0)]
    assert mixed[0] == pytest.approx(alone[0], rel=1e-4)


@pytest.mark.parametrize("batch_size", [1, 2, 4, 8])
def test_image_is_inverted_once_at_every_batch_size(model, batch_size):
    items = [example(t, image) for image in ("one", "two") for t in TARGETS]
    inverter = Counting(counts=([],))
    records = run(model, items, inverter=inverter, batch_size=batch_size)
    assert sum(inverter.counts[0]) == 2
    assert [r.id for r in records] == [e.id for e in items]
    whole = run(model, items, batch_size=6)
    for a, b in zip(records, whole, strict=True):
        for name in ("background_mse", "truth_psnr", "reconstruction_psnr", "nfe_calls"):
            assert a.metrics[name] == pytest.approx(b.metrics[name], rel=1e-3)


def test_blend_mask_does_not_depend_on_the_batch(model):
    items = [example(Edit(TARGETS[0], blend=("blue",))), example(TARGETS[1])]
    task = Editing(recipe=PromptToPrompt(blend_threshold=0.99))
    together, alone = run(model, items, task), run(model, items, task, batch_size=1)
    for a, b in zip(together, alone, strict=True):
        assert a.metrics["blend_share"] == b.metrics["blend_share"]
        assert list(a.images) == list(b.images)
        assert np.array_equal(np.asarray(a.images["mask"]), np.asarray(b.images["mask"]))
    assert together[0].metrics["blend_share"] < 1 == together[1].metrics["blend_share"]


def test_identity_edit_equals_the_reconstruction(model):
    record = run(model, [example(PROMPT)], inverter=EXACT)[0]
    edit, source = (np.asarray(record.images[n]) for n in ("edit", "reconstruction"))
    assert np.array_equal(edit, source)


def test_targets_take_the_guidance_of_the_task_and_sources_of_the_run(model):
    low, high = (run(model, [example()], Editing(guidance=g))[0] for g in (1.0, 6.0))
    default = run(model, [example()], Editing(guidance=None))[0]
    assert low.metrics["background_mse"] == pytest.approx(default.metrics["background_mse"])
    assert high.metrics["background_mse"] != pytest.approx(low.metrics["background_mse"])
    for record in (high, default):
        expected = pytest.approx(low.metrics["reconstruction_psnr"], rel=1e-5)
        assert record.metrics["reconstruction_psnr"] == expected


def test_blend_and_recipe_are_options_of_the_task(model):
    item = example(Edit(TARGETS[0], blend=("blue",)))
    assert run(model, [item], Editing(blend=False))[0].metrics["blend_share"] == 1
    a, b = (run(model, [item], Editing(recipe=PromptToPrompt(s)))[0] for s in (0.0, 1.0))
    assert a.metrics["truth_psnr"] != b.metrics["truth_psnr"]


def test_adjustment_precedes_the_inversion(model):
    adjusted = run(model, [example()], Editing(adjustment=PromptAware(1, 1)), EXACT)[0]
    assert adjusted.metrics["reconstruction_latent_psnr"] > 60
    plain = run(model, [example()], inverter=EXACT)[0]
    assert adjusted.metrics["truth_psnr"] != plain.metrics["truth_psnr"]


def test_learned_metrics_are_recorded_by_their_names(model):
    class Distance:
        def __init__(self, name):
            self.name = name

        def __call__(self, images, reference):
            return (images - reference).abs().mean((1, 2, 3))

    class Clip:
        name = "clip_toy"

        def images(self, images):
            return images.mean((2, 3))

        def texts(self, texts):
            return torch.tensor([[len(t), t.count("a"), 1.0] for t in texts])

    def reader(images):
        read.append(len(images))
        return [{"background": "white", "objects": []} for _ in images]

    read: list[int] = []

    task = Editing(
        similarity=Clip(), perceptual=Distance("lpips"), structure=Distance("dino"), reader=reader
    )
    after = {"background": "white", "objects": []}
    scene, photo = run(model, [example(attributes=after), example(TARGETS[1])], task)
    for name in ("clip_toy", "clip_toy_direction", "lpips", "dino"):
        assert scene.metrics[name] != 0
    assert scene.metrics["kept_accuracy"] == 1 and photo.metrics["kept_accuracy"] is None
    assert read == [1], "the second example has no attributes to be read"
    run(model, [example()], task)
    assert read == [1]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (example(Edit(TARGETS[0], blend=("moon",))), "word to blend 'moon' is in neither"),
        (example(" "), "the prompt ' ' is empty"),
        (example("x" * 78), "has 80 tokens"),
        (example(mask=np.zeros((5, 7), bool)), "its mask has 7x5 pixels and the image 64x64"),
        (replace(example(), image=None), "has no image"),
        (replace(example(), image=lambda: 1 / 0), "cannot be read as an image (division by zero)"),
        (replace(example(), prompt=""), "the prompt '' is empty"),
    ],
)
def test_impossible_edit_fails_alone(model, broken, message):
    records = run(model, [example(TARGETS[1]), replace(broken, id="x"), example(TARGETS[2])])
    assert [r.error is None for r in records] == [True, False, True]
    assert records[1].id == "x" and message in records[1].error and "\n" not in records[1].error


def test_batch_of_unreadable_images_yields_their_errors(model):
    broken = [replace(example(), id=str(k), image=None) for k in range(3)]
    assert all(r.error for r in run(model, broken))


def test_data_set_without_edits_raises_user_error(model):
    with pytest.raises(
        UserError, match="has no edits: use one that has, e.g. dataset=scene_edits"
    ):
        run(model, [Example("x", PROMPT, picture())])


@pytest.mark.parametrize("part", ["noise", "residual"])
def test_diverged_edit_fails_alone(model, part):
    class Diverging(FixedPoint):
        def invert(self, denoiser, z0, condition):
            inversion = super().invert(denoiser, z0, condition)
            values = getattr(inversion, part)
            (values if part == "noise" else values.T)[0] = float("inf")
            return inversion

    records = run(model, [example(), example(TARGETS[1], "two")], inverter=Diverging())
    assert [r.error is None for r in records] == [False, True]
    assert "not finite" in records[0].error


def test_saved_inversions_replace_the_inversion(model, tmp_path):
    items = [example(t) for t in TARGETS]
    about = {"model": "tiny", "steps": 3, "guidance": 1.0}
    folder = RunFolder(tmp_path / "run")
    inverted = run(model, items, inverter=Counting(counts=([],)))
    for record in inverted:
        folder.append(record, entries=entries_of(record, about))
    assert len(list((folder.path / "inversions").iterdir())) == 1
    inverter = Counting(counts=([],))
    again = run(model, items, Editing(inversions=str(folder.path)), inverter)
    assert inverter.counts == ([],)
    for a, b in zip(inverted, again, strict=True):
        assert a.metrics["truth_psnr"] == b.metrics["truth_psnr"]
        latents = "reconstruction_latent_psnr"
        assert a.metrics[latents] == pytest.approx(b.metrics[latents])
        assert a.metrics["seconds_per_image"] and b.metrics["seconds_per_image"] is None

    mismatched = run(
        model, [replace(items[0], prompt="a red sun")], Editing(inversions=folder.path)
    )
    assert "was made with prompt 'a red star', not 'a red sun'" in mismatched[0].error
    guided = run(model, items, Editing(inversions=folder.path), guidance=3.0)
    assert "was made with guidance 1.0, not 3.0" in guided[0].error
    replaced = replace(items[0], image=picture().rotate(90))
    changed = run(model, [replaced], Editing(inversions=folder.path))
    assert "was made of another picture of this name: invert it again" in changed[0].error
    missing = run(model, [example(image="two")], Editing(inversions=folder.path))
    assert "two.safetensors: no such inversion" in missing[0].error


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ({"crop": "none"}, "was made with crop 'none', not 'center'"),
        ({"seed": 1, "noised_steps": 1}, "was made with seed 1, not 0"),
    ],
)
def test_saved_inversions_are_for_their_crop_and_for_the_seed_of_their_noise(
    model, tmp_path, stored, words
):
    folder = RunFolder(tmp_path / "run")
    about = {"model": "tiny", "steps": 3, "guidance": 1.0, **stored}
    for record in run(model, [example()], inverter=DDIM()):
        folder.append(record, entries=entries_of(record, about))
    noised = stored.get("noised_steps", 0)
    editing = Editing(inversions=str(folder.path))
    (record,) = run(model, [example()], editing, DDIM(), noised_steps=noised)
    assert words in record.error


def test_saved_inversions_are_for_the_inverter_and_the_adjustment_that_made_them(model, tmp_path):
    def stored(component):
        nested = {k: stored(v) if is_dataclass(v) else v for k, v in vars(component).items()}
        listed = {k: list(v) if isinstance(v, tuple) else v for k, v in nested.items()}
        return {"_target_": f"x.{type(component).__name__}", **listed}

    def saved(name, inverter, adjustment=PLAIN):
        folder = RunFolder(tmp_path / name)
        config = {"inverter": stored(inverter), "adjustment": stored(adjustment)}
        about = {"model": "tiny", "steps": 3, "guidance": 1.0, "config": config}
        for record in run(model, [example()], inverter=inverter):
            folder.append(record, entries=entries_of(record, about))
        return str(folder.path)

    def errors(folder, inverter, **task):
        editing = Editing(inversions=folder, **task)
        return [r.error for r in run(model, [example()], editing, inverter)]

    part, plain = saved("part", EDICT(strength=0.7)), saved("plain", DDIM())
    nested = saved("nested", ReNoise(whitening=Whitening(steps=1)))
    mixed = saved("mixed", FixedPoint(2, acceleration=Anderson(3)))
    adjusted = saved("adjusted", DDIM(), PromptAware())
    assert errors(part, EDICT(strength=0.7)) == errors(plain, DDIM()) == [None]
    assert errors(nested, ReNoise(whitening=Whitening(steps=1))) == [None]
    assert errors(adjusted, DDIM(), adjustment=PromptAware()) == [None]
    again = run(model, [example()], Editing(inversions=adjusted, adjustment=PromptAware()))
    assert again[0].metrics["reconstruction_latent_psnr"] is None, "what was inverted is not saved"
    assert again[0].metrics["reconstruction_psnr"] is not None
    for folder, inverter, words in (
        (part, EDICT(), "was made with strength=0.7: use the inverter that made it"),
        (part, DDIM(), "was made with EDICT: use the inverter that made it"),
        (plain, EDICT(), "was made with DDIM: use the inverter that made it"),
        (plain, EXACT, "was made with DDIM: use the inverter that made it"),
        (nested, ReNoise(), "use the inverter that made it"),
        (mixed, FixedPoint(2, acceleration=Averaged()), "was made with acceleration="),
        (adjusted, DDIM(), "was made with PromptAware: use the adjustment that made it"),
    ):
        (error,) = errors(folder, inverter)
        assert words in error


def test_folder_without_inversions_raises_user_error_on_creation(tmp_path):
    with pytest.raises(UserError, match="holds no inversions: name the folder of a run"):
        Editing(inversions=str(tmp_path))
