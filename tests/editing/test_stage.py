"""The stage's fused arithmetic against the paper's, written out with the probabilities."""

import pytest
import torch
from pipelines import TextPipeline, tokenizer
from torch.nn.functional import scaled_dot_product_attention as attend

from fpinv.editing.attention import Layer, probabilities
from fpinv.editing.branches import Branches, TargetBranch
from fpinv.editing.controllers import (
    LocalBlend,
    Moment,
    Refine,
    Replace,
    Reweight,
    SelfReplace,
    Share,
)
from fpinv.editing.projections import Block
from fpinv.editing.stage import Stage
from fpinv.editing.tokens import align, tokenise
from fpinv.errors import UserError

PIPELINE = TextPipeline(tokenizer())
LAYERS = {f"{c}{level}": Layer(bool(c), level) for c in (0, 1) for level in range(4)}
CROSS, SELF = Layer(True, 2), Layer(False, 2)
STEPS = 10


def tokens(prompt):
    return tokenise(PIPELINE, prompt)


SOURCES = (tokens("a red star"), tokens("two cats"))


def stage(*targets):
    """Return a stage for the (prompt, number of its source, controllers) of each target."""
    branches = Branches(
        SOURCES, tuple(TargetBranch(tokens(p), s, tuple(c)) for p, s, c in targets)
    )
    return Stage(branches, LAYERS, STEPS, "cpu")


def states(rows, queries, keys, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((rows, 2, n, 8) for n in (queries, keys, keys))
    return tuple(torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes)


@pytest.mark.parametrize("null_rows", [0, 5])
def test_cross_attention_equals_the_paper_written_out(null_rows):
    """The batch has three targets of two sources, with different controllers."""
    s = stage(
        ("a blue star", 0, [Replace()]),
        ("a red dotted star", 0, [Refine(), Reweight({"dotted": 3})]),
        ("two dogs", 1, []),
    )
    s.enter(0, (16, 16), null_rows)
    q, k, v = states(5 + null_rows, 16, 77)
    assert s.attends(CROSS)
    output = s.attention(CROSS, q, k, v)

    p = (q @ k.transpose(-1, -2) / 8**0.5).softmax(-1)
    source, swapped, refined = (p[null_rows + n].clone() for n in (0, 2, 3))
    after = tokens("a red dotted star")
    new = after.indicator(["dotted"]).double()
    p[null_rows + 2] = source @ align(SOURCES[0], tokens("a blue star"), "replace").double()
    p[null_rows + 3] = source @ align(SOURCES[0], after, "refine").double()
    p[null_rows + 3] += refined * new
    p[null_rows + 3] *= 1 + 2 * new
    assert torch.allclose(output, p @ v, atol=1e-12)
    assert not torch.equal(source, swapped)


def test_coarse_self_attention_is_the_source_attention():
    s = stage(("a blue star", 0, [SelfReplace(0.4)]), ("two dogs", 1, []))
    s.enter(0, (16, 16), 0)
    q, k, v = states(4, 16, 16)
    assert s.attends(SELF) and s.attends(Layer(False, 3)) and not s.attends(Layer(False, 1))
    output = s.attention(SELF, q, k, v)
    plain = attend(q, k, v)
    assert torch.allclose(output[2], probabilities(q[:1], k[:1])[0].double() @ v[2], atol=1e-6)
    assert torch.equal(output[[0, 1, 3]], plain[[0, 1, 3]])
    s.enter(4, (16, 16), 0)
    assert not s.attends(SELF)


@pytest.mark.parametrize("null_rows", [0, 5])
def test_projections_of_the_source_take_their_place_in_the_targets_that_share(null_rows):
    """In the rows of the null prompt as in the others, from the picture's first token on."""
    words, blocks = 3, [Block(0, (), False), Block(1, (), True), Block(2, (), True)]
    whole = Share(0.5, ("key", "value"), (0, 1), prompt_tokens=True)
    s = stage(("a blue star", 0, [Share(0.2)]), ("two dogs", 1, [whole]), ("a green star", 0, []))
    s.enter(1, (16, 16), null_rows, words)
    x = torch.randn(5 + null_rows, words + 16, 8)
    before, first = x.clone(), {0: 0, 1: words, 2: words}
    for block in blocks:
        for part in ("query", "key", "value"):
            expected = before.clone()
            for half in {0, null_rows}:
                if part == "value":
                    expected[half + 2, first[block.number] :] = x[half, first[block.number] :]
                if part != "query" and block.number < 2:
                    expected[half + 3] = x[half + 1]
            assert torch.equal(s.exchange(block, part, x), expected)
    assert torch.equal(x, before)
    s.enter(2, (16, 16), null_rows, words)
    assert torch.equal(s.exchange(blocks[1], "value", x)[2], x[2])
    s.enter(5, (16, 16), null_rows, words)
    assert s.exchange(blocks[1], "value", x) is x


def test_no_layer_is_computed_outside_all_intervals():
    s = stage(("a blue star", 0, []), ("a blue star", 0, [Replace(0.2), SelfReplace(0.2)]))
    s.enter(5, (16, 16), 0)
    assert not any(s.attends(layer) for layer in LAYERS.values())


def test_probabilities_are_computed_for_a_blend_on_one_grid(monkeypatch):
    s = stage(("a blue star", 0, [LocalBlend(("star",))]))
    s.enter(0, (16, 16), 3)
    assert [layer for layer in LAYERS.values() if s.attends(layer)] == [CROSS]
    rows = []
    monkeypatch.setattr(
        "fpinv.editing.stage.probabilities",
        lambda q, k: rows.append(len(q)) or probabilities(q, k),
    )
    q, k, v = states(6, 16, 77)
    assert torch.equal(s.attention(CROSS, q, k, v), attend(q, k, v))
    assert rows == [1, 1]


def maps(s, words, side=4):
    """Let each branch see a word at one place: ``words`` are (row, token position, place)."""
    q, k = torch.zeros(3, 2, side * side, 8), torch.zeros(3, 2, 77, 8)
    for row, position, place in words:
        q[row, :, place, row] = 30
        k[row, :, position, row] = 30
    s.attention(CROSS, q, k, torch.randn(3, 2, 77, 8))


def test_blend_holds_the_background_and_frees_the_words():
    s = stage(("a blue star", 0, [LocalBlend(("red", "blue"), start=0)]))
    s.enter(0, (16, 16), 0)
    red, blue = SOURCES[0].find("red")[0], tokens("a blue star").find("blue")[0]
    maps(s, [(0, red, 0), (2, blue, 15)])
    z = torch.randn(3, 4, 16, 16)
    blended = s.blend(z, 1)
    assert torch.equal(blended[:2], z[:2])
    mask = s.mask((16, 16))[0]
    # Two opposite corners, each spread by one grid point of four pixels.
    corner = torch.zeros(16, 16, dtype=torch.bool)
    corner[:8, :8] = corner[8:, 8:] = True
    assert torch.equal(mask, corner)
    assert torch.equal(blended[2], torch.where(mask, z[2], z[0]))


def test_a_blend_frees_where_words_were_seen_in_any_layer_of_any_step():
    s = stage(("a blue star", 0, [LocalBlend(("red",), start=0)]))
    red = SOURCES[0].find("red")[0]
    s.enter(0, (16, 16), 0)
    maps(s, [(0, red, 0)])
    maps(s, [(0, red, 3)])
    s.enter(1, (16, 16), 0)
    maps(s, [(0, red, 12)])
    s.blend(torch.zeros(3, 4, 16, 16), 2)
    # Three corners of the grid, each spread by one point.
    free = torch.ones(16, 16, dtype=torch.bool)
    free[8:, 8:] = False
    assert torch.equal(s.mask((16, 16))[0], free)


@pytest.mark.parametrize(("side", "usual"), [(4, 0.5), (15, 0.5), (16, 0.3)])
def test_the_threshold_of_a_blend_follows_the_size_of_the_maps(side, usual):
    def frees(threshold, strength):
        s = stage(("a blue star", 0, [LocalBlend(("red",), threshold, start=0)]))
        red = SOURCES[0].find("red")[0]
        s.enter(0, (4 * side, 4 * side), 0)
        maps(s, [(0, red, 0)], side)
        s._maps[:, 0, -1, -1] = strength * s._maps.max()
        s.blend(torch.zeros(3, 4, 4 * side, 4 * side), 1)
        return s.mask((4 * side, 4 * side))[0, -1, -1].item()

    assert frees(None, usual + 0.01) and not frees(None, usual - 0.01)
    assert not frees(usual + 0.02, usual + 0.01)


def test_blend_waits_for_its_start_and_leaves_other_targets_free():
    s = stage(("a blue star", 0, [LocalBlend(("red",), start=0.5)]))
    s.enter(0, (16, 16), 0)
    maps(s, [(0, SOURCES[0].find("red")[0], 5)])
    z = torch.randn(3, 4, 16, 16)
    assert torch.equal(s.blend(z, 5), z)
    assert s.mask((16, 16)).all(), "nothing has been limited yet"
    assert not torch.equal(s.blend(z, 6), z)
    assert not s.mask((16, 16)).all()
    free = stage(("a blue star", 0, []))
    free.enter(0, (16, 16), 0)
    assert torch.equal(free.blend(z, 6), z) and free.mask((16, 16)).all()


def test_odd_grid_is_halved_as_by_the_network():
    s = stage(("a blue star", 0, [LocalBlend(("star",), start=0)]))
    s.enter(0, (19, 27), 0)
    q, k, v = states(3, 5 * 7, 77)
    s.attention(CROSS, q, k, v)
    assert s.mask((19, 27)).shape == (1, 19, 27)


def test_unreached_layer_raises_user_error():
    s = stage(("a blue star", 0, [Replace()]))
    with pytest.raises(UserError, match="never reached, so nothing was edited"):
        s.check(object())


def test_plans_of_a_batch_stack_those_of_its_targets():
    targets = [("a blue star", 0, [Replace()]), ("two dogs", 1, [SelfReplace()])]
    branches = Branches(
        SOURCES, tuple(TargetBranch(tokens(p), s, tuple(c)) for p, s, c in targets)
    )
    assert branches.prompts == ["a red star", "two cats", "a blue star", "two dogs"]
    assert branches.origins == [0, 1] and len(branches) == 4
    plans = branches.plans(Moment(0, STEPS))
    assert plans.self_attention.tolist() == [False, True]
    assert plans.changes_prompt and not plans.gathers
    assert not branches.plans(Moment(9, STEPS)).changes_prompt
