"""Attention layers of diffusers' UNets: discovery, control and restoration."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0, SlicedAttnProcessor
from torch.nn.functional import scaled_dot_product_attention

from fpinv.editing.attention import Layer, coarse_level, controlled, find_layers
from fpinv.errors import UserError


def unet(blocks=4, **options):
    """Return a UNet with cross-attention in all but the last down block, like Stable Diffusion."""
    return UNet2DConditionModel(
        **{
            "sample_size": 16,
            "down_block_types": ("CrossAttnDownBlock2D",) * (blocks - 1) + ("DownBlock2D",),
            "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (blocks - 1),
            "block_out_channels": (8,) * blocks,
            "layers_per_block": 1,
            "norm_num_groups": 4,
            "cross_attention_dim": 6,
            "attention_head_dim": 2,
        }
        | options
    ).eval()


class Watching:
    """A control that lists the layers in ``seen`` and attends to them in the plain way."""

    def __init__(self, attending=True):
        self.seen, self.attending = [], attending

    def attends(self, layer):
        self.seen.append(layer)
        return self.attending

    def attention(self, layer, query, key, value):
        return scaled_dot_product_attention(query, key, value)


@torch.no_grad()
def output(network, side=16):
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(2, 4, side, side, generator=generator)
    states = torch.randn(2, 5, 6, generator=generator)
    return network(z, torch.tensor(500), states, return_dict=False)[0]


def test_layers_have_the_level_of_their_grid():
    layers = find_layers(unet())
    levels = {name.split(".attentions")[0]: layer.level for name, layer in layers.items()}
    expected = {f"down_blocks.{k}": k for k in range(3)} | {"mid_block": 3}
    assert levels == expected | {f"up_blocks.{k}": 3 - k for k in (1, 2, 3)}
    assert sum(layer.cross for layer in layers.values()) == len(layers) / 2


@pytest.mark.parametrize(("blocks", "level"), [(4, 2), (3, 2), (2, 1), (1, 0)])
def test_coarse_level_is_a_quarter_of_the_side_or_the_coarsest_grid(blocks, level):
    layers = find_layers(unet(blocks))
    assert coarse_level(layers, cross=True) == coarse_level(layers, cross=False) == level


@pytest.mark.parametrize("linear", [False, True], ids=["sd1", "sd2"])
@pytest.mark.parametrize("side", [16, 24, 11])
def test_control_by_plain_attention_leaves_the_output(linear, side):
    heads = (1, 2, 2, 2) if linear else 2
    network = unet(use_linear_projection=linear, attention_head_dim=heads)
    plain, watching = output(network, side), Watching()
    with controlled(network, watching):
        assert torch.allclose(output(network, side), plain, atol=1e-6)
    assert len(watching.seen) == len(find_layers(network))


def test_layers_out_of_control_run_their_own_processor():
    network, watching = unet(), Watching(attending=False)
    plain = output(network)
    with controlled(network, watching):
        assert torch.equal(output(network), plain)
    assert set(watching.seen) == set(find_layers(network).values())


@pytest.mark.parametrize("slicing", [False, True])
def test_processors_are_restored_after_an_exception(slicing):
    network = unet()
    if slicing:
        network.set_attention_slice("auto")
    before = network.attn_processors
    with pytest.raises(ZeroDivisionError), controlled(network, Watching()):
        assert not set(network.attn_processors.values()) & set(before.values())
        raise ZeroDivisionError
    kinds = SlicedAttnProcessor if slicing else AttnProcessor2_0
    assert network.attn_processors == before
    assert all(isinstance(p, kinds) for p in before.values())


@pytest.mark.parametrize(
    "compile_part", [UNet2DConditionModel.compile, UNet2DConditionModel.compile_repeated_blocks]
)
def test_compiled_network_runs_uncompiled_under_control(compile_part):
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    network = unet(1)
    plain = output(network)
    compile_part(network, backend=backend)
    with controlled(network, Watching()):
        assert torch.allclose(output(network), plain, atol=1e-6)
    assert not compiled
    output(network)
    assert compiled


def test_network_without_cross_attention_raises_user_error():
    blind = UNet2DConditionModel(
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        mid_block_type=None,
        block_out_channels=(8,),
        norm_num_groups=4,
    )
    with pytest.raises(UserError, match="has no cross-attention layer that can be edited"):
        find_layers(blind)


def test_layers_of_equal_kind_and_level_are_equal():
    assert Layer(True, 2) == Layer(True, 2) != Layer(False, 2)
