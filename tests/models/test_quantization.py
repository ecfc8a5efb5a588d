"""Quantised networks: close to the stored ones, and one line for what cannot be had."""

from importlib.util import find_spec

import pytest
import torch
from pipelines import tiny_sd3, tiny_sd15

from fpinv.errors import UserError
from fpinv.inverters.fixed_point import FixedPoint
from fpinv.models import quantization
from fpinv.models.rectified_flow import StableDiffusion3
from fpinv.models.stable_diffusion import StableDiffusion
from fpinv.solvers import rms

FAMILIES = {"sd15": (tiny_sd15, StableDiffusion), "sd3": (tiny_sd3, StableDiffusion3)}


# torchao is no part of what the tests install: where it is, diffusers imports it at every start.
@pytest.mark.skipif(find_spec("torchao") is None, reason="torchao is not installed")
@pytest.mark.parametrize("family", FAMILIES)
def test_weights_of_8_bits_give_nearly_the_same_output_and_invert_as_well(family, tmp_path):
    build, load = FAMILIES[family]
    folder = str(build(tmp_path / "model"))
    plain, coarse = (load(folder, device="cpu", quantization=kind) for kind in (None, "int8"))
    z, outputs = torch.randn(1, *plain.latent_shape), []
    for model in (plain, coarse):
        condition, denoiser = model.condition(["a red star"], 1.0), model.denoiser(10)
        with torch.no_grad():
            outputs.append(denoiser(z, 5, condition))
    assert 1e-5 < float(rms(outputs[0] - outputs[1]) / rms(outputs[0])) < 0.05
    inversion = FixedPoint(10).invert(denoiser, z, condition)
    back = FixedPoint(10).sample(denoiser, inversion, condition)
    assert rms(back - z) < 1e-3 * rms(z)


def test_what_cannot_be_had_is_refused_in_one_line(tmp_path, monkeypatch):
    folder = str(tiny_sd15(tmp_path / "sd15"))

    def refused(match, **settings):
        with pytest.raises(UserError, match=match):
            StableDiffusion(folder, device="cpu", **settings)

    refused("quantization=int2 is unknown: use int8, nf4, or null", quantization="int2")
    monkeypatch.setattr(quantization, "find_spec", lambda name: True)
    refused("cannot be merged into quantised weights", quantization="int8", lora="a.safetensors")
    refused("nf4 needs a GPU", quantization="nf4")
    monkeypatch.setattr(quantization, "find_spec", lambda name: None)
    refused("int8 needs the package torchao", quantization="int8")
