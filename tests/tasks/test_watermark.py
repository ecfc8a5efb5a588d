"""The watermark task: marks of generated images, read off inversions."""

import pytest
import toy

from fpinv import DDIM, FixedPoint
from fpinv.datasets.example import Example
from fpinv.errors import UserError
from fpinv.tasks.task import Settings
from fpinv.tasks.watermark import Watermark
from fpinv.watermarks.marks import GaussianShading

EXAMPLES = [Example(f"{k}", f"a prompt {k}") for k in range(4)]
MARK = GaussianShading(copies=1)


class Faint(toy.ToyModel):
    """A toy whose pictures are faint, so that none of its latents is cut off."""

    def encode(self, images):
        return 16 * super().encode(images)

    def decode(self, latents):
        return super().decode(latents / 16)


def records(inverter, batch_size=2, guidance=1.0, **settings):
    numbers = Settings(steps=10, guidance=guidance, seed=0, batch_size=batch_size)
    task = Watermark(mark=MARK, **settings)
    return list(task(Faint(), inverter, EXAMPLES, numbers))


def mean(metric, inverter, **settings):
    values = [record.metrics[metric] for record in records(inverter, **settings)]
    return sum(values) / len(values)


def test_an_exact_inversion_reads_the_mark():
    assert mean("sign_accuracy", FixedPoint(20)) > 0.95
    assert mean("bit_accuracy", FixedPoint(20)) > 0.95
    assert mean("seed_error", FixedPoint(20)) < mean("seed_error", DDIM())


def test_unmarked_noise_holds_half_of_the_bits():
    assert 0.2 < mean("bit_accuracy", FixedPoint(20), marked=False) < 0.8


def test_a_lost_prompt_is_no_guidance_and_costs_accuracy():
    known = mean("seed_error", FixedPoint(20), guidance=2.0)
    lost = mean("seed_error", FixedPoint(20), guidance=2.0, prompt="lost")
    assert known < lost
    rows = [mean("nfe_rows", FixedPoint(3), guidance=2.0, prompt=p) for p in ("known", "lost")]
    assert rows == [60, 30]


def test_results_do_not_depend_on_the_batch():
    for attack in ("none", "noise", "crop"):
        pairs = zip(
            records(DDIM(), 3, attack=attack), records(DDIM(), 1, attack=attack), strict=True
        )
        for together, alone in pairs:
            assert together.metrics["seed_error"] == pytest.approx(alone.metrics["seed_error"])


def test_latents_are_read_without_the_loss_of_the_image():
    assert mean("seed_error", FixedPoint(20), seen="latents") < 1e-6
    with pytest.raises(UserError, match="task.seen=latents reads none"):
        Watermark(seen="latents", attack="jpeg")


def test_unknown_words_are_refused():
    with pytest.raises(UserError, match="task.attack=rotate is unknown: choose none or jpeg"):
        Watermark(attack="rotate")
    with pytest.raises(UserError, match="task.prompt=maybe"):
        Watermark(prompt="maybe")
