"""A small clay-and-paper world with captions, attributes and exact edits.

A seed, a split and an index come in; a scene goes out, and of it a caption, a picture of any size,
its attributes, and edits with their true outcome. A scene is drawn by integer hashing, so that
every machine sees the same world and the splits never meet. One to three objects lie on a
background; every word of a caption is an attribute of the scene, and ``edit`` changes one
attribute, which gives editing methods a ground truth and an exact mask. The pictures are analytic
(signed distances, smooth edges).

Prevalence is long-tailed by design (chance that an object has the shape, that a scene has it):

====  ======================================================  =======  =======
bin   shapes                                                  object   scene
====  ======================================================  =======  =======
many  circle square triangle star heart cross ring moon (8)   11.5 %   18 %
med   diamond drop flower hexagon arrow (5)                   1.5 %    2.5 %
few   crown bolt fish house gear (5)                          0.04 %   0.07 %
====  ======================================================  =======  =======

The bundled denoiser alone is trained on another tail, ``TRAINING_PREVALENCE``, in which the rare
shapes can be learned but stay rare; the tail above taught it nothing of the few-shot shapes:

====  =======  =======
bin   object   scene
====  =======  =======
many  9.4 %    15 %
med   4.5 %    7.5 %
few   0.4 %    0.7 %
====  =======  =======

The modules in reading order: ``world``, ``captions``, ``sampling``, ``shapes``, ``render``,
``edits``, and the data sets ``dataset`` and ``edit_cases``.
"""

from fpinv.datasets.scenes.captions import caption
from fpinv.datasets.scenes.dataset import Scenes
from fpinv.datasets.scenes.edits import Change, SceneEdit, edit
from fpinv.datasets.scenes.render import render, render_array
from fpinv.datasets.scenes.sampling import sample_scene
from fpinv.datasets.scenes.world import Scene

__all__ = [
    "Change",
    "Scene",
    "SceneEdit",
    "Scenes",
    "caption",
    "edit",
    "render",
    "render_array",
    "sample_scene",
]
