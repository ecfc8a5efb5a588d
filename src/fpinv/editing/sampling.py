"""Edits of inverted images, sampled beside their sources in one batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.editing.attention import controlled, find_layers, has_cross_attention
from fpinv.editing.branches import Branches, TargetBranch
from fpinv.editing.controllers import Controller, Moment, Share
from fpinv.editing.projections import exchanged, find_blocks
from fpinv.editing.recipe import PromptToPrompt, Recipe
from fpinv.editing.request import Edit
from fpinv.editing.stage import Stage
from fpinv.editing.tokens import TokenizingPipeline, Tokens, tokenise
from fpinv.errors import UserError
from fpinv.inversion import Inversion, Inverter
from fpinv.models.model import Model
from fpinv.sampling import Guided


class Editable(Model, Protocol):
    """A model with its tokenizer and its network within reach, such as Stable Diffusion."""

    pipeline: TokenizingPipeline

    @property
    def network(self) -> Any:  # noqa: ANN401 - diffusers declares no attributes
        """The denoising network: a UNet or a transformer of diffusers."""


@dataclass(frozen=True)
class SampledBranches:
    """The latents of an editing run and their cost.

    Arguments:
        sources: The sources' reconstructions (B, C, h, w).
        targets: The edits (T, C, h, w).
        masks: Marks where each target was free to differ at the end, (T, h, w), bool.
        calls: Network calls.
        rows: Network rows.
    """

    sources: Tensor
    targets: Tensor
    masks: Tensor
    calls: int
    rows: int


@dataclass(frozen=True)
class Edited:
    """One image and its edits.

    Arguments:
        reconstruction: The image of the source branch, (3, H, W) in [-1, 1].
        images: The edits (T, 3, H, W) in [-1, 1].
        masks: Marks where each edit was free to differ, on the latent's grid (T, h, w), bool.
    """

    reconstruction: Tensor
    images: Tensor
    masks: Tensor


def edit(
    model: Editable,
    inverter: Inverter,
    inversion: Inversion,
    source: str,
    edits: Sequence[str | Edit],
    *,
    steps: int,
    guidance: float = 1.0,
    target_guidance: float | None = None,
    recipe: Recipe | None = None,
) -> Edited:
    """Edit the image of one inversion in any number of ways, in one batch.

    Arguments:
        model: The model of the inversion.
        inverter: The inverter of the inversion; its own way back samples the source branch.
        inversion: The inversion of one image, just computed or loaded.
        source: The prompt of the inversion.
        edits: Target prompts, or :class:`~fpinv.editing.request.Edit` for one with options.
        steps: Number N of steps of the inversion's grid.
        guidance: Guidance scale of the source branch, which must be that of the inversion. An
            inverter that brings images back at a guidance of its own keeps that.
        target_guidance: Guidance scale of the targets; None for ``guidance``.
        recipe: The controllers of an edit that brings none along; None for those of
            prompt-to-prompt.

    Raises:
        UserError: prompts, words, numbers or the inversion do not fit.
    """
    branches = plan_branches(model, [source], [edits], recipe or PromptToPrompt())
    z = sample_branches(model, inverter, inversion, branches, steps, guidance, target_guidance)
    return Edited(model.decode(z.sources)[0], model.decode(z.targets), z.masks)


def plan_branches(
    model: Editable,
    sources: Sequence[str],
    edits: Sequence[Sequence[str | Edit]],
    recipe: Recipe,
) -> Branches:
    """Return the batch of some source prompts, each with its edits.

    Raises:
        UserError: the model cannot be edited, a prompt is empty or too long, there is no edit, or
            a controller does not fit its prompts.
    """
    if not hasattr(model, "pipeline"):
        raise UserError(f"model {model.name} has no attention that could be edited")
    prompts = tuple(_read(model, prompt) for prompt in sources)
    targets = []
    for source, requests in enumerate(edits):
        for request in requests:
            request = Edit(request) if isinstance(request, str) else request
            tokens = _read(model, request.prompt)
            controllers = recipe.controllers(request, prompts[source], tokens)
            _require_fit(model, controllers)
            targets.append(TargetBranch(tokens, source, controllers))
    if not targets:
        raise UserError("there is no target prompt: say what the edited image should show")
    branches = Branches(prompts, tuple(targets))
    # A plan names the words that do not fit: better now than in the middle of the sampling.
    branches.plans(Moment(0, 1))
    return branches


def _read(model: Editable, prompt: str) -> Tokens:
    """Return a prompt, with its words where the network attends to them apart."""
    if has_cross_attention(model.network):
        return tokenise(model.pipeline, prompt)
    return Tokens.unread(prompt)


def _require_fit(model: Editable, controllers: Sequence[Controller]) -> None:
    """Raise UserError if the network has not the attention that controllers act on."""
    shares = [c for c in controllers if isinstance(c, Share)]
    if len(shares) < len(controllers) and not has_cross_attention(model.network):
        raise UserError(
            "prompt-to-prompt edits act on cross-attention, which the network of a "
            f"{type(model.pipeline).__name__} does not have: use task/recipe=plain or sharing, "
            "task=flow_editing, or a model with a UNet, such as model=sdxl"
        )
    last = max((number for share in shares for number in share.blocks or ()), default=0)
    if last and last >= (count := len(find_blocks(model.network))):
        raise UserError(
            f"there is no block {last} in the network of model {model.name}, which has {count}: "
            f"choose blocks from 0 to {count - 1}"
        )


@torch.no_grad()
def sample_branches(
    model: Editable,
    inverter: Inverter,
    inversion: Inversion,
    branches: Branches,
    steps: int,
    guidance: float,
    target_guidance: float | None = None,
) -> SampledBranches:
    """Sample all branches in one batch, through the inverter's own way back.

    The arguments are those of :func:`edit`; ``inversion`` has one image a source, in order.

    Raises:
        UserError: the inversion does not fit, the guidance shows the network no prompt, or the
            inverter samples in a way that cannot be edited.
    """
    _check(model, inversion, branches, guidance, target_guidance)
    network, plain = model.network, model.denoiser(steps)
    # A method may sample from below the noise, and its steps are all that there are.
    top = inverter.top(steps) if isinstance(inverter, Guided) else steps
    layers = find_layers(network) if has_cross_attention(network) else {}
    blocks = find_blocks(network)
    stage = Stage(branches, layers, top, plain.device, blocks)
    denoiser = EditingDenoiser(plain, branches, stage, target_guidance, top)
    condition = model.condition(branches.prompts, guidance)
    attention = controlled(network, stage) if layers else nullcontext()
    with attention, exchanged(network, blocks, stage):
        spread = _spread(inversion, branches)
        z = inverter.sample(denoiser, spread, condition, on_step=denoiser.blend)
    stage.check(inverter)
    sources, targets = z.split([len(branches.sources), len(branches.targets)])
    mask = stage.mask(z.shape[-2:])
    return SampledBranches(sources, targets, mask, denoiser.calls, denoiser.rows)


class EditingDenoiser(Denoiser):
    """A denoiser that announces its calls to the stage and gives the targets their guidance.

    Arguments:
        plain: The model's denoiser.
        branches: The batch.
        stage: The control of the attention and the latents.
        guidance: Guidance scale of the targets; None for the sources'.
        top: Grid index from which the inverter samples.
    """

    def __init__(
        self,
        plain: Denoiser,
        branches: Branches,
        stage: Stage,
        guidance: float | None,
        top: int,
    ) -> None:
        super().__init__(plain.network, plain.schedule, plain.dtype, plain.device, plain.epsilon)
        self._branches, self._stage, self._guidance = branches, stage, guidance
        self._top = top

    def __call__(self, z: Tensor, i: float, condition: Condition) -> Tensor:
        """Return the guided network output at ``z`` (R, C, H, W), the latents of all branches."""
        self._require_all(z)
        condition = self._guided(condition)
        null_rows = len(z) if condition.rows_per_sample == 2 else 0
        prompt_tokens = condition.prompt.tokens.shape[1]
        self._stage.enter(self._top - math.ceil(i), z.shape[-2:], null_rows, prompt_tokens)
        return super().__call__(z, i, condition)

    def _guided(self, condition: Condition) -> Condition:
        """Return the condition with the targets' guidance in their rows."""
        scale, sources = condition.guidance, len(self._branches.sources)
        # Equal scales stay one number, with which a guidance of 1 costs one row a branch.
        if self._guidance is None or not isinstance(scale, Tensor) and scale == self._guidance:
            return condition
        scales = torch.full(
            (len(self._branches),), self._guidance, dtype=self.latent_dtype, device=self.device
        )
        scales[:sources] = scale[:sources] if isinstance(scale, Tensor) else scale
        return replace(condition, guidance=scales)

    def blend(self, z: Tensor, i: int) -> Tensor:
        """Return the latents ``z`` (R, C, H, W) at index ``i`` with all local blends applied."""
        self._require_all(z)
        return self._stage.blend(z, self._top - i)

    def _require_all(self, z: Tensor) -> None:
        if len(z) != len(self._branches):
            raise UserError(
                f"the inverter samples {len(z)} of {len(self._branches)} branches at a time, so "
                "that targets miss their source: use one that samples a batch as a whole"
            )


def _spread(inversion: Inversion, branches: Branches) -> Inversion:
    """Return the inversion repeated for every branch, with the sources marked."""
    sources, device = len(branches.sources), inversion.noise.device
    rows = torch.tensor([*range(sources), *branches.origins], device=device)
    marked = torch.arange(len(rows), device=device) < sources
    return replace(inversion[rows], source=marked, expected_error=None)  # a target's is unknown


def _check(
    model: Editable,
    inversion: Inversion,
    branches: Branches,
    guidance: float,
    target_guidance: float | None,
) -> None:
    """Raise UserError if the model, the inversion or the guidance does not fit."""
    if len(inversion) != len(branches.sources):
        raise UserError(
            f"there are {len(inversion)} inverted images for {len(branches.sources)} source "
            "prompts: give one each"
        )
    if (channels := inversion.noise.shape[1]) != model.latent_shape[0]:
        raise UserError(
            f"the inversion's latents have {channels} channels and those of model {model.name} "
            f"{model.latent_shape[0]}: use the model it was made with"
        )
    if 0 in (guidance, target_guidance):
        raise UserError("guidance=0 shows the network no prompt, so that nothing can be edited")
