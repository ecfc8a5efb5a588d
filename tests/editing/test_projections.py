"""Queries, keys and values of all networks: where they stand, and what replacing them does."""

import pytest
import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import apply_rotary_emb
from diffusers.models.transformers.transformer_flux import FluxAttention
from tiny_models import tiny_model
from torch.nn.functional import scaled_dot_product_attention as attend

from fpinv.editing.projections import exchanged, find_blocks


@pytest.fixture(scope="module", params=["sd15", "sdxl", "sd3", "flux"])
def model(request, tmp_path_factory):
    return tiny_model(request.param, tmp_path_factory.mktemp(request.param))


@torch.no_grad()
def output(model):
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(2, *model.latent_shape, generator=generator)
    return model.denoiser(4)(z, 3, model.condition(["a red star", "a blue star"], 1.0))


class Watching:
    """A control that lists what it sees and replaces nothing."""

    def __init__(self):
        self.seen = []

    def exchange(self, block, part, states):
        self.seen.append((block.number, part))
        return states


class Copying(Watching):
    """A control that gives the second row the first row's keys and values of the picture."""

    def __init__(self, prompt_tokens):
        super().__init__()
        self.prompt_tokens = prompt_tokens

    def exchange(self, block, part, states):
        first = self.prompt_tokens if block.joined else 0
        if part != "query":
            states[1:, first:] = states[:1, first:]
        return states


def test_a_network_under_a_control_that_replaces_nothing_is_the_stock_one(model):
    plain, watching, blocks = output(model), Watching(), find_blocks(model.network)
    with exchanged(model.network, blocks, watching):
        assert torch.equal(output(model), plain)
    assert {part for _, part in watching.seen} == {"query", "key", "value"}
    assert torch.equal(output(model), plain)


def test_blocks_are_numbered_as_the_network_runs_through_them(model):
    watching, blocks = Watching(), find_blocks(model.network)
    with exchanged(model.network, blocks, watching):
        output(model)
    order = list(dict.fromkeys(number for number, _ in watching.seen))
    assert order == [block.number for block in blocks] == list(range(len(blocks)))
    attentions = [m for m in model.network.modules() if isinstance(m, (Attention, FluxAttention))]
    pictures = [m for m in attentions if not getattr(m, "is_cross_attention", False)]
    assert {id(m) for block in blocks for m in block.modules} == {id(m) for m in pictures}


def test_the_last_blocks_of_flux_join_prompt_and_picture(tmp_path):
    blocks = find_blocks(tiny_model("flux", tmp_path).network)
    assert [block.joined for block in blocks] == [False, True]


def test_hooks_are_gone_after_an_exception(model):
    plain, watching = output(model), Watching()
    with pytest.raises(ZeroDivisionError):
        with exchanged(model.network, find_blocks(model.network), watching):
            raise ZeroDivisionError
    assert torch.equal(output(model), plain) and not watching.seen


class Literal:
    """FLUX's attention written out: keys and values are copied after norms and rotations."""

    def __call__(
        self,
        attn,
        hidden_states,
        encoder_hidden_states=None,
        attention_mask=None,
        image_rotary_emb=None,
    ):
        parts, first = [], 0
        if encoder_hidden_states is not None:
            first = encoder_hidden_states.shape[1]
            names = ("add_q_proj", "add_k_proj", "add_v_proj", "norm_added_q", "norm_added_k")
            parts.append(self.heads(attn, encoder_hidden_states, *names))
        parts.append(self.heads(attn, hidden_states, "to_q", "to_k", "to_v", "norm_q", "norm_k"))
        query, key, value = (torch.cat(states, 1) for states in zip(*parts, strict=True))
        query, key = (apply_rotary_emb(x, image_rotary_emb, sequence_dim=1) for x in (query, key))
        begin = first or self.prompt_tokens
        key[1:, begin:], value[1:, begin:] = key[:1, begin:], value[:1, begin:]
        states = attend(*(x.transpose(1, 2) for x in (query, key, value)))
        states = states.transpose(1, 2).flatten(2)
        if encoder_hidden_states is None:
            return states
        return attn.to_out[0](states[:, first:]), attn.to_add_out(states[:, :first])

    def __init__(self, prompt_tokens):
        self.prompt_tokens = prompt_tokens

    def heads(self, attn, states, q, k, v, norm_q, norm_k):
        query, key, value = (
            getattr(attn, name)(states).unflatten(-1, (attn.heads, -1)) for name in (q, k, v)
        )
        return getattr(attn, norm_q)(query), getattr(attn, norm_k)(key), value


def test_replacing_projections_equals_replacing_keys_and_values_in_the_attention(tmp_path):
    model = tiny_model("flux", tmp_path)
    network, tokens = model.network, model.embed(["a"]).tokens.shape[1]
    plain, before = output(model), network.attn_processors
    with exchanged(network, find_blocks(network), Copying(tokens)):
        ours = output(model)
    network.set_attn_processor(Literal(tokens))
    torch.testing.assert_close(ours, output(model), rtol=1e-4, atol=1e-5)
    network.set_attn_processor(before)
    assert torch.equal(ours[0], plain[0]) and (ours[1] - plain[1]).abs().max() > 1e-3
