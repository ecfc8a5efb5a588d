"""Captions of scenes, in 80 phrasings, and the words that they use."""

from __future__ import annotations

from collections.abc import Mapping

from fpinv.datasets.scenes.world import (
    BACKGROUNDS,
    COLOURS,
    OPPOSITE,
    SHAPE_NAMES,
    TEXTURES,
    Object,
    Scene,
)

PREFIXES = ("", "a photo of ", "a picture of ", "an image of ", "a scene with ")
SIZE_WORDS: Mapping[str, tuple[str, str]] = {
    "small": ("small", "little"),
    "large": ("large", "big"),
}
RELATION_WORDS: Mapping[str, str] = {
    "left": "to the left of",
    "right": "to the right of",
    "above": "above",
    "below": "below",
}
PHRASINGS = len(PREFIXES) * 2 * 2 * 2 * 2
"""Number of phrasings: a prefix, synonyms of size, the order of looks and of a pair, a comma."""


def article(words: str) -> str:
    """Return the words after their article."""
    return ("an " if words[0] in "aeiou" else "a ") + words


def _phrase(item: Object, synonym: int, swap: int) -> str:
    """Return ``a large red striped star``, or ``a large striped red star``."""
    texture = [] if item.texture == "plain" else [item.texture]
    looks = [*texture, item.colour] if swap else [item.colour, *texture]
    return article(" ".join([SIZE_WORDS[item.size][synonym], *looks, item.shape]))


def caption(scene: Scene) -> str:
    """Return a sentence with every attribute of a scene, in its phrasing.

    A plain texture goes unsaid.
    """
    bits, prefix = divmod(scene.phrasing, len(PREFIXES))
    synonym, swap, flip, comma = (bits >> bit & 1 for bit in range(4))
    phrases = [_phrase(item, synonym, swap) for item in scene.objects]
    text = phrases[0]
    if scene.relations:
        text = _pair(phrases, scene.relations[0], flip)
    if len(phrases) == 3:
        relation = scene.relations[1]
        place = relation if relation in ("above", "below") else f"on the {relation}"
        text += f", with {phrases[2]} {place}"
    ground = article(f"{scene.background} background")
    return f"{PREFIXES[prefix]}{text}{',' if comma or len(phrases) == 3 else ''} on {ground}"


def _pair(phrases: list[str], relation: str, flip: int) -> str:
    """Return ``a star above a ring``, or ``a ring below a star``."""
    a, b = phrases[:2]
    if flip:
        a, b, relation = b, a, OPPOSITE[relation]
    return f"{a} {RELATION_WORDS[relation]} {b}"


def vocabulary() -> list[str]:
    """Return every word and sign that captions use, sorted."""
    words = {"a", "an", "on", "the", "with", "to", "of", "background", "gradient", ","}
    words.update(word for text in PREFIXES for word in text.split())
    words.update(word for pair in SIZE_WORDS.values() for word in pair)
    words.update(word for text in BACKGROUNDS for word in text.split())
    words.update(COLOURS, TEXTURES, RELATION_WORDS, SHAPE_NAMES)
    return sorted(words)
