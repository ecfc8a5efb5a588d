"""LPIPS, the learned perceptual distance of images that most papers report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from fpinv.errors import UserError
from fpinv.metrics.pixels import filled, mean_outside
from fpinv.models.weights import by_hand, loading


class LPIPS:
    """Learned perceptual image patch similarity, version 0.1; lower is closer.

    The linear heads come with the lpips package; the backbone's ImageNet weights are a download
    of torchvision, made on the first use.

    References:
        The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (Zhang et al.,
        2018), https://arxiv.org/abs/1801.03924.

    Arguments:
        net: Backbone: alex, vgg or squeeze.

    Raises:
        UserError: there is no such backbone, or (on the first use) its weights are neither in
            torchvision's cache nor to be fetched.
    """

    version = "0.1"
    smallest: ClassVar[Mapping[str, int]] = {"alex": 31, "vgg": 16, "squeeze": 17}
    """Pixels on a side that each backbone needs."""
    backbones = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}

    def __init__(self, net: str = "alex") -> None:
        if net not in self.backbones:
            raise UserError(f"LPIPS has no net {net!r}; it has {', '.join(self.backbones)}")
        self.net = net
        self.name = f"lpips_{net}"

    @torch.no_grad()
    def __call__(self, images: Tensor, reference: Tensor) -> Tensor:
        """Return the distances (B,) of images (B, 3, H, W) in [-1, 1].

        NaN for images that are smaller than the backbone takes.
        """
        return self._distances(images, reference, spatial=False).flatten()

    @torch.no_grad()
    def background(self, images: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
        """Return the mean (B,) of the map of distances over the pixels outside a mask (B, H, W).

        The mask is filled with the reference, so that an edit does not count against its
        surroundings in the receptive fields that reach into it.
        """
        distances = self._distances(filled(images, reference, mask), reference, spatial=True)
        return mean_outside(distances[:, 0], mask)

    def _distances(self, images: Tensor, reference: Tensor, spatial: bool) -> Tensor:
        """Return the distances (B, 1, 1, 1), or those at each pixel, (B, 1, H, W)."""
        height, width = images.shape[-2:]
        if min(height, width) < self.smallest[self.net]:
            size = (height, width) if spatial else (1, 1)
            return images.new_full((len(images), 1, *size), math.nan)
        network = self._network.to(images.device)
        network.spatial = spatial
        x, y = (pixels.float().clamp(-1, 1) for pixels in (images, reference))
        distances: Tensor = network(x, y)
        return distances

    @cached_property
    def _network(self) -> Any:  # noqa: ANN401 - lpips declares no types
        import lpips  # here, because a run without this metric need not wait for it
        from torchvision.models import get_model_weights

        backbone = self.backbones[self.net]
        url = get_model_weights(backbone).IMAGENET1K_V1.url
        remedy = f"{by_hand(url)}, or run without this metric"
        with loading(f"torchvision's {backbone} weights of {self.name}", remedy):
            return lpips.LPIPS(net=self.net, version=self.version, verbose=False)
