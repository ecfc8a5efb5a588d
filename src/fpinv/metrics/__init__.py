"""Measures of reconstructions, edits and sets of images, one number per sample or per set.

Tensors come in (images (B, 3, H, W) in [-1, 1], latents, or features) and numbers go out. The
measures know neither tasks nor records; :mod:`~fpinv.metrics.intervals` turns the numbers of many
samples into means with intervals.
"""
