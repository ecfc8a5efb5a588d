"""Sizes of an experiment by the option of ``scale``: ``limit: ${by_scale:2,50,5000}``."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

SCALES = ("smoke", "default", "paper", "full")


def by_scale(*sizes: Any, _root_: DictConfig) -> Any:  # noqa: ANN401
    """The one of the sizes, in the order of :data:`SCALES`, that the configuration's scale is.

    Without a fourth the full size is the default one.

    Raises:
        ValueError: there are not three or four.
    """
    every = sizes if len(sizes) == len(SCALES) else (*sizes, *sizes[1:2])
    return dict(zip(SCALES, every, strict=True))[_root_.scale]


def register() -> None:
    """Lets configurations say ``${by_scale:smoke,default,paper}``, and a fourth size, ``full``."""
    OmegaConf.register_new_resolver("by_scale", by_scale, replace=True)
