"""Controllers of prompt-to-prompt: their plans, composition and refusals."""

from dataclasses import FrozenInstanceError

import pytest
import torch
from pipelines import TextPipeline, tokenizer

from fpinv.editing.controllers import (
    LocalBlend,
    Moment,
    Plan,
    Refine,
    Replace,
    Reweight,
    SelfReplace,
    Share,
)
from fpinv.editing.projections import Block
from fpinv.editing.tokens import align, tokenise
from fpinv.errors import UserError

PIPELINE = TextPipeline(tokenizer())
SOURCE, TARGET = tokenise(PIPELINE, "a red star"), tokenise(PIPELINE, "a blue star")
EARLY, LATE = Moment(0, 10), Moment(9, 10)
NOTHING = Plan.untouched(77)


def planned(*controllers, moment=EARLY, target=TARGET):
    plan = NOTHING
    for controller in controllers:
        plan = controller(plan, SOURCE, target, moment)
    return plan


def test_replace_takes_the_source_attention_within_its_interval():
    during, after = planned(Replace(0.5)), planned(Replace(0.5), moment=LATE)
    assert (
        torch.equal(during.source_weights, align(SOURCE, TARGET, "replace"))
        and not during.target_weights.any()
    )
    assert torch.equal(after.source_weights, NOTHING.source_weights) and torch.equal(
        after.target_weights, NOTHING.target_weights
    )


def test_refine_keeps_the_target_attention_of_new_words():
    target = tokenise(PIPELINE, "a red striped star")
    plan = planned(Refine(), target=target)
    assert torch.equal(plan.target_weights, target.indicator(["striped"]))
    assert torch.equal(plan.source_weights, align(SOURCE, target, "refine"))


def test_replace_takes_an_interval_for_each_word():
    plan = planned(Replace(0.8, {"blue": 0.0}))
    assert torch.equal(plan.target_weights, TARGET.indicator(["blue"]))
    late = planned(Replace(0.2, {"star": (0.5, 1)}), moment=LATE)
    assert torch.equal(late.target_weights, 1 - TARGET.indicator(["star"]))


@pytest.mark.parametrize("interval", [1, 1.0, (0, 1), [0, 1]])
def test_interval_of_the_whole_sampling_accepts_integers(interval):
    assert all(Moment(k, 10).within(interval) for k in range(10))


@pytest.mark.parametrize("steps", [1, 3, 10, 50])
@pytest.mark.parametrize("interval", [0.0, 0.3, 0.7, 0.8, (0.2, 0.6)])
def test_interval_contains_its_rounded_share_of_the_steps(steps, interval):
    begin, end = interval if isinstance(interval, tuple) else (0, interval)
    inside = [k for k in range(steps) if Moment(k, steps).within(interval)]
    assert inside == list(range(round(begin * steps), round(end * steps)))


def test_reweighting_words_together_equals_in_turn():
    together = planned(Replace(), Reweight({"blue": 2, "star": -0.5}))
    in_turn = planned(Replace(), Reweight({"star": -0.5}), Reweight({"blue": 2}))
    scale = 1 + TARGET.indicator(["blue"]) - 1.5 * TARGET.indicator(["star"])
    assert torch.equal(together.source_weights, align(SOURCE, TARGET, "replace") * scale)
    assert torch.equal(together.source_weights, in_turn.source_weights)
    assert torch.equal(
        planned(Reweight({"blue": 2})).target_weights, 1 + TARGET.indicator(["blue"])
    )


def test_words_are_reweighted_within_the_interval_alone():
    factors = {"blue": 2}
    last = planned(Reweight(factors, 0.4), moment=Moment(3, 10))
    assert torch.equal(last.target_weights, 1 + TARGET.indicator(["blue"]))
    late = planned(Reweight(factors, 0.4), moment=Moment(4, 10))
    assert torch.equal(late.target_weights, NOTHING.target_weights)
    with pytest.raises(UserError, match="'red' is not in the prompt"):
        planned(Reweight({"red": 2}, 0.4), moment=LATE)
    throughout = planned(Reweight(factors, 1), moment=LATE).target_weights
    assert torch.equal(throughout, 1 + TARGET.indicator(["blue"]))


def test_self_replace_and_local_blend_act_within_their_intervals():
    assert planned(SelfReplace(0.4)).self_attention
    assert not planned(SelfReplace(0.4), moment=LATE).self_attention
    blends = [planned(LocalBlend(("red", "blue")), moment=Moment(k, 10)).blend for k in range(11)]
    assert [blend.active for blend in blends] == [False] * 3 + [True] * 8
    assert torch.equal(blends[0].source, SOURCE.indicator(["red"]))
    assert torch.equal(blends[0].target, TARGET.indicator(["blue"]))


def test_parts_of_the_sampling_with_self_attention_add_up():
    parts = SelfReplace((0, 0.5)), SelfReplace((0.5, 0.5))
    assert planned(*parts).self_attention and planned(*parts[::-1]).self_attention


def test_shares_add_up_within_their_intervals():
    values, keys = Share(0.4), Share(0.2, ("key",), (1, 2))
    during, after = (planned(values, keys, moment=Moment(k, 10)) for k in (1, 3))
    assert (during.shared, after.shared) == ((values, keys), (values,))
    assert torch.equal(during.source_weights, NOTHING.source_weights)
    assert all(values.covers(Block(k, (), False), "value") for k in range(3))
    covered = [keys.covers(Block(k, (), False), "key") for k in range(4)]
    assert covered == [False, True, True, False]
    assert not keys.covers(Block(1, (), False), "value")


def test_controllers_are_frozen_and_leave_their_arguments_unchanged():
    before = Plan.untouched(77)
    for controller in (
        Replace(),
        Refine(),
        Reweight({"star": 3}),
        SelfReplace(),
        Share(),
        LocalBlend(("a",)),
    ):
        controller(NOTHING, SOURCE, TARGET, EARLY)
        with pytest.raises(FrozenInstanceError):
            controller.steps = 1
    assert Replace(0.8) == Replace(0.8) != Refine(0.8)
    assert torch.equal(NOTHING.source_weights, before.source_weights) and torch.equal(
        NOTHING.target_weights, before.target_weights
    )


@pytest.mark.parametrize("interval", [1.2, -0.1, (0.8, 0.2), (0, 0.5, 1), "all", None])
def test_invalid_interval_raises_user_error(interval):
    for make in (
        Replace,
        SelfReplace,
        Share,
        lambda p: Refine(words={"star": p}),
        lambda p: Reweight({}, p),
    ):
        with pytest.raises(UserError, match="is no part of the sampling: give a fraction"):
            make(interval)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Reweight({"star": float("nan")}), "weight of 'star' is nan"),
        (lambda: Reweight({"star": "strong"}), "weight of 'star' is strong"),
        (lambda: Share(parts=()), "cannot be shared: choose of query, key, value"),
        (lambda: Share(parts=("values",)), "parts=['values'] cannot be shared"),
        (lambda: Share(blocks=(0, -1)), "blocks=[0, -1] is not possible"),
        (lambda: Share(blocks=()), "blocks=[] is not possible"),
        (lambda: Share(blocks=(0.5,)), "blocks=[0.5] is not possible"),
        (lambda: LocalBlend(()), "needs a list of words"),
        (lambda: LocalBlend("star"), "needs a list of words, not 'star'"),
        (lambda: LocalBlend(("star",), threshold=3), "blend threshold=3 is not possible"),
        (lambda: LocalBlend(("star",), start=-1), "blend start=-1 is not possible"),
        (lambda: LocalBlend(("star",), start=1), "blend start=1 is not possible"),
        (lambda: LocalBlend(("star",), threshold=1.0), "blend threshold=1.0 is not possible"),
        (
            lambda: planned(LocalBlend(("star",)), LocalBlend(("blue",))),
            "an edit has one LocalBlend",
        ),
        (
            lambda: planned(LocalBlend(("moon",))),
            "to blend 'moon' is in neither 'a red star' nor 'a blue star'",
        ),
        (lambda: planned(Reweight({"red": 2})), "'red' is not in the prompt 'a blue star'"),
        (lambda: planned(Replace(words={"red": 1})), "'red' is not in the prompt 'a blue star'"),
    ],
)
def test_invalid_controllers_raise_a_user_error_of_one_line(make, message):
    with pytest.raises(UserError) as error:
        make()
    assert message in str(error.value) and "\n" not in str(error.value)
