"""Controllers are values: they compose, change nothing they are given, and refuse nonsense."""

from dataclasses import FrozenInstanceError

import pytest
import torch
from pipelines import tokenizer

from fpinv.editing.controllers import (
    LocalBlend,
    Moment,
    Plan,
    Refine,
    Replace,
    Reweight,
    SelfReplace,
)
from fpinv.editing.tokens import align, tokenise
from fpinv.errors import UserError

WORDS = tokenizer()
SOURCE, TARGET = tokenise(WORDS, "a red star"), tokenise(WORDS, "a blue star")
EARLY, LATE = Moment(0, 10), Moment(9, 10)
NOTHING = Plan.untouched(77)


def planned(*controllers, moment=EARLY, target=TARGET):
    plan = NOTHING
    for controller in controllers:
        plan = controller(plan, SOURCE, target, moment)
    return plan


def test_replace_takes_the_source_and_then_lets_go():
    during, after = planned(Replace(0.5)), planned(Replace(0.5), moment=LATE)
    assert torch.equal(during.source, align(SOURCE, TARGET, "replace")) and not during.own.any()
    assert torch.equal(after.source, NOTHING.source) and torch.equal(after.own, NOTHING.own)


def test_refine_leaves_new_words_their_own_attention():
    target = tokenise(WORDS, "a red striped star")
    plan = planned(Refine(), target=target)
    assert torch.equal(plan.own, target.indicator(["striped"]))
    assert torch.equal(plan.source, align(SOURCE, target, "refine"))


def test_words_may_have_a_time_of_their_own():
    plan = planned(Replace(0.8, {"blue": 0.0}))
    assert torch.equal(plan.own, TARGET.indicator(["blue"]))
    late = planned(Replace(0.2, {"star": (0.5, 1)}), moment=LATE)
    assert torch.equal(late.own, 1 - TARGET.indicator(["star"]))


@pytest.mark.parametrize("part", [1, 1.0, (0, 1), [0, 1]])
def test_the_whole_sampling_may_be_written_as_a_whole_number(part):
    assert all(Moment(k, 10).within(part) for k in range(10))


@pytest.mark.parametrize("steps", [1, 3, 10, 50])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.7, 0.8, (0.2, 0.6)])
def test_a_part_of_the_sampling_is_that_many_steps(steps, part):
    first, last = part if isinstance(part, tuple) else (0, part)
    inside = [k for k in range(steps) if Moment(k, steps).within(part)]
    assert inside == list(range(round(first * steps), round(last * steps)))


def test_several_words_are_reweighted_at_once_or_in_turn():
    together = planned(Replace(), Reweight({"blue": 2, "star": -0.5}))
    in_turn = planned(Replace(), Reweight({"star": -0.5}), Reweight({"blue": 2}))
    scale = 1 + TARGET.indicator(["blue"]) - 1.5 * TARGET.indicator(["star"])
    assert torch.equal(together.source, align(SOURCE, TARGET, "replace") * scale)
    assert torch.equal(together.source, in_turn.source)
    assert torch.equal(planned(Reweight({"blue": 2})).own, 1 + TARGET.indicator(["blue"]))


def test_self_attention_and_blend_are_for_a_time():
    assert planned(SelfReplace(0.4)).self_attention
    assert not planned(SelfReplace(0.4), moment=LATE).self_attention
    blends = [planned(LocalBlend(("red", "blue")), moment=Moment(k, 10)).blend for k in range(11)]
    assert [blend.active for blend in blends] == [False] * 3 + [True] * 8
    assert torch.equal(blends[0].source, SOURCE.indicator(["red"]))
    assert torch.equal(blends[0].target, TARGET.indicator(["blue"]))


def test_controllers_are_values_that_leave_plans_alone():
    before = Plan.untouched(77)
    for controller in (
        Replace(),
        Refine(),
        Reweight({"star": 3}),
        SelfReplace(),
        LocalBlend(("a",)),
    ):
        controller(NOTHING, SOURCE, TARGET, EARLY)
        with pytest.raises(FrozenInstanceError):
            controller.steps = 1
    assert Replace(0.8) == Replace(0.8) != Refine(0.8)
    assert torch.equal(NOTHING.source, before.source) and torch.equal(NOTHING.own, before.own)


@pytest.mark.parametrize("part", [1.2, -0.1, (0.8, 0.2), (0, 0.5, 1), "all", None])
def test_what_is_no_part_of_the_sampling_is_refused(part):
    for make in (Replace, SelfReplace, lambda p: Refine(words={"star": p})):
        with pytest.raises(UserError, match="is no part of the sampling: give a fraction"):
            make(part)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Reweight({"star": float("nan")}), "weight of 'star' is nan"),
        (lambda: Reweight({"star": "strong"}), "weight of 'star' is strong"),
        (lambda: LocalBlend(()), "needs a list of words"),
        (lambda: LocalBlend("star"), "needs a list of words, not 'star'"),
        (lambda: LocalBlend(("star",), threshold=3), "blend threshold=3 is not possible"),
        (lambda: LocalBlend(("star",), start=-1), "blend start=-1 is not possible"),
        (
            lambda: planned(LocalBlend(("moon",))),
            "to blend 'moon' is in neither 'a red star' nor 'a blue star'",
        ),
        (lambda: planned(Reweight({"red": 2})), "'red' is not in the prompt 'a blue star'"),
        (lambda: planned(Replace(words={"red": 1})), "'red' is not in the prompt 'a blue star'"),
    ],
)
def test_nonsense_is_one_clear_line(make, said):
    with pytest.raises(UserError) as error:
        make()
    assert said in str(error.value) and "\n" not in str(error.value)
