"""Where weights come from: one digest for one set of files, another for any change of them."""

import json
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
from pipelines import tiny_sd15, tiny_sdxl

from fpinv.models.origin import ModelOrigin, digest
from fpinv.models.stable_diffusion import StableDiffusion

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_sd15(tmp_path_factory.mktemp("pipeline") / "sd15")


@pytest.fixture
def copy(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_a_source_names_path_digest_scheduler_and_spacing(folder):
    source = StableDiffusion(str(folder), name="tiny", device="cpu").origin
    assert source == ModelOrigin(str(folder), None, digest(folder), "PNDMScheduler", "leading")
    assert len(source.digest) == 64 and set(source.digest) <= set("0123456789abcdef")


def test_a_copy_has_the_same_digest_and_other_weights_another(folder, copy, tmp_path):
    assert digest(copy) == digest(folder)
    assert digest(tiny_sdxl(tmp_path / "sdxl")) != digest(folder)


@pytest.mark.parametrize("part", PARTS)
def test_a_changed_byte_in_any_part_changes_the_digest(copy, part):
    before = digest(copy)
    for file in (copy / part).iterdir():
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert digest(copy) != before, file.name
        file.write_bytes(content)
        assert digest(copy) == before


def test_the_index_is_part_of_the_digest(copy):
    before, index = digest(copy), json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps(index | {"requires_safety_checker": True}))
    assert digest(copy) != before


@pytest.mark.parametrize(
    "name", ["diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.safetensors", "a.onnx"]
)
def test_files_that_are_not_loaded_leave_the_digest_alone(copy, name):
    before = digest(copy)
    (copy / "unet" / name).write_bytes(b"others")
    assert digest(copy) == before


@pytest.mark.parametrize(
    "name",
    [
        "diffusion_pytorch_model.fp16.safetensors",
        "diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
        "diffusion_pytorch_model-00001-of-00002.fp16.safetensors",
    ],
)
def test_a_variant_has_a_digest_of_its_own_with_plain_files_where_it_has_none(copy, name):
    before = digest(copy)
    assert digest(copy, "fp16") == before
    (copy / "unet" / name).write_bytes(b"half")
    assert digest(copy, "fp16") != before == digest(copy)


def test_a_large_file_of_the_hubs_cache_is_not_read(folder, copy, tmp_path):
    file = copy / "unet" / "diffusion_pytorch_model.safetensors"
    content = sha256(file.read_bytes()).hexdigest()
    blob = tmp_path / "blobs" / content
    blob.parent.mkdir()
    blob.write_bytes(b"")  # no content: its name is all that counts
    file.unlink()
    file.symlink_to(blob)
    assert digest(copy) == digest(folder)
