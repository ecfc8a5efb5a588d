from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from pipelines import TextPipeline, tokenizer

from fpinv.editing.controllers import LocalBlend, Refine, Replace, Reweight, SelfReplace, Share
from fpinv.editing.recipe import AttentionSharing, PlainEdit, PromptToPrompt
from fpinv.editing.request import Edit
from fpinv.editing.tokens import tokenise
from fpinv.errors import UserError
from fpinv.inverters.adjustment import PromptAware, Unadjusted
from fpinv.run.build import build
from fpinv.run.preflight import read_settings

CONF = Path(__file__).parents[2] / "conf"
PIPELINE = TextPipeline(tokenizer())


VITAL = [0, 1, 17, 18, 25, 28, 53, 54, 56]
VALUES = AttentionSharing(0.2, ["value"])


def controllers(edit, source="a red star", recipe=None):
    recipe = recipe or PromptToPrompt()
    return recipe.controllers(edit, tokenise(PIPELINE, source), tokenise(PIPELINE, edit.prompt))


def test_recipe_derives_controllers_from_the_edit():
    assert controllers(Edit("a blue star")) == (Replace(0.8), SelfReplace(0.4))
    assert controllers(Edit("a red dotted star")) == (Refine(0.8), SelfReplace(0.4))
    assert controllers(Edit("a blue star", kind="refine"))[0] == Refine(0.8)
    edit = Edit("a blue star", blend=("star",), reweight={"blue": 2})
    recipe = PromptToPrompt(1, (0.1, 0.5), 0.6, 0.1)
    assert controllers(edit, recipe=recipe) == (
        Replace(1),
        SelfReplace((0.1, 0.5)),
        Reweight({"blue": 2}, 1),
        LocalBlend(("star",), 0.6, 0.1),
    )


def test_recipe_sets_the_kind_and_emphasises_the_blended_words_of_the_target():
    recipe = PromptToPrompt(0.4, kind="refine", emphasis=2)
    edit = Edit("a red moon", blend=("star", "moon"), reweight={"red": 3})
    first, _, emphasis, own, _ = controllers(edit, recipe=recipe)
    assert first == Refine(0.4) and emphasis == Reweight({"moon": 2}, 0.4)
    assert own == Reweight({"red": 3}, 0.4)
    replaced = Edit("a red moon", kind="replace", blend=("star",))
    assert controllers(replaced, recipe=recipe)[0] == Replace(0.4), "an edit has the last word"
    assert not any(isinstance(c, Reweight) for c in controllers(replaced, recipe=recipe))
    throughout = PromptToPrompt(0.4, emphasis=2, reweight_steps=1)
    assert Reweight({"moon": 2}, 1) in controllers(edit, recipe=throughout)


def test_recipes_without_words_have_no_controller_or_one():
    edit, keys = Edit("a blue star", kind="refine"), AttentionSharing(0.4, ["key"], [3], True)
    assert controllers(edit, recipe=PlainEdit()) == ()
    assert controllers(edit, recipe=VALUES) == (Share(0.2, ("value",)),)
    assert controllers(edit, recipe=keys) == (Share(0.4, ("key",), (3,), True),)
    mine = (SelfReplace(1),)
    for recipe in (PlainEdit(), keys):
        assert controllers(Edit("a blue star", controllers=mine), recipe=recipe) is mine
        for wish in ({"blend": ("star",)}, {"reweight": {"star": 2}}):
            with pytest.raises(UserError, match="cannot single out words, such as 'star'"):
                controllers(Edit("a blue star", **wish), recipe=recipe)


def test_a_list_of_bounds_or_a_single_part_is_taken_as_it_is_meant():
    """Hydra gives lists, and plans are told apart by what they share."""
    (share,) = controllers(Edit("a blue star"), recipe=AttentionSharing([0.0, 0.5], "key"))
    assert share == Share((0.0, 0.5), ("key",)) and hash(share) == hash(
        Share((0.0, 0.5), ("key",))
    )


def test_controllers_of_an_edit_replace_those_of_the_recipe():
    assert controllers(Edit("a blue star", controllers=())) == ()
    mine = (SelfReplace(1),)
    assert controllers(Edit("a blue star", controllers=mine)) is mine


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Edit("x", kind="swap"), "edit kind 'swap' is unknown"),
        (lambda: PromptToPrompt(cross_steps=2), "steps=2 is no part of the sampling"),
        (lambda: PromptToPrompt(self_steps=-1), "steps=-1 is no part of the sampling"),
        (lambda: PromptToPrompt(blend_threshold=2), "blend threshold=2"),
        (lambda: PromptToPrompt(blend_start=2), "blend start=2"),
        (lambda: PromptToPrompt(kind="swap"), "edit kind 'swap' is unknown"),
        (lambda: PromptToPrompt(emphasis=float("inf")), "emphasis=inf is not possible"),
        (lambda: PromptToPrompt(emphasis="strong"), "emphasis=strong is not possible"),
        (lambda: AttentionSharing(2), "steps=2 is no part of the sampling"),
        (lambda: AttentionSharing(parts=["v"]), "cannot be shared"),
        (lambda: PromptToPrompt(reweight_steps=2), "reweight_steps=2 is no part of the sampling"),
        (lambda: PromptToPrompt(cross_steps="all"), "cross_steps=all is no part of the sampling"),
        *(
            (lambda wish=wish: Edit("x", controllers=(), **wish), "has no kind, blend or reweight")
            for wish in ({"kind": "refine"}, {"blend": ("x",)}, {"reweight": {"x": 2}})
        ),
    ],
)
def test_invalid_recipe_raises_user_error_on_creation(make, message):
    with pytest.raises(UserError, match=message):
        make()


def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=["task=editing", *overrides])


@pytest.mark.parametrize(
    ("name", "guidance", "targets", "inversion", "recipe"),
    [
        ("default", 1.0, 3.0, None, PromptToPrompt(0.8, 0.4, None, 0.2)),
        ("p2p", 7.5, None, None, PromptToPrompt(0.8, 0.4, 0.3, 0.0)),
        ("fpi", 2.0, None, None, PromptToPrompt(0.1, 0.9, 0.3, 0.0, emphasis=100)),
        ("pnp", 7.5, None, 1.0, PromptToPrompt(0.4, 0.6, 0.3, 0.2, "refine", emphasis=2)),
        ("null_text", 7.5, None, 1.0, PromptToPrompt(0.8, 0.5, 0.3, 0.2, emphasis=2)),
        ("edict", 3.0, None, None, PromptToPrompt(0.0, 0.0, None, 0.2)),
        ("plain", 1.0, 3.0, None, PlainEdit()),
        ("sharing", 1.0, 3.0, None, VALUES),
        ("rf_edit", 1.0, None, None, AttentionSharing(0.2, ["value"], [*range(39, 57)], True)),
        ("fireflow", 1.0, None, None, AttentionSharing(0.125, ["value"], [*range(19, 57)], True)),
        ("stable_flow", 1.0, None, 1.0, AttentionSharing(1.0, ["key", "value"], VITAL)),
    ],
)
def test_numbers_of_a_paper_reach_the_run(name, guidance, targets, inversion, recipe):
    inverters = {"null_text": "null_text", "pnp": "direct"}
    chosen = [f"inverter={inverters[name]}"] if name in inverters else []
    config = composed(f"task/recipe={name}", *chosen)
    task, inverter = build(config, "task"), build(config, "inverter")
    assert (read_settings(config).guidance, task.guidance) == (guidance, targets)
    assert (inverter.inversion_guidance, task.recipe) == (inversion, recipe)
    assert task.adjustment == (PromptAware(rounds=1, depth=2) if name == "fpi" else Unadjusted())
    assert task.blend == (isinstance(recipe, PromptToPrompt) and name != "edict")
    assert getattr(inverter, "strength", 0.8) == 0.8


def test_command_line_wins_over_the_numbers_of_a_paper():
    config = composed("task/recipe=fpi", "guidance=1", "adjustment=none", "task.guidance=4")
    task = build(config, "task")
    assert (config.guidance, task.guidance, task.adjustment) == (1, 4, Unadjusted())
    with pytest.raises(UserError, match="inverter.strength: no such argument"):
        build(composed("task/recipe=edict", "inverter=fpi"), "inverter")
