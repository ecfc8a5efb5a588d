"""Text-to-image models behind one interface, and where their weights come from.

A model takes images and prompts and returns latents, embeddings and a denoiser on a grid of steps;
it decodes latents to images on the way out. :class:`~fpinv.models.model.Model` is the contract,
:mod:`~fpinv.models.stable_diffusion` meets it through diffusers, and ``scenes/`` holds the weights
of the bundled model.
"""
