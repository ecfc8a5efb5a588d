"""A CLIP tokenizer in which every word of the captions is one token.

Words that the scenes never use fall apart into bytes, so that any text can be tokenized.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from common import write_json
from tokenizers.pre_tokenizers import ByteLevel

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 48


def learn_merges(words: Iterable[str]) -> list[tuple[str, str]]:
    """Return byte-pair merges, most frequent pair first, until every word is one symbol."""
    spelled = {word: (*word[:-1], word[-1] + "</w>") for word in sorted(set(words))}
    merges = []
    while any(len(symbols) > 1 for symbols in spelled.values()):
        pairs = Counter(pair for symbols in spelled.values() for pair in pairwise(symbols))
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        spelled = {word: _merged(symbols, best) for word, symbols in spelled.items()}
    return merges


def _merged(symbols: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    merged: list[str] = []
    for symbol in symbols:
        if (*merged[-1:], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return tuple(merged)


def write_tokenizer(folder: Path, words: Iterable[str]) -> None:
    """Write the folder that `CLIPTokenizer.from_pretrained` reads."""
    letters = sorted(ByteLevel.alphabet())
    merges = learn_merges(words)
    symbols = [*letters, *(f"{letter}</w>" for letter in letters)]
    symbols += ["".join(pair) for pair in merges]
    symbols = [*dict.fromkeys(symbols), START, END]
    write_json(folder / "vocab.json", {symbol: k for k, symbol in enumerate(symbols)})
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    write_json(folder / "special_tokens_map.json", special)
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "CLIPTokenizer",
            "model_max_length": LENGTH,
            "do_lower_case": True,
            "errors": "replace",
            "add_prefix_space": False,
            **special,
        },
    )
