"""The measured section of the model card, from `model_card.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fpinv.datasets.classes import BINS
from fpinv.reporting.tables import markdown

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
ATTRIBUTES = ("shape", "colour", "texture", "size", "background", "relation", "bound", "all")

NOTHING = (
    "As a judge of classes: percent of scenes that get the right class, and of pictures that show "
    "no scene\n(`experiments/training/scenes/rejects.py`) and get any, as they are and as the "
    "autoencoder brings them back:"
)


def percent(value: Mapping[str, float]) -> str:
    """Return a share as `97 (95-98)`."""
    return f"{100 * value['mean']:.1f} ({100 * value['low']:.1f}-{100 * value['high']:.1f})"


def mean(value: Mapping[str, float], unit: str = "") -> str:
    """Return a mean as `28.9 ± 0.1 dB`."""
    return f"{value['mean']:.4g} ± {value['ci95']:.2g}{unit}"


def parts(card: Mapping[str, Any]) -> str:
    """Return the table of autoencoder, CLIP, size and speed."""
    psnr, ssim = card["ceiling"]["psnr"], card["ceiling"]["ssim"]
    retrieval = card["retrieval_among_100"]
    rows = [
        ["autoencoder's ceiling, PSNR", mean(psnr, " dB"), str(psnr["n"])],
        ["autoencoder's ceiling, SSIM", mean(ssim), str(ssim["n"])],
        ["a picture finds its caption among 100, %", percent(retrieval), str(retrieval["n"])],
        ["loading", f"{card['load_seconds']} s", ""],
        ["forward of the denoiser, batch 8, a sample", f"{card['forward_ms_per_sample']} ms", ""],
    ]
    return markdown(["what", "value (95 % interval)", "n"], rows)


def attributes(groups: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the shares of every attribute, a row a group."""
    rows = [
        [name, *(percent(group[key]) for key in ATTRIBUTES), str(group["all"]["n"])]
        for name, group in groups.items()
        if "all" in group
    ]
    return markdown(["", *ATTRIBUTES, "n"], rows)


def bins(groups: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the shape accuracy in each prevalence bin, a row a group."""
    rows = [
        [key, *(f"{percent(share)}, n = {share['n']}" for share in group["bins"].values())]
        for key, group in groups.items()
    ]
    return markdown(["", *BINS], rows)


def no_scenes(kinds: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the shares of pictures that get a class, a row a kind: of scenes the right one."""
    rows = [
        [
            name,
            kind["kind"],
            percent(kind["as they are"]),
            percent(kind["reconstructed"]) if "reconstructed" in kind else "",
            str(kind["as they are"]["n"]),
        ]
        for name, kind in kinds.items()
    ]
    return markdown(["", "", "as they are", "reconstructed", "n"], rows, words=2)


def misread(rows: list[Mapping[str, Any]]) -> str:
    """Return the table of the pictures that do not follow their captions."""
    lines = [[str(row["picture"]), row["caption"], ", ".join(row["wrong"])] for row in rows]
    return markdown(["picture", "caption", "seen"], lines, words=3) if rows else "None."


def tables(card: Mapping[str, Any]) -> str:
    """Return the whole measured section."""
    generated = card["generated"]
    best = generated["best_guidance"]
    groups = {
        f"w = {w}, {name}": value
        for w, row in generated["guidance"].items()
        for name, value in row.items()
        if isinstance(value, Mapping) and "all" in value
    }
    # Cards of weights that were not trained on pictures without a scene have none of these.
    nothing = card["classifier"].get("no scenes")
    judged = [NOTHING, no_scenes(nothing)] if nothing else []
    sections = [
        parts(card),
        "### Classifier\n\nPercent right on real scenes, and on scenes that the autoencoder "
        "reconstructed, which is the most that a\ngenerated picture can be expected to score. "
        "`bound` is the right pairs of shape and colour, `all` everything that\nthe caption says.",
        attributes(card["classifier"]),
        "Shapes of single objects, by prevalence bin:",
        bins({"real": card["classifier"]}),
        *judged,
        "### Generated pictures\n\nPercent right, read by the classifier: held-out captions, DDIM "
        f"with {card['steps']} steps.\nBest guidance: w = {best}.",
        attributes(groups),
        "Shapes of single objects, by prevalence bin:",
        bins({f"w = {w}": row for w, row in generated["guidance"].items()}),
        "Real test scenes on the left, pictures generated from their captions on the right, at "
        "w = 1, 3 and 5:",
        *(f"![w = {w}](samples/samples_w{w}.jpg)" for w in generated["guidance"]),
        "Single objects of the many (first two rows), med and few bins:",
        *(f"![bins, w = {w}](samples/bins_w{w}.jpg)" for w in generated["guidance"]),
        f"Of the pictures shown at w = {best}, counted row by row, the classifier misreads:",
        misread(generated["guidance"][best]["misread of those shown"]),
    ]
    return "\n\n".join(sections)


def inserted(page: str, card: Mapping[str, Any]) -> str:
    """Return the model card with its measured section replaced."""
    before, measured = page.split(BEGIN)
    _, after = measured.split(END)
    return f"{before}{BEGIN}\n\n{tables(card)}\n\n{END}{after}"
