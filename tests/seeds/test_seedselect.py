"""SeedSelect on an exact toy and on a tiny Stable Diffusion: loss, norm, memory, independence."""

from dataclasses import replace

import pytest
import torch
import toy
from diffusers import DPMSolverMultistepScheduler
from drawn_seeds import normal
from judges import Thumbnails
from pipelines import tiny_sd15

from fpinv.datasets.scenes import Scenes
from fpinv.errors import UserError
from fpinv.images import square
from fpinv.metrics.clip import ScenesCLIP
from fpinv.models.samplers import DPMSolver
from fpinv.models.stable_diffusion import StableDiffusion
from fpinv.sampling import sample
from fpinv.seeds.prior import NormPrior
from fpinv.seeds.seedselect import SeedSelect
from fpinv.solvers import Adam

STEPS = 6
THUMBNAILS = Thumbnails(4)


class Model(toy.ToyModel):
    """The toy, whose latents of 16 numbers are 256 here, so that their norm is sharp."""

    latent_shape = (1, 16, 16)
    image_size = (64, 64)

    def denoiser(self, steps):
        return self.on(toy.schedule(steps))

    def on(self, grid):
        def eps(z, t, embedding):
            return torch.tanh(z.roll(1, -1) + embedding.tokens.mean((1, 2)).view(-1, 1, 1, 1))

        return toy.Denoiser(toy.predicting(eps, grid), grid, dtype=torch.float64)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return StableDiffusion(str(tiny_sd15(tmp_path_factory.mktemp("sd15"))), "tiny", device="cpu")


def problem(model, batch=3):
    shape = (batch, 2, 3, *model.image_size)
    references = normal(*shape, seed=9).clamp(-1, 1)
    seeds = normal(batch, *model.latent_shape)
    condition = model.condition([f"prompt {k}" for k in range(batch)], 2.0)
    return references, seeds, condition


def search(model, select, batch=3, rows=slice(None)):
    references, seeds, condition = problem(model, batch)
    target = select.target(model, references)
    return select(model, model.denoiser(STEPS), seeds[rows], condition[rows], target[rows])


def test_the_loss_falls_and_the_norm_stays():
    model = Model()
    result = search(model, SeedSelect(THUMBNAILS, iterations=15, rate=0.1, patience=20))
    assert all(min(losses) < 0.8 * losses[0] for losses in result.losses)
    assert [len(losses) for losses in result.losses] == [16] * 3
    ratio = result.seeds.flatten(1).norm(dim=1) / 256**0.5
    assert ((ratio - 1).abs() < 0.02).all()
    assert torch.allclose(ratio * 16, torch.full((3,), NormPrior(256).mode))


def test_the_best_seed_is_returned():
    model, select = Model(), SeedSelect(THUMBNAILS, iterations=6, rate=30, patience=9)
    references, _, condition = problem(model)
    result, target = search(model, select), select.target(model, references)
    losses = select.loss(model, model.denoiser(STEPS), result.seeds, condition, target)
    assert losses.tolist() == pytest.approx([min(curve) for curve in result.losses], rel=1e-5)
    assert any(min(curve) < curve[-1] for curve in result.losses), "the rate was to overshoot"


def test_the_rate_is_a_tenth_after_so_many_iterations(monkeypatch):
    rates = []
    moved = Adam.moved

    def watched(adam, slope, rate, k):
        rates.append(rate)
        return moved(adam, slope, rate, k)

    monkeypatch.setattr(Adam, "moved", watched)
    search(Model(), SeedSelect(THUMBNAILS, iterations=5, rate=0.5, decay_after=3, patience=9))
    assert rates == pytest.approx([0.5, 0.5, 0.5, 0.05, 0.05])
    with pytest.raises(UserError, match="decay_after=0 is not possible"):
        SeedSelect(THUMBNAILS, decay_after=0)


def test_a_seed_alone_goes_where_it_goes_in_a_batch():
    select = SeedSelect(THUMBNAILS, iterations=4)
    together = search(Model(), select)
    for k in range(3):
        alone = search(Model(), select, rows=slice(k, k + 1))
        assert alone.losses[0] == pytest.approx(together.losses[k], rel=1e-5)
        assert torch.allclose(alone.seeds[0], together.seeds[k], atol=1e-4)


def test_stalled_seeds_leave_the_batch():
    model, select = Model(), SeedSelect(THUMBNAILS, iterations=9, tolerance=0.999, patience=2)
    references, seeds, condition = problem(model)
    denoiser = model.denoiser(STEPS)
    result = select(model, denoiser, seeds, condition, select.target(model, references))
    assert result.stalled == [True] * 3
    assert [len(losses) for losses in result.losses] == [3] * 3
    assert denoiser.rows == 3 * 2 * STEPS * (3 * 2), "3 seeds, 3 evaluations, twice for memory"


def test_a_loss_that_is_no_number_ends_the_search_of_that_seed_alone():
    model, sound = Model(), SeedSelect(THUMBNAILS, iterations=3)
    first = sound.target(model, problem(model)[0]).latent[:1]

    class Broken(SeedSelect):
        def loss(self, model, denoiser, z, condition, target):
            bad = (target.latent == first).flatten(1).all(1)
            return torch.where(bad, torch.nan, super().loss(model, denoiser, z, condition, target))

    result, expected = search(model, Broken(THUMBNAILS, iterations=3)), search(model, sound)
    assert [len(losses) for losses in result.losses] == [1, 4, 4]
    for losses, alone in zip(result.losses[1:], expected.losses[1:], strict=True):
        assert losses == pytest.approx(alone, rel=1e-5)
    assert torch.allclose(result.seeds[1:], expected.seeds[1:], atol=1e-4)
    assert result.seeds.isfinite().all()
    assert result.stalled == [False] * 3, "one diverged, two had no more iterations"


def test_a_search_does_not_depend_on_the_scale_of_its_loss():
    """So that the slope may be scaled to what half precision can hold."""

    class Faint(SeedSelect):
        def loss(self, *arguments):
            return super().loss(*arguments) / 1000

    large, small = (
        search(Model(), kind(THUMBNAILS, iterations=4)).losses for kind in (SeedSelect, Faint)
    )
    for losses, faint in zip(large, small, strict=True):
        assert [1000 * loss for loss in faint] == pytest.approx(losses, rel=1e-3)


def test_the_target_is_the_mean_of_the_references():
    model = Model()
    references, _, _ = problem(model)
    target = SeedSelect(THUMBNAILS).target(model, references)
    first, second = references.unbind(1)
    latent = (model.encode(first) + model.encode(second)) / 2
    embedding = (THUMBNAILS.images(first) + THUMBNAILS.images(second)) / 2
    assert torch.allclose(target.latent, latent, atol=1e-6)
    assert torch.allclose(target.embedding, embedding, atol=1e-6)


def test_the_last_three_latents_count_in_the_loss_the_cleanest_most():
    model, select, path = Model(), SeedSelect(THUMBNAILS), {}
    references, seeds, condition = problem(model)
    target, denoiser = select.target(model, references), model.denoiser(STEPS)
    z0 = sample(denoiser, seeds, condition, on_step=lambda z, i: path.setdefault(i, z))
    expected = (z0 - target.latent).square().flatten(1).mean(1)
    for i, weight in ((2, 0.05), (1, 0.25), (0, 0.7)):
        images = THUMBNAILS.images(model.decode(path[i]))
        expected += 10 * weight * (1 - torch.cosine_similarity(images, target.embedding))
    loss = select.loss(model, denoiser, seeds, condition, target)
    assert torch.allclose(loss, expected, rtol=1e-5)


def test_the_loss_is_that_of_the_latents_of_a_sampler_that_looks_back():
    scheduler = DPMSolverMultistepScheduler(beta_schedule="scaled_linear", steps_offset=1)
    model, select = Model(), SeedSelect(THUMBNAILS, embedding_weight=0.0)
    references, seeds, condition = problem(model)
    target = select.target(model, references)
    grid = DPMSolver().schedule(scheduler, STEPS)
    losses = []
    for schedule in (grid, replace(grid, lookback=())):
        denoiser = model.on(schedule)
        losses.append(select.loss(model, denoiser, seeds, condition, target))
        z0 = sample(denoiser, seeds, condition)
        expected = (z0 - target.latent).square().flatten(1).mean(1)
        assert torch.allclose(losses[-1], expected, rtol=1e-5)
    assert not torch.allclose(*losses, rtol=1e-2)


def test_fewer_steps_than_weights_use_the_last_weights():
    model, select = Model(), SeedSelect(THUMBNAILS, iterations=1)
    references, seeds, condition = problem(model)
    target, denoiser = select.target(model, references), model.denoiser(1)
    z0 = sample(denoiser, seeds, condition)
    likeness = torch.cosine_similarity(THUMBNAILS.images(model.decode(z0)), target.embedding)
    expected = 7 * (1 - likeness) + (z0 - target.latent).square().flatten(1).mean(1)
    assert torch.allclose(select.loss(model, denoiser, seeds, condition, target), expected)


def test_real_scenes_draw_the_bundled_model_towards_them():
    model = StableDiffusion("pkg://fpinv.models.scenes", "scenes", device="cpu")
    scenes = Scenes(objects=1, shapes=["star"])
    references = torch.stack([square(scenes[k].open(), 64) for k in range(3)])[None]
    select = SeedSelect(ScenesCLIP(), iterations=4)
    condition, seeds = model.condition(["a photo of a star"], 1.0), normal(1, *model.latent_shape)
    target = select.target(model, references)
    result = select(model, model.denoiser(4), seeds, condition, target)
    assert min(result.losses[0]) < 0.9 * result.losses[0][0]
    assert result.seeds.norm().item() / 1024**0.5 == pytest.approx(1, abs=0.02)
    assert all(p.grad is None for p in model.pipeline.unet.parameters())


def test_checkpointing_changes_memory_and_nothing_else(tiny):
    def held(checkpointing):
        select = SeedSelect(THUMBNAILS, iterations=1, checkpointing=checkpointing)
        references, seeds, condition = problem(tiny, batch=1)
        target, bytes_held = select.target(tiny, references), 0

        def pack(tensor):
            nonlocal bytes_held
            bytes_held += tensor.numel() * tensor.element_size()
            return tensor

        z = seeds.requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = select.loss(tiny, tiny.denoiser(STEPS), z, condition, target)
        (gradient,) = torch.autograd.grad(loss.sum(), z)
        return bytes_held, loss.item(), gradient

    (few, loss, gradient), (many, loss_again, expected) = held(True), held(False)
    assert loss == pytest.approx(loss_again) and torch.allclose(gradient, expected, atol=1e-5)
    assert few < many / 50


@pytest.mark.parametrize("wrong", [{"iterations": 0}, {"patience": 0}, {"weights": ()}])
def test_what_leaves_nothing_to_do_is_refused(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        SeedSelect(THUMBNAILS, **wrong)
