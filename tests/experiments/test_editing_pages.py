"""The pictures made of finished editing runs: the gallery page and the paper's figures."""

import numpy as np
import pytest
import scripts
from browser import BROWSER, Browser, assert_readable
from finished_runs import finish
from PIL import Image

from fpinv.errors import UserError
from fpinv.reporting.experiment import Job
from fpinv.reporting.figures import as_picture
from fpinv.run.folder import RunFolder
from fpinv.tasks.record import Record

gallery = scripts.load("fpi/editing_gallery/page")
figure8 = scripts.load("fpi/figure8_clip_distance/plot")
figure13 = scripts.load("fpi/figure13_many_edits/plot")
galleries = scripts.load("fpi/editing_gallery/plot")
table = scripts.load("studies/editing_table/table").experiment
flow_edits = scripts.load("studies/flow_edits/table").experiment


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    strip = {"original": Image.new("RGB", (8, 8)), "strip": Image.new("RGB", (18, 8), "red")}
    for k, kind in enumerate(("colour", "shape", "colour")):
        texts = {"target": f"a blue <star> {k}", "change": kind}
        folder.append(
            Record(f"e{k}", f"a red star {k}", {"truth_psnr": 21.5}, {}, strip, texts=texts)
        )
    return folder.path


def test_gallery_is_one_whole_page(run, tmp_path, capsys):
    out = tmp_path / "gallery.html"
    assert gallery.main([f"fpi={run}", f"ddim={run}", "--out", str(out)]) == 0
    page = out.read_text()
    assert page.count("<figure") == 6 and page.count("<details") == 2
    assert "<del>red</del>" in page and "<ins>blue</ins>" in page
    assert "&lt;star&gt;" in page and "<star>" not in page and "http" not in page
    assert "<b>truth_psnr 21.50 dB</b>" in page
    assert gallery.main([f"x={tmp_path / 'no'}"]) == 2
    assert "no run's folder" in capsys.readouterr().err


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_gallery_is_readable_at_any_width_and_shows_prompts_as_they_are(run, tmp_path):
    folder, prompt = RunFolder(run), "a <!-- <script> star"
    strip = {"strip": Image.new("RGB", (700, 150), "red")}
    folder.append(Record("h", prompt, {}, {}, strip, texts={"target": "a star"}))
    out = tmp_path / "gallery.html"
    assert gallery.main([f"fpi={run}", "--out", str(out)]) == 0
    with Browser(tmp_path / "profile") as browser:
        assert_readable(browser, out)
        prompts = browser.ask("[...document.querySelectorAll('.prompt')].map(p => p.innerText)")
        assert [text for text in prompts if text.startswith(prompt)] == [f"{prompt}\na star"]


def test_figure_8_has_a_point_a_job_and_names_the_missing_metrics():
    summary = {k: {"mean": 0.3, "ci95": 0.1} for k in ("lpips_alex", "clip_scenes")}
    jobs = [
        Job(n, {"inverter": n}, summary | {"n": 9, "device": "cpu", "inverter": n}) for n in "ab"
    ]
    results = figure8.make(jobs)
    assert "| b | 9 | 0.300 ± 0.100 | 0.300 ± 0.100 |" in results.text
    pixels = np.asarray(as_picture(results.pictures["clip_distance.png"]))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10
    known = Job("c", {"task.picture": "perfect", "task": "edit_control"}, jobs[0].summary)
    with_control = figure8.make([*jobs, known])
    assert "| the true edit | 9 | 0.300 ± 0.100 |" in with_control.text
    assert "| b | 9 |" in with_control.text, "the control does not lengthen the other names"
    assert area(as_picture(with_control.pictures["clip_distance.png"]), (0, 0, 0)) > area(
        as_picture(results.pictures["clip_distance.png"]), (0, 0, 0)
    )
    del summary["lpips_alex"]
    with pytest.raises(UserError, match="one of the metrics features_scenes, lpips_alex"):
        figure8.make([*jobs, Job("c", {}, summary)])


@pytest.fixture
def edited(tmp_path):
    """Three edits of one image and one of another, after two inverters, each in its colour."""
    for number, inverter in enumerate(("edict", "fpi")):
        records = []
        for k, image in enumerate("aaab"):
            shades = {"original": 0, "reconstruction": 60, "edit": 120, "truth": 180}
            colours = {name: (shade + 20 * number, 30 * k, 9) for name, shade in shades.items()}
            images = {name: Image.new("RGB", (8, 8), colour) for name, colour in colours.items()}
            metrics = {"reconstruction_psnr": 31.5, "background_psnr": 29.5}
            texts = {"target": f"a blue star {image}"}
            name = f"{image}-{k}"
            records.append(Record(name, f"a red star {image}", metrics, {}, images, texts=texts))
        finish(tmp_path / "all" / str(number), records, choices={"inverter": inverter})
    return tmp_path


def area(picture, colour):
    """Return the number of pixels of a picture in a colour."""
    return (np.asarray(picture) == colour).all(-1).sum()


def test_figure_13_has_a_row_an_image_and_the_words_of_its_edits(edited):
    jobs = figure13.experiment.read(edited)
    assert [len(edits) for edits in figure13.sources(jobs[1])] == [3, 1]
    results = figure13.make(jobs)
    assert "4 edits of 2 images" in results.text and set(results.pictures) == {
        "edits_edict.jpg",
        "edits_fpi.jpg",
    }
    picture = results.pictures["edits_fpi.jpg"]
    assert area(picture, (20, 0, 9)) == 128**2
    assert [area(picture, (140, 30 * k, 9)) for k in range(4)] == [128**2] * 4
    assert area(picture, (20, 30, 9)) == 0, "the source of one image is shown once"


def test_figures_6_and_7_set_reconstructions_and_edits_side_by_side(edited):
    jobs = galleries.experiment.read(edited)
    results = galleries.make(jobs)
    assert set(results.pictures) == {"reconstructions.jpg", "edits_1.jpg"}
    edits = results.pictures["edits_1.jpg"]
    for colour in ((0, 0, 9), (120, 0, 9), (140, 0, 9), (180, 90, 9)):
        assert area(edits, colour) == 128**2
    reconstructions = results.pictures["reconstructions.jpg"]
    assert area(reconstructions, (80, 90, 9)) == 128**2 and not area(reconstructions, (120, 0, 9))


def test_editing_table_has_a_row_an_inverter_and_a_block_a_ground():
    def job(inverter, guidance=3, **measured):
        values = {k: {"mean": v, "ci95": 0.01} for k, v in measured.items()}
        header = {"inverter": inverter, "dataset": "scene_edits", "n": 50, "steps": 20}
        header |= {"device": "cpu", "adjustment": "none", "noised_steps": 0}
        return Job(inverter, {}, header | {"guidance": guidance, "kept_accuracy": None} | values)

    jobs = [
        job("fpi", edit_accuracy=0.5, clip_scenes=0.31, features_scenes=0.2),
        job("ddim", edit_accuracy=0.25, clip_scenes=0.3, seconds_per_image=1.5),
        job("fpi", 1, edit_accuracy=1.0),
    ]
    text = table.make(jobs).text
    assert text.count("| inverter | n |") == 2 and "w = 3, N = 20, cpu" in text.splitlines()
    assert "CLIP (clip_scenes)" in text and "(features_scenes)" in text
    row = next(line for line in text.splitlines() if line.startswith("| ddim |"))
    assert row == "| ddim | 50 | 25.0 ± 1.0 | 0.300 ± 0.010 |  | 1.50 ± 0.01 |"
    assert "kept" not in text, "nothing was kept"


def test_editing_table_of_chosen_settings_has_the_choice_the_controls_and_the_trials():
    def job(
        inverter,
        split="test",
        w=1,
        targets=3,
        cross=0.8,
        picture=None,
        inversion=None,
        seed=(),
        **m,
    ):
        values = {key: {"mean": value, "ci95": 0.01} for key, value in m.items()}
        summary = {"inverter": inverter, "n": 48, "steps": 20, "device": "cpu", **values}
        summary |= {"adjustment": "none", "noised_steps": 0, **dict(seed)}
        recipe = {"cross_steps": cross, "self_steps": 0.4}
        settings = {"dataset.split": split, "guidance": w, "task.guidance": targets}
        settings |= {"task.recipe": None if picture else recipe, "task.picture": picture}
        return Job(inverter, {}, summary, settings | {"inverter.inversion_guidance": inversion})

    jobs = [
        job("ddim", "val", edit_success=0.5),
        job("ddim", "val", w=2, targets=2, cross=0.4, edit_success=0.25),
        job("direct", "val", w=2, targets=None, inversion=1, cross=0.4, edit_success=0.75),
        job("fpi", targets=None, picture="decoded", edit_success=0.9),
        job("ddim", edit_success=0.4),
        job("direct", w=2, targets=None, inversion=1, cross=0.4, edit_success=0.6),
        job("ddim", seed={"adjustment": "grain", "noised_steps": 1}, edit_success=0.3),
    ]
    test, trials = (line for line in table.make(jobs).text.split("\n\n") if "|---" in line)
    assert test.splitlines()[2:] == [
        "| ddim | 1 / 3 | 0.8, 0.4 | 48 | 40.0 ± 1.0 |",
        "| direct | 1 / 2 | 0.4, 0.4 | 48 | 60.0 ± 1.0 |",
        "| ddim, grain, 1 noised | 1 / 3 | 0.8, 0.4 | 48 | 30.0 ± 1.0 |",
        "| the true edit through the VAE |  |  | 48 | 90.0 ± 1.0 |",
    ]
    assert trials.splitlines() == [
        "| inverter | w = 3; 0.8, 0.4 | w = 2; 0.4, 0.4 |",
        "|---|---:|---:|",
        "| ddim | 50.0 ± 1.0 | 25.0 ± 1.0 |",
        "| direct |  | 75.0 ± 1.0 |",
    ]


def test_table_of_flow_edits_names_the_ways_and_what_was_chosen():
    def job(task="editing", recipe="plain", split="test", picture=None, overrides=None, **means):
        values = {key: {"mean": value, "ci95": 0.01} for key, value in means.items()}
        header = {"task": task, "inverter": "fpi", "model": "scenes_flow", "device": "cpu"}
        settings = {"dataset.split": split, "task.picture": picture, "task/recipe": recipe}
        return Job("0", overrides or {}, header | {"n": 9, "steps": 28} | values, settings)

    keys = {"task.recipe": "{steps:0.4,parts:[key,value]}", "task.guidance": "3"}
    jobs = [
        job(recipe="sharing", split="val", overrides=keys, edit_success=0.5),
        job(edit_success=0.4, nfe_rows=140, sample_nfe_rows=56, overrides={"task.guidance": "2"}),
        job("flow_editing", None, edit_success=0.3, nfe_rows=54),
        job("edit_control", None, picture="unedited", edit_success=0.0),
        job(recipe="default", edit_success=0.6),
    ]
    test, val = (line for line in flow_edits.make(jobs).text.split("\n\n") if "|---" in line)
    assert test.splitlines()[2:] == [
        "| plain, fpi | scenes_flow | guidance 2 | 9 | 40.0 ± 1.0 | 196 |",
        "| flowedit | scenes_flow |  | 9 | 30.0 ± 1.0 | 54 |",
        "| prompt-to-prompt, fpi | scenes_flow |  | 9 | 60.0 ± 1.0 |  |",
        "| no edit |  |  | 9 | 0.0 + 1.0 |  |",
    ]
    sharing = (
        "| sharing, fpi | scenes_flow | guidance 3, steps 0.4, parts [key, value] | 50.0 ± 1.0 |"
    )
    assert val.splitlines()[2:] == [sharing]
