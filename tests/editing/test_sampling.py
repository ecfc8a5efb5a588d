"""Edits through whole pipelines of all three classes."""

from dataclasses import dataclass, replace
from itertools import combinations

import pytest
import torch
import toy
from pipelines import tiny_sd15, tiny_sd21, tiny_sdxl

from fpinv import FixedPoint, Inversion, StableDiffusion, square
from fpinv.datasets import scenes
from fpinv.datasets.scenes import Change, caption, render, sample_scene
from fpinv.editing.controllers import LocalBlend, Moment, Refine, Replace, Reweight, SelfReplace
from fpinv.editing.recipe import PromptToPrompt
from fpinv.editing.request import Edit
from fpinv.editing.sampling import EditingDenoiser, edit, plan_branches, sample_branches
from fpinv.errors import UserError
from fpinv.inverters.ddim import DDIM
from fpinv.metrics.pixels import background_mse
from fpinv.sampling import DDIMSampling, sample, walk_down

SOURCE = "a red star on white"
TARGETS = ["a blue star on white", "a red dotted star on white"]
STEPS = 4
KINDS = {"sd15": tiny_sd15, "sd21": tiny_sd21, "sdxl": tiny_sdxl}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("pipelines")
    return {kind: build(root / kind) for kind, build in KINDS.items()}


@pytest.fixture(scope="module")
def model(folders):
    return load(folders["sd15"])


def load(folder, **options):
    return StableDiffusion(str(folder), name="tiny", device="cpu", **options)


def inverted(model, prompts=(SOURCE,), guidance=1.0, inverter=None):
    generator = torch.Generator().manual_seed(1)
    z0 = torch.randn(len(prompts), *model.latent_shape, generator=generator)
    condition = model.condition(list(prompts), guidance)
    return (inverter or DDIM()).invert(model.denoiser(STEPS), z0, condition)


def sampled(model, inversion, edits, sources=(SOURCE,), inverter=None, recipe=None, **guidance):
    branches = plan_branches(model, sources, edits, recipe or PromptToPrompt())
    guidance = {"guidance": 1.0} | guidance
    return sample_branches(model, inverter or DDIM(), inversion, branches, STEPS, **guidance)


def assert_close(result, expected, tolerance=1e-5):
    """Check equality but for rounding, which differs between batches of different size."""
    assert result.shape == expected.shape
    assert (result - expected).norm() <= tolerance * expected.norm()


def plainly(model, noise, prompt, guidance):
    with torch.no_grad():
        return sample(model.denoiser(STEPS), noise, model.condition([prompt], guidance))


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_identity_edit_equals_the_reconstruction(model, guidance):
    inversion = inverted(model, guidance=guidance)
    request = Edit(SOURCE, blend=("star",), reweight={"red": 1})
    result = sampled(model, inversion, [[SOURCE, request]], guidance=guidance)
    reconstruction = DDIM().sample(
        model.denoiser(STEPS), inversion, model.condition([SOURCE], guidance)
    )
    assert_close(result.sources, reconstruction)
    for target in result.targets:
        assert_close(target, reconstruction[0])


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_words_are_found_where_loaded_embeddings_put_them(folders, kind):
    model = load(folders[kind])
    pipeline = model.pipeline
    for tail in ("", "_2")[: 1 + (kind == "sdxl")]:
        pipeline.load_textual_inversion(
            {"<toy>": torch.randn(3, 32)},
            token="<toy>",
            tokenizer=getattr(pipeline, f"tokenizer{tail}"),
            text_encoder=getattr(pipeline, f"text_encoder{tail}"),
        )
    request = Edit("a <toy> star", reweight={"star": 2, "<toy>": 3})
    recipe = PromptToPrompt(cross_steps=0.0, reweight_steps=1)
    plans = plan_branches(model, ["a red star"], [[request]], recipe)
    weights = plans.plans(Moment(0, STEPS)).target_weights[0]
    assert weights[:10].tolist() == [1, 1, 3, 3, 3, 2, 2, 2, 2, 1]
    assert model.embed(["a <toy> star"]).tokens.shape[:2] == (1, 77)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_target_without_controllers_equals_plain_guided_sampling(model, guidance):
    inversion = inverted(model)
    free = [Edit(prompt, controllers=()) for prompt in TARGETS]
    result = sampled(model, inversion, [free], guidance=guidance)
    for target, prompt in zip(result.targets, TARGETS, strict=True):
        expected = plainly(model, inversion.noise, prompt, guidance)
        assert_close(target, expected[0])


@pytest.mark.parametrize("source", [1.0, 2.0])
def test_target_guidance_applies_to_targets_alone(model, source):
    inversion = inverted(model, guidance=source)
    free = [[Edit(TARGETS[0], controllers=())]]
    result = sampled(model, inversion, free, guidance=source, target_guidance=5.0)
    assert_close(result.sources, plainly(model, inversion.noise, SOURCE, source))
    expected = plainly(model, inversion.noise, TARGETS[0], 5.0)
    assert torch.allclose(result.targets, expected, atol=1e-4)
    assert (result.calls, result.rows) == (STEPS, 2 * 2 * STEPS)


@pytest.mark.parametrize(
    ("kind", "side"),
    [("sd15", 64), ("sd15", 96), ("sd15", 128), ("sd15", 76), ("sd21", 64), ("sd21", 96)]
    + [("sd21", 128), ("sdxl", 64), ("sd15", (64, 96)), ("sdxl", (76, 44))],
)
def test_edits_run_on_every_pipeline_class_and_image_size(folders, kind, side):
    model = load(folders[kind], image_size=side)
    requests = [SOURCE, Edit(TARGETS[0], blend=("red", "blue"))]
    result = edit(model, DDIM(), inverted(model), SOURCE, requests, steps=STEPS)
    height, width = model.image_size
    assert result.images.shape == (2, 3, height, width)
    assert torch.allclose(result.images[0], result.reconstruction, atol=1e-5)
    assert result.masks.shape == (2, height // 4, width // 4) and result.masks[0].all()
    assert (result.images[1] - result.reconstruction).abs().max() > 1e-4


def test_batch_of_images_equals_each_image_alone(model):
    prompts = [SOURCE, "two cats"]
    edits = [TARGETS, [Edit("two dogs", blend=("cats", "dogs"))]]
    inversion = inverted(model, prompts)
    together = sampled(model, inversion, edits, prompts, guidance=2.0)
    start = 0
    for k, (prompt, requests) in enumerate(zip(prompts, edits, strict=True)):
        image = inversion[slice(k, k + 1)]
        alone = sampled(model, image, [requests], [prompt], guidance=2.0)
        rows = slice(start, start := start + len(requests))
        assert_close(together.targets[rows], alone.targets, 1e-4)
        assert_close(together.sources[k], alone.sources[0], 1e-4)


def test_one_inversion_or_its_file_serves_ten_edits(model, tmp_path):
    calls = []

    @dataclass(frozen=True)
    class Counting(FixedPoint):
        def invert(self, denoiser, z0, condition):
            calls.append(len(z0))
            return super().invert(denoiser, z0, condition)

    colours = "blue green pink grey black brown gold cyan teal lime".split()
    targets = [f"a {colour} star on white" for colour in colours]
    inversion = inverted(model, inverter=Counting(2))
    result = sampled(model, inversion, [targets], inverter=Counting(2))
    assert len(result.targets) == 10 and calls == [1]
    assert (result.calls, result.rows) == (STEPS, STEPS * 11)

    inversion.save(tmp_path / "one.safetensors", {"prompt": SOURCE, "steps": STEPS})
    loaded, about = Inversion.load(tmp_path / "one.safetensors")
    again = edit(model, Counting(2), loaded, about["prompt"], targets, steps=about["steps"])
    assert calls == [1]
    assert torch.equal(again.images, model.decode(result.targets))


def test_background_of_a_blend_equals_the_reconstruction(model):
    inversion = inverted(model)
    request = Edit(TARGETS[0], controllers=(LocalBlend(("blue",), threshold=0.99, start=0),))
    result = sampled(model, inversion, [[request]])
    free = result.masks[0]
    assert 0 < free.float().mean() < 1
    assert torch.equal(result.targets[0][:, ~free], result.sources[0][:, ~free])
    assert not torch.equal(result.targets[0][:, free], result.sources[0][:, free])


def test_every_controller_changes_the_result(model):
    inversion = inverted(model)
    chains = [(), (Replace(),), (SelfReplace(1),), (Reweight({"blue": 3}),), (Refine(0.5),)]
    edits = [[Edit(TARGETS[0], controllers=chain) for chain in chains]]
    targets = sampled(model, inversion, edits).targets
    for k, m in combinations(range(len(chains)), 2):
        assert (targets[k] - targets[m]).abs().max() > 1e-4


@dataclass(frozen=True)
class TwoCalls(DDIMSampling):
    """A sampler with two network calls a step and two latents, like a coupled method's."""

    hooked: bool = True

    def sample(self, denoiser, inversion, condition, on_step=None):
        schedule = denoiser.schedule

        def step(pair, i):
            x, y = pair
            x = schedule.transfer(x, denoiser(y, i, condition), i, i - 1)
            return x, schedule.transfer(y, denoiser(y, i, condition), i, i - 1)

        pair, on_step = (inversion.noise,) * 2, on_step if self.hooked else None
        return walk_down(step, pair, schedule.steps, on_step=on_step)[0]


def test_sampler_with_two_calls_a_step_counts_one_step(model):
    inversion, requests = inverted(model), [[Edit(TARGETS[0], blend=("star",))]]
    once = sampled(model, inversion, requests)
    twice = sampled(model, inversion, requests, inverter=TwoCalls())
    assert torch.allclose(once.targets, twice.targets, atol=1e-5)
    assert twice.calls == 2 * once.calls


def test_the_middle_of_a_step_is_a_moment_of_that_step(model):
    class Stage:
        numbers = []

        def enter(self, number, *_):
            self.numbers.append(number)

    branches = plan_branches(model, [SOURCE], [TARGETS[:1]], PromptToPrompt())
    denoiser = EditingDenoiser(toy.denoiser(3, "flow"), branches, Stage(), None, top=3)
    for i in (3, 2.5, 2, 1.5, 1, 0.5):
        denoiser(toy.latents(2), i, toy.condition(2))
    assert Stage.numbers == [0, 0, 1, 1, 2, 2]


def test_blend_with_an_inverter_without_hook_raises_user_error(model):
    requests = [[Edit(TARGETS[0], blend=("star",))]]
    with pytest.raises(UserError, match="TwoCalls does not call on_step"):
        sampled(model, inverted(model), requests, inverter=TwoCalls(hooked=False))
    sampled(model, inverted(model), [TARGETS], inverter=TwoCalls(hooked=False))


def test_inversion_marks_the_source_rows_for_the_inverter(model):
    @dataclass(frozen=True)
    class Correcting(DDIMSampling):
        def sample(self, denoiser, inversion, condition, on_step=None):
            z = sample(denoiser, inversion.noise, condition, on_step=on_step)
            return z + inversion.source[:, None, None, None]

    inversion = inverted(model)
    result = sampled(model, inversion, [TARGETS], inverter=Correcting())
    plain = sampled(model, inversion, [TARGETS])
    assert torch.allclose(result.sources, plain.sources + 1, atol=1e-5)
    assert torch.allclose(result.targets, plain.targets, atol=1e-5)
    assert inversion.source is None


def test_processors_are_restored_after_an_edit_and_after_its_failure(model):
    class Failing(DDIMSampling):
        def sample(self, denoiser, inversion, condition, on_step=None):
            denoiser(inversion.noise, STEPS, condition)
            raise ZeroDivisionError

    before, inversion = model.pipeline.unet.attn_processors, inverted(model)
    sampled(model, inversion, [TARGETS])
    assert model.pipeline.unet.attn_processors == before
    with pytest.raises(ZeroDivisionError):
        sampled(model, inversion, [TARGETS], inverter=Failing())
    assert model.pipeline.unet.attn_processors == before


def test_half_precision_edits_are_finite(folders):
    model = load(folders["sd15"], precision="bf16")
    result = sampled(model, inverted(model), [[Edit(TARGETS[0], blend=("star",))]])
    assert result.targets.dtype == torch.float32 and result.targets.isfinite().all()


class InParts(DDIMSampling):
    def sample(self, denoiser, inversion, condition, on_step=None):
        return torch.cat(
            [
                sample(denoiser, inversion[r].noise, condition[r])
                for r in (slice(1), slice(1, None))
            ]
        )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: sampled(m, inverted(m), [[]]), "there is no target prompt"),
        (lambda m: sampled(m, inverted(m), [[" "]]), "the prompt ' ' is empty"),
        (lambda m: sampled(m, inverted(m), [["x" * 78]]), "has 80 tokens"),
        (lambda m: sampled(m, inverted(m), [["x"]], ["y" * 78]), "has 80 tokens"),
        (
            lambda m: sampled(m, inverted(m), [[Edit(TARGETS[0], blend=("moon",))]]),
            "the word to blend 'moon' is in neither",
        ),
        (
            lambda m: sampled(m, inverted(m), [[Edit(TARGETS[0], reweight={"red": 2})]]),
            "'red' is not in the prompt",
        ),
        (
            lambda m: sampled(m, inverted(m), [[Edit(TARGETS[1], kind="replace")]]),
            "replace needs equally many words",
        ),
        (lambda m: sampled(m, inverted(m), [TARGETS], guidance=0), "guidance=0 shows the network"),
        (lambda m: sampled(m, inverted(m, [SOURCE] * 2), [TARGETS]), "2 inverted images for 1"),
        (
            lambda m: sampled(m, replace(inverted(m), noise=torch.zeros(1, 9, 8, 8)), [TARGETS]),
            "the inversion's latents have 9 channels",
        ),
        (
            lambda m: sampled(m, inverted(m), [TARGETS], inverter=InParts()),
            "samples 1 of 3 branches at a time",
        ),
    ],
)
def test_unfit_requests_raise_a_user_error_of_one_line(model, make, message):
    with pytest.raises(UserError) as error:
        make(model)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_prompt_to_prompt_keeps_the_background_on_the_bundled_model():
    """The background is nearer to the source than under plain sampling, yet not equal."""
    model = StableDiffusion("pkg://fpinv.models.scenes", name="scenes", device="cpu")
    scene = sample_scene(0, 4, "test", objects=1)
    changed = scenes.edit(scene, Change("background", "white"))
    condition = model.condition([caption(scene)], 1.0)
    z0 = model.encode(square(render(scene), 64)[None])
    inversion = FixedPoint(2).invert(model.denoiser(STEPS), z0, condition)
    requests = [changed.prompt, Edit(changed.prompt, controllers=())]
    result = edit(model, FixedPoint(2), inversion, caption(scene), requests, steps=STEPS)
    ours, plain = (
        background_mse(x[None], result.reconstruction[None], torch.tensor(~changed.mask())[None])
        for x in result.images
    )
    assert 0 < ours < plain


def test_model_without_attention_raises_user_error():
    with pytest.raises(UserError, match="model toy has no attention that could be edited"):
        plan_branches(toy.ToyModel(), [SOURCE], [TARGETS], PromptToPrompt())
