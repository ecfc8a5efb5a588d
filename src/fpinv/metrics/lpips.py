"""Learned perceptual distances of images."""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn

from fpinv.errors import UserError
from fpinv.models.weights import bounded_wait, cache_file


class PerceptualMetric(Protocol):
    """A learned distance of images (B, 3, H, W) in [-1, 1]: (B,), lower is closer.

    Attributes:
        name: Its key in the records, which says what was measured: metric and network.
    """

    name: str

    def __call__(self, images: Tensor, reference: Tensor) -> Tensor: ...


class LPIPS:
    """Learned perceptual image patch similarity, version 0.1: (B,), lower is closer.

    The linear heads come with the lpips package; the backbone's ImageNet weights are a download
    of torchvision, made on the first use. Its smallest image is 31 pixels a side for alex,
    16 for vgg and 17 for squeeze.

    References:
        The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (Zhang et al.,
        2018), https://arxiv.org/abs/1801.03924.

    Arguments:
        net: Backbone: alex, vgg or squeeze.

    Raises:
        UserError: there is no such backbone, or (on the first use) its weights are neither in
            torchvision's cache nor to be had from the network.
    """

    version = "0.1"
    backbones = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}

    def __init__(self, net: str = "alex") -> None:
        if net not in self.backbones:
            raise UserError(f"LPIPS has no net {net!r}; it has {', '.join(self.backbones)}")
        self.net = net
        self.name = f"lpips_{net}"

    @torch.no_grad()
    def __call__(self, images: Tensor, reference: Tensor) -> Tensor:
        network = self._network.to(images.device)
        first, second = (x.float().clamp(-1, 1) for x in (images, reference))
        return network(first, second).reshape(len(images))

    @cached_property
    def _network(self) -> nn.Module:
        import lpips  # here, because a run without this metric need not wait for it

        try:
            with bounded_wait(seconds=10), warnings.catch_warnings():
                # lpips asks torchvision for its weights in a way that torchvision deprecates
                warnings.filterwarnings("ignore", module="torchvision")
                return lpips.LPIPS(net=self.net, version=self.version, verbose=False)
        except (OSError, RuntimeError) as error:
            raise UserError(self._absent(error)) from error

    def _absent(self, error: Exception) -> str:
        import torchvision

        backbone = self.backbones[self.net]
        url = torchvision.models.get_model_weights(backbone).IMAGENET1K_V1.url
        return (
            f"{self.name} needs torchvision's {backbone} weights, which could not be loaded "
            f"({error}); put {url} at {cache_file(url)}, or run without this metric"
        )
