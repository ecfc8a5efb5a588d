"""Words of prompts, the positions of their tokens, and the alignment of two prompts."""

from itertools import accumulate, pairwise

import pytest
import torch
from pipelines import TextPipeline, tokenizer
from transformers import PreTrainedTokenizer

from fpinv.editing.tokens import align, edit_kind, suggestion, tokenise
from fpinv.errors import UserError

WORDS = tokenizer()  # a token a letter: every word has several
SHARED = [("!", "!</w>"), ("+", "+</w>"), ("a", "t</w>"), ("c", "at</w>")]
PROMPTS = [
    "a red star, on white",
    "naïve  3.5 (x)!! c++ & c at 50%",
    "cafe\N{COMBINING ACUTE ACCENT} santa's t-shirt",
    "हिन्दी cat 🐱 ❤️dog 日本",
    "a <toy> dog, <toy>!",
]


class SlowTokenizer(PreTrainedTokenizer):
    """The same tokens from Python code, which states no offsets."""

    model_input_names = ("input_ids",)

    def __init__(self, fast):
        self.fast = fast
        super().__init__(bos_token=fast.bos_token, eos_token=fast.eos_token, model_max_length=77)

    @property
    def vocab_size(self):
        return self.fast.vocab_size

    def get_vocab(self):
        return self.fast.get_vocab()

    def _tokenize(self, text):
        return self.fast.tokenize(text)

    def _convert_token_to_id(self, token):
        return self.fast.convert_tokens_to_ids(token)

    def _convert_id_to_token(self, index):
        return self.fast.convert_ids_to_tokens(index)


def learn(words, name="<toy>", vectors=3):
    """Add an embedding's tokens, named as diffusers names those of several vectors."""
    words.add_tokens([name, *(f"{name}_{k}" for k in range(1, vectors))])
    return words


def by_offsets(words, prompt):
    """Return the token positions of each group of letters of a prompt from the tokens' offsets."""
    offsets = words(prompt, return_offsets_mapping=True).offset_mapping
    ends = [0, *accumulate(len(word) + 1 for word in prompt.split(" "))]
    return [
        (min(inside), max(inside) + 1)
        for begin, end in pairwise(ends)
        if (inside := [k for k, (a, b) in enumerate(offsets) if begin <= a < b <= end])
    ]


def tokens(prompt):
    return tokenise(TextPipeline(WORDS), prompt)


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


@pytest.mark.parametrize("slow", [False, True])
def test_an_embedding_of_several_vectors_is_one_word_with_all_its_tokens(slow):
    words = learn(SlowTokenizer(tokenizer()) if slow else tokenizer())
    t = tokenise(TextPipeline(words), "a <toy> dog")
    assert t.words == ("a", "<toy>", "dog")
    assert t.find("<toy>") == [2, 3, 4] and t.find("dog") == [5, 6, 7]
    assert t.find("a <toy>") == [1, 2, 3, 4] and t.find("toy") == []
    assert edit_kind(tokenise(TextPipeline(words), "a red dog"), t) == "replace"


@pytest.mark.parametrize("prompt", PROMPTS)
def test_words_are_those_that_the_encoder_gets(prompt):
    words = learn(tokenizer(merges=SHARED))
    pipeline = TextPipeline(words)
    t = tokenise(pipeline, prompt)
    ids = words(pipeline.maybe_convert_prompt(prompt, words)).input_ids
    assert [p for span in t.spans for p in range(*span)] == list(range(1, len(ids) - 1))
    slow = tokenise(TextPipeline(learn(SlowTokenizer(tokenizer(merges=SHARED)))), prompt)
    assert (slow.words, slow.spans) == (t.words, t.spans)


@pytest.mark.parametrize("prompt", ["a red star on white", "c++ santa's ❤️ cat", "हिन्दी 日本 x++"])
def test_spans_agree_with_the_offsets_of_the_tokens(prompt):
    words = tokenizer(merges=SHARED)
    t = tokenise(TextPipeline(words), prompt)
    found = [t.find(part) for part in prompt.split(" ")]
    assert [(p[0], p[-1] + 1) for p in found] == by_offsets(words, prompt)


def test_signs_are_words_and_keep_their_place():
    t = tokens("a cat & a 🐱, c++")
    assert t.words == ("a", "cat", "&", "a", "🐱", ",", "c", "+", "+")
    assert t.find("cat & a") == sorted({*t.find("cat"), *t.find("&"), *range(6, 7)})
    assert t.find("🐱") and t.find("c++")[0] == t.find("+")[0] - 1
    assert t.find("cat a") == t.find("") == t.find(" ") == []
    assert edit_kind(tokens("a red star"), tokens("a ★ star")) == "replace"


def test_signs_that_share_a_token_are_one_word():
    words = tokenizer(merges=SHARED)
    t = tokenise(TextPipeline(words), "a cat!! sat")
    assert t.words == ("a", "cat", "!!", "sat") and t.spans[2] == (3, 4)


def test_encoders_that_read_a_prompt_differently_raise_user_error():
    pipeline = TextPipeline(tokenizer())
    pipeline.tokenizer_2 = learn(tokenizer())
    assert tokenise(pipeline, "a dog").spans == tokens("a dog").spans
    with pytest.raises(UserError, match="read 'a <toy> dog' as different tokens"):
        tokenise(pipeline, "a <toy> dog")


def test_absent_word_raises_user_error_with_the_nearest_word():
    with pytest.raises(UserError, match="'starr' is not in the prompt 'a star'; did you mean sta"):
        tokens("a star").locate("starr")


def test_an_absent_word_is_answered_with_words_that_mean_something():
    prompt = "a cat on a sofa, with the dog"
    with pytest.raises(UserError, match=r"; its words are cat, sofa, dog$"):
        tokens(prompt).locate("elephants")
    with pytest.raises(UserError, match=r"; did you mean sofa\?$"):
        tokens(prompt).locate("Sofas")
    for absent in ("an", "x", "th"):
        message = suggestion(absent, ("a", "the", "of", ",", "cat"))
        assert message in ("; its words are cat", "; did you mean cat?")
    assert suggestion("cat", ("a", ",")) == ""


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
