"""The watermark task: marks of generated images, read off inversions."""

from dataclasses import replace

import pytest
import toy

from fpinv import DDIM, EDICT, EditFriendly, FixedPoint, NegativePrompt, RFInversion, StoredNoises
from fpinv.datasets.example import Example
from fpinv.denoiser import Denoiser
from fpinv.errors import UserError
from fpinv.tasks.task import Choosy, Settings
from fpinv.tasks.watermark import Watermark
from fpinv.watermarks.marks import GaussianShading, TreeRing

EXAMPLES = [Example(f"{k}", f"a prompt {k}") for k in range(4)]
MARK = GaussianShading(copies=1)
RINGS = TreeRing(radius=0.5)


class Faint(toy.ToyModel):
    """A toy whose pictures are faint, so that none of its latents is cut off."""

    def encode(self, images):
        return 16 * super().encode(images)

    def decode(self, latents):
        return super().decode(latents / 16)


def records(inverter, batch_size=2, guidance=1.0, mark=MARK, model=None, **settings):
    numbers = Settings(steps=10, guidance=guidance, seed=0, batch_size=batch_size)
    task = Watermark(mark=mark, **settings)
    return list(task(model or Faint(), inverter, EXAMPLES, numbers))


def mean(metric, inverter, **settings):
    values = [record.metrics[metric] for record in records(inverter, **settings)]
    return sum(values) / len(values)


def test_an_exact_inversion_reads_the_mark():
    assert mean("sign_accuracy", FixedPoint(20)) > 0.95
    assert mean("bit_accuracy", FixedPoint(20)) > 0.95
    assert mean("seed_error", FixedPoint(20)) < mean("seed_error", DDIM())


def test_unmarked_noise_holds_half_of_the_bits():
    assert 0.2 < mean("bit_accuracy", FixedPoint(20), marked=False) < 0.8


def test_an_attack_changes_the_image_that_is_read():
    found = {attack: records(FixedPoint(20), attack=attack) for attack in ("none", "rotation")}
    for attack, group in found.items():
        for record in group:
            marked, read = (record.images[name].tobytes() for name in ("marked", "attacked"))
            assert (read != marked) == (attack == "rotation")
    sound, turned = (
        sum(record.metrics["sign_accuracy"] for record in group) / len(group)
        for group in found.values()
    )
    assert turned < sound - 0.1


def test_a_mark_is_detected_where_its_p_value_is_below_a_hundredth():
    sound, turned = (records(FixedPoint(20), attack=attack) for attack in ("none", "rotation"))
    detected = [record.metrics["detected"] for record in (*sound, *turned)]
    assert detected == [record.metrics["mark_p"] < 0.01 for record in (*sound, *turned)]
    assert set(detected) == {0, 1}


def test_a_lost_prompt_is_no_guidance_and_costs_accuracy():
    known = mean("seed_error", FixedPoint(20), guidance=2.0)
    lost = mean("seed_error", FixedPoint(20), guidance=2.0, prompt="lost")
    assert known < lost
    rows = [mean("nfe_rows", FixedPoint(3), guidance=2.0, prompt=p) for p in ("known", "lost")]
    assert rows == [60, 30]


def test_no_guidance_of_an_inverter_leads_to_a_lost_prompt():
    """The null prompt alone: images are read as by a model that knows no other."""
    networks = []

    class Watched(Faint):
        def denoiser(self, steps):
            denoiser = super().denoiser(steps)

            def network(z, t, embedding):
                networks.append(embedding.tokens)
                return denoiser.network(z, t, embedding)

            return Denoiser(network, denoiser.schedule, denoiser.dtype)

    model = Watched()
    null = model.condition([""], 1.0).null.tokens
    for inverter in (DDIM(), NegativePrompt(), DDIM(inversion_guidance=2.0)):
        networks.clear()
        records(inverter, 4, guidance=2.0, model=model, prompt="lost")
        assert all((tokens == null).all() for tokens in networks[10:])
        assert not any((tokens == null).all() for tokens in networks[:10])


@pytest.mark.parametrize("attack", ["none", "noise", "crop"])
@pytest.mark.parametrize("mark", [MARK, RINGS], ids=repr)
def test_results_do_not_depend_on_the_batch(mark, attack):
    runs = (records(DDIM(), size, mark=mark, attack=attack) for size in (3, 1))
    for together, alone in zip(*runs, strict=True):
        assert ("bit_accuracy" in together.metrics) == (mark is MARK)
        for name in together.metrics.keys() - {"seconds_invert"}:
            assert together.metrics[name] == pytest.approx(alone.metrics[name], rel=1e-4), name


def test_images_hold_messages_of_their_own():
    signs = [record.inversion.noise.sign().flatten() for record in records(FixedPoint(20))]
    assert len({tuple(sign.tolist()) for sign in signs}) == len(EXAMPLES)


def test_a_diverged_inversion_fails_alone():
    class Diverging(DDIM):
        def invert(self, denoiser, z0, condition):
            inversion = super().invert(denoiser, z0, condition)
            inversion.noise[1] = float("nan")
            return inversion

    found = records(Diverging())
    assert [record.error is None for record in found] == [True, False, True, False]
    assert "not finite" in found[1].error and not found[1].metrics


def test_a_step_that_diverged_counts_as_no_reading():
    """Iteration goes on from the last finite latent, so that the noise itself is finite."""

    class Breaking(DDIM):
        def invert(self, denoiser, z0, condition):
            inversion = super().invert(denoiser, z0, condition)
            residual = z0.new_zeros(denoiser.schedule.steps, len(z0))
            residual[-1, 1] = float("inf")
            return replace(inversion, residual=residual)

    assert [record.error is None for record in records(Breaking())] == [True, False, True, False]


def test_an_image_that_cannot_be_generated_fails_alone():
    class Broken(Faint):
        def decode(self, latents):
            images = super().decode(latents)
            images[:1] = float("nan")
            return images

    found, sound = records(DDIM(), 4, model=Broken()), records(DDIM(), 4)
    assert [record.error is None for record in found] == [False, True, True, True]
    for a, b in zip(found[1:], sound[1:], strict=True):
        assert a.metrics["seed_error"] == pytest.approx(b.metrics["seed_error"])


@pytest.mark.parametrize(
    ("inverter", "end"),
    [
        (EditFriendly(), "EditFriendly ends at noise that it draws"),
        (StoredNoises(), "StoredNoises ends at noise that it draws"),
        (RFInversion(), "RFInversion ends at noise that it is pulled to"),
        (EDICT(strength=0.8), "EDICT ends at a latent below z_N at strength=0.8"),
    ],
)
def test_inverters_of_another_noise_are_refused(inverter, end):
    assert isinstance(Watermark(), Choosy)
    with pytest.raises(UserError, match=f"{end}.*use an inverter that climbs"):
        records(inverter)


@pytest.mark.parametrize("inverter", [EDICT(), RFInversion(gamma=0), NegativePrompt()])
def test_inverters_that_climb_to_the_noise_are_taken(inverter):
    Watermark().check_inverter(inverter)


def test_noised_steps_are_refused():
    settings = Settings(steps=10, guidance=1.0, seed=0, batch_size=2, noised_steps=1)
    with pytest.raises(UserError, match="noised_steps=1 puts new noise into z_N"):
        Watermark(mark=MARK)(Faint(), DDIM(), EXAMPLES, settings)


@pytest.mark.parametrize("marked", [True, False])
def test_marks_that_do_not_fit_are_refused_before_anything_is_sampled(marked):
    model = toy.Counted()
    with pytest.raises(UserError, match="channel=1 is not one of the 1 of z_N"):
        records(DDIM(), mark=TreeRing(radius=0.5, channel=1), model=model, marked=marked)
    assert model.denoised == []


def test_latents_are_read_without_the_loss_of_the_image():
    assert mean("seed_error", FixedPoint(20), seen="latents") < 1e-6
    with pytest.raises(UserError, match="task.seen=latents reads none"):
        Watermark(seen="latents", attack="jpeg")


def test_unknown_words_are_refused():
    with pytest.raises(UserError, match="task.attack=flip is unknown: choose none or jpeg"):
        Watermark(attack="flip")
    with pytest.raises(UserError, match="task.prompt=maybe"):
        Watermark(prompt="maybe")
