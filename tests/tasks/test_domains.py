"""Measures of scenes are kept from photographs and from models of them."""

from dataclasses import replace

import pytest
import toy

from fpinv.datasets.generated import Generated
from fpinv.datasets.scenes import Scenes
from fpinv.datasets.scenes.edit_cases import SceneEdits
from fpinv.errors import UserError
from fpinv.metrics.classifiers.scene_judges import ScenesFeatures, ScenesReader, ShapeClassifier
from fpinv.metrics.clip import OpenCLIP, ScenesCLIP
from fpinv.seeds.seedselect import SeedSelect
from fpinv.tasks.domains import domain_of, foreign_pictures, without_misfits
from fpinv.tasks.editing import Editing
from fpinv.tasks.interpolation import Interpolation
from fpinv.tasks.rare_concept import RareConcept
from fpinv.tasks.reconstruction import Reconstruction


class OfScenes(toy.ToyModel):
    domain = "scenes"


PHOTOGRAPHS = [object()]
SCENES = Scenes()
OTHERS = [(toy.ToyModel(), SCENES), (OfScenes(), PHOTOGRAPHS), (toy.ToyModel(), PHOTOGRAPHS)]
EDITING = Editing(similarity=ScenesCLIP(), reader=ScenesReader(), perceptual=ScenesFeatures())


@pytest.mark.parametrize("dataset", [Scenes(), SceneEdits(), Generated(Scenes())])
def test_every_data_set_of_scenes_says_so(dataset):
    assert domain_of(dataset) == "scenes"


@pytest.mark.parametrize("task", [EDITING, Interpolation(classifier=ShapeClassifier())])
def test_measures_of_scenes_stay_with_a_model_of_scenes_on_scenes(task):
    assert without_misfits(task, OfScenes(), SCENES) == (task, None)


@pytest.mark.parametrize(("model", "dataset"), OTHERS)
def test_optional_measures_of_scenes_are_left_out_elsewhere_in_one_line(model, dataset):
    task, line = without_misfits(EDITING, model, dataset)
    assert (task.similarity, task.reader, task.perceptual) == (None, None, None)
    assert task == replace(EDITING, similarity=None, reader=None, perceptual=None)
    for key in ("task.similarity", "task.reader", "task.perceptual"):
        assert key in line
    assert "\n" not in line


@pytest.mark.parametrize(("model", "dataset"), OTHERS)
@pytest.mark.parametrize(
    "task",
    [
        Interpolation(classifier=ShapeClassifier()),
        RareConcept(classifier=ShapeClassifier()),
    ],
)
def test_a_classifier_of_scenes_is_refused_elsewhere(task, model, dataset):
    with pytest.raises(UserError, match=r"task\.classifier knows scenes only.*classifier="):
        without_misfits(task, model, dataset)


def test_seeds_are_not_optimised_towards_photographs_by_a_judge_of_scenes():
    judge = type("Judge", (), {"name": "judge", "classes": (), "features": None})()
    task = RareConcept(
        classifier=judge, features="classifier", seedselect=SeedSelect(ScenesCLIP())
    )
    with pytest.raises(UserError, match=r"task\.seedselect\.encoder.*clip="):
        without_misfits(task, toy.ToyModel(), PHOTOGRAPHS)


@pytest.mark.parametrize(("model", "dataset"), OTHERS)
def test_measures_of_any_pictures_stay(model, dataset):
    task = Reconstruction(perceptual=lambda images, reference: images)
    assert without_misfits(task, model, dataset) == (task, None)
    editing = Editing(similarity=OpenCLIP("ViT-L-14", "openai"))
    assert without_misfits(editing, model, dataset) == (editing, None)


def test_photographs_on_a_model_of_scenes_are_noticed():
    line = foreign_pictures(OfScenes(), PHOTOGRAPHS)
    assert "knows scenes of rendered shapes only" in line and "model=sd15" in line
    assert foreign_pictures(OfScenes(), SCENES) is None
    assert foreign_pictures(toy.ToyModel(), PHOTOGRAPHS) is None
