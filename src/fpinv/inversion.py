"""The result of an inversion and the protocol of an inverter."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fpinv.batch import BATCH_LAST, PerSample
from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import UserError

OnStep = Callable[[Tensor, int], Tensor]
"""``on_step(z, i)``: called by a sampler with every latent ``z`` (B, C, H, W) that it comes to, at
grid index ``i`` from N - 1 down to 0; the sampler goes on with what it returns."""


@dataclass(frozen=True)
class Inversion(PerSample):
    """Result of an inverter: the latents to sample the images back from, and their cost.

    Arguments:
        noise: The latents z_N, shape (B, C, H, W).
        calls: Network calls that each image took part in, shape (B,).
        rows: Network rows that each image cost, shape (B,): two a call under guidance.
        residual: Relative residual of each step's equation, shape (N, B), clean end first;
            None for methods that solve none. Steps that noise replaced have none.
        iterations: Evaluations spent on each step, shape (N, B); None as above.
        converged: Which steps' residuals got within the tolerance, shape (N, B), bool; None as
            above, and for methods without a tolerance.
        state: Tensors (B, ...) by name that the inverter's way back needs beyond z_N.
        source: Mask of the rows that are to come back as the image that was inverted, shape (B,),
            bool; None for all. An edit repeats the inversion for its target prompts, whose rows
            are not. Two methods treat them differently: ``direct`` corrects the sources alone,
            ``edit_friendly`` samples them at another guidance.
        trace: Relative residual of every point that was evaluated, shape (K, N, B), with NaN after
            an image was done with a step; None for methods that keep none.
        gradients: Those of the ``rows`` that were differentiated, shape (B,); None for none.
        expected_error: Error of the reconstructed latents to be expected, rms, shape (B,), where
            they are sampled at the guidance of the inversion; measured where the inverter has
            sampled them back; None where nothing tells it.
    """

    noise: Tensor
    calls: Tensor
    rows: Tensor
    residual: Tensor | None = field(default=None, metadata=BATCH_LAST)
    iterations: Tensor | None = field(default=None, metadata=BATCH_LAST)
    converged: Tensor | None = field(default=None, metadata=BATCH_LAST)
    state: Mapping[str, Tensor] = field(default_factory=dict)
    source: Tensor | None = None
    trace: Tensor | None = field(default=None, metadata=BATCH_LAST)
    gradients: Tensor | None = None
    expected_error: Tensor | None = None

    def __len__(self) -> int:
        return len(self.noise)

    @property
    def equivalents(self) -> Tensor:
        """Return the cost of each image in rows without a gradient, (B,): one with counts three.

        The backward pass through a network takes about twice as long as the forward pass.
        """
        return self.rows + (0 if self.gradients is None else 2 * self.gradients)

    @property
    def stored_numbers(self) -> int:
        """Return how many numbers per image sampling back needs beyond z_N."""
        return sum(value[0].numel() for value in self.state.values())

    def save(self, path: Path, config: Mapping[str, Any]) -> str:
        """Write a safetensors file whose metadata holds ``config``, and return the content hash.

        The hash covers tensors and config, so that a file altered since is refused by ``load``.
        """
        text = json.dumps(dict(config), sort_keys=True)
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "state"}
        named |= {f"state.{name}": value for name, value in self.state.items()}
        tensors = {k: v.detach().cpu().contiguous() for k, v in named.items() if v is not None}
        digest = _digest(tensors, text)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path, metadata={"config": text, "sha256": digest})
        return digest

    @classmethod
    def load(
        cls, path: Path, device: torch.device | str = "cpu"
    ) -> tuple[Inversion, dict[str, Any]]:
        """Read an inversion and its config from a file that ``save`` wrote.

        Raises:
            UserError: the file is missing, is no inversion, or was altered.
        """
        try:
            with safe_open(path, framework="pt", device=str(device)) as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except FileNotFoundError:
            raise UserError(f"{path}: no such inversion") from None
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path}: not a safetensors file ({error})") from None
        if not {"config", "sha256"} <= metadata.keys():
            raise UserError(f"{path}: not an inversion saved by fpinv")
        if _digest(tensors, metadata["config"]) != metadata["sha256"]:
            raise UserError(f"{path}: altered since it was saved; invert the image again")
        state = {n.removeprefix("state."): t for n, t in tensors.items() if n.startswith("state.")}
        named = {n: t for n, t in tensors.items() if not n.startswith("state.")}
        try:
            return cls(**named, state=state), json.loads(metadata["config"])
        except (TypeError, ValueError, RecursionError) as error:
            raise UserError(f"{path}: not an inversion of this version ({error})") from None


def _digest(tensors: Mapping[str, Tensor], config: str) -> str:
    digest = sha256(config.encode())
    for name in sorted(tensors):
        tensor = tensors[name].cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        # As bytes, because numpy has no bfloat16.
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class Inverter(Protocol):
    """A pair of functions, because some methods need their own way back.

    An edit samples its source and its targets together, in one call of ``sample``. So that it can,
    ``sample`` calls the denoiser for the batch as a whole, and does what is for the inverted image
    alone in the rows ``inversion.source``.
    """

    def invert(self, denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
        """Return the noise latents that ``sample`` turns back into ``z0`` (B, C, H, W)."""

    def sample(
        self,
        denoiser: Denoiser,
        inversion: Inversion,
        condition: Condition,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Return the latents z_0 (B, C, H, W) that an inversion stands for.

        :func:`fpinv.sampling.walk_down` walks the grid and calls ``on_step``.
        """
