"""Edits where prompt and picture are joined in one attention, and of the same kind elsewhere."""

from dataclasses import replace
from itertools import combinations

import pytest
import torch
from tiny_models import tiny_model

from fpinv.datasets.scenes.edit_cases import SceneEdits
from fpinv.editing.controllers import Replace, Share
from fpinv.editing.recipe import AttentionSharing, PlainEdit, PromptToPrompt
from fpinv.editing.request import Edit
from fpinv.editing.sampling import edit, plan_branches, sample_branches
from fpinv.errors import UserError
from fpinv.inverters.ddim import DDIM
from fpinv.inverters.fixed_point import FixedPoint
from fpinv.inverters.rf_inversion import RFInversion
from fpinv.inverters.rf_solver import RFSolver
from fpinv.models.stable_diffusion import StableDiffusion
from fpinv.tasks.editing import Editing
from fpinv.tasks.task import Settings

SOURCE, TARGET = "a red star on white", "a blue star on white"
STEPS = 4
JOINT = ("sd3", "flux")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    families = ("sd15_as_flow", *JOINT)
    return {family: tiny_model(family, tmp_path_factory.mktemp(family)) for family in families}


@pytest.fixture(scope="module", params=["sd15_as_flow", *JOINT])
def model(request, models):
    return models[request.param]


@pytest.fixture(scope="module", params=JOINT)
def joint(request, models):
    return models[request.param]


def inverted(model, inverter, guidance):
    generator = torch.Generator().manual_seed(1)
    z0 = torch.randn(1, *model.latent_shape, generator=generator)
    return inverter.invert(model.denoiser(STEPS), z0, model.condition([SOURCE], guidance))


def sampled(model, *edits, recipe=None, inverter=None, guidance=1.0, target_guidance=None):
    inverter = inverter or DDIM()
    branches = plan_branches(model, [SOURCE], [edits], recipe or PlainEdit())
    inversion = inverted(model, inverter, guidance)
    scales = (guidance, target_guidance)
    return sample_branches(model, inverter, inversion, branches, STEPS, *scales)


def alone(model, prompt, guidance, inverter):
    """Return the latents that an inverter samples from the inversion without any editing."""
    inversion = inverted(model, inverter, guidance)
    condition = model.condition([prompt], guidance)
    return inverter.sample(model.denoiser(STEPS), inversion, condition)[0]


def assert_close(result, expected):
    assert (result - expected).norm() <= 1e-4 * expected.norm()


@pytest.mark.parametrize("inverter", [DDIM(), RFSolver(), RFInversion()], ids=repr)
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_plain_edit_is_the_target_prompt_sampled_from_the_inversion(model, inverter, guidance):
    result = sampled(model, SOURCE, TARGET, inverter=inverter, guidance=guidance)
    source, target = (alone(model, p, guidance, inverter) for p in (SOURCE, TARGET))
    assert_close(result.sources[0], source)
    assert_close(result.targets[0], source)
    assert_close(result.targets[1], target)
    assert (target - source).norm() > 1e-2 * source.norm()
    assert result.masks.all()


@pytest.mark.parametrize("inverter", [DDIM(), RFSolver()], ids=repr)
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_identity_edit_under_sharing_is_the_reconstruction(model, inverter, guidance):
    recipe = AttentionSharing(1.0, ("query", "key", "value"), prompt_tokens=True)
    result = sampled(model, SOURCE, recipe=recipe, inverter=inverter, guidance=guidance)
    assert_close(result.targets[0], alone(model, SOURCE, guidance, inverter))
    assert_close(result.sources[0], result.targets[0])


def test_sharing_for_no_step_is_the_plain_edit_bit_for_bit(model):
    plain, shared = (
        sampled(model, TARGET, recipe=r) for r in (PlainEdit(), AttentionSharing(0.0))
    )
    assert torch.equal(plain.targets, shared.targets)


@pytest.mark.parametrize(("source", "target"), [(1.0, 1.0), (2.0, 2.0), (1.0, 3.0)])
def test_targets_share_alone_and_each_in_its_own_way(model, source, target):
    """The source branch and targets without controllers do not notice the others."""
    ways = [
        *(Share(1.0, parts) for parts in (("value",), ("key", "value"), ("query", "key"))),
        *(Share(0.5), Share(1.0, blocks=(0,)), Share(1.0, blocks=(1,))),
    ]
    edits = [Edit(TARGET, controllers=(way,)) for way in ways]
    scales = {"guidance": source, "target_guidance": target}
    result = sampled(model, *edits, TARGET, **scales)
    apart = sampled(model, TARGET, **scales)
    assert_close(result.sources, apart.sources)
    assert_close(result.targets[-1], apart.targets[0])
    for k, m in combinations(range(len(result.targets)), 2):
        assert (result.targets[k] - result.targets[m]).abs().max() > 1e-5, (k, m)


def test_prompt_tokens_are_shared_where_blocks_project_them_with_the_picture(models):
    ways = [Edit(TARGET, controllers=(Share(1.0, prompt_tokens=b),)) for b in (False, True)]
    for family, model in models.items():
        picture, both = sampled(model, *ways).targets
        assert torch.allclose(picture, both, atol=1e-5) == (family != "flux")


def test_sharing_everything_moves_the_edit_towards_the_source(joint):
    """Prompt tokens of FLUX's single blocks included, the picture sees what the source sees."""
    parts = ("query", "key", "value")
    recipes = PlainEdit(), AttentionSharing(1.0, parts, prompt_tokens=True)
    plain, shared = (sampled(joint, TARGET, recipe=recipe) for recipe in recipes)
    far, near = ((r.targets[0] - r.sources[0]).norm() for r in (plain, shared))
    assert near < far


def test_edits_are_images(joint):
    z = inverted(joint, FixedPoint(2), 1.0)
    recipe = AttentionSharing(0.5)
    result = edit(joint, FixedPoint(2), z, SOURCE, [TARGET], steps=STEPS, recipe=recipe)
    assert result.images.shape == (1, 3, *joint.image_size) and result.images.isfinite().all()


def test_the_task_edits_scenes_by_both_recipes(joint):
    examples = [SceneEdits(size=64)[k] for k in range(2)]
    settings = Settings(steps=2, guidance=1.0, seed=0, batch_size=2)
    for recipe in (PlainEdit(), AttentionSharing(0.5)):
        task = Editing(recipe=recipe, blend=False, guidance=2.0)
        for record in task(joint, FixedPoint(2), examples, settings):
            assert record.error is None and record.metrics["truth_psnr"] > 0
            names = ["original", "reconstruction", "edit", "mask", "truth", "strip"]
            assert list(record.images) == names


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: sampled(m, TARGET, recipe=PromptToPrompt()), "act on cross-attention.*plain"),
        (lambda m: sampled(m, Edit(TARGET, controllers=(Replace(),))), "act on cross-attention"),
        (lambda m: sampled(m, " "), "the prompt ' ' is empty"),
        (lambda m: sampled(m, Edit(TARGET, blend=("star",))), "'star', to blend or to reweight"),
        (
            lambda m: sampled(m, TARGET, recipe=AttentionSharing(blocks=[0, 56])),
            "there is no block 56 in the network of model tiny, which has 2",
        ),
    ],
)
def test_unfit_requests_raise_a_user_error_of_one_line(joint, make, message):
    with pytest.raises(UserError, match=message) as error:
        make(joint)
    assert "\n" not in str(error.value)


def test_a_network_whose_projections_are_fused_is_refused(models):
    """Its keys and values would be shared nowhere."""
    model = StableDiffusion(models["sd15_as_flow"].origin.path, name="tiny", device="cpu")
    network = model.network
    try:
        network.fuse_qkv_projections()
        with pytest.raises(UserError, match="were never reached, so nothing was edited"):
            sampled(model, TARGET, recipe=AttentionSharing(1.0))
    finally:
        network.unfuse_qkv_projections()


def test_an_edit_of_a_data_set_that_blends_is_one_failed_example(joint):
    example = SceneEdits(size=64)[0]
    example = replace(example, case=replace(example.case, edit=Edit(TARGET, blend=("star",))))
    settings = Settings(steps=1, guidance=1.0, seed=0, batch_size=1)
    (record,) = Editing(recipe=PlainEdit())(joint, FixedPoint(1), [example], settings)
    assert "task.blend=false" in record.error
