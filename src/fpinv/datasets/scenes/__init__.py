"""A small clay-and-paper world with captions, attributes and exact edits.

A scene is drawn from `(seed, split, index)` alone, by integer hashing, so that every machine sees
the same world and the splits never meet. One to three objects lie on a background; everything a
caption can say is an attribute of the scene, and `edit` renders the same scene with one attribute
changed, which gives editing methods a ground truth and an exact mask.

Prevalence is long-tailed by design (chance that an object has the shape / that a scene shows it):

| bin  | shapes                                                        | object  | scene   |
| ---- | ------------------------------------------------------------- | ------- | ------- |
| many | circle square triangle star heart cross ring moon (8)         | 11.5 %  | 18 %    |
| med  | diamond drop flower hexagon arrow (5)                         | 1.5 %   | 2.5 %   |
| few  | crown bolt fish house gear (5)                                | 0.04 %  | 0.07 %  |

The pictures are analytic (signed distances, smooth edges), so a scene renders at any size.
"""

from fpinv.datasets.scenes.captions import caption, vocabulary
from fpinv.datasets.scenes.dataset import Scenes
from fpinv.datasets.scenes.edits import Change, SceneEdit, edit
from fpinv.datasets.scenes.render import render, render_array
from fpinv.datasets.scenes.world import (
    BACKGROUNDS,
    COLOURS,
    COUNTS,
    OPPOSITE,
    PHRASINGS,
    PREFIXES,
    PREVALENCE,
    RELATIONS,
    SHAPE_NAMES,
    SHAPES,
    SIZE_WORDS,
    SIZES,
    SPLITS,
    TEXTURES,
    Object,
    Scene,
    bin_of,
    sample_scene,
)

__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "COUNTS",
    "OPPOSITE",
    "PHRASINGS",
    "PREFIXES",
    "PREVALENCE",
    "RELATIONS",
    "SHAPES",
    "SHAPE_NAMES",
    "SIZES",
    "SIZE_WORDS",
    "SPLITS",
    "TEXTURES",
    "Change",
    "Object",
    "Scene",
    "SceneEdit",
    "Scenes",
    "bin_of",
    "caption",
    "edit",
    "render",
    "render_array",
    "sample_scene",
    "vocabulary",
]
