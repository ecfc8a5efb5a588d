"""The inverters that conf/ names, and which of them need a rectified flow."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import toy
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from fpinv.errors import UserError
from fpinv.inversion import Inverter
from fpinv.run.build import build

CONF = Path(__file__).parents[1] / "conf"
NAMES = sorted(file.stem for file in (CONF / "inverter").glob("*.yaml"))


def build_inverter(name: str) -> Inverter:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return build(compose("config", overrides=[f"inverter={name}"]), "inverter")


@cache
def needs_flow(name: str) -> bool:
    """Return whether an inverter refuses a network that predicts noise."""
    try:
        build_inverter(name).invert(toy.denoiser(1), toy.latents(), toy.condition(guidance=2))
    except UserError as error:
        assert "rectified flow" in str(error) and "model=scenes_flow" in str(error)
        return True
    return False
