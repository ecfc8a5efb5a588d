"""Images to measure."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fpinv.datasets.scenes import Scene, render_array


def pictures(batch: int = 3, size: int = 40, seed: int = 0) -> Tensor:
    """Smooth random images in [-.8, .8]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, 5, 5, generator=generator) * 1.6 - 0.8
    return torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")


def scene_pictures(scenes: Sequence[Scene], size: int = 64) -> Tensor:
    """Rendered scenes (B, 3, size, size) in [-1, 1]."""
    arrays = np.stack([render_array(scene, size) for scene in scenes])
    return torch.from_numpy(arrays).permute(0, 3, 1, 2) / 127.5 - 1
