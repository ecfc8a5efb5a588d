"""Mix the weights of two denoisers: `python experiments/training/scenes/mix.py share=0.65`.

A network that was trained on from another one lies in the same valley of the loss, and points
between the two can be better than both: they keep what the first knew and have most of what the
second learned (Wortsman et al. 2022, Robust fine-tuning of zero-shot models, arXiv 2109.01903).
"""

from __future__ import annotations

from pathlib import Path

import common
import hydra
from diffusers import UNet2DConditionModel
from omegaconf import DictConfig


@hydra.main(config_path="conf", config_name="mix", version_base="1.3")
def main(cfg: DictConfig) -> None:
    first, second = (
        UNet2DConditionModel.from_pretrained(folder, subfolder="unet")
        for folder in (cfg.first, cfg.second)
    )
    state = second.state_dict()
    mixed = {
        name: value.lerp(state[name], cfg.share) for name, value in first.state_dict().items()
    }
    # A new network, because a loaded one remembers its folder in its configuration.
    unet = UNet2DConditionModel(**UNet2DConditionModel.load_config(cfg.first, subfolder="unet"))
    unet.load_state_dict(mixed)
    common.as_half(unet).save_pretrained(Path(cfg.export) / "unet")


if __name__ == "__main__":
    main()
