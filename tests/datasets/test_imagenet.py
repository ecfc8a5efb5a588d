"""Folders by class: WordNet ids and plain names, counts and bins."""

import json
from pathlib import Path

import pytest
from PIL import Image

from fpinv.datasets.groups import Groups
from fpinv.datasets.imagenet import ImageNet, bin_of, wordnet_names
from fpinv.errors import UserError

DATA = Path(__file__).parents[2] / "../shared/data"
COUNTS = {
    "282": {"name": "tiger cat", "actual_freq": 20_000, "relevant_total": 9_000},
    "2": {"name": "great white shark", "actual_freq": 2_000_000, "relevant_total": 1_500_000},
    "404": {"name": "airliner", "actual_freq": 50_000, "relevant_total": 40_000},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("n02123159/n02123159_1.JPEG", "n02123159/n02123159_2.JPEG", "airliner/0001.png"):
        file = tmp_path / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(file)
    return tmp_path / "images"


def counts(tmp_path: Path, content=COUNTS) -> str:
    (tmp_path / "counts.json").write_text(json.dumps(content))
    return str(tmp_path / "counts.json")


def test_wordnet_ids_get_names_and_other_folders_are_their_own(root):
    data = ImageNet(str(root))
    assert [(c.id, c.name, len(c.images)) for c in data.categories] == [
        ("airliner", "airliner", 1),
        ("n02123159", "tiger cat", 2),
    ]
    assert len(data) == 3 and data[2].prompt == "a photo of a tiger cat"
    assert data[2].attributes == {"class": "n02123159", "name": "tiger cat"}
    assert len({example.id for example in data}) == 3 and data[0].open().size == (4, 4)
    assert [c.bin for c in data.categories] == [None, None]


def test_the_names_are_those_of_imagenet():
    ids = list(wordnet_names())
    assert len(ids) == 1000 and ids == sorted(ids)
    assert ids[282] == "n02123159" and wordnet_names()["n01440764"] == "tench"


@pytest.mark.parametrize(("count", "bin"), [("relevant_total", "few"), ("actual_freq", "med")])
def test_bins_follow_the_count_that_is_used(root, tmp_path, count, bin):
    data = ImageNet(str(root), counts=counts(tmp_path), count=count)
    bins = {category.id: category.bin for category in data.categories}
    assert bins == {"n02123159": bin, "airliner": "med"}
    assert data.categories[1].prevalence == COUNTS["282"][count]


def test_bins_have_the_limits_of_the_protocol():
    bins = [bin_of(n) for n in (None, 0, 9_999, 10_000, 1_000_000, 1_000_001)]
    assert bins == [None, "few", "few", "med", "med", "many"]


def test_files_named_as_imagenet_names_them_need_no_folder(root):
    Image.new("RGB", (4, 4)).save(root / "n02123159_3.JPEG")
    assert [len(c.images) for c in ImageNet(str(root)).categories] == [1, 3]


def test_a_folder_of_splits_is_no_folder_of_classes(root):
    splits = root.rename(root.with_name("train")).parent
    with pytest.raises(UserError, match="train has folders such as airliner and n02123159, so it"):
        ImageNet(str(splits))
    inner = splits / "train" / "airliner" / "images"  # the layout of Tiny ImageNet
    inner.mkdir()
    Image.new("RGB", (4, 4)).save(inner / "0002.png")
    assert [len(c.images) for c in ImageNet(str(splits / "train")).categories] == [2, 2]


def test_the_prompt_is_a_key(root):
    assert ImageNet(str(root), prompt="{name}, on film")[2].prompt == "tiger cat, on film"


def test_a_class_is_asked_for_by_its_caption_or_by_the_templates_of_clip(root):
    plain, ensemble = (ImageNet(str(root), templates=t).categories[0] for t in (None, "clip"))
    assert plain.prompts == (plain.prompt,) == (ensemble.prompt,)
    assert len(ensemble.prompts) == 80 and "a bad photo of a airliner." in ensemble.prompts
    with pytest.raises(UserError, match="dataset.templates=dogs: choose clip"):
        ImageNet(str(root), templates="dogs")


def test_every_mistake_is_named(root, tmp_path):
    with pytest.raises(UserError, match="no count 'actual_frq'; did you mean actual_freq"):
        ImageNet(str(root), counts=counts(tmp_path), count="actual_frq")
    with pytest.raises(UserError, match=r"must have \{name\}"):
        ImageNet(str(root), prompt="a photo")

    with pytest.raises(UserError, match="gone.json"):
        ImageNet(str(root), counts=str(tmp_path / "gone.json"))
    with pytest.raises(UserError, match="class 2 has no count"):
        ImageNet(str(root), counts=counts(tmp_path, {"2": None}))
    with pytest.raises(UserError, match="counts.json: not a JSON object"):
        ImageNet(str(root), counts=counts(tmp_path, []))
    with pytest.raises(UserError, match=r"dataset\.root is not set"):
        ImageNet(None)
    Image.new("RGB", (4, 4)).save(root / "loose.png")
    with pytest.raises(UserError, match="loose.png: lies outside of all class folders"):
        ImageNet(str(root))


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no shared data at {DATA}")
def test_real_photographs_with_real_counts():
    data = ImageNet(str(DATA / "tiger_cat"), counts=str(DATA / "imagenet1k_laion2b_counts.json"))
    (cat,) = data.categories
    assert (cat.name, cat.prevalence, cat.bin) == ("tiger cat", 12698, "med")
    (group,) = Groups(data, 3, further=4)
    assert len(group.members) == 3 and len(group.further) == 2


TEMPLATES = [
    "{}",
    "{name!r}",
    "{name:>9}",
    "{name.upper}",
    "{name} {size}",
    "{name} {",
    "a\n{name}",
]


@pytest.mark.parametrize("prompt", TEMPLATES)
def test_a_template_takes_the_name_and_nothing_else(root, prompt):
    with pytest.raises(UserError) as error:
        ImageNet(str(root), prompt=prompt)
    assert f"dataset.prompt={prompt!r}" in str(error.value) and "\n" not in str(error.value)
