"""Our own inverter, which spends evaluations where they are needed.

An image's latents go up the grid step by step: :mod:`~fpinv.inverters.auto.iteration` solves a
step cheaply where it can, :mod:`~fpinv.inverters.auto.descent` comes as close as gradients get
where it cannot, and :mod:`~fpinv.inverters.auto.check` samples the result back and decides what to
do about an image that does not return. :mod:`~fpinv.inverters.auto.auto` joins the three, and
:mod:`~fpinv.inverters.auto.goal` is what all of them are handed: the images, and how exactly they
are to come back.
"""

from fpinv.inverters.auto.auto import Auto

__all__ = ["Auto"]
