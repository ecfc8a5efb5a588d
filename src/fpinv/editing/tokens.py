"""Prompts as the text encoder sees them: words, and the tokens that spell them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol
from unicodedata import category, normalize

import torch
from torch import Tensor

from fpinv.editing.request import Kind
from fpinv.errors import UserError, nearest
from fpinv.models.weights import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]
"""Token positions [start, stop)."""

ACCENT = "\N{COMBINING GRAVE ACCENT}"
"""Stands for every combining mark in :data:`UNIT`, because ``re`` has no class of them."""

UNIT = re.compile(rf"\w[\w{ACCENT}]*(?:['’-]\w[\w{ACCENT}]*)*|[^\w\s]{ACCENT}*")
"""A word of letters and digits with its marks, or one sign that is neither."""

WORD_END = "</w>"
"""The mark that CLIP's tokenizers append to the last token of a word."""

FUNCTION_WORDS = frozenset(
    "a an and are as at by for from in is it its of on or that the this to with".split()
)
"""Words of English that show nothing by themselves."""

PUNCTUATION = ".,;:!?…'\"‘’“”()[]"
"""Signs that are not sought for when they stand around a phrase."""


class TokenizingPipeline(Protocol):
    """The part of a diffusers pipeline that turns a prompt into tokens.

    Its second text encoder, where there is one, has the tokenizer ``tokenizer_2``.
    """

    tokenizer: PreTrainedTokenizerBase

    def maybe_convert_prompt(self, prompt: str, tokenizer: PreTrainedTokenizerBase) -> str:
        """Return the prompt with every embedding of several vectors spelt out, as encoded."""


@dataclass(frozen=True)
class Tokens:
    """The words of a prompt and the positions of their tokens.

    A word is what the prompt has between two places at which its tokens part: letters and digits,
    a sign such as a comma or an emoji, or a learned embedding such as ``<toy>``, with all its
    vectors. Signs that share a token are one word. Words are compared without regard to case.

    Arguments:
        prompt: The text.
        words: Words in order, in lower case.
        spans: The token positions of each word.
        length: Number L of token positions, padding included. Position 0 is the start mark; the
            end mark follows the last word.
    """

    prompt: str
    words: tuple[str, ...]
    spans: tuple[Span, ...]
    length: int

    @classmethod
    def unread(cls, prompt: str) -> Tokens:
        """Return a prompt without its words, for networks in which none can be told apart.

        Raises:
            UserError: the prompt is empty.
        """
        if not prompt.strip():
            raise _empty(prompt)
        return cls(prompt, (), (), 0)

    @property
    def end(self) -> int:
        """Position of the end mark, which the padding follows."""
        return self.spans[-1][1]

    def find(self, phrase: str) -> list[int]:
        """Return the token positions of all occurrences of a word or phrase.

        Punctuation around the phrase does not count, so that "cat," is found wherever "cat" is.
        """
        query = _units(phrase.strip(PUNCTUATION + " ")) or _units(phrase)
        firsts = range(len(self.words)) if query else ()
        matches = (self._match(query, first) for first in firsts)
        return sorted({k for span in matches for k in range(*span)})

    def _match(self, query: list[str], first: int) -> Span:
        """Return the positions of the words that spell the query from word ``first`` on."""
        units: list[str] = []
        last = first
        while len(units) < len(query) and last < len(self.words):
            units += _units(self.words[last])
            last += 1
        return (self.spans[first][0], self.spans[last - 1][1]) if units == query else (0, 0)

    def locate(self, phrase: str) -> list[int]:
        """Return the token positions of a phrase that must be in the prompt.

        Raises:
            UserError: the phrase is not in the prompt.
        """
        if positions := self.find(phrase):
            return positions
        raise UserError(
            f"'{phrase}' is not in the prompt '{self.prompt}'{suggestion(phrase, self.words)}"
        )

    def indicator(self, phrases: Iterable[str]) -> Tensor:
        """Return 1 at the tokens of the phrases that the prompt has, 0 elsewhere, shape (L,)."""
        marked = torch.zeros(self.length)
        marked[[position for phrase in phrases for position in self.find(phrase)]] = 1
        return marked


def suggestion(phrase: str, words: Iterable[str]) -> str:
    """Return words of a prompt to name in place of an absent one, as the end of a message.

    That is the nearest one or, where none is near, all that have a meaning of their own.
    """
    telling = [w for w in words if w not in FUNCTION_WORDS and w[0].isalnum()]
    return nearest(_folded(phrase), telling, "its words are")


def tokenise(pipeline: TokenizingPipeline, prompt: str) -> Tokens:
    """Return the words of a prompt with the positions of their tokens in the pipeline's encoders.

    Raises:
        UserError: the prompt has no word or more tokens than the text encoder takes, or two text
            encoders of the pipeline have its words at different positions.
    """
    second = getattr(pipeline, "tokenizer_2", None)
    readers = [_Reader(pipeline, t) for t in (pipeline.tokenizer, second) if t]
    with quiet():  # the tokenizer's own warning about the length would precede our error
        tokens, *others = [_tokenise(read, prompt) for read in readers]
    if any(other.spans != tokens.spans for other in others):
        raise UserError(
            f"the text encoders of the pipeline read '{prompt}' as different tokens, so that its "
            "words cannot be told apart: load the same embeddings into all of them"
        )
    return tokens


@dataclass(frozen=True)
class _Reader:
    """The way from a text to the tokens that one text encoder of a pipeline gets."""

    pipeline: TokenizingPipeline
    tokenizer: PreTrainedTokenizerBase

    def __call__(self, text: str) -> list[str]:
        """Return the tokens between the start mark and the end mark."""
        converted = self.pipeline.maybe_convert_prompt(text, self.tokenizer)
        return self.tokenizer.tokenize(converted)


def _tokenise(read: _Reader, prompt: str) -> Tokens:
    """Return the words of a prompt with the positions of their tokens in one text encoder."""
    longest = read.tokenizer.model_max_length
    if (count := len(read(prompt)) + 2) > longest:
        raise UserError(
            f"the prompt '{prompt}' has {count} tokens, start and end included, and the text "
            f"encoder takes {longest}: shorten it"
        )
    # A character that the tokenizer drops has no token, and would count as a word to be paired.
    spelt = [(word, span) for word, span in _words(read, prompt) if span[0] < span[1]]
    if not spelt:
        raise _empty(prompt)
    words, spans = zip(*spelt, strict=True)
    return Tokens(prompt, words, spans, longest)


def _empty(prompt: str) -> UserError:
    return UserError(f"the prompt '{prompt}' is empty: say what the image should show")


def _words(read: _Reader, prompt: str) -> Iterator[tuple[str, Span]]:
    """Yield each word of a prompt with the positions of its tokens.

    A word ends where another word or sign begins and a token ends that completes what the word's
    tokens spell when it is read alone. Unlike the offsets of tokens, this needs no tokenizer that
    states them, and it knows embeddings of several vectors by the name that the user wrote.
    """
    tokens = _letters(read(prompt))
    starts = [unit.start() for unit in UNIT.finditer(_shape(prompt))]
    begin, first = 0, 0
    for end in starts[1:]:
        count = _spelling(tokens[first:], "".join(_letters(read(prompt[begin:end]))))
        if count is not None:
            yield _folded(prompt[begin:end]), (1 + first, 1 + first + count)
            begin, first = end, first + count
    yield _folded(prompt[begin:]), (1 + first, 1 + len(tokens))


def _letters(tokens: list[str]) -> list[str]:
    """Return what each token spells, whether or not it ends a word."""
    return [token.removesuffix(WORD_END) for token in tokens]


def _spelling(tokens: list[str], word: str) -> int | None:
    """Return how many of the first tokens spell a word; None if it ends within a token."""
    return next((k for k in range(len(tokens) + 1) if "".join(tokens[:k]) == word), None)


def _units(text: str) -> list[str]:
    """Return the words and signs of a text, in lower case."""
    text = _folded(text)
    return [text[slice(*unit.span())] for unit in UNIT.finditer(_shape(text))]


def _folded(text: str) -> str:
    """Return a text in the form in which words are compared."""
    return normalize("NFC", text).lower().strip()


def _shape(text: str) -> str:
    """Return the text with one and the same accent in place of every combining mark."""
    return "".join(ACCENT if category(letter)[0] == "M" else letter for letter in text)


def edit_kind(source: Tokens, target: Tokens) -> Kind:
    """Return ``replace`` where words only give place to as many others, else ``refine``."""
    swaps = all(
        tag == "equal" or (tag == "replace" and a_stop - a_start == b_stop - b_start)
        for tag, a_start, a_stop, b_start, b_stop in _matcher(source, target).get_opcodes()
    )
    return "replace" if swaps else "refine"


@lru_cache(maxsize=256)  # Every step of the sampling needs the matrices of all targets again.
def align(source: Tokens, target: Tokens, kind: Kind) -> Tensor:
    r"""Return the matrix that pairs the tokens of the target with those of the source.

    ``replace`` pairs the words of two equally long prompts one by one; ``refine`` pairs those
    that both prompts have, in order, and leaves the others of the target without a partner.
    Words spelt with as many tokens are paired token by token, others evenly. Start marks, end
    marks and paddings are paired in order.

    Returns:
        M of shape (L, L): the target's probabilities are the source's times M. A column sums to
        more than 0 where the target's token has a partner.

    Raises:
        UserError: ``replace`` for prompts of unequally many words.

    References:
        | Prompt-to-Prompt Image Editing with Cross Attention Control (Hertz et al., 2022)
        | https://arxiv.org/abs/2208.01626
    """
    matrix = torch.zeros(source.length, target.length)
    matrix[0, 0] = 1
    for before, after in _pairs(source, target, kind):
        matrix[slice(*before), slice(*after)] = _share(before, after)
    padding = torch.arange(target.end, target.length)
    matrix[(padding - target.end + source.end).clamp(max=source.length - 1), padding] = 1
    return matrix


def _share(before: Span, after: Span) -> Tensor:
    """Return the matrix (before, after) that pairs the tokens of one word with another's."""
    old, new = before[1] - before[0], after[1] - after[0]
    return torch.eye(new) if old == new else torch.full((old, new), 1 / new)


def _pairs(source: Tokens, target: Tokens, kind: Kind) -> list[tuple[Span, Span]]:
    """Return the spans of each pair of words."""
    if kind == "refine":
        blocks = _matcher(source, target).get_matching_blocks()
        return [
            (source.spans[a + k], target.spans[b + k])
            for a, b, size in blocks
            for k in range(size)
        ]
    if len(source.words) != len(target.words):
        raise UserError(
            f"replace needs equally many words, punctuation included: '{source.prompt}' has "
            f"{len(source.words)} and '{target.prompt}' has {len(target.words)}; use refine"
        )
    return list(zip(source.spans, target.spans, strict=True))


def _matcher(source: Tokens, target: Tokens) -> SequenceMatcher[str]:
    return SequenceMatcher(None, source.words, target.words, autojunk=False)
