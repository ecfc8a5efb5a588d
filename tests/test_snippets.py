"""The Python of README and docs, run as it stands on tiny networks."""

import re
from pathlib import Path

import pytest
from PIL import Image
from tiny_models import tiny_model

SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
XL = "stabilityai/stable-diffusion-xl-base-1.0"
ROOT = Path(__file__).parents[1]


def snippets(page: str) -> list[str]:
    """Return the code blocks of a page that use the library, the tutorial's class aside."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return [block for block in blocks if "@dataclass" not in block]


@pytest.mark.parametrize("page", ["README.md", "docs/library.md"])
def test_snippets_of_a_page_run_one_after_the_other(page, tmp_path, monkeypatch):
    tiny_model("sd15", tmp_path / "tiny")
    tiny_model("sdxl", tmp_path / "tiny_xl")
    monkeypatch.chdir(tmp_path)
    for name in ("cat.jpg", "sofa.jpg"):
        Image.new("RGB", (40, 30), "tan").save(name)
    blocks = snippets(page)
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        small = block.replace('"sd15"', '"tiny"').replace("50", "4").replace(SD15, "tiny")
        small = small.replace(XL, "tiny_xl")
        exec(compile(small, page, "exec"), names)
    for picture in ("again.png", "dog.png"):
        with Image.open(picture) as image:
            assert image.size == names["model"].image_size
    assert Path("cat.safetensors").exists()


def test_network_of_class_labels_on_the_page_is_inverted():
    """With weights so small that the equations of all steps but the noisiest contract."""
    names: dict[str, object] = {}
    for block in snippets("docs/network.md"):
        exec(compile(block.replace("50", "8"), "docs/network.md", "exec"), names)
        names["unet"].conv_out.weight.data *= 0.01
    assert names["again"].shape == names["images"].shape
    assert (
        names["inversion"].residual.shape == (8, 2)
        and names["inversion"].residual[:-1].max() < 1e-3
    )
    assert names["denoiser"].rows == 2 * 2 * (5 * 8 + 8)
