"""Changes of an image: of the right size, in 8 bits, and the same for the same draw."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from fpinv.images import to_pil
from fpinv.watermarks.attacks import ATTACKS, attacked, eight_bits

IMAGE = eight_bits(torch.rand(3, 96, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1)


def drawn(name, seed=0):
    return attacked(name, IMAGE, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_gives_an_image_of_eight_bits(name):
    image = drawn(name)
    assert image.shape == IMAGE.shape and torch.equal(image, eight_bits(image))
    assert torch.equal(image, drawn(name))
    assert torch.equal(image, IMAGE) == (name == "none")


@pytest.mark.parametrize("name", ["noise", "brightness", "crop"])
def test_random_attacks_differ_between_draws(name):
    assert not torch.equal(drawn(name, 1), drawn(name, 2))


def test_noise_is_a_tenth_of_the_range():
    grey = torch.zeros(3, 64, 64)
    image = attacked("noise", grey, torch.Generator().manual_seed(0))
    assert image.std().item() / 2 == pytest.approx(0.1, rel=0.05)


def test_brightness_is_multiplied_by_a_number_of_0_to_7():
    dark = eight_bits(torch.full((3, 4, 4), -0.9))
    factors = []
    for seed in range(200):
        factor = 7 * torch.rand((), generator=torch.Generator().manual_seed(seed)).item()
        image = attacked("brightness", dark, torch.Generator().manual_seed(seed))
        assert torch.allclose(image + 1, factor * (dark + 1), atol=1 / 255 + 1e-6)
        factors.append(((image + 1) / (dark + 1)).mean().item())
    assert min(factors) < 0.2 and max(factors) > 6.8


def test_jpeg_is_of_quality_25():
    file = io.BytesIO()
    to_pil(IMAGE).save(file, "JPEG", quality=25)
    pixels = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)
    assert torch.allclose(drawn("jpeg"), pixels / 127.5 - 1, atol=1e-6)


def test_blur_has_a_radius_of_4_at_512_pixels():
    edge = torch.full((3, 16, 256), -1.0)
    edge[..., 128:] = 1
    share = (attacked("blur", edge, torch.Generator())[0, 0] + 1) / 2
    # Across an edge blurred by a Gaussian of radius s, p (1 - p) sums to s / sqrt(pi).
    assert (share * (1 - share)).sum().item() == pytest.approx(2 / math.pi**0.5, rel=0.02)


def test_crop_stretches_three_quarters_of_the_width():
    ramp = torch.linspace(-1, 1, 128).expand(3, 96, 128)
    image = attacked("crop", ramp, torch.Generator().manual_seed(0))
    assert (image - image[:, :1]).abs().max() == 0
    assert (image[..., -1] - image[..., 0]).mean().item() == pytest.approx(1.5, abs=0.05)


def test_rotation_turns_about_the_middle_and_blackens_the_corners():
    white = attacked("rotation", torch.ones(3, 64, 64), torch.Generator())
    row, column = torch.meshgrid(*[torch.arange(64) - 31.5] * 2, indexing="ij")
    assert (white[:, row.hypot(column) < 31] == 1).all()
    assert (white[:, (0, 0, -1, -1), (0, -1, 0, -1)] == -1).all()
    image = torch.full((3, 64, 64), -1.0)
    image[:, 30:34, 50:54] = 1
    y, x = (attacked("rotation", image, torch.Generator())[0] == 1).nonzero().double().mean(
        0
    ) - 31.5
    angle = torch.atan2(-y, x).rad2deg().item()
    assert angle == pytest.approx(75, abs=3)


def test_blur_keeps_the_mean_and_lowers_the_contrast():
    image = drawn("blur")
    assert image.mean().item() == pytest.approx(IMAGE.mean().item(), abs=0.03)
    assert image.std() < 0.8 * IMAGE.std()
