"""Classifiers of ImageNet-1k with torchvision's weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn
from torchvision import models

from fpinv.datasets.imagenet import wordnet_names
from fpinv.errors import UserError, nearest
from fpinv.models.weights import by_hand, loading


class ImageNetClassifier:
    """A classifier of torchvision with its best weights, a download on the first use.

    Images are resized and cropped as the weights ask for. The features are the input of the last
    linear layer.

    References:
        | ImageNet Large Scale Visual Recognition Challenge (Russakovsky et al., 2015)
        | https://arxiv.org/abs/1409.0575

    Arguments:
        network: Its name in torchvision, e.g. ``resnet50``.

    Attributes:
        name: Name of the network, for records.

    Raises:
        UserError: there is no such classifier, or (on the first use) its weights are neither in
            torchvision's cache nor to be fetched, or it has no linear layer.
    """

    def __init__(self, network: str = "resnet50") -> None:
        networks = models.list_models(module=models)
        if network not in networks:
            raise UserError(f"classifier.network={network} is unknown{nearest(network, networks)}")
        self.name = network
        self._weights = models.get_model_weights(network).DEFAULT

    @property
    def classes(self) -> Sequence[str]:
        """WordNet ids of the 1000 classes, in the order of the class numbers."""
        return list(wordnet_names())

    @torch.no_grad()
    def classify(self, images: Tensor) -> Tensor:
        """Return the numbers (B,) of the likeliest classes of images (B, 3, H, W) in [-1, 1]."""
        return self._logits(images).argmax(1)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Return features (B, D) of images (B, 3, H, W) in [-1, 1], from before the decision."""
        inputs: list[Tensor] = []
        linear = [layer for layer in self._network.modules() if isinstance(layer, nn.Linear)]
        if not linear:
            raise UserError(
                f"classifier.network={self.name} has no linear layer whose input could serve as "
                "features: choose another, e.g. resnet50"
            )
        hook = linear[-1].register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        try:
            self._logits(images)
        finally:
            hook.remove()
        return inputs[0]

    def _logits(self, images: Tensor) -> Tensor:
        pixels = self._weights.transforms()((images.float().clamp(-1, 1) + 1) / 2)
        return self._network.to(images.device)(pixels)

    @cached_property
    def _network(self) -> nn.Module:
        remedy = f"{by_hand(self._weights.url)}, or choose classifier=scenes"
        with loading(f"torchvision's weights of the classifier {self.name}", remedy):
            network = models.get_model(self.name, weights=self._weights)
        return network.eval().requires_grad_(False)
