"""Train the CLIP towers: `python experiments/training/scenes/train_clip.py`.

Contrastive, with a hard negative for every caption (one attribute changed, or two objects'
attributes exchanged). Captions of two or three objects differ from their hard negatives by order
only, which a pooled vector learns last; so a small head must also read every object's attributes
off the tokens' states, which are what the diffusion model attends to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import common
import hydra
import numpy as np
import torch
from attributes import accuracy, labels, reading_loss
from omegaconf import DictConfig, OmegaConf
from tokenizer import LENGTH, write_tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from fpinv.datasets.scenes import Change, Scene, caption, edit
from fpinv.datasets.scenes.captions import PHRASINGS, vocabulary
from fpinv.datasets.scenes.edits import LOOKS
from fpinv.datasets.scenes.world import BACKGROUNDS
from fpinv.metrics.classifiers.scene_network import AttributeHead


class Towers(nn.Module):
    """CLIP and the heads that read attributes off its states; the heads are not shipped."""

    def __init__(self, cfg: DictConfig, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        shared = {
            "hidden_size": cfg.width,
            "intermediate_size": 4 * cfg.width,
            "num_hidden_layers": cfg.layers,
            "num_attention_heads": cfg.heads,
            "projection_dim": cfg.width,
            "hidden_act": "gelu",
        }
        text = {
            "vocab_size": len(tokenizer),
            "max_position_embeddings": LENGTH,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        }
        vision = {"image_size": cfg.data.size, "patch_size": cfg.patch}
        self.clip = CLIPModel(
            CLIPConfig(
                text_config={**shared, **text},
                vision_config={**shared, **vision},
                projection_dim=cfg.width,
            )
        )
        # The fused attention's way back is slow on CPUs, in bf16 above all.
        self.clip.set_attn_implementation("sdpa" if torch.cuda.is_available() else "eager")
        self.read_text = AttributeHead(cfg.width, cfg.heads)
        self.read_image = AttributeHead(cfg.width, cfg.heads)

    def text(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the unit embeddings (B, C) and states (B, L, C) of token ids."""
        out = self.clip.text_model(input_ids=ids)
        pooled = self.clip.text_projection(out.pooler_output).float()
        return F.normalize(pooled, dim=-1), out.last_hidden_state

    def image(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return unit embeddings (B, C) and states (B, patches + 1, C) of pictures in [-1, 1]."""
        out = self.clip.vision_model(pixel_values=x)
        pooled = self.clip.visual_projection(out.pooler_output).float()
        return F.normalize(pooled, dim=-1), out.last_hidden_state


def build(cfg: DictConfig, tokenizer: CLIPTokenizer) -> Towers:
    """Return fresh towers, or the shipped ones to go on with."""
    towers = Towers(cfg, tokenizer)
    if cfg.start:
        shipped = CLIPModel.from_pretrained(Path(cfg.start) / "clip", dtype=torch.float32)
        towers.clip.load_state_dict(shipped.state_dict())
    if cfg.lock_text:
        towers.clip.text_model.requires_grad_(False)
        towers.clip.text_projection.requires_grad_(False)
    return towers


def near_miss(scene: Scene, rng: np.random.Generator) -> Scene:
    """Return a scene that differs in one attribute, or in index two objects exchange one."""
    if len(scene.objects) > 1 and rng.random() < 0.5:
        items = list(scene.objects)
        a, b = rng.choice(len(items), 2, replace=False)
        key = rng.choice(["colour", "shape", "texture", "size"])
        value_a, value_b = getattr(items[a], key), getattr(items[b], key)
        if value_a != value_b:
            items[a] = replace(items[a], **{key: value_b})
            items[b] = replace(items[b], **{key: value_a})
            return replace(scene, objects=tuple(items))
    key, values = _CHANGES[rng.integers(len(_CHANGES))]
    index = int(rng.integers(len(scene.objects)))
    current = scene.background if key == "background" else getattr(scene.objects[index], key)
    value = rng.choice([value for value in values if value != current])
    return edit(scene, Change(key, str(value), index)).target


_CHANGES: list[tuple[str, Sequence[str]]] = [*LOOKS.items(), ("background", list(BACKGROUNDS))]


def rephrased(scene: Scene, rng: np.random.Generator) -> Scene:
    """Return the scene with another phrasing of its caption."""
    return replace(scene, phrasing=int(rng.integers(PHRASINGS)))


def tokenize(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """Return token ids (B, 48), padded as the pipeline pads them."""
    return tokenizer(
        list(texts), padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids


def contrast(images: Tensor, texts: Tensor, hard: Tensor, scale: Tensor) -> Tensor:
    """Return the symmetric InfoNCE loss; the images also see the hard negative captions."""
    truth = torch.arange(len(images), device=images.device)
    scale = scale.exp().clamp(max=100)
    rows = scale * images @ torch.cat([texts, hard]).T
    columns = scale * texts @ images.T
    return 0.5 * (F.cross_entropy(rows, truth) + F.cross_entropy(columns, truth))


@torch.no_grad()
def report(towers: Towers, images: Tensor, ids: Tensor, truth: Tensor) -> dict[str, float]:
    """Return retrieval among 100 captions, and the accuracy of reading both towers' states."""
    x, patches = towers.image(images)
    y, states = towers.text(ids)
    groups = list(zip(x.split(100), y.split(100), strict=True))
    hits = [(a @ b.T).argmax(1) == torch.arange(len(a), device=a.device) for a, b in groups]
    rates = {"retrieval": float(torch.cat(hits).float().mean())}
    readings = {"text": towers.read_text(states), "image": towers.read_image(patches)}
    for name, logits in readings.items():
        scores = accuracy(logits, truth)
        for key in ("shape 0", "shape 1", "colour 1", "texture 0", "background", "pair"):
            rates[f"{name} {key}"] = round(scores[key], 3)
    return rates


def export(towers: nn.Module, cfg: DictConfig) -> None:
    """Write `clip/` in half precision and `text_encoder/` in single."""
    model: CLIPModel = common.as_half(towers.clip)  # type: ignore[arg-type]
    model.save_pretrained(Path(cfg.export) / "clip")
    model.text_model.float().save_pretrained(Path(cfg.export) / "text_encoder")


@hydra.main(config_path="conf", config_name="clip", version_base="1.3")
def main(cfg: DictConfig) -> None:
    device = common.prepare(cfg)
    write_tokenizer(Path(cfg.export) / "tokenizer", vocabulary())
    tokenizer = CLIPTokenizer.from_pretrained(Path(cfg.export) / "tokenizer")
    images, scenes = common.pictures(cfg.data), common.scenes(cfg.data)
    towers = build(cfg, tokenizer)
    run = common.start(towers, cfg, device)
    held_out = OmegaConf.merge(cfg.data, {"split": "val", "count": cfg.held_out})
    held_out_scenes = common.scenes(held_out)
    checks = (
        common.to_tensor(common.pictures(held_out), device),
        tokenize(tokenizer, [caption(scene) for scene in held_out_scenes]).to(device),
        labels(held_out_scenes).to(device),
    )

    def loss(step: int) -> Tensor:
        if step % 200 == 0:
            print(report(run.average, *checks), flush=True)  # type: ignore[arg-type]
        rng = np.random.default_rng([cfg.seed, step])
        picked = np.sort(common.batch_indices(step, len(images), cfg.batch, cfg.seed))
        batch = [rephrased(scenes[k], rng) for k in picked]
        texts = [caption(scene) for scene in batch]
        texts += [caption(near_miss(scene, rng)) for scene in batch]
        truth = labels(batch).to(device)
        x, patches = towers.image(common.to_tensor(images[picked], device))
        ids = tokenize(tokenizer, texts).to(device)
        y, states = towers.text(ids)
        read = reading_loss(towers.read_text(states[: len(x)]), truth)
        read = read + reading_loss(towers.read_image(patches), truth)
        match = contrast(x, y[: len(x)], y[len(x) :], towers.clip.logit_scale)
        return match + cfg.read * read

    common.train(run, loss, cfg, device, lambda average: export(average, cfg))
    print(report(run.average, *checks), flush=True)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
