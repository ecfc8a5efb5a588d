"""The result of an inversion, the protocol of an inverter, and the plain sampler."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import UserError


@dataclass(frozen=True)
class Inversion:
    """What an inverter found: enough to sample the images back, and what it cost.

    Arguments:
        noise: The latents z_N, shape (B, C, H, W).
        calls: Network calls that each image took part in, shape (B,).
        rows: Network rows that each image cost, shape (B,): two a call under guidance.
        residual: Relative residual of each step's equation, shape (N, B), clean end first;
            None for methods that solve none.
        iterations: Evaluations spent on each step, shape (N, B); None as above.
        converged: Whether each step's residual got within the tolerance (without one: whether
            all iterates were finite), shape (N, B); None as above.
        state: What the inverter's own way back needs beyond z_N, tensors (B, ...) by name.
        source: Which rows are to come back as the image that was inverted, shape (B,), bool; None
            for all. An edit repeats the inversion for its target prompts, which are not. The
            methods that treat the two differently go by this and by nothing else: ``direct``
            corrects the sources alone, ``edit_friendly`` has a guidance of its own for them.
        trace: Relative residual of every point that was evaluated, shape (K, N, B), with NaN after
            an image was done with a step; None for methods that keep none.
    """

    noise: Tensor
    calls: Tensor
    rows: Tensor
    residual: Tensor | None = None
    iterations: Tensor | None = None
    converged: Tensor | None = None
    state: Mapping[str, Tensor] = field(default_factory=dict)
    source: Tensor | None = None
    trace: Tensor | None = None

    def __len__(self) -> int:
        return len(self.noise)

    def __getitem__(self, rows: Tensor | slice) -> Inversion:
        """The inversion of some images of the batch."""

        def of_step(value: Tensor | None) -> Tensor | None:
            return None if value is None else value[..., rows]

        return Inversion(
            self.noise[rows],
            self.calls[rows],
            self.rows[rows],
            of_step(self.residual),
            of_step(self.iterations),
            of_step(self.converged),
            {name: value[rows] for name, value in self.state.items()},
            None if self.source is None else self.source[rows],
            of_step(self.trace),
        )

    @staticmethod
    def cat(parts: Sequence[Inversion]) -> Inversion:
        """The images of several inversions by one method, in order, as one."""

        def join(name: str, dim: int = 0) -> Tensor | None:
            values = [getattr(part, name) for part in parts]
            return None if values[0] is None else torch.cat(values, dim)

        return Inversion(
            *(join(name) for name in ("noise", "calls", "rows")),
            *(join(name, dim=-1) for name in ("residual", "iterations", "converged")),
            {k: torch.cat([part.state[k] for part in parts]) for k in parts[0].state},
            join("source"),
            join("trace", dim=-1),
        )

    @property
    def stored_numbers(self) -> int:
        """Numbers per image that sampling back needs beyond z_N."""
        return sum(value[0].numel() for value in self.state.values())

    def _tensors(self) -> dict[str, Tensor]:
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "state"}
        named |= {f"state.{name}": value for name, value in self.state.items()}
        return {k: v.detach().cpu().contiguous() for k, v in named.items() if v is not None}

    def save(self, path: Path, config: Mapping[str, Any]) -> str:
        """Writes a safetensors file whose metadata holds ``config``; returns the content hash.

        The hash covers tensors and config, so that a file altered since is refused by ``load``.
        """
        tensors, text = self._tensors(), json.dumps(dict(config), sort_keys=True)
        digest = _digest(tensors, text)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path, metadata={"config": text, "sha256": digest})
        return digest

    @classmethod
    def load(
        cls, path: Path, device: torch.device | str = "cpu"
    ) -> tuple[Inversion, dict[str, Any]]:
        """Reads what ``save`` wrote: the inversion and its config.

        Raises:
            UserError: the file is missing, is no inversion, or was altered.
        """
        try:
            with safe_open(path, framework="pt", device=str(device)) as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except FileNotFoundError:
            raise UserError(f"{path}: no such inversion") from None
        except SafetensorError as error:
            raise UserError(f"{path}: not a safetensors file ({error})") from None
        if not {"config", "sha256"} <= metadata.keys():
            raise UserError(f"{path}: not an inversion saved by fpinv")
        if _digest(tensors, metadata["config"]) != metadata["sha256"]:
            raise UserError(f"{path}: altered since it was saved; invert the image again")
        state = {n.removeprefix("state."): t for n, t in tensors.items() if n.startswith("state.")}
        named = {n: t for n, t in tensors.items() if not n.startswith("state.")}
        return cls(**named, state=state), json.loads(metadata["config"])


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
    ``sample`` calls the denoiser for the batch as a whole and goes on with what
    ``denoiser.arrive`` makes of every latent that it comes to, each of them where it has several;
    and what is for the image alone that was inverted it does in the rows ``inversion.source``.
    """

    def invert(self, denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
        """The noise latents that ``sample`` turns back into ``z0`` (B, C, H, W)."""

    def sample(self, denoiser: Denoiser, inversion: Inversion, condition: Condition) -> Tensor:
        """The latents z_0 (B, C, H, W) that an inversion stands for."""
