"""The bundled model read as a rectified flow: the same differential equation, by other steps."""

import json

import pytest
import torch
from pipelines import tiny_sd15, tiny_sd21

from fpinv.datasets.scenes import Scenes
from fpinv.denoiser import Denoiser
from fpinv.errors import UserError
from fpinv.images import Frame
from fpinv.inverters.fixed_point import FixedPoint
from fpinv.models.flow_reading import FlowReading
from fpinv.models.machine import machine_epsilon
from fpinv.models.stable_diffusion import StableDiffusion
from fpinv.sampling import sample
from fpinv.schedule import Schedule
from fpinv.solvers import Anderson, rms

SCENES = "pkg://fpinv.models.scenes"
PROMPTS = ["a large red circle on a blue background", "two small green squares"]


@pytest.fixture(scope="module")
def stock():
    return StableDiffusion(SCENES, device="cpu")


@pytest.fixture(scope="module")
def model():
    return FlowReading(SCENES, name="scenes_flow", device="cpu")


def straight(sigma):
    """Return the flow's grid with these noise scales."""
    labels = tuple(1000 * s for s in sigma)
    return Schedule(tuple(1 - s for s in sigma), tuple(sigma), labels, "flow")


def noise(model):
    return torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(0))


def read(model, stock, schedule, guidance):
    """Return z_0 by the grid of ``schedule``, read as a flow of the same noise scales."""
    sigma = [s / (a + s) for a, s in zip(schedule.alpha, schedule.sigma, strict=True)]
    first, last = (schedule.alpha[i] + schedule.sigma[i] for i in (0, -1))
    d = Denoiser(model.denoiser(4).network, straight(sigma))
    return first * sample(d, noise(model) / last, stock.condition(PROMPTS, guidance))


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_at_the_same_noise_levels_the_steps_are_the_same(model, stock, guidance):
    d, c = stock.denoiser(8), stock.condition(PROMPTS, guidance)
    ours = read(model, stock, d.schedule, guidance)
    assert torch.allclose(ours, sample(d, noise(model), c), atol=1e-4)


def test_a_network_that_predicts_v_is_read_like_one_that_predicts_noise(tmp_path):
    tiny_sd21(tmp_path)
    stock, model = (kind(str(tmp_path), device="cpu") for kind in (StableDiffusion, FlowReading))
    d, c = stock.denoiser(4), stock.condition(PROMPTS, 2.0)
    ours = read(model, stock, d.schedule, 2.0)
    assert torch.allclose(ours, sample(d, noise(model), c), atol=1e-4)


def test_both_readings_follow_the_same_equation(model, stock):
    """From the same latents at the last label to the first one, by steps of other lengths."""
    c, gaps = stock.condition(PROMPTS, 1.0), []
    for steps in (4, 8, 16):
        d = stock.denoiser(steps)
        ends = [s / (a + s) for a, s in zip(d.schedule.alpha, d.schedule.sigma, strict=True)]
        low, high = ends[0], ends[-1]
        flow = straight([low + (high - low) * i / steps for i in range(steps + 1)])
        first, last = (d.schedule.alpha[i] + d.schedule.sigma[i] for i in (0, -1))
        ours = sample(Denoiser(model.denoiser(4).network, flow), noise(model) / last, c)
        gaps.append(rms(first * ours - sample(d, noise(model), c)).mean())
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 0.5 * gaps[0], gaps


def test_the_grid_runs_from_the_image_to_pure_noise(model):
    schedule = model.denoiser(10).schedule
    assert schedule.prediction == "flow" and schedule.sigma[0] == 0 and schedule.sigma[-1] == 1
    shifted = FlowReading(SCENES, shift=3.0, device="cpu").denoiser(10).schedule
    assert shifted.sigma[5] == pytest.approx(3 * 0.5 / (1 + 2 * 0.5))
    assert model.origin.spacing == "flow, shift 1" and model.domain == "scenes"


def test_real_images_come_back_from_pure_noise(model):
    examples = [Scenes(split="test")[k] for k in range(2)]
    d, c = model.denoiser(12), model.condition([example.prompt for example in examples], 1.0)
    frame = Frame(model.image_size, "center")
    z = model.encode(torch.stack([frame.pixels(example.open()) for example in examples]))
    inversion = FixedPoint(5, acceleration=Anderson()).invert(d, z, c)
    assert (rms(sample(d, inversion.noise, c) - z) < 0.02 * rms(z)).all()


def test_the_denoiser_knows_what_the_network_behind_it_rounds_away():
    denoiser = FlowReading(SCENES, device="cpu", precision="bf16").denoiser(4)
    assert denoiser.dtype == torch.float32
    assert denoiser.epsilon == torch.finfo(torch.bfloat16).eps
    half = StableDiffusion(SCENES, device="cpu", precision="bf16").denoiser(4)
    assert half.epsilon == denoiser.epsilon
    assert machine_epsilon("tf32", torch.device("cuda")) == 2**-10
    assert machine_epsilon("tf32", torch.device("cpu")) == torch.finfo(torch.float32).eps


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"spacing": "leading"}, "model.shift"), ({"precision": "fp16"}, "bf16"),
     ({"shift": 0.0}, "shift=0.0")],
)  # fmt: skip
def test_refuses_what_does_not_fit_a_flow(wrong, message):
    with pytest.raises(UserError, match=message):
        FlowReading(SCENES, device="cpu", **wrong).denoiser(4)


def test_refuses_a_network_that_predicts_noise_where_there_is_no_signal(tmp_path):
    folder = tiny_sd15(tmp_path / "sd15")
    file = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(file.read_text()) | {"rescale_betas_zero_snr": True}
    file.write_text(json.dumps(config))
    with pytest.raises(UserError, match="has no reading as a flow"):
        FlowReading(str(folder), device="cpu")
