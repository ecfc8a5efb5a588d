"""Stable Diffusion against the stock pipelines, and one line for every misuse."""

import json
import logging
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from pipelines import IMAGE_SIZE, tiny_sd15, tiny_sd21, tiny_sdxl

from fpinv.errors import UserError
from fpinv.models import latent_model
from fpinv.models.machine import resolve_device
from fpinv.models.stable_diffusion import StableDiffusion
from fpinv.sampling import sample

BUILDERS = {"sd15": tiny_sd15, "sd21": tiny_sd21, "sdxl": tiny_sdxl}
PROMPTS = ["a red circle", "two blue squares"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("pipelines")
    return {kind: build(root / kind) for kind, build in BUILDERS.items()}


@pytest.fixture(scope="module", params=list(BUILDERS))
def model(request, folders):
    return load(folders[request.param])


@pytest.fixture(scope="module")
def sd15(folders):
    return load(folders["sd15"])


def load(folder, **options):
    return StableDiffusion(str(folder), name="tiny", **({"device": "cpu"} | options))


def images(batch=2):
    return torch.rand(batch, 3, IMAGE_SIZE, IMAGE_SIZE) * 2 - 1


def noise(model, batch=2):
    return torch.randn(batch, *model.latent_shape)


@torch.no_grad()
def sampled(model, z, guidance, steps):
    return sample(model.denoiser(steps), z, model.condition(PROMPTS, guidance))


def stock(model, z, guidance, steps, **options):
    """Return the stock pipeline's output from the same noise."""
    model.pipeline.set_progress_bar_config(disable=True)
    size = dict(zip(("height", "width"), model.image_size, strict=True))
    return model.pipeline(
        PROMPTS, latents=z, guidance_scale=guidance, num_inference_steps=steps, **size, **options
    ).images


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_sampling_equals_the_stock_pipeline(model, guidance):
    z = noise(model)
    ours = sampled(model, z, guidance, 5)
    theirs = stock(model, z, guidance, 5, output_type="latent")
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    pictures = torch.from_numpy(stock(model, z, guidance, 5, output_type="np"))
    decoded = (model.decode(ours) / 2 + 0.5).permute(0, 2, 3, 1)
    torch.testing.assert_close(decoded, pictures, rtol=0, atol=1e-5)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_steps_are_invertible_by_iteration(model, guidance):
    condition, denoiser = model.condition(PROMPTS, guidance), model.denoiser(10)
    schedule, z = denoiser.schedule, noise(model)
    for i in (2, 10):
        x, changes = z, []
        for _ in range(10):
            eps = schedule.noise(x, denoiser(x, i, condition), i)
            before, x = x, schedule.move(z, eps, i - 1, i)
            changes.append(float((x - before).norm() / z.norm()))
        assert changes[0] > 1e-3  # the network matters
        assert changes[-1] < 0.05 * changes[1]  # and the iteration converges
        back = schedule.transfer(x, denoiser(x, i, condition), i, i - 1)
        assert (back - z).norm() < 0.05 * changes[0] * z.norm()


def test_the_scheduler_has_the_grid_of_inversion_whatever_ships(model):
    config = model.pipeline.scheduler.config
    assert model.pipeline.scheduler.__class__.__name__ == "DDIMScheduler"
    assert (config.steps_offset, config.set_alpha_to_one) == (1, False)
    assert (config.clip_sample, config.thresholding) == (False, False)
    assert config.timestep_spacing == "leading"
    assert (config.beta_start, config.beta_end) == (0.00085, 0.012)
    assert config.beta_schedule == "scaled_linear"
    assert model.denoiser(50).schedule.timestep[:3] == (0, 1, 21)


def test_weights_know_any_pictures_unless_they_say_otherwise(model):
    assert model.domain is None


def test_the_prediction_type_is_kept(folders):
    kinds = {
        kind: load(folder).denoiser(5).schedule.prediction for kind, folder in folders.items()
    }
    assert kinds == {"sd15": "epsilon", "sd21": "v_prediction", "sdxl": "epsilon"}


def test_another_scheduler_in_the_pipeline_does_not_move_the_grid(sd15):
    before, ours = sd15.denoiser(5).schedule, sd15.pipeline.scheduler
    sd15.pipeline.scheduler = type(ours).from_config(ours.config, prediction_type="sample")
    try:
        assert sd15.denoiser(5).schedule == before
    finally:
        sd15.pipeline.scheduler = ours


def test_latents_are_scaled_modes_of_the_posterior(model):
    x, vae = images(), model.pipeline.vae
    z = model.encode(x)
    assert z.dtype == torch.float32
    assert z.shape == (2, *model.latent_shape)
    assert torch.equal(z, model.encode(x))
    mode = torch.cat([vae.encode(row).latent_dist.mode() for row in x.split(1)])
    assert torch.equal(z, mode * vae.config.scaling_factor)


def test_the_vae_does_not_depend_on_the_batch(model):
    x, z = images(3), noise(model, 3)
    assert torch.equal(model.encode(x)[1:2], model.encode(x[1:2]))
    assert torch.equal(model.decode(z)[1:2], model.decode(z[1:2]))


def test_decoded_images_are_clamped(model):
    loud = model.pipeline.vae.decoder.conv_out.bias
    loud.add_(5)
    try:
        decoded = model.decode(noise(model))
    finally:
        loud.sub_(5)
    assert decoded.abs().max() <= 1
    assert decoded.shape == (2, 3, IMAGE_SIZE, IMAGE_SIZE)


@pytest.mark.parametrize("kind", ["sd15", "sd21"])
def test_embed_equals_the_stock_embedding(folders, kind):
    model = load(folders[kind])
    condition = model.condition(PROMPTS, 3.0)
    prompt, null = model.pipeline.encode_prompt(PROMPTS, "cpu", 1, True)
    torch.testing.assert_close(condition.prompt.tokens, prompt)
    torch.testing.assert_close(condition.null.tokens, null)
    assert condition.prompt.pooled is None


@pytest.mark.parametrize("zeros", [True, False])
def test_embed_of_xl_equals_the_stock_embedding(folders, zeros):
    model = load(folders["sdxl"])
    before = model.pipeline.config.force_zeros_for_empty_prompt
    model.pipeline.register_to_config(force_zeros_for_empty_prompt=zeros)
    try:
        condition = model.condition(PROMPTS, 3.0)
        states = model.pipeline.encode_prompt(PROMPTS, do_classifier_free_guidance=True)
    finally:
        model.pipeline.register_to_config(force_zeros_for_empty_prompt=before)
    prompt, null, pooled, null_pooled = states
    torch.testing.assert_close(condition.prompt.tokens, prompt)
    torch.testing.assert_close(condition.prompt.pooled, pooled)
    torch.testing.assert_close(condition.null.tokens, null)
    torch.testing.assert_close(condition.null.pooled, null_pooled)
    assert bool((condition.null.tokens == 0).all()) == zeros


def test_a_prompt_is_encoded_once_a_call(folders, monkeypatch):
    sd15, encoded = load(folders["sd15"]), []
    encode = sd15.pipeline.encode_prompt

    def counted(prompt, **options):
        encoded.append(prompt)
        return encode(prompt=prompt, **options)

    monkeypatch.setattr(sd15.pipeline, "encode_prompt", counted)
    condition = sd15.condition(["a", "b", "a"], 3.0)
    assert sorted(encoded) == ["", "a", "b"]
    assert torch.equal(condition.prompt.tokens[0], condition.prompt.tokens[2])


def test_embeddings_follow_a_pipeline_that_changes(folders):
    sd15, prompt = load(folders["sd15"]), "a <toy> dog"
    before = sd15.condition([prompt], 3.0)
    learnt = {"<toy>": torch.randn(3, before.prompt.tokens.shape[-1])}
    sd15.pipeline.load_textual_inversion(learnt, token="<toy>")
    states = sd15.pipeline.encode_prompt(prompt, "cpu", 1, False)[0]
    assert torch.equal(sd15.embed([prompt]).tokens, states)
    assert not torch.equal(states, before.prompt.tokens)
    sd15.pipeline.text_encoder.final_layer_norm.bias.add_(1)
    after = sd15.condition([prompt], 3.0)
    torch.testing.assert_close(after.prompt.tokens, states + 1)
    torch.testing.assert_close(after.null.tokens, before.null.tokens + 1)


def test_the_null_prompt_comes_at_every_guidance(model):
    """An inverter may run at another guidance than the sampler."""
    for guidance in (0.0, 1.0, 3.0):
        assert len(model.condition(PROMPTS, guidance).null) == 2


def test_a_prompt_that_is_cut_is_reported_once(tmp_path, caplog):
    model = load(tiny_sd15(tmp_path / "short", length=16))
    with caplog.at_level(logging.WARNING):
        embedding = model.embed(["a short one", "this is longer than sixteen bytes"])
        model.embed(["this is longer than sixteen bytes"])
    assert embedding.tokens.shape[1] == 16
    assert len(caplog.records) == 1
    assert "cut to 16 tokens" in caplog.text
    assert "an sixteen bytes" in caplog.text


def test_gradients_reach_latents_and_embeddings_but_no_weight(model):
    z = noise(model).requires_grad_()
    condition = model.condition(PROMPTS, 3.0)
    tokens = condition.null.tokens.clone().requires_grad_()
    condition = replace(condition, null=replace(condition.null, tokens=tokens))
    model.decode(model.denoiser(5)(z, 3, condition)).sum().backward()
    assert z.grad.abs().sum() > 0
    assert tokens.grad.abs().sum() > 0
    for network in (model.pipeline.unet, model.pipeline.vae, model.pipeline.text_encoder):
        assert not network.training
        assert not any(weight.requires_grad for weight in network.parameters())
    assert not model.encode(images(1)).requires_grad
    assert not model.embed(PROMPTS).tokens.requires_grad


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_keeps_latents_in_float32(model, precision):
    half = load(model.pipeline.config._name_or_path, precision=precision)
    assert half.pipeline.unet.dtype == half.dtype != torch.float32
    assert half.pipeline.vae.dtype == torch.float32
    x = images(1)
    z = half.encode(x)
    assert torch.equal(z, model.encode(x))
    ours = half.denoiser(5)(z, 3, half.condition(PROMPTS[:1], 3.0))
    full = model.denoiser(5)(z, 3, model.condition(PROMPTS[:1], 3.0))
    assert ours.dtype == half.decode(z).dtype == torch.float32
    assert 0 < (ours - full).norm() < 0.1 * full.norm()


@pytest.fixture
def rounding():
    """The switches of TF32, put back afterwards."""
    backends = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in backends]
    yield lambda: [backend.allow_tf32 for backend in backends]
    for backend, allowed in zip(backends, before, strict=True):
        backend.allow_tf32 = allowed


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "bf16"])
def test_products_are_rounded_by_tf32_only(folders, rounding, precision):
    """Torch rounds those of convolutions to TF32 otherwise."""
    torch.backends.cudnn.allow_tf32 = True
    load(folders["sd15"], precision=precision)
    assert rounding() == [precision == "tf32"] * 2


def test_weights_stored_in_half_precision_are_loaded_in_the_precision_asked(folders, tmp_path):
    load(folders["sd15"], precision="fp16").pipeline.save_pretrained(tmp_path / "half")
    model = load(tmp_path / "half")
    assert {network.dtype for network in (model.pipeline.unet, model.pipeline.text_encoder)} == {
        torch.float32
    }


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
@pytest.mark.parametrize("size", [36, 96])
def test_any_multiple_of_the_vae_factor_is_a_size(folders, kind, size):
    model = load(folders[kind], image_size=size)
    assert model.image_size == (size, size)
    assert model.latent_shape == (4, size // 4, size // 4)
    z = model.encode(torch.rand(1, 3, size, size))
    assert z.shape[1:] == model.latent_shape
    output = model.denoiser(5)(z, 2, model.condition(["a"], 1.0))
    assert output.shape == z.shape
    assert model.decode(z).shape == (1, 3, size, size)


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_oblong_images_equal_those_of_the_stock_pipeline(folders, kind):
    model = load(folders[kind], image_size=[48, 80])
    assert model.image_size == (48, 80) and model.latent_shape == (4, 12, 20)
    z = torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(0))
    ours = sampled(model, z, 2.0, 3)
    theirs = stock(model, z, 2.0, 3, output_type="latent")
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    whatever = load(folders[kind])  # its own size is another; the labels are the latents'
    again = sampled(whatever, z, 2.0, 3)
    torch.testing.assert_close(again, ours)


def test_sides_between_multiples_of_the_factor_are_padded_with_their_edge(sd15):
    images = torch.rand(2, 3, 30, 41) * 2 - 1
    padded = torch.cat([images, images[..., -1:].expand(-1, -1, -1, 3)], -1)
    padded = torch.cat([padded, padded[..., -1:, :].expand(-1, -1, 2, -1)], -2)
    assert torch.equal(sd15.encode(images), sd15.encode(padded))


def test_attention_slicing_changes_nothing_but_memory(folders):
    plain, sliced = load(folders["sd15"]), load(folders["sd15"], attention_slicing=True)
    z = noise(plain)
    a, b = (m.denoiser(5)(z, 3, m.condition(PROMPTS, 1.0)) for m in (plain, sliced))
    torch.testing.assert_close(a, b)
    processors = {type(p).__name__ for p in sliced.pipeline.unet.attn_processors.values()}
    assert processors == {"SlicedAttnProcessor"}


def test_gradient_checkpointing_changes_nothing_but_memory(folders):
    """The gradient of latents and embeddings is the same; the network runs again for it."""
    plain = load(folders["sd15"])
    checkpointed = load(folders["sd15"], gradient_checkpointing=True)
    z, gradients, stored = noise(plain), [], []
    for model in (plain, checkpointed):
        stored.append(0)

        def count(tensor):
            stored[-1] += tensor.numel()
            return tensor

        x, c = z.clone().requires_grad_(), model.condition(PROMPTS, 3.0)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            output = model.denoiser(5)(x, 3, c)
        gradients.append(torch.autograd.grad(output.square().sum(), x)[0])
    torch.testing.assert_close(*gradients)
    assert stored[1] < 0.5 * stored[0]


def compile_with(backend, monkeypatch):
    """Have every module compile with a backend of the test, which is quicker than the default."""
    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda m: compile_module(m, backend=backend))


def test_a_compiled_unet_is_compiled_once_for_all_batches_that_samples_leave(
    folders, sd15, monkeypatch
):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compile_with(backend, monkeypatch)
    compiled, counts = load(folders["sd15"], compile=True), []
    z = torch.randn(5, *sd15.latent_shape, generator=torch.Generator().manual_seed(0))
    for batch in (5, 4, 2, 3):
        outputs = []
        for model in (compiled, sd15):
            condition = model.condition(["a cat"] * batch, 3.0)
            outputs.append(model.denoiser(5)(z[:batch], 3, condition))
        torch.testing.assert_close(*outputs)
        counts.append(len(graphs))
    # For five samples, and for any other number.
    assert counts[1:] == [2 * counts[0]] * 3


def test_the_default_size_is_the_vaes_if_the_unet_has_none(sd15):
    sd15.pipeline.unet.register_to_config(sample_size=None)
    try:
        assert sd15._size(None) == (IMAGE_SIZE, IMAGE_SIZE)
    finally:
        sd15.pipeline.unet.register_to_config(sample_size=16)


def test_models_of_one_process_share_their_weights(folders):
    pipeline = load(folders["sd15"]).pipeline
    assert load(folders["sd15"], image_size=32).pipeline is pipeline
    assert load(folders["sd15"], precision="bf16").pipeline is not pipeline
    assert load(folders["sd21"]).pipeline is not pipeline


def test_weights_that_changed_on_disk_are_loaded_anew(folders, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(folders["sd15"], folder)
    pipeline = load(folder).pipeline
    assert load(folder).pipeline is pipeline
    file = next((folder / "unet").glob("*.safetensors"))
    os.utime(file, ns=(0, 0))
    assert load(folder).pipeline is not pipeline


def test_the_grid_is_that_of_the_configuration_whatever_users_do_to_the_pipeline(folders):
    steps = load(folders["sd15"]).denoiser(4).schedule
    model = load(folders["sd15"])
    scheduler = model.pipeline.scheduler
    try:
        model.pipeline.scheduler = DDIMScheduler(beta_schedule="squaredcos_cap_v2")
        assert load(folders["sd15"]).denoiser(4).schedule == steps
    finally:
        model.pipeline.scheduler = scheduler


def test_loading_is_silent(folders, capfd, recwarn):
    latent_model._load.cache_clear()
    load(folders["sdxl"]).condition(PROMPTS, 3.0)
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def refused(match, action, *arguments, **options):
    with pytest.raises(UserError, match=match) as caught:
        action(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def copied(folders, tmp_path) -> Path:
    return Path(shutil.copytree(folders["sd15"], tmp_path / "copy"))


def test_damaged_weights_are_refused(folders, tmp_path):
    folder = copied(folders, tmp_path)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"nothing")
    refused("cannot be loaded", load, folder)


def test_a_pipeline_of_another_kind_is_refused(folders, tmp_path):
    folder = copied(folders, tmp_path)
    index = json.loads((folder / "model_index.json").read_text())
    index["_class_name"] = "StableDiffusionInpaintPipeline"
    (folder / "model_index.json").write_text(json.dumps(index))
    refused("holds a StableDiffusionInpaintPipeline", load, folder)


@pytest.mark.parametrize(
    "size", [0, -64, 2, 63, [64, 63], [64], [64, 64, 3], ["64", 64], "64", 6.4]
)
def test_a_size_that_does_not_fit_is_refused(folders, size):
    message = rf"image_size={re.escape(str(size))} does not fit.*multiple of 4"
    refused(message, load, folders["sd15"], image_size=size)


def test_an_unknown_precision_is_refused(folders):
    refused("precision=fp8 is unknown", load, folders["sd15"], precision="fp8")


def test_steps_that_do_not_fit_are_refused(sd15):
    refused("steps=0", sd15.denoiser, 0)


def test_devices_are_resolved_or_refused(monkeypatch):
    assert resolve_device("cpu") == torch.device("cpu")
    refused("device=toaster is unknown", resolve_device, "toaster")
    refused("device=xpu is not available", resolve_device, "xpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    refused("device=cuda is not available", resolve_device, "cuda")
    refused("device=mps is not available", resolve_device, "mps")
    assert resolve_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device("auto") == torch.device("cuda")
    refused("device=cuda:1 is not available", resolve_device, "cuda:1")


def test_the_pipelines_are_the_real_classes(folders):
    assert type(load(folders["sd21"]).pipeline) is StableDiffusionPipeline
    assert type(load(folders["sdxl"]).pipeline) is StableDiffusionXLPipeline
