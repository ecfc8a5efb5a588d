"""Words of prompts, the positions of their tokens, and the alignment of two prompts."""

import pytest
import torch
from pipelines import tokenizer

from fpinv.editing.tokens import align, edit_kind, tokenise
from fpinv.errors import UserError

WORDS = tokenizer()  # a token a letter: every word has several


def tokens(prompt):
    return tokenise(WORDS, prompt)


def spelt(prompt, positions):
    ids = WORDS(prompt).input_ids
    return WORDS.decode([ids[p] for p in positions])


@pytest.mark.parametrize("phrase", ["cat", "CAT", " cat,", "cat."])
def test_find_ignores_case_and_punctuation(phrase):
    positions = tokens("A Cat, sitting; (the cat!)").find(phrase)
    assert len(positions) == 6 and spelt("A Cat, sitting; (the cat!)", positions) == "cat cat"


def test_find_matches_whole_words_only():
    assert tokens("a caterpillar in the cattle market").find("cat") == []


def test_find_matches_phrases_hyphens_and_apostrophes():
    prompt = "santa's laughing t-shirt, café"
    for phrase in ("santa's", "laughing t-shirt", "café"):
        assert spelt(prompt, tokens(prompt).find(phrase)).replace(" ", "") == phrase.replace(
            " ", ""
        )
    assert tokens(prompt).find("shirt laughing") == []


def test_spans_cover_every_token_between_the_marks():
    for prompt in ("a red star, on white", "naïve  3.5 (x)!", "x"):
        t = tokens(prompt)
        covered = [p for start, stop in t.spans for p in range(start, stop)]
        assert covered == list(range(1, len(WORDS(prompt).input_ids) - 1))
        assert t.end == len(WORDS(prompt).input_ids) - 1 and t.length == 77


def test_absent_word_raises_user_error_with_the_nearest_word():
    with pytest.raises(UserError, match="'starr' is not in the prompt 'a star'; did you mean sta"):
        tokens("a star").locate("starr")


@pytest.mark.parametrize("prompt", ["", "   ", "\n"])
def test_empty_prompt_raises_user_error(prompt):
    with pytest.raises(UserError, match="is empty: say what the image should show"):
        tokens(prompt)


def test_prompt_longer_than_the_encoder_takes_raises_user_error():
    with pytest.raises(UserError, match="has 80 tokens, .* takes 77: shorten it") as error:
        tokens("x" * 78)
    assert "\n" not in str(error.value)
    assert tokens("x" * 75).end == 76


@pytest.mark.parametrize(
    ("source", "target", "kind"),
    [
        ("a red star", "a blue star", "replace"),
        ("a red star", "A Red star", "replace"),
        ("a red star", "a red striped star", "refine"),
        ("a red striped star", "a red star", "refine"),
        ("a photo of cat", "photo of a cat", "refine"),
        ("a red star, small", "a blue heart, big", "replace"),
    ],
)
def test_edit_kind_follows_from_the_two_prompts(source, target, kind):
    assert edit_kind(tokens(source), tokens(target)) == kind


@pytest.mark.parametrize("kind", ["replace", "refine"])
def test_alignment_of_a_prompt_with_itself_is_the_identity(kind):
    t = tokens("a small red star")
    assert torch.equal(align(t, t, kind), torch.eye(77))


def test_replace_alignment_pairs_words_by_position():
    source, target = tokens("a red star"), tokens("a green star")
    matrix = align(source, target, "replace")
    attention = torch.rand(5, 77)
    moved = attention @ matrix
    red, green = source.find("red"), target.find("green")
    assert torch.allclose(moved[:, green].sum(1), attention[:, red].sum(1))
    # what follows a longer word keeps its own attention, token by token
    for word in ("a", "star"):
        assert torch.equal(moved[:, target.find(word)], attention[:, source.find(word)])
    assert torch.equal(moved[:, target.end], attention[:, source.end])
    assert torch.equal(moved[:, target.end + 1 :], attention[:, source.end + 1 : 75])


def test_refine_alignment_leaves_new_words_without_partner():
    source, target = tokens("a red star on white"), tokens("a striped star on white paper")
    matrix = align(source, target, "refine")
    new = target.indicator(["striped", "paper"]).bool()
    assert (matrix[:, new] == 0).all() and (matrix[:, ~new].sum(0) == 1).all()
    for word in ("a", "star", "on", "white"):
        assert (matrix[source.find(word), target.find(word)] == 1).all()


def test_padding_of_a_shorter_target_has_no_word_as_partner():
    source, target = tokens("a red star and a blue heart"), tokens("a red star")
    words = align(source, target, "refine")[1 : source.end]
    assert words[:, target.end :].sum() == 0


def test_replace_alignment_of_unequal_lengths_raises_user_error():
    with pytest.raises(UserError, match="has 3 and 'a red, star' has 4; use refine"):
        align(tokens("a red star"), tokens("a red, star"), "replace")
