"""CLIP scores: the fit of an image to a text, and the agreement of an edit's direction."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from zipfile import ZipFile, is_zipfile

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, interpolate, normalize

from fpinv.errors import UserError
from fpinv.images import central
from fpinv.models.weights import SCENES, loading, local_folder

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

QUICK_GELU = "-quickgelu"
"""End of the name of open_clip's architectures with that activation."""


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
    domain = "scenes"

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

    Some weights, those of OpenAI among them, were trained with QuickGELU,
    :math:`x / (1 + e^{-1.702 x})`, in place of GELU. Both load into either architecture, and with
    the other one's activation every score is wrong, so that a mismatch is refused.

    Arguments:
        model: Name of the architecture, or ``local-dir:<folder>`` in open_clip's format.
        pretrained: Name of the weights, or their file.
        quick_gelu: Whether the weights in a file were trained with QuickGELU, which the file of
            another than OpenAI does not tell; null for weights that have a name.

    Raises:
        UserError: (on the first use) the weights are neither in the cache nor to be fetched, or
            the architecture is not theirs.
    """

    def __init__(
        self,
        model: str = "ViT-L-14-quickgelu",
        pretrained: str | None = "openai",
        quick_gelu: bool | None = None,
    ) -> None:
        self._model, self._pretrained, self._quick_gelu = model, pretrained, quick_gelu
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
        if not _brings_config(self._model):
            self._check_activation()
        with loading(name, remedy):
            network = open_clip.create_model(
                self._model, pretrained=self._pretrained, require_pretrained=True
            )
        return network.eval().requires_grad_(False)

    def _check_activation(self) -> None:
        """Refuse weights that were trained with another activation than the architecture's."""
        from open_clip import get_model_config

        config = get_model_config(self._model)
        if config is None:
            raise UserError(f"clip.model={self._model}: open_clip has no such architecture")
        trained, has = self._trained_with_quick_gelu(), bool(config.get("quick_gelu", False))
        if trained != has:
            activation = "QuickGELU" if trained else "GELU"
            plain = self._model.removesuffix(QUICK_GELU)
            raise UserError(
                f"clip.pretrained={self._pretrained} was trained with {activation}, which"
                f" clip.model={self._model} is without:"
                f" choose clip.model={plain + QUICK_GELU if trained else plain}"
            )

    def _trained_with_quick_gelu(self) -> bool:
        """Return whether the weights were trained with QuickGELU."""
        from open_clip.pretrained import get_pretrained_cfg

        key = f"clip.pretrained={self._pretrained}"
        if not self._pretrained:
            raise UserError(f"{key}: without weights clip.model={self._model} measures nothing")
        if tag := get_pretrained_cfg(self._model, self._pretrained):
            return bool(tag.get("quick_gelu", False))
        file = Path(self._pretrained)
        if not file.is_file():
            names = ", ".join(_tags(self._model)) or "none"
            raise UserError(
                f"{key}: no such file, and no weights of {self._model} (they are: {names})"
            )
        if is_zipfile(file) and _is_torchscript(file):
            return True
        if self._quick_gelu is None:
            raise UserError(
                f"{key}: the file does not tell its activation; say clip.quick_gelu=true or false"
            )
        return self._quick_gelu


def _brings_config(model: str) -> bool:
    """Return whether an architecture stands beside its weights, as ``local-dir:<folder>``."""
    return ":" in model


def _tags(model: str) -> list[str]:
    """Return the names of open_clip's weights of an architecture, whatever its activation."""
    from open_clip.pretrained import list_pretrained_tags_by_model

    plain = model.removesuffix(QUICK_GELU)
    return sorted({*list_pretrained_tags_by_model(plain)})


def _is_torchscript(file: Path) -> bool:
    """Return whether a file is a TorchScript archive, the form of OpenAI's own weights alone."""
    with ZipFile(file) as archive:
        return any("/code/" in name for name in archive.namelist())


def _resized(images: Tensor, size: int) -> Tensor:
    """Return the central squares of images (B, 3, H, W), clamped, at a side of ``size`` pixels."""
    pixels = central(images).float().clamp(-1, 1)
    if pixels.shape[-2:] == (size, size):
        return pixels
    resized = interpolate(pixels, (size, size), mode="bicubic", antialias=True)
    return resized.clamp(-1, 1)
