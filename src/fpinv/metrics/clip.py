"""CLIP scores: the fit of an image to a text, and the agreement of an edit's direction."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, interpolate, normalize

from fpinv.errors import UserError
from fpinv.models.weights import SCENES, loading, local_folder

if TYPE_CHECKING:
    from transformers import CLIPTokenizer


class ImageEncoder(Protocol):
    """A network that turns images into unit vectors."""

    def images(self, images: Tensor) -> Tensor:
        """Return unit vectors (B, D) of images (B, 3, H, W) in [-1, 1], with their gradients."""


class CLIP(ImageEncoder, Protocol):
    """A pair of frozen encoders of images and texts whose unit vectors (B, D) are compared.

    Attributes:
        name: Key in the records, which names the network.
    """

    name: str

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors (B, D) of texts; a text that is too long is cut."""


def similarity(clip: CLIP, images: Tensor, prompts: Sequence[str]) -> Tensor:
    """Return the cosine between images (B, 3, H, W) and their prompts: (B,), higher fits better.

    References:
        CLIPScore: A Reference-free Evaluation Metric for Image Captioning (Hessel et al., 2021),
        https://arxiv.org/abs/2104.08718.
    """
    return cosine_similarity(clip.images(images), clip.texts(prompts))


def directional_similarity(
    clip: CLIP, edits: Tensor, originals: Tensor, targets: Sequence[str], sources: Sequence[str]
) -> Tensor:
    r"""Return the cosine between the changes of the image and of the prompt: (B,).

    .. math:: \cos(I(x_{edit}) - I(x_{original}), T(p_{target}) - T(p_{source}))

    It is undefined, and 0 here, for an image or a prompt that did not change.

    Arguments:
        clip: Encoders I of images and T of texts.
        edits: Edited images (B, 3, H, W).
        originals: Their originals (B, 3, H, W).
        targets: Prompts of the edits.
        sources: Prompts of the originals.

    References:
        StyleGAN-NADA: CLIP-Guided Domain Adaptation of Image Generators (Gal et al., 2021),
        https://arxiv.org/abs/2108.00946.
    """
    image_change = clip.images(edits) - clip.images(originals)
    prompt_change = clip.texts(targets) - clip.texts(sources)
    return cosine_similarity(image_change, prompt_change)


class ScenesCLIP:
    """The small CLIP that comes with the bundled model and knows scenes only.

    Arguments:
        path: Folder with clip/ and tokenizer/ in transformers format, or that of an installed
            package as ``pkg://package.module``.

    Raises:
        UserError: (on the first use) the folder holds no CLIP.
    """

    name = "clip_scenes"

    def __init__(self, path: str = SCENES) -> None:
        self._path = path

    def images(self, images: Tensor) -> Tensor:
        """Return unit vectors (B, D) of images (B, 3, H, W) in [-1, 1], with their gradients."""
        network = self._network.to(images.device)
        pixels = _resized(images, network.config.vision_config.image_size)
        states = network.vision_model(pixel_values=pixels).pooler_output
        return normalize(network.visual_projection(states), dim=-1)

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors (B, D) of texts; a text that is too long is cut."""
        network = self._network
        ids = self._tokenizer(
            list(texts), padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids.to(network.device)
        states = network.text_model(input_ids=ids).pooler_output
        return normalize(network.text_projection(states), dim=-1)

    @cached_property
    def _network(self) -> Any:  # noqa: ANN401 - transformers' types do not fit its own calls
        from transformers import CLIPModel

        folder = local_folder(self._path) / "clip"
        if not folder.is_dir():
            raise UserError(f"clip.path={self._path} has no folder clip/ in transformers format")
        with loading(f"the CLIP in {folder}", "choose another clip.path"):
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
        UserError: (on the first use) the weights are neither in the cache nor to be fetched.
    """

    def __init__(self, model: str = "ViT-L-14", pretrained: str | None = "openai") -> None:
        self._model, self._pretrained = model, pretrained
        words = (Path(name).stem for name in (model, pretrained) if name)
        self.name = "_".join(["clip", *words])

    def images(self, images: Tensor) -> Tensor:
        """Return unit vectors (B, D) of images (B, 3, H, W) in [-1, 1], with their gradients."""
        from open_clip import get_model_preprocess_cfg

        network = self._network.to(images.device)
        config = get_model_preprocess_cfg(network)
        size = config["size"]
        pixels = _resized(images, size if isinstance(size, int) else size[0])
        mean, std = (pixels.new_tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
        return network.encode_image(((pixels + 1) / 2 - mean) / std, normalize=True)

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors (B, D) of texts; a text that is too long is cut."""
        import open_clip

        network = self._network
        device = next(network.parameters()).device
        tokens = open_clip.get_tokenizer(self._model)(list(texts))
        return network.encode_text(tokens.to(device), normalize=True)

    @cached_property
    def _network(self) -> Any:  # noqa: ANN401 - the class depends on the architecture
        import open_clip

        name = f"open_clip's weights {self._model} {self._pretrained} of {self.name}"
        remedy = "give a file as clip.pretrained, or do without, e.g. task.similarity=null"
        with loading(name, remedy):
            # A mismatch of weights and architecture would otherwise pass in silence.
            warnings.filterwarnings("default", module="open_clip")
            network = open_clip.create_model(self._model, pretrained=self._pretrained)
        return network.eval().requires_grad_(False)


def _resized(images: Tensor, size: int) -> Tensor:
    """Return images (B, 3, H, W), clamped, at a side of ``size`` pixels."""
    pixels = images.float().clamp(-1, 1)
    if pixels.shape[-2:] == (size, size):
        return pixels
    resized = interpolate(pixels, (size, size), mode="bicubic", antialias=True)
    return resized.clamp(-1, 1)
