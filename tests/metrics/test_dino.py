"""Structure distance by DINO on a tiny transformer, and its absent weights in one line."""

import pytest
import torch
from torch.nn.functional import cosine_similarity, interpolate

from fpinv.errors import UserError
from fpinv.metrics.dino import DINOStructure

USUAL = (1.0, "bicubic", True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from transformers import ViTConfig, ViTModel

    folder = tmp_path_factory.mktemp("dino")
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
    )
    torch.manual_seed(0)
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def distance(folder):
    return DINOStructure(folder)


def pairs():
    return torch.rand(2, 3, 3, 64, 64) * 2 - 1


def test_distance_is_symmetric_and_one_per_image(distance):
    images, reference = pairs()
    values = distance(images, reference)
    assert values.shape == (3,) and (values > 0).all()
    assert torch.allclose(values, distance(reference, images))
    assert torch.allclose(values[1:2], distance(images[1:2], reference[1:2]), rtol=1e-3)
    assert (distance(images, images) == 0).all()


def last(network, *ends):
    """Return the last part of a network with a name that ends so."""
    return [part for name, part in network.named_modules() if name.endswith(ends)][-1]


@pytest.mark.parametrize(
    ("brightest", "resampling", "antialias"),
    [USUAL, (255.0, "bicubic", True), (1.0, "bilinear", True), (1.0, "bicubic", False)],
)
@torch.no_grad()
def test_distance_is_that_of_the_last_keys_of_images_in_imagenet_s_colours(
    folder, brightest, resampling, antialias
):
    metric = DINOStructure(folder, brightest, resampling, antialias)
    images, reference = pairs()
    network, mean, std = metric._network, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def similarity(x):
        x = interpolate(x, (32, 32), mode=resampling, antialias=antialias).clamp(-1, 1)
        levels = brightest * (x + 1) / 2
        colours = [(levels[:, k] - mean[k]) / std[k] for k in range(3)]
        states = network(torch.stack(colours, 1), output_hidden_states=True).hidden_states[-2]
        keys = last(network, ".k_proj", ".key")(last(network, ".layernorm_before")(states))
        return cosine_similarity(keys[:, :, None], keys[:, None], dim=-1)

    expected = (similarity(images) - similarity(reference)).square().mean((1, 2))
    assert torch.allclose(metric(images, reference), expected, rtol=1e-3)
    usual = DINOStructure(folder)(images, reference)
    assert torch.allclose(usual, expected, rtol=1e-2) == (
        (brightest, resampling, antialias) == USUAL
    )


def test_of_an_oblong_image_the_central_square_counts(distance):
    images, reference = torch.rand(2, 1, 3, 32, 64) * 2 - 1
    square = slice(16, 48)
    assert distance(images, reference).equal(distance(images[..., square], reference[..., square]))


def test_absent_weights_are_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="the weights .*nowhere of structure_dino") as error:
        DINOStructure(str(tmp_path / "nowhere"))(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))
    assert "\n" not in str(error.value)
