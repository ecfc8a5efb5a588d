"""LoRAs as the stock pipeline merges them, and one line for those that do not fit."""

import pytest
import torch
from diffusers import DiffusionPipeline
from pipelines import tiny_sd3, tiny_sd15, tiny_sdxl
from safetensors.torch import load_file, save_file

from fpinv.errors import UserError
from fpinv.models import lora
from fpinv.models.rectified_flow import StableDiffusion3
from fpinv.models.stable_diffusion import StableDiffusion
from fpinv.sampling import sample

# It is no part of what the tests install: where it is, diffusers imports it at every start.
peft = pytest.importorskip("peft")

FAMILIES = {
    "sd15": (tiny_sd15, StableDiffusion, {"prompt": "a red star"}),
    "sdxl": (tiny_sdxl, StableDiffusion, {"prompt": "a red star"}),
    "sd3": (tiny_sd3, StableDiffusion3, {"prompt": "a red star", "max_sequence_length": 256}),
}


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request, tmp_path_factory):
    """Return a folder, a LoRA for it, its class, and arguments of the stock pipeline."""
    build, load, options = FAMILIES[request.param]
    folder = build(tmp_path_factory.mktemp("lora") / request.param)
    pipeline = DiffusionPipeline.from_pretrained(folder)
    name = "transformer" if request.param == "sd3" else "unet"
    network = getattr(pipeline, name)
    network.add_adapter(
        peft.LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False)
    )
    network.save_lora_adapter(folder.parent)
    file = folder.parent / "pytorch_lora_weights.safetensors"
    save_file({f"{name}.{key}": value for key, value in load_file(file).items()}, file)
    return folder, file, load, options


@torch.no_grad()
def sampled(model, z):
    return sample(model.denoiser(2), z, model.condition(["a red star"], 1.0))


def test_a_lora_changes_the_samples_as_in_the_stock_pipeline(family):
    folder, file, load, options = family
    plain, changed = (load(str(folder), lora=path, device="cpu") for path in (None, str(file)))
    z = torch.randn(1, *plain.latent_shape)
    stock = DiffusionPipeline.from_pretrained(folder)
    stock.load_lora_weights(file.parent, weight_name=file.name)
    stock.set_progress_bar_config(disable=True)
    stock.scheduler = changed.pipeline.scheduler
    theirs = stock(
        latents=z, guidance_scale=1.0, num_inference_steps=2, output_type="latent", **options
    ).images
    torch.testing.assert_close(sampled(changed, z), theirs, rtol=1e-4, atol=1e-4)
    assert (sampled(plain, z) - theirs).abs().max() > 1e-2
    assert not any("lora" in name for name, _ in changed.network.named_modules())


def test_the_scale_multiplies_the_change_and_counts_in_the_digest(family):
    folder, file, load, _ = family
    plain = load(str(folder), device="cpu")
    half, whole = (load(str(folder), lora=str(file), lora_scale=s, device="cpu") for s in (0.5, 1))
    names = [name for name, _ in plain.network.named_parameters() if "to_q.weight" in name]
    for name in names[:2]:
        a, b, c = (m.network.get_parameter(name) for m in (plain, half, whole))
        torch.testing.assert_close(c - a, 2 * (b - a), rtol=1e-4, atol=1e-6)
        assert (c - a).abs().max() > 1e-3
    assert len({model.origin.digest for model in (plain, half, whole)}) == 3


def test_a_lora_that_does_not_fit_is_refused_in_one_line(family, tmp_path, monkeypatch):
    folder, file, load, _ = family

    def refused(path, match):
        with pytest.raises(UserError, match=match) as caught:
            load(str(folder), lora=str(path), device="cpu")
        assert "\n" not in str(caught.value)

    refused(tmp_path / "gone.safetensors", "is no .safetensors file")
    foreign = tmp_path / "foreign.safetensors"
    save_file({"other.to_q.lora_A.weight": torch.ones(2, 32)}, foreign)
    refused(foreign, "which is not there|cannot be loaded")
    weights = load_file(file)
    part = next(iter(weights)).partition(".")[0]
    save_file(weights | {f"{part}.nowhere.to_q.lora_A.weight": torch.ones(2, 32)}, foreign)
    refused(foreign, "nowhere.to_q.lora_A.weight, which is not there")
    wide = tmp_path / "wide.safetensors"
    save_file(
        {k: torch.ones(v.shape[0], v.shape[1] + 1) for k, v in load_file(file).items()}, wide
    )
    refused(wide, "cannot be loaded")
    monkeypatch.setattr(lora, "find_spec", lambda name: None)
    refused(file, "needs the package peft")
