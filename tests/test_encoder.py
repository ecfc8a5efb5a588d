"""The CLIP image tower: the bundled one, gradients, and weights that cannot be had."""

import pytest
import torch
from transformers import CLIPModel

import fpinv.models.scenes
from fpinv.encoder import CLIPImageEncoder
from fpinv.errors import UserError

BUNDLED = "pkg://fpinv.models.scenes/clip"


def test_the_bundled_tower_sees_what_clip_sees():
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    folder = f"{fpinv.models.scenes.__path__[0]}/clip"
    clip = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        expected = clip.visual_projection(clip.vision_model(pixel_values=images).pooler_output)
        assert torch.allclose(CLIPImageEncoder(BUNDLED)(images), expected, atol=1e-5)


def test_gradients_reach_images_of_any_size_and_no_weights():
    encoder = CLIPImageEncoder(BUNDLED)
    images = (torch.rand(1, 3, 40, 40) * 2 - 1).requires_grad_()
    encoder(images).sum().backward()
    assert images.grad.abs().max() > 0
    assert not any(p.requires_grad for p in encoder._tower.parameters())


def test_channels_are_normalised_as_told():
    images = torch.rand(1, 3, 64, 64) * 2 - 1
    shifted = CLIPImageEncoder(BUNDLED, mean=[0.4] * 3, std=[0.25] * 3)
    equal = ((images + 1) / 2 - 0.4) / 0.25
    assert torch.allclose(shifted(images), CLIPImageEncoder(BUNDLED)(equal), atol=1e-4)


def test_absent_weights_are_said_in_one_line():
    with pytest.raises(UserError, match="encoder.path=<folder>") as error:
        CLIPImageEncoder("nobody/nothing")(torch.zeros(1, 3, 64, 64))
    assert "nobody/nothing" in str(error.value) and "\n" not in str(error.value)
