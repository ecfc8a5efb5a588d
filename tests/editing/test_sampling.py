"""Edits through whole pipelines: what must be equal is, and what public code gets wrong is not."""

from dataclasses import dataclass, replace
from itertools import combinations

import pytest
import torch
from pipelines import tiny_sd15, tiny_sd21, tiny_sdxl

from fpinv import FixedPoint, Inversion, StableDiffusion, square
from fpinv.datasets import scenes
from fpinv.datasets.scenes import Change, caption, render, sample_scene
from fpinv.editing.controllers import LocalBlend, Refine, Replace, Reweight, SelfReplace
from fpinv.editing.recipe import PromptToPrompt
from fpinv.editing.request import Edit
from fpinv.editing.sampling import edit, plan_branches, sample_branches
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


def assert_close(found, expected, tolerance=1e-5):
    """Equal but for rounding, which differs between batches of different size."""
    assert found.shape == expected.shape
    assert (found - expected).norm() <= tolerance * expected.norm()


def plainly(model, noise, prompt, guidance):
    with torch.no_grad():
        return sample(model.denoiser(STEPS), noise, model.condition([prompt], guidance))


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_the_identity_edit_is_the_reconstruction(model, guidance):
    inversion = inverted(model, guidance=guidance)
    asked = Edit(SOURCE, blend=("star",), reweight={"red": 1})
    found = sampled(model, inversion, [[SOURCE, asked]], guidance=guidance)
    reconstruction = DDIM().sample(
        model.denoiser(STEPS), inversion, model.condition([SOURCE], guidance)
    )
    assert_close(found.sources, reconstruction)
    for target in found.targets:
        assert_close(target, reconstruction[0])


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_without_controllers_a_target_is_plain_guided_sampling(model, guidance):
    inversion = inverted(model)
    free = [Edit(prompt, controllers=()) for prompt in TARGETS]
    found = sampled(model, inversion, [free], guidance=guidance)
    for target, prompt in zip(found.targets, TARGETS, strict=True):
        expected = plainly(model, inversion.noise, prompt, guidance)
        assert_close(target, expected[0])


@pytest.mark.parametrize("source", [1.0, 2.0])
def test_targets_may_have_a_guidance_of_their_own(model, source):
    inversion = inverted(model, guidance=source)
    free = [[Edit(TARGETS[0], controllers=())]]
    found = sampled(model, inversion, free, guidance=source, target_guidance=5.0)
    assert_close(found.sources, plainly(model, inversion.noise, SOURCE, source))
    expected = plainly(model, inversion.noise, TARGETS[0], 5.0)
    assert torch.allclose(found.targets, expected, atol=1e-4)
    assert (found.calls, found.rows) == (STEPS, 2 * 2 * STEPS)


@pytest.mark.parametrize(
    ("kind", "side"),
    [("sd15", 64), ("sd15", 96), ("sd15", 128), ("sd15", 76), ("sd21", 64), ("sd21", 96)]
    + [("sd21", 128), ("sdxl", 64)],
)
def test_any_layout_edits_at_any_size(folders, kind, side):
    model = load(folders[kind], image_size=side)
    asked = [SOURCE, Edit(TARGETS[0], blend=("red", "blue"))]
    found = edit(model, DDIM(), inverted(model), SOURCE, asked, steps=STEPS)
    assert found.images.shape == (2, 3, side, side)
    assert torch.allclose(found.images[0], found.reconstruction, atol=1e-5)
    assert found.masks.shape == (2, side // 4, side // 4) and found.masks[0].all()
    assert (found.images[1] - found.reconstruction).abs().max() > 1e-4


def test_a_batch_of_images_is_its_images_alone(model):
    prompts = [SOURCE, "two cats"]
    edits = [TARGETS, [Edit("two dogs", blend=("cats", "dogs"))]]
    inversion = inverted(model, prompts)
    together = sampled(model, inversion, edits, prompts, guidance=2.0)
    first = 0
    for k, (prompt, asked) in enumerate(zip(prompts, edits, strict=True)):
        one = inversion[slice(k, k + 1)]
        alone = sampled(model, one, [asked], [prompt], guidance=2.0)
        rows = slice(first, first := first + len(asked))
        assert_close(together.targets[rows], alone.targets, 1e-4)
        assert_close(together.sources[k], alone.sources[0], 1e-4)


def test_one_inversion_makes_ten_edits_and_so_does_its_file(model, tmp_path):
    calls = []

    @dataclass(frozen=True)
    class Counting(FixedPoint):
        def invert(self, denoiser, z0, condition):
            calls.append(len(z0))
            return super().invert(denoiser, z0, condition)

    colours = "blue green pink grey black brown gold cyan teal lime".split()
    targets = [f"a {colour} star on white" for colour in colours]
    inversion = inverted(model, inverter=Counting(2))
    found = sampled(model, inversion, [targets], inverter=Counting(2))
    assert len(found.targets) == 10 and calls == [1]
    assert (found.calls, found.rows) == (STEPS, STEPS * 11)

    inversion.save(tmp_path / "one.safetensors", {"prompt": SOURCE, "steps": STEPS})
    loaded, about = Inversion.load(tmp_path / "one.safetensors")
    again = edit(model, Counting(2), loaded, about["prompt"], targets, steps=about["steps"])
    assert calls == [1]
    assert torch.equal(again.images, model.decode(found.targets))


def test_the_background_of_a_blend_is_the_reconstruction(model):
    inversion = inverted(model)
    asked = Edit(TARGETS[0], controllers=(LocalBlend(("blue",), threshold=0.99, start=0),))
    found = sampled(model, inversion, [[asked]])
    free = found.masks[0]
    assert 0 < free.float().mean() < 1
    assert torch.equal(found.targets[0][:, ~free], found.sources[0][:, ~free])
    assert not torch.equal(found.targets[0][:, free], found.sources[0][:, free])


def test_every_controller_moves_the_result(model):
    inversion = inverted(model)
    chains = [(), (Replace(),), (SelfReplace(1),), (Reweight({"blue": 3}),), (Refine(0.5),)]
    edits = [[Edit(TARGETS[0], controllers=chain) for chain in chains]]
    targets = sampled(model, inversion, edits).targets
    for k, other in combinations(range(len(chains)), 2):
        assert (targets[k] - targets[other]).abs().max() > 1e-4


@dataclass(frozen=True)
class TwoCalls(DDIMSampling):
    """Samples with two network calls a step and two states, as coupled methods do."""

    hooked: bool = True

    def sample(self, denoiser, inversion, condition, on_step=None):
        schedule = denoiser.schedule

        def step(pair, i):
            x, y = pair
            x = schedule.transfer(x, denoiser(y, i, condition), i, i - 1)
            return x, schedule.transfer(y, denoiser(y, i, condition), i, i - 1)

        pair, on_step = (inversion.noise,) * 2, on_step if self.hooked else None
        return walk_down(step, pair, schedule.steps, on_step=on_step)[0]


def test_two_calls_a_step_are_one_step(model):
    inversion, asked = inverted(model), [[Edit(TARGETS[0], blend=("star",))]]
    once = sampled(model, inversion, asked)
    twice = sampled(model, inversion, asked, inverter=TwoCalls())
    assert torch.allclose(once.targets, twice.targets, atol=1e-5)
    assert twice.calls == 2 * once.calls


def test_an_inverter_that_hides_its_latents_cannot_blend(model):
    asked = [[Edit(TARGETS[0], blend=("star",))]]
    with pytest.raises(UserError, match="TwoCalls does not hand on its latents"):
        sampled(model, inverted(model), asked, inverter=TwoCalls(hooked=False))
    sampled(model, inverted(model), [TARGETS], inverter=TwoCalls(hooked=False))


def test_an_inverter_is_told_which_rows_are_sources(model):
    @dataclass(frozen=True)
    class Correcting(DDIMSampling):
        def sample(self, denoiser, inversion, condition, on_step=None):
            z = sample(denoiser, inversion.noise, condition, on_step=on_step)
            return z + inversion.source[:, None, None, None]

    inversion = inverted(model)
    found = sampled(model, inversion, [TARGETS], inverter=Correcting())
    plain = sampled(model, inversion, [TARGETS])
    assert torch.allclose(found.sources, plain.sources + 1, atol=1e-5)
    assert torch.allclose(found.targets, plain.targets, atol=1e-5)
    assert inversion.source is None


def test_processors_are_given_back_after_an_edit_and_after_its_failure(model):
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
    found = sampled(model, inverted(model), [[Edit(TARGETS[0], blend=("star",))]])
    assert found.targets.dtype == torch.float32 and found.targets.isfinite().all()


class InParts(DDIMSampling):
    def sample(self, denoiser, inversion, condition, on_step=None):
        return torch.cat(
            [
                sample(denoiser, inversion[r].noise, condition[r])
                for r in (slice(1), slice(1, None))
            ]
        )


@pytest.mark.parametrize(
    ("make", "said"),
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
            lambda m: sampled(m, replace(inverted(m), noise=torch.zeros(1, 4, 8, 8)), [TARGETS]),
            "the inversion's latents are (4, 8, 8)",
        ),
        (
            lambda m: sampled(m, inverted(m), [TARGETS], inverter=InParts()),
            "samples 1 of 3 branches at a time",
        ),
    ],
)
def test_what_does_not_fit_is_one_clear_line(model, make, said):
    with pytest.raises(UserError) as error:
        make(model)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_edits_of_a_trained_network_keep_the_picture():
    """On the bundled model: nearer to the source than plain sampling, and changed all the same."""
    model = StableDiffusion("pkg://fpinv.models.scenes", name="scenes", device="cpu")
    scene = sample_scene(0, 4, "test", objects=1)
    changed = scenes.edit(scene, Change("background", "white"))
    condition = model.condition([caption(scene)], 1.0)
    z0 = model.encode(square(render(scene), 64)[None])
    inversion = FixedPoint(2).invert(model.denoiser(STEPS), z0, condition)
    asked = [changed.prompt, Edit(changed.prompt, controllers=())]
    found = edit(model, FixedPoint(2), inversion, caption(scene), asked, steps=STEPS)
    ours, plain = (
        background_mse(x[None], found.reconstruction[None], torch.tensor(~changed.mask())[None])
        for x in found.images
    )
    assert 0 < ours < plain


def test_a_model_without_attention_is_refused():
    import toy

    with pytest.raises(UserError, match="model toy has no attention that could be edited"):
        plan_branches(toy.ToyModel(), [SOURCE], [TARGETS], PromptToPrompt())
