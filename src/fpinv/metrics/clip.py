"""CLIP: how well a picture fits a text, and whether it moved the way the text did."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, interpolate, normalize

from fpinv.errors import UserError
from fpinv.models.weights import SCENES, bounded_wait, local_folder

if TYPE_CHECKING:
    from transformers import CLIPModel, CLIPTokenizer


class ImageEncoder(Protocol):
    """What pictures look like to a network."""

    def images(self, images: Tensor) -> Tensor:
        """Unit vectors (B, D) of images (B, 3, H, W) in [-1, 1]; gradients flow through."""


class CLIP(ImageEncoder, Protocol):
    """A pair of frozen encoders whose unit vectors (B, D) are compared.

    Attributes:
        name: Its key in the records, which says which network it is.
    """

    name: str

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Vectors of texts."""


def similarity(clip: CLIP, images: Tensor, prompts: Sequence[str]) -> Tensor:
    """Cosine between images (B, 3, H, W) and their prompts: (B,), higher is a better fit.

    References:
        CLIPScore: A Reference-free Evaluation Metric for Image Captioning (Hessel et al., 2021),
        https://arxiv.org/abs/2104.08718.
    """
    return cosine_similarity(clip.images(images), clip.texts(prompts))


def directional_similarity(
    clip: CLIP, edits: Tensor, originals: Tensor, targets: Sequence[str], sources: Sequence[str]
) -> Tensor:
    """Cosine between the way from original to edit and the way from source to target: (B,).

    Undefined, and 0, where the image or the prompt did not change.

    References:
        StyleGAN-NADA: CLIP-Guided Domain Adaptation of Image Generators (Gal et al., 2021),
        https://arxiv.org/abs/2108.00946.
    """
    seen = clip.images(edits) - clip.images(originals)
    told = clip.texts(targets) - clip.texts(sources)
    return cosine_similarity(seen, told)


class ScenesCLIP:
    """The CLIP that comes with the bundled model: small, and it knows scenes only.

    Arguments:
        path: Folder with clip/ and tokenizer/ in transformers format, or that of an installed
            package as ``pkg://package.module``.

    Raises:
        UserError: (on the first use) there is no CLIP in it.
    """

    name = "clip_scenes"

    def __init__(self, path: str = SCENES) -> None:
        self._path = path

    def images(self, images: Tensor) -> Tensor:
        """See :class:`CLIP`."""
        network = self._network.to(images.device)
        pixels = _resized(images, network.config.vision_config.image_size)
        states = network.vision_model(pixel_values=pixels).pooler_output
        return normalize(network.visual_projection(states), dim=-1)

    def texts(self, texts: Sequence[str]) -> Tensor:
        """See :class:`CLIP`; what is too long is cut."""
        network = self._network
        ids = self._tokenizer(
            list(texts), padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids.to(network.device)
        states = network.text_model(input_ids=ids).pooler_output
        return normalize(network.text_projection(states), dim=-1)

    @cached_property
    def _network(self) -> CLIPModel:
        from transformers import CLIPModel

        from fpinv.models.stable_diffusion import quiet

        folder = local_folder(self._path) / "clip"
        if not folder.is_dir():
            raise UserError(f"clip.path={self._path} has no folder clip/ in transformers format")
        with quiet():
            network = CLIPModel.from_pretrained(folder, dtype=torch.float32)
        return network.eval().requires_grad_(False)

    @cached_property
    def _tokenizer(self) -> CLIPTokenizer:
        from transformers import CLIPTokenizer

        return CLIPTokenizer.from_pretrained(local_folder(self._path) / "tokenizer")


class OpenCLIP:
    """A CLIP of the open_clip library, whose weights are a download made on the first use.

    References:
        Learning Transferable Visual Models From Natural Language Supervision (Radford et al.,
        2021), https://arxiv.org/abs/2103.00020.

    Arguments:
        model: Name of the architecture, or ``local-dir:<folder>`` in open_clip's format.
        pretrained: Name of the weights, or their file.

    Raises:
        UserError: (on the first use) the weights are neither in the cache nor to be had.
    """

    def __init__(self, model: str = "ViT-L-14", pretrained: str | None = "openai") -> None:
        self._model, self._pretrained = model, pretrained
        parts = (Path(part).stem for part in (model, pretrained) if part)
        self.name = "_".join(["clip", *parts])

    def images(self, images: Tensor) -> Tensor:
        """See :class:`CLIP`."""
        from open_clip import get_model_preprocess_cfg

        network = self._network.to(images.device)
        config = get_model_preprocess_cfg(network)
        size = config["size"]
        pixels = _resized(images, size if isinstance(size, int) else size[0])
        mean, std = (pixels.new_tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
        return network.encode_image(((pixels + 1) / 2 - mean) / std, normalize=True)

    def texts(self, texts: Sequence[str]) -> Tensor:
        """See :class:`CLIP`; what is too long is cut."""
        import open_clip

        network = self._network
        device = next(network.parameters()).device
        tokens = open_clip.get_tokenizer(self._model)(list(texts))
        return network.encode_text(tokens.to(device), normalize=True)

    @cached_property
    def _network(self) -> torch.nn.Module:
        import open_clip

        try:
            with bounded_wait(seconds=10):
                network = open_clip.create_model(self._model, pretrained=self._pretrained)
        except Exception as error:  # each source of weights has transport errors of its own
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(
                f"{self.name} needs open_clip's weights {self._model} {self._pretrained}, which "
                f"could not be loaded ({reason}); give a file as clip.pretrained, or do without, "
                "e.g. task.similarity=null"
            ) from error
        return network.eval().requires_grad_(False)


def _resized(images: Tensor, size: int) -> Tensor:
    """The images (B, 3, H, W), clamped, at a side of ``size`` pixels."""
    pixels = images.float().clamp(-1, 1)
    if pixels.shape[-2:] == (size, size):
        return pixels
    resized = interpolate(pixels, (size, size), mode="bicubic", antialias=True)
    return resized.clamp(-1, 1)
