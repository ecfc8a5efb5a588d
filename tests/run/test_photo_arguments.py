"""Short keys for images: what a shell passes on is what a prompt says."""

import re

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from fpinv import UserError
from fpinv.run.grammar import literal
from fpinv.run.photo_arguments import photo_arguments


def values(*arguments: str) -> dict[str, object]:
    """Return the values, as Hydra reads them, by the keys of the configuration."""
    parser = OverridesParser.create()
    overrides = parser.parse_overrides(photo_arguments(arguments))
    return {override.key_or_group: override.value() for override in overrides}


@given(st.text(st.characters(blacklist_categories=["Cs", "Cc"])))
def test_literal_stands_for_any_text(text):
    assert OverridesParser.create().parse_override(f"key={literal(text)}").value() == text


@pytest.mark.parametrize(
    "prompt",
    [
        "a cat on a sofa",
        "a cat, asleep, on a sofa",
        'it\'s a "cat"',
        "{a: b} (c) = d",
        "ein Kätzchen 猫 🐱",
        "back\\slash\\",
        "50% off: a=b",
        "'",
        "",
    ],
)
def test_prompt_is_taken_as_it_is_typed(prompt):
    read = values("image=cat.jpg", f"prompt={prompt}")
    assert read["dataset.prompt"] == prompt
    assert (read["dataset"], read["dataset.image"], read["limit"]) == ("photos", "cat.jpg", None)


@pytest.mark.parametrize("quote", "'\"")
def test_value_in_quotes_stays_in_the_grammar_of_overrides(quote):
    read = values("image=cat.jpg", f"prompt={quote}a cat, asleep{quote}")
    assert read["dataset.prompt"] == "a cat, asleep"


def test_list_of_edits_is_a_list():
    read = values("image=[a.jpg,b c.jpg]", "edit=[a dog on a sofa, 'a cat, awake', 7]")
    assert read["dataset.edit"] == ["a dog on a sofa", "a cat, awake", "7"]
    assert read["dataset.image"] == ["a.jpg", "b c.jpg"]
    assert read["task"] == "editing"


def test_choices_of_the_command_stay():
    arguments = ["task=reconstruction", "image=a.jpg", "edit=a dog", "limit=2", "dataset=mine"]
    read = values(*arguments)
    assert (read["task"], read["limit"], read["dataset"]) == ("reconstruction", 2, "mine")


@pytest.mark.parametrize(
    ("arguments", "guidance"),
    [
        ([], 7.5),
        (["model=sd14,sdxl"], 7.5),
        (["task=editing"], 7.5),
        (["task.guidance=5"], 5),
        (["task/recipe=pnp"], None),
        (["resume=outputs/a"], None),
        (["experiment=demo"], None),
        (["task=flow_editing"], None),
        (["model=scenes"], None),
        (["model=sd15,sdxl_turbo"], None),
    ],
)
def test_edits_have_the_guidance_that_their_model_is_used_with(arguments, guidance):
    read = values("image=a.jpg", "edit=a dog", *arguments)
    assert read.get("task.guidance") == guidance
    assert "task.guidance" not in values("image=a.jpg")


@pytest.mark.parametrize("before", [[], ["-m"], ["steps=4"]])
def test_options_of_hydra_stay_at_the_ends(before):
    arguments = [*before, "image=a.jpg", "edit=a dog", "--cfg", "job"]
    *overrides, option, value = photo_arguments(arguments)[len(before) :]
    assert [option, value] == ["--cfg", "job"]
    assert "dataset=photos" in overrides and not any(o.startswith("-") for o in overrides)


def test_other_commands_stay():
    arguments = ["-m", "inverter=fpi,ddim", "dataset.root=photos", "--help"]
    assert photo_arguments(arguments) == arguments


def test_key_without_an_image_is_refused():
    with pytest.raises(UserError, match="add image=<file>"):
        photo_arguments(["prompt=a cat"])


@pytest.mark.parametrize("edit", ["[a dog, it's", "[a {dog]", "[a]b"])
def test_list_that_is_none_is_refused_with_the_line_to_type(edit):
    with pytest.raises(UserError, match='edit=\'\\["a cat, asleep","a dog"\\]\''):
        photo_arguments(["image=a.jpg", f"edit={edit}"])


@pytest.mark.parametrize(
    "argument, message",
    [
        ("edit=", "edit= is empty"),
        ("prompt=[null,a cat]", "None is no text: quote it"),
        ("prompt=[1.50,a cat]", "1.5 is no text: quote it"),
        ("edit=[[a,b],c]", "is no text: quote it"),
    ],
)
def test_what_is_no_text_is_refused(argument, message):
    with pytest.raises(UserError, match=re.escape(message)):
        photo_arguments(["image=cat.jpg", argument])


def test_interpolation_is_refused():
    with pytest.raises(UserError, match="interpolation"):
        photo_arguments(["image=a.jpg", "prompt=${now:%Y}"])


def test_image_is_refused_for_a_task_that_would_not_read_it():
    with pytest.raises(UserError, match="task=watermark makes pictures of its own"):
        photo_arguments(["image=a.jpg", "task=watermark"])
