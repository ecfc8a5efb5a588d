"""Frechet distance and diversity of the features of sets of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from fpinv.errors import UserError
from fpinv.metrics.classifiers.classifier import Classifier
from fpinv.models.weights import by_hand, cache_file, loading
from fpinv.seeding import generator

Choice = Literal["auto", "inception", "classifier"]

DRAWS = 100  # bootstrap draws of an interval
WIDEST = 256  # features beyond which a distance takes too long to be drawn so often


class Features(Protocol):
    """A network that describes an image by numbers."""

    @property
    def name(self) -> str:
        """Name of the network, for records."""

    def __call__(self, images: Tensor) -> Tensor:
        """Return features (B, D) of images (B, 3, H, W) in [-1, 1]."""


class InceptionFeatures:
    """The 2048 pooled Inception features that define the FID, of antialiased images.

    The network is torch-fidelity's conversion of the original one, through torchmetrics.

    References:
        | GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium
        | (Heusel et al., 2017), https://arxiv.org/abs/1706.08500
        | On Aliased Resizing and Surprising Subtleties in GAN Evaluation (Parmar et al., 2022)
        | https://arxiv.org/abs/2104.11222

    Raises:
        UserError: (on the first use) the weights are neither in the cache nor to be fetched.
    """

    name = "inception"

    @staticmethod
    def cached() -> bool:
        """Return True if the weights are on this machine."""
        return cache_file(_inception_url()).is_file()

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return features (B, 2048) of images (B, 3, H, W) in [-1, 1]."""
        pixels = ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        return self._network.to(images.device)(pixels)

    @cached_property
    def _network(self) -> nn.Module:
        from torchmetrics.image.fid import FrechetInceptionDistance

        remedy = f"{by_hand(_inception_url())}, or use task.features=classifier"
        with loading("the FID's Inception weights", remedy):
            return FrechetInceptionDistance(feature=2048, antialias=True).inception


def _inception_url() -> str:
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    return URL_INCEPTION_V3


@dataclass(frozen=True)
class ClassifierFeatures:
    """The features of a classifier, from before its decision."""

    classifier: Classifier

    @property
    def name(self) -> str:
        """Name of the classifier."""
        return self.classifier.name

    def __call__(self, images: Tensor) -> Tensor:
        """Return features (B, D) of images (B, 3, H, W) in [-1, 1]."""
        return self.classifier.features(images)


def features_of(choice: Choice, classifier: Classifier) -> Features:
    """Return Inception's or a classifier's features; ``auto`` is Inception if it is cached.

    Raises:
        UserError: ``choice`` is not auto, inception or classifier.
    """
    if choice not in get_args(Choice):
        raise UserError(f"features={choice} is unknown: choose from {', '.join(get_args(Choice))}")
    if choice == "inception" or (choice == "auto" and InceptionFeatures.cached()):
        return InceptionFeatures()
    return ClassifierFeatures(classifier)


def frechet_distance(real: Tensor, generated: Tensor) -> float:
    r"""Return the Frechet distance of normal laws fitted to features (R, D) and (G, D).

    .. math:: |\mu_r - \mu_g|^2 + \mathrm{tr}(\Sigma_r + \Sigma_g - 2 (\Sigma_r \Sigma_g)^{1/2})

    R and G are at least 2. The expectation grows as the sets shrink: compare numbers of equal
    counts only.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    # no synchronisation: of the processes of a shared run one has all features
    features = _PassThrough(real.shape[1])
    metric = FrechetInceptionDistance(feature=features, sync_on_compute=False)
    metric.update(real.double(), real=True)
    metric.update(generated.double(), real=False)
    return metric.compute().item()


class _PassThrough(nn.Module):
    """A network for torchmetrics that passes on features that are computed already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def fid(real: Sequence[Tensor], generated: Sequence[Tensor]) -> dict[str, float | None] | None:
    """Return the Frechet distance over all examples with the half-width of its 95 % interval.

    The interval is 1.96 deviations of the distance over bootstrap draws of the examples, each
    with all its pictures, because those of one example are alike.

    Arguments:
        real: Features (R_k, D) of the real pictures of each example.
        generated: Features (G_k, D) of the generated pictures.

    Returns:
        {"mean", "ci95"}; ci95 is None for one example, and for features wider than 256. None
        without two pictures of each kind.
    """

    def distance(indices: Sequence[int]) -> float:
        return frechet_distance(
            torch.cat([real[k] for k in indices]), torch.cat([generated[k] for k in indices])
        )

    n = len(real)
    if min(sum(map(len, real)), sum(map(len, generated))) < 2:
        return None
    if n < 2 or real[0].shape[1] > WIDEST:
        return {"mean": distance(range(n)), "ci95": None}
    g = generator(0, "bootstrap of the Frechet distance")
    draws = [distance(torch.randint(n, (n,), generator=g).tolist()) for _ in range(DRAWS)]
    return {"mean": distance(range(n)), "ci95": 1.96 * torch.tensor(draws).std().item()}


def diversity(features: Tensor) -> float | None:
    """Return the mean distance between two of n pictures' features (n, D); None below two."""
    return torch.pdist(features.double()).mean().item() if len(features) > 1 else None
