"""Pictures, between their files and a model.

:mod:`~fpinv.images.viewing` opens a file as viewers show it, and :mod:`~fpinv.images.frame` cuts a
picture to what a model sees: a tensor in [-1, 1], and back. :mod:`~fpinv.images.steepness` tells
where it is plain.
"""

from fpinv.images.frame import Frame, Size, central, square, to_pil

__all__ = ["Frame", "Size", "central", "square", "to_pil"]
