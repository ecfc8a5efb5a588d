"""Marks in the noise z_N, which an inversion can find again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy.stats import binom, ncx2
from torch import Tensor

from fpinv.errors import UserError
from fpinv.seeding import generator


class Mark(Protocol):
    """A mark that is put into noise and read off noise."""

    def embed(self, noise: Tensor) -> Tensor:
        """Return standard normal noise (B, C, h, w) with the mark."""

    def read(self, noise: Tensor) -> Mapping[str, Tensor]:
        """Return what noise (B, C, h, w) says of the mark: numbers (B,) by name.

        One is ``mark_p``, the probability that noise without the mark looks as marked.
        """


@dataclass(frozen=True)
class TreeRing:
    r"""Tree-Ring: a pattern of rings in the Fourier transform of one channel of z_N.

    In the disc M of radius r around zero frequency the transform is replaced by a key k, which is
    constant on rings. With y the transform of the noise that is read, in real and imaginary parts,

    .. math:: \eta = \frac{1}{\sigma^2} \sum_{j \in M} |k_j - y_j|^2, \qquad
              \sigma^2 = \operatorname{Var}_M y

    is of a noncentral chi-squared distribution without the mark, with one degree of freedom for
    each number and noncentrality :math:`\sum |k_j|^2 / \sigma^2`. The p-value is that
    distribution's share below :math:`\eta`.

    References:
        | Tree-Ring Watermarks: Fingerprints for Diffusion Images that are Invisible and Robust
        | (Wen et al., 2023), https://arxiv.org/abs/2305.20030

    Deviations: the transform of real numbers is the same, conjugated, at opposite frequencies. The
    sum is over one of each pair, and without zero frequency, which has no imaginary part; the
    authors' is over all, which counts each number twice and makes p-values too small or too large.

    Arguments:
        radius: Radius of the disc, as a share of the height of the latents (the authors' 10 of
            64).
        channel: The channel of the latents that is marked, counted from the end by -1.
        key: Number of the key.
    """

    radius: float = 10 / 64
    channel: int = -1
    key: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.radius <= 0.5:
            raise UserError(f"radius={self.radius} is not possible: choose 0 < radius <= 0.5")

    def embed(self, noise: Tensor) -> Tensor:
        """Return standard normal noise (B, C, h, w) with the mark."""
        ring, key = self._ring(noise), self._key(noise)
        marked = noise.clone()
        spectrum = _spectrum(noise[:, self.channel])
        spectrum[:, ring] = key[ring]
        # The disc is symmetric but the key's imaginary part is not, as in the authors' code: the
        # real part of the inverse transform is what remains of it.
        back = torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1)))
        marked[:, self.channel] = back.real.to(noise.dtype)
        return marked

    def read(self, noise: Tensor) -> dict[str, Tensor]:
        """Return ``mark_p``, the p-value of the mark, and ``mark_distance``, the mean |k - y|."""
        ring = self._ring(noise) & _upper_half(noise)
        key = self._key(noise)[ring]
        spectrum = _spectrum(noise[:, self.channel])[:, ring]
        numbers = torch.view_as_real(spectrum).flatten(1).double()
        target = torch.view_as_real(key).flatten().double()
        variance = numbers.var(1)
        eta = ((numbers - target).square().sum(1) / variance).cpu().numpy()
        away = (target.square().sum() / variance).cpu().numpy()
        p = torch.from_numpy(np.asarray(ncx2.cdf(eta, len(target), away)))
        return {"mark_p": p, "mark_distance": (spectrum - key).abs().double().mean(1).cpu()}

    def _ring(self, noise: Tensor) -> Tensor:
        """Return the mask (h, w) of the disc, zero frequency in the middle."""
        distance = _distance(noise)
        return distance <= self.radius * noise.shape[-2]

    def _key(self, noise: Tensor) -> Tensor:
        """Return the key (h, w): on each ring the transform of noise at one place of that ring."""
        height, width = noise.shape[-2:]
        draw = torch.randn(height, width, generator=generator(self.key, "tree_ring"))
        spectrum, distance = _spectrum(draw.to(noise.device)), _distance(noise).round().long()
        middle = spectrum[height // 2]
        return middle[(width // 2 + distance).clamp(max=width - 1)]


def _spectrum(x: Tensor) -> Tensor:
    """Return the Fourier transform over the last two axes, zero frequency in the middle."""
    return torch.fft.fftshift(torch.fft.fft2(x.float()), dim=(-2, -1))


def _frequencies(noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return the frequencies of the rows (h, 1) and columns (1, w) of a shifted spectrum."""
    rows, columns = (
        torch.arange(size, device=noise.device) - size // 2 for size in noise.shape[-2:]
    )
    return rows[:, None], columns[None]


def _distance(noise: Tensor) -> Tensor:
    """Return the distance (h, w) of each place of a shifted spectrum from zero frequency."""
    rows, columns = _frequencies(noise)
    return torch.hypot(rows.float(), columns.float())


def _upper_half(noise: Tensor) -> Tensor:
    """Return the mask (h, w) of one of each pair of opposite frequencies, without zero."""
    rows, columns = _frequencies(noise)
    return (rows > 0) | ((rows == 0) & (columns > 0))


@dataclass(frozen=True)
class GaussianShading:
    r"""Gaussian Shading: the signs of z_N hold a message, many times over and enciphered.

    Each bit m of the message stands in ``copies`` places of z_N and is turned over there by a
    key stream, so that the signs are as random as noise's. The sizes are those of the noise, and
    marked noise is distributed as noise. Reading takes the majority of each bit's signs. Of k bits
    c are right by chance with the binomial probability that is the p-value.

    References:
        | Gaussian Shading: Provable Performance-Lossless Image Watermarking for Diffusion Models
        | (Yang et al., 2024), https://arxiv.org/abs/2404.04956

    Deviations: the key stream is a seeded generator in place of ChaCha20, which protects against
    readers of the key and changes no measure here. The copies of a bit are spread over z_N rather
    than tiled.

    Arguments:
        copies: Places of z_N that hold the same bit; the authors' 64.
        key: Number of the key, which gives message and key stream.
    """

    copies: int = 64
    key: int = 0

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise UserError(f"copies={self.copies} is not possible: choose at least 1")

    def embed(self, noise: Tensor) -> Tensor:
        """Return standard normal noise (B, C, h, w) with the mark."""
        return noise.abs() * self._signs(noise)

    def read(self, noise: Tensor) -> dict[str, Tensor]:
        """Return ``mark_p``, the p-value, and ``bit_accuracy``, the share of right bits."""
        message, stream = self._secret(noise)
        signs = noise.flatten(1).sign() * stream
        used = self.copies * len(message)
        votes = signs[:, :used].unflatten(1, (self.copies, -1)).sum(1)
        right = (votes * message > 0).double().sum(1)
        # A draw of the vote is a coin's.
        right = right + (votes == 0).double().sum(1) / 2
        p = binom.sf(right.cpu().numpy() - 1, len(message), 0.5)
        return {"mark_p": torch.from_numpy(np.asarray(p)), "bit_accuracy": right / len(message)}

    def _signs(self, noise: Tensor) -> Tensor:
        message, stream = self._secret(noise)
        d = stream.numel()
        repeated = message.repeat(-(-d // len(message)))[:d]
        return (repeated * stream).view(noise.shape[1:])

    def _secret(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return the message (k,) and the key stream (d,), of numbers 1 and -1."""
        d = noise[0].numel()
        bits = d // self.copies
        if not bits:
            raise UserError(
                f"copies={self.copies} is more than the {d} numbers of z_N: choose less"
            )
        draw = generator(self.key, "gaussian_shading")
        message, stream = (
            torch.randint(2, (count,), generator=draw).to(noise) * 2 - 1 for count in (bits, d)
        )
        return message, stream
