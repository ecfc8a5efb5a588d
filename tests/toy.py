"""Small exact networks for property tests, in any prediction type, float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser, Embedding
from fpinv.inversion import Inverter
from fpinv.models.origin import ModelOrigin
from fpinv.schedule import Schedule
from fpinv.seeding import generator
from fpinv.solvers import rms

BARS = torch.cumprod(
    1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0
)
SHAPE = (1, 4, 4)
PREDICTIONS = ("epsilon", "v_prediction", "sample")
FAMILIES = (*PREDICTIONS, "flow", "v at zero SNR")
"""The prediction types on Stable Diffusion's grid, and two grids that end without a signal."""


def schedule(steps: int, family: str = "epsilon") -> Schedule:
    """Return the grid of one of the ``FAMILIES``, in full double precision."""
    if family == "flow":
        return Schedule.flow(steps, shift=3.0)
    if family == "v at zero SNR":
        grid = schedule(steps, "v_prediction")
        return replace(grid, alpha=(*grid.alpha[:-1], 0.0), sigma=(*grid.sigma[:-1], 1.0))
    labels = [i * (1000 // steps) + 1 for i in range(steps)]
    bars = [float(BARS[0]), *(float(BARS[t]) for t in labels)]
    alpha, sigma = tuple(b**0.5 for b in bars), tuple((1 - b) ** 0.5 for b in bars)
    return Schedule(alpha, sigma, (0, *labels), family)


def predicting(eps: Callable, grid: Schedule) -> Callable:
    """Return the network of ``grid``'s prediction type whose noise is ``eps(z, t, embedding)``.

    Where the grid ends without a signal no noise tells the output, and it is ``eps`` itself.
    """
    if grid.alpha[-1] == 0:
        return eps
    scales = {t: (a, s) for t, a, s in zip(grid.timestep, grid.alpha, grid.sigma, strict=True)}

    def network(z: Tensor, t: Tensor, embedding: Embedding) -> Tensor:
        a, s = scales[int(t[0])]
        noise = eps(z, t, embedding)
        match grid.prediction:
            case "epsilon":
                return noise
            case "v_prediction":
                return (noise - s * z) / a
            case "sample":
                return (z - s * noise) / a

    return network


def tanh_eps(scale: float = 1.0) -> Callable:
    """Return a smooth two-layer noise predictor whose Lipschitz constant grows with ``scale``."""
    g = torch.Generator().manual_seed(0)

    def weights(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64) / shape[-1] ** 0.5

    A, B, C = weights(64, 16), weights(16, 64) * scale, weights(64, 8)

    def eps(z: Tensor, t: Tensor, embedding: Embedding) -> Tensor:
        hidden = (
            z.flatten(1) @ A.T + embedding.tokens.mean(1) @ C.T + torch.sin(t / 1000).view(-1, 1)
        )
        return (torch.tanh(hidden) @ B.T).view_as(z)

    return eps


def denoiser(steps: int = 10, family: str = "epsilon", scale: float = 1.0) -> Denoiser:
    """Return a denoiser over :func:`tanh_eps` whose network runs in float64."""
    grid = schedule(steps, family)
    return Denoiser(predicting(tanh_eps(scale), grid), grid, dtype=torch.float64)


def latents(batch: int = 3, seed: int = 1) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(batch, *SHAPE, generator=g, dtype=torch.float64)


def condition(batch: int = 3, guidance: float = 1.0) -> Condition:
    g = torch.Generator().manual_seed(2)
    prompt = torch.randn(batch, 2, 8, generator=g, dtype=torch.float64)
    return Condition(Embedding(prompt), Embedding(torch.zeros_like(prompt)), guidance)


def error(inverter: Inverter, d: Denoiser, z: Tensor, c: Condition) -> Tensor:
    """Return the relative error of the round trip, per sample."""
    return rms(inverter.sample(d, inverter.invert(d, z, c), c) - z) / rms(z)


def assert_batch_equals_images_alone(inverter: Inverter, family: str = "epsilon") -> None:
    """Assert that an image's inversion and its cost do not depend on the images beside it."""
    d, z, c = denoiser(10, family), latents(), condition(guidance=2)
    together = inverter.invert(d, z, c)
    for k in range(3):
        row = slice(k, k + 1)
        alone = inverter.invert(d, z[row], c[row])
        assert torch.allclose(alone.noise, together.noise[row], rtol=1e-10, atol=1e-12)
        assert torch.equal(alone.calls, together.calls[row])


class Gaussian:
    """The exact noise prediction for data x ~ N(mean, std^2); its flow has a closed form."""

    mean, std = 0.3, 0.5

    def __init__(self, grid: Schedule) -> None:
        self.grid = grid
        self.scales = {
            t: (a, s) for t, a, s in zip(grid.timestep, grid.alpha, grid.sigma, strict=True)
        }

    def __call__(self, z: Tensor, t: Tensor, embedding: Embedding) -> Tensor:
        a, s = self.scales[int(t[0])]
        return s * (z - a * self.mean) / ((a * self.std) ** 2 + s**2)

    def flow(self, z: Tensor) -> Tensor:
        """Return the exact solution of the probability-flow equation from ``z``, at index N."""
        (a0, s0), (a1, s1) = ((self.grid.alpha[i], self.grid.sigma[i]) for i in (0, -1))
        ratio = (((a1 * self.std) ** 2 + s1**2) / ((a0 * self.std) ** 2 + s0**2)) ** 0.5
        return a1 * self.mean + ratio * (z - a0 * self.mean)


def flow_errors(inverter: Inverter, steps: int, strides: Sequence[int]) -> list[float]:
    """Return the distances of z_N from the exact flow on Gaussian data, for ever coarser grids.

    Each grid takes every ``stride``-th index of that with ``steps``; the end points stay.
    """
    errors, fine = [], schedule(steps)
    for stride in strides:
        picks = [0, *range(stride, steps + 1, stride)]
        columns = (fine.alpha, fine.sigma, fine.timestep)
        grid = Schedule(*(tuple(column[i] for i in picks) for column in columns))
        network = Gaussian(grid)
        z = torch.linspace(-1, 1, 4, dtype=torch.float64).view(4, 1, 1, 1)
        prompt = Embedding(z.flatten(1)[:, None])
        inversion = inverter.invert(Denoiser(network, grid, torch.float64), z, Condition(prompt))
        errors.append((inversion.noise - network.flow(z)).abs().max().item())
    return errors


class ToyModel:
    """A model whose VAE is average pooling and whose network is :func:`tanh_eps`."""

    name = "toy"
    origin = ModelOrigin(path="toy", commit=None, digest="0", scheduler="none", spacing="leading")
    domain = None
    image_size = (16, 16)
    latent_shape = SHAPE
    multiple = 16 // SHAPE[1]
    device = torch.device("cpu")
    dtype = torch.float64

    def __init__(self, prediction: str = "epsilon", scale: float = 0.5) -> None:
        self.prediction, self.scale = prediction, scale

    def encode(self, images: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(images.mean(1, keepdim=True), 4).float()

    def decode(self, latents: Tensor) -> Tensor:
        big = torch.nn.functional.interpolate(latents.float(), scale_factor=4)
        return big.expand(-1, 3, -1, -1).clamp(-1, 1)

    def excess(self, prompt: str) -> str:
        return prompt[60:]

    def embed(self, prompts: list[str]) -> Embedding:
        rows = [torch.randn(2, 8, generator=generator(0, p), dtype=torch.float64) for p in prompts]
        return Embedding(torch.stack(rows))

    def condition(self, prompts: list[str], guidance: float) -> Condition:
        return Condition(self.embed(prompts), self.embed([""]).expand(len(prompts)), guidance)

    def denoiser(self, steps: int) -> Denoiser:
        return denoiser(steps, self.prediction, self.scale)


class Counted(ToyModel):
    """Toy that counts the images of each call: of its denoiser, encoder and decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.denoised: list[int] = []
        self.coded: list[int] = []

    def encode(self, images: Tensor) -> Tensor:
        self.coded.append(len(images))
        return super().encode(images)

    def decode(self, latents: Tensor) -> Tensor:
        self.coded.append(len(latents))
        return super().decode(latents)

    def denoiser(self, steps: int) -> Denoiser:
        denoiser = super().denoiser(steps)

        def network(z: Tensor, t: Tensor, embedding: Embedding) -> Tensor:
            self.denoised.append(len(z))
            return denoiser.network(z, t, embedding)

        return Denoiser(network, denoiser.schedule, dtype=torch.float64)


class NothingBright(ToyModel):
    """A decoder that fails at bright images alone."""

    def decode(self, latents: Tensor) -> Tensor:
        images = super().decode(latents)
        images[images.mean((1, 2, 3)) > 0.2] = torch.nan
        return images


class Overflowing(ToyModel):
    """A network in half precision whose output leaves its range."""

    dtype = torch.float16

    def denoiser(self, steps: int) -> Denoiser:
        return Denoiser(lambda z, t, e: z * 3e5, schedule(steps), self.dtype)
