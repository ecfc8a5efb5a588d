import pytest
from pipelines import TextPipeline, tokenizer

from fpinv.editing.controllers import LocalBlend, Refine, Replace, Reweight, SelfReplace
from fpinv.editing.recipe import PromptToPrompt
from fpinv.editing.request import Edit
from fpinv.editing.tokens import tokenise
from fpinv.errors import UserError

PIPELINE = TextPipeline(tokenizer())


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
        Reweight({"blue": 2}),
        LocalBlend(("star",), 0.6, 0.1),
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
    ],
)
def test_invalid_recipe_raises_user_error_on_creation(make, message):
    with pytest.raises(UserError, match=message):
        make()
