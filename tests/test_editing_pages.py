"""The pictures made of finished editing runs: the gallery page and the paper's figures."""

import numpy as np
import pytest
import scripts
from PIL import Image

from fpinv.errors import UserError
from fpinv.records import Record, RunFolder
from fpinv.results import Job
from fpinv.results import drawn as drawn_picture

gallery = scripts.load("editing_gallery/page")
figure8 = scripts.load("figure8_clip_distance/plot")
figure13 = scripts.load("figure13_many_edits/plot")
table = scripts.load("editing_table/table").experiment


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


def test_the_gallery_is_one_whole_page(run, tmp_path, capsys):
    out = tmp_path / "gallery.html"
    assert gallery.main([f"fpi={run}", f"ddim={run}", "--out", str(out)]) == 0
    page = out.read_text()
    assert page.count("<figure>") == 6 and page.count("<h2>") == 2
    assert "<del>red</del>" in page and "<ins>blue</ins>" in page
    assert "&lt;star&gt;" in page and "<star>" not in page and "http" not in page
    assert "fpi, truth_psnr 21.5" in page
    assert gallery.main([f"x={tmp_path / 'no'}"]) == 2
    assert "no run's folder" in capsys.readouterr().err


def test_figure_8_has_a_point_a_job_and_names_what_lacks():
    summary = {k: {"mean": 0.3, "ci95": 0.1} for k in ("lpips_alex", "clip_scenes")}
    jobs = [Job(n, {"inverter": n}, summary | {"n": 9}) for n in "ab"]
    made = figure8.make(jobs)
    assert "| b | 9 | 0.300 ± 0.100 | 0.300 ± 0.100 |" in made.text
    drawn = np.asarray(drawn_picture(made.pictures["clip_distance.png"]))
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 10
    del summary["lpips_alex"]
    with pytest.raises(UserError, match="one of the metrics lpips_alex, features_scenes"):
        figure8.make([*jobs, Job("c", {}, summary)])


def test_figure_13_edits_its_scene_in_every_wished_way(tmp_path):
    prompt = figure13.caption(figure13.SCENE)
    edits = {prompt.replace(*wish) for wish in figure13.WISHES}
    assert len(edits) == len(figure13.WISHES) and prompt not in edits
    colours = [(40 * k, 9, 200) for k in range(5)]
    pictures = [Image.new("RGB", (8, 8), colour) for colour in colours]
    figure13.draw(pictures, ["a"] * 5, tmp_path / "f.png")
    with Image.open(tmp_path / "f.png") as image:
        drawn = np.asarray(image.convert("RGB"))
    assert all((drawn == colour).all(-1).sum() > 10_000 for colour in colours)


def test_figure_13_says_what_is_wrong_in_one_line(capsys):
    assert figure13.main(["--edits", "x " * 99, "--steps", "1"]) == 2
    error = capsys.readouterr().err
    assert "tokens, start and end included" in error and error.count("\n") == 1


def test_the_table_has_a_row_an_inverter_and_a_block_a_ground():
    def job(inverter, guidance=3, **measured):
        values = {k: {"mean": v, "ci95": 0.01} for k, v in measured.items()}
        header = {"inverter": inverter, "n": 50, "steps": 20, "device": "cpu"}
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
    assert row.startswith("| ddim | 50 | 25.0 ± 1.0 |  |") and row.endswith("| 1.50 ± 0.01 |")
