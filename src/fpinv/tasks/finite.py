"""Which samples are finite, and the error of those that are not."""

from __future__ import annotations

import torch
from torch import Tensor

from fpinv.errors import UserError
from fpinv.inversion import Inversion
from fpinv.models.model import Model


def diverged(model: Model, subject: str = "the inversion") -> UserError:
    """Return the error of an image whose noise, or a sample from it, is not finite.

    Arguments:
        model: The model.
        subject: What was computed.
    """
    largest = torch.finfo(model.dtype).max
    remedy = "; fp16 ends at 65504: try precision=bf16 or fp32" if largest < 1e5 else ""
    return UserError(f"{subject} diverged: its noise or what it samples is not finite{remedy}")


def are_finite(*values: Tensor) -> list[bool]:
    """Return for each sample whether all of its values, (B, ...) each, are finite."""
    rows = [value.flatten(1).isfinite().all(1) for value in values]
    return torch.stack(rows).all(0).tolist()


def solved(inversion: Inversion) -> list[bool]:
    """Return for each sample whether its noise is finite, and so is the residual of every step.

    Iterations keep the last finite latent where the network's output is none.
    """
    residual = inversion.residual
    extra = () if residual is None else (residual.movedim(-1, 0),)
    return are_finite(inversion.noise, *extra)
