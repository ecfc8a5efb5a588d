import pytest
import torch
import toy
from diffusers import DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler

from fpinv.errors import UserError
from fpinv.models.samplers import grids
from fpinv.models.samplers.grids import ddim_grid

SD = dict(
    beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
    set_alpha_to_one=False, steps_offset=1,
)  # fmt: skip


@pytest.mark.parametrize("prediction", toy.PREDICTIONS)
@pytest.mark.parametrize("steps", [1, 7, 10, 30, 50, 501, 999])
def test_equals_diffusers(prediction, steps):
    scheduler = DDIMScheduler(**SD, prediction_type=prediction)
    s = ddim_grid(scheduler, steps)
    assert s.steps == steps
    scheduler.set_timesteps(steps)
    z, m = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(3))
    for i, t in zip(range(steps, 0, -1), scheduler.timesteps, strict=True):
        assert s.timestep[i] == t
        theirs = scheduler.step(m, t, z).prev_sample
        assert torch.allclose(s.transfer(z, m, i, i - 1), theirs, atol=5e-5, rtol=1e-5)


def test_stable_diffusion_grid():
    s = ddim_grid(DDIMScheduler(**SD), 50)
    assert s.timestep[:3] == (0, 1, 21) and s.timestep[-1] == 981
    reference = toy.schedule(50)
    assert torch.allclose(torch.tensor(s.alpha), torch.tensor(reference.alpha), atol=1e-6)


def test_trailing_spacing_is_kept_where_the_sampler_stays_on_its_grid():
    scheduler = DDIMScheduler(**SD, timestep_spacing="trailing")
    assert ddim_grid(scheduler, 50).timestep[-1] == 999
    with pytest.raises(UserError, match="leading"):
        ddim_grid(scheduler, 30)


def test_clean_end_without_noise_has_no_label():
    scheduler = DDIMScheduler(**{**SD, "set_alpha_to_one": True})
    s = ddim_grid(scheduler, 10)
    assert s.timestep[0] == -1 and s.alpha[0] == 1 and s.sigma[0] == 0


@pytest.mark.parametrize(
    ("change", "steps", "message"),
    [
        ({}, 0, "steps=0"),
        ({}, 1001, "choose 1 to 1000"),
        ({}, 1000, "leaves the 1000 training timesteps: use fewer steps"),
        ({"timestep_spacing": "linspace"}, 50, "leading"),
        ({"steps_offset": 0}, 50, "steps_offset"),
        ({"prediction_type": "sample", "set_alpha_to_one": True}, 50, "sample"),
        ({"clip_sample": True}, 50, "clip_sample=True cannot be undone"),
        ({"thresholding": True}, 50, "thresholding=True cannot be undone"),
    ],
)
def test_refuses_what_it_cannot_invert(change, steps, message):
    with pytest.raises(UserError, match=message):
        ddim_grid(DDIMScheduler(**{**SD, **change}), steps)


@pytest.mark.parametrize("kind", [DDPMScheduler, EulerDiscreteScheduler])
def test_refuses_another_scheduler_in_one_line(kind):
    with pytest.raises(UserError, match=f"{kind.__name__} cannot be read.*DDIMScheduler"):
        ddim_grid(kind(), 50)


def test_zero_terminal_signal_is_kept_where_the_grid_ends_before_it():
    scheduler = DDIMScheduler(**SD, prediction_type="v_prediction", rescale_betas_zero_snr=True)
    s = ddim_grid(scheduler, 50)
    assert s.alpha[-1] == pytest.approx(float(scheduler.alphas_cumprod[981]) ** 0.5)
    assert 0 < s.alpha[-1] < ddim_grid(DDIMScheduler(**SD), 50).alpha[-1]


@pytest.mark.parametrize(("steps", "labels"), [(4, (249, 499, 749, 999)), (1, (999,))])
def test_trailing_spacing_ends_at_the_last_timestep(steps, labels):
    scheduler = DDIMScheduler(**SD, timestep_spacing="trailing")
    assert ddim_grid(scheduler, steps).timestep == (0, *labels)


def test_the_noise_of_a_step_without_a_signal_is_refused():
    scheduler = DDIMScheduler(**SD, rescale_betas_zero_snr=True, timestep_spacing="trailing")
    with pytest.raises(UserError, match=r"says nothing of the image.*model.spacing=leading"):
        ddim_grid(scheduler, 50)


@pytest.mark.parametrize(("steps", "label"), [(501, 501), (260, 778), (300, None), (4, None)])
def test_a_grid_that_rounding_ends_below_the_noise_is_named(caplog, steps, label):
    grids._warn_of_signal.cache_clear()
    ddim_grid(DDIMScheduler(**SD), steps)
    words = f"steps={steps} ends at timestep {label} of 1000"
    assert [words in message for message in caplog.messages] == ([True] if label else [])
