"""Checkpoints in one file. The hub's configuration and the conversion are diffusers' own."""

import huggingface_hub
import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from diffusers.loaders.single_file_utils import CHECKPOINT_KEY_NAMES
from pipelines import tiny_sd15
from safetensors.torch import save_file

from fpinv.errors import UserError
from fpinv.models.hub import short_name
from fpinv.models.stable_diffusion import StableDiffusion

# Keys by which diffusers tells a checkpoint of Stable Diffusion 1 from others.
V1 = {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(320, 4, 3, 3)}


@pytest.fixture
def converted(tmp_path, monkeypatch):
    """Return a folder, and the files that diffusers was asked to convert to its pipeline."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HOME", str(tmp_path / "home"))
    folder, files = tiny_sd15(tmp_path / "sd15"), []

    def convert(path, **options):
        files.append(path)
        return DiffusionPipeline.from_pretrained(folder)

    monkeypatch.setattr(StableDiffusionPipeline, "from_single_file", convert)
    return folder, files


def test_a_checkpoint_is_unpacked_once_and_read_like_a_folder(converted, tmp_path):
    folder, files = converted
    file = tmp_path / "my model v1.2.safetensors"
    save_file(V1, file)
    first, second = (StableDiffusion(str(file), device="cpu") for _ in range(2))
    assert files == [str(file)] and first.name == short_name(str(file)) == "my model v1.2"
    plain = StableDiffusion(str(folder), device="cpu")
    for name, weight in plain.network.state_dict().items():
        assert torch.equal(second.network.state_dict()[name], weight)
    save_file(V1 | {"more": torch.zeros(1)}, file)
    StableDiffusion(str(file), device="cpu")
    assert len(files) == 2


def test_a_checkpoint_of_another_kind_or_a_damaged_one_is_refused_in_one_line(converted, tmp_path):
    refiner = {CHECKPOINT_KEY_NAMES["xl_refiner"]: torch.zeros(1)}
    save_file(refiner, tmp_path / "refiner.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"1234")
    for name, match in (
        ("refiner", "of kind xl_refiner, which is not"),
        ("torn", "cannot be load"),
    ):
        with pytest.raises(UserError, match=match) as caught:
            StableDiffusion(str(tmp_path / f"{name}.safetensors"))
        assert "\n" not in str(caught.value)
    whole = tmp_path / "whole.safetensors"
    for key in ("edm_vpred.sigma_max", "v_pred"):
        save_file(V1 | {key: torch.zeros(1)}, whole)
        with pytest.raises(UserError, match="of kind v1, which"):
            StableDiffusion(str(whole))
    for match, settings in (("of kind v1, which", {}), ("is one file", {"variant": "fp16"})):
        with pytest.raises(UserError, match=match):
            StableDiffusion(str(whole), **settings)
    assert not list((tmp_path / "home").glob("fpinv/*/*"))
