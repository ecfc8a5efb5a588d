"""Structure distance by DINO on a tiny transformer, and its absent weights in one line."""

import pytest
import torch

from fpinv.errors import UserError
from fpinv.metrics.dino import DINOStructure


@pytest.fixture(scope="module")
def distance(tmp_path_factory):
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
    return DINOStructure(str(folder))


def test_distance_is_symmetric_and_one_per_image(distance):
    images, reference = torch.rand(2, 3, 3, 64, 64) * 2 - 1
    values = distance(images, reference)
    assert values.shape == (3,) and (values > 0).all()
    assert torch.allclose(values, distance(reference, images))
    assert torch.allclose(values[1:2], distance(images[1:2], reference[1:2]), rtol=1e-3)
    assert (distance(images, images) == 0).all()


def test_of_an_oblong_image_the_central_square_counts(distance):
    images, reference = torch.rand(2, 1, 3, 32, 64) * 2 - 1
    square = slice(16, 48)
    assert distance(images, reference).equal(distance(images[..., square], reference[..., square]))


def test_absent_weights_are_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="the weights .*nowhere of structure_dino") as error:
        DINOStructure(str(tmp_path / "nowhere"))(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))
    assert "\n" not in str(error.value)
