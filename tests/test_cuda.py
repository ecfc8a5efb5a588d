"""The bundled model on a GPU: the same results as on a CPU, exact methods exact, no waiting."""

import csv
import sys
import warnings

import pytest
import torch
from conftest import CONF
from diffusers import StableDiffusionPipeline

import fpinv.models.scenes
from fpinv import square
from fpinv.datasets.scenes import Scenes
from fpinv.inverters.bdia import BDIA
from fpinv.inverters.belm import BELM
from fpinv.inverters.ddim import DDIM
from fpinv.inverters.edict import EDICT
from fpinv.inverters.fixed_point import FixedPoint
from fpinv.inverters.ife import IFE
from fpinv.models.stable_diffusion import StableDiffusion
from fpinv.models.weights import SCENES
from fpinv.run import main as command_line
from fpinv.run.folder import read_rows
from fpinv.solvers import rms

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")

STEPS = 20
GUIDANCE = 3.0


def load(**options):
    return StableDiffusion(SCENES, name="scenes", **{"device": "cuda"} | options)


def latents(model, count=4):
    dataset = Scenes(split="test")
    examples = [dataset[k] for k in range(count)]
    images = torch.stack([square(example.open(), model.image_size) for example in examples])
    return model.encode(images), model.condition([e.prompt for e in examples], GUIDANCE)


def there_and_back(model, inverter, steps=STEPS):
    z, condition = latents(model)
    denoiser = model.denoiser(steps)
    back = inverter.sample(denoiser, inverter.invert(denoiser, z, condition), condition)
    return rms(back - z) / rms(z)


@pytest.mark.parametrize("inverter", [EDICT(), BDIA(), BELM()], ids=lambda i: type(i).__name__)
def test_exact_methods_are_exact_unless_products_are_rounded(inverter):
    exact = there_and_back(load(), inverter)
    rounded = there_and_back(load(precision="tf32"), inverter)
    assert (exact < 2e-3).all()
    assert (rounded > 10 * exact).all()


@pytest.mark.parametrize(
    "inverter",
    [DDIM(), IFE(), FixedPoint(), EDICT(), BDIA(), BELM()],
    ids=lambda i: type(i).__name__,
)
def test_nothing_waits_for_the_device(inverter):
    model = load()
    there_and_back(model, inverter, steps=3)
    z, condition = latents(model)
    denoiser = model.denoiser(3)
    torch.cuda.synchronize()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that not every wait is detected
        torch.cuda.set_sync_debug_mode("error")
    try:
        inverter.sample(denoiser, inverter.invert(denoiser, z, condition), condition)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("inverter", [DDIM(), IFE(), FixedPoint(), EDICT()])
def test_a_cpu_finds_the_same_noise(inverter):
    noises = []
    for device in ("cuda", "cpu"):
        model = load(device=device)
        z, condition = latents(model)
        noises.append(inverter.invert(model.denoiser(STEPS), z, condition).noise.cpu())
    gpu, cpu = noises
    assert (rms(gpu - cpu) < 1e-2 * rms(cpu)).all()


def test_a_stock_pipeline_turns_the_noise_back_into_the_images():
    model = load()
    z, condition = latents(model)
    inversion = FixedPoint().invert(model.denoiser(STEPS), z, condition)
    stock = StableDiffusionPipeline.from_pretrained(
        fpinv.models.scenes.__path__[0], safety_checker=None
    ).to("cuda")
    stock.set_progress_bar_config(disable=True)
    dataset = Scenes(split="test")
    images = stock(
        [dataset[k].prompt for k in range(4)],
        latents=inversion.noise,
        guidance_scale=GUIDANCE,
        num_inference_steps=STEPS,
        output_type="pt",
    ).images
    ours = model.decode(FixedPoint().sample(model.denoiser(STEPS), inversion, condition))
    assert (images - (ours + 1) / 2).abs().mean() < 1e-3


def test_a_run_out_of_memory_goes_on_with_smaller_batches(main, tmp_path, monkeypatch, capsys):
    def run(name, batch_size):
        overrides = ["limit=64", "steps=2", f"batch_size={batch_size}", "tracking.mode=disabled"]
        folder = tmp_path / name
        monkeypatch.setattr(
            sys, "argv", ["run.py", "-cp", CONF, *overrides, f"hydra.run.dir={folder}"]
        )
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        assert command_line.run(main) == 0
        return torch.cuda.max_memory_reserved(), read_rows(folder)

    (little, rows), (much, _) = run("small", 8), run("large", 64)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((little + much) / 2 / total)
    capsys.readouterr()
    try:
        _, crammed = run("crammed", 64)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert capsys.readouterr().err.count("out of memory: the run goes on with batch_size=") == 1
    assert [row["id"] for row in crammed] == [row["id"] for row in rows]
    for ours, theirs in zip(crammed, rows, strict=True):
        assert ours["psnr"] == pytest.approx(theirs["psnr"], abs=0.05)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_runs_end_to_end(main, tmp_path, monkeypatch, precision):
    overrides = [
        "limit=2",
        "steps=5",
        "device=cuda",
        f"precision={precision}",
        "inverter=auto,fpi",
    ]
    folder = tmp_path / "sweep"
    where = [f"hydra.sweep.dir={folder}", "tracking.mode=disabled"]
    monkeypatch.setattr(sys, "argv", ["run.py", "-cp", CONF, "-m", *overrides, *where])
    assert command_line.run(main) == 0
    with (folder / "sweep.csv").open(encoding="utf-8", newline="") as file:
        jobs = list(csv.DictReader(file))
    assert [job["failed"] for job in jobs] == ["0", "0"]
    assert all(float(job["psnr"]) > 20 for job in jobs)
