"""Changes of an image: of the right size, in 8 bits, and the same for the same draw."""

import pytest
import torch

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
