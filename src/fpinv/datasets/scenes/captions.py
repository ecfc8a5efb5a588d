"""Captions of scenes."""

from __future__ import annotations

from fpinv.datasets.scenes.world import (
    BACKGROUNDS,
    COLOURS,
    OPPOSITE,
    PREFIXES,
    RELATIONS,
    SHAPES,
    SIZE_WORDS,
    TEXTURES,
    Object,
    Scene,
)


def article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def _phrase(item: Object, synonym: int, swap: int) -> str:
    """`a large red striped star`, or `a large striped red star`."""
    texture = [] if item.texture == "plain" else [item.texture]
    looks = [*texture, item.colour] if swap else [item.colour, *texture]
    return article(" ".join([SIZE_WORDS[item.size][synonym], *looks, item.shape]))


def caption(scene: Scene) -> str:
    """Say everything that is drawn, in the scene's phrasing; a plain texture goes unsaid."""
    rest, prefix = divmod(scene.phrasing, len(PREFIXES))
    synonym, swap, flip, comma = (rest >> bit & 1 for bit in range(4))
    parts = [_phrase(item, synonym, swap) for item in scene.objects]
    text = parts[0]
    if scene.relations:
        relation = scene.relations[0]
        first, second = parts[:2]
        if flip:
            first, second, relation = second, first, OPPOSITE[relation]
        text = f"{first} {RELATIONS[relation]} {second}"
    if len(parts) == 3:
        where = scene.relations[1]
        text += f", with {parts[2]} " + (
            where if where in ("above", "below") else f"on the {where}"
        )
    ground = article(f"{scene.background} background")
    return f"{PREFIXES[prefix]}{text}{',' if comma or len(parts) == 3 else ''} on {ground}"


def vocabulary() -> list[str]:
    """Every word and sign that captions use, sorted."""
    words = {"a", "an", "on", "the", "with", "to", "of", "background", "gradient", ","}
    words.update(word for text in PREFIXES for word in text.split())
    words.update(word for pair in SIZE_WORDS.values() for word in pair)
    words.update(word for text in BACKGROUNDS for word in text.split())
    words.update(COLOURS, TEXTURES, RELATIONS, (shape for g in SHAPES.values() for shape in g))
    return sorted(words)
