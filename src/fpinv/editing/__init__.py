"""Prompt-to-prompt editing of images that were inverted.

An inversion, its source prompt and edits (:class:`~fpinv.editing.request.Edit`) come in;
:func:`~fpinv.editing.sampling.edit` samples the source and all targets in one batch, through the
inverter's own way back, and hands out images and masks. On the way, a
:class:`~fpinv.editing.recipe.PromptToPrompt` turns each edit into controllers, which a
:class:`~fpinv.editing.stage.Stage` applies to the attention and to the latents.
"""
