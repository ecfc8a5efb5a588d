r"""The measures of an edit in two readings: as PnPInversion's code defines them, and corrected.

The published reading blackens the masked pixels of both images and then averages over all
pixels, so that a large mask makes any edit look faithful; its DINO gets pixels from 0 to 255 where
it was trained on 0 to 1, and shrunk without a filter against aliasing; LPIPS has the net squeeze.
The corrected reading averages over the pixels outside the mask, of LPIPS' map of distances as
well, fills the mask with the original where windows reach into it, gives DINO what it was trained
on, and takes LPIPS' recommended net alex.

References:
    Direct Inversion: Boosting Diffusion-based Editing with 3 Lines of Code (Ju et al., 2023),
    https://arxiv.org/abs/2310.01506; code https://github.com/cure-lab/PnPInversion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from fpinv.errors import UserError
from fpinv.metrics import pixels
from fpinv.metrics.clip import OpenCLIP, similarity
from fpinv.metrics.dino import DINOStructure
from fpinv.metrics.lpips import LPIPS
from fpinv.models.weights import loading

if TYPE_CHECKING:
    from transformers import CLIPModel

CLIP_NAME: Final = "openai/clip-vit-large-patch14"


@dataclass(frozen=True)
class EditedImage:
    """An edited image, with what it is judged by.

    Arguments:
        edit, original: Images (1, 3, H, W) in [-1, 1], whole numbers of 255ths.
        mask: Pixels (1, H, W) where the edit may show, True there; the outermost ones of images
            without an annotated mask.
        annotated: Whether the benchmark has a mask of this image.
        prompt: Caption of the edit.
    """

    edit: Tensor
    original: Tensor
    mask: Tensor
    annotated: bool
    prompt: str

    @property
    def has_background(self) -> bool:
        """Return whether any pixel lies outside the mask."""
        return not bool(self.mask.all())

    @property
    def blackened(self) -> tuple[Tensor, Tensor]:
        """Return edit and original in [0, 1] with black in place of the masked pixels, float32."""
        free = ~self.mask[:, None]
        edit, original = (_bytes(image).float() / 255 * free for image in self.pair)
        return edit, original

    @property
    def pair(self) -> tuple[Tensor, Tensor]:
        """Return edit and original."""
        return self.edit, self.original


def _bytes(image: Tensor) -> Tensor:
    """Return an image in [-1, 1] as bytes."""
    return ((image + 1) * 127.5).round().to(torch.uint8)


Reading = Callable[[EditedImage], Tensor]


@dataclass(frozen=True)
class Measure:
    """A measure in its two readings.

    Arguments:
        title: Heading, with the factor that its numbers are multiplied by.
        factor: That factor.
        digits: Digits behind the point.
        published: The reading of PnPInversion's code.
        corrected: The corrected reading; None where there is none.
        background: Whether it is undefined where all pixels are masked.
    """

    title: str
    factor: float
    digits: int
    published: Reading
    corrected: Reading | None
    background: bool = True

    def __call__(self, image: EditedImage) -> tuple[float | None, float | None]:
        """Return both readings; None where they are undefined."""
        if self.background and not image.has_background:
            return None, None
        published = self.published(image).item()
        if self.corrected is None or (self.background and not image.annotated):
            return published, None
        return published, self.corrected(image).item()


def _published_psnr(image: EditedImage) -> Tensor:
    from torchmetrics.functional.image import peak_signal_noise_ratio

    return peak_signal_noise_ratio(*image.blackened, data_range=1.0)


def _published_mse(image: EditedImage) -> Tensor:
    from torchmetrics.functional.regression import mean_squared_error

    edit, original = image.blackened
    return mean_squared_error(edit.contiguous(), original.contiguous())


def _published_ssim(image: EditedImage) -> Tensor:
    from torchmetrics.functional.image import structural_similarity_index_measure

    value = structural_similarity_index_measure(*image.blackened, data_range=1.0)
    assert isinstance(value, Tensor)
    return value


def _outside(measure: Callable[..., Tensor]) -> Reading:
    return lambda image: measure(image.edit, image.original, image.mask)


def _published_lpips(image: EditedImage) -> Tensor:
    edit, original = image.blackened
    return _lpips("squeeze")(edit * 2 - 1, original * 2 - 1)


def _background_lpips(image: EditedImage) -> Tensor:
    return _lpips("alex").background(*image.pair, image.mask)


def _published_fit(image: EditedImage) -> Tensor:
    return _clip_score()(_bytes(image.edit)[0], image.prompt) / 100


def _published_fit_inside(image: EditedImage) -> Tensor:
    black = _bytes(image.edit) * image.mask[:, None]
    return _clip_score()(black[0], image.prompt) / 100


def _fit(image: EditedImage) -> Tensor:
    return similarity(_clip(), image.edit, [image.prompt])


class _TensorCLIP:
    """A CLIP whose features are tensors, as torchmetrics takes them.

    Those of transformers from version 5 on come with the states that they are made of.
    """

    def __init__(self, network: CLIPModel) -> None:
        self._network = network.eval()
        self.config = network.config

    def to(self, device: torch.device) -> _TensorCLIP:
        self._network.to(device)
        return self

    @torch.no_grad()
    def get_image_features(self, pixels: Tensor) -> Tensor:
        features = self._network.get_image_features(pixels)
        return getattr(features, "pooler_output", features)

    @torch.no_grad()
    def get_text_features(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
        features = self._network.get_text_features(ids, attention_mask)
        return getattr(features, "pooler_output", features)


@cache
def _clip_score() -> Callable[[Tensor, str], Tensor]:
    from torchmetrics.multimodal import CLIPScore
    from transformers import CLIPModel, CLIPProcessor

    with loading(f"the weights {CLIP_NAME} of CLIPScore", "choose --measures without clip"):
        network = CLIPModel.from_pretrained(CLIP_NAME, dtype=torch.float32)
        processor = CLIPProcessor.from_pretrained(CLIP_NAME)
    return CLIPScore(lambda: (_TensorCLIP(network), processor))  # type: ignore[arg-type,return-value]


@cache
def _lpips(net: str) -> LPIPS:
    return LPIPS(net)


@cache
def _structure(brightest: float, resampling: str, antialias: bool) -> DINOStructure:
    return DINOStructure(brightest=brightest, resampling=resampling, antialias=antialias)


@cache
def _clip() -> OpenCLIP:
    return OpenCLIP()


MEASURES: Mapping[str, Measure] = {
    "psnr": Measure("PSNR, dB", 1, 2, _published_psnr, _outside(pixels.background_psnr)),
    "mse": Measure("MSE x 10^4", 1e4, 2, _published_mse, _outside(pixels.background_mse)),
    "ssim": Measure("SSIM x 100", 100, 2, _published_ssim, _outside(pixels.background_ssim)),
    "lpips": Measure("LPIPS x 1000", 1000, 2, _published_lpips, _background_lpips),
    "structure": Measure(
        "structure x 1000",
        1000,
        2,
        lambda image: _structure(255.0, "bilinear", False)(*image.pair),
        lambda image: _structure(1.0, "bicubic", True)(*image.pair),
        background=False,
    ),
    "clip": Measure("CLIP x 100", 100, 2, _published_fit, _fit, background=False),
    "clip_inside": Measure(
        "CLIP in the mask x 100", 100, 2, _published_fit_inside, None, background=False
    ),
}

ALL = ",".join(MEASURES)


def read_measures(names: str) -> dict[str, Measure]:
    """Return measures by their names, which commas part.

    Raises:
        UserError: there is no such measure.
    """
    measures = [name.strip() for name in names.split(",")]
    if unknown := [name for name in measures if name not in MEASURES]:
        raise UserError(f"--measures has {unknown[0]!r}: choose from {ALL}")
    return {name: MEASURES[name] for name in measures}
