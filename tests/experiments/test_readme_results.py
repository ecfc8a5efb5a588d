"""The tables of README.md and docs/ are those of the committed results, which their jobs give."""

import json

import pytest
import scripts

from fpinv.errors import UserError

readme = scripts.load("readme")

SCRIPT = """
from fpinv.reporting.experiment import Experiment, Results
text = lambda job: f"w = {job.name}\\n\\n| a |\\n|---|\\n| {job.summary['n']} |"
experiment = Experiment(lambda jobs: Results("\\n\\n".join([*map(text, jobs), "![p](p.png)"])))
"""
PAGE = "# x\n\n<!-- results: toy{} -->\nold\n<!-- end -->\n\ntext\n"


@pytest.fixture
def root(tmp_path):
    results = tmp_path / "experiments" / "studies" / "toy" / "results"
    results.mkdir(parents=True)
    (results.parent / "table.py").write_text(SCRIPT)
    jobs = [{"name": name, "overrides": {}, "summary": {"n": 7}} for name in "12"]
    (results / "jobs.json").write_text(json.dumps(jobs))
    (results / "p.png").write_bytes(b"x")
    (tmp_path / "README.md").write_text(PAGE.format(""))
    (tmp_path / "docs" / "studies").mkdir(parents=True)
    (tmp_path / "docs" / "plain.md").write_text("no place\n")
    (tmp_path / "docs" / "studies" / "toy.md").write_text(PAGE.format("; w = 2"))
    readme.load(results.parent).run(results)
    return tmp_path


def test_no_committed_result_is_stale():
    assert list(readme.stale()) == []


def test_all_results_or_some_blocks_fill_their_places_on_every_page(root, capsys):
    assert readme.main(["--check"], root) == 1
    assert capsys.readouterr().out.splitlines() == [
        "README.md: run python experiments/readme.py",
        "docs/studies/toy.md: run python experiments/readme.py",
    ]
    assert readme.main([], root) == 0
    text = (root / "README.md").read_text()
    assert "old" not in text and text.startswith("# x\n") and text.endswith("\n\ntext\n")
    assert "w = 1" in text and "w = 2" in text
    assert "![p](experiments/studies/toy/results/p.png)" in text
    page = (root / "docs" / "studies" / "toy.md").read_text()
    assert (
        "w = 1" not in page and "w = 2\n\n| a |\n|---|\n| 7 |\n\n![p](../../experiments/" in page
    )
    assert readme.main(["--check"], root) == 0
    assert (root / "docs" / "plain.md").read_text() == "no place\n"


def test_stale_results_are_named(root, capsys):
    readme.main([], root)
    results = root / "experiments" / "studies" / "toy" / "results"
    file = results / "jobs.json"
    file.write_text(file.read_text().replace("7", "8"))
    (results / "p.png").write_bytes(b"x" * 300_000)
    assert list(readme.stale(root)) == [
        "toy: run its script on experiments/studies/toy/results",
        "toy: p.png is missing or too large",
    ]
    (results.parent / "table.py").unlink()
    assert "no table.py or plot.py" in next(readme.stale(root))


def test_a_figure_without_its_dark_variant_is_stale(root):
    readme.main([], root)
    results = root / "experiments" / "studies" / "toy" / "results"
    script = results.parent / "table.py"
    drawn = script.read_text().replace("Results(", 'Results(pictures={"f.png": Figure}, text=')
    script.write_text("from matplotlib.figure import Figure\n" + drawn)
    readme.load(results.parent).run(results)
    assert list(readme.stale(root)) == []
    (results / "f.dark.png").unlink()
    assert list(readme.stale(root)) == ["toy: f.dark.png is missing: run its script"]


def test_a_place_that_cannot_be_filled_is_an_error(root):
    page = root / "README.md"
    page.write_text(PAGE.replace("toy", "nothing").format(""))
    with pytest.raises(UserError, match="README.md shows results of nothing, which is no exper"):
        readme.filled(page, root)
    for name, count in (("; w = 3", 0), ("; w = ", 2)):
        page.write_text(PAGE.format(name))
        with pytest.raises(UserError, match=f"{count} blocks of the results of toy begin with"):
            readme.filled(page, root)
    page.write_text(PAGE.format(""))
    (root / "experiments" / "studies" / "toy" / "results" / "results.md").unlink()
    assert readme.filled(page, root) == PAGE.format("")
