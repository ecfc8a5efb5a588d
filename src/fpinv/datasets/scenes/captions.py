"""Captions of scenes, in 80 phrasings, and the words that they use."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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


def _phrase(item: Object, synonym: int, swap: int, keep: Callable[[], bool]) -> str:
    """Return ``a large red striped star``, or ``a large striped red star``, or a part of that."""
    size = [SIZE_WORDS[item.size][synonym]] if keep() else []
    colour = [item.colour] if keep() else []
    # A coloured object without a word of texture is a plain one: a texture goes unsaid only
    # together with the colour.
    texture = [item.texture] if item.texture != "plain" and (colour or keep()) else []
    looks = [*texture, *colour] if swap else [*colour, *texture]
    return article(" ".join([*size, *looks, item.shape]))


def caption(scene: Scene, keep: Callable[[], bool] = lambda: True) -> str:
    """Return a sentence with every attribute of a scene, in its phrasing.

    A plain texture goes unsaid.

    Arguments:
        scene: The scene.
        keep: Returns whether the next attribute is part of the caption; it is called for each
            size, colour, texture and relation and for the background. Shapes are always named.
    """
    bits, prefix = divmod(scene.phrasing, len(PREFIXES))
    synonym, swap, flip, comma = (bits >> bit & 1 for bit in range(4))
    phrases = [_phrase(item, synonym, swap, keep) for item in scene.objects]
    text = phrases[0]
    if scene.relations:
        text = _pair(phrases, scene.relations[0], flip, keep)
    if len(phrases) == 3:
        text += f", with {phrases[2]}"
        relation = scene.relations[1]
        if keep():
            text += f" {relation}" if relation in ("above", "below") else f" on the {relation}"
    if keep():
        ground = article(f"{scene.background} background")
        text += f"{',' if comma or len(phrases) == 3 else ''} on {ground}"
    return PREFIXES[prefix] + text


def _pair(phrases: list[str], relation: str, flip: int, keep: Callable[[], bool]) -> str:
    """Return ``a star above a ring``, ``a ring below a star``, or ``a star with a ring``."""
    a, b = phrases[:2]
    if flip:
        a, b, relation = b, a, OPPOSITE[relation]
    return f"{a} {RELATION_WORDS[relation] if keep() else 'with'} {b}"


def vocabulary() -> list[str]:
    """Return every word and sign that captions use, sorted."""
    words = {"a", "an", "on", "the", "with", "to", "of", "background", "gradient", ","}
    words.update(word for text in PREFIXES for word in text.split())
    words.update(word for pair in SIZE_WORDS.values() for word in pair)
    words.update(word for text in BACKGROUNDS for word in text.split())
    words.update(COLOURS, TEXTURES, RELATION_WORDS, SHAPE_NAMES)
    return sorted(words)
