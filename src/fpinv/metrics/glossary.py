"""The meaning of every metric of a record, its unit, and the digits that are worth reading."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Metric:
    """An entry of the glossary.

    Arguments:
        meaning: What is measured, in a sentence or less.
        unit: The unit; ``%`` shows a share of 1 in percent.
        digits: Digits behind the point.
        headline: True for those that a table of a run shows.
    """

    meaning: str
    unit: str = ""
    digits: int = 3
    headline: bool = False

    @property
    def words(self) -> str:
        """The meaning, with the unit where there is one."""
        return f"{self.meaning} ({self.unit})" if self.unit else self.meaning

    def number(self, value: float, spec: str | None = None) -> str:
        """Return a value in the unit, with its digits or by another format."""
        return format(100 * value if self.unit == "%" else value, spec or f"z.{self.digits}f")

    def shown(self, mean: float | None, half: float | None) -> str:
        """Return a mean with the half-width of its interval, unless that is nothing.

        What rounds to 0 without being it is given in two significant digits instead.
        """
        if mean is None:
            return "-"
        spec = ".2g" if mean and not float(self.number(mean)) else None
        centre, mark = self.number(mean, spec), sign(mean, share=self.unit == "%")
        return f"{centre} {mark} {self.number(half, spec)}" if half else centre


def sign(mean: float, share: bool) -> str:
    """Return what stands before the half-width of an interval: of a share of 0 or 1, one side."""
    return {0.0: "+", 1.0: "−"}.get(mean, "±") if share else "±"


UNKNOWN = Metric("")

GLOSSARY: Mapping[str, Metric] = {
    "psnr": Metric("of the reconstruction against the original", "dB", 2, True),
    "ceiling_psnr": Metric("of the image after the autoencoder alone", "dB", 2, True),
    "gap": Metric("what the reconstruction lacks of the ceiling", "dB", 3, True),
    "latent_psnr": Metric(
        "error of the reconstructed latent, below its power: 10 log10(mean z^2 / mse)",
        "dB",
        1,
        True,
    ),
    "latent_psnr_expected": Metric("latent_psnr as the inversion foretold it", "dB", 1),
    "foretold": Metric(
        "latents that came back no worse than 1 dB below what was foretold", "%", 0
    ),
    "ssim": Metric("structural similarity of reconstruction and original"),
    "mse": Metric("mean squared error of the reconstruction, pixels in [0, 1]", "", 6),
    "latent_mse": Metric("mean squared error of the reconstructed latent", "", 6),
    "edit_success": Metric("edits with the change made and all else left", "%", 1, True),
    "edit_accuracy": Metric("edits in which the reader sees the change", "%", 1, True),
    "kept_accuracy": Metric("attributes that were to stay and did", "%", 1, True),
    "truth_psnr": Metric("of the edit against a perfect one", "dB", 2, True),
    "background_psnr": Metric("of the edit against the original, outside the mask", "dB", 2, True),
    "background_ssim": Metric("structural similarity outside the mask"),
    "background_mse": Metric("mean squared error outside the mask", "", 6),
    "reconstruction_psnr": Metric("of the source branch against the original", "dB", 2, True),
    "reconstruction_latent_psnr": Metric(
        "error of the latent of the source branch, as latent_psnr", "dB", 1
    ),
    "blend_share": Metric("share of the latent that an edit was free to change", "%", 1),
    "clip_*": Metric("cosine of image and target prompt, by that CLIP", "", 3, True),
    "clip_*_direction": Metric(
        "cosine of the change of the image and that of the prompt, by that CLIP"
    ),
    "features_*": Metric("distance to the original in the features of that network"),
    "lpips_*": Metric("LPIPS distance to the original", "", 3, True),
    "structure_dino": Metric("distance of structure to the original, by DINO"),
    "accuracy": Metric("generated images of the right class", "%", 1, True),
    "accuracy_many": Metric("the same, of classes that training saw often", "%", 1, True),
    "accuracy_med": Metric("the same, of classes in between", "%", 1, True),
    "accuracy_few": Metric("the same, of rare classes", "%", 1, True),
    "accuracy_sources": Metric("images behind the seeds that show their class", "%", 1),
    "fid": Metric("Fréchet distance of generated and real images", "", 2, True),
    "diversity": Metric(
        "mean distance of the features of generated images of a class", "", 2, True
    ),
    "detected": Metric("images whose mark is read with a p-value below .01", "%", 1, True),
    "mark_p": Metric("p-value of the mark: share of unmarked noise that looks as marked", "", 4),
    "mark_distance": Metric("distance of the noise from the mark's key, in its transform", "", 2),
    "bit_accuracy": Metric("bits of the message that are read right", "%", 1, True),
    "sign_accuracy": Metric("numbers of z_N whose sign the inversion recovers", "%", 1, True),
    "norm_ratio": Metric("norm of the seeds over sqrt(d), 1 for noise"),
    "search_converged": Metric(
        "searches for seeds that ended since the loss no longer fell", "%", 1
    ),
    "different_starts": Metric("different starts of the images of a class", "", 1),
    "residual": Metric("mean relative residual of the solved equations", "", 6),
    "iterations": Metric("evaluations a step", "", 2),
    "converged": Metric("steps whose residual is within the inverter's tolerance", "%", 1),
    "nfe_calls": Metric("network calls of the inversion", "", 1, True),
    "nfe_rows": Metric("network rows of the inversion: two a call under guidance", "", 1),
    "nfe_equivalents": Metric("the same, where a row with a gradient counts as three", "", 1),
    "sample_nfe_*": Metric("calls and rows of the sampling", "", 1),
    "adjust_nfe_*": Metric("calls and rows of the adjustment", "", 1),
    "seconds_per_image": Metric(
        "adjustment, inversion and sampling, warmed up and synchronised, without autoencoder, "
        "metrics and files",
        "s",
        2,
        True,
    ),
    "seconds_*": Metric("time of that part, for each example", "s", 2),
    "stored_numbers": Metric("numbers stored beyond z_N for each image", "", 0),
    "noise_norm": Metric("norm of z_N over sqrt(d), 1 for noise"),
    "noise_correlation": Metric("correlation of neighbouring numbers of z_N, 0 for noise"),
    "noise_kurtosis": Metric("excess kurtosis of z_N, 0 for noise"),
    "noise_not_normal": Metric(
        "images whose z_N a test of normality rejects, 5 % for noise", "%", 1
    ),
    "noise_*_plain": Metric(
        "the same in plain background (the variance of noise is 1); nothing where that is smaller "
        "than 16 cells of the latent"
    ),
    "noise_*_objects": Metric("the same in objects"),
    "adjustment_distance": Metric("distance by which the adjustment moved the encoding"),
    "seed_error": Metric("relative error of the known z_N of a generated image"),
    "encoding_distance": Metric("distance of the encoding to the known z_0"),
    "adjusted_distance": Metric("distance of the adjusted encoding to the known z_0"),
    "reconstruction_distance": Metric("distance of the reconstructed latent to the known z_0"),
    "loss_*": Metric("loss of the search for seeds, at its start and at its best", "", 4),
}
"""The metrics by name, in the order of tables; ``*`` stands for any part of a name."""


@cache
def entry(name: str) -> str | None:
    """Return the glossary's name for a metric: its own, or the closest pattern; None for none."""
    patterns = [key for key in GLOSSARY if re.fullmatch(key.replace("*", ".+"), name)]
    return name if name in GLOSSARY else max(patterns, key=len, default=None)


def describe(name: str) -> Metric:
    """Return the entry of a metric, and one that says nothing for an unknown metric."""
    key = entry(name)
    return UNKNOWN if key is None else GLOSSARY[key]


def interval(name: str, value: Mapping[str, float | None] | None) -> str:
    """Return ``mean ± ci95`` of a metric; a dash where there is no number."""
    return describe(name).shown(value["mean"], value["ci95"]) if value else "-"


def counted(value: Mapping[str, float | None] | None) -> str:
    """Return how many examples are behind a mean, as `` (n = 5)``, where not all of them are."""
    return f" (n = {value['n']})" if value and "n" in value else ""


def with_unit(name: str, value: Mapping[str, float | None] | None) -> str:
    """Return ``mean ± ci95`` of a metric with its unit; a dash where there is no number."""
    text = interval(name, value)
    return text if text == "-" else f"{text} {describe(name).unit}".strip() + counted(value)


def ordered(names: Iterable[str]) -> list[str]:
    """Return those metrics that the glossary has, in its order."""
    order = list(GLOSSARY)
    places = [(order.index(key), name) for name in names if (key := entry(name)) is not None]
    return [name for _, name in sorted(places)]


def headlines(names: Iterable[str]) -> list[str]:
    """Return those metrics that a short table shows, in the order of the glossary."""
    return [name for name in ordered(names) if describe(name).headline]
