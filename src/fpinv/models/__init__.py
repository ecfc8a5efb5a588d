"""Text-to-image models behind one interface, and where their weights come from.

A model takes images and prompts and returns latents, embeddings and a denoiser on a grid of steps;
it decodes latents to images on the way out. :class:`~fpinv.models.model.Model` is the contract.
:mod:`~fpinv.models.latent_model` meets it through diffusers, with a class for each family in
:mod:`~fpinv.models.stable_diffusion` and :mod:`~fpinv.models.rectified_flow`. ``scenes/`` holds
the weights of the bundled model.
"""
