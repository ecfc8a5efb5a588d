"""Sizes of an experiment by the option of ``scale``: ``limit: ${by_scale:2,50,5000}``."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

SCALES = ("smoke", "default", "paper")


def by_scale(*sizes: Any, _root_: DictConfig) -> Any:  # noqa: ANN401
    """The one of three sizes, in the order of :data:`SCALES`, that the configuration's scale is.

    Raises:
        ValueError: there are not three.
    """
    return dict(zip(SCALES, sizes, strict=True))[_root_.scale]


def register() -> None:
    """Lets configurations say ``${by_scale:smoke,default,paper}``."""
    OmegaConf.register_new_resolver("by_scale", by_scale, replace=True)
