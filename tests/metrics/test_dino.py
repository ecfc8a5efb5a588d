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


def test_it_is_a_distance_per_image_that_ignores_brightness_less_than_layout(distance):
    images = torch.rand(3, 3, 64, 64) * 2 - 1
    other = torch.rand(3, 3, 64, 64) * 2 - 1
    values = distance(images, other)
    assert values.shape == (3,) and (values > 0).all()
    assert torch.allclose(values, distance(other, images))
    assert torch.allclose(values[1:2], distance(images[1:2], other[1:2]), rtol=1e-3)
    assert (distance(images, images) == 0).all()


def test_without_weights_it_is_one_line(tmp_path):
    with pytest.raises(UserError, match="structure_dino needs the weights .*nowhere") as error:
        DINOStructure(str(tmp_path / "nowhere"))(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))
    assert "\n" not in str(error.value)
