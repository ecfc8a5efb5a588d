"""Prompts as the text encoder sees them: words, and the tokens that spell them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fpinv.editing.request import Kind
from fpinv.errors import UserError
from fpinv.run.messages import nearest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]
"""Token positions [start, stop)."""

UNIT = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")


@dataclass(frozen=True)
class Tokens:
    """The words of a prompt and the positions of their tokens.

    Words are compared without regard to case; a punctuation mark is a word of its own, so that
    "cat," holds the word "cat".

    Arguments:
        prompt: The text.
        words: Words and punctuation marks in order, in lower case.
        spans: The token positions of each word.
        length: Number L of token positions, padding included. Position 0 is the start mark; the
            end mark follows the last word.
    """

    prompt: str
    words: tuple[str, ...]
    spans: tuple[Span, ...]
    length: int

    @property
    def end(self) -> int:
        """Position of the end mark, which the padding follows."""
        return self.spans[-1][1]

    def find(self, phrase: str) -> list[int]:
        """Return the token positions of all occurrences of a word or phrase."""
        query = tuple(word.lower() for word in UNIT.findall(phrase) if word[0].isalnum())
        starts = range(len(self.words) - len(query) + 1) if query else ()
        matches = [k for k in starts if self.words[k : k + len(query)] == query]
        spans = (self.spans[k + n] for k in matches for n in range(len(query)))
        return sorted({position for span in spans for position in range(*span)})

    def locate(self, phrase: str) -> list[int]:
        """Return the token positions of a phrase that must be in the prompt.

        Raises:
            UserError: the phrase is not in the prompt.
        """
        if positions := self.find(phrase):
            return positions
        raise UserError(
            f"'{phrase}' is not in the prompt '{self.prompt}'{nearest(phrase, self.words)}"
        )

    def indicator(self, phrases: Iterable[str]) -> Tensor:
        """Return 1 at the tokens of the phrases that the prompt has, 0 elsewhere, shape (L,)."""
        marked = torch.zeros(self.length)
        marked[[position for phrase in phrases for position in self.find(phrase)]] = 1
        return marked


def tokenise(tokenizer: PreTrainedTokenizerBase, prompt: str) -> Tokens:
    """Return the words of a prompt with the positions of their tokens.

    Raises:
        UserError: the prompt has no word, or more tokens than the text encoder takes.
    """
    longest = tokenizer.model_max_length
    # Not verbose, because the tokenizer's own warning about the length would precede our error.
    coded = tokenizer(prompt, return_offsets_mapping=True, verbose=False)
    if (count := len(coded.input_ids)) > longest:
        raise UserError(
            f"the prompt '{prompt}' has {count} tokens, start and end included, and the text "
            f"encoder takes {longest}: shorten it"
        )
    offsets = coded.offset_mapping[1:-1]
    units = [(unit.group().lower(), _span(unit.span(), offsets)) for unit in UNIT.finditer(prompt)]
    # A character that the tokenizer drops has no token, and would count as a word to be paired.
    spelt = [(word, span) for word, span in units if span[0] < span[1]]
    if not spelt:
        raise UserError(f"the prompt '{prompt}' is empty: say what the image should show")
    words, spans = zip(*spelt, strict=True)
    return Tokens(prompt, words, spans, longest)


def _span(letters: Span, offsets: Sequence[Span]) -> Span:
    """Return the positions of the tokens that lie within some letters of the prompt."""
    begin, end = letters
    inside = [k for k, (start, stop) in enumerate(offsets, 1) if begin <= start and stop <= end]
    return (inside[0], inside[-1] + 1) if inside else (0, 0)


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
