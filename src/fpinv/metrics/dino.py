"""Structure distance by DINO: the movement of an image's layout in an edit."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from fpinv.images.frame import central
from fpinv.models.weights import loading

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours


class DINOStructure:
    r"""Structure distance: the change in how the patches of an image resemble one another.

    With :math:`S(x)_{pq}` the cosine between the last layer's keys of tokens p and q of a vision
    transformer trained by DINO,

    .. math:: d(x, y) = \operatorname{mean}_{p, q} (S(x)_{pq} - S(y)_{pq})^2

    It is 0 for identical images; lower is closer. Of an oblong image it is that of the central
    square. The weights are a download made on the first use.

    References:
        Splicing ViT Features for Semantic Appearance Transfer (Tumanyan et al., 2022),
        https://arxiv.org/abs/2201.00424.
        Emerging Properties in Self-Supervised Vision Transformers (Caron et al., 2021),
        https://arxiv.org/abs/2104.14294.

    Arguments:
        path: Name on the Hugging Face hub, or a folder in transformers format.
        brightest: Value of a white pixel before ImageNet's colours are normalised. DINO was
            trained with 1; PnPInversion's figures were made with 255.
        resampling: Filter to the network's size: bicubic or bilinear.
        antialias: Whether the filter widens where it shrinks a picture. The torchvision of
            PnPInversion's environment (0.13.1) does not widen it for tensors.

    Raises:
        UserError: (on the first use) the weights are neither in the cache nor to be fetched.
    """

    name = "structure_dino"

    def __init__(
        self,
        path: str = "facebook/dino-vitb8",
        brightest: float = 1.0,
        resampling: str = "bicubic",
        antialias: bool = True,
    ) -> None:
        self._path, self._brightest = path, brightest
        self._resampling, self._antialias = resampling, antialias

    @torch.no_grad()
    def __call__(self, images: Tensor, reference: Tensor) -> Tensor:
        """Return the distances (B,) of images (B, 3, H, W) in [-1, 1]."""
        similarities = [self._self_similarity(x) for x in (images, reference)]
        return (similarities[0] - similarities[1]).square().flatten(1).mean(1)

    def _self_similarity(self, images: Tensor) -> Tensor:
        """Return the cosines between the keys of all tokens: (B, tokens, tokens)."""
        network = self._network.to(images.device)
        side = network.config.image_size
        square = central(images.float().clamp(-1, 1))
        pixels = interpolate(
            square, (side, side), mode=self._resampling, antialias=self._antialias
        )
        pixels = pixels.clamp(-1, 1)  # bicubic interpolation overshoots
        mean, std = (pixels.new_tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        keys: list[Tensor] = []
        hook = _last_keys(network).register_forward_hook(lambda *call: keys.append(call[-1]))
        try:
            network(pixel_values=((pixels + 1) / 2 * self._brightest - mean) / std)
        finally:
            hook.remove()
        unit = normalize(keys[0], dim=-1)
        return unit @ unit.transpose(1, 2)

    @cached_property
    def _network(self) -> Any:  # noqa: ANN401 - transformers' types do not fit its own calls
        from transformers import ViTModel

        remedy = "give a folder as task.structure.path, or run without this metric"
        with loading(f"the weights {self._path} of {self.name}", remedy):
            return ViTModel.from_pretrained(self._path, add_pooling_layer=False).eval()


def _last_keys(network: nn.Module) -> nn.Module:
    """Return the layer that makes the last keys; its name changed with transformers' versions."""
    keys = [m for name, m in network.named_modules() if name.endswith((".k_proj", ".key"))]
    return keys[-1]
