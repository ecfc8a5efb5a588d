"""Inversion without a command line: of one image, and by a pipeline of diffusers.

An image, a prompt and the name of an inverter come in. :mod:`~fpinv.pipelines.image` gives an
inverted image, which can be brought back, edited and saved; :mod:`~fpinv.pipelines.stock` gives
the latents that a stock pipeline takes.
"""

from fpinv.pipelines.stock import InversionPipeline

__all__ = ["InversionPipeline"]
