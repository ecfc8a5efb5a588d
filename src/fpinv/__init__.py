"""Inversion of text-to-image diffusion models.

The modules beside this one are the core and best read in this order: schedule, denoiser, sampling,
inversion, and then the rooms ``solvers`` and ``inverters``; :mod:`fpinv.inverters` has a map of
the walk from an inverter to the network.

The names below are the library; they are imported when first used, so that a program that only
reads configurations or records does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Anderson": "solvers",
    "AttentionSharing": "editing.recipe",
    "Auto": "inverters.auto",
    "Averaged": "solvers",
    "BDIA": "inverters.bdia",
    "BELM": "inverters.belm",
    "Condition": "denoiser",
    "DDIM": "inverters.ddim",
    "DPMSolver": "models.samplers",
    "Denoiser": "denoiser",
    "Direct": "inverters.direct",
    "EDICT": "inverters.edict",
    "Edit": "editing.request",
    "EditFriendly": "inverters.edit_friendly",
    "Embedding": "denoiser",
    "FireFlow": "inverters.fireflow",
    "FixedPoint": "inverters.fixed_point",
    "FixedPointIteration": "solvers",
    "FlowEdit": "editing.flow_edit",
    "FlowReading": "models.flow_reading",
    "FrechetMean": "seeds.centroids",
    "Grain": "inverters.adjustment",
    "IFE": "inverters.ife",
    "Inversion": "inversion",
    "InversionPipeline": "pipelines.stock",
    "InvertedImage": "pipelines.image",
    "Inverter": "inversion",
    "NAOCentroid": "seeds.centroids",
    "NAOPath": "seeds.paths",
    "NegativePrompt": "inverters.negative_prompt",
    "Newton": "inverters.newton",
    "NormPrior": "seeds.prior",
    "NullText": "inverters.null_text",
    "Plain": "solvers",
    "PlainEdit": "editing.recipe",
    "PromptAware": "inverters.adjustment",
    "PromptToPrompt": "editing.recipe",
    "RFInversion": "inverters.rf_inversion",
    "RFSolver": "inverters.rf_solver",
    "ReNoise": "inverters.renoise",
    "Schedule": "schedule",
    "SeedSelect": "seeds.seedselect",
    "Slerp": "seeds.paths",
    "Solution": "solvers",
    "StableDiffusion": "models.stable_diffusion",
    "StoredNoises": "inverters.stored_noises",
    "StableDiffusion3": "models.rectified_flow",
    "Flux": "models.rectified_flow",
    "Sweeps": "inverters.sweeps",
    "UserError": "errors",
    "Whitening": "inverters.whitening",
    "ddim_grid": "models.samplers.grids",
    "edit": "editing.sampling",
    "invert": "pipelines.image",
    "invert_noised": "inverters.noised",
    "load": "pipelines.image",
    "load_model": "pipelines.image",
    "sample": "sampling",
    "square": "images",
    "to_pil": "images",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOMES:
        raise AttributeError(f"module 'fpinv' has no attribute '{name}'")
    return getattr(import_module(f"fpinv.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
