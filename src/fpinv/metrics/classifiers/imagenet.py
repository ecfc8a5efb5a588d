"""Classifiers of ImageNet-1k with torchvision's weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn
from torchvision import models

from fpinv.datasets.imagenet import wordnet_names
from fpinv.errors import UserError
from fpinv.models.weights import bounded_wait, cache_file
from fpinv.run.messages import nearest


class ImageNetClassifier:
    """One of torchvision's classifiers with its best weights, a download on the first use.

    Images are resized and cropped as the weights ask for. The features are what enters the last
    linear layer.

    References:
        | ImageNet Large Scale Visual Recognition Challenge (Russakovsky et al., 2015)
        | https://arxiv.org/abs/1409.0575

    Arguments:
        network: Its name in torchvision, e.g. ``resnet50``.

    Raises:
        UserError: there is no such classifier, or (on the first use) its weights are neither in
            torchvision's cache nor to be had from the network, or it has no such layer.
    """

    def __init__(self, network: str = "resnet50") -> None:
        known = models.list_models(module=models)
        if network not in known:
            raise UserError(f"classifier.network={network} is unknown{nearest(network, known)}")
        self.name = network
        self._weights = models.get_model_weights(network).DEFAULT

    @property
    def classes(self) -> Sequence[str]:
        """The WordNet ids of ImageNet-1k."""
        return list(wordnet_names())

    @torch.no_grad()
    def classify(self, images: Tensor) -> Tensor:
        """See :class:`~fpinv.metrics.classifiers.classifier.Classifier`."""
        return self._logits(images).argmax(1)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """See :class:`~fpinv.metrics.classifiers.classifier.Classifier`."""
        seen: list[Tensor] = []
        linear = [part for part in self._network.modules() if isinstance(part, nn.Linear)]
        if not linear:
            raise UserError(
                f"classifier.network={self.name} has no linear layer whose input could serve as "
                "features: choose another, e.g. resnet50"
            )
        hook = linear[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            self._logits(images)
        finally:
            hook.remove()
        return seen[0]

    def _logits(self, images: Tensor) -> Tensor:
        pixels = self._weights.transforms()((images.float().clamp(-1, 1) + 1) / 2)
        return self._network.to(images.device)(pixels)

    @cached_property
    def _network(self) -> nn.Module:
        try:
            with bounded_wait(seconds=10):
                network = models.get_model(self.name, weights=self._weights)
        except (OSError, RuntimeError) as error:
            url = self._weights.url
            raise UserError(
                f"the classifier {self.name} needs torchvision's weights, which could not be "
                f"loaded ({error}); put {url} at {cache_file(url)}, or choose classifier=scenes"
            ) from error
        return network.eval().requires_grad_(False)
