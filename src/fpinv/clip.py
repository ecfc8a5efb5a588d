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
from fpinv.metrics import bounded_wait

if TYPE_CHECKING:
    from transformers import CLIPModel, CLIPTokenizer


class CLIP(Protocol):
    """A pair of encoders whose unit vectors (B, D) are compared.

    Attributes:
        name: Its key in the records, which says which network it is.
    """

    name: str

    def images(self, images: Tensor) -> Tensor:
        """Vectors of images (B, 3, H, W) in [-1, 1]."""

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
        path: Folder in transformers format with clip/ and tokenizer/; None for the bundled one.
    """

    name = "clip_scenes"

    def __init__(self, path: str | None = None) -> None:
        self._path = path

    @torch.no_grad()
    def images(self, images: Tensor) -> Tensor:
        """See :class:`CLIP`."""
        network = self._network.to(images.device)
        pixels = _resized(images, network.config.vision_config.image_size)
        states = network.vision_model(pixel_values=pixels).pooler_output
        return normalize(network.visual_projection(states), dim=-1)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """See :class:`CLIP`; what is too long is cut."""
        network = self._network
        ids = self._tokenizer(
            list(texts), padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids.to(network.device)
        states = network.text_model(input_ids=ids).pooler_output
        return normalize(network.text_projection(states), dim=-1)

    @cached_property
    def _folder(self) -> Path:
        import fpinv.models.scenes

        return Path(self._path or fpinv.models.scenes.__path__[0])

    @cached_property
    def _network(self) -> CLIPModel:
        from transformers import CLIPModel

        from fpinv.models.stable_diffusion import quiet

        with quiet():
            return CLIPModel.from_pretrained(self._folder / "clip", dtype=torch.float32).eval()

    @cached_property
    def _tokenizer(self) -> CLIPTokenizer:
        from transformers import CLIPTokenizer

        return CLIPTokenizer.from_pretrained(self._folder / "tokenizer")


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

    @torch.no_grad()
    def images(self, images: Tensor) -> Tensor:
        """See :class:`CLIP`."""
        from open_clip import get_model_preprocess_cfg

        network = self._network.to(images.device)
        config = get_model_preprocess_cfg(network)
        size = config["size"]
        pixels = _resized(images, size if isinstance(size, int) else size[0])
        mean, std = (pixels.new_tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
        return network.encode_image(((pixels + 1) / 2 - mean) / std, normalize=True)

    @torch.no_grad()
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
                return open_clip.create_model(self._model, pretrained=self._pretrained).eval()
        except Exception as error:  # each source of weights has transport errors of its own
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(
                f"{self.name} needs open_clip's weights {self._model} {self._pretrained}, which "
                f"could not be loaded ({reason}); give a file as task.similarity.pretrained, or "
                "run without this metric"
            ) from error


def _resized(images: Tensor, size: int) -> Tensor:
    """The images (B, 3, H, W), clamped, at a side of ``size`` pixels."""
    pixels = images.float().clamp(-1, 1)
    if pixels.shape[-2:] == (size, size):
        return pixels
    resized = interpolate(pixels, (size, size), mode="bicubic", antialias=True)
    return resized.clamp(-1, 1)
