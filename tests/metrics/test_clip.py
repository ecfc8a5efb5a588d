"""CLIP scores: the bundled network on its own world, open_clip through its real loader."""

import json
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch
import yaml

from fpinv import square
from fpinv.datasets.scenes import Change, caption, edit, render, sample_scene
from fpinv.datasets.scenes.world import BACKGROUNDS
from fpinv.errors import UserError
from fpinv.metrics.clip import OpenCLIP, ScenesCLIP, directional_similarity, similarity


@pytest.fixture(scope="module")
def world():
    clip = ScenesCLIP()
    samples = [sample_scene(0, k, "test") for k in range(6)]
    return clip, samples, torch.stack([square(render(scene), 64) for scene in samples])


def test_similarity_is_highest_for_the_caption_of_the_picture(world):
    clip, samples, pictures = world
    captions = [caption(scene) for scene in samples]
    fits = clip.images(pictures) @ clip.texts(captions).T
    assert (fits.argmax(1) == torch.arange(6)).all()
    matched = similarity(clip, pictures, captions)
    mismatched = similarity(clip, pictures, captions[::-1])
    assert matched.shape == (6,) and (matched > mismatched).all()


def test_directional_similarity_follows_the_prompts(world):
    clip, samples, _ = world
    changed = [
        edit(scene, Change("background", background))
        for scene, background in zip(samples, BACKGROUNDS, strict=False)
    ]
    changed = [c for c in changed if c.target != c.source]
    before = torch.stack([square(render(c.source), 64) for c in changed])
    after = torch.stack([square(c.image(), 64) for c in changed])
    prompts = [c.prompt for c in changed], [caption(c.source) for c in changed]
    assert directional_similarity(clip, after, before, *prompts).mean() > 0.5
    assert (directional_similarity(clip, before, before, *prompts) == 0).all()


def test_images_of_any_size_are_resized_and_clamped(world):
    clip, _, pictures = world
    large = torch.nn.functional.interpolate(pictures[:1], scale_factor=2)
    assert torch.cosine_similarity(clip.images(large), clip.images(pictures[:1])) > 0.98
    assert torch.allclose(clip.images(3 * large), clip.images((3 * large).clamp(-1, 1)))


def test_gradients_reach_images_of_any_size_and_no_weights(world):
    clip, _, pictures = world
    small = torch.nn.functional.interpolate(pictures[:1], size=40).requires_grad_()
    clip.images(small).sum().backward()
    assert small.grad.abs().max() > 0
    assert not any(p.requires_grad for p in clip._network.parameters())
    assert not clip.images(pictures).requires_grad and not clip.texts(["a star"]).requires_grad


def test_a_folder_without_a_clip_is_named(tmp_path):
    with pytest.raises(UserError, match=f"clip.path={tmp_path} has no folder clip/"):
        ScenesCLIP(str(tmp_path)).texts(["x"])


def tiny(folder):
    import open_clip

    tower = {"width": 32, "layers": 1}
    config = {
        "model_cfg": {
            "embed_dim": 16,
            "vision_cfg": {"image_size": 32, "patch_size": 16, "head_width": 16, **tower},
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "heads": 2, **tower},
        },
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    network = open_clip.CLIP(**config["model_cfg"])
    torch.save(network.state_dict(), folder / "open_clip_pytorch_model.bin")
    return network.eval()


def test_open_clip_normalises_images_and_cuts_long_texts(tmp_path):
    network = tiny(tmp_path)
    clip = OpenCLIP(f"local-dir:{tmp_path}", None)
    assert clip.name == f"clip_{tmp_path.name}"
    pictures = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        expected = network.encode_image(pictures / 0.5, normalize=True)
    assert torch.allclose(clip.images(pictures), expected, atol=1e-5)
    assert not clip.images(pictures).requires_grad
    values = similarity(clip, pictures, ["a cat", "a dog " * 99])
    assert values.shape == (2,) and (values.abs() <= 1).all()


def test_an_oblong_image_is_seen_in_its_central_square():
    clip, oblong = ScenesCLIP(), torch.rand(1, 3, 48, 80) * 2 - 1
    assert torch.equal(clip.images(oblong), clip.images(oblong[..., 16:64]))


def test_absent_open_clip_weights_are_refused_in_one_line(tmp_path):
    assert OpenCLIP().name == "clip_ViT-L-14-quickgelu_openai"
    with pytest.raises(UserError, match=r"nowhere.pt: no such file, and no .* openai") as error:
        OpenCLIP("ViT-B-32", str(tmp_path / "nowhere.pt")).texts(["x"])
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="clip.model=ViT-X: open_clip has no such architecture"):
        OpenCLIP("ViT-X").texts(["x"])
    with pytest.raises(UserError, match="clip.pretrained=None: without weights"):
        OpenCLIP("ViT-B-32", None).texts(["x"])


def test_a_folder_without_open_clip_weights_is_refused(tmp_path):
    tiny(tmp_path)
    (tmp_path / "open_clip_pytorch_model.bin").unlink()
    with pytest.raises(UserError, match="cannot be loaded"):
        OpenCLIP(f"local-dir:{tmp_path}", None).texts(["x"])


@pytest.mark.parametrize("name", ["open_clip", "laion_h14"])
def test_configured_open_clip_architectures_have_the_activation_of_their_weights(name):
    OpenCLIP(**settings(name))._check_activation()


def settings(name):
    file = Path(__file__).parents[2] / "conf" / "clip" / f"{name}.yaml"
    return {k: v for k, v in yaml.safe_load(file.read_text()).items() if k != "_target_"}


def test_named_open_clip_weights_of_another_activation_are_refused():
    with pytest.raises(UserError, match="QuickGELU, .* choose clip.model=ViT-L-14-quickgelu$"):
        OpenCLIP("ViT-L-14", "openai").texts(["x"])
    with pytest.raises(UserError, match="laion2b_s34b_b79k: no such file, and no weights"):
        OpenCLIP("ViT-B-32-quickgelu", "laion2b_s34b_b79k").texts(["x"])


def test_open_clip_weights_in_a_file_need_the_activation_they_were_trained_with(tmp_path):
    plain, script = tmp_path / "plain.pt", tmp_path / "openai.pt"
    torch.save({"weight": torch.zeros(1)}, plain)
    with ZipFile(script, "w") as archive:  # the layout of TorchScript
        archive.writestr("openai/code/__torch__.py", "")
    with pytest.raises(UserError, match="plain.pt: the file does not tell its activation"):
        OpenCLIP("ViT-B-32", str(plain)).texts(["x"])
    with pytest.raises(UserError, match=r"trained with QuickGELU, .*=ViT-B-32-quickgelu$"):
        OpenCLIP("ViT-B-32", str(plain), quick_gelu=True).texts(["x"])
    with pytest.raises(UserError, match=r"openai.pt was trained with QuickGELU"):
        OpenCLIP("ViT-B-32", str(script)).texts(["x"])
    with pytest.raises(UserError, match=r"trained with GELU, .* choose clip.model=ViT-B-32$"):
        OpenCLIP("ViT-B-32-quickgelu", str(plain), quick_gelu=False).texts(["x"])
    OpenCLIP("ViT-B-32-quickgelu", str(script))._check_activation()
    OpenCLIP("ViT-B-32", str(plain), quick_gelu=False)._check_activation()
