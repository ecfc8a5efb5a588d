"""Marks in the noise z_N, which an inversion can find again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy.stats import binom, t
from torch import Tensor

from fpinv.errors import UserError, check_at_least
from fpinv.seeding import generator


class Mark(Protocol):
    """A mark that is put into noise and read off noise."""

    def embed(self, noise: Tensor, ids: Sequence[str]) -> Tensor:
        """Return the standard normal noise (B, C, h, w) of the images ``ids`` with the mark.

        Raises:
            UserError: noise of this shape cannot hold the mark.
        """

    def read(self, noise: Tensor, ids: Sequence[str]) -> Mapping[str, Tensor]:
        """Return what noise (B, C, h, w) of the images ``ids`` says of the mark, (B,) by name.

        One is ``mark_p``, the probability that noise without the mark looks as marked. Of such
        noise at most a share p has a p-value of p or less.
        """


@dataclass(frozen=True)
class TreeRing:
    r"""Tree-Ring: a pattern of rings in the Fourier transform of one channel of z_N.

    In the disc M of radius r around zero frequency the transform is replaced by a key k, one real
    number a ring. Ring i has the distances :math:`i - 1 < d \le i` from zero frequency, which is
    in ring 1 itself. One key serves all images, as in the authors' code.

    With y the n real and imaginary parts in M of the noise that is read, and k the key at them,

    .. math:: T = \frac{\langle k, y \rangle}{\|k\| \, s}, \qquad
              s^2 = \frac{1}{n - 1} \Big( \|y\|^2 - \frac{\langle k, y \rangle^2}{\|k\|^2} \Big)

    is of Student's t distribution with n - 1 degrees of freedom where y is noise of any variance,
    whatever the key. The p-value is that distribution's share above T. The transform of real
    numbers is the same, conjugated, at opposite frequencies, so that y is of one of each pair;
    zero frequency, which has no imaginary part, is left out.

    References:
        | Tree-Ring Watermarks: Fingerprints for Diffusion Images that are Invisible and Robust
        | (Wen et al., 2023), https://arxiv.org/abs/2305.20030

    Deviations: the authors' p-value is the share of a noncentral chi-squared distribution below
    :math:`\sum_j |k_j - y_j|^2 / \sigma^2`. They estimate :math:`\sigma^2` from the same y and
    count each number twice, with its conjugate, so that it is not uniform without the mark. Their
    key is complex, and nearly all of its imaginary part is lost with that of the inverse
    transform, since opposite frequencies lie on one ring; ours has none, so that what is read is
    what was put in. Their disc lies around the row beside zero frequency.

    Arguments:
        radius: Radius of the disc, as a share of the height of the latents (the authors' 10 of
            64).
        channel: The channel of the latents that is marked, counted from the end by -1. The
            authors mark the last of four; in their code -1 stands for all.
        key: Number of the key.
    """

    radius: float = 10 / 64
    channel: int = -1
    key: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.radius <= 0.5:
            raise UserError(f"radius={self.radius} is not possible: choose 0 < radius <= 0.5")

    def embed(self, noise: Tensor, ids: Sequence[str]) -> Tensor:
        """Return the standard normal noise (B, C, h, w) with the mark.

        Raises:
            UserError: the noise has no such channel, or the disc has no ring.
        """
        disc, marked = self._disc(noise), noise.clone()
        spectrum = _spectrum(noise[:, self.channel])
        spectrum[:, disc] = self._key(noise)[disc]
        # Key and disc are the same at opposite frequencies: the inverse transform is real.
        back = torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1))).real
        marked[:, self.channel] = back.to(noise.dtype)
        return marked

    def read(self, noise: Tensor, ids: Sequence[str]) -> dict[str, Tensor]:
        """Return the p-value of the mark, ``mark_p``, and :math:`|k - y|`, ``mark_distance``.

        Raises:
            UserError: the noise has no such channel, or the disc has no ring.
        """
        readable = self._disc(noise) & _upper_half(noise)
        key = self._key(noise)[readable].cpu()
        spectrum = _spectrum(noise[:, self.channel])[:, readable].cpu()
        y, k = (torch.view_as_real(x).flatten(-2).double() for x in (spectrum, key))
        direction, degrees = k / k.norm(), len(k) - 1
        along = y @ direction
        across = (y - along[:, None] * direction).norm(dim=1)
        p = t.sf((along / across * degrees**0.5).numpy(), degrees)
        distance = (spectrum - key).abs().double().mean(1)
        return {"mark_p": torch.from_numpy(np.asarray(p)), "mark_distance": distance}

    def _disc(self, noise: Tensor) -> Tensor:
        """Return the mask (h, w) of the disc, zero frequency in the middle."""
        channels, height = noise.shape[1:3]
        if not -channels <= self.channel < channels:
            raise UserError(
                f"channel={self.channel} is not one of the {channels} of z_N: choose {-channels} "
                f"to {channels - 1}"
            )
        cells = self.radius * height
        if cells < 1:
            raise UserError(
                f"radius={self.radius} of the {height} rows of z_N is less than one, which leaves "
                f"no ring to read: choose more, e.g. {2 / height:.3g}"
            )
        return _distance(noise) <= cells

    def _key(self, noise: Tensor) -> Tensor:
        """Return the key (h, w), of the variance that the real part of noise's transform has."""
        height, width = noise.shape[-2:]
        draw = torch.randn(height + width, generator=generator(self.key, "tree_ring"))
        rings = _distance(noise).ceil().long().clamp(min=1)
        real = draw.to(noise.device)[rings] * (height * width / 2) ** 0.5
        return real.to(torch.complex64)


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
    # The root of a square is exact, which that of torch.hypot need not be.
    return (rows.square() + columns.square()).float().sqrt()


def _upper_half(noise: Tensor) -> Tensor:
    """Return the mask (h, w) of one of each pair of opposite frequencies, without zero."""
    rows, columns = _frequencies(noise)
    return (rows > 0) | ((rows == 0) & (columns > 0))


@dataclass(frozen=True)
class GaussianShading:
    r"""Gaussian Shading: the signs of z_N hold a message, many times over and enciphered.

    Each bit m of the message stands in ``copies`` places of z_N and is turned over there by a
    key stream, so that the signs are as random as noise's. Message and key stream are drawn anew
    for each image. The sizes are those of the noise, and marked noise is distributed as noise,
    independent between images.

    Reading takes the majority of each bit's signs, and 0 where there is none, with the secret of
    the image that is read. Without the mark each bit is right with probability 1/2. The p-value
    is the binomial probability that as many of the k bits are right as are, or more. It has k + 1
    values: with 16 bits it is below .01 from 14 right bits on, which .2 % of unmarked noise has.

    References:
        | Gaussian Shading: Provable Performance-Lossless Image Watermarking for Diffusion Models
        | (Yang et al., 2024), https://arxiv.org/abs/2404.04956

    Deviations: the key stream is a seeded generator in place of ChaCha20, which protects against
    readers of the key and changes no measure here. The copies of a bit are spread over z_N rather
    than tiled.

    Arguments:
        copies: Places of z_N that hold the same bit; the authors' 64.
        key: Number of the key, which gives with an image's id its message and key stream.
    """

    copies: int = 64
    key: int = 0

    def __post_init__(self) -> None:
        check_at_least(self, copies=1)

    def embed(self, noise: Tensor, ids: Sequence[str]) -> Tensor:
        """Return the standard normal noise (B, C, h, w) of the images ``ids`` with the mark.

        Raises:
            UserError: the noise has no room for the copies.
        """
        messages, streams = self._secrets(noise, ids)
        bits, d = messages.shape[1], streams.shape[1]
        repeated = messages.repeat(1, -(-d // bits))[:, :d]
        return noise.abs() * (repeated * streams).view_as(noise)

    def read(self, noise: Tensor, ids: Sequence[str]) -> dict[str, Tensor]:
        """Return ``mark_p``, the p-value, and ``bit_accuracy``, the share of right bits.

        Raises:
            UserError: the noise has no room for the copies.
        """
        messages, streams = self._secrets(noise, ids)
        bits = messages.shape[1]
        signs = (noise.flatten(1).sign() * streams)[:, : self.copies * bits]
        votes = signs.unflatten(1, (self.copies, bits)).sum(1)
        right = ((votes > 0) == (messages > 0)).sum(1).cpu()
        p = binom.sf(right.numpy() - 1, bits, 0.5)
        return {"mark_p": torch.from_numpy(np.asarray(p)), "bit_accuracy": right.double() / bits}

    def _secrets(self, noise: Tensor, ids: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the messages (B, k) and key streams (B, d) of images, of numbers 1 and -1."""
        d = noise[0].numel()
        bits = d // self.copies
        if not bits:
            raise UserError(
                f"copies={self.copies} is more than the {d} numbers of z_N: choose less"
            )
        draws = [generator(self.key, id, "gaussian_shading") for id in ids]
        messages, streams = (
            torch.stack([torch.randint(2, (count,), generator=draw) for draw in draws])
            for count in (bits, d)
        )
        return messages.to(noise) * 2 - 1, streams.to(noise) * 2 - 1
