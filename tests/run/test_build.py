"""The files in conf/: all compose, fit their targets, and build where that needs no download."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from fpinv.errors import UserError
from fpinv.models.hub import short_name
from fpinv.run.build import build, check

CONF = Path(__file__).parents[2] / "conf"
PARTS = ("tracking", "dataset", "inverter", "adjustment", "task")


def options(groups: str = "*") -> list[str]:
    """Return ``group=option`` of every file in a group's folder."""
    files = sorted(CONF.glob(f"{groups}/**/*.yaml"))
    return [f"{file.parent.relative_to(CONF)}={file.stem}" for file in files]


def overrides(option: str) -> list[str]:
    """Return the option, after the task that its group is part of."""
    group = option.partition("=")[0]
    folder, _, name = group.rpartition("/")
    if folder != "task":
        return [option] if option else []
    tasks = [file for file in sorted((CONF / "task").glob("*.yaml")) if name in parts(file)]
    return [f"task={tasks[0].stem}", option]


def parts(file: Path) -> list[str]:
    """Return the groups that a file's defaults choose from."""
    defaults = OmegaConf.load(file).get("defaults", [])
    return [str(key) for entry in defaults if not isinstance(entry, str) for key in entry]


@pytest.fixture(autouse=True)
def hydra() -> Iterator[None]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def composed(*arguments: str) -> DictConfig:
    try:
        return compose("config", overrides=list(arguments))
    except Exception as error:
        raise AssertionError(f"{arguments} does not compose: {error}") from error


@pytest.mark.parametrize("option", ["", *options()])
def test_every_option_composes_and_fits_its_targets(option: str):
    config = composed(*overrides(option))
    assert not OmegaConf.missing_keys(config)
    OmegaConf.resolve(config)
    for key in (*PARTS, "model"):
        check(config, key)


@pytest.mark.parametrize("option", options("[aidt]*"))
def test_every_option_builds_or_is_refused_in_one_line(option: str):
    """Build it; a data set without its folder, or a metric without its download, may refuse."""
    config = composed(*overrides(option))
    for key in PARTS:
        try:
            build(config, key)
        except UserError as error:
            assert "\n" not in str(error)
            assert key == "dataset" and option.startswith("dataset="), f"{option}: {error}"


def named(config):
    """Return the name in the records of a configuration's model."""
    return config.model.name or short_name(config.model.path)


@pytest.mark.parametrize("option", [option.partition("=")[2] for option in options("model")])
def test_a_model_is_recorded_under_the_name_of_its_option(option):
    assert named(composed(f"model={option}")) == option


def test_a_path_without_a_name_is_recorded_under_its_own():
    assert named(composed("model=sd15", "model.path=/data/my-model")) == "my-model"
    assert named(composed("model.path=someone/a-model")) == "a-model"
    assert named(composed("model.path=/data/my-model", "model.name=mine")) == "mine"


def test_editing_chooses_edits_of_scenes_unless_told_otherwise():
    assert composed("task=editing").dataset == composed("dataset=scene_edits").dataset
    photographs = composed("task=editing", "dataset=pie_bench")
    assert photographs.dataset._target_.endswith("PieBench") and named(photographs) == "sd15"
    assert named(composed("task=editing", "dataset=pie_bench", "model=scenes")) == "scenes"
    table = composed("experiment=editing_table")
    assert table.dataset == composed("dataset=scene_edits").dataset
    assert table.task.perceptual._target_.endswith("ScenesFeatures")


def test_editing_has_a_reader_unless_told_otherwise():
    assert build(composed("task=editing"), "task").reader is not None
    assert build(composed("task=editing", "~task/reader"), "task").reader is None


def test_photographs_choose_networks_for_photographs_unless_told_otherwise():
    scenes = composed("dataset=scenes").model
    imagenet = composed("dataset=imagenet")
    assert imagenet.model == composed("model=sd15").model
    assert imagenet.classifier == composed("classifier=imagenet").classifier
    assert imagenet.clip == composed("clip=laion_h14").clip
    assert composed("dataset=imagenet", "classifier=scenes").classifier.path
    assert composed("dataset=coco").model == composed("model=sd15").model != scenes
    assert composed("dataset=coco", "model=scenes").model == scenes


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("task.path.resolution=abc", "a whole number"),
        ("task.path.quadrature=trapezoid", "simpson or midpoint"),
        ("task.prompting=theirs", "class or own"),
        ("task.points=2.5", "a whole number"),
    ],
)
def test_inherited_arguments_are_checked_too(override: str, words: str):
    config = composed("task=interpolation", override)
    with pytest.raises(UserError, match=f"{override}.*{words}"):
        check(config, "task")


@pytest.mark.parametrize(
    "arguments",
    [
        ("dataset=pie_bench", "dataset.types=3"),
        ("dataset=pie_bench", "dataset.types=[3,change]"),
        ("inverter=renoise", "inverter.weights=1"),
        ("model.image_size=[64,wide]",),
        ("task=editing", "task/recipe=sharing", "task.recipe.parts=[values]"),
    ],
)
def test_a_list_is_told_from_its_entries(arguments: tuple[str, ...]):
    *_, key = (argument.partition("=")[0] for argument in arguments)
    with pytest.raises(UserError, match=rf"{key}=.* wrong type: it must be .*a list"):
        for group in ("dataset", "inverter", "model", "task"):
            check(composed(*arguments), group)
